use std::mem;
use std::ops::{Deref, Range};

use smallvec::SmallVec;

use super::engine::{Cut, Engine, LONGEST_PATIENCE, LOOK, PORTION, PORTION_PER_SOURCE, Stretches, Worth};
use super::one_by_one::Cursor;
use super::run::{Run, push};
use super::sources::{Progress, Sources};
use super::window::append;
use super::{RowOrder, SupplyError, Window};
use crate::key::Order;
use crate::merge::runs::{Rooms, is_moved, merge_slices_in};

/// Merges batches of rows, and says which rows come next. It reads keys where they are, and moves and copies nothing.
///
/// It is driven by hand: whoever has the batches hands them in, be it from iterators ([`merge_batches`](super::merge_batches)), from
/// streams or from a network. The [module](super) shows what a window is.
///
/// 1. [`needs`](Self::needs) says which sources must give a batch before more can be decided.
/// 2. [`supply`](Self::supply) hands one in; [`end`](Self::end) says that a source has no more.
/// 3. [`next_window`](Self::next_window) returns the runs that come next, as far as they are decided. When there are none, it is step 1
///    again, or the merge [is done](Self::is_done).
///
/// # Ordering
///
/// Each source must be sorted by the order of the merge, over all of its batches. Equal rows come in the order of their sources, and
/// within a source as they are there. If a source is not sorted, the order of the output is unspecified, but each row comes once, and
/// those of a source in their own order.
///
/// # Laziness
///
/// A source is asked for a batch when nothing more can be decided without it, and holds at most one. [`release`](Self::release) gives
/// back what is used up before that.
///
/// # Complexity
///
/// For K sources, at most 2·⌈log2 K⌉ + 6 comparisons for each row and 2·⌈log2 K⌉ for each batch, and K when the merge begins. Where
/// one source gives many rows in a row, they are found by doubling and bisection. Each call of `next_window` decides at most 1,536 rows or
/// 64 for each source, besides such stretches, of at most 1,024, and takes `O(K)` time for that. Memory is `O(K)`, the batches, and the
/// codes and the runs of those rows.
///
/// # Panics
///
/// Only where the order panics. Then nothing is lost or repeated: the merge can go on.
///
/// # Examples
///
/// ```
/// use losertree::key::Natural;
/// use losertree::merge::window::WindowMerge;
///
/// let mut batches = [vec![vec![1, 2, 9]], vec![vec![7], vec![3, 4]]];
/// let mut merge = WindowMerge::new(Natural, 2);
/// let mut merged = Vec::new();
/// while !merge.is_done() {
///     while let Some(&source) = merge.needs().first() {
///         match batches[source].pop() {
///             Some(batch) => merge.supply(source, batch)?,
///             None => merge.end(source),
///         }
///     }
///     for run in merge.next_window(usize::MAX).runs() {
///         merged.push((run.source(), run.batch(), run.rows()));
///     }
/// }
/// assert_eq!(merged, [(0, 0, 0..2), (1, 0, 0..2), (1, 1, 0..1), (0, 0, 2..3)]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct WindowMerge<B, O> {
    engine: Engine<B, O>,
    /// What is decided: `next` is the first run that has not been handed out.
    decided: Vec<Run>,
    next: usize,
    /// What is left of the run before `next`, where only a part of it was handed out.
    cut_off: Option<Run>,
}

impl<B, O: RowOrder<B>> WindowMerge<B, O> {
    /// Creates a merge of so many sources, which all lack a batch.
    pub fn new(order: O, sources: usize) -> Self {
        let mut engine = Engine::new(order, sources);
        engine.list_anew();
        Self { engine, decided: Vec::new(), next: 0, cut_off: None }
    }

    /// Creates a merge of the sources of cursors, and takes their batches over.
    pub(super) fn of<I: Iterator<Item = B>>(order: O, cursors: &mut [Option<Cursor<I>>]) -> Self {
        let engine = Engine::new(order, cursors.len());
        let mut merge = Self { engine, decided: Vec::new(), next: 0, cut_off: None };
        merge.take_over(cursors);
        merge
    }

    /// Returns the sources that must give a batch, or end, before more can be decided. There are none while there are decided rows.
    #[must_use]
    pub fn needs(&self) -> &[usize] {
        if self.has_decided() || self.engine.limit == 0 { &[] } else { &self.engine.lacking }
    }

    /// Hands in the next batch of a source that needs one. A batch without rows is dropped, and the source needs another.
    ///
    /// # Complexity
    ///
    /// `O(1)`.
    ///
    /// # Errors
    ///
    /// If the source needs none: it does not exist, has ended, or has rows that were not handed out. The batch comes back.
    pub fn supply(&mut self, source: usize, batch: B) -> Result<(), SupplyError<B>> {
        if !self.is_needed(source) {
            return Err(SupplyError::new(source, batch));
        }
        let Sources { order, progress, batches, .. } = self.engine.tree.order_mut();
        let rows = order.rows(&batch);
        let progress = &mut progress[source];
        progress.batches += 1;
        (progress.row, progress.rows) = (0, rows);
        batches[source] = (rows > 0).then_some(batch);
        if rows > 0 {
            self.engine.unlist(source);
            if !self.engine.is_stale {
                let player = self.engine.sources().player(source);
                self.engine.tree.set_head(source, player);
            }
        }
        Ok(())
    }

    /// Says that a source has no more batches. What is left of the last one is dropped. If the source needs none, this does nothing.
    pub fn end(&mut self, source: usize) {
        if self.is_needed(source) {
            self.engine.tree.order_mut().progress[source].has_ended = true;
            self.engine.ended += 1;
            self.engine.unlist(source);
            drop(self.release(source));
        }
    }

    /// Takes the batch of a source that needs another one: all rows of it have been handed out.
    ///
    /// The merge keeps it for those who look up the rows, until it is taken, replaced or the source ends.
    pub fn release(&mut self, source: usize) -> Option<B> {
        let is_decided = !self.has_decided();
        let sources = self.engine.tree.order_mut();
        let progress = sources.progress.get_mut(source)?;
        if !is_decided || progress.row < progress.rows {
            return None;
        }
        (progress.row, progress.rows) = (0, 0);
        sources.batches[source].take()
    }

    /// Returns the batch of a source, if the merge has one.
    #[must_use]
    #[inline]
    pub fn batch(&self, source: usize) -> Option<&B> {
        self.engine.sources().batches.get(source)?.as_ref()
    }

    /// Whether all sources have ended and all rows were handed out, or as many as the limit allows.
    #[must_use]
    pub fn is_done(&self) -> bool {
        !self.has_decided() && (self.engine.limit == 0 || self.engine.open() == 0)
    }

    /// Has only so many more rows come.
    ///
    /// It bounds what is decided, so that where few are wanted few are merged.
    pub fn limit(&mut self, rows: u64) {
        self.withdraw();
        self.engine.limit = rows;
    }

    /// Adds a source, which lacks a batch, and returns its index. Rows that are decided and were not handed out are merged again,
    /// so that its rows come where they belong.
    ///
    /// # Complexity
    ///
    /// `O(K)`.
    pub fn push(&mut self) -> usize {
        self.withdraw();
        let source = self.engine.count();
        self.engine.is_stale = true;
        let sources = self.engine.tree.order_mut();
        sources.batches.push(None);
        sources.progress.push(Progress::default());
        self.engine.list(source);
        source
    }

    /// Removes the sources that `keep` does not name, with their batches. The others are numbered anew, in their order, from 0. Rows
    /// that are decided and were not handed out are merged again.
    ///
    /// # Complexity
    ///
    /// `O(K)`.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        self.withdraw();
        let kept: Vec<bool> = (0..self.engine.count()).map(&mut keep).collect();
        self.engine.is_stale = true;
        let sources = self.engine.tree.order_mut();
        let mut each = kept.iter();
        sources.progress.retain(|_| each.next() == Some(&true));
        let mut each = kept.iter();
        let batches = mem::take(&mut sources.batches);
        let (batches, gone): (Vec<_>, Vec<_>) = batches.into_iter().partition(|_| each.next() == Some(&true));
        sources.batches = batches;
        self.engine.list_anew();
        drop(gone);
    }

    /// Returns the next runs, with as many rows as are decided, but no more than `most`. There are none if sources need batches
    /// first, or the merge is done.
    ///
    /// All runs of a source are of one batch.
    ///
    /// # Complexity
    ///
    /// See [`WindowMerge`]. If fewer rows than are decided are taken, `O(1)` for each run that is.
    pub fn next_window(&mut self, most: usize) -> Window<'_, B> {
        let runs = self.advance(most);
        Window::new(&self.decided[runs], &self.engine.sources().batches)
    }

    /// As [`next_window`](Self::next_window), but gives the runs away.
    pub(crate) fn take_runs(&mut self, most: usize) -> Vec<Run> {
        let runs = self.advance(most);
        if self.has_decided() || runs.len() < self.decided.len() {
            return self.decided[runs].to_vec();
        }
        // All of them: not to be copied.
        self.next = 0;
        let room = Vec::with_capacity(self.decided.len());
        mem::replace(&mut self.decided, room)
    }

    /// Decides what comes next, unless something is decided, counts at most so many rows as handed out, and returns which runs these are.
    fn advance(&mut self, most: usize) -> Range<usize> {
        if most == 0 {
            return 0..0;
        }
        if let Some(rest) = self.cut_off.take() {
            self.decided[self.next] = rest;
        }
        if self.next == self.decided.len() {
            self.decided.clear();
            self.next = 0;
            if self.engine.limit > 0 && self.engine.lacking.is_empty() {
                self.decide();
            }
        }
        let begin = self.next;
        self.hand_out(most);
        begin..self.next + usize::from(self.cut_off.is_some())
    }

    /// Counts decided rows as handed out.
    fn hand_out(&mut self, mut most: usize) {
        // The usual case, in which no row is counted.
        if most == usize::MAX {
            self.next = self.decided.len();
            return;
        }
        while most > 0
            && let Some(run) = self.decided.get_mut(self.next)
        {
            if run.len() > most {
                let first = run.split_off_first(most);
                self.cut_off = Some(mem::replace(run, first));
                return;
            }
            most -= run.len();
            self.next += 1;
        }
    }

    /// Forgets what is decided and was not handed out.
    fn withdraw(&mut self) {
        if !self.has_decided() {
            return;
        }
        if let Some(rest) = self.cut_off.take() {
            self.decided[self.next] = rest;
        }
        self.engine.is_stale = true;
        let progress = &mut self.engine.tree.order_mut().progress;
        for run in self.decided.drain(self.next..).rev() {
            progress[run.source()].row = run.from();
            self.engine.limit = self.engine.limit.saturating_add(run.len() as u64);
        }
        self.engine.lacking.clear();
        for at in progress.iter_mut() {
            at.lacking = None;
        }
        self.engine.list_anew();
    }

    /// Whether a source lacks a batch and may be supplied now.
    fn is_needed(&self, source: usize) -> bool {
        !self.needs().is_empty()
            && self.engine.sources().progress.get(source).is_some_and(|at| at.lacking.is_some())
    }

    /// Notes that items were merged one by one.
    pub(super) const fn note_one_by_one(&mut self, items: usize, stretches: &Stretches) {
        self.engine.pace.note_by_heads(items, stretches);
    }

    /// Hands the batches over to those who merge items one by one, where nothing is decided.
    pub(super) fn hand_over<I: Iterator<Item = B>>(&mut self, cursors: &mut [Option<Cursor<I>>]) {
        let Sources { progress, batches, .. } = self.engine.tree.order_mut();
        for (cursor, (progress, batch)) in cursors.iter_mut().zip(progress.iter().zip(batches)) {
            if let Some(cursor) = cursor {
                cursor.batch = batch.take();
                (cursor.row, cursor.rows, cursor.batches) = (progress.row, progress.rows, progress.batches);
            }
        }
    }

    /// Takes the batches over from them.
    pub(super) fn take_over<I: Iterator<Item = B>>(&mut self, cursors: &mut [Option<Cursor<I>>]) {
        self.engine.is_stale = true;
        let Sources { progress, batches, .. } = self.engine.tree.order_mut();
        for (cursor, (progress, batch)) in cursors.iter_mut().zip(progress.iter_mut().zip(batches)) {
            match cursor {
                Some(cursor) => {
                    *batch = cursor.batch.take();
                    (progress.row, progress.rows, progress.batches) =
                        (cursor.row, cursor.rows, cursor.batches);
                }
                None => *progress = Progress { has_ended: true, ..Progress::default() },
            }
        }
        self.engine.list_anew();
    }

    /// Lends the order, and how many items may still be merged, to whom merges items one by one.
    pub(super) const fn lend(&mut self) -> (&mut O, &mut u64) {
        (&mut self.engine.tree.order_mut().order, &mut self.engine.limit)
    }

    /// Decides what comes next, where all sources that have not ended have rows: some rows at least.
    fn decide(&mut self) {
        let Self { engine, decided, .. } = self;
        let open = engine.open();
        let worth = engine.pace.worth_of_rows(O::CODES, open);
        let most = engine.allowed(PORTION.max(PORTION_PER_SOURCE * open));
        if engine.pace.is_long() || !engine.is_worth_a_window(open, most, worth) {
            decided.reserve(engine.allowed(LOOK));
            engine.decide_by_heads(usize::MAX, |_, run| push(decided, run));
            return;
        }
        // What was put out before a panic is not decided.
        let mut put_out = Truncate { out: decided, len: 0 };
        let rows =
            engine.decide_window(open, most, worth, |sources, bulk, Cut { pieces, high, rows, .. }| {
                let (order, batches) = (&mut sources.order, &sources.batches);
                put_out.out.reserve_exact(*rows);
                bulk.merge(order, batches, pieces.clone(), Some(*high), put_out.out);
                true
            });
        put_out.len = put_out.out.len();
        drop(put_out);
        engine.pace.note_stretches(rows, decided.len());
    }
}

/// What a merge needs that owns where the batches come from.
impl<B, O> WindowMerge<B, O> {
    /// Whether there are decided rows that have not been handed out.
    pub(crate) fn has_decided(&self) -> bool {
        self.cut_off.is_some() || self.next < self.decided.len()
    }

    /// How many rows of its batch are decided of a source.
    pub(crate) fn decided(&self, source: usize) -> usize {
        self.engine.tree.order().progress.get(source).map_or(0, |at| at.row)
    }

    /// Returns the order.
    pub(crate) const fn order_mut(&mut self) -> &mut O {
        &mut self.engine.tree.order_mut().order
    }

    /// Takes the batch of a source if this was the end of the last of its runs that were handed out, and so of its last row.
    pub(crate) fn take_used_up(&mut self, source: usize, end: usize) -> Option<B> {
        let sources = self.engine.tree.order_mut();
        if end < sources.progress.get(source)?.rows { None } else { sources.batches[source].take() }
    }

    /// Takes the batches of all sources, after which nothing more comes.
    pub(crate) fn take_batches(&mut self) -> Vec<Option<B>> {
        self.engine.limit = 0;
        self.engine.is_stale = true;
        self.decided.clear();
        (self.next, self.cut_off) = (0, None);
        mem::take(&mut self.engine.tree.order_mut().batches)
    }
}

/// From how many rows on it is looked for stretches and equal items before the rows of a window are merged.
const LARGE: usize = 1 << 10;

/// What a merge of slices needs.
impl<B, O> WindowMerge<B, O> {
    /// Appends clones of the next items, at most `most`, as far as they are decided, and returns how many.
    ///
    /// The items of a window are merged as [runs in memory](crate::merge::runs), without a thought to rows.
    pub(super) fn fill<T: Clone>(&mut self, out: &mut Vec<T>, most: usize, rooms: &mut Rooms<T>) -> usize
    where
        B: Deref<Target = [T]>,
        O: Order<T>,
    {
        let begin = out.len();
        if self.has_decided() || most == 0 || self.engine.limit == 0 || !self.engine.lacking.is_empty() {
            self.next_window(most).append_to(out);
            return out.len() - begin;
        }
        let engine = &mut self.engine;
        let open = engine.open();
        let worth = engine.pace.worth_of_items(is_moved::<T, O>());
        let allowed = engine.allowed(most);
        if engine.pace.is_very_long() || !engine.is_worth_a_window(open, allowed, worth) {
            let mut put_out = Truncate { out, len: begin };
            return engine.decide_by_heads(most, |sources, run| {
                append(put_out.out, &sources.batches, &run);
                put_out.len = put_out.out.len();
            });
        }
        let mut put_out = Truncate { out, len: begin };
        let most = engine.allowed(most);
        let rows = engine.decide_window(open, most, worth, |sources, _, cut| {
            let batches = &sources.batches;
            let slices = cut
                .pieces
                .iter()
                .filter_map(|piece| batches.get(piece.source)?.as_ref()?.get(piece.rows.clone()));
            if is_moved::<T, O>() && cut.rows < LARGE {
                let slices: SmallVec<[_; 16]> = slices.collect();
                put_out.out.extend_from_slice(rooms.merge(&slices, usize::MAX, &mut sources.order));
                return true;
            }
            merge_slices_in(slices.collect(), &mut sources.order, rooms, &mut *put_out.out).1
        });
        put_out.len = put_out.out.len();
        rows
    }

    /// How many of the next items to merge [one by one](super::one_by_one), if that is what is best now: so many before it is asked whether
    /// windows may pay, and so many at most.
    pub(super) fn one_by_one<T>(&mut self, most: usize) -> Option<(usize, usize, Worth)>
    where
        B: Deref<Target = [T]>,
        O: Order<T>,
    {
        if self.has_decided() || self.engine.pace.is_very_long() {
            return None;
        }
        let engine = &mut self.engine;
        let open = engine.open();
        let worth = engine.pace.worth_of_items(is_moved::<T, O>());
        if engine.is_worth_a_window(open, engine.allowed(most), worth) {
            return None;
        }
        let items = engine.one_by_one(most);
        // All heads are cloned for it, and again with the next call, unless there is none.
        let is_last = is_moved::<T, O>() && usize::try_from(engine.limit).is_ok_and(|limit| limit <= items);
        let most = engine.allowed(most).min(LONGEST_PATIENCE * items);
        (items >= 2 * open || is_last).then_some((items, most, worth))
    }
}

/// Takes back what was appended to a vector, unless it is told otherwise.
struct Truncate<'a, T> {
    out: &'a mut Vec<T>,
    len: usize,
}

impl<T> Drop for Truncate<'_, T> {
    fn drop(&mut self) {
        self.out.truncate(self.len);
    }
}
