//! A source that keeps winning.
//!
//! Where the winner's source has won several times in a row, it is likely to win again. Then it pays to know the *runner-up*: the
//! best of the losers on the winner's way, who wins if the winner does not. A successor that comes before the runner-up wins, at
//! one comparison and without a node being touched, whoever else is there. One that does not has found out who has won: it
//! only plays those that it meets below the runner-up.
//!
//! It is also found, without waiting, where the last streaks tell that it will pay: of the source that had the last long one, when that
//! wins again, as with skew; and of whoever ends a long streak of another source than that, as in runs.
//!
//! # Comparisons
//!
//! P10 is kept here.
//!
//! By codes alone, the runner-up is found without a comparison. Otherwise a question may take no more than L = ⌈log2 K⌉ of them on
//! average, so what the runner-up saves is counted as a credit, which pays for finding it. It is found level by level: of the
//! losers up to *height* h, the runner-up is the best.
//!
//! - Height 1 costs nothing: it is the loser that each challenger from this leaf meets first. Each further level costs one
//!   comparison, from the credit.
//! - A successor that beats the runner-up of height h plays the L − h matches above: L − h + 1 comparisons. That leaves h − 1 for
//!   the credit.
//! - One that does not beat it plays the matches below the runner-up, m − 1 where that is at height m, and the runner-up plays the
//!   L − h above: L − h + m with the comparison between them. That leaves h − m.
//! - The credit starts with L. The first item takes the K − 1 comparisons of the first question alone, and none of its L. With
//!   each level that the tree gets there is one more, and with each that it loses one less, if there is one.
//!
//! So N items take at most (K − 1) + N·L comparisons less the credit, which never falls below zero. To put three sources in a
//! line can take one more, which comes off the credit when the line becomes a tree; until then, nothing is paid from it.
//!
//! Where there is little credit, a streak must be longer to be taken for one, and the height grows by one level for each win,
//! which then has paid for it. A credit of zero is the end of that: the tournament goes on at L comparisons for each item.

use std::hint::select_unpredictable;

use super::bracket::Bracket;
use super::node::Node;

/// How many times as long a streak must be where there is little credit: streaks by chance would use that up.
const PATIENCE: u32 = 4;

/// How often a source must beat the runner-up for it to be worth trying again as soon as it wins again.
const REGULAR: u64 = 4;

/// After how many streaks that have ended at once that source is not tried any more.
const MOST_MISSES: u32 = 3;

/// How often in a row the same source has won, and what is known of the runner-up.
#[derive(Debug, Clone)]
pub(super) struct Streak {
    /// How often in a row the winner has come from the source of the winner before; not counted while there is a runner-up.
    wins: u32,
    /// How long a streak must be to be taken for more than chance.
    long: u32,
    /// The best of the losers on the winner's way, up to the height.
    runner_up: Node,
    height: u32,
    known: Known,
    /// How often the successor has beaten the runner-up.
    stays: u64,
    /// The rank of the last source that has stayed often.
    regular: u64,
    /// How often a runner-up has not been beaten even once, since that source has stayed often.
    misses: u32,
    /// How many comparisons of items may be spent on runners-up.
    credit: u64,
}

/// What is known of the one that is held as the runner-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// At most that it is the best up to the height.
    Part,
    /// That it has the smallest code: it, or one with the same code, is the runner-up.
    Code,
    /// That it is the runner-up.
    All,
}

impl Streak {
    pub(super) fn new(levels: u32) -> Self {
        Self {
            wins: 0,
            long: long(levels),
            runner_up: Node::exhausted(0),
            height: 0,
            known: Known::Part,
            stays: 0,
            regular: u64::MAX,
            misses: 0,
            credit: levels.into(),
        }
    }

    /// The runner-up, if it is known.
    #[inline]
    pub(super) fn runner_up(&self) -> Option<Node> {
        matches!(self.known, Known::All).then_some(self.runner_up)
    }

    /// The topmost on the winner's way of those that have the smallest code, if that is known.
    ///
    /// A runner-up that was asked for has the smallest code, too, but may be below others that have it: these would keep offset-value
    /// codes that are against what was taken before.
    #[inline]
    pub(super) fn least(&self) -> Option<Node> {
        matches!(self.known, Known::Code).then_some(self.runner_up)
    }

    /// Notes that one.
    #[inline]
    pub(super) const fn set_least(&mut self, least: Node) -> Node {
        self.runner_up = least;
        self.known = Known::Code;
        least
    }

    /// The runner-up up to the height, and the height.
    pub(super) const fn partial(&self) -> (Node, u32) {
        (self.runner_up, self.height)
    }

    /// Whether the runner-up is known, up to some height.
    #[inline]
    pub(super) const fn has_begun(&self) -> bool {
        self.height > 0 || !matches!(self.known, Known::Part)
    }

    /// Notes who has won after a challenger from `source`. Returns whether it may be worth knowing the runner-up.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn note(&mut self, winner: Node, source: usize) -> bool {
        let is_repeat = winner.rank == source as u64;
        self.wins = select_unpredictable(is_repeat, self.wins.wrapping_add(1), 0);
        self.wins >= self.long || winner.rank == self.regular
    }

    /// Notes that a successor has beaten the runner-up.
    #[inline]
    pub(super) const fn stay(&mut self) {
        self.stays += 1;
    }

    /// The same, where the runner-up is known up to the height.
    pub(super) const fn stay_at_height(&mut self) {
        self.credit += self.height.saturating_sub(1) as u64;
    }

    /// Returns whether the streak is long enough to be tried, where comparisons must be paid for.
    pub(super) fn is_affordable(&self, levels: u32) -> bool {
        if !self.is_poor(levels) {
            return true;
        }
        // Twice as long with each comparison less that there is to try it, so that there is one for long runs to come.
        let missing = u64::from(levels).saturating_sub(self.credit).min(16);
        self.credit > 0 && self.wins >= (PATIENCE * self.long) << missing
    }

    /// Finds the runner-up of the winner, which comes from `source`, as far as that can be paid for.
    pub(super) fn rise(
        &mut self,
        bracket: &Bracket,
        source: usize,
        mut best: impl FnMut(Node, Node) -> Node,
    ) {
        let levels = bracket.levels();
        if !self.is_poor(levels) && self.height == 0 {
            // All the way. Each level but the first costs one.
            self.credit -= u64::from(levels.saturating_sub(1));
            self.height = levels;
            self.runner_up = bracket.best_by(source, best);
            self.known = Known::All;
            return;
        }
        let mut steps = if self.is_poor(levels) { self.credit.min(1) } else { u64::MAX };
        if self.height == 0 {
            self.height = levels.min(1);
            self.runner_up = bracket.loser(bracket.node_above(source, 1));
        }
        while self.height < levels && steps > 0 {
            steps -= 1;
            self.credit -= 1;
            self.height += 1;
            self.runner_up = best(self.runner_up, bracket.loser(bracket.node_above(source, self.height)));
        }
        self.known = if self.height == levels { Known::All } else { Known::Part };
    }

    /// Notes who the runner-up is, where that is known for nothing.
    #[inline]
    pub(super) const fn set_runner_up(&mut self, runner_up: Node) {
        self.runner_up = runner_up;
        self.known = Known::All;
    }

    /// Forgets the runner-up, where no accounts are kept.
    #[inline]
    pub(super) const fn forget(&mut self) {
        self.known = Known::Part;
    }

    /// Adds up what has been saved, and returns how often the successor has beaten the runner-up.
    const fn settle(&mut self) -> u64 {
        self.credit += self.stays * self.height.saturating_sub(1) as u64;
        std::mem::replace(&mut self.stays, 0)
    }

    /// Notes that a successor has lost to the runner-up, which it has met at this height. Returns whether the next winner is
    /// likely to keep winning.
    pub(super) fn lose(&mut self, source: usize, met: u32) -> bool {
        self.credit += u64::from(self.height.saturating_sub(met));
        self.end(source)
    }

    /// Forgets the runner-up of a source that has lost, or that nothing is known about any more. Returns whether the next winner is
    /// likely to keep winning: whether sources take turns in that.
    pub(super) fn end(&mut self, source: usize) -> bool {
        let stays = self.settle();
        // By moves: how long a streak was is what a processor could not predict.
        let is_long = stays >= REGULAR;
        let take_turns = is_long && self.regular != source as u64;
        let is_miss = stays == 0 && self.known != Known::Part;
        self.misses = select_unpredictable(is_long, 0, self.misses.saturating_add(is_miss.into()));
        let regular = select_unpredictable(self.misses < MOST_MISSES, self.regular, u64::MAX);
        self.regular = select_unpredictable(is_long, source as u64, regular);
        self.wins = 0;
        self.height = 0;
        self.known = Known::Part;
        take_turns
    }

    /// Notes that the tree has a level more, in which nobody is yet. So the runner-up is the same.
    pub(super) const fn grow(&mut self, levels: u32) {
        self.settle();
        if !matches!(self.known, Known::Part) && self.height > 0 {
            self.height += 1;
        }
        self.long = long(levels);
        self.credit += 1;
    }

    /// Notes that the tree has other levels, and that sources have other numbers.
    pub(super) fn shrink(&mut self, before: u32, levels: u32) {
        debug_assert!(!self.has_begun());
        self.regular = u64::MAX;
        self.long = long(levels);
        self.credit = self.credit.saturating_sub((before - levels).into());
    }

    /// Notes that three sources were put in a line, which takes one comparison more than to play two matches.
    pub(super) const fn pay_for_line(&mut self) {
        self.credit = self.credit.saturating_sub(1);
    }

    /// Whether there is so little credit that only what is won in a row can be spent.
    fn is_poor(&self, levels: u32) -> bool {
        self.credit < 2 * u64::from(levels)
    }
}

/// Returns how often in a row a source must win, after its first time, until that is taken for more than
/// chance.
///
/// On uniform keys that is so in about one of 256 cases for 2, 3 and 16 sources. If one win in a row is enough, uniform
/// keys take 1.2 times as long at K = 16, for streaks that end at once (bench `scoreboard`, `u64/uniform`).
const fn long(levels: u32) -> u32 {
    match levels {
        0..=1 => 8,
        2 => 5,
        3 => 3,
        _ => 2,
    }
}
