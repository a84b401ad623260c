use std::fmt;
use std::iter::FusedIterator;

use super::coalesce::{Coalesce, Combine, KeepFirst, KeepFirstBy, SyncMerge};
use super::engine::{Engine, Undrained};
use crate::error::{Phase, SourceError};
use crate::key::{Natural, Order, SortKey};
use crate::source_id::SourceId;

/// An iterator that merges sorted iterators of `Result`s into one.
///
/// Made by [`try_merge`] and [`try_merge_with`].
///
/// # Ordering
///
/// As for [`Merge`](super::Merge), by the values inside `Ok`. Errors take no part in the order.
///
/// # Errors
///
/// The first error that a source gives ends the merge. It is yielded at once, naming the source; all
/// sources and heads are dropped before it is, and after it comes `None`. Items that were pulled and not
/// yielded by then are dropped too: what was yielded before the error is a prefix of the merged sequence.
///
/// # Complexity, panics, closing
///
/// As for [`Merge`](super::Merge).
#[must_use = "iterators are lazy and do nothing unless consumed"]
#[derive(Clone)]
pub struct TryMerge<I, T, E, O> {
    engine: Engine<I, T, O>,
    /// The error that has ended the merge, if there are items to be handed out before it.
    met: Option<SourceError<E>>,
}

/// Merges sorted sources of `Result`s by the natural order of the values.
///
/// # Examples
///
/// ```
/// use losertree::try_merge;
///
/// let good = vec![Ok(1), Ok(4)];
/// let bad = vec![Ok(2), Err("disk on fire"), Ok(3)];
/// let mut merged = try_merge([good, bad]);
/// assert_eq!(merged.next(), Some(Ok(1)));
/// assert_eq!(merged.next(), Some(Ok(2)));
/// let error = merged.next().unwrap().unwrap_err();
/// assert_eq!((error.path().index(), error.source_error()), (Some(1), Some(&"disk on fire")));
/// assert_eq!(merged.next(), None);
/// ```
pub fn try_merge<S, T, E>(sources: S) -> TryMerge<<S::Item as IntoIterator>::IntoIter, T, E, Natural>
where
    S: IntoIterator<Item: IntoIterator<Item = Result<T, E>>>,
    T: SortKey,
{
    try_merge_with(sources, Natural)
}

/// Merges sources of `Result`s whose values are sorted by any [`Order`]: [`By`](crate::key::By) a comparator,
/// [`ByKey`](crate::key::ByKey), or [`ByKeyRef`](crate::key::ByKeyRef) if the key borrows from the item.
///
/// # Examples
///
/// ```
/// use losertree::key::{By, ByKeyRef};
/// use losertree::try_merge_with;
///
/// let sources = [vec![Ok::<_, &str>(7), Ok(4)], vec![Ok(6)]];
/// let merged: Result<Vec<u64>, _> = try_merge_with(sources, By::new(|a: &u64, b: &u64| b.cmp(a))).collect();
/// assert_eq!(merged, Ok(vec![7, 6, 4]));
///
/// struct Entry { name: String }
/// # let entry = |name: &str| Entry { name: name.to_owned() };
/// let runs = [vec![Ok(entry("a")), Err("gone")], vec![Ok(entry("b"))]];
/// let merged = try_merge_with(runs, ByKeyRef::new(|entry: &Entry| entry.name.as_str()));
/// assert_eq!(merged.filter_map(Result::ok).map(|entry| entry.name).collect::<String>(), "a");
/// ```
pub fn try_merge_with<S, T, E, O>(
    sources: S,
    order: O,
) -> TryMerge<<S::Item as IntoIterator>::IntoIter, T, E, O>
where
    S: IntoIterator<Item: IntoIterator<Item = Result<T, E>>>,
    O: Order<T>,
{
    TryMerge { engine: Engine::new(sources.into_iter().map(IntoIterator::into_iter), order), met: None }
}

impl<I, T, E, O> TryMerge<I, T, E, O>
where
    I: Iterator<Item = Result<T, E>>,
    O: Order<T>,
{
    /// Takes the next item, with the index of the source that it came from.
    ///
    /// # Errors
    ///
    /// As the iterator itself: the first error of a source, once.
    pub fn next_with_source(&mut self) -> Option<Result<(usize, T), SourceError<E>>> {
        let next = self.engine.next(I::next);
        self.code_beside_any(next)
    }

    /// Returns the next item without taking it, or the error that has ended the merge, which is yielded next.
    ///
    /// # Errors
    ///
    /// As the iterator itself, for as long as the error was not taken.
    ///
    /// ```
    /// let mut merge = losertree::try_merge([vec![Ok(1), Err("gone")], vec![Ok(2)]]);
    /// assert_eq!(merge.peek(), Some(Ok(&1)));
    /// assert_eq!(merge.next(), Some(Ok(1)));
    /// assert!(merge.peek().unwrap().is_err());
    /// assert!(merge.next().unwrap().is_err());
    /// assert_eq!(merge.peek(), None);
    /// ```
    pub fn peek(&mut self) -> Option<Result<&T, &SourceError<E>>> {
        if let Err((index, error)) = self.engine.advance(I::next) {
            self.met = Some(self.end(index, error));
        }
        match self.engine.tree.winner() {
            Some((_, item)) => Some(Ok(item)),
            None => self.met.as_ref().map(Err),
        }
    }

    /// Appends the next items to `out`, at most `max`, and returns how many; fewer than `max` only if the end or an error
    /// comes next. Otherwise as [`Merge::next_block`](super::Merge::next_block).
    ///
    /// # Errors
    ///
    /// As the iterator itself. An error never comes together with items: those before it are appended, and the next call
    /// returns the error.
    ///
    /// ```
    /// let mut merge = losertree::try_merge([vec![Ok(1), Ok(4)], vec![Ok(2), Err("gone")]]);
    /// let mut block = Vec::new();
    /// assert_eq!(merge.next_block(&mut block, 10), Ok(2));
    /// assert_eq!(merge.next_block(&mut block, 10).unwrap_err().into_source_error(), Some("gone"));
    /// assert_eq!(merge.next_block(&mut block, 10), Ok(0));
    /// assert_eq!(block, [1, 2]);
    /// ```
    pub fn next_block(&mut self, out: &mut Vec<T>, max: usize) -> Result<usize, SourceError<E>> {
        let begin = out.len();
        if let Err((index, error)) = self.engine.next_block(out, max, I::next) {
            self.met = Some(self.end(index, error));
        }
        let taken = out.len() - begin;
        if taken == 0
            && max > 0
            && let Some(error) = self.met.take()
        {
            return Err(error);
        }
        Ok(taken)
    }

    /// Keeps the first of each run of equal items: see [`Merge::dedup`](super::Merge::dedup).
    ///
    /// ```
    /// let merge = losertree::try_merge([vec![Ok(1), Ok(1), Ok(2)], vec![Ok::<_, &str>(1), Ok(3)]]);
    /// assert_eq!(merge.dedup().collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2, 3]));
    /// ```
    pub fn dedup(self) -> Coalesce<Self, KeepFirst> {
        Coalesce::new(self, KeepFirst)
    }

    /// Keeps the first of each run of items that are the same as it by `same`: see
    /// [`Merge::dedup_by`](super::Merge::dedup_by).
    pub fn dedup_by<F>(self, same: F) -> Coalesce<Self, KeepFirstBy<F>>
    where
        F: FnMut(&T, &T) -> bool,
    {
        Coalesce::new(self, KeepFirstBy(same))
    }

    /// Combines each run of equal items into one: see [`Merge::coalesce`](super::Merge::coalesce).
    ///
    /// A run that an error interrupts is not yielded, since it may not be complete; the error comes in its place.
    ///
    /// ```
    /// use losertree::key::ByKey;
    ///
    /// let sources = [vec![Ok(("a", 1)), Ok(("b", 2))], vec![Ok(("a", 10)), Err("gone")]];
    /// let by_name = ByKey::new(|pair: &(&'static str, u32)| pair.0);
    /// let mut sums = losertree::try_merge_with(sources, by_name).coalesce(|sum, next| sum.1 += next.1);
    /// assert!(sums.next().unwrap().is_err()); // there may have been more of "a"
    /// assert_eq!(sums.next(), None);
    /// ```
    pub fn coalesce<F>(self, combine: F) -> Coalesce<Self, Combine<F>>
    where
        F: FnMut(&mut T, T),
    {
        Coalesce::new(self, Combine(combine))
    }

    /// Makes of what was taken an item of the iterator. A failure ends the merge.
    fn code_beside_any<R>(
        &mut self,
        taken: Result<Option<R>, (usize, E)>,
    ) -> Option<Result<R, SourceError<E>>> {
        match taken {
            Ok(Some(item)) => Some(Ok(item)),
            Ok(None) => self.met.take().map(Err),
            Err((index, error)) => Some(Err(self.end(index, error))),
        }
    }

    /// Ends the merge for an error of a source.
    #[cold]
    fn end(&mut self, index: usize, error: E) -> SourceError<E> {
        let phase = if self.engine.is_filling() { Phase::Filling } else { Phase::Merging };
        self.engine.release();
        SourceError::from(error).of_source(&SourceId::new(index, None), phase)
    }

    /// Gives back the sources that have not ended, each with its head if one was pulled.
    ///
    /// After an error there are none.
    pub fn into_sources(self) -> Vec<Undrained<I, T>> {
        self.engine.into_sources()
    }
}

impl<I, T, E, O> Iterator for TryMerge<I, T, E, O>
where
    I: Iterator<Item = Result<T, E>>,
    O: Order<T>,
{
    type Item = Result<T, SourceError<E>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.next_with_source().map(|next| next.map(|(_, item)| item))
    }

    /// The lower bound is 0, or 1 where an item is certain: an error may come instead of all the others.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let met = usize::from(self.met.is_some());
        let (low, high) = self.engine.size_hint(Iterator::size_hint);
        (low.max(met).min(1), high.and_then(|high| high.checked_add(met)))
    }
}

impl<I, T, E, O> SyncMerge for TryMerge<I, T, E, O>
where
    I: Iterator<Item = Result<T, E>>,
    O: Order<T>,
{
    type Value = T;
    type Order = O;
    type Failure = (usize, E);

    fn sources(&self) -> usize {
        self.engine.sources()
    }

    fn take_next(&mut self) -> Result<Option<T>, (usize, E)> {
        self.engine.take(I::next)
    }

    fn ask_next<R>(
        &mut self,
        ended: &mut Vec<usize>,
        ask: impl FnOnce(&mut O, Option<bool>, &T) -> R,
    ) -> Result<Option<R>, (usize, E)> {
        self.engine.ask_next(ended, I::next, ask)
    }

    fn drop_ended(&mut self, ended: &mut Vec<usize>) {
        self.engine.drop_ended(ended);
    }

    fn hand_over(&mut self, taken: Result<Option<T>, (usize, E)>) -> Option<Self::Item> {
        self.code_beside_any(taken)
    }
}

impl<I, T, E, O> FusedIterator for TryMerge<I, T, E, O>
where
    I: Iterator<Item = Result<T, E>>,
    O: Order<T>,
{
}

impl<I: fmt::Debug, T: fmt::Debug, E: fmt::Debug, O: fmt::Debug> fmt::Debug for TryMerge<I, T, E, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryMerge").field("engine", &self.engine).field("met", &self.met).finish()
    }
}
