use std::{fmt, mem};

use super::bracket::Bracket;
use super::codes::{Codes, FEW_LEAVES, Kind};
use super::held::Held;
use super::line;
use super::node::Node;
use super::referee::{self, Referee};
use super::streak::Streak;
use crate::key::{MOST_PARTS, OffsetCode, Order};

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
/// cannot cost an item: all heads are in their leaves, and the next question plays again what is due, at most the
/// whole tournament.
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
/// keeps winning, its items cost one comparison each, and a question after which that begins can cost
/// ⌈log2 K⌉ − 1 more; the first question and n after one change each never cost more than K − 1 + (n + 1)·⌈log2 K⌉
/// together. Where very many runs end as soon as that was tried, it is not tried any more, and each question costs ⌈log2 K⌉.
/// `O(K)` memory; nothing is allocated after construction save by [`push`](Self::push), which doubles the tree when it is full,
/// without a comparison. Sources that have ended are among the K until they are [removed](Self::retain).
///
/// Of keys that are [strings of bytes](crate::key::SortKey::PARTS), up to three sources compare the bytes, as above, and more have a
/// comparison only where the [codes](crate::key::SortKey::code) of two keys, their first eight bytes, are the same. That ends once
/// there have been more such matches than items, by eight for each leaf of the tree. From then on four sources compare the bytes.
/// More than four go over to offset-value codes, for as long as there are more than four. To begin with these, each head but the
/// winner is read once, with the one that it has lost to. From then on the successor of a head that was taken is compared once with
/// the runner-up, which makes one comparison more; of the others most are of codes. A head of another source than the winner's, or one
/// that goes backwards, is compared by its bytes until it loses.
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
///
/// As merges do, with one call for each item, and without one while a source keeps winning:
///
/// ```
/// use losertree::key::Natural;
/// use losertree::tree::LoserTree;
///
/// let mut runs = [vec![1, 2, 3, 9].into_iter(), vec![4, 5, 6].into_iter()];
/// let mut tree: LoserTree<i32, _> = LoserTree::new(Natural, runs.iter_mut().map(Iterator::next));
/// let mut merged = Vec::new();
/// let mut next = tree.pop();
/// while let Some((source, item)) = next {
///     merged.push(item);
///     let mut successor = runs[source].next();
///     while let Some(item) = successor.take_if(|item| tree.is_next(item)) {
///         merged.push(item);
///         successor = runs[source].next();
///     }
///     next = tree.replace_popped(successor);
/// }
/// assert_eq!(merged, [1, 2, 3, 4, 5, 6, 9]);
/// ```
#[derive(Clone)]
pub struct LoserTree<T, O> {
    pub(super) order: O,
    /// The leaves: the head of each source.
    pub(super) heads: Vec<Option<T>>,
    pub(super) bracket: Bracket,
    pub(super) winner: Node,
    pub(super) due: Due,
    streak: Streak,
    pub(super) codes: Codes,
}

/// An item that has not beaten the runner-up, as a player.
pub(crate) struct Behind(Node);

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

/// What every user needs.
impl<T, O: Order<T>> LoserTree<T, O> {
    /// Creates a tree over the given heads, one for each source; `None` is an exhausted source.
    pub fn new(order: O, heads: impl IntoIterator<Item = Option<T>>) -> Self {
        let heads: Vec<_> = heads.into_iter().collect();
        let bracket = Bracket::new(heads.len());
        let streak = Streak::new(bracket.levels());
        let mut tree = Self {
            order,
            heads,
            bracket,
            winner: Node::exhausted(0),
            due: Due::Everything,
            streak,
            codes: Codes::new(),
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

    /// Returns the source that would win if the winner were exhausted, and its head.
    ///
    /// # Complexity
    ///
    /// At most ⌈log2 K⌉ comparisons: the runner-up has lost to nobody but the winner.
    pub fn runner_up(&mut self) -> Option<(usize, &T)> {
        let source = self.decided();
        let runner_up = self.find_runner_up(source);
        Some((runner_up.source(), runner_up.head(&self.heads)?))
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

    /// Brings the successor of the head that was [popped](Self::pop) last, and pops: [`set_head`](Self::set_head) and `pop` in one
    /// step, which is the fastest way to merge. `None` if the source of that head has ended.
    ///
    /// If there is no such head, since something else has happened after it was popped, a successor goes nowhere and is dropped.
    ///
    /// # Examples
    ///
    /// See [`LoserTree`].
    #[inline]
    pub fn replace_popped(&mut self, successor: Option<T>) -> Option<(usize, T)> {
        match (self.popped(), successor) {
            (Some(source), Some(successor)) => self.bring_and_pop(source, successor),
            _ => self.pop(),
        }
    }

    /// Returns whether an item would be the winner, as the successor of the head that was [popped](Self::pop) last. As long as it
    /// would, the items of a source can be taken without the tree knowing of them.
    ///
    /// If nothing was popped, or something else has happened after it, it is `false`; and so it is for
    /// [items that bring codes along](crate::key::Coded), which are against the item before and so must all pass by the tree.
    ///
    /// # Complexity
    ///
    /// One comparison, and up to ⌈log2 K⌉ − 1 more when it is asked first after something else.
    ///
    /// # Examples
    ///
    /// See [`LoserTree`].
    pub fn is_next(&mut self, item: &T) -> bool {
        let Some(source) = self.popped() else { return false };
        if O::IS_CODED {
            return false;
        }
        let runner_up = self.streak.runner_up().unwrap_or_else(|| self.find_runner_up(source));
        self.streak.set_runner_up(runner_up);
        let code = if Self::HAS_BYTES { runner_up.code } else { self.order.code(item) };
        referee::beats(&mut self.order, &self.heads, (Node::live(code, source), item), runner_up)
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

    /// Plays the matches that are due.
    ///
    /// Every question does this first. Calling it between changes to several heads keeps the cost of each
    /// at ⌈log2 K⌉ comparisons.
    #[inline]
    pub fn settle(&mut self) {
        self.decided();
    }

    /// Plays the matches that are due, if they are those of one changed head, which is of another source than this one.
    ///
    /// To call it before each of several changes, while the new head is not yet at hand, keeps the cost of each at ⌈log2 K⌉
    /// comparisons. Where everything is due, as at the start, it plays nothing: a question plays all of that at once, when all
    /// heads are there.
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::key::Natural;
    /// use losertree::tree::LoserTree;
    ///
    /// let mut tree: LoserTree<u32, _> = LoserTree::new(Natural, [Some(4), Some(2), None]);
    /// assert_eq!(tree.winner(), Some((1, &2)));
    /// // The heads of two other sources come, and then one of a third.
    /// for (source, head) in [(0, 3), (2, 1)] {
    ///     tree.settle_before(source);
    ///     tree.set_head(source, Some(head));
    /// }
    /// tree.settle_before(tree.sources());
    /// tree.push(Some(0));
    /// assert_eq!(tree.winner(), Some((3, &0)));
    /// ```
    #[inline(never)]
    pub fn settle_before(&mut self, source: usize) {
        let is_path_of_another = match self.due {
            Due::Nothing | Due::Everything => false,
            Due::Successor | Due::Winner => source != self.winner.source(),
            Due::Path(changed) => source != changed,
        };
        if is_path_of_another {
            self.settle();
        }
    }

    /// Adds a source and returns its index, the next one.
    ///
    /// # Complexity
    ///
    /// Amortised `O(1)`; the first question afterwards plays the matches above the new leaf, also where the tree has grown. Only
    /// where a fifth source of keys that are strings of bytes joins does it play all of them, since heads get
    /// [codes](LoserTree#complexity) then.
    pub fn push(&mut self, head: Option<T>) -> usize {
        let source = self.heads.len();
        if self.is_line() {
            self.leave_line();
        }
        if source == self.bracket.leaves() {
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

    /// Removes the sources that `keep` does not name, with their heads. The others are numbered anew, in their order, from 0.
    ///
    /// Where sources come and go, this keeps the tree as small as what is left: to remove those that have ended whenever they
    /// are half of all makes time and memory depend on the sources that are there, and not on those that ever were.
    ///
    /// What has been [popped](Self::pop) is done with: a successor of it comes like any other head.
    ///
    /// # Ordering
    ///
    /// Ties go by the new index, and so to the same sources as before.
    ///
    /// # Complexity
    ///
    /// `O(K)`, without a comparison, and memory that is not needed any more is given back. If anything was removed, the next
    /// question costs K' − 1 comparisons for the K' sources that are left, as the first one of a new tree does. If half of all
    /// went, that is no more than one for each.
    ///
    /// # Panics
    ///
    /// Where `keep` panics, or a head as it is dropped. Then some sources may be removed and others not.
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::key::Natural;
    /// use losertree::tree::LoserTree;
    ///
    /// let mut tree: LoserTree<u32, _> = LoserTree::new(Natural, [Some(4), None, Some(2)]);
    /// let has_head: Vec<_> = tree.heads().iter().map(Option::is_some).collect();
    /// tree.retain(|source| has_head[source]);
    /// assert_eq!(tree.winner(), Some((1, &2)));
    /// assert_eq!(tree.push(Some(1)), 2);
    /// ```
    // P16.
    pub fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let sources = self.heads.len();
        // Should this panic, the nodes are of no more use.
        let due = mem::replace(&mut self.due, Due::Everything);
        let mut next = 0;
        self.heads.retain(|_| {
            next += 1;
            keep(next - 1)
        });
        if self.heads.len() == sources {
            self.due = due;
            return;
        }
        self.end_streak();
        let levels = self.bracket.levels();
        self.bracket.shrink(self.heads.len());
        // So many may come again before there is something to allocate.
        self.heads.shrink_to(2 * self.bracket.leaves());
        self.streak.shrink(levels, self.bracket.levels());
        self.choose_codes();
    }
}

/// What merges need.
impl<T, O: Order<T>> LoserTree<T, O> {
    /// Whether keys are strings of bytes without exact codes. Such keys are seldom in a near cache, so what counts is how early the
    /// next one is on its way.
    const HAS_BYTES: bool = !O::EXACT && O::PARTS > 0;

    /// Whether there are offset-value codes in this order. Where codes tell any two items apart, there is no use for them.
    pub(crate) const HAS_OFFSETS: bool = Self::HAS_BYTES && O::PARTS <= MOST_PARTS;

    /// Begins anew with other heads, and the same order.
    pub(crate) fn begin_anew(&mut self, heads: Vec<Option<T>>) {
        if self.bracket.leaves() != heads.len().next_power_of_two() {
            self.bracket = Bracket::new(heads.len());
            self.streak = Streak::new(self.bracket.levels());
            self.codes = Codes::new();
        }
        self.heads = heads;
        self.choose_codes();
        self.due = Due::Everything;
    }

    /// Calls `ask` with the order and the smallest head.
    pub(crate) fn with_winner<R>(&mut self, ask: impl FnOnce(&mut O, &T) -> R) -> Option<R> {
        let source = self.decided();
        let head = self.heads.get(source)?.as_ref()?;
        Some(ask(&mut self.order, head))
    }

    /// Plays the matches that are due, and returns the source of the winner.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn decided(&mut self) -> usize {
        match self.due {
            Due::Nothing => return self.winner.source(),
            Due::Successor | Due::Winner => {
                let source = self.winner.source();
                // Should the order panic, the nodes are of no more use.
                self.due = Due::Everything;
                self.advance(source);
            }
            Due::Path(source) => self.replay(source),
            Due::Everything => self.replay_all(),
        }
        self.winner.source()
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

    /// Brings the successor of the head that was [popped](Self::popped) from `source`, and pops.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn bring_and_pop(&mut self, source: usize, head: T) -> Option<(usize, T)> {
        if self.is_by_bytes() { self.bring_to_few(source, head) } else { self.bring_to_many(source, head) }
    }

    /// [`bring_and_pop`](Self::bring_and_pop) where keys are [compared right away](Self::is_by_bytes).
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn bring_to_few(&mut self, source: usize, head: T) -> Option<(usize, T)> {
        if matches!(self.kind(), Kind::Pair) {
            self.bring_to_pair(source, head)
        } else if self.is_line() {
            self.bring_to_line(source, head)
        } else {
            self.bring_to_four(source, head)
        }
    }

    /// [`bring_and_pop`](Self::bring_and_pop) where they are not.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn bring_to_many(&mut self, source: usize, head: T) -> Option<(usize, T)> {
        match self.bring_successor(source, head) {
            Ok(winner) => self.pop_decided(winner),
            Err(item) => Some((source, item)),
        }
    }

    /// Brings the successor of the head that was [popped](Self::popped) from `source`, and returns the source of the winner; or the
    /// item itself, if it has won without having been in a leaf.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn bring_successor(&mut self, source: usize, head: T) -> Result<usize, T> {
        if !Self::HAS_BYTES && self.streak.runner_up().is_some() {
            // The item is there until it is taken out.
            let Some((item, outcome)) = Held::new(self, head).ask(Self::ahead) else { return Ok(source) };
            return match outcome {
                Ok(()) => Err(item),
                Err(behind) => Ok(self.bring_behind(item, behind)),
            };
        }
        if Self::HAS_BYTES && !Self::needs_codes(&self.codes) {
            return self.bring_by_codes(source, head);
        }
        if !O::EXACT && !Self::HAS_BYTES && !self.streak.has_begun() {
            if !self.is_line() {
                return Ok(self.bring_by_items(source, head));
            }
            if referee::is_small::<T>() {
                return Ok(self.bring_small_to_line(source, head));
            }
        }
        // Should the order panic, the nodes are of no more use. That is noted ahead of the leaf, which is read at once: the compiler does
        // not always see that a note in between leaves it as it is.
        self.due = Due::Everything;
        self.put(source, head);
        Ok(self.advance(source))
    }

    /// The same where items are compared, and the runner-up is not known.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn bring_by_items(&mut self, source: usize, head: T) -> usize {
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        let Self { order, heads, bracket, .. } = self;
        let losers = bracket.losers_mut();
        let winner = if referee::is_small::<T>() {
            referee::enter_small(order, heads, losers, (source, head))
        } else {
            referee::enter(order, heads, losers, (source, head))
        };
        self.win(winner, source)
    }

    /// The same for three in a line: a small item is compared before it is in its leaf, so that it need not be read from there.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn bring_small_to_line(&mut self, source: usize, head: T) -> usize {
        let (first, second) = (self.bracket.loser(1), self.bracket.loser(2));
        let asked = Held::new(self, head).ask(|tree, item| {
            let Self { order, heads, .. } = tree;
            let challenger = Node::live(order.code(item), source);
            let is_first = referee::beats(order, heads, (challenger, item), first);
            (challenger, is_first, referee::beats(order, heads, (challenger, item), second) | is_first)
        });
        let Some((item, (challenger, is_first, is_second))) = asked else { return source };
        self.put(source, item);
        let winner = line::place(&mut self.bracket, challenger, is_first, is_second);
        self.win(winner, source)
    }

    /// Notes who has won after a challenger from `source`, with matches that may have a streak begin.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn win(&mut self, winner: Node, source: usize) -> usize {
        self.winner = winner;
        if self.streak.note(winner, source) {
            self.begin_streak();
        }
        debug_assert!(self.is_plausible(), "{:?} {:?} {:?}", self.kind(), self.winner, self.bracket);
        self.due = Due::Nothing;
        winner.source()
    }

    /// The same by codes that do not tell all: an item that comes before all others by its code has won.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn bring_by_codes(&mut self, source: usize, head: T) -> Result<usize, T> {
        let least = self.least(source);
        let has_offsets = self.has_offsets();
        // The item is there until it is taken out.
        let asked = Held::new(self, head).ask(|tree, item| {
            let Self { order, heads, codes, .. } = tree;
            if has_offsets {
                code_of_successor(order, codes, item, heads, least)
            } else {
                Some(OffsetCode(order.code(item)))
            }
        });
        let Some((item, code)) = asked else { return Ok(source) };
        if let Some(OffsetCode(code)) = code
            && code < least.code
        {
            if has_offsets {
                self.winner.code = OffsetCode::UNKNOWN.0;
                self.codes.taken = OffsetCode::UNKNOWN;
            } else {
                self.winner.code = code;
                self.codes.note_item();
            }
            return Err(item);
        }
        self.put(source, item);
        self.play_behind(source, code, least);
        Ok(self.winner.source())
    }

    /// Has the head of the winner's source play, which does not come before all others by its code, if it has one.
    // Apart, so that what is inlined into each merge is small.
    #[inline(never)]
    fn play_behind(&mut self, source: usize, code: Option<OffsetCode>, least: Node) {
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        match code {
            Some(OffsetCode(code)) if self.has_offsets() => {
                self.play_by_offset(Node::live(code, source), least);
            }
            Some(OffsetCode(code)) => self.play_by_prefix(Node::live(code, source), least),
            None => self.replay_by_bytes(source),
        }
        debug_assert!(self.is_plausible(), "{:?} {:?} {:?}", self.kind(), self.winner, self.bracket);
        self.due = Due::Nothing;
    }

    /// [`bring_and_pop`](Self::bring_and_pop) for two sources of strings of bytes: one comparison, one branch, and no node that is
    /// read.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn bring_to_pair(&mut self, source: usize, head: T) -> Option<(usize, T)> {
        let other = source ^ 1;
        let (item, is_ahead) = self.is_item_before((source, head), other)?;
        if is_ahead {
            return Some((source, item));
        }
        self.put(source, item)?;
        *self.bracket.loser_mut(1)? = Node::live(0, source);
        self.pop_few(other)
    }

    /// The same for three, in a line: two comparisons, or one if the source wins again.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn bring_to_line(&mut self, source: usize, head: T) -> Option<(usize, T)> {
        let (first, second) = (self.bracket.loser(1), self.bracket.loser(2));
        let (item, is_ahead) = self.is_item_before((source, head), first.source())?;
        if is_ahead {
            return Some((source, item));
        }
        let (item, is_second) = self.is_item_before((source, item), second.source())?;
        self.put(source, item)?;
        let challenger = Node::live(0, source);
        let (new_first, new_second) = if is_second { (challenger, second) } else { (second, challenger) };
        *self.bracket.loser_mut(1)? = new_first;
        *self.bracket.loser_mut(2)? = new_second;
        self.pop_few(first.source())
    }

    /// The same for four, in two pairs: two comparisons.
    // An item that wins was in no leaf: to take it out again, a load would wait for the stores that have put it there.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn bring_to_four(&mut self, source: usize, head: T) -> Option<(usize, T)> {
        let (sibling, cousin) = (source ^ 1, (source ^ 2) & 2);
        // Who has won the other pair has lost to the one that was popped.
        let other = if self.bracket.loser(1).source() == cousin { cousin } else { cousin + 1 };
        let (item, is_ahead) = self.is_item_before((source, head), sibling)?;
        if is_ahead {
            let (item, is_first) = self.is_item_before((source, item), other)?;
            if is_first {
                return Some((source, item));
            }
            self.put(source, item)?;
            *self.bracket.loser_mut(1)? = Node::live(0, source);
            return self.pop_few(other);
        }
        self.put(source, item)?;
        *self.bracket.loser_mut(2 + source / 2)? = Node::live(0, source);
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        let Self { order, heads, .. } = self;
        let head = heads.get(sibling)?.as_ref()?;
        let is_first = Self::is_before_head(order, heads, (sibling, head), other);
        self.due = Due::Successor;
        if is_first {
            return self.pop_few(sibling);
        }
        *self.bracket.loser_mut(1)? = Node::live(0, sibling);
        self.pop_few(other)
    }

    /// Gives an item back, and whether it comes before the head of another source. It is there until it is taken out.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn is_item_before(&mut self, (source, item): (usize, T), other: usize) -> Option<(T, bool)> {
        Held::new(self, item).ask(|tree, item| {
            let Self { order, heads, .. } = tree;
            Self::is_before_head(order, heads, (source, item), other)
        })
    }

    /// Returns whether an item of a source comes before the head of another one, by the bytes of the keys.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn is_before_head(order: &mut O, heads: &[Option<T>], (source, item): (usize, &T), other: usize) -> bool {
        let Some(Some(opponent)) = heads.get(other) else { return true };
        let order = order.compare(item, opponent);
        if source < other { order.is_le() } else { order.is_lt() }
    }

    /// Puts an item in the leaf of a source whose head was popped.
    // Replaced, and not assigned: that would drop what was there first, and have the item wait on the stack, from where copies are slow.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn put(&mut self, source: usize, item: T) -> Option<()> {
        drop(self.heads.get_mut(source)?.replace(item));
        Some(())
    }

    /// Pops the head of a source that has won.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn pop_few(&mut self, source: usize) -> Option<(usize, T)> {
        self.streak.forget();
        self.winner = Node::live(0, source);
        Some((source, self.heads.get_mut(source)?.take()?))
    }

    /// Returns the source of the head that was popped, if the runner-up is known: it may be asked for items as long as
    /// they are [ahead](Self::ahead).
    #[inline]
    pub(crate) fn streak(&self) -> Option<usize> {
        if Self::HAS_BYTES {
            return None;
        }
        self.streak.runner_up()?;
        self.popped()
    }

    /// Finds out whether an item wins as the successor of the head that was popped, where the runner-up is known. The item is in no
    /// leaf, so it is lost if the order panics.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn ahead(&mut self, item: &T) -> Result<(), Behind> {
        let Self { order, heads, winner, streak, .. } = self;
        let challenger = Node { code: order.code(item), ..*winner };
        let Some(runner_up) = streak.runner_up() else { return Err(Behind(challenger)) };
        let is_ahead = referee::beats(order, heads, (challenger, item), runner_up);
        if !is_ahead {
            return Err(Behind(challenger));
        }
        streak.stay();
        Ok(())
    }

    /// Brings the successor of the head that was popped, which has turned out not to be [ahead](Self::ahead). Returns the source
    /// of the winner.
    #[cold]
    #[inline(never)]
    pub(crate) fn bring_behind(&mut self, head: T, Behind(challenger): Behind) -> usize {
        // Should the order panic, the nodes are of no more use.
        self.due = Due::Everything;
        let source = challenger.source();
        self.put(source, head);
        self.lose_streak(source, challenger);
        self.due = Due::Nothing;
        self.winner.source()
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
            self.order.hand_on(&mut head, self.codes.taken);
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

    /// Has the nodes hold offset-value codes, if items have any, though there may be few leaves. That of the next head
    /// that is taken is not known.
    pub(crate) fn use_offsets(&mut self) {
        self.codes.are_wanted = true;
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
        if !self.winner.is_live() {
            return Some(false);
        }
        let code = OffsetCode(self.winner.code);
        (code != OffsetCode::UNKNOWN).then(|| code.is_equal())
    }

    /// Returns whether the head that was taken last is equal to the one taken before that, if that is known.
    pub(crate) fn is_taken_repeat(&self) -> Option<bool> {
        let is_known = self.has_offsets() && self.codes.taken != OffsetCode::UNKNOWN;
        is_known.then(|| self.codes.taken.is_equal())
    }

    /// Returns the offset-value code of the head that was taken last, against the one taken before that.
    pub(crate) const fn code_of_taken(&self) -> OffsetCode {
        self.codes.taken
    }
}

/// How matches are played.
impl<T, O: Order<T>> LoserTree<T, O> {
    /// Plays the matches of the winner's source, whose next head is in its leaf, if there is one. Returns the source of the winner, which the
    /// next call would wait for if it were read from memory.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn advance(&mut self, source: usize) -> usize {
        debug_assert_eq!(self.due, Due::Everything);
        let mut winner = None;
        if Self::HAS_BYTES {
            if self.has_offsets() {
                self.advance_by_offset(source);
            } else if self.is_by_bytes() {
                self.advance_few(source);
            } else {
                self.advance_by_prefix(source);
            }
        } else if let Some(runner_up) = self.streak.runner_up() {
            self.advance_streak(source, runner_up);
        } else {
            winner = self.advance_by_matches(source);
        }
        debug_assert!(self.is_plausible(), "{:?} {:?} {:?}", self.kind(), self.winner, self.bracket);
        self.due = Due::Nothing;
        winner.unwrap_or(self.winner).source()
    }

    /// By codes that are exact, or by items: with conditional moves, since who wins is what a processor could not predict.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn advance_by_matches(&mut self, source: usize) -> Option<Node> {
        let challenger = Referee { order: &mut self.order, heads: &self.heads }.player(source);
        if self.streak.has_begun() {
            self.rise_or_lose_streak(source, challenger);
            return None;
        }
        let is_line = self.is_line();
        let Self { order, heads, bracket, .. } = self;
        let mut referee = Referee { order, heads };
        let winner = if is_line {
            line::climb(bracket, &mut referee, challenger, false)
        } else if O::EXACT {
            bracket.climb(source, challenger, |loser, challenger| {
                loser.exchange(loser.is_before(challenger), challenger)
            })
        } else {
            let node = bracket.node_above(source, 1);
            referee.climb_from(bracket, node, challenger)
        };
        self.winner = winner;
        if self.streak.note(winner, source) {
            self.begin_streak();
        }
        Some(winner)
    }

    /// Where the runner-up is known.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn advance_streak(&mut self, source: usize, runner_up: Node) {
        let mut referee = Referee { order: &mut self.order, heads: &self.heads };
        let challenger = referee.player(source);
        if challenger.is_live() && referee.is_before(challenger, runner_up) {
            // The rank stays as it is: were it stored, the load of the next call would wait for that.
            self.winner.code = challenger.code;
            self.streak.stay();
            return;
        }
        self.lose_streak(source, challenger);
    }

    /// Few sources, by the bytes of the keys.
    #[inline]
    fn advance_few(&mut self, source: usize) {
        self.streak.forget();
        let is_line = self.is_line();
        let Self { order, heads, bracket, .. } = self;
        let mut referee = Referee { order, heads };
        let challenger = referee.player_by(Kind::Few, source);
        self.winner = if is_line {
            line::climb(bracket, &mut referee, challenger, false)
        } else {
            bracket.climb(source, challenger, |loser, challenger| referee.play_by_heads(loser, challenger))
        };
    }

    /// By the first bytes of the keys: the runner-up, who is known by its code, decides by a branch whether the challenger wins; if it
    /// does not, the runner-up has won, whomever the challenger beats on its way there.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn advance_by_prefix(&mut self, source: usize) {
        let challenger = Referee { order: &mut self.order, heads: &self.heads }.player(source);
        let least = self.least(source);
        self.play_by_prefix(challenger, least);
    }

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn play_by_prefix(&mut self, challenger: Node, least: Node) {
        let Self { order, heads, bracket, winner, streak, codes, .. } = self;
        let mut referee = Referee { order, heads };
        let ties = &mut codes.ties;
        let play = |loser: &mut Node, challenger: Node| referee.play_by_prefix(loser, challenger, ties);
        if challenger.code < least.code {
            *winner = challenger;
        } else {
            streak.forget();
            *winner = bracket.climb_past(challenger, least, play);
        }
        codes.note_item();
        let leaves = bracket.leaves();
        if codes.tell_too_little(leaves) && (Self::HAS_OFFSETS || leaves <= FEW_LEAVES) {
            self.give_up_prefixes();
        }
    }

    /// By offset-value codes. All on the way are against the key that was taken last.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn advance_by_offset(&mut self, source: usize) {
        let least = self.least(source);
        let Self { order, heads, codes, .. } = self;
        let challenger = match heads.get(source) {
            Some(Some(head)) => {
                code_of_successor(order, codes, head, heads, least).map(|code| Node::live(code.0, source))
            }
            _ => Some(Node::exhausted(source)),
        };
        match challenger {
            Some(challenger) => self.play_by_offset(challenger, least),
            None => self.replay_by_bytes(source),
        }
        self.keep_winner();
    }

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn play_by_offset(&mut self, challenger: Node, least: Node) {
        let Self { order, heads, bracket, winner, streak, codes, .. } = self;
        if challenger.code < least.code {
            let code = if Self::needs_codes(codes) { challenger.code } else { OffsetCode::UNKNOWN.0 };
            *winner = Node { code, ..challenger };
            return;
        }
        let mut referee = Referee { order, heads };
        streak.forget();
        *winner = bracket
            .climb_past(challenger, least, |loser, challenger| referee.play_by_offset(loser, challenger));
    }

    /// Returns one on the way of the winner that has the smallest code. It stays that while the winner stays.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn least(&mut self, source: usize) -> Node {
        let Self { bracket, streak, .. } = self;
        streak.least().unwrap_or_else(|| streak.set_least(bracket.least(source)))
    }

    /// Plays the matches of another source than the winner's, or of one whose head has no code against the one that was taken
    /// last.
    #[cold]
    #[inline(never)]
    fn replay(&mut self, source: usize) {
        self.due = Due::Everything;
        self.end_streak();
        if self.has_offsets() {
            self.replay_by_bytes(source);
            self.keep_winner();
        } else {
            let (is_line, kind) = (self.is_line(), self.kind());
            let Self { order, heads, bracket, winner, .. } = self;
            let mut referee = Referee { order, heads };
            let challenger = referee.player_by(kind, source);
            *winner = if is_line {
                line::vacate(bracket, source, *winner);
                line::climb(bracket, &mut referee, challenger, false)
            } else {
                bracket.vacate(source, *winner, |loser, _| loser.code);
                bracket.climb(source, challenger, |loser, challenger| referee.play(loser, challenger))
            };
        }
        debug_assert!(self.is_plausible(), "{:?} {:?} {:?}", self.kind(), self.winner, self.bracket);
        self.due = Due::Nothing;
    }

    /// Plays the matches of a source whose head has no offset-value code.
    #[cold]
    #[inline(never)]
    fn replay_by_bytes(&mut self, source: usize) {
        self.streak.forget();
        let Self { order, heads, bracket, winner, .. } = self;
        let before = *winner;
        if source != before.source() {
            // Codes that are against the winner are what all on the way have then.
            let passing =
                if before.is_live() { Node { code: OffsetCode::EQUAL.0, ..before } } else { before };
            bracket.vacate(source, passing, |loser, passing| loser.code.max(passing.code));
        }
        *winner = Referee { order, heads }.climb_by_bytes(bracket, source);
        if source != before.source() && winner.rank == before.rank {
            *winner = before;
        }
    }

    /// Plays every match.
    #[cold]
    #[inline(never)]
    fn replay_all(&mut self) {
        self.due = Due::Everything;
        self.end_streak();
        let (is_line, kind) = (self.is_line(), self.kind());
        let Self { order, heads, bracket, .. } = self;
        let mut referee = Referee { order, heads };
        self.winner = if is_line {
            line::build(bracket, &mut referee, kind)
        } else if kind == Kind::Offset {
            bracket.build(
                &mut referee,
                |referee, source| referee.player_by(Kind::Offset, source),
                Referee::play_by_offset,
            )
        } else {
            bracket.build(&mut referee, |referee, source| referee.player_by(kind, source), Referee::play)
        };
        if kind == Kind::Offset {
            self.winner.code = OffsetCode::UNKNOWN.0;
            self.keep_winner();
        }
        debug_assert!(self.is_plausible(), "{:?} {:?} {:?}", self.kind(), self.winner, self.bracket);
        self.due = Due::Nothing;
    }

    /// Whether a winner could have lost to nobody on its way, as far as codes alone tell: what neither an order that is none nor wrong
    /// codes can change.
    fn is_plausible(&self) -> bool {
        let winner = self.winner;
        let is_plausible = |loser: Node| {
            let has_lost = self.kind() == Kind::Offset || loser.code >= winner.code;
            if winner.is_live() { has_lost } else { !loser.is_live() }
        };
        self.is_line() || self.bracket.path(winner.source()).all(is_plausible)
    }
}

/// Finds the offset-value code of the successor of the head that was taken last, against that, which is gone.
///
/// The least on its way tells, which has a code against the same key. Where the successor's code is the smaller one, it wins, and the
/// codes of all others are against it, too.
#[allow(clippy::inline_always)]
#[inline(always)]
fn code_of_successor<T, O: Order<T>>(
    order: &mut O,
    codes: &Codes,
    item: &T,
    heads: &[Option<T>],
    least: Node,
) -> Option<OffsetCode> {
    if O::IS_CODED {
        return order.handed_code(item);
    }
    if codes.are_wanted {
        return order.code_after(&codes.before, item);
    }
    let Some(opponent) = least.head(heads) else { return Some(OffsetCode::EQUAL) };
    order.code_beside(item, opponent, OffsetCode(least.code))
}

/// Which codes there are, and what else depends on how many sources there are.
impl<T, O: Order<T>> LoserTree<T, O> {
    /// Whether nodes have offset-value codes.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    const fn has_offsets(&self) -> bool {
        Self::HAS_OFFSETS && matches!(self.codes.kind, Kind::Offset)
    }

    /// Whether the offset-value code of each head that is taken must be known.
    #[inline]
    const fn needs_codes(codes: &Codes) -> bool {
        O::IS_CODED || codes.are_wanted
    }

    /// Which codes the nodes have.
    #[inline]
    pub(super) const fn kind(&self) -> Kind {
        if Self::HAS_BYTES { self.codes.kind } else { Kind::Key }
    }

    /// Whether keys are compared right away, so that what is done for each of the first sources is worth code of its own.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) const fn is_by_bytes(&self) -> bool {
        matches!(self.kind(), Kind::Pair | Kind::Few)
    }

    /// Whether the losers are in a line.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) const fn is_line(&self) -> bool {
        self.heads.len() == 3 && self.has_lines()
    }

    /// Whether three sources are in a line.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    const fn has_lines(&self) -> bool {
        !Self::HAS_BYTES || matches!(self.codes.kind, Kind::Few)
    }

    /// Chooses the codes for this number of leaves.
    fn choose_codes(&mut self) {
        let Codes { kind, are_wanted, .. } = self.codes;
        let sources = self.heads.len();
        self.codes.set(match self.bracket.leaves() {
            _ if Self::HAS_OFFSETS && (O::IS_CODED || are_wanted) => Kind::Offset,
            0..=2 if Self::HAS_BYTES => Kind::Pair,
            // What codes of the keys have turned out to tell is not asked again.
            3..=FEW_LEAVES
                if Self::HAS_BYTES && (sources <= 3 || matches!(kind, Kind::Offset | Kind::Few)) =>
            {
                Kind::Few
            }
            _ if kind == Kind::Offset => Kind::Offset,
            _ => Kind::Key,
        });
    }

    /// Gives up the codes of keys, which tell too little.
    #[cold]
    #[inline(never)]
    fn give_up_prefixes(&mut self) {
        if self.bracket.leaves() > FEW_LEAVES {
            self.begin_offsets();
        } else {
            // Who has lost to whom stays. Four are in no line.
            debug_assert_eq!(self.heads.len(), FEW_LEAVES);
            self.streak.forget();
            self.codes.set(Kind::Few);
            self.bracket.recode_all(self.winner, &mut |_, _| 0);
            if self.winner.is_live() {
                self.winner.code = 0;
            }
        }
    }

    /// Has the nodes hold offset-value codes from now on. Who has lost to whom stays, so nobody is compared:
    /// each loser gets its code against the winner of its match.
    #[cold]
    #[inline(never)]
    fn begin_offsets(&mut self) {
        self.streak.forget();
        self.codes.set(Kind::Offset);
        let Self { order, heads, bracket, winner, .. } = self;
        bracket.recode_all(*winner, &mut |loser, winner| {
            let code = match (winner.head(heads), loser.head(heads)) {
                (Some(before), Some(head)) => order.code_between(before, head),
                _ => None,
            };
            code.unwrap_or(OffsetCode::UNKNOWN).0
        });
        if winner.is_live() {
            winner.code = OffsetCode::UNKNOWN.0;
        }
    }

    /// Doubles the number of leaves.
    fn grow(&mut self) {
        self.bracket.grow();
        self.streak.grow(self.bracket.levels());
        let had_codes = !self.is_by_bytes();
        self.choose_codes();
        if self.bracket.leaves() == 4 && self.has_lines() {
            line::enter(&mut self.bracket);
        }
        if !had_codes && !self.is_by_bytes() {
            // The nodes lack them. They are not made now: the order could panic while a source joins.
            self.due = Due::Everything;
        }
    }

    /// Makes a tree of a line, for a fourth source to come.
    fn leave_line(&mut self) {
        self.end_streak();
        line::leave(&mut self.bracket, self.winner);
        if !O::EXACT {
            self.streak.pay_for_line();
        }
    }

    /// Keeps the key of the winner, if that is needed, while its head is in its leaf: on the way, it would be lost if the order panics.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn keep_winner(&mut self) {
        let Self { order, heads, codes, winner, .. } = self;
        if codes.are_wanted
            && !O::IS_CODED
            && let Some(head) = winner.head(heads)
        {
            order.keep(&mut codes.before, head, OffsetCode(winner.code));
        }
    }

    /// Notes the code of the winner's head, which is being taken.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn note_taken(&mut self) {
        if self.has_offsets() {
            self.codes.taken = OffsetCode(self.winner.code);
        }
    }

    /// Notes the code of the winner's head, which has been taken, and tells it that. In its leaf it would be copied before the
    /// store of the code is done, and would wait for that.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn hand_on(&mut self, head: &mut T) {
        self.note_taken();
        if O::IS_CODED {
            self.order.hand_on(head, self.codes.taken);
        }
    }
}

/// The streak of a source that keeps winning.
impl<T, O: Order<T>> LoserTree<T, O> {
    /// Finds the runner-up of a source that has won often in a row, if there is something to pay with.
    #[cold]
    #[inline(never)]
    fn begin_streak(&mut self) {
        let levels = self.bracket.levels();
        if !self.winner.is_live() {
            return;
        }
        if self.is_line() || levels <= 1 {
            self.streak.set_runner_up(self.bracket.loser(1));
        } else if O::EXACT {
            self.streak.set_runner_up(self.bracket.first(self.winner.source()));
        } else if self.streak.is_affordable(levels) {
            self.rise_streak();
        }
    }

    fn rise_streak(&mut self) {
        let Self { order, heads, bracket, winner, streak, .. } = self;
        let mut referee = Referee { order, heads };
        streak.rise(bracket, winner.source(), |best, loser| {
            let is_better = referee.is_before(loser, best);
            Node::select(is_better, loser, best)
        });
    }

    /// Has a challenger play that has not beaten the runner-up, who has won then.
    #[cold]
    #[inline(never)]
    fn lose_streak(&mut self, source: usize, challenger: Node) {
        let is_line = self.is_line();
        let Self { order, heads, bracket, winner, streak, .. } = self;
        let mut referee = Referee { order, heads };
        let Some(runner_up) = streak.runner_up() else { return };
        let mut play = |loser: &mut Node, challenger: Node| referee.play(loser, challenger);
        *winner = runner_up;
        let take_turns = if is_line {
            *winner = line::climb(bracket, &mut referee, challenger, true);
            streak.end(source)
        } else if O::EXACT {
            // All the way, which costs no comparison and has no end that cannot be predicted.
            *winner = bracket.climb(source, challenger, play);
            streak.end(source)
        } else {
            let height = bracket.climb_below(source, challenger, runner_up, &mut play);
            streak.lose(source, height)
        };
        if take_turns {
            self.begin_streak();
        }
    }

    /// Has a challenger play where the runner-up is known up to some height.
    #[cold]
    #[inline(never)]
    fn rise_or_lose_streak(&mut self, source: usize, challenger: Node) {
        let Self { order, heads, bracket, winner, streak, .. } = self;
        let mut referee = Referee { order, heads };
        let (runner_up, height) = streak.partial();
        let above = bracket.node_above(source, height + 1);
        // One that has run dry ends the streak, even where all others have, too.
        if challenger.is_live() && referee.is_before(challenger, runner_up) {
            *winner =
                bracket.climb_from(above, challenger, |loser, challenger| referee.play(loser, challenger));
            if winner.rank == challenger.rank {
                streak.stay_at_height();
                self.rise_streak();
            } else {
                streak.end(source);
            }
            return;
        }
        let met = bracket
            .climb_below(source, challenger, runner_up, |loser, challenger| referee.play(loser, challenger));
        *winner = bracket.climb_from(above, runner_up, |loser, challenger| referee.play(loser, challenger));
        streak.lose(source, met);
    }

    /// Finds the runner-up of a source that has won, by at most ⌈log2 K⌉ comparisons.
    fn find_runner_up(&mut self, source: usize) -> Node {
        if self.is_line() {
            return self.bracket.loser(1);
        }
        let Self { order, heads, bracket, .. } = self;
        let mut referee = Referee { order, heads };
        bracket
            .best_by(source, |best, loser| if referee.is_before_by_heads(loser, best) { loser } else { best })
    }

    fn end_streak(&mut self) {
        self.streak.end(self.winner.source());
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

    /// Returns the order, to be looked at.
    pub const fn order(&self) -> &O {
        &self.order
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
