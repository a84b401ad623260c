use std::cmp::Ordering;
use std::hint::select_unpredictable;

use super::run::Run;
use super::{Coding, RowOrder};
use crate::key::{Order, Sealed};

/// The batches that a merge holds, and how far they have been merged. It is the order of a tournament of their rows.
#[derive(Debug)]
pub(super) struct Sources<B, O> {
    pub(super) order: O,
    pub(super) progress: Vec<Progress>,
    /// The batch of each source.
    pub(super) batches: Vec<Option<B>>,
    /// How far behind the next row of its source the row is that is asked about.
    pub(super) ahead: usize,
}

/// How far a source has been merged.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// How many batches have come.
    pub(super) batches: usize,
    /// The first row that is not decided.
    pub(super) row: usize,
    /// How many rows the batch has.
    pub(super) rows: usize,
    pub(super) has_ended: bool,
    /// Where the source is in the list of those that lack a batch, if it does.
    pub(super) lacking: Option<usize>,
}

impl Progress {
    /// The next rows, as a run.
    #[inline]
    pub(super) const fn run(&self, source: usize, len: usize) -> Run {
        Run::new(source, self.batches.saturating_sub(1), self.row, len)
    }
}

/// What plays for a source: its next row, or one behind it that is only asked about.
///
/// It is one number, since it is read as soon as it has been written: where that were two, a processor would wait for them to be in
/// memory. A merge of numbers by the tournament takes three times as long with the row in here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Player(usize);

impl Player {
    /// Set for the row that is [asked about](Sources::ahead).
    const ASKED: usize = 1 << (usize::BITS - 1);

    pub(super) const fn asked(source: usize) -> Self {
        Self(source | Self::ASKED)
    }
}

/// A row of the batch that a source has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) source: usize,
    pub(super) row: usize,
}

impl<B, O> Sources<B, O> {
    /// Returns the next row of a source that has one.
    #[inline]
    pub(super) fn head(&self, source: usize) -> Option<Head> {
        let at = self.progress.get(source)?;
        (at.row < at.rows).then_some(Head { source, row: at.row })
    }

    /// Returns who plays for a source that has a row.
    #[inline]
    pub(super) fn player(&self, source: usize) -> Option<Player> {
        let at = self.progress.get(source)?;
        (at.row < at.rows).then_some(Player(source))
    }

    #[inline]
    fn head_of(&self, Player(number): Player) -> Head {
        let source = number & !Player::ASKED;
        let ahead = if number == source { 0 } else { self.ahead };
        Head { source, row: self.progress.get(source).map_or(0, |at| at.row) + ahead }
    }

    /// Compares rows of the batches that two sources are at.
    #[inline]
    pub(super) fn compare(&mut self, a: Head, b: Head) -> Ordering
    where
        O: RowOrder<B>,
    {
        match (self.batches.get(a.source), self.batches.get(b.source)) {
            (Some(Some(batch_a)), Some(Some(batch_b))) => {
                self.order.compare((batch_a, a.row), (batch_b, b.row))
            }
            _ => Ordering::Equal,
        }
    }

    /// Returns whether a row comes before one of another source.
    #[inline]
    pub(super) fn is_before(&mut self, a: Head, b: Head) -> bool
    where
        O: RowOrder<B>,
    {
        self.compare(a, b).then(a.source.cmp(&b.source)).is_lt()
    }

    /// Returns how many rows of a source, up to `end`, come before a row of another one.
    pub(super) fn count_before(&mut self, source: usize, end: usize, bound: Head) -> usize
    where
        O: RowOrder<B>,
    {
        let Some(Head { row: begin, .. }) = self.head(source) else { return 0 };
        gallop(end - begin, |row| self.is_before(Head { source, row: begin + row }, bound))
    }
}

impl<B, O> Sealed for Sources<B, O> {}

impl<B, O: RowOrder<B>> Order<Player> for Sources<B, O> {
    const EXACT: bool = matches!(O::CODES, Coding::Exact);
    const HAS_CODES: bool = !matches!(O::CODES, Coding::Nothing);

    #[inline]
    fn code(&mut self, player: &Player) -> u64 {
        let Head { source, row } = self.head_of(*player);
        match self.batches.get(source) {
            Some(Some(batch)) => self.order.code((batch, row)),
            _ => 0,
        }
    }

    #[inline]
    fn compare(&mut self, a: &Player, b: &Player) -> Ordering {
        Self::compare(self, self.head_of(*a), self.head_of(*b))
    }
}

/// Returns how many of the first `len` rows a predicate holds for, if it holds for none after the first that it does not hold for. By
/// doubling and bisection: at most 2·log2 n + 2 questions for n rows, and n + 1.
#[inline]
pub(super) fn gallop(len: usize, mut holds: impl FnMut(usize) -> bool) -> usize {
    let (mut known, mut stride) = (0, 1);
    while known + stride <= len && holds(known + stride - 1) {
        known += stride;
        stride *= 2;
    }
    let mut end = len.min(known + stride - 1);
    while known < end {
        // Which half cannot be predicted.
        let middle = known.midpoint(end);
        let is_behind = holds(middle);
        known = select_unpredictable(is_behind, middle + 1, known);
        end = select_unpredictable(is_behind, end, middle);
    }
    known
}
