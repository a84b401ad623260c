use std::fmt;
use std::iter::FusedIterator;

use crate::key::Order;

/// A merge in which runs of items become one item each.
///
/// Made by `dedup`, `dedup_by` and `coalesce` of [`Merge`](super::Merge) and [`TryMerge`](super::TryMerge). To know that a run
/// has ended it looks at the next item, which stays in the merge.
///
/// # Complexity
///
/// That of the merge, and one comparison for each item more, unless the tournament knows: it does where keys are
/// [strings of bytes](crate::key::SortKey::PARTS) and sources are many, but of an item that follows one of its own source.
///
/// # Errors
///
/// Those of the merge. The run at hand may lack what would have come later, and is dropped; the error comes in its place.
///
/// # Panics
///
/// Only where the merge or the rule panics. An item is compared before it is taken, so none is lost then.
///
/// # Closing
///
/// A source that has ended is dropped when the run at hand is over, since the item of that may come from it.
#[must_use = "iterators are lazy and do nothing unless consumed"]
#[derive(Clone)]
pub struct Coalesce<M: SyncMerge, R> {
    /// What the run at hand has become so far. Kept from one call to the next only if something panicked.
    held: Option<M::Value>,
    merge: M,
    /// The sources that have ended since the run began, and are not dropped yet. There is room for all of them.
    ended: Vec<usize>,
    rule: R,
}

impl<M: SyncMerge, R> Coalesce<M, R> {
    pub(super) fn new(merge: M, rule: R) -> Self {
        let ended = Vec::with_capacity(merge.sources());
        Self { held: None, merge, ended, rule }
    }

    /// Returns the merge, with all that has not been taken.
    ///
    /// A run that was at hand when something panicked is dropped.
    pub fn into_inner(mut self) -> M {
        drop(self.held.take());
        self.merge.drop_ended(&mut self.ended);
        self.merge
    }
}

impl<M: SyncMerge, R: Rule<M::Value, M::Order>> Coalesce<M, R> {
    /// Takes the next run.
    fn next_run(&mut self) -> Result<Option<M::Value>, M::Failure> {
        if self.held.is_none() {
            self.held = self.merge.take_next()?;
        }
        let Self { held: Some(held), merge, ended, rule } = self else { return Ok(None) };
        while merge.ask_next(ended, |order, known, next| rule.is_same(order, known, held, next))?
            == Some(true)
        {
            if let Some(next) = merge.take_next()? {
                rule.absorb(held, next);
            }
        }
        let run = self.held.take();
        self.merge.drop_ended(&mut self.ended);
        Ok(run)
    }
}

impl<M: SyncMerge, R: Rule<M::Value, M::Order>> Iterator for Coalesce<M, R> {
    type Item = M::Item;

    fn next(&mut self) -> Option<M::Item> {
        let run = self.next_run();
        if run.is_err() {
            // Before the sources are.
            drop(self.held.take());
            self.ended.clear();
        }
        self.merge.hand_over(run)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (low, high) = self.merge.size_hint();
        let held = usize::from(self.held.is_some());
        (low.max(held).min(1), high.and_then(|high| high.checked_add(held)))
    }
}

impl<M: SyncMerge, R: Rule<M::Value, M::Order>> FusedIterator for Coalesce<M, R> {}

impl<M, R> fmt::Debug for Coalesce<M, R>
where
    M: SyncMerge<Value: fmt::Debug> + fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce")
            .field("merge", &self.merge)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

/// Which items form a run, and what becomes of it. Not nameable outside of this crate, so sealed.
pub trait Rule<T, O> {
    /// Returns whether the next item belongs to the run of `held`. `is_equal` is whether the order has it for equal to the one
    /// before it, if that is known.
    fn is_same(&mut self, order: &mut O, is_equal: Option<bool>, held: &T, next: &T) -> bool;

    /// Takes `next` into the run.
    fn absorb(&mut self, held: &mut T, next: T);
}

/// The rule of `dedup`: equal items form a run, and the first of it stays.
#[derive(Debug, Clone, Copy)]
pub struct KeepFirst;

impl<T, O: Order<T>> Rule<T, O> for KeepFirst {
    fn is_same(&mut self, order: &mut O, is_equal: Option<bool>, held: &T, next: &T) -> bool {
        is_equal.unwrap_or_else(|| order.compare(held, next).is_eq())
    }

    fn absorb(&mut self, _held: &mut T, next: T) {
        drop(next);
    }
}

/// The rule of `dedup_by`: a function says which items form a run, and the first of it stays.
#[derive(Clone, Copy)]
pub struct KeepFirstBy<F>(pub(crate) F);

impl<T, O, F: FnMut(&T, &T) -> bool> Rule<T, O> for KeepFirstBy<F> {
    fn is_same(&mut self, _order: &mut O, _is_equal: Option<bool>, held: &T, next: &T) -> bool {
        (self.0)(held, next)
    }

    fn absorb(&mut self, _held: &mut T, next: T) {
        drop(next);
    }
}

impl<F> fmt::Debug for KeepFirstBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepFirstBy").finish_non_exhaustive()
    }
}

/// The rule of `coalesce`: equal items form a run, and a function makes one of them.
#[derive(Clone, Copy)]
pub struct Combine<F>(pub(crate) F);

impl<T, O: Order<T>, F: FnMut(&mut T, T)> Rule<T, O> for Combine<F> {
    fn is_same(&mut self, order: &mut O, is_equal: Option<bool>, held: &T, next: &T) -> bool {
        KeepFirst.is_same(order, is_equal, held, next)
    }

    fn absorb(&mut self, held: &mut T, next: T) {
        (self.0)(held, next);
    }
}

impl<F> fmt::Debug for Combine<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combine").finish_non_exhaustive()
    }
}

/// What merges of iterators have in common, be their sources fallible or not, as [`Coalesce`](super::Coalesce) uses them. Not
/// nameable outside of this crate, so sealed.
pub trait SyncMerge: Iterator {
    /// What the sources give where they do not fail.
    type Value;

    /// How the values are ordered.
    type Order;

    /// A failure of a source that the merge has not dealt with yet.
    type Failure;

    /// Returns how many sources there are and were.
    fn sources(&self) -> usize;

    /// Takes the next item.
    fn take_next(&mut self) -> Result<Option<Self::Value>, Self::Failure>;

    /// Calls `ask` with the order, whether the next item is equal to the one taken last, if that is known, and the next item,
    /// which stays where it is. A source that turns out to have ended is not dropped; its index is added to `ended`.
    fn ask_next<R>(
        &mut self,
        ended: &mut Vec<usize>,
        ask: impl FnOnce(&mut Self::Order, Option<bool>, &Self::Value) -> R,
    ) -> Result<Option<R>, Self::Failure>;

    /// Drops those sources.
    fn drop_ended(&mut self, ended: &mut Vec<usize>);

    /// Makes of what was taken an item of the merge. A failure ends the merge.
    fn hand_over(&mut self, taken: Result<Option<Self::Value>, Self::Failure>) -> Option<Self::Item>;
}
