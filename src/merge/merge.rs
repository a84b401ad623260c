use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt;
use std::iter::FusedIterator;

use super::coalesce::{Coalesce, Combine, KeepFirst, KeepFirstBy, SyncMerge};
use super::engine::{Engine, Undrained, pull};
use crate::key::{By, ByKey, ByOffsetCode, Coded, Natural, OffsetCode, Order, SortKey, has_codes};
use crate::tree::LoserTree;

/// An iterator that merges sorted iterators into one.
///
/// Made by [`merge`], [`merge_by`], [`merge_by_key`] and [`merge_with`]. The [module
/// documentation](mod@crate::merge) says in which order items come and when they are pulled.
///
/// # Complexity
///
/// For N items from K sources, at most (K − 1) + N·⌈log2 K⌉ comparisons, `O(K)` memory, and no allocation after
/// construction. Orders with exact codes compare no items at all. A source that has won several times in a row is
/// passed through, at one comparison for each item, for as long as its items come before all others; but with comparators no
/// more after very many runs that ended as soon as that was begun.
///
/// With more than four sources and keys that are [strings of bytes](SortKey::PARTS) whose beginnings are often the same, each item
/// is compared once with the runner-up, and that is one comparison more, as are K − 1 once, where that begins;
/// then most others are of codes. See [`key`](crate::key).
///
/// # Panics
///
/// Only where a source or the order panics. Nothing is lost then: the merge can be continued, or
/// [`into_sources`](Self::into_sources) gives everything back.
///
/// # Closing
///
/// A source is dropped as soon as it has ended, the others when the merge is dropped, in source order.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Merge<I: Iterator, O> {
    engine: Engine<I, I::Item, O>,
}

/// Merges sorted sources by the natural order of their items.
///
/// # Examples
///
/// ```
/// use losertree::merge;
///
/// let merged: Vec<u64> = merge([vec![1, 4, 7], vec![2, 5], vec![3, 6]]).collect();
/// assert_eq!(merged, [1, 2, 3, 4, 5, 6, 7]);
/// ```
pub fn merge<S>(sources: S) -> Merge<<S::Item as IntoIterator>::IntoIter, Natural>
where
    S: IntoIterator<Item: IntoIterator<Item: SortKey>>,
{
    merge_with(sources, Natural)
}

/// Merges sources sorted by a comparator.
///
/// # Examples
///
/// ```
/// use losertree::merge_by;
///
/// let merged: Vec<u64> = merge_by([vec![7, 4], vec![6, 5]], |a, b| b.cmp(a)).collect();
/// assert_eq!(merged, [7, 6, 5, 4]);
/// ```
pub fn merge_by<S, T, F>(sources: S, compare: F) -> Merge<<S::Item as IntoIterator>::IntoIter, By<F>>
where
    S: IntoIterator<Item: IntoIterator<Item = T>>,
    F: FnMut(&T, &T) -> Ordering,
{
    merge_with(sources, By::new(compare))
}

/// Merges sources sorted by a key of their items.
///
/// # Examples
///
/// ```
/// use losertree::merge_by_key;
///
/// let by_length = merge_by_key([vec!["a", "ccc"], vec!["bb"]], |word| word.len());
/// assert_eq!(by_length.collect::<Vec<_>>(), ["a", "bb", "ccc"]);
/// ```
///
/// A key that borrows from the item, such as `&entry.name`, takes an order of its own:
///
/// ```
/// use losertree::key::ByKeyRef;
/// use losertree::merge_with;
///
/// struct Entry { name: String }
/// # let entry = |name: &str| Entry { name: name.to_owned() };
/// let runs = [vec![entry("a"), entry("c")], vec![entry("b")]];
/// let merged = merge_with(runs, ByKeyRef::new(|entry: &Entry| entry.name.as_str()));
/// assert_eq!(merged.map(|entry| entry.name).collect::<String>(), "abc");
/// ```
pub fn merge_by_key<S, T, K, F>(sources: S, key: F) -> Merge<<S::Item as IntoIterator>::IntoIter, ByKey<F>>
where
    S: IntoIterator<Item: IntoIterator<Item = T>>,
    K: SortKey,
    F: FnMut(&T) -> K,
{
    merge_with(sources, ByKey::new(key))
}

/// Merges sources sorted by any [`Order`].
pub fn merge_with<S, T, O>(sources: S, order: O) -> Merge<<S::Item as IntoIterator>::IntoIter, O>
where
    S: IntoIterator<Item: IntoIterator<Item = T>>,
    O: Order<T>,
{
    Merge { engine: Engine::new(sources.into_iter().map(IntoIterator::into_iter), order) }
}

impl<I: Iterator, O: Order<I::Item>> Merge<I, O> {
    /// Takes the next item, with the index of the source that it came from.
    // The way of an item is inlined into the consumer, and all else is in functions that are not. As a call that hands its
    // result over in memory it takes 2.5 times as long on runs, and 1.3 times on uniform keys at K = 16 (bench
    // `scoreboard`, `u64/runs`, `u64/uniform`).
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub fn next_with_source(&mut self) -> Option<(usize, I::Item)> {
        let Ok(next) = self.engine.next(pull);
        next
    }

    /// Returns the next item without taking it.
    pub fn peek(&mut self) -> Option<&I::Item> {
        let Ok(()) = self.engine.advance(pull);
        self.engine.tree.winner().map(|(_, item)| item)
    }

    /// Gives back the sources that have not ended, each with its head if one was pulled.
    ///
    /// Together these are exactly the items that the merge would still have yielded.
    ///
    /// ```
    /// let mut merge = losertree::merge([vec![1, 4, 5], vec![2, 3]]);
    /// assert_eq!(merge.next(), Some(1));
    /// assert_eq!(merge.next(), Some(2));
    /// let rest: Vec<_> = merge
    ///     .into_sources()
    ///     .into_iter()
    ///     .map(|it| (it.index, it.head, it.source.collect::<Vec<_>>()))
    ///     .collect();
    /// assert_eq!(rest, [(0, Some(4), vec![5]), (1, None, vec![3])]);
    /// ```
    pub fn into_sources(self) -> Vec<Undrained<I, I::Item>> {
        self.engine.into_sources()
    }

    /// Appends the next items to `out`, at most `max`, and returns how many; fewer than `max` only at the end.
    ///
    /// The items are those that [`next`](Iterator::next) would give, and no more is pulled for them. What `out` holds
    /// already stays, and memory for it is allocated as it fills up, so a vector that is used again costs nothing.
    ///
    /// # Panics
    ///
    /// Where a source or the order panics. Nothing is lost: what was taken before has been appended.
    ///
    /// ```
    /// let mut merge = losertree::merge([vec![1, 4, 5], vec![2, 3]]);
    /// let mut block = Vec::new();
    /// assert_eq!((merge.next_block(&mut block, 3), &*block), (3, &[1, 2, 3][..]));
    /// block.clear();
    /// assert_eq!((merge.next_block(&mut block, 3), &*block), (2, &[4, 5][..]));
    /// assert_eq!(merge.next_block(&mut block, 3), 0);
    /// ```
    pub fn next_block(&mut self, out: &mut Vec<I::Item>, max: usize) -> usize {
        let begin = out.len();
        let Ok(()) = self.engine.next_block(out, max, pull);
        out.len() - begin
    }

    /// Keeps the first of each run of equal items: that of the smallest source index.
    ///
    /// ```
    /// let merge = losertree::merge([vec![1, 1, 2], vec![1, 3]]);
    /// assert_eq!(merge.dedup().collect::<Vec<_>>(), [1, 2, 3]);
    /// ```
    pub fn dedup(self) -> Coalesce<Self, KeepFirst> {
        Coalesce::new(self, KeepFirst)
    }

    /// Keeps the first of each run of items that are the same as it by `same`.
    ///
    /// ```
    /// let merge = losertree::merge([vec![10, 21], vec![14, 29]]);
    /// assert_eq!(merge.dedup_by(|a, b| *a / 10 == *b / 10).collect::<Vec<_>>(), [10, 21]);
    /// ```
    pub fn dedup_by<F>(self, same: F) -> Coalesce<Self, KeepFirstBy<F>>
    where
        F: FnMut(&I::Item, &I::Item) -> bool,
    {
        Coalesce::new(self, KeepFirstBy(same))
    }

    /// Combines each run of equal items into one: `combine` adds an item to the first of its run.
    ///
    /// It must not change what the first is ordered by, since the next item is compared with the result.
    ///
    /// ```
    /// let merge = losertree::merge_by_key([vec![("a", 1), ("b", 2)], vec![("a", 10)]], |pair| pair.0);
    /// let sums = merge.coalesce(|sum, next| sum.1 += next.1);
    /// assert_eq!(sums.collect::<Vec<_>>(), [("a", 11), ("b", 2)]);
    /// ```
    pub fn coalesce<F>(self, combine: F) -> Coalesce<Self, Combine<F>>
    where
        F: FnMut(&mut I::Item, I::Item),
    {
        Coalesce::new(self, Combine(combine))
    }

    /// Yields each item with its code against the one before, for keys that are [strings of bytes](SortKey::PARTS): see
    /// [`CodedMerge`].
    ///
    /// That of the first is [unknown](OffsetCode::UNKNOWN). If items have been taken before, this pulls the successor of the
    /// last one.
    ///
    /// Does not compile for other keys, nor for [`Reversed`](crate::key::Reversed) orders and comparators, nor for keys that
    /// have an [exact code](SortKey::EXACT) instead, such as arrays of up to eight bytes:
    ///
    /// ```compile_fail
    /// let coded = losertree::merge([vec![1], vec![2]]).coded();
    /// ```
    ///
    /// ```compile_fail
    /// let coded = losertree::merge([vec![[0_u8; 8]], vec![[1_u8; 8]]]).coded();
    /// ```
    pub fn coded(mut self) -> CodedMerge<I, O> {
        const {
            let has_offsets = LoserTree::<I::Item, O>::HAS_OFFSETS;
            assert!(
                has_offsets,
                "only keys that are strings of bytes have offset-value codes, if not exact ones"
            );
        }
        if self.engine.tree.popped().is_some() {
            let Ok(()) = self.engine.advance(pull);
        }
        self.engine.tree.use_offsets();
        CodedMerge::new(self)
    }

    /// The code of the item that was taken last against the one before.
    pub(super) const fn code_of_last(&self) -> OffsetCode {
        self.engine.tree.code_of_taken()
    }
}

impl<I: Iterator, O: Order<I::Item>> Iterator for Merge<I, O> {
    type Item = I::Item;

    // As `next_with_source`.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn next(&mut self) -> Option<I::Item> {
        self.next_with_source().map(|(_, item)| item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.engine.size_hint(Iterator::size_hint)
    }

    fn fold<B, F>(self, init: B, f: F) -> B
    where
        F: FnMut(B, I::Item) -> B,
    {
        self.engine.fold(init, f)
    }
}

impl<I: Iterator, O: Order<I::Item>> FusedIterator for Merge<I, O> {}

impl<I: Iterator, O: Order<I::Item>> SyncMerge for Merge<I, O> {
    type Value = I::Item;
    type Order = O;
    type Failure = (usize, Infallible);

    fn sources(&self) -> usize {
        self.engine.sources()
    }

    fn take_next(&mut self) -> Result<Option<I::Item>, Self::Failure> {
        self.engine.take(pull)
    }

    fn ask_next<R>(
        &mut self,
        ended: &mut Vec<usize>,
        ask: impl FnOnce(&mut O, Option<bool>, &I::Item) -> R,
    ) -> Result<Option<R>, Self::Failure> {
        self.engine.ask_next(ended, pull, ask)
    }

    fn drop_ended(&mut self, ended: &mut Vec<usize>) {
        self.engine.drop_ended(ended);
    }

    fn hand_over(&mut self, taken: Result<Option<I::Item>, Self::Failure>) -> Option<I::Item> {
        let Ok(taken) = taken;
        taken
    }
}

impl<I: Iterator + Clone, O: Clone> Clone for Merge<I, O>
where
    I::Item: Clone,
{
    fn clone(&self) -> Self {
        Self { engine: self.engine.clone() }
    }
}

impl<I: Iterator + fmt::Debug, O: fmt::Debug> fmt::Debug for Merge<I, O>
where
    I::Item: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge").field("engine", &self.engine).finish()
    }
}

/// A merge that yields its items with their [offset-value codes](crate::key::OffsetCode): what each has in common with
/// the one before.
///
/// Made by [`Merge::coded`]. A merge knows these codes, and a merge of such merges, by [`merge_coded`], does not have to
/// find them again. A code that [is equal](crate::key::OffsetCode::is_equal) is that of a repeated key.
///
/// # Complexity
///
/// That of the merge, whose tournament plays by these codes however few its sources are.
///
/// Each item is compared with the one before it, whose key is copied, into memory that is allocated for the first of them and again
/// for a longer key; unless sources hand codes in.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct CodedMerge<I: Iterator, O> {
    merge: Merge<I, O>,
}

impl<I: Iterator, O: Order<I::Item>> CodedMerge<I, O> {
    pub(super) const fn new(merge: Merge<I, O>) -> Self {
        Self { merge }
    }

    /// Gives back the sources that have not ended, as [`Merge::into_sources`] does.
    pub fn into_sources(self) -> Vec<Undrained<I, I::Item>> {
        self.merge.into_sources()
    }
}

/// Merges sorted sources of items that bring along their codes, and yields them with those that they have in the output.
///
/// No item is compared with its predecessor. So a merge of merges, or of blocks that store prefixes once, compares
/// only the bytes behind what its sources have in common.
///
/// Does not compile for keys that are not [strings of bytes](SortKey::PARTS).
///
/// # Examples
///
/// ```
/// use losertree::{merge, merge_coded};
///
/// // Two merges, as two engines may have made them, and one of both.
/// let here = merge([vec!["cpu", "disk"], vec!["cpu", "memory"]]).coded();
/// let there = merge([vec!["disk"], vec!["network"]]).coded();
/// let distinct = merge_coded([here, there]).filter(|coded| !coded.code.is_equal());
/// assert_eq!(distinct.map(|coded| coded.item).collect::<Vec<_>>(), ["cpu", "disk", "memory", "network"]);
/// ```
pub fn merge_coded<S, T>(sources: S) -> Merge<<S::Item as IntoIterator>::IntoIter, ByOffsetCode>
where
    S: IntoIterator<Item: IntoIterator<Item = Coded<T>>>,
    T: SortKey,
{
    const { assert!(has_codes::<T>(), "only keys that are strings of bytes have offset-value codes") };
    merge_with(sources, ByOffsetCode)
}

impl<I: Iterator, O: Order<I::Item>> Iterator for CodedMerge<I, O> {
    type Item = Coded<I::Item>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.merge.next()?;
        Some(Coded { item, code: self.merge.code_of_last() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.merge.size_hint()
    }
}

impl<I: Iterator, O: Order<I::Item>> FusedIterator for CodedMerge<I, O> {}

impl<I: Iterator + Clone, O: Clone> Clone for CodedMerge<I, O>
where
    I::Item: Clone,
{
    fn clone(&self) -> Self {
        Self { merge: self.merge.clone() }
    }
}

impl<I: Iterator + fmt::Debug, O: fmt::Debug> fmt::Debug for CodedMerge<I, O>
where
    I::Item: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodedMerge").field("merge", &self.merge).finish()
    }
}
