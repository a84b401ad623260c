use std::{fmt, mem};

use super::node::Node;
use crate::key::Order;

/// A tournament over the heads of many sources, which says whose head is the smallest.
///
/// The tree knows nothing of where items come from: it holds one head for each source, and its user brings
/// the next one. The [module documentation](super) has the picture.
///
/// A source is named by its index, given out in the order of insertion. A source without a head is
/// *exhausted*; it can be given a head again.
///
/// Changing a head plays no matches. They are played when their outcome is asked for, by
/// [`winner`](Self::winner), [`pop`](Self::pop), [`runner_up`](Self::runner_up) or
/// [`settle`](Self::settle), and never while an item is on its way in or out. So a comparator that panics
/// cannot cost an item: all heads are in their leaves, and the next question plays the whole tournament
/// again.
///
/// # Ordering
///
/// The winner is the smallest head; among equal heads that of the source with the smallest index. With an
/// order that is not total, which head wins is unspecified, but each comes out exactly once.
///
/// # Complexity
///
/// For K sources, the first question costs K − 1 comparisons. A question after one head has changed costs at
/// most ⌈log2 K⌉, after several have changed K − 1. `O(K)` memory; nothing is allocated after construction
/// save by [`push`](Self::push), which doubles the tree when it is full, without a comparison.
///
/// # Panics
///
/// Only where the order panics.
///
/// # Examples
///
/// ```
/// use losertree::key::Natural;
/// use losertree::tree::LoserTree;
///
/// let mut runs = [vec![1, 4].into_iter(), vec![2, 3].into_iter()];
/// let mut tree: LoserTree<i32, _> = LoserTree::new(Natural, runs.iter_mut().map(Iterator::next));
/// let mut merged = Vec::new();
/// while let Some((source, item)) = tree.pop() {
///     merged.push(item);
///     tree.set_head(source, runs[source].next());
/// }
/// assert_eq!(merged, [1, 2, 3, 4]);
/// ```
#[derive(Clone)]
pub struct LoserTree<T, O> {
    order: O,
    /// The leaves: the head of each source.
    heads: Vec<Option<T>>,
    /// The losers, node i above the nodes 2i and 2i + 1; node 0 is not used. The length is the number of
    /// leaves, a power of two: padding leaves belong to sources that do not exist and so are exhausted.
    losers: Vec<Node>,
    winner: Node,
    due: Due,
}

/// The matches that must be played before the winner is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    /// Those between the leaf of this source and the root.
    Path(usize),
    Everything,
}

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Creates a tree over the given heads, one for each source; `None` is an exhausted source.
    pub fn new(order: O, heads: impl IntoIterator<Item = Option<T>>) -> Self {
        let heads: Vec<_> = heads.into_iter().collect();
        let width = heads.len().next_power_of_two();
        Self {
            order,
            heads,
            losers: vec![Node::exhausted(0); width],
            winner: Node::exhausted(0),
            due: Due::Everything,
        }
    }

    /// Returns the source that has the smallest head, and that head; `None` when all are exhausted.
    // Inlined for the async merge; see `poll_item` there.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub fn winner(&mut self) -> Option<(usize, &T)> {
        self.settle();
        let source = self.winner.source();
        let head = self.heads.get(source)?.as_ref()?;
        Some((source, head))
    }

    /// Calls `ask` with the order and the smallest head.
    pub(crate) fn with_winner<R>(&mut self, ask: impl FnOnce(&mut O, &T) -> R) -> Option<R> {
        self.settle();
        let head = self.heads.get(self.winner.source())?.as_ref()?;
        Some(ask(&mut self.order, head))
    }

    /// Returns the source that would win if the winner were exhausted, and its head.
    ///
    /// # Complexity
    ///
    /// At most ⌈log2 K⌉ − 1 comparisons: the runner-up has lost to nobody but the winner.
    pub fn runner_up(&mut self) -> Option<(usize, &T)> {
        self.settle();
        let source = self.bound().source();
        let head = self.heads.get(source)?.as_ref()?;
        Some((source, head))
    }

    /// Takes the smallest head, with its source.
    ///
    /// The source is exhausted then, unless it is given its next head. To ask before that is allowed, and
    /// costs another ⌈log2 K⌉ comparisons when the head comes.
    #[inline]
    pub fn pop(&mut self) -> Option<(usize, T)> {
        self.settle();
        let source = self.winner.source();
        let item = self.heads.get_mut(source)?.take()?;
        self.due = Due::Path(source);
        Some((source, item))
    }

    /// Replaces the head of a source and returns the one it had; `None` retires the source.
    ///
    /// With the [`winner`](Self::winner)'s source, this takes the smallest head and brings its successor.
    ///
    /// A source that does not exist has no head to replace: `head` comes back.
    #[inline]
    pub fn set_head(&mut self, source: usize, head: Option<T>) -> Option<T> {
        let Some(leaf) = self.heads.get_mut(source) else {
            return head;
        };
        self.due = match self.due {
            Due::Nothing => Due::Path(source),
            Due::Path(other) if other == source => Due::Path(source),
            _ => Due::Everything,
        };
        mem::replace(leaf, head)
    }

    /// Returns whether the head of `source` is smaller than `item`.
    pub(crate) fn is_head_before(&mut self, source: usize, item: &T) -> bool {
        let Some(Some(head)) = self.heads.get(source) else { return false };
        self.order.compare(head, item).is_lt()
    }

    /// Adds a source and returns its index, the next one.
    ///
    /// # Complexity
    ///
    /// Amortised `O(1)`; the first question afterwards plays the matches above the new leaf.
    pub fn push(&mut self, head: Option<T>) -> usize {
        let source = self.heads.len();
        if source == self.losers.len() {
            self.grow();
        }
        let is_exhausted = head.is_none();
        self.heads.push(None);
        // A leaf that is exhausted from the start changes no match.
        if !is_exhausted {
            self.set_head(source, head);
        }
        source
    }

    /// Plays the matches that are due.
    ///
    /// Every question does this first. Calling it between changes to several heads keeps the cost of each
    /// at ⌈log2 K⌉ comparisons.
    #[inline]
    pub fn settle(&mut self) {
        match self.due {
            Due::Nothing => {}
            Due::Path(source) => self.replay(source),
            Due::Everything => self.replay_all(),
        }
    }

    /// Returns the best player that has lost to the winner, or to the item popped last.
    pub(crate) fn bound(&mut self) -> Node {
        let mut best = Node::exhausted(self.losers.len());
        let mut node = self.parent(self.winner.source());
        while node > 0 {
            let loser = self.losers[node];
            let is_better = self.is_before(loser, best);
            best = Node::select(is_better, loser, best);
            node /= 2;
        }
        best
    }

    /// Returns whether `item` would win if it came next from the source of the winner, given the
    /// [`bound`](Self::bound). For exact codes only: the item is in no leaf where it could be compared.
    #[inline]
    pub(crate) fn is_ahead(&mut self, item: &T, bound: Node) -> bool {
        debug_assert!(O::EXACT);
        Node::live(self.order.code(item), self.winner.source()).is_before(bound)
    }

    /// Plays the matches between the leaf of `source` and the root.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn replay(&mut self, source: usize) {
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        if source != self.winner.source() {
            self.make_winner(source);
        }
        let mut challenger = self.player(source);
        let mut node = self.parent(source);
        while node > 0 {
            challenger = self.play(node, challenger);
            node /= 2;
        }
        self.winner = challenger;
        self.due = Due::Nothing;
    }

    /// Plays every match.
    ///
    /// Leaves come in from left to right and climb for as long as the player that they meet is there. That
    /// player is the winner of the left subtree, parked in the parent. Leaf s completes as many subtrees as s
    /// has trailing ones, and the last leaf ends up in node 0 as the winner.
    #[cold]
    #[inline(never)]
    fn replay_all(&mut self) {
        self.due = Due::Everything;
        for source in 0..self.losers.len() {
            let mut player = self.player(source);
            let mut node = self.parent(source);
            for _ in 0..source.trailing_ones() {
                player = self.play(node, player);
                node /= 2;
            }
            self.losers[node] = player;
        }
        self.winner = self.losers[0];
        self.due = Due::Nothing;
    }

    /// Returns the node above the leaf of `source`.
    #[inline]
    const fn parent(&self, source: usize) -> usize {
        (self.losers.len() + source) >> 1
    }

    /// Returns the player for the head of `source`.
    #[inline]
    fn player(&mut self, source: usize) -> Node {
        match self.heads.get(source) {
            Some(Some(head)) => Node::live(self.order.code(head), source),
            _ => Node::exhausted(source),
        }
    }

    /// Plays the match between the loser at `node` and a challenger, keeps the new loser there and returns
    /// the winner.
    #[inline]
    fn play(&mut self, node: usize, challenger: Node) -> Node {
        let holder = self.losers[node];
        let holder_wins = self.is_before(holder, challenger);
        self.losers[node] = Node::select(holder_wins, challenger, holder);
        Node::select(holder_wins, holder, challenger)
    }

    #[inline]
    fn is_before(&mut self, a: Node, b: Node) -> bool {
        if O::EXACT || a.code != b.code {
            return a.is_before(b);
        }
        match (self.heads.get(a.source()), self.heads.get(b.source())) {
            // As numbers, less is -1 and equal is 0: a `match` here would branch on what cannot be predicted.
            (Some(Some(x)), Some(Some(y))) => (self.order.compare(x, y) as i8) < i8::from(a.rank < b.rank),
            _ => a.rank < b.rank,
        }
    }

    /// Rearranges the losers as if the leaf of `source` had won every match, without playing one.
    ///
    /// On the way down, the winner of the subtree at hand is known, and so is whether it or the loser of the
    /// node came up from the child to go to next. The other one is the opponent to be met at this node.
    fn make_winner(&mut self, source: usize) {
        let leaf = self.losers.len() + source;
        let depth = leaf.ilog2();
        let mut passing = self.winner;
        for height in (1..=depth).rev() {
            let node = leaf >> height;
            let child = leaf >> (height - 1);
            let other = (self.losers.len() + self.losers[node].source()) >> (height - 1);
            if other == child {
                mem::swap(&mut passing, &mut self.losers[node]);
            }
        }
        self.winner = passing;
    }

    /// Doubles the number of leaves. The old tree becomes the left subtree of the new root; on the right
    /// all are exhausted, so that the loser of each match there is the leftmost leaf of the right child.
    fn grow(&mut self) {
        let width = self.losers.len();
        let old = mem::replace(&mut self.losers, vec![Node::exhausted(0); 2 * width]);
        for node in 1..2 * width {
            let level = 1 << node.ilog2();
            let offset = node - level;
            self.losers[node] = if level == 1 {
                Node::exhausted(width)
            } else if offset < level / 2 {
                old[level / 2 + offset]
            } else {
                // The node covers `span` leaves from `first`.
                let span = 2 * width / level;
                let first = offset * span;
                Node::exhausted(first + span / 2)
            };
        }
    }
}

impl<T, O> LoserTree<T, O> {
    /// Takes all heads, and with them the sources.
    pub(crate) fn take_heads(&mut self) -> Vec<Option<T>> {
        self.due = Due::Everything;
        mem::take(&mut self.heads)
    }

    /// Takes the head of a source, when no more questions will be asked: a drop has no order to ask.
    pub(crate) fn take_head(&mut self, source: usize) -> Option<T> {
        self.due = Due::Everything;
        self.heads.get_mut(source)?.take()
    }

    /// Returns the number of sources, exhausted ones included.
    #[must_use]
    pub const fn sources(&self) -> usize {
        self.heads.len()
    }

    /// Returns the heads by source.
    #[must_use]
    pub fn heads(&self) -> &[Option<T>] {
        &self.heads
    }

    /// Returns the order.
    pub const fn order_mut(&mut self) -> &mut O {
        &mut self.order
    }

    /// Returns the heads by source, without playing.
    #[must_use]
    pub fn into_heads(self) -> Vec<Option<T>> {
        self.heads
    }
}

impl<T: fmt::Debug, O: fmt::Debug> fmt::Debug for LoserTree<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoserTree")
            .field("order", &self.order)
            .field("heads", &self.heads)
            .finish_non_exhaustive()
    }
}
