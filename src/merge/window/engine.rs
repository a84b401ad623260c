use std::hint::select_unpredictable;

use super::bulk::{Bulk, Piece};
use super::run::Run;
use super::sources::{Head, Player, Progress, Sources, gallop};
use super::{Coding, RowOrder};
use crate::tree::LoserTree;

/// How many rows are decided at a time at most, or 64 for each source if that is more. With their codes they fit into a near cache.
const PORTION: usize = 1 << 14;

/// How many rows of each source are decided at a time at least, if it has as many and they come next.
const PORTION_PER_SOURCE: usize = 64;

/// How many rows of a long stretch are decided at a time.
const STRETCH: usize = 1 << 24;

/// How many stretches are decided at a time.
const STRETCHES: usize = 1 << 10;

/// How many rows there are in a window that is worth it, and for each source: it reads the heads of all of them.
const FEWEST_ROWS: usize = 256;
const ROWS_PER_SOURCE: usize = 4;

/// The same where codes are not exact, so that the tournament would compare rows more often.
const FEWEST_ROWS_COMPARED: usize = 32;
const ROWS_PER_SOURCE_COMPARED: usize = 2;

/// How long the stretches of single sources are on average that the tournament finds faster.
const LONG: usize = 16;

/// How many rows in a row a source gives before it is searched for how many more.
const WINS: usize = 8;

/// How many rows are merged by the tournament before it is asked whether its stretches are long.
const LOOK: usize = 64;

/// How many times as many rows are merged by the tournament after windows that were not worth it, at most.
const LONGEST_PATIENCE: usize = 32;

/// What decides which rows come next, and hands them on at once.
#[derive(Debug)]
pub(super) struct Engine<B, O> {
    pub(super) tree: LoserTree<Player, Sources<B, O>>,
    /// Whether the heads in the tree may not be those of the sources any more.
    pub(super) is_stale: bool,
    pub(super) bulk: Bulk,
    /// The sources whose rows are all decided, and which have not ended.
    pub(super) lacking: Vec<usize>,
    /// How many sources have ended.
    pub(super) ended: usize,
    /// How many rows may still be decided.
    pub(super) limit: u64,
    pub(super) pace: Pace,
}

/// When to merge by the tournament, and when by windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How many rows are to be merged by the tournament before a window is tried.
    by_heads: usize,
    /// Whether the stretches of single sources have been long.
    is_long: bool,
    /// How many rows for each source are merged by the tournament after the next window that is not worth it.
    patience: usize,
}

impl<B, O: RowOrder<B>> Engine<B, O> {
    pub(super) fn new(order: O, sources: usize) -> Self {
        let held = Sources {
            order,
            progress: vec![Progress::default(); sources],
            batches: (0..sources).map(|_| None).collect(),
            ahead: 0,
        };
        let mut engine = Self {
            tree: LoserTree::new(held, (0..sources).map(|_| None)),
            is_stale: false,
            bulk: Bulk::default(),
            lacking: Vec::new(),
            ended: 0,
            limit: u64::MAX,
            pace: Pace { by_heads: LOOK, is_long: false, patience: 1 },
        };
        engine.list_all();
        engine
    }

    pub(super) fn sources(&self) -> &Sources<B, O> {
        self.tree.order()
    }

    /// Lists all sources that lack a batch, where none is listed. The first ones go last.
    pub(super) fn list_all(&mut self) {
        for source in (0..self.tree.sources()).rev() {
            let at = self.tree.order().progress[source];
            if !at.has_ended && at.row == at.rows {
                self.list(source);
            }
        }
    }

    pub(super) fn list(&mut self, source: usize) {
        self.tree.order_mut().progress[source].lacking = Some(self.lacking.len());
        self.lacking.push(source);
    }

    pub(super) fn unlist(&mut self, source: usize) {
        let progress = &mut self.tree.order_mut().progress;
        if let Some(at) = progress[source].lacking.take() {
            self.lacking.swap_remove(at);
            if let Some(&moved) = self.lacking.get(at) {
                progress[moved].lacking = Some(at);
            }
        }
    }

    /// How many sources have not ended. Where none lacks a batch, all of these have rows.
    pub(super) const fn open(&self) -> usize {
        self.tree.sources() - self.ended
    }

    /// How many of so many rows the limit allows.
    pub(super) fn allowed(&self, rows: usize) -> usize {
        usize::try_from(self.limit).map_or(rows, |limit| rows.min(limit))
    }

    /// How many rows a window has that is worth it.
    const fn fewest_rows(open: usize) -> usize {
        let (fewest, of_each) = match O::CODES {
            Coding::Inexact => (FEWEST_ROWS_COMPARED, ROWS_PER_SOURCE_COMPARED * open),
            Coding::Exact | Coding::Nothing => (FEWEST_ROWS, ROWS_PER_SOURCE * open),
        };
        if fewest > of_each { fewest } else { of_each }
    }

    /// Whether to merge by a window now, where so many rows are wanted.
    pub(super) fn is_worth_a_window(&self, open: usize, rows: usize) -> bool {
        let Pace { by_heads, is_long, .. } = self.pace;
        !is_long && by_heads == 0 && open > 1 && rows >= 2 * Self::fewest_rows(open)
    }

    /// Decides rows by the tournament, until a source lacks a batch, and hands on runs. Returns how many rows.
    pub(super) fn decide_by_heads(&mut self, most: usize, mut put: impl FnMut(&Sources<B, O>, Run)) -> usize {
        let Pace { by_heads, is_long, .. } = self.pace;
        let most = self.allowed(most).min(if is_long { STRETCH } else { by_heads.max(LOOK) });
        self.refresh();
        // Should the order panic, the heads in the tree are not those of the sources.
        self.is_stale = true;
        let (mut rows, mut stretches) = (0, 0);
        let (mut last, mut wins) = (usize::MAX, 0_usize);
        let mut next = self.tree.pop();
        while let Some((source, _)) = next {
            wins = select_unpredictable(source == last, wins + 1, 1);
            last = source;
            self.put_out(source, 1, &mut put);
            rows += 1;
            let Progress { row, rows: end, .. } = self.tree.order().progress[source];
            if wins >= WINS && row < end && rows < most {
                let end = end.min(row + (most - rows));
                let len = gallop(end - row, |ahead| {
                    self.tree.order_mut().ahead = ahead;
                    self.tree.is_next(&Player::asked(source))
                });
                if len > 0 {
                    self.put_out(source, len, &mut put);
                    rows += len;
                }
            }
            stretches += 1;
            let Some(player) = self.tree.order().player(source) else {
                self.list(source);
                self.tree.set_head(source, None);
                break;
            };
            if rows >= most || stretches == STRETCHES {
                self.tree.set_head(source, Some(player));
                break;
            }
            next = self.tree.bring_and_pop(source, player);
        }
        self.is_stale = false;
        self.pace.by_heads = self.pace.by_heads.saturating_sub(rows);
        rows
    }

    /// Puts out the next rows of a source.
    #[inline]
    fn put_out(&mut self, source: usize, len: usize, put: &mut impl FnMut(&Sources<B, O>, Run)) {
        let sources = self.tree.order_mut();
        put(sources, sources.progress[source].run(source, len));
        sources.progress[source].row += len;
        self.limit -= len as u64;
    }

    /// Has the heads of the sources play.
    fn refresh(&mut self) {
        if self.is_stale {
            for source in 0..self.tree.sources() {
                let head = self.tree.order().player(source);
                self.tree.set_head(source, head);
            }
            self.is_stale = false;
        }
    }

    /// Decides a window of the batches at hand, of `most` rows at most, which `merge` puts out. Returns how many rows it has.
    pub(super) fn decide_window(
        &mut self,
        open: usize,
        most: usize,
        merge: impl FnOnce(&mut Sources<B, O>, &mut Bulk, &Cut),
    ) -> usize {
        let step = (PORTION / open).max(PORTION_PER_SOURCE).min(self.allowed(most) / open);
        let sources = self.tree.order_mut();
        let Some(cut) = sources.cut(step) else { return 0 };
        // Should the order panic, nothing has been decided.
        merge(sources, &mut self.bulk, &cut);
        self.is_stale = true;
        let mut rows = 0;
        for piece in cut.pieces {
            let progress = &mut self.tree.order_mut().progress[piece.source];
            progress.row = piece.rows.end;
            rows += piece.rows.len();
            if progress.row == progress.rows {
                self.list(piece.source);
            }
        }
        self.limit -= rows as u64;
        let patience = self.pace.patience;
        let is_worth = rows >= Self::fewest_rows(open);
        self.pace.by_heads = if is_worth { 0 } else { open.max(LOOK) * patience };
        self.pace.patience = if is_worth { 1 } else { LONGEST_PATIENCE.min(2 * patience) };
        rows
    }

    /// Notes how long the stretches were that were put out.
    pub(super) const fn note_stretches(&mut self, rows: usize, stretches: usize) {
        self.pace.is_long = rows >= LONG * stretches;
    }
}

/// What the batches at hand decide: some rows of some of them, and which of these pieces ends with the greatest.
pub(super) struct Cut {
    pub(super) pieces: Vec<Piece>,
    pub(super) high: usize,
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
