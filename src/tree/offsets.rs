//! A tournament by offset-value codes.
//!
//! Keys that are strings of bytes begin with their first eight bytes as codes, which cost nothing to keep. Only when these have
//! been equal too often do offset-value codes take their place: for identifiers or words they would be a burden.
//!
//! The codes of all players on the way of the winner are against the winner before, and so is that of its successor, so
//! they can be compared. The loser of a match then has a code against the winner of that match: its old one, or where
//! both were equal a new one, which comparing them gives. See [`OffsetCode`].

use std::cmp::Ordering;

use super::LoserTree;
use super::loser_tree::Due;
use super::node::Node;
use crate::key::{KeyBuffer, MOST_PARTS, OffsetCode, Order};

/// What a tournament by offset-value codes keeps beside its nodes.
#[derive(Debug, Clone)]
pub(super) struct Offsets {
    /// Whether nodes have offset-value codes. Before, they have those of the keys alone.
    pub(super) is_on: bool,
    /// Whether they are to have them even where leaves are few.
    is_wanted: bool,
    /// How often keys have had to be compared since their codes were equal.
    pub(super) ties: usize,
    /// Whether the code of the winner is against nothing, since all matches have been played anew, or its head has come
    /// between.
    is_fresh: bool,
    /// The key of the head that was taken last, or, while nothing is due, of the winner; unless sources hand codes in.
    before: KeyBuffer,
    /// Its code against the one taken before it.
    pub(super) taken: OffsetCode,
}

impl Default for Offsets {
    fn default() -> Self {
        Self {
            is_on: false,
            is_wanted: false,
            ties: 0,
            is_fresh: true,
            before: KeyBuffer::default(),
            taken: OffsetCode::UNKNOWN,
        }
    }
}

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Whether there are offset-value codes in this order. Where codes tell any two items apart, there is no use for them.
    pub(crate) const HAS_OFFSETS: bool = !O::EXACT && O::PARTS > 0 && O::PARTS <= MOST_PARTS;

    /// Whether leaves are so few that the bytes of keys are compared right away. By offset-value codes, label sets take 1.1 times as
    /// long or more with two sources, about as long with four, 0.8 times with eight and 0.7 times with 16 (bench
    /// `scoreboard`, `labels/labels` and `labels/replicas`, with 1 and 64 here).
    #[inline]
    pub(super) const fn has_few_leaves(&self) -> bool {
        !O::IS_CODED && self.losers.len() <= 4
    }

    /// Whether nodes have offset-value codes.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) const fn has_offsets(&self) -> bool {
        Self::HAS_OFFSETS && self.offsets.is_on
    }

    /// Whether the nodes are to have offset-value codes: where leaves are not few, once the codes of the keys have turned out to
    /// tell too little.
    #[inline]
    pub(super) const fn wants_offsets(&self) -> bool {
        let Offsets { is_on, is_wanted, ties, .. } = self.offsets;
        let is_worth_it = !self.has_few_leaves() && (is_on || ties > 2 * self.losers.len());
        Self::HAS_OFFSETS && (O::IS_CODED || is_wanted || is_worth_it)
    }

    /// Chooses what the nodes hold, where the number of leaves has changed.
    pub(super) fn choose_codes(&mut self) {
        let is_on = self.wants_offsets();
        if is_on != self.offsets.is_on {
            // Nothing is known of heads that have been taken in between.
            let Offsets { is_wanted, ties, .. } = self.offsets;
            self.offsets = Offsets { is_on, is_wanted, ties, ..Offsets::default() };
            self.due = Due::Everything;
        }
    }

    /// Has the nodes hold offset-value codes from now on, where nothing is due. Who has lost to whom stays, so nobody is compared:
    /// each loser gets its code against the winner of its match.
    #[cold]
    #[inline(never)]
    fn begin_offsets(&mut self) {
        self.leave_seat();
        let winner = self.winner.source();
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        self.offsets.is_on = true;
        self.winner = self.first_player_by_offset(winner);
        self.recode(1, winner);
        self.due = Due::Nothing;
    }

    /// Gives the losers at `node` and below their codes, where `winner` has come from there.
    fn recode(&mut self, node: usize, winner: usize) {
        let width = self.losers.len();
        let Some(&loser) = self.losers.get(node) else { return };
        if let (Some(Some(before)), Some(head)) = (self.heads.get(winner), loser.head(&self.heads)) {
            let code = self.order.code_between(before, head).unwrap_or(OffsetCode::UNKNOWN);
            self.losers[node].code = code.0;
        }
        let levels = self.levels - node.ilog2() - 1;
        let (a, b) = ((width + winner) >> levels, (width + loser.source()) >> levels);
        self.recode(a, winner);
        if a != b {
            self.recode(b, loser.source());
        }
    }

    /// Has the nodes hold offset-value codes, if items have any, though there may be few leaves. That of the next head
    /// that is taken is not known.
    pub(crate) fn use_offsets(&mut self) {
        self.offsets.is_wanted = true;
        self.choose_codes();
        if Self::HAS_OFFSETS {
            self.due = Due::Everything;
        }
    }

    /// Returns whether the winner is equal to the head that was taken last, if that is known.
    pub(crate) fn is_repeat(&mut self) -> Option<bool> {
        if !self.has_offsets() {
            return None;
        }
        self.settle();
        (!self.offsets.is_fresh).then(|| self.winner.is_live() && OffsetCode(self.winner.code).is_equal())
    }

    /// Returns whether the head that was taken last is equal to the one taken before that, if that is known.
    pub(crate) fn is_taken_repeat(&self) -> Option<bool> {
        let is_known = self.has_offsets() && self.offsets.taken != OffsetCode::UNKNOWN;
        is_known.then(|| self.offsets.taken.is_equal())
    }

    /// Returns the offset-value code of the head that was taken last, against the one taken before that.
    pub(crate) const fn code_of_taken(&self) -> OffsetCode {
        self.offsets.taken
    }

    /// Plays the matches that are due and keeps the key of the winner, so that taking its head asks the order nothing.
    /// Returns the source of the winner.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn decided(&mut self) -> usize {
        if self.due == Due::Nothing {
            self.winner.source()
        } else {
            let winner = self.settled();
            self.decide(winner)
        }
    }

    /// Keeps the key of the winner, which has just been found, and returns its source.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn decide(&mut self, winner: Node) -> usize {
        let source = winner.source();
        if self.has_offsets() {
            self.keep_winner(source);
        } else if self.wants_offsets() {
            self.begin_offsets();
            self.keep_winner(source);
        }
        source
    }

    /// Keeps the key of the winner, while its head is in its leaf: on the way, it would be lost if the order panics.
    #[inline]
    fn keep_winner(&mut self, source: usize) {
        let Some(Some(head)) = self.heads.get_mut(source) else { return };
        // Should the order panic, the nodes are of no more use.
        let due = std::mem::replace(&mut self.due, Due::Everything);
        self.order.keep(&mut self.offsets.before, head, OffsetCode(self.winner.code));
        self.due = due;
    }

    /// Notes the code of the winner's head, which is being taken.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn note_taken(&mut self) {
        if self.has_offsets() {
            let code = OffsetCode(self.winner.code);
            self.offsets.taken = if self.offsets.is_fresh { OffsetCode::UNKNOWN } else { code };
            self.offsets.is_fresh = false;
        }
    }

    /// Notes the code of the winner's head, which has been taken, and tells it that. In its leaf it would be copied before the
    /// store of the code is done, and would wait for that.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn hand_on(&mut self, head: &mut T) {
        self.note_taken();
        if O::IS_CODED {
            self.order.hand_on(head, self.offsets.taken);
        }
    }

    /// Finds out whether an item of the finalist wins by what it has in common with the key that is kept, which stays: beyond
    /// that, nobody on its way has anything to do with it. So its code is not known.
    #[inline]
    pub(super) fn is_nearer(&mut self, item: &T) -> bool {
        let Offsets { before, is_wanted, .. } = &self.offsets;
        let is_nearer =
            !O::IS_CODED && !is_wanted && self.order.is_nearer(before, item, OffsetCode(self.opponent.code));
        if is_nearer {
            self.offsets.taken = OffsetCode::UNKNOWN;
            self.offsets.is_fresh = true;
        }
        is_nearer
    }

    /// The smallest code on the way of the winner: by offset-value codes, all of them are against the winner.
    pub(super) fn best_on_path(&self, winner: usize) -> Node {
        let mut best = Node::exhausted(winner);
        let mut node = self.parent(winner);
        while node > 0 {
            best.code = best.code.min(self.losers[node].code);
            node /= 2;
        }
        best
    }

    /// Keeps the key of an item that has won without having been in a leaf.
    #[inline]
    pub(super) fn keep_ahead(&mut self, item: &mut T, code: u64) {
        self.winner.code = code;
        self.offsets.taken = OffsetCode(code);
        // Should the order panic, half of the key may be that of the item before.
        let due = std::mem::replace(&mut self.due, Due::Everything);
        self.order.keep(&mut self.offsets.before, item, self.offsets.taken);
        self.due = due;
        self.order.hand_on(item, self.offsets.taken);
    }

    /// The code of an item that comes after the head that was taken last; `None` if it comes before that, or is not known.
    #[inline]
    pub(super) fn offset_of_next(order: &mut O, offsets: &Offsets, item: &T) -> Option<u64> {
        let code =
            if O::IS_CODED { order.handed_code(item) } else { order.code_after(&offsets.before, item) };
        code.map(|code| code.0)
    }

    /// The player for the head of `source`, from which the last one was taken; `None` if it has no code against that.
    #[inline]
    pub(super) fn next_player_by_offset(&mut self, source: usize) -> Option<Node> {
        let Some(Some(head)) = self.heads.get(source) else { return Some(Node::exhausted(source)) };
        let code = Self::offset_of_next(&mut self.order, &self.offsets, head)?;
        Some(Node::live(code, source))
    }

    /// The player for the head of `source`, against nothing.
    #[inline]
    pub(super) fn first_player_by_offset(&mut self, source: usize) -> Node {
        self.offsets.is_fresh = true;
        match self.heads.get(source) {
            Some(Some(head)) => Node::live(self.order.first_code(head).0, source),
            _ => Node::exhausted(source),
        }
    }

    /// Plays the matches of a source whose head has no code against the head that was taken last.
    pub(super) fn replay_by_bytes(&mut self, source: usize) {
        self.leave_seat();
        // The codes on the way of the winner are against the head that was taken last, or will be.
        if source != self.winner.source() {
            self.sink(source, self.levels + 1, self.winner);
        }
        self.winner = self.climb_by_bytes(source);
    }

    /// Plays the matches of the head of `source`, as `play_up` does, where it has no code against what the codes on the path
    /// are against: by its bytes, until it loses.
    fn climb_by_bytes(&mut self, source: usize) -> Node {
        let mut node = self.parent(source);
        let Some(Some(head)) = self.heads.get(source) else {
            return self.play_up(node, 0, Node::exhausted(source));
        };
        while node > 0 {
            let holder = self.losers[node];
            if let Some(opponent) = holder.head(&self.heads) {
                let (order, code) = self.order.compare_coded(OffsetCode::NOTHING_SHARED, opponent, head);
                if order.then(holder.source().cmp(&source)).is_lt() {
                    self.losers[node] = Node::live(code.0, source);
                    return self.play_up(node / 2, 0, holder);
                }
                self.losers[node].code = code.0;
            }
            node /= 2;
        }
        self.first_player_by_offset(source)
    }

    /// Plays the match at `node`, as `play` does, by offset-value codes.
    #[inline]
    pub(super) fn play_by_offset(&mut self, node: usize, challenger: Node) -> Node {
        let holder = self.losers[node];
        if holder.code == challenger.code {
            return self.play_out(node, challenger);
        }
        let holder_wins = holder.code < challenger.code;
        self.losers[node] = Node::select(holder_wins, challenger, holder);
        Node::select(holder_wins, holder, challenger)
    }

    /// Plays a match between two that have one offset-value code: by their bytes, and equal ones by rank.
    fn play_out(&mut self, node: usize, challenger: Node) -> Node {
        let holder = self.losers[node];
        let code = OffsetCode(holder.code);
        let (order, code) = match (holder.head(&self.heads), challenger.head(&self.heads)) {
            (Some(a), Some(b)) if !code.is_equal() => self.order.compare_coded(code, a, b),
            _ => (Ordering::Equal, code),
        };
        let holder_wins = order.then(holder.rank.cmp(&challenger.rank)).is_lt();
        let (winner, loser) = if holder_wins { (holder, challenger) } else { (challenger, holder) };
        self.losers[node] = Node { code: code.0, ..loser };
        winner
    }

    /// Plays the match at `node` by the first eight bytes of the keys, and by a branch: keys are seldom in a near cache, and where
    /// the next winner is guessed, its key is on its way before the match is played.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn play_by_prefix(&mut self, node: usize, challenger: Node) -> Node {
        let holder = self.losers[node];
        let holder_wins = if holder.code == challenger.code {
            self.is_before_by_bytes(holder, challenger)
        } else {
            holder.code < challenger.code
        };
        if holder_wins {
            self.losers[node] = challenger;
            return holder;
        }
        challenger
    }

    /// Whether `a` comes before `b`, which has the same first bytes.
    #[inline(never)]
    fn is_before_by_bytes(&mut self, a: Node, b: Node) -> bool {
        self.offsets.ties += 1;
        self.is_before(a, b)
    }
}
