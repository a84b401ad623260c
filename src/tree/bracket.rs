//! The textbook algorithm: a complete tree of losers in an array, and who plays whom.
//!
//! P10: a replay plays one match a level.
//!
//! Nothing here knows of heads or orders. Whoever climbs brings along how a match is played: a function that is given the
//! loser of the match before at a node, and the challenger; it leaves the new loser there and returns the winner.

use std::hint::select_unpredictable;

use super::node::Node;

/// The losers of a tournament, in a complete binary tree: node i is above the nodes 2i and 2i + 1.
///
/// The leaves are implied: that of source s would be node n + s, where n is the number of leaves, a power of two. The padding
/// leaves belong to sources that do not exist and so are exhausted. Node 0 is not used.
#[derive(Debug, Clone)]
pub(super) struct Bracket {
    losers: Vec<Node>,
}

impl Bracket {
    /// A tournament for so many sources, in which nothing has been played.
    pub(super) fn new(sources: usize) -> Self {
        Self { losers: vec![Node::exhausted(0); sources.next_power_of_two()] }
    }

    #[inline]
    pub(super) const fn leaves(&self) -> usize {
        self.losers.len()
    }

    /// How many matches a leaf is away from the top.
    #[inline]
    pub(super) const fn levels(&self) -> u32 {
        self.losers.len().ilog2()
    }

    /// The node so many levels above the leaf of a source.
    #[inline]
    pub(super) const fn node_above(&self, source: usize, levels: u32) -> usize {
        (self.losers.len() + source) >> levels
    }

    /// The loser at a node; an exhausted one where there is no match, above the only leaf.
    #[inline]
    pub(super) fn loser(&self, node: usize) -> Node {
        if node == 0 {
            Node::exhausted(0)
        } else {
            self.losers.get(node).copied().unwrap_or(Node::exhausted(0))
        }
    }

    /// The losers on the way from the leaf of a source to the top.
    #[inline]
    pub(super) fn path(&self, source: usize) -> impl Iterator<Item = Node> {
        let mut node = self.node_above(source, 1);
        std::iter::from_fn(move || {
            let loser = (node > 0).then(|| self.losers[node]);
            node /= 2;
            loser
        })
    }

    /// Plays every match, and returns the winner.
    ///
    /// Leaves come in from left to right, by pairs, and the winner of a pair climbs for as long as the player that it meets
    /// is there. That player is the winner of the left subtree, parked in the parent. Pair p completes as many subtrees
    /// above it as p has trailing ones, and the last winner ends up in node 0.
    ///
    /// By pairs, it takes 0.92 of the time until the first item that it does by single leaves (bench `scoreboard`,
    /// `first/uniform/1000`).
    pub(super) fn build<C>(
        &mut self,
        context: &mut C,
        player: impl Fn(&mut C, usize) -> Node,
        play: impl Fn(&mut C, &mut Node, Node) -> Node,
    ) -> Node {
        for source in (0..self.losers.len()).step_by(2) {
            let mut node = self.node_above(source, 1);
            self.losers[node] = player(context, source);
            if node == 0 {
                break;
            }
            let challenger = player(context, source + 1);
            let mut winner = play(context, &mut self.losers[node], challenger);
            node /= 2;
            for _ in 0..(source / 2).trailing_ones() {
                winner = play(context, &mut self.losers[node], winner);
                node /= 2;
            }
            self.losers[node] = winner;
        }
        self.losers[0]
    }

    /// Has a challenger from the leaf of a source play its matches, and returns the winner of all.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn climb(
        &mut self,
        source: usize,
        challenger: Node,
        play: impl FnMut(&mut Node, Node) -> Node,
    ) -> Node {
        self.climb_from(self.node_above(source, 1), challenger, play)
    }

    /// Has a challenger play the match at a node and those above it.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn climb_from(
        &mut self,
        mut node: usize,
        mut challenger: Node,
        mut play: impl FnMut(&mut Node, Node) -> Node,
    ) -> Node {
        // One check is the end of the way and that of the index.
        let losers = &mut self.losers[1..];
        while let Some(loser) = losers.get_mut(node.wrapping_sub(1)) {
            challenger = play(loser, challenger);
            node /= 2;
        }
        challenger
    }

    /// Has a challenger from the leaf of a source play its matches below that of `winner`, who is known to win: whoever comes out
    /// of them loses to it. Returns how many levels above the leaf that is.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn climb_below(
        &mut self,
        source: usize,
        mut challenger: Node,
        winner: Node,
        mut play: impl FnMut(&mut Node, Node) -> Node,
    ) -> u32 {
        let mut node = self.node_above(source, 1);
        let mut height = 1;
        while node > 0 && self.losers[node].rank != winner.rank {
            challenger = play(&mut self.losers[node], challenger);
            node /= 2;
            height += 1;
        }
        if node > 0 {
            self.losers[node] = challenger;
        }
        height
    }

    /// Has a challenger play its matches, where `least` is the [least](Self::least) on its way, and the challenger's code is no
    /// smaller: so that wins, or one that has the same code.
    ///
    /// Where the challenger's code is greater, who wins does not wait for the matches below that one, whose outcome a processor cannot
    /// predict.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn climb_past(
        &mut self,
        mut challenger: Node,
        least: Node,
        mut play: impl FnMut(&mut Node, Node) -> Node,
    ) -> Node {
        let mut node = self.node_above(challenger.source(), 1);
        let losers = &mut self.losers[1..];
        while let Some(loser) = losers.get_mut(node.wrapping_sub(1)) {
            if loser.rank == least.rank {
                if challenger.code == least.code {
                    break;
                }
                *loser = challenger;
                return least;
            }
            challenger = play(loser, challenger);
            node /= 2;
        }
        self.climb_from(node, challenger, play)
    }

    /// Returns the topmost player of those on the way of a source that have the smallest code there.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn least(&self, source: usize) -> Node {
        self.best_by(source, |least, loser| Node::select(loser.code <= least.code, loser, least))
    }

    /// Returns the one that comes first by code and rank, of those on the way of a source.
    ///
    /// By two ways, of codes and of ranks: where both are compared on one way, the compiler branches on who comes first, which a
    /// processor could not predict.
    pub(super) fn first(&self, source: usize) -> Node {
        let Node { code, .. } = self.least(source);
        let rank = |loser: Node| select_unpredictable(loser.code == code, loser.rank, u64::MAX);
        Node { code, rank: self.path(source).map(rank).min().unwrap_or(u64::MAX) }
    }

    /// Returns the best of the losers on the way of a source.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn best_by(&self, source: usize, mut best: impl FnMut(Node, Node) -> Node) -> Node {
        let mut node = self.node_above(source, 1);
        let mut runner_up = self.loser(node);
        let losers = &self.losers[1..];
        node /= 2;
        while let Some(&loser) = losers.get(node.wrapping_sub(1)) {
            runner_up = best(runner_up, loser);
            node /= 2;
        }
        runner_up
    }

    /// Gives all losers other codes, each made from the player and the one that it has lost to.
    pub(super) fn recode_all(&mut self, winner: Node, code: &mut impl FnMut(Node, Node) -> u64) {
        self.recode_below(1, winner, code);
    }

    fn recode_below(&mut self, node: usize, winner: Node, code: &mut impl FnMut(Node, Node) -> u64) {
        let Some(&loser) = self.losers.get(node) else { return };
        if loser.is_live() {
            self.losers[node].code = code(loser, winner);
        }
        let levels = self.levels() - node.ilog2() - 1;
        let (a, b) = (self.node_above(winner.source(), levels), self.node_above(loser.source(), levels));
        self.recode_below(a, winner, code);
        if a != b {
            self.recode_below(b, loser, code);
        }
    }

    /// Rearranges the losers on the way of `source` as if its leaf had won all matches and `winner`, who has, had not; without
    /// playing one. `combine` makes the code of a loser, which is against the second player, one against what the code of
    /// that is against.
    ///
    /// On the way down, the winner of the subtree at hand is known, and so is whether it or the loser of the
    /// node came up from the child to go to next. The other one is the opponent to be met at this node.
    pub(super) fn vacate(&mut self, source: usize, winner: Node, combine: impl Fn(Node, Node) -> u64) {
        let mut passing = winner;
        for levels in (1..=self.levels()).rev() {
            let (node, child) = (self.node_above(source, levels), self.node_above(source, levels - 1));
            let loser = self.losers[node];
            self.losers[node].code = combine(loser, passing);
            if self.node_above(loser.source(), levels - 1) == child {
                std::mem::swap(&mut passing, &mut self.losers[node]);
            }
        }
    }

    /// Doubles the number of leaves. The old tree becomes the left subtree of the new top; on the right
    /// all are exhausted, so that the loser of each match there is the leftmost leaf of the right child.
    pub(super) fn grow(&mut self) {
        let old = self.losers.len();
        self.losers.resize(2 * old, Node::exhausted(0));
        // From the last one on, so that each is still there when it moves.
        for node in (1..2 * old).rev() {
            let level = 1 << node.ilog2();
            let offset = node - level;
            self.losers[node] = if level == 1 {
                Node::exhausted(old)
            } else if offset < level / 2 {
                self.losers[level / 2 + offset]
            } else {
                // The node covers `span` leaves from `first`.
                let span = 2 * old / level;
                let first = offset * span;
                Node::exhausted(first + span / 2)
            };
        }
    }

    /// Has as many leaves as that many sources need, and room for as many again. Everything must be played then.
    pub(super) fn shrink(&mut self, sources: usize) {
        let leaves = sources.next_power_of_two();
        self.losers.truncate(leaves);
        self.losers.shrink_to(2 * leaves);
    }

    /// The nodes, for the [line](super::line) of three sources.
    #[inline]
    pub(super) fn line_mut(&mut self) -> Option<&mut [Node; 4]> {
        self.losers.first_chunk_mut()
    }

    /// The losers by node.
    #[inline]
    pub(super) fn losers_mut(&mut self) -> &mut [Node] {
        &mut self.losers
    }

    /// The loser at a node, to be replaced.
    #[inline]
    pub(super) fn loser_mut(&mut self, node: usize) -> Option<&mut Node> {
        self.losers.get_mut(node)
    }

    #[cfg(test)]
    pub(super) fn losers(&self) -> &[Node] {
        &self.losers
    }
}
