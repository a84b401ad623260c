//! Three or four sources in a line.
//!
//! In a tree of four leaves a challenger plays two matches, one after the other, at nodes that depend on its source. In a
//! line, the losers are sorted, the runner-up first, and the challenger is compared with all of them at once: the way from
//! a head to the next winner has one match less, and none against a leaf that does not exist. Where items are compared, a
//! line is for three sources, since each is compared with two others then, as P10 allows; four stay in a tree.
//!
//! A line is kept in the nodes: node 1 holds the first loser. It takes 0.8 of the time that a tree does, and 0.65 where three
//! sources have a comparator (bench `scoreboard`, `u64/uniform/3` and `/4`).

use std::mem;

use super::LoserTree;
use super::node::Node;
use super::replay::is_before;
use crate::key::Order;

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Whether the losers are in a line.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn is_line(&self) -> bool {
        self.losers.len() == 4 && (O::EXACT || (self.heads.len() == 3 && !self.has_offsets()))
    }

    /// Has a challenger for the winner take its place in the line, and returns the new winner. The challenger may be known
    /// not to come before the first one.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn climb_in_line(&mut self, challenger: Node, is_behind: bool) -> Node {
        let Self { order, heads, losers, .. } = self;
        let Some([_, first, second, third]) = losers.first_chunk_mut() else { return challenger };
        let (a, b, c) = (*first, *second, *third);
        if O::EXACT {
            let (before_a, before_b, before_c) =
                (challenger.is_before(a), challenger.is_before(b), challenger.is_before(c));
            *first = Node::select(before_a, a, Node::select(before_b, challenger, b));
            *second = Node::select(before_b, b, Node::select(before_c, challenger, c));
            *third = Node::select(before_c, c, challenger);
            return Node::select(before_a, challenger, a);
        }
        let head = challenger.head(heads);
        let mut is_before = |other: Node| match (head, other.head(heads)) {
            (Some(head), Some(opponent)) => is_before(order, (challenger, head), (other, opponent)),
            _ => challenger.is_before(other),
        };
        if O::PARTS > 0 {
            // By branches, as in a tree.
            if !is_behind && is_before(a) {
                return challenger;
            }
            (*first, *second) = if is_before(b) { (challenger, b) } else { (b, challenger) };
            return a;
        }
        let before_a = !is_behind && is_before(a);
        // Nor does it matter what an order that is none says then: each keeps one place.
        let before_b = is_before(b) | before_a;
        *first = Node::select(before_a, a, Node::select(before_b, challenger, b));
        *second = Node::select(before_b, b, challenger);
        Node::select(before_a, challenger, a)
    }

    /// Puts all players in a line, and returns the winner.
    pub(super) fn line_up(&mut self) -> Node {
        for source in 0..4 {
            let mut place = source;
            self.losers[place] = self.player(source);
            while place > 0 && self.is_before(self.losers[place], self.losers[place - 1]) {
                self.losers.swap(place, place - 1);
                place -= 1;
            }
        }
        self.losers[0]
    }

    /// Puts the winner in the line, in the place of `source`, as if that had won.
    pub(super) fn make_winner_of_line(&mut self, source: usize) {
        let Some(place) = self.losers.iter().skip(1).position(|loser| loser.source() == source) else {
            return;
        };
        self.losers[1..place + 2].rotate_right(1);
        mem::swap(&mut self.losers[1], &mut self.winner);
    }

    /// Makes a tree of a line of three, for a fourth source to come.
    pub(super) fn leave_line(&mut self) {
        let (a, b) = (self.losers[1], self.losers[2]);
        // The first two sources meet in node 2, and the better of them meets the third in node 1.
        let is_second_first = self.winner.source() != 2 && a.source() != 2;
        (self.losers[1], self.losers[2]) = if is_second_first { (b, a) } else { (a, b) };
        self.leave_seat();
        // To line up three takes one comparison more than to play two matches.
        self.credit = self.credit.saturating_sub(1);
    }
}
