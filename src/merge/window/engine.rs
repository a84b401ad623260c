use std::hint::select_unpredictable;
use std::mem;

use super::bulk::{Bulk, Piece};
use super::run::Run;
use super::sources::{Head, Player, Progress, Sources, gallop};
use super::{Coding, RowOrder};
use crate::tree::LoserTree;

/// How many rows are decided at a time at most, or 64 for each source if that is more. With their codes they fit into a near cache,
/// and all that is made of them takes 72 KiB: 24 bytes for the codes of a row, and 24 for its run.
pub(super) const PORTION: usize = 1_536;

/// How many rows of each source are decided at a time at least, if it has as many and they come next.
pub(super) const PORTION_PER_SOURCE: usize = 64;

/// How many rows of a long stretch are decided at a time.
const STRETCH: usize = 1 << 24;

/// How many stretches are decided at a time.
const STRETCHES: usize = 1 << 10;

/// How many times as many rows of each source are looked at for the next window, if this one had few because of that.
const LONGER_STEP: usize = 4;

/// How many rows there are in a window that is worth it, and for each source: it reads the heads of all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worth {
    rows: usize,
    rows_per_source: usize,
    /// So many are worth it, whatever the number of sources.
    enough: usize,
}

impl Worth {
    /// Where rows are told apart by exact codes.
    const EXACT: Self = Self { rows: 256, rows_per_source: 4, enough: usize::MAX };

    /// Where they are not, so that the tournament would compare rows more often.
    const INEXACT: Self = Self { rows: 32, rows_per_source: 2, enough: usize::MAX };

    /// Where items are put out, so that the tournament of the items themselves is as good.
    pub(super) const OF_ITEMS: Self = Self { rows: 192, rows_per_source: 8, enough: usize::MAX };

    /// Where items are put out that are not moved but by reference, which takes rooms for each window.
    pub(super) const OF_REFERENCES: Self = Self { rows: 512, rows_per_source: 16, enough: usize::MAX };

    /// Where they come in long stretches, which a tournament of items passes through, and many runs in memory even faster.
    pub(super) const OF_LONG_STRETCHES: Self = Self { rows: 768, rows_per_source: 384, enough: 4096 };

    /// Whether windows may be worth it, by where sources are in their batches, and how many rows these have.
    ///
    /// A window ends with a batch. So on average it has as many rows as a batch, or more for a time where all sources have much left of
    /// theirs, as in the beginning.
    pub(super) fn may_pay(self, places: impl Iterator<Item = (usize, usize)>) -> bool {
        let (mut open, mut all, mut least) = (0, 0, usize::MAX);
        for (row, rows) in places {
            open += 1;
            all += rows;
            if row < rows {
                least = least.min(rows - row);
            }
        }
        open > 1 && all.max(least.saturating_mul(open * open)) >= self.fewest(open) * open
    }

    /// How many rows that are of so many sources.
    const fn fewest(self, open: usize) -> usize {
        let of_all = self.rows_per_source * open;
        let fewest = if self.rows > of_all { self.rows } else { of_all };
        if fewest < self.enough { fewest } else { self.enough }
    }
}

/// Stretches of single sources are short if they have fewer rows on average. The tournament does more for each of them than a window
/// does, so a smaller window is worth it where sources are few: one that has so many rows for each source.
const SHORT: usize = 4;
const SHORT_PER_FEW: usize = 20;

/// From how many rows on average stretches are long, so that the tournament finds them faster than a window of rows does; and so long that
/// it is faster than a window of items, too, which are merged as runs in memory, stretch by stretch.
const LONG: usize = 16;
const VERY_LONG: usize = 128;

/// Of how many rows it is asked how long the stretches are.
pub(super) const SAMPLE: usize = 256;

/// How many rows in a row a source gives before it is searched for how many more.
const WINS: usize = 4;

/// How many rows are merged by the tournament before it is asked whether its stretches are long.
pub(super) const LOOK: usize = 64;

/// How many rows for each source are merged by the tournament after a window that was not worth it.
const ROWS_IN_VAIN: usize = 4;

/// How many times as many rows are merged by the tournament after windows that were not worth it, at most.
pub(super) const LONGEST_PATIENCE: usize = 32;

/// What decides which rows come next, and hands them on at once.
#[derive(Debug)]
pub(super) struct Engine<B, O> {
    pub(super) tree: LoserTree<Player, Sources<B, O>>,
    /// Whether the heads in the tree may not be those of the sources any more.
    pub(super) is_stale: bool,
    pub(super) bulk: Bulk,
    /// Room for the next window.
    pieces: Vec<Piece>,
    /// The sources whose rows are all decided, and which have not ended.
    pub(super) lacking: Vec<usize>,
    /// How many sources have ended.
    pub(super) ended: usize,
    /// How many rows may still be decided.
    pub(super) limit: u64,
    pub(super) pace: Pace,
}

/// When to merge by the tournament, and when by windows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// How many rows are to be merged by the tournament before a window is tried.
    by_heads: usize,
    /// How many rows single sources have given in a row, on average; and the stretches since that was last asked.
    stretch: usize,
    stretches: Stretches,
    /// How many rows for each source are merged by the tournament after the next window that is not worth it.
    patience: usize,
    /// How many rows the last windows had, about.
    typical: usize,
    /// How many rows of each source the next window looks at.
    step: usize,
}

/// How many rows in a row single sources give.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stretches {
    pub(super) rows: usize,
    /// How often another source came next.
    changes: usize,
    /// The source that was last.
    last: usize,
}

impl Stretches {
    /// Notes the next rows, of one source.
    #[inline]
    pub(super) const fn note(&mut self, source: usize, rows: usize) {
        self.changes += (source != self.last) as usize;
        self.last = source;
        self.rows += rows;
    }
}

impl Pace {
    /// Whether single sources have given many rows in a row, so that the tournament is best, which finds how many.
    pub(super) const fn is_long(&self) -> bool {
        self.stretch >= LONG
    }

    /// The same for items.
    pub(super) const fn is_very_long(&self) -> bool {
        self.stretch >= VERY_LONG
    }

    /// How many rows are worth a window of rows that have codes of such a kind, and are of so many sources.
    pub(super) fn worth_of_rows(&self, codes: Coding, open: usize) -> Worth {
        match (codes, self.stretch) {
            (Coding::Inexact, _) => Worth::INEXACT,
            (Coding::Exact, 1..SHORT) => {
                Worth { rows: Worth::EXACT.rows.min(SHORT_PER_FEW * open), ..Worth::EXACT }
            }
            _ => Worth::EXACT,
        }
    }

    /// How many rows are worth a window of items.
    pub(super) const fn worth_of_items(&self, are_moved: bool) -> Worth {
        match (self.is_long(), are_moved) {
            (true, _) => Worth::OF_LONG_STRETCHES,
            (false, true) => Worth::OF_ITEMS,
            (false, false) => Worth::OF_REFERENCES,
        }
    }

    /// Notes that so many rows were merged by a tournament, and what some of them were like.
    pub(super) const fn note_by_heads(&mut self, rows: usize, stretches: &Stretches) {
        self.by_heads = self.by_heads.saturating_sub(rows);
        self.stretches.last = stretches.last;
        self.note_stretches(stretches.rows, stretches.changes);
    }

    /// Notes how often another source came next among rows.
    pub(super) const fn note_stretches(&mut self, rows: usize, changes: usize) {
        self.stretches.rows += rows;
        self.stretches.changes += changes;
        let Stretches { rows, changes, last } = self.stretches;
        if rows >= SAMPLE {
            self.stretch = match rows.checked_div(changes) {
                Some(rows) => rows,
                None => rows,
            };
            self.stretches = Stretches { rows: 0, changes: 0, last };
        }
    }
}

impl<B, O: RowOrder<B>> Engine<B, O> {
    /// Creates what decides rows of so many sources. Those that lack a batch are still [to be listed](Self::list_anew).
    pub(super) fn new(order: O, sources: usize) -> Self {
        let held = Sources {
            order,
            progress: vec![Progress::default(); sources],
            batches: (0..sources).map(|_| None).collect(),
            ahead: 0,
        };
        Self {
            tree: LoserTree::new(held, []),
            is_stale: true,
            bulk: Bulk::default(),
            pieces: Vec::new(),
            lacking: Vec::with_capacity(sources),
            ended: 0,
            limit: u64::MAX,
            pace: Pace { by_heads: LOOK, patience: 1, ..Pace::default() },
        }
    }

    pub(super) fn sources(&self) -> &Sources<B, O> {
        self.tree.order()
    }

    /// Lists all sources that lack a batch, and counts those that have ended. The first ones go last.
    pub(super) fn list_anew(&mut self) {
        self.lacking.clear();
        self.ended = 0;
        for source in (0..self.count()).rev() {
            let at = &mut self.tree.order_mut().progress[source];
            at.lacking = None;
            if at.has_ended {
                self.ended += 1;
            } else if at.row == at.rows {
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

    /// How many sources there are.
    pub(super) const fn count(&self) -> usize {
        self.tree.order().progress.len()
    }

    /// How many sources have not ended. Where none lacks a batch, all of these have rows.
    pub(super) const fn open(&self) -> usize {
        self.count() - self.ended
    }

    /// How many of so many rows the limit allows.
    pub(super) fn allowed(&self, rows: usize) -> usize {
        usize::try_from(self.limit).map_or(rows, |limit| rows.min(limit))
    }

    /// Whether to merge by a window now, where so many rows are wanted.
    pub(super) fn is_worth_a_window(&mut self, open: usize, rows: usize, worth: Worth) -> bool {
        if self.pace.by_heads > 0 || rows < 2 * worth.fewest(open) {
            return false;
        }
        let progress = self.sources().progress.iter().filter(|at| !at.has_ended);
        let may_pay = worth.may_pay(progress.map(|at| (at.row, at.rows)));
        if !may_pay {
            self.pace.by_heads = ROWS_IN_VAIN * open.max(LOOK);
        }
        may_pay
    }

    /// How many rows are merged before it is asked again what is best, where so many are wanted and items are merged one by one. That
    /// begins by looking at all heads.
    pub(super) fn one_by_one(&self, most: usize) -> usize {
        self.allowed(most).min(self.pace.by_heads.max(ROWS_IN_VAIN * self.open().max(LOOK)))
    }

    /// Decides rows by the tournament, until a source lacks a batch, and hands on runs. Returns how many rows.
    pub(super) fn decide_by_heads(&mut self, most: usize, mut put: impl FnMut(&Sources<B, O>, Run)) -> usize {
        let at_a_time = if self.pace.is_long() { STRETCH } else { self.pace.by_heads.max(LOOK) };
        let most = self.allowed(most).min(at_a_time);
        self.refresh();
        // Should the order panic, the heads in the tree are not those of the sources.
        self.is_stale = true;
        let mut stretches = Stretches { last: self.pace.stretches.last, ..Stretches::default() };
        let (mut turns, mut wins) = (0, 0_usize);
        let mut next = self.tree.pop();
        while let Some((source, _)) = next {
            wins = select_unpredictable(source == stretches.last, wins + 1, 1);
            self.put_out(source, 1, &mut put);
            stretches.note(source, 1);
            let Progress { row, rows: end, .. } = self.tree.order().progress[source];
            if wins >= WINS && row < end && stretches.rows < most {
                let end = end.min(row + (most - stretches.rows));
                let mut is_next = |ahead| {
                    self.tree.order_mut().ahead = ahead;
                    self.tree.is_next(&Player::asked(source))
                };
                // The whole batch, mostly, where sources are disjoint.
                let len = if is_next(end - row - 1) { end - row } else { gallop(end - row - 1, is_next) };
                if len > 0 {
                    self.put_out(source, len, &mut put);
                    stretches.note(source, len);
                }
            }
            turns += 1;
            let Some(player) = self.tree.order().player(source) else {
                // Its next batch brings the head that has been taken.
                self.list(source);
                break;
            };
            if stretches.rows >= most || turns == STRETCHES {
                self.tree.set_head(source, Some(player));
                break;
            }
            next = self.tree.bring_and_pop(source, player);
        }
        self.is_stale = false;
        self.pace.note_by_heads(stretches.rows, &stretches);
        stretches.rows
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
            let sources = self.count();
            self.tree.begin_anew((0..sources).map(|source| self.tree.order().player(source)).collect());
            self.is_stale = false;
        }
    }

    /// Decides a window of the batches at hand, of `most` rows at most, which `merge` puts out, and says whether that pays. Returns how
    /// many rows it has.
    pub(super) fn decide_window(
        &mut self,
        open: usize,
        most: usize,
        worth: Worth,
        merge: impl FnOnce(&mut Sources<B, O>, &mut Bulk, &Cut) -> bool,
    ) -> usize {
        let mut cut = Cut { pieces: mem::take(&mut self.pieces), ..Cut::default() };
        let least_step = most / open;
        let mut step = self.pace.step.clamp(least_step, most);
        let sources = self.tree.order_mut();
        sources.cut(step, &mut cut);
        while cut.rows > most {
            step = (step / LONGER_STEP).max(least_step);
            sources.cut(step, &mut cut);
        }
        // Should the order panic, nothing has been decided.
        let pays = merge(sources, &mut self.bulk, &cut);
        self.is_stale = true;
        for piece in &cut.pieces {
            let progress = &mut self.tree.order_mut().progress[piece.source];
            progress.row = piece.rows.end;
            if progress.row == progress.rows {
                self.list(piece.source);
            }
        }
        self.limit -= cut.rows as u64;
        let fewest = if pays { worth.fewest(open) } else { usize::MAX };
        self.note_window(&cut, step, most, fewest, open);
        self.pieces = cut.pieces;
        cut.rows
    }

    /// Notes how large a window was.
    fn note_window(&mut self, cut: &Cut, step: usize, most: usize, fewest: usize, open: usize) {
        let pace = &mut self.pace;
        pace.step = if cut.is_by_step && cut.rows < most / LONGER_STEP {
            step.saturating_mul(LONGER_STEP)
        } else {
            step
        };
        pace.typical = if pace.typical == 0 { cut.rows } else { (3 * pace.typical + cut.rows) / 4 };
        let is_worth = pace.typical >= fewest;
        pace.by_heads = if is_worth { 0 } else { ROWS_IN_VAIN * open.max(LOOK) * pace.patience };
        pace.patience = if is_worth { 1 } else { LONGEST_PATIENCE.min(2 * pace.patience) };
        if !is_worth {
            // The next one is judged by itself.
            pace.typical = 0;
        }
    }
}

/// What the batches at hand decide: some rows of some of them.
#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) pieces: Vec<Piece>,
    pub(super) rows: usize,
    /// Which of the pieces ends with the greatest row.
    pub(super) high: usize,
    /// Whether there would be more rows if more of each source were looked at.
    is_by_step: bool,
}

impl<B, O: RowOrder<B>> Sources<B, O> {
    /// Cuts a window: everything up to the smallest of the last rows of all sources, where no more than `step` rows of each are looked
    /// at.
    fn cut(&mut self, step: usize, cut: &mut Cut) {
        cut.pieces.clear();
        let mut bound: Option<Head> = None;
        for source in 0..self.progress.len() {
            let at = self.progress[source];
            if at.row < at.rows {
                let last = Head { source, row: at.rows.min(at.row.saturating_add(step)) - 1 };
                if bound.is_none_or(|bound| self.compare(last, bound).is_lt()) {
                    bound = Some(last);
                }
            }
        }
        let Some(bound) = bound else { return };
        cut.is_by_step = bound.row + 1 < self.progress[bound.source].rows;
        cut.rows = 0;
        for source in 0..self.progress.len() {
            let Progress { row, rows, batches, .. } = self.progress[source];
            let end = if source == bound.source {
                cut.high = cut.pieces.len();
                bound.row + 1
            } else if row < rows {
                row + self.count_before(source, rows.min(row.saturating_add(step)), bound)
            } else {
                row
            };
            if row < end {
                cut.rows += end - row;
                cut.pieces.push(Piece { source, batch: batches.saturating_sub(1), rows: row..end });
            }
        }
    }
}
