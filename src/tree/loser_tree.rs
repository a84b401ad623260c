use std::hint::select_unpredictable;
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
    /// How often in a row the winner has come from the source of the winner before.
    streak: u32,
    /// How long a streak must be to be taken for more than chance.
    long_streak: u32,
    /// The source whose streak has saved a replay. It is taken up again as soon as the source wins again.
    favourite: usize,
    /// A head from the winner's source that comes before this one wins without a replay. Nothing does if no
    /// streak is on.
    bound: Node,
}

/// The matches that must be played before the winner is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    /// Those of the winner's source, whose head has been popped.
    Successor,
    /// Those of the winner's source, whose head has been replaced.
    Winner,
    /// Those of this source, which is another one.
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
            streak: 0,
            long_streak: long_streak(width),
            favourite: usize::MAX,
            bound: Node::FIRST,
        }
    }

    /// Returns the source that has the smallest head, and that head; `None` when all are exhausted.
    // Inlined for the async merge; see `poll_item` there.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub fn winner(&mut self) -> Option<(usize, &T)> {
        let source = self.settled();
        let head = self.heads.get(source)?.as_ref()?;
        Some((source, head))
    }

    /// Calls `ask` with the order and the smallest head.
    pub(crate) fn with_winner<R>(&mut self, ask: impl FnOnce(&mut O, &T) -> R) -> Option<R> {
        let source = self.settled();
        let head = self.heads.get(source)?.as_ref()?;
        Some(ask(&mut self.order, head))
    }

    /// Returns the source that would win if the winner were exhausted, and its head.
    ///
    /// # Complexity
    ///
    /// At most ⌈log2 K⌉ − 1 comparisons: the runner-up has lost to nobody but the winner.
    pub fn runner_up(&mut self) -> Option<(usize, &T)> {
        self.settle();
        let mut best = Node::exhausted(self.losers.len());
        let mut node = self.parent(self.winner.source());
        while node > 0 {
            let loser = self.losers[node];
            let is_better = self.is_before(loser, best);
            best = Node::select(is_better, loser, best);
            node /= 2;
        }
        let head = self.heads.get(best.source())?.as_ref()?;
        Some((best.source(), head))
    }

    /// Takes the smallest head, with its source.
    ///
    /// The source is exhausted then, unless it is given its next head. To ask before that is allowed, and
    /// costs another ⌈log2 K⌉ comparisons when the head comes.
    #[inline]
    pub fn pop(&mut self) -> Option<(usize, T)> {
        let source = self.settled();
        self.take_head_of_winner(source)
    }

    /// Pops where nothing is due.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn take_head_of_winner(&mut self, source: usize) -> Option<(usize, T)> {
        let item = self.heads.get_mut(source)?.take()?;
        self.due = Due::Successor;
        Some((source, item))
    }

    /// Returns the source whose head was popped, if nothing has happened since.
    #[inline]
    pub(crate) const fn popped(&self) -> Option<usize> {
        match self.due {
            Due::Successor => Some(self.winner.source()),
            _ => None,
        }
    }

    /// Brings the successor of the head that was [popped](Self::popped), and pops: [`set_head`](Self::set_head) and
    /// [`pop`](Self::pop) in one, so that the code is taken from the item at hand and not from memory.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn replace_popped(&mut self, head: T) -> Option<(usize, T)> {
        let source = self.winner.source();
        let leaf = self.heads.get_mut(source)?;
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        let code = self.order.code(leaf.insert(head));
        let challenger = Node::live(code, source);
        if challenger.is_before(self.bound) {
            // The rank stays as it is: were it stored, the load of the next call would wait for that.
            self.winner.code = code;
            self.favourite = source;
            self.due = Due::Successor;
            return leaf.take().map(|head| (source, head));
        }
        let winner = self.climb(source, challenger);
        self.take_head_of_winner(winner.source())
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
            Due::Nothing | Due::Successor | Due::Winner if source == self.winner.source() => Due::Winner,
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

    /// Takes the head of the winner, which is of `source`, and brings its successor: [`set_head`](Self::set_head) where
    /// nothing is due.
    #[inline]
    pub(crate) fn replace_winner(&mut self, source: usize, head: T) -> Option<T> {
        debug_assert_eq!((self.due, self.winner.source()), (Due::Nothing, source));
        self.due = Due::Winner;
        self.heads.get_mut(source)?.replace(head)
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
        self.settled();
    }

    /// Plays the matches that are due, and returns the source of the winner.
    ///
    /// From a register: read back from the tree it would have to wait for its own store, at every item (see `poll_item`).
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn settled(&mut self) -> usize {
        let winner = match self.due {
            Due::Nothing => self.winner,
            Due::Successor | Due::Winner => self.replay_winner(),
            Due::Path(source) => self.replay(source),
            Due::Everything => self.replay_all(),
        };
        winner.source()
    }

    /// Returns the winner's source if it has won so often in a row that it may be asked for items as long as
    /// they are [ahead](Self::is_ahead).
    #[inline]
    pub(crate) fn streak(&self) -> Option<usize> {
        (self.bound != Node::FIRST).then_some(self.winner.source())
    }

    /// Returns whether `item` would win if it came next in a streak. The item is in no leaf, so it is lost if
    /// its code panics.
    #[inline]
    pub(crate) fn is_ahead(&mut self, item: &T) -> bool {
        let source = self.winner.source();
        let is_ahead = Node::live(self.order.code(item), source).is_before(self.bound);
        if is_ahead {
            self.favourite = source;
        }
        is_ahead
    }

    /// Plays the matches of the winner's source, and returns the new winner.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn replay_winner(&mut self) -> Node {
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        let source = self.winner.source();
        let challenger = self.player(source);
        if challenger.is_before(self.bound) {
            self.winner.code = challenger.code;
            self.favourite = source;
            self.due = Due::Nothing;
            return challenger;
        }
        self.climb(source, challenger)
    }

    /// Plays the matches of another source than the winner's.
    #[cold]
    #[inline(never)]
    fn replay(&mut self, source: usize) -> Node {
        self.due = Due::Everything;
        let challenger = self.player(source);
        self.make_winner(source);
        self.climb(source, challenger)
    }

    /// Plays the matches of a challenger that comes for the winner, and returns the new one.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn climb(&mut self, source: usize, mut challenger: Node) -> Node {
        let mut node = self.parent(source);
        while node > 0 {
            challenger = self.play(node, challenger);
            node /= 2;
        }
        self.winner = challenger;
        self.due = Due::Nothing;
        self.bound = Node::FIRST;
        let winner = challenger.source();
        self.streak = select_unpredictable(winner == source, self.streak + 1, 0);
        if self.streak >= self.long_streak || winner == self.favourite {
            self.streak = 0;
            self.favourite = usize::MAX;
            self.bound = self.best_loser(winner);
        }
        challenger
    }

    /// Returns what the next head of `source`, the winner's, must come before to win without a replay.
    ///
    /// That is the smallest code among those that have lost to the winner, with the rank of its source if equal codes are
    /// equal items. So no items are compared for it.
    #[cold]
    #[inline(never)]
    fn best_loser(&self, source: usize) -> Node {
        let mut best = Node::exhausted(0);
        let mut node = self.parent(source);
        while node > 0 {
            let loser = self.losers[node];
            if loser.is_before(best) {
                best = loser;
            }
            node /= 2;
        }
        if !O::EXACT && best.is_live() {
            best.rank = 0;
        }
        best
    }

    /// Plays every match.
    ///
    /// Leaves come in from left to right and climb for as long as the player that they meet is there. That
    /// player is the winner of the left subtree, parked in the parent. Leaf s completes as many subtrees as s
    /// has trailing ones, and the last leaf ends up in node 0 as the winner.
    #[cold]
    #[inline(never)]
    fn replay_all(&mut self) -> Node {
        self.due = Due::Everything;
        self.bound = Node::FIRST;
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
        self.winner
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
        self.long_streak = long_streak(2 * width);
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

/// Returns how often in a row a source must win, after its first time, until that is taken for more than chance: on
/// uniform keys in one of 256 cases for up to 16 leaves, and in fewer for more.
const fn long_streak(width: usize) -> u32 {
    match width {
        0..=2 => 8,
        3..=4 => 4,
        5..=8 => 3,
        _ => 2,
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
