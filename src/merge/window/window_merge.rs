use std::mem;

use super::bulk::{Bulk, Piece};
use super::run::{Run, push};
use super::sources::{Head, Progress, Sources, gallop};
use super::{RowOrder, SupplyError, Window};
use crate::tree::LoserTree;

/// How many rows are decided at a time at most, or 64 for each source if that is more. With their codes they fit into a near cache.
const PORTION: usize = 1 << 14;

/// How many rows of each source are decided at a time at least, if it has as many and they come next.
const PORTION_PER_SOURCE: usize = 64;

/// How many rows of a long stretch are decided at a time.
const STRETCH: usize = 1 << 24;

/// How many stretches are decided at a time.
const STRETCHES: usize = 1 << 10;

/// How many rows there are for each source in a window that is worth it: it reads the heads of all of them.
const ROWS_PER_SOURCE: usize = 4;

/// How long the stretches of single sources are on average that the tournament finds faster.
const LONG: usize = 16;

/// How many rows are merged by the tournament before it is asked whether its stretches are long.
const LOOK: usize = 64;

/// How many times as many rows are merged by the tournament after windows that were not worth it, at most.
const LONGEST_PATIENCE: usize = 32;

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
/// one source gives many rows in a row, they are found by doubling and bisection. Each call of `next_window` decides at most 2^14 rows or
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
    tree: LoserTree<Head, Sources<B, O>>,
    /// Whether the heads in the tree may not be those of the sources any more.
    is_stale: bool,
    bulk: Bulk,
    /// The sources whose rows are all decided, and which have not ended.
    lacking: Vec<usize>,
    /// What is decided: `next` is the first run that has not been handed out.
    decided: Vec<Run>,
    next: usize,
    /// What is left of the run before `next`, where only a part of it was handed out.
    cut_off: Option<Run>,
    /// How many rows may still be decided.
    limit: usize,
    pace: Pace,
}

/// When to merge by the tournament, and when by windows.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How many rows are to be merged by the tournament before a window is tried.
    by_heads: usize,
    /// Whether the stretches of single sources have been long.
    is_long: bool,
    /// How many rows for each source are merged by the tournament after the next window that is not worth it.
    patience: usize,
}

impl<B, O: RowOrder<B>> WindowMerge<B, O> {
    /// Creates a merge of so many sources, which all lack a batch.
    pub fn new(order: O, sources: usize) -> Self {
        let sources_held = Sources {
            order,
            progress: vec![Progress::default(); sources],
            batches: (0..sources).map(|_| None).collect(),
        };
        let mut merge = Self {
            tree: LoserTree::new(sources_held, (0..sources).map(|_| None)),
            is_stale: false,
            bulk: Bulk::new(),
            lacking: Vec::new(),
            decided: Vec::new(),
            next: 0,
            cut_off: None,
            limit: usize::MAX,
            pace: Pace { by_heads: LOOK, is_long: false, patience: 1 },
        };
        merge.list_all();
        merge
    }

    /// Returns the sources that must give a batch, or end, before more can be decided. There are none while there are decided rows.
    #[must_use]
    pub fn needs(&self) -> &[usize] {
        if self.has_decided() || self.limit == 0 { &[] } else { &self.lacking }
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
        drop(self.release(source));
        let sources = self.tree.order_mut();
        let rows = sources.order.rows(&batch);
        let progress = &mut sources.progress[source];
        progress.batches += 1;
        if rows > 0 {
            (progress.row, progress.rows) = (0, rows);
            sources.batches[source] = Some(batch);
            self.unlist(source);
            if !self.is_stale {
                self.tree.set_head(source, Some(Head { source, row: 0 }));
            }
        }
        Ok(())
    }

    /// Says that a source has no more batches. What is left of the last one is dropped. If the source needs none, this does nothing.
    pub fn end(&mut self, source: usize) {
        if self.is_needed(source) {
            self.tree.order_mut().progress[source].has_ended = true;
            self.unlist(source);
            drop(self.release(source));
        }
    }

    /// Takes the batch of a source that needs another one: all rows of it have been handed out.
    ///
    /// The merge keeps it for those who look up the rows, until it is taken, replaced or the source ends.
    pub fn release(&mut self, source: usize) -> Option<B> {
        let is_decided = !self.has_decided();
        let sources = self.tree.order_mut();
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
        self.tree.order().batches.get(source)?.as_ref()
    }

    /// Whether all sources have ended and all rows were handed out, or as many as the limit allows.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let is_open = |at: &Progress| !at.has_ended || at.row < at.rows;
        !self.has_decided() && (self.limit == 0 || !self.tree.order().progress.iter().any(is_open))
    }

    /// Has only so many more rows come.
    ///
    /// It bounds what is decided, so that where few are wanted few are merged.
    pub fn limit(&mut self, rows: usize) {
        self.withdraw();
        self.limit = rows;
    }

    /// Adds a source, which lacks a batch, and returns its index. Rows that are decided and were not handed out are merged again,
    /// so that its rows come where they belong.
    ///
    /// # Complexity
    ///
    /// `O(K)`.
    pub fn push(&mut self) -> usize {
        self.withdraw();
        let source = self.tree.push(None);
        let sources = self.tree.order_mut();
        sources.batches.push(None);
        sources.progress.push(Progress::default());
        self.list(source);
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
        let kept: Vec<bool> = (0..self.tree.sources()).map(&mut keep).collect();
        self.is_stale = true;
        self.tree.retain(|source| kept[source]);
        let sources = self.tree.order_mut();
        let mut each = kept.iter();
        sources.progress.retain(|_| each.next() == Some(&true));
        for at in &mut sources.progress {
            at.lacking = None;
        }
        self.lacking.clear();
        let mut each = kept.iter();
        let batches = mem::take(&mut sources.batches);
        let (batches, gone): (Vec<_>, Vec<_>) = batches.into_iter().partition(|_| each.next() == Some(&true));
        sources.batches = batches;
        self.list_all();
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
        if most == 0 {
            return Window::new(&[], &[]);
        }
        if let Some(rest) = self.cut_off.take() {
            self.decided[self.next] = rest;
        }
        if self.next == self.decided.len() {
            self.decided.clear();
            self.next = 0;
            if self.limit > 0 && self.lacking.is_empty() {
                self.decide();
            }
        }
        let begin = self.next;
        self.hand_out(most);
        let end = self.next + usize::from(self.cut_off.is_some());
        Window::new(&self.decided[begin..end], &self.tree.order().batches)
    }

    /// Counts decided rows as handed out.
    fn hand_out(&mut self, mut most: usize) {
        // The usual case, in which no row is counted.
        if most >= STRETCH + STRETCHES * PORTION {
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

    fn has_decided(&self) -> bool {
        self.cut_off.is_some() || self.next < self.decided.len()
    }

    /// Forgets what is decided and was not handed out.
    fn withdraw(&mut self) {
        if !self.has_decided() {
            return;
        }
        if let Some(rest) = self.cut_off.take() {
            self.decided[self.next] = rest;
        }
        self.is_stale = true;
        let progress = &mut self.tree.order_mut().progress;
        for run in self.decided.drain(self.next..).rev() {
            progress[run.source()].row = run.from();
            self.limit = self.limit.saturating_add(run.len());
        }
        self.lacking.clear();
        for at in progress.iter_mut() {
            at.lacking = None;
        }
        self.list_all();
    }

    /// Whether a source lacks a batch and may be supplied now.
    fn is_needed(&self, source: usize) -> bool {
        !self.needs().is_empty()
            && self.tree.order().progress.get(source).is_some_and(|at| at.lacking.is_some())
    }

    /// Lists all sources that lack a batch, where none is listed. The first ones go last.
    fn list_all(&mut self) {
        for source in (0..self.tree.sources()).rev() {
            let at = self.tree.order().progress[source];
            if !at.has_ended && at.row == at.rows {
                self.list(source);
            }
        }
    }

    fn list(&mut self, source: usize) {
        self.tree.order_mut().progress[source].lacking = Some(self.lacking.len());
        self.lacking.push(source);
    }

    fn unlist(&mut self, source: usize) {
        let progress = &mut self.tree.order_mut().progress;
        if let Some(at) = progress[source].lacking.take() {
            self.lacking.swap_remove(at);
            if let Some(&moved) = self.lacking.get(at) {
                progress[moved].lacking = Some(at);
            }
        }
    }

    /// Decides what comes next: where all sources that have not ended have rows, some rows at least.
    fn decide(&mut self) {
        let open = self.tree.order().progress.iter().filter(|at| at.row < at.rows).count();
        let is_worth = self.limit.min(PORTION) >= 2 * ROWS_PER_SOURCE * open;
        let Pace { by_heads, is_long, patience } = self.pace;
        if is_long || by_heads > 0 || open < 2 || !is_worth {
            let rows = self.decide_by_heads(if is_long { STRETCH } else { by_heads.max(LOOK) });
            self.pace.by_heads = by_heads.saturating_sub(rows);
            self.pace.is_long = rows >= LONG * self.decided.len();
            return;
        }
        let rows = self.decide_window(open);
        self.limit -= rows;
        self.pace.is_long = rows >= LONG * self.decided.len();
        let is_worth = rows >= ROWS_PER_SOURCE * open;
        self.pace.by_heads = if is_worth { 0 } else { open * patience };
        self.pace.patience = if is_worth { 1 } else { LONGEST_PATIENCE.min(2 * patience) };
    }

    /// Decides rows by the tournament, until a source lacks a batch. Returns how many.
    fn decide_by_heads(&mut self, most: usize) -> usize {
        self.refresh();
        // Should the order panic, the heads in the tree are not those of the sources.
        self.is_stale = true;
        let limit = self.limit;
        let most = most.min(limit);
        let mut next = self.tree.pop();
        while let Some((source, _)) = next {
            self.take_rows(source, 1);
            let mut rows = limit - self.limit;
            let (row, end) = self.rows_left(source);
            let end = end.min(row + (most - rows));
            if row < end && self.tree.streak().is_some() {
                let len = gallop(end - row, |ahead| self.tree.is_next(&Head { source, row: row + ahead }));
                self.take_rows(source, len);
                rows += len;
            }
            let head = self.tree.order().head(source);
            if head.is_none() {
                self.list(source);
            }
            if head.is_none() || rows >= most || self.decided.len() >= STRETCHES {
                self.tree.set_head(source, head);
                break;
            }
            next = self.tree.replace_popped(head);
        }
        self.is_stale = false;
        limit - self.limit
    }

    /// Puts out the next rows of a source.
    #[inline]
    fn take_rows(&mut self, source: usize, len: usize) {
        let progress = &mut self.tree.order_mut().progress[source];
        if len > 0 {
            push(&mut self.decided, progress.run(source, len));
            progress.row += len;
            self.limit -= len;
        }
    }

    /// Returns the next row of a source, and how many rows its batch has.
    #[inline]
    fn rows_left(&self, source: usize) -> (usize, usize) {
        let at = &self.tree.order().progress[source];
        (at.row, at.rows)
    }

    /// Has the heads of the sources play.
    fn refresh(&mut self) {
        if self.is_stale {
            for source in 0..self.tree.sources() {
                let head = self.tree.order().head(source);
                self.tree.set_head(source, head);
            }
            self.is_stale = false;
        }
    }

    /// Decides a window of the batches at hand. Returns how many rows it has.
    fn decide_window(&mut self, open: usize) -> usize {
        let step = (PORTION / open).max(PORTION_PER_SOURCE).min(self.limit / open);
        let sources = self.tree.order_mut();
        let Some(Cut { pieces, high }) = sources.cut(step) else { return 0 };
        // Should the order panic, nothing has been decided.
        let mut decided = mem::take(&mut self.decided);
        self.bulk.merge(&mut sources.order, &sources.batches, pieces.clone(), Some(high), &mut decided);
        self.decided = decided;
        self.is_stale = true;
        let mut rows = 0;
        for piece in pieces {
            let progress = &mut self.tree.order_mut().progress[piece.source];
            progress.row = piece.rows.end;
            rows += piece.rows.len();
            if progress.row == progress.rows {
                self.list(piece.source);
            }
        }
        rows
    }
}

/// What the batches at hand decide: some rows of some of them, and which of these pieces ends with the greatest.
struct Cut {
    pieces: Vec<Piece>,
    high: usize,
}

impl<B, O: RowOrder<B>> Sources<B, O> {
    /// Cuts a window: everything up to the smallest of the last rows of all sources, where no more than `step` rows of each are looked
    /// at.
    fn cut(&mut self, step: usize) -> Option<Cut> {
        let mut bound: Option<Head> = None;
        for source in 0..self.progress.len() {
            let at = self.progress[source];
            if at.row < at.rows {
                let last = Head { source, row: at.rows.min(at.row + step) - 1 };
                if bound.is_none_or(|bound| self.compare(last, bound).is_lt()) {
                    bound = Some(last);
                }
            }
        }
        let bound = bound?;
        let (mut pieces, mut high) = (Vec::new(), 0);
        for source in 0..self.progress.len() {
            let Progress { row, rows, batches, .. } = self.progress[source];
            let end = if source == bound.source {
                high = pieces.len();
                bound.row + 1
            } else if row < rows {
                row + self.count_before(source, rows.min(row + step), bound)
            } else {
                row
            };
            if row < end {
                pieces.push(Piece { source, batch: batches.saturating_sub(1), rows: row..end });
            }
        }
        Some(Cut { pieces, high })
    }
}
