use std::{fmt, mem};

use super::favourite::{NOBODY, long_streak};
use super::node::Node;
use super::offsets::Offsets;
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
/// [`settle`](Self::settle), and never while an item is on its way in or out. So an order that panics
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
/// For K sources, the first question costs K − 1 comparisons, and so does one after several heads have changed; three sources
/// are put in order then, by at most three. A question after one head has changed costs at most ⌈log2 K⌉, also where its source
/// has just joined; [`settle_before`](Self::settle_before) keeps it at that for each of several. Where a source
/// keeps winning, its items cost one comparison each, and a question after which that begins or ends can cost
/// 2·(⌈log2 K⌉ − 1) more; the first question and n after one change each never cost more than K − 1 + (n + 1)·⌈log2 K⌉
/// together. Where very many runs end as soon as that was tried, it is not tried any more, and each question costs ⌈log2 K⌉.
/// `O(K)` memory; nothing is allocated after construction save by [`push`](Self::push), which doubles the tree when it is full,
/// without a comparison. Sources that have ended are among the K until they are [removed](Self::retain).
///
/// Of keys that are [strings of bytes](crate::key::SortKey::PARTS), two sources have one comparison for each item, and more have one
/// only where the [codes](crate::key::SortKey::code) of two keys, their first eight bytes, are the same. With more than four sources,
/// once that has been so more than twice for each leaf of the tree, offset-value codes take the place of those, for as long as there
/// are more than four. To begin with them, each head but the winner is read once, with the one that it has
/// lost to. From then on a head is also compared once with the winner that was taken from its source, which makes one comparison
/// more; of the others most are of codes. One of another source than the winner's, or one that goes backwards, is compared by its
/// bytes until it loses. The key of the winner is copied, into memory that is allocated again only for a longer one; but not where
/// a source keeps winning by what its keys have in common.
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
    pub(super) order: O,
    /// The leaves: the head of each source.
    pub(super) heads: Vec<Option<T>>,
    /// The losers, node i above the nodes 2i and 2i + 1; node 0 has the loser at the seat, if there is a
    /// [favourite](super::favourite). The length is the number of leaves, a power of two: padding leaves belong to sources
    /// that do not exist and so are exhausted.
    pub(super) losers: Vec<Node>,
    /// How many matches a leaf is away from the root.
    pub(super) levels: u32,
    pub(super) winner: Node,
    pub(super) due: Due,
    /// How often in a row the winner has come from the source of the winner before; not counted for the favourite.
    pub(super) streak: u32,
    /// How long a streak must be to be taken for more than chance.
    pub(super) long_streak: u32,
    /// The source that has won often in a row; see [`favourite`](super::favourite). With more than two sources that are not in
    /// a line, it plays from its seat, and its leaf is empty.
    pub(super) favourite: usize,
    /// How many levels above its leaf the seat is.
    pub(super) height: u32,
    /// The favourite, if it plays in the final only.
    pub(super) finalist: usize,
    /// Who waits for the finalist there, if that is the winner.
    pub(super) opponent: Node,
    /// How many finals it has won that are not in the credit yet.
    pub(super) wins: u64,
    /// How many others have won since the favourite has.
    pub(super) others_won: u32,
    /// The last favourite that has won as one.
    pub(super) former_favourite: usize,
    /// Whether the favourite was that before too: then it is worth waiting for.
    pub(super) comes_back: bool,
    /// How many comparisons of items the favourite may cost.
    pub(super) credit: u64,
    pub(super) offsets: Offsets,
}

/// The matches that must be played before the winner is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Those of the winner's source, whose head has been popped.
    Successor,
    /// Those of the winner's source, whose head has been replaced.
    Winner,
    /// Those of this source, which is another one, or whose head has no code against the one that was taken last.
    Path(usize),
    Everything,
}

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Creates a tree over the given heads, one for each source; `None` is an exhausted source.
    pub fn new(order: O, heads: impl IntoIterator<Item = Option<T>>) -> Self {
        let heads: Vec<_> = heads.into_iter().collect();
        let width = heads.len().next_power_of_two();
        let mut tree = Self {
            order,
            heads,
            losers: vec![Node::exhausted(0); width],
            levels: width.ilog2(),
            winner: Node::exhausted(0),
            due: Due::Everything,
            streak: 0,
            long_streak: long_streak(width),
            favourite: NOBODY,
            height: 0,
            finalist: NOBODY,
            opponent: Node::exhausted(0),
            wins: 0,
            others_won: 0,
            former_favourite: NOBODY,
            comes_back: false,
            credit: u64::from(width.ilog2()),
            offsets: Offsets::default(),
        };
        tree.choose_codes();
        tree
    }

    /// Returns the source that has the smallest head, and that head; `None` when all are exhausted.
    // Inlined for the async merge; see `poll_item` there.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub fn winner(&mut self) -> Option<(usize, &T)> {
        let source = self.decided();
        let head = self.heads.get(source)?.as_ref()?;
        Some((source, head))
    }

    /// Calls `ask` with the order and the smallest head.
    pub(crate) fn with_winner<R>(&mut self, ask: impl FnOnce(&mut O, &T) -> R) -> Option<R> {
        let source = self.decided();
        let head = self.heads.get(source)?.as_ref()?;
        Some(ask(&mut self.order, head))
    }

    /// Returns the source that would win if the winner were exhausted, and its head.
    ///
    /// # Complexity
    ///
    /// At most ⌈log2 K⌉ comparisons: the runner-up has lost to nobody but the winner.
    pub fn runner_up(&mut self) -> Option<(usize, &T)> {
        self.settle();
        let winner = self.winner.source();
        let mut best = Node::exhausted(self.losers.len());
        let mut node = self.parent(winner);
        if self.comes_by_seat(winner) {
            best = self.losers[0];
            if winner == self.favourite {
                node = self.seat() / 2;
            }
        }
        while node > 0 {
            let loser = self.losers[node];
            let is_better = self.is_before(loser, best);
            best = Node::select(is_better, loser, best);
            node /= 2;
        }
        let head = best.head(&self.heads)?;
        Some((best.source(), head))
    }

    /// Takes the smallest head, with its source.
    ///
    /// The source is exhausted then, unless it is given its next head. To ask before that is allowed, and
    /// costs another ⌈log2 K⌉ comparisons when the head comes.
    #[inline]
    pub fn pop(&mut self) -> Option<(usize, T)> {
        let source = self.decided();
        self.pop_decided(source)
    }

    /// Pops where nothing is due, and `source` is that of the winner.
    // What is called for it returns the source and not the item: a result of calls is in memory, and would be copied from
    // there where nothing is called.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn pop_decided(&mut self, source: usize) -> Option<(usize, T)> {
        let mut item = self.heads.get_mut(source)?.take()?;
        self.due = Due::Successor;
        self.hand_on(&mut item);
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

    /// Returns the source of the winner, if no match is due.
    #[inline]
    pub(crate) fn known_winner(&self) -> Option<usize> {
        (self.due == Due::Nothing).then(|| self.winner.source())
    }

    /// Brings the successor of the head that was [popped](Self::popped), and pops: [`set_head`](Self::set_head) and
    /// [`pop`](Self::pop) in one, so that the code is taken from the item at hand and not from memory.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn replace_popped(&mut self, head: T) -> Option<(usize, T)> {
        let source = self.winner.source();
        match self.bring_successor(head) {
            Ok(winner) => self.pop_decided(winner),
            Err(item) => Some((source, item)),
        }
    }

    /// Brings the successor of the head that was [popped](Self::popped), and returns the source of the winner; or the item
    /// itself, if it has won without having been in a leaf.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn bring_successor(&mut self, head: T) -> Result<usize, T> {
        let source = self.winner.source();
        if self.is_pair() {
            return self.bring_to_pair(head);
        }
        if source == self.finalist {
            return self.bring_to_final(head);
        }
        let Some(leaf) = self.heads.get_mut(source) else { return Err(head) };
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        let head = leaf.insert(head);
        let code = if Self::HAS_OFFSETS && self.offsets.is_on {
            Self::offset_of_next(&mut self.order, &self.offsets, head)
        } else {
            Some(self.order.code(head))
        };
        let winner = match code {
            Some(code) => self.climb(source, Node::live(code, source)),
            None => self.replay(source),
        };
        Ok(self.decide(winner))
    }

    /// Replaces the head of a source and returns the one it had; `None` retires the source.
    ///
    /// With the [`winner`](Self::winner)'s source, this takes the smallest head and brings its successor.
    ///
    /// A source that does not exist has no head to replace: `head` comes back.
    #[inline]
    pub fn set_head(&mut self, source: usize, head: Option<T>) -> Option<T> {
        let is_winners = source == self.winner.source();
        let is_taken = self.has_offsets() && self.due == Due::Nothing && is_winners;
        let Some(leaf) = self.heads.get_mut(source) else {
            return head;
        };
        // A code that was handed in is against the head before of its source: that must be the one taken last.
        let is_of_another = O::IS_CODED
            && match self.due {
                Due::Nothing => leaf.is_none(),
                Due::Winner => leaf.is_some(),
                _ => false,
            };
        self.due = match self.due {
            Due::Nothing | Due::Winner if is_winners && is_of_another => Due::Path(source),
            Due::Nothing | Due::Successor | Due::Winner if is_winners => Due::Winner,
            Due::Nothing => Due::Path(source),
            Due::Path(other) if other == source => Due::Path(source),
            _ => Due::Everything,
        };
        let mut old = mem::replace(leaf, head);
        if is_taken && let Some(old) = &mut old {
            self.hand_on(old);
        }
        old
    }

    /// Gives a source its first head: [`set_head`](Self::set_head) where everything is due.
    #[inline]
    pub(crate) fn set_first_head(&mut self, source: usize, head: Option<T>) {
        debug_assert_eq!(self.due, Due::Everything);
        if let Some(leaf) = self.heads.get_mut(source) {
            *leaf = head;
        }
    }

    /// Returns whether the head of `source` is smaller than `item`.
    pub(crate) fn is_head_before(&mut self, source: usize, item: &T) -> bool {
        let Some(Some(head)) = self.heads.get(source) else { return false };
        self.order.compare(head, item).is_lt()
    }

    /// Takes the head of the winner, which is of `source`, and brings its successor: [`set_head`](Self::set_head) where
    /// nothing is due.
    #[inline]
    pub(crate) fn replace_winner(&mut self, source: usize, successor: T) -> Option<T> {
        debug_assert_eq!((self.due, self.winner.source()), (Due::Nothing, source));
        self.due = Due::Winner;
        let mut head = self.heads.get_mut(source)?.replace(successor)?;
        self.hand_on(&mut head);
        Some(head)
    }

    /// [`replace_winner`](Self::replace_winner) for a large item, that is copied right to where the caller wants it: `taken` gets
    /// it before the successor is in the leaf.
    #[inline]
    pub(crate) fn replace_large_winner<R>(
        &mut self,
        source: usize,
        successor: T,
        taken: impl FnOnce(T) -> R,
    ) -> Option<R> {
        debug_assert_eq!((self.due, self.winner.source()), (Due::Nothing, source));
        self.due = Due::Winner;
        self.note_taken();
        let leaf = self.heads.get_mut(source)?;
        let mut head = leaf.take()?;
        if O::IS_CODED {
            self.order.hand_on(&mut head, self.offsets.taken);
        }
        let taken = taken(head);
        *leaf = Some(successor);
        Some(taken)
    }

    /// Returns whether an item takes part in the order.
    #[inline]
    pub(crate) fn is_ordered(&self, item: &T) -> bool {
        self.order.is_ordered(item)
    }

    /// Plays the matches that are due.
    ///
    /// Every question does this first. Calling it between changes to several heads keeps the cost of each
    /// at ⌈log2 K⌉ comparisons.
    #[inline]
    pub fn settle(&mut self) {
        self.decided();
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
