//! The favourite: a source that keeps winning plays in the final only.
//!
//! A source that has won several times in a row becomes the favourite. Its leaf is left empty, and the tournament goes on
//! among the others; the one who wins that meets the favourite in the *final*, at node 0:
//!
//! ```text
//!       winner                             winner
//!         │                                  │
//!         ○ 1                                ○ 0  the final
//!      ┌──┴──┐                            ┌──┴──┐
//!      ○ 2   ○ 3      the favourite:      ○ 1   C
//!    ┌─┴─┐ ┌─┴─┐      C                ┌──┴──┐
//!    A   B C   D                       ○ 2   ○ 3
//!                                    ┌─┴─┐ ┌─┴─┐
//!                                    A   B -   D
//! ```
//!
//! So an item of the favourite costs one match, whoever else is there, and those of the others one more than they do
//! without. That pays for as long as the favourite gives a good share of the items: in runs, with skew, for sources that
//! follow each other, and for the last one that is left. Once as many others have won in a row as there are levels,
//! or one of them as often as it takes to be a favourite itself, it goes back to its leaf.
//!
//! Where the best of the losers is known anyway, with two sources and in a [line](super::line), it is a copy of that that
//! waits in the final, and nobody moves.
//!
//! # Comparisons
//!
//! Exact codes are no comparisons. Otherwise a question may take no more than L = ⌈log2 K⌉ of them on average, so what
//! the favourite saves is counted as a credit, which pays for what else it costs:
//!
//! - It becomes the favourite: the others play what matches it leaves open, L − 1 from the credit.
//! - An item of the favourite takes one match, the final: L − 1 go to the credit.
//! - An item of another source may take L + 1: one from the credit.
//! - The favourite goes back to its leaf. If it is the winner, that takes no match. If not, it plays those below the node at
//!   which it meets the winner, whom it has lost to: L − 1 from the credit. So it goes back before there is less, and
//!   there are L whenever somebody else has won.
//! - The credit starts with L. The first item takes the K − 1 comparisons of the first question alone, and none of its L.
//!
//! So N items take at most (K − 1) + N·L comparisons less the credit, which never falls below zero. Streaks by chance
//! would use it up, and runs that come after them would find none: so there must be enough for two favourites, or a streak
//! that is none by chance.

use std::mem;

use super::LoserTree;
use super::loser_tree::Due;
use super::node::Node;
use super::replay::is_before;
use crate::key::Order;

/// No source.
pub(super) const NOBODY: usize = usize::MAX;

/// The node of the final.
const FINAL: usize = 0;

/// How long a streak must be where there is little credit.
const VERY_LONG_STREAK: u32 = 16;

/// An item of the favourite that has lost the final, as a player; `None` if it has no code.
pub(crate) struct Behind(Option<Node>);

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Returns the source of the head that was popped, if that is the favourite: it may be asked for items as long as they
    /// are [ahead](Self::ahead).
    #[inline]
    pub(crate) fn streak(&self) -> Option<usize> {
        self.popped().filter(|source| *source == self.favourite)
    }

    /// Finds out whether `item` wins as the successor of the favourite's head, which was popped. The item is in no leaf, so
    /// it is lost if the order panics.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn ahead(&mut self, item: &mut T) -> Result<(), Behind> {
        let code = if self.has_offsets() {
            Self::offset_of_next(&mut self.order, &self.offsets, item).ok_or(Behind(None))?
        } else {
            self.order.code(item)
        };
        let player = Node::live(code, self.favourite);
        if !self.wins_final(player, Some(item)) {
            return Err(Behind(Some(player)));
        }
        self.wins += 1;
        if self.has_offsets() {
            self.keep_ahead(item, code);
        }
        Ok(())
    }

    /// Brings the successor of the favourite's head, which was popped, and pops.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn replace_favourite(&mut self, head: T) -> Option<(usize, T)> {
        let source = self.favourite;
        let (item, outcome) = Held::new(self, head).ahead()?;
        let Err(behind) = outcome else { return Some((source, item)) };
        let winner = self.bring_behind(item, behind);
        self.pop_settled(winner)
    }

    /// Brings the successor of the favourite's head, which was popped and has turned out not to be
    /// [ahead](Self::ahead). Returns the source of the winner.
    #[cold]
    #[inline(never)]
    pub(crate) fn bring_behind(&mut self, head: T, Behind(player): Behind) -> usize {
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        if let Some(leaf) = self.heads.get_mut(self.favourite) {
            *leaf = Some(head);
        }
        let winner = match player {
            Some(player) => self.lose_final(player),
            None => self.replay_all(),
        };
        winner.source()
    }

    /// Plays the final for the favourite, who is the winner, and whose head is in its leaf.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn replay_favourite(&mut self, player: Node) -> Node {
        if player.is_live() && self.wins_final(player, None) {
            // The rank stays as it is: were it stored, the load of the next call would wait for that.
            self.winner.code = player.code;
            self.wins += 1;
            self.due = Due::Nothing;
            return player;
        }
        self.lose_final(player)
    }

    /// Plays the matches of a challenger that is not the favourite's, while there is one, up to the final.
    #[cold]
    #[inline(never)]
    pub(super) fn climb_to_final(&mut self, source: usize, challenger: Node) -> Node {
        self.winner = if self.is_line() {
            self.climb_in_line(challenger, false)
        } else {
            self.climb_to(0, source, challenger)
        };
        if !self.is_runner_up_known() {
            if !O::EXACT {
                self.credit -= 1;
            }
            self.winner = self.play_any(FINAL, self.winner);
        }
        self.streak = if self.winner.source() == source { self.streak + 1 } else { 0 };
        self.note_final();
        self.due = Due::Nothing;
        self.winner
    }

    /// Makes the winner the favourite, whose source has won often in a row, if that can be paid for.
    #[cold]
    #[inline(never)]
    pub(super) fn make_favourite(&mut self) {
        let source = self.winner.source();
        if !self.winner.is_live() {
            self.streak = 0;
            return;
        }
        if !self.is_runner_up_known() {
            if !O::EXACT {
                let price = u64::from(self.levels) - 1;
                let is_very_long = self.streak >= VERY_LONG_STREAK;
                if self.credit < if is_very_long { price } else { 2 * price + 2 } {
                    self.streak = self.streak.min(VERY_LONG_STREAK);
                    return;
                }
                self.credit -= price;
            }
            self.losers[FINAL] = self.climb_to(0, source, Node::exhausted(source));
        }
        self.meet_opponent();
        self.comes_back = source == self.former_favourite;
        self.favourite = source;
        self.former_favourite = source;
        self.others_won = 0;
        self.streak = 0;
    }

    /// Puts the favourite back into its leaf, if there is one.
    pub(super) fn leave_final(&mut self) {
        self.settle_wins();
        let favourite = mem::replace(&mut self.favourite, NOBODY);
        if favourite == NOBODY || self.is_runner_up_known() {
            return;
        }
        if self.winner.source() == favourite {
            self.sink(favourite, self.levels + 1, self.losers[FINAL]);
            return;
        }
        // It has lost to the winner, so it stays below the node where they meet.
        let height = usize::BITS - (favourite ^ self.winner.source()).leading_zeros();
        let meeting = (self.losers.len() + favourite) >> height;
        self.sink(favourite, height, self.losers[meeting]);
        if !O::EXACT {
            self.credit -= u64::from(height) - 1;
        }
        self.losers[meeting] = self.climb_to(meeting, favourite, self.losers[FINAL]);
    }

    /// Whether node 1 holds the runner-up.
    #[inline]
    pub(super) fn is_runner_up_known(&self) -> bool {
        self.levels <= 1 || self.is_line()
    }

    /// Returns whether the favourite wins the final with this head; `None` is that in its leaf. By offset-value codes, it
    /// does not if they are equal, which is left open then.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn wins_final(&mut self, favourite: Node, head: Option<&T>) -> bool {
        let opponent = self.opponent;
        if O::EXACT {
            return favourite.is_before(opponent);
        }
        if self.has_offsets() {
            return favourite.code < opponent.code;
        }
        match (head.or_else(|| favourite.head(&self.heads)), opponent.head(&self.heads)) {
            (Some(head), Some(other)) => is_before(&mut self.order, (favourite, head), (opponent, other)),
            _ => favourite.is_before(opponent),
        }
    }

    /// Has the favourite lose the final, or play it if offset-value codes have left that open.
    #[cold]
    #[inline(never)]
    fn lose_final(&mut self, player: Node) -> Node {
        self.settle_wins();
        let has_offsets = self.has_offsets();
        self.winner = if self.is_line() {
            self.climb_in_line(player, true)
        } else if self.levels <= 1 {
            let runner_up = self.losers.get_mut(1).filter(|_| !has_offsets);
            match runner_up {
                Some(runner_up) => mem::replace(runner_up, player),
                None => self.climb_to(0, self.favourite, player),
            }
        } else {
            self.add_credit(1);
            let finalist = &mut self.losers[FINAL];
            if has_offsets { self.play_by_offset(FINAL, player) } else { mem::replace(finalist, player) }
        };
        self.streak = 0;
        if player.is_live() {
            self.note_final();
        } else {
            self.leave_final();
        }
        self.due = Due::Nothing;
        self.winner
    }

    /// Adds up what the favourite has saved since it was asked for last.
    pub(super) fn settle_wins(&mut self) {
        let wins = mem::take(&mut self.wins);
        if wins > 0 {
            self.others_won = 0;
            self.add_credit(wins);
        }
    }

    /// Adds what items of the favourite save, which take one match and not one at each level.
    fn add_credit(&mut self, items: u64) {
        self.credit += items * u64::from(self.levels.saturating_sub(1));
    }

    /// Notes who has won the final, and has the favourite go back if it pays no more.
    fn note_final(&mut self) {
        if self.winner.source() == self.favourite {
            self.meet_opponent();
            return;
        }
        self.others_won += 1;
        let is_poor = !O::EXACT && self.credit < u64::from(self.levels);
        let most = if self.comes_back { self.levels } else { 0 };
        let is_beaten = self.others_won > most || self.streak >= self.long_streak;
        if is_poor || is_beaten {
            self.leave_final();
        }
    }

    /// Looks up who waits in the final for the favourite.
    fn meet_opponent(&mut self) {
        let node = if self.is_runner_up_known() { 1 } else { FINAL };
        self.opponent = self.losers.get(node).copied().unwrap_or(Node::exhausted(0));
    }
}

/// The next item of the favourite, which is in no leaf. It goes there if the order panics.
pub(crate) struct Held<'a, T, O: Order<T>> {
    tree: &'a mut LoserTree<T, O>,
    item: Option<T>,
}

impl<'a, T, O: Order<T>> Held<'a, T, O> {
    #[inline]
    pub(crate) const fn new(tree: &'a mut LoserTree<T, O>, item: T) -> Self {
        Self { tree, item: Some(item) }
    }

    /// Finds out whether the item is [ahead](LoserTree::ahead), and gives it back.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn ahead(mut self) -> Option<(T, Result<(), Behind>)> {
        let outcome = self.tree.ahead(self.item.as_mut()?);
        Some((self.item.take()?, outcome))
    }
}

impl<T, O: Order<T>> Drop for Held<'_, T, O> {
    #[inline]
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            let source = self.tree.favourite;
            self.tree.set_head(source, Some(item));
        }
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
