use std::fmt;
use std::ops::Deref;

use super::{RowOrder, Window, WindowMerge, one_by_one};
use crate::key::{Natural, Order};
use crate::merge::runs::Rooms;

/// A merge of sorted iterators of batches.
///
/// Made by [`merge_batches`] and [`merge_batches_with`]. [`next_window`](Self::next_window) gives runs of rows. For batches that are
/// slices, [`next_block`](Self::next_block), [`fold`](Self::fold) and [`collect`](Self::collect) give clones of the items.
///
/// # Ordering, complexity, panics
///
/// As for [`WindowMerge`].
///
/// # Laziness
///
/// Constructors pull nothing. A source is asked for its next batch when nothing more can be decided without it, and its last one is
/// dropped before. A source that has ended is dropped.
#[must_use = "a merge is lazy and does nothing unless asked"]
pub struct MergeBatches<I: Iterator, O> {
    /// By index; `None` for those that have ended.
    sources: Vec<Option<I>>,
    merge: WindowMerge<I::Item, O>,
}

/// Merges iterators of batches by the natural order of their items. A batch is a slice of items that have a
/// [`SortKey`](crate::SortKey), or whatever derefs to one.
///
/// # Examples
///
/// ```
/// use losertree::merge_batches;
///
/// let left = [vec![1, 4], vec![7, 9]];
/// let right = [vec![2, 3, 8]];
/// let mut merge = merge_batches([left.to_vec(), right.to_vec()]);
/// let mut block = Vec::new();
/// assert_eq!((merge.next_block(&mut block, 3), &*block), (3, &[1, 2, 3][..]));
/// assert_eq!(merge.collect(), [4, 7, 8, 9]);
/// ```
pub fn merge_batches<S>(sources: S) -> MergeBatches<<S::Item as IntoIterator>::IntoIter, Natural>
where
    S: IntoIterator<Item: IntoIterator>,
    Natural: RowOrder<<S::Item as IntoIterator>::Item>,
{
    merge_batches_with(sources, Natural)
}

/// Merges iterators of batches by any [`RowOrder`].
///
/// # Examples
///
/// ```
/// use losertree::key::By;
/// use losertree::merge_batches_with;
///
/// let down = By::new(|a: &u32, b: &u32| b.cmp(a));
/// assert_eq!(merge_batches_with([[vec![7, 4]], [vec![6, 5]]], down).collect(), [7, 6, 5, 4]);
/// ```
pub fn merge_batches_with<S, O>(sources: S, order: O) -> MergeBatches<<S::Item as IntoIterator>::IntoIter, O>
where
    S: IntoIterator<Item: IntoIterator>,
    O: RowOrder<<S::Item as IntoIterator>::Item>,
{
    let sources: Vec<_> = sources.into_iter().map(|source| Some(source.into_iter())).collect();
    let merge = WindowMerge::new(order, sources.len());
    MergeBatches { sources, merge }
}

impl<I: Iterator, O: RowOrder<I::Item>> MergeBatches<I, O> {
    /// Has only so many rows come, and merges no more.
    pub fn limit(mut self, rows: u64) -> Self {
        self.merge.limit(rows);
        self
    }

    /// Returns the next window, with `most` rows at most; without any at the end, or if `most` is 0.
    ///
    /// ```
    /// let mut merge = losertree::merge_batches([[[1, 2, 9].as_slice()], [[3, 4].as_slice()]]);
    /// let mut merged = Vec::new();
    /// loop {
    ///     let window = merge.next_window(usize::MAX);
    ///     if window.is_empty() {
    ///         break;
    ///     }
    ///     for run in window.runs() {
    ///         merged.extend_from_slice(&window.batch(run.source()).unwrap()[run.rows()]);
    ///     }
    /// }
    /// assert_eq!(merged, [1, 2, 3, 4, 9]);
    /// ```
    pub fn next_window(&mut self, most: usize) -> Window<'_, I::Item> {
        if most > 0 {
            self.fill();
        }
        self.merge.next_window(most)
    }

    /// Asks the sources that must give a batch.
    fn fill(&mut self) {
        while let Some(&source) = self.merge.needs().last() {
            drop(self.merge.release(source));
            let next = self.sources.get_mut(source).and_then(Option::as_mut).and_then(Iterator::next);
            if let Some(batch) = next {
                // It needs one, so it takes it.
                drop(self.merge.supply(source, batch));
            } else {
                self.merge.end(source);
                self.sources[source] = None;
            }
        }
    }

    /// Appends the next items to `out`, at most `max`, and returns how many: fewer than `max` only at the end.
    pub fn next_block<T: Clone>(&mut self, out: &mut Vec<T>, max: usize) -> usize
    where
        I::Item: Deref<Target = [T]>,
        O: Order<T>,
    {
        let begin = out.len();
        let mut rooms = Rooms::default();
        while out.len() - begin < max {
            let most = max - (out.len() - begin);
            let merged = if let Some(items) = self.merge.one_by_one(most) {
                one_by_one::merge(&mut self.merge, &mut self.sources, out, items)
            } else {
                self.fill();
                self.merge.fill(out, most, &mut rooms)
            };
            if merged == 0 {
                break;
            }
        }
        out.len() - begin
    }

    /// Folds the items that are left.
    pub fn fold<T, A, F>(mut self, init: A, mut f: F) -> A
    where
        T: Clone,
        I::Item: Deref<Target = [T]>,
        F: FnMut(A, T) -> A,
    {
        let mut folded = init;
        loop {
            let window = self.next_window(usize::MAX);
            if window.is_empty() {
                return folded;
            }
            folded = window.items().cloned().fold(folded, &mut f);
        }
    }

    /// Collects the items that are left.
    #[must_use]
    pub fn collect<T: Clone>(mut self) -> Vec<T>
    where
        I::Item: Deref<Target = [T]>,
        O: Order<T>,
    {
        let mut all = Vec::new();
        self.next_block(&mut all, usize::MAX);
        all
    }
}

impl<I: Iterator, O: fmt::Debug> fmt::Debug for MergeBatches<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.sources.iter().flatten().count();
        f.debug_struct("MergeBatches").field("open", &open).finish_non_exhaustive()
    }
}
