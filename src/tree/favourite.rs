//! The favourite: a source that keeps winning plays in the final only.
//!
//! A source that has won several times in a row becomes the favourite. Its leaf is left empty, and the tournament goes on
//! among the others; the one who wins that meets the favourite in the *final*:
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
//! follow each other, and for the last one that is left. Once more others have won than there are levels, or one of
//! them as often as it takes to be a favourite itself, it goes back to its leaf; and at once if it has not been the
//! favourite twice in a row, for then it is more likely that another run begins.
//!
//! Where the best of the losers is known anyway, with two sources and in a [line](super::line), it is that which
//! waits in the final, and nobody moves. Nor does anybody by [offset-value codes](super::offsets): an item of the favourite
//! whose code is below all those on its way wins, and what is there stays as it is.
//!
//! # Comparisons
//!
//! Exact codes are no comparisons. Otherwise a question may take no more than L = ⌈log2 K⌉ of them on average, so what
//! the favourite saves is counted as a credit, which pays for what else it costs. Where there is little, the favourite rises
//! by steps, each paid for by the one before: its *seat* is above a node of its path, where it plays against the winner of
//! all others below that node, and goes on from there like anybody else. The final is the seat at height L.
//!
//! - The favourite rises by one level: the one whom it has beaten at its seat plays against the loser of the node above.
//!   One comparison from the credit; none at first, where it has beaten nobody.
//! - An item of the favourite at height h takes L − h + 1 matches: h − 1 go to the credit.
//! - An item of another source that comes by the seat may take L + 1: one from the credit.
//! - The favourite goes back to its leaf. If it has won at its seat, that takes no match. If not, it plays those below the
//!   node at which it meets the one who has: at most h − 1 from the credit. So it goes back before there is less, and
//!   there are h whenever it has lost there.
//! - The credit starts with L. The first item takes the K − 1 comparisons of the first question alone, and none of its L. With
//!   each level that the tree gets there is one more, and with each that it loses one less, if there is one.
//!
//! So N items take at most (K − 1) + N·L comparisons less the credit, which never falls below zero. To put three sources in a
//! line can take one more, which comes off the credit when the line becomes a tree; until then, nothing is paid from it.
//!
//! A credit of zero is the end of all this, for then nothing can rise that could save something: the tournament goes on at L
//! comparisons for each item. A trial that ends at once takes one from the credit, so the less there is, the longer a streak
//! must be to be tried; and a favourite that waits while others win goes back while one is left.

use std::mem;

use super::LoserTree;
use super::held::Held;
use super::loser_tree::Due;
use super::node::Node;
use super::replay::is_before;
use crate::key::Order;

/// No source.
pub(super) const NOBODY: usize = usize::MAX;

/// The node of the seat, wherever that is: its loser is the favourite or whom it has beaten.
const SEAT: usize = 0;

/// How many times as long a streak must be where there is little credit: streaks by chance would use that up.
const PATIENCE: u32 = 4;

/// After how many wins in the final the one who beats the favourite is taken for the next one, where there is enough credit.
/// Runs of 64 items then take 0.9 of the time through `next`, and 0.75 through `fold` (bench `scoreboard`, `u64/runs/16`).
const LONG_RUN: u64 = 8;

/// An item of the finalist that has lost the final, as a player; `None` if it has no code.
pub(crate) struct Behind(Option<Node>);

/// The ways of an item.
impl<T, O: Order<T>> LoserTree<T, O> {
    /// Returns the source of the head that was popped, if that waits in the final: it may be asked for items as long as
    /// they are [ahead](Self::ahead).
    #[inline]
    pub(crate) fn streak(&self) -> Option<usize> {
        self.popped().filter(|source| *source == self.finalist)
    }

    /// Finds out whether `item` wins as the successor of the finalist's head, which was popped. The item is in no leaf, so
    /// it is lost if the order panics.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn ahead(&mut self, item: &mut T) -> Result<(), Behind> {
        if self.has_offsets() && self.is_nearer(item) {
            self.wins += 1;
            return Ok(());
        }
        let code = if self.has_offsets() {
            Self::offset_of_next(&mut self.order, &self.offsets, item).ok_or(Behind(None))?
        } else {
            self.order.code(item)
        };
        let player = Node::live(code, self.finalist);
        if !self.wins_final(player, Some(item)) {
            return Err(Behind(Some(player)));
        }
        self.wins += 1;
        if self.has_offsets() {
            self.keep_ahead(item, code);
        }
        Ok(())
    }

    /// Brings the successor of the finalist's head, which was popped, and returns the source of the winner; or the item, if it
    /// is [ahead](Self::ahead).
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn bring_to_final(&mut self, head: T) -> Result<usize, T> {
        // The item is there until it is taken out.
        let Some((item, outcome)) = Held::new(self, head).ask(Self::ahead) else { return Ok(self.finalist) };
        match outcome {
            Ok(()) => Err(item),
            Err(behind) => Ok(self.bring_behind(item, behind)),
        }
    }

    /// Brings the successor of the finalist's head, which was popped and has turned out not to be
    /// [ahead](Self::ahead). Returns the source of the winner.
    #[cold]
    #[inline(never)]
    pub(crate) fn bring_behind(&mut self, head: T, Behind(player): Behind) -> usize {
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        if let Some(leaf) = self.heads.get_mut(self.finalist) {
            *leaf = Some(head);
        }
        let winner = match player {
            Some(player) => self.lose_final(player),
            None => self.replay(self.finalist),
        };
        self.decide(winner)
    }

    /// Plays the final for the finalist, who is the winner, and whose head is in its leaf.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn replay_finalist(&mut self, player: Node) -> Node {
        if player.is_live() && self.wins_final(player, None) {
            // The rank stays as it is: were it stored, the load of the next call would wait for that.
            self.winner.code = player.code;
            self.wins += 1;
            self.due = Due::Nothing;
            return player;
        }
        self.lose_final(player)
    }

    /// Returns whether the finalist wins with this head; `None` is that in its leaf. By offset-value codes, it does not if
    /// they are equal, which is left open then.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn wins_final(&mut self, finalist: Node, head: Option<&T>) -> bool {
        let opponent = self.opponent;
        if O::EXACT {
            return finalist.is_before(opponent);
        }
        if self.has_offsets() {
            return finalist.code < opponent.code;
        }
        match (head.or_else(|| finalist.head(&self.heads)), opponent.head(&self.heads)) {
            (Some(head), Some(other)) => is_before(&mut self.order, (finalist, head), (opponent, other)),
            _ => finalist.is_before(opponent),
        }
    }

    /// Has the finalist lose, or play the final if offset-value codes have left that open.
    #[cold]
    #[inline(never)]
    fn lose_final(&mut self, player: Node) -> Node {
        let wins = self.settle_wins();
        let source = player.source();
        if self.is_line() {
            self.winner = self.climb_in_line(player, true);
        } else if self.has_offsets() || !player.is_live() {
            self.winner = self.climb_by_seat(source, player);
        } else {
            // Who waits there has won.
            let node = if self.stays_in_leaf() { 1 } else { SEAT };
            self.winner = self.losers.get_mut(node).map_or(player, |opponent| mem::replace(opponent, player));
        }
        self.note_item(player);
        if wins >= LONG_RUN && self.favourite == NOBODY {
            self.make_favourite();
        }
        self.due = Due::Nothing;
        self.winner
    }

    /// Plays the matches of a challenger that comes for the winner, while there is a favourite, and returns the new one.
    #[cold]
    #[inline(never)]
    pub(super) fn replay_by_seat(&mut self, source: usize, challenger: Node) -> Node {
        self.winner = if self.is_line() {
            self.climb_in_line(challenger, false)
        } else {
            self.climb_by_seat(source, challenger)
        };
        self.note_item(challenger);
        self.due = Due::Nothing;
        self.winner
    }

    /// The matches of a challenger, with that at the seat if it comes by it.
    fn climb_by_seat(&mut self, source: usize, mut challenger: Node) -> Node {
        let mut node = self.parent(source);
        if self.comes_by_seat(source) {
            let above = self.seat() / 2;
            if source != self.favourite {
                challenger = self.play_up(node, above, challenger);
                if !O::EXACT {
                    self.credit -= 1;
                }
            }
            challenger = if source == self.favourite && !challenger.is_live() {
                // The leaf is empty, and there will be no seat any more.
                self.losers[SEAT]
            } else {
                self.play_any(SEAT, challenger)
            };
            node = above;
        }
        self.play_up(node, 0, challenger)
    }

    /// Notes who has won after the challenger, and has the favourite rise, or go back if it pays no more.
    fn note_item(&mut self, challenger: Node) {
        let is_own = challenger.source() == self.favourite;
        if is_own {
            self.add_credit(1);
        }
        if is_own && !challenger.is_live() {
            self.forget_favourite();
        } else if self.winner.source() == self.favourite {
            if is_own {
                self.note_win();
            }
            self.streak = 0;
            self.rise();
        } else {
            let is_repeat = self.winner.source() == challenger.source();
            self.streak = if is_repeat { self.streak + 1 } else { 0 };
            self.others_won += 1;
            let most = if self.comes_back { self.levels } else { 0 };
            let is_beaten = self.others_won > most || self.streak >= self.long_streak;
            // Before the last of the credit is used up.
            if is_beaten || !O::EXACT && self.credit <= u64::from(self.height) {
                self.leave_seat();
            }
        }
    }
}

/// The favourite and its seat.
impl<T, O: Order<T>> LoserTree<T, O> {
    /// Makes the winner the favourite, whose source has won often in a row, if there is something to pay with.
    #[cold]
    #[inline(never)]
    pub(super) fn make_favourite(&mut self) {
        if self.is_poor() {
            // Twice as long with each comparison less that there is to try it, so that there is one for long runs to come.
            let missing = u64::from(self.levels).saturating_sub(self.credit).min(16);
            if self.streak < (PATIENCE * self.long_streak) << missing {
                return;
            }
        }
        self.streak = 0;
        if !self.winner.is_live() {
            return;
        }
        self.favourite = self.winner.source();
        self.comes_back = self.favourite == self.former_favourite;
        self.others_won = 0;
        self.height = 0;
        self.losers[SEAT] = Node::exhausted(self.favourite);
        self.rise();
    }

    /// Raises the favourite, who is the winner, as far as that can be paid for, and has it see whom it meets in the final.
    fn rise(&mut self) {
        if self.has_offsets() {
            self.finalist = self.favourite;
            self.opponent = self.best_on_path(self.favourite);
            return;
        }
        let node = if self.stays_in_leaf() {
            1
        } else {
            let mut steps = if self.is_poor() { self.credit.min(1) } else { u64::MAX };
            while self.height < self.levels {
                if !O::EXACT && self.height > 0 {
                    if steps == 0 {
                        return;
                    }
                    steps -= 1;
                    self.credit -= 1;
                }
                self.height += 1;
                self.losers[SEAT] = self.play_any(self.seat(), self.losers[SEAT]);
            }
            SEAT
        };
        self.finalist = self.favourite;
        self.opponent = self.losers.get(node).copied().unwrap_or(Node::exhausted(0));
    }

    /// Puts the favourite back into its leaf, if there is one.
    pub(super) fn leave_seat(&mut self) {
        let favourite = self.favourite;
        let is_waiting = self.waiting_favourite().is_some();
        self.forget_favourite();
        if favourite == NOBODY || self.stays_in_leaf() {
            return;
        }
        let (leaf, player) = (self.losers.len() + favourite, self.losers[SEAT]);
        if !is_waiting {
            // It has won at its seat, and so it would have below.
            self.sink(favourite, self.height + 1, player);
            return;
        }
        // Who has won there is the winner, or has lost further up.
        let seat = leaf >> self.height;
        let comes_by = |player: &Node| (self.losers.len() + player.source()) >> self.height == seat;
        let mut above = (1..=seat.ilog2()).map(|levels| self.losers[seat >> levels]);
        let champion = above.find(comes_by).unwrap_or(self.winner);
        let height = usize::BITS - (favourite ^ champion.source()).leading_zeros();
        let meeting = leaf >> height;
        self.sink(favourite, height, self.losers[meeting]);
        if !O::EXACT {
            self.credit -= u64::from(height) - 1;
        }
        self.losers[meeting] = self.play_up(leaf / 2, meeting, player);
    }

    /// The favourite, if it has lost at its seat, and so is in no other node.
    pub(super) fn waiting_favourite(&self) -> Option<usize> {
        let is_seated = self.favourite != NOBODY && !self.stays_in_leaf();
        let player = self.losers[SEAT];
        let is_waiting = is_seated && player.is_live() && player.source() == self.favourite;
        is_waiting.then_some(self.favourite)
    }

    /// Does without a favourite from now on, whatever is in the nodes.
    pub(super) fn forget_favourite(&mut self) {
        self.settle_wins();
        (self.favourite, self.finalist) = (NOBODY, NOBODY);
    }

    /// Whether the favourite needs no seat: who waits in the final is known without.
    #[inline]
    pub(super) fn stays_in_leaf(&self) -> bool {
        self.levels <= 1 || self.is_line() || self.has_offsets()
    }

    /// Whether there is a favourite with a seat, and the way of `source` leads by it.
    pub(super) fn comes_by_seat(&self, source: usize) -> bool {
        let is_seated = self.favourite != NOBODY && !self.stays_in_leaf();
        is_seated && (self.losers.len() + source) >> self.height == self.seat()
    }

    /// The node that the seat is above.
    pub(super) const fn seat(&self) -> usize {
        (self.losers.len() + self.favourite) >> self.height
    }

    /// Whether there is so little credit that only what is won in a row can be spent.
    fn is_poor(&self) -> bool {
        !O::EXACT && !self.stays_in_leaf() && self.credit < 2 * u64::from(self.levels)
    }

    /// Adds up what the finalist has saved, and returns how often it has won.
    pub(super) fn settle_wins(&mut self) -> u64 {
        let wins = mem::take(&mut self.wins);
        if wins > 0 {
            self.note_win();
            self.add_credit(wins);
        }
        wins
    }

    /// Notes that the favourite has won by an item of its own.
    const fn note_win(&mut self) {
        self.others_won = 0;
        self.former_favourite = self.favourite;
    }

    /// Adds what items of the favourite save.
    fn add_credit(&mut self, items: u64) {
        if !O::EXACT {
            self.credit += items * u64::from(self.height.saturating_sub(1));
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
