//! Streaks: a source that keeps winning needs no replay.
//!
//! The players that the winner has beaten stay where they are while it keeps winning, and the best of them, the
//! runner-up, is among those that it met on its path. Once that one is known, the next head of the winner's source has won
//! if it comes before it. If it does not, the runner-up has won, and only the matches below it are open.
//!
//! # Comparisons
//!
//! Codes mostly say who the runner-up is, and always if they are exact. Where they are equal, items are compared, and a
//! replay may take no more than L = ⌈log2 K⌉ comparisons on average. So what streaks save is counted as a credit, and the
//! runner-up is looked for by steps that it pays for. The *rival* is the best of the first j losers on the path:
//!
//! - To look one node further compares the rival with one loser: one comparison from the credit.
//! - A head that comes before the rival has won j matches by one comparison: j − 1 go to the credit.
//! - A head that comes after it loses at the rival's node, the b-th. The b − 1 matches below are played, and those up to the
//!   j-th are not: j − b go to the credit.
//! - The credit starts with L. The first item takes the K − 1 comparisons of the first question alone, and none of its L.
//!
//! So N items take at most (K − 1) + N·L comparisons less the credit, which never falls below zero. A streak that is found
//! out to be none costs no more than one comparison at first, and one that goes on pays for each step by the one before.

use std::mem;

use super::LoserTree;
use super::node::Node;
use crate::key::Order;

/// No source.
pub(super) const NOBODY: usize = usize::MAX;

/// With less credit than this, a streak must be [`PATIENCE`] times as long before it is spent, as long as none is by chance:
/// those would use it up, and the runs that come after them would find none.
const SCARCE: u64 = 16;
const PATIENCE: u32 = 4;

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Returns the winner's source if it has won so often in a row that it may be asked for items as long as
    /// they are [ahead](Self::is_ahead).
    #[inline]
    pub(crate) fn streak(&self) -> Option<usize> {
        (self.bound != Node::FIRST).then_some(self.winner.source())
    }

    /// Returns whether `item` would win if it came next in a streak. The item is in no leaf, so it is lost if
    /// the order panics.
    #[inline]
    pub(crate) fn is_ahead(&mut self, item: &mut T) -> bool {
        let source = self.winner.source();
        let code = if self.has_offsets() {
            let Some(code) = Self::offset_of_next(&mut self.order, &self.offsets, item) else { return false };
            code
        } else {
            self.order.code(item)
        };
        let challenger = (Node::live(code, source), Some(&*item));
        let is_ahead = is_within(&mut self.order, &self.heads, self.bound, challenger);
        if is_ahead {
            self.note_saved(source);
            if self.has_offsets() {
                self.keep_ahead(item, code);
            }
        }
        is_ahead
    }

    /// Returns whether a challenger from the winner's source, whose head is in its leaf, wins without a replay.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn is_still_first(&mut self, challenger: Node) -> bool {
        let head = self.heads.get(challenger.source()).and_then(Option::as_ref);
        is_within(&mut self.order, &self.heads, self.bound, (challenger, head))
    }

    /// Notes that the streak of `source` has saved a replay.
    #[inline]
    pub(super) const fn note_saved(&mut self, source: usize) {
        self.favourite = source;
        if !O::EXACT {
            // Of L − 1. In a tree of two leaves that is none, and none is ever spent.
            self.credit += 1;
        }
    }

    /// Looks for what the next head of `source`, the winner's, must come before to win without a replay.
    ///
    /// Nothing does if the winner is exhausted: a head that it is given must be replayed, since without that
    /// the winner keeps its rank.
    #[cold]
    #[inline(never)]
    pub(super) fn look_for_rival(&mut self, source: usize) {
        self.favourite = NOBODY;
        let rival = mem::replace(&mut self.rival, NOBODY);
        if !self.winner.is_live() {
            self.streak = 0;
            return;
        }
        let bottom = self.parent(source);
        let smallest = self.best_by_code(bottom);
        if O::EXACT || self.has_offsets() {
            // Equal codes are equal items, or are left to a replay.
            self.streak = 0;
            self.bound =
                if O::EXACT || !smallest.is_live() { smallest } else { Node { rank: 0, ..smallest } };
            return;
        }
        let mut budget = self.credit.min(if self.credit < SCARCE { 1 } else { u64::MAX });
        let (mut best, mut known, mut node) = (Node::exhausted(0), 0, bottom);
        if self.is_line() {
            // The first one is known to be the best.
            node = 1;
        }
        if rival != NOBODY {
            (best, known) = (self.losers[self.meeting_of(source, rival)], self.known);
            node = known / 2;
        } else if self.credit < SCARCE && self.streak / PATIENCE < self.long_streak {
            budget = 0;
        } else {
            self.streak = 0;
        }
        while node > 0 {
            let loser = self.losers[node];
            let is_tie = loser.code == best.code && loser.is_live() && best.is_live();
            // Above the smallest code, nobody is the runner-up.
            if !is_tie || loser.code > smallest.code {
                best = Node::select(loser.is_before(best), loser, best);
            } else if budget > 0 {
                budget -= 1;
                self.credit -= 1;
                best = if self.is_before(loser, best) { loser } else { best };
            } else {
                break;
            }
            known = node;
            node /= 2;
        }
        if node > 0 {
            self.bound = Node { rank: 0, ..smallest };
            if known < bottom {
                (self.rival, self.known) = (best.source(), known);
            }
            return;
        }
        self.streak = 0;
        self.bound = best;
        if best.is_live() {
            (self.rival, self.known) = (best.source(), known);
            self.bound.rank += 1;
        }
    }

    /// Returns the loser that comes first by code and rank, from a node up to the root.
    fn best_by_code(&self, mut node: usize) -> Node {
        let mut best = Node::exhausted(0);
        while node > 0 {
            let loser = self.losers[node];
            best = Node::select(loser.is_before(best), loser, best);
            node /= 2;
        }
        best
    }

    /// Plays the matches of a challenger for the winner, which is of `source`, up to the last that the rival decides.
    /// Returns the next node and who comes there.
    #[cold]
    #[inline(never)]
    pub(super) fn pass_rival(&mut self, source: usize, mut challenger: Node) -> (usize, Node) {
        let meeting = self.meeting_of(source, self.rival);
        let mut node = self.parent(source);
        let decided = u64::from(node.ilog2() - self.known.ilog2() + 1);
        let mut comparisons = 1;
        // If the rival is the runner-up, the challenger has been compared with it, and did not win by that.
        if self.known == 1 || self.is_before(self.losers[meeting], challenger) {
            while node != meeting {
                challenger = self.play(node, challenger);
                comparisons += 1;
                node /= 2;
            }
            mem::swap(&mut self.losers[meeting], &mut challenger);
        }
        self.credit += decided - comparisons;
        (self.known / 2, challenger)
    }

    /// Returns the node on the path of `source` where it meets `other`.
    const fn meeting_of(&self, source: usize, other: usize) -> usize {
        let height = usize::BITS - (source ^ other).leading_zeros();
        (self.losers.len() + source) >> height
    }
}

/// Returns whether a challenger comes before the bound of a streak.
#[allow(clippy::inline_always)]
#[inline(always)]
fn is_within<T, O: Order<T>>(
    order: &mut O,
    heads: &[Option<T>],
    bound: Node,
    (challenger, head): (Node, Option<&T>),
) -> bool {
    if O::EXACT || challenger.code != bound.code {
        return challenger.is_before(bound);
    }
    let rival = Node { rank: bound.rank.wrapping_sub(1), ..bound }.source();
    match (head, heads.get(rival).and_then(Option::as_ref)) {
        // As in a match.
        (Some(head), Some(other)) => {
            (order.compare(head, other) as i8) < i8::from(challenger.source() < rival)
        }
        // By code alone, or with nobody left to win against.
        _ => challenger.rank < bound.rank,
    }
}

/// Returns how often in a row a source must win, after its first time, until that is taken for more than
/// chance.
///
/// On uniform keys that is so in about one of 256 cases for 2, 3 and 16 sources. If one win in a row is enough, uniform
/// keys take 1.2 times as long at K = 16, for streaks that end at once (bench `scoreboard`, `u64/uniform`).
pub(super) const fn long_streak(width: usize) -> u32 {
    match width {
        0..=2 => 8,
        3..=4 => 5,
        5..=8 => 3,
        _ => 2,
    }
}
