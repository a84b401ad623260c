use std::fmt;
use std::ops::Deref;

use super::engine::Stretches;
use super::one_by_one::{self, Cursor};
use super::{RowOrder, Window, WindowMerge};
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
    cursors: Vec<Option<Cursor<I>>>,
    /// Whether the cursors have the batches.
    are_at_cursors: bool,
    /// `None` only while it changes.
    stage: Option<Stage<I::Item, O>>,
}

/// What merges.
enum Stage<B, O> {
    /// Who wants few items has them before anything is set up for windows. `begun` says what the first ones were like.
    Items {
        order: O,
        limit: u64,
        begun: Option<Stretches>,
    },
    Windows(Box<WindowMerge<B, O>>),
}

/// How many items are merged at first, one by one: so many for each source, or for 64 if there are fewer.
const FIRST: usize = 4;

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
///
/// Iterators of items that give more than the caches hold. Of 2^21 numbers, put into batches of 1,024, such a merge takes 0.5 to 0.6
/// of the time of [`merge`](crate::merge()) at K = 64, 256 and 1,024 (bench `scoreboard`, `large/u64`).
///
/// ```
/// let sources = (0..100).map(|start| (start..100_000).step_by(100));
/// let batches = sources.map(|mut source| {
///     std::iter::from_fn(move || {
///         let batch: Vec<u32> = source.by_ref().take(1024).collect();
///         (!batch.is_empty()).then_some(batch)
///     })
/// });
/// assert!(losertree::merge_batches(batches).collect().into_iter().eq(0..100_000));
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
    let sources = sources.into_iter();
    let mut cursors = Vec::with_capacity(sources.size_hint().0);
    for source in sources {
        cursors.push(Some(Cursor::new(source.into_iter())));
    }
    let stage = Stage::Items { order, limit: u64::MAX, begun: None };
    MergeBatches { cursors, are_at_cursors: false, stage: Some(stage) }
}

impl<I: Iterator, O: RowOrder<I::Item>> MergeBatches<I, O> {
    /// Has only so many rows come, and merges no more.
    pub fn limit(mut self, rows: u64) -> Self {
        match &mut self.stage {
            Some(Stage::Items { limit, .. }) => *limit = rows,
            Some(Stage::Windows(windows)) => windows.limit(rows),
            None => {}
        }
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
        match self.windows(most > 0) {
            Some(windows) => windows.next_window(most),
            None => Window::new(&[], &[]),
        }
    }

    /// Returns what merges windows, which has the batches from then on, and those that it lacks if it is `to_decide`.
    fn windows(&mut self, to_decide: bool) -> Option<&mut WindowMerge<I::Item, O>> {
        if to_decide && let Some(Stage::Items { order, limit: 1.., .. }) = &self.stage {
            // All at once, which takes less than one by one.
            for slot in &mut self.cursors {
                while let Some(cursor) = slot
                    && cursor.row == cursor.rows
                {
                    if cursor.fetch(|batch| order.rows(batch)).is_none() {
                        *slot = None;
                    }
                }
            }
        }
        let mut windows = match self.stage.take()? {
            Stage::Windows(windows) => windows,
            Stage::Items { order, limit, begun } => {
                self.are_at_cursors = false;
                let mut windows = Box::new(WindowMerge::of(order, &mut self.cursors));
                windows.limit(limit);
                let begun = begun.unwrap_or_default();
                windows.note_one_by_one(begun.rows, &begun);
                windows
            }
        };
        if self.are_at_cursors {
            self.are_at_cursors = false;
            windows.take_over(&mut self.cursors);
        }
        let Stage::Windows(windows) = self.stage.insert(Stage::Windows(windows)) else { return None };
        while to_decide && let Some(&index) = windows.needs().last() {
            drop(windows.release(index));
            let cursor = &mut self.cursors[index];
            if let Some(batch) = cursor.as_mut().and_then(|cursor| cursor.source.next()) {
                // It needs one, so it takes it.
                drop(windows.supply(index, batch));
            } else {
                windows.end(index);
                *cursor = None;
            }
        }
        Some(windows)
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
            let (before, most) = (out.len(), max - (out.len() - begin));
            if !self.merge_one_by_one(out, most)
                && let Some(windows) = self.windows(true)
            {
                windows.fill(out, most, &mut rooms);
            }
            if out.len() == before {
                break;
            }
        }
        out.len() - begin
    }

    /// Appends some of the next items one by one, if that is what is best now. Returns whether it was.
    fn merge_one_by_one<T: Clone>(&mut self, out: &mut Vec<T>, most: usize) -> bool
    where
        I::Item: Deref<Target = [T]>,
        O: Order<T>,
    {
        match &mut self.stage {
            Some(Stage::Items { order, limit, begun }) if begun.is_none() || *limit == 0 => {
                let items = most.min(FIRST * self.cursors.len().max(64));
                let items = usize::try_from(*limit).map_or(items, |limit| limit.min(items));
                if items == 0 {
                    return true;
                }
                self.are_at_cursors = true;
                *begun =
                    Some(one_by_one::merge(&mut self.cursors, order, limit, out, (items, items), |_| false));
                true
            }
            Some(Stage::Windows(windows)) => {
                let Some((items, most, worth)) = windows.one_by_one(most) else { return false };
                if !self.are_at_cursors {
                    self.are_at_cursors = true;
                    windows.hand_over(&mut self.cursors);
                }
                let (order, limit) = windows.lend();
                let before = out.len();
                let stretches =
                    one_by_one::merge(&mut self.cursors, order, limit, out, (items, most), |cursors| {
                        !worth.may_pay(cursors.iter().flatten().map(|cursor| (cursor.row, cursor.rows)))
                    });
                windows.note_one_by_one(out.len() - before, &stretches);
                self.are_at_cursors = false;
                windows.take_over(&mut self.cursors);
                true
            }
            _ => false,
        }
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
        let open = self.cursors.iter().flatten().count();
        f.debug_struct("MergeBatches").field("open", &open).finish_non_exhaustive()
    }
}
