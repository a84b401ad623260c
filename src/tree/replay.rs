//! How the matches of a tournament are played.

use std::hint::select_unpredictable;
use std::mem;

use super::LoserTree;
use super::favourite::NOBODY;
use super::loser_tree::Due;
use super::node::Node;
use crate::key::Order;

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Plays the matches that are due, and returns the winner.
    ///
    /// From a register: read back from the tree, it would wait for its own store at every item.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn settled(&mut self) -> Node {
        match self.due {
            Due::Nothing => self.winner,
            Due::Successor | Due::Winner => self.replay_winner(),
            Due::Path(source) => self.replay(source),
            Due::Everything => self.replay_all(),
        }
    }

    /// Plays the matches of the winner's source, and returns the new winner.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn replay_winner(&mut self) -> Node {
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        let source = self.winner.source();
        let challenger = if self.has_offsets() {
            let Some(challenger) = self.next_player_by_offset(source) else { return self.replay(source) };
            challenger
        } else {
            self.player(source)
        };
        if source == self.finalist {
            return self.replay_finalist(challenger);
        }
        self.climb(source, challenger)
    }

    /// Plays the matches of another source than the winner's, or of one whose head has no code against the one that was taken
    /// last.
    #[cold]
    #[inline(never)]
    pub(super) fn replay(&mut self, source: usize) -> Node {
        self.due = Due::Everything;
        if self.has_offsets() {
            self.replay_by_bytes(source);
        } else {
            self.leave_seat();
            let challenger = self.player(source);
            if self.is_line() {
                self.make_winner_of_line(source);
            } else {
                self.sink(source, self.levels + 1, self.winner);
            }
            self.winner = self.challenge(source, challenger);
        }
        // Who wins now has not done so in a row.
        self.streak = 0;
        self.due = Due::Nothing;
        self.winner
    }

    /// Plays the matches of a challenger that comes for the winner, and returns the new one.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn climb(&mut self, source: usize, challenger: Node) -> Node {
        if self.favourite != NOBODY {
            return self.replay_by_seat(source, challenger);
        }
        let winner = self.challenge(source, challenger);
        self.winner = winner;
        self.streak = select_unpredictable(winner.source() == source, self.streak + 1, 0);
        if self.streak >= self.long_streak && !self.is_pair() {
            self.make_favourite();
        }
        self.due = Due::Nothing;
        winner
    }

    /// The matches of a challenger where there is no favourite.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn challenge(&mut self, source: usize, challenger: Node) -> Node {
        if self.is_line() {
            self.climb_in_line(challenger, false)
        } else {
            self.play_up(self.parent(source), 0, challenger)
        }
    }

    /// Plays the matches of a challenger at a node and above, up to below `end`, and returns who comes there.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn play_up(&mut self, mut node: usize, end: usize, mut challenger: Node) -> Node {
        if O::EXACT {
            while node > end {
                challenger = self.play(node, challenger);
                node /= 2;
            }
            return challenger;
        }
        if self.has_offsets() {
            while node > end {
                challenger = self.play_by_offset(node, challenger);
                node /= 2;
            }
            return challenger;
        }
        if O::PARTS > 0 && !self.has_few_leaves() {
            while node > end {
                challenger = self.play_by_prefix(node, challenger);
                node /= 2;
            }
            return challenger;
        }
        self.play_up_with_head(node, end, challenger)
    }

    /// The matches of a challenger whose head may have to be compared. It goes along by reference: looked up
    /// for each match, it takes 1.1 times as long at K = 16 and 1.16 times at K = 1024 (bench `scoreboard`,
    /// `losertree_by`).
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn play_up_with_head(&mut self, mut node: usize, end: usize, mut challenger: Node) -> Node {
        let Self { order, heads, losers, .. } = self;
        while node > end && !challenger.is_live() {
            if losers[node].is_before(challenger) {
                mem::swap(&mut losers[node], &mut challenger);
            }
            node /= 2;
        }
        let Some(mut head) = challenger.head(heads) else { return challenger };
        while node > end {
            let holder = losers[node];
            // Without an opponent the challenger goes on.
            if let Some(opponent) = holder.head(heads) {
                let holder_wins = is_before(order, (holder, opponent), (challenger, head));
                if O::PARTS > 0 {
                    // A branch, as in `play_by_prefix`.
                    if holder_wins {
                        (losers[node], challenger, head) = (challenger, holder, opponent);
                    }
                } else {
                    if O::HAS_CODES {
                        losers[node].code = select_unpredictable(holder_wins, challenger.code, holder.code);
                        challenger.code = select_unpredictable(holder_wins, holder.code, challenger.code);
                    }
                    losers[node].rank = select_unpredictable(holder_wins, challenger.rank, holder.rank);
                    challenger.rank = select_unpredictable(holder_wins, holder.rank, challenger.rank);
                    head = select_unpredictable(holder_wins, opponent, head);
                }
            }
            node /= 2;
        }
        challenger
    }

    /// Plays every match.
    ///
    /// Leaves come in from left to right, by pairs, and the winner of a pair climbs for as long as the player that it meets
    /// is there. That player is the winner of the left subtree, parked in the parent. Pair p completes as many subtrees
    /// above it as p has trailing ones, and the last winner ends up in node 0.
    ///
    /// By pairs, it takes 0.92 of the time until the first item that it does by single leaves (bench `scoreboard`,
    /// `first/uniform/1000`).
    #[cold]
    #[inline(never)]
    pub(super) fn replay_all(&mut self) -> Node {
        self.due = Due::Everything;
        self.forget_favourite();
        self.streak = 0;
        if self.is_line() {
            self.winner = self.line_up();
            self.due = Due::Nothing;
            return self.winner;
        }
        let has_offsets = self.has_offsets();
        for source in (0..self.losers.len()).step_by(2) {
            let mut node = self.parent(source);
            self.losers[node] = self.first_player(has_offsets, source);
            if node == 0 {
                break;
            }
            let challenger = self.first_player(has_offsets, source + 1);
            let mut player = self.play_any(node, challenger);
            node /= 2;
            for _ in 0..(source / 2).trailing_ones() {
                player = self.play_any(node, player);
                node /= 2;
            }
            self.losers[node] = player;
        }
        self.winner = self.losers[0];
        self.due = Due::Nothing;
        self.winner
    }

    #[inline]
    fn first_player(&mut self, has_offsets: bool, source: usize) -> Node {
        if has_offsets { self.first_player_by_offset(source) } else { self.player(source) }
    }

    /// Returns the node above the leaf of `source`.
    #[inline]
    pub(super) const fn parent(&self, source: usize) -> usize {
        (self.losers.len() + source) >> 1
    }

    /// Returns the player for the head of `source`.
    #[inline]
    pub(super) fn player(&mut self, source: usize) -> Node {
        match self.heads.get(source) {
            Some(Some(head)) => Node::live(self.order.code(head), source),
            _ => Node::exhausted(source),
        }
    }

    /// Plays the match between the loser at `node` and a challenger, keeps the new loser there and returns
    /// the winner.
    #[inline]
    pub(super) fn play(&mut self, node: usize, challenger: Node) -> Node {
        let holder = self.losers[node];
        let holder_wins = self.is_before(holder, challenger);
        self.losers[node] = Node::select(holder_wins, challenger, holder);
        Node::select(holder_wins, holder, challenger)
    }

    /// Plays a match by the codes that there are.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn play_any(&mut self, node: usize, challenger: Node) -> Node {
        if self.has_offsets() { self.play_by_offset(node, challenger) } else { self.play(node, challenger) }
    }

    /// Returns whether `a` comes before `b`.
    #[inline]
    pub(super) fn is_before(&mut self, a: Node, b: Node) -> bool {
        if O::EXACT {
            return a.is_before(b);
        }
        match (a.head(&self.heads), b.head(&self.heads)) {
            (Some(x), Some(y)) => is_before(&mut self.order, (a, x), (b, y)),
            // Exhausted ones have the greatest codes and ranks.
            _ => a.is_before(b),
        }
    }

    /// Rearranges the losers on the way of `source`, below the node of a height, as if its leaf had won all matches up to
    /// there, and `passing` had not; without playing one.
    ///
    /// On the way down, the winner of the subtree at hand is known, and so is whether it or the loser of the
    /// node came up from the child to go to next. The other one is the opponent to be met at this node.
    pub(super) fn sink(&mut self, source: usize, height: u32, mut passing: Node) {
        let has_offsets = self.has_offsets();
        let leaf = self.losers.len() + source;
        for height in (1..height).rev() {
            let (node, child) = (leaf >> height, leaf >> (height - 1));
            let other = (self.losers.len() + self.losers[node].source()) >> (height - 1);
            if has_offsets {
                // Its code is against the one passing, whose code is against the winner, and so both are now: of two
                // differences, the one that comes first.
                self.losers[node].code = self.losers[node].code.max(passing.code);
            }
            if other == child {
                mem::swap(&mut passing, &mut self.losers[node]);
            }
        }
    }
}

/// A live player and the head that it plays for, which is only looked at where codes do not decide.
pub(super) type Player<'a, T> = (Node, &'a T);

/// Returns whether `a` comes before `b`.
#[allow(clippy::inline_always)]
#[inline(always)]
pub(super) fn is_before<T, O: Order<T>>(order: &mut O, a: Player<'_, T>, b: Player<'_, T>) -> bool {
    let ((a, head_a), (b, head_b)) = (a, b);
    if O::EXACT || O::HAS_CODES && a.code != b.code {
        return a.is_before(b);
    }
    // As numbers, less is -1 and equal is 0: a `match` here would branch on what cannot be predicted.
    (order.compare(head_a, head_b) as i8) < i8::from(a.rank < b.rank)
}
