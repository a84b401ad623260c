//! How sources join and go, and change one after the other.

use std::mem;

use super::LoserTree;
use super::favourite::{NOBODY, long_streak};
use super::loser_tree::Due;
use super::node::Node;
use crate::key::Order;

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Adds a source and returns its index, the next one.
    ///
    /// # Complexity
    ///
    /// Amortised `O(1)`; the first question afterwards plays the matches above the new leaf, also where the tree has grown. Only
    /// where a fifth source of keys that are strings of bytes has [offset-value codes](LoserTree#complexity) begin again is everything
    /// played.
    pub fn push(&mut self, head: Option<T>) -> usize {
        let source = self.heads.len();
        if source == self.losers.len() {
            self.grow();
            self.choose_codes();
        } else if self.is_line() && !O::EXACT {
            self.leave_line();
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
        self.forget_favourite();
        self.former_favourite = NOBODY;
        self.shrink();
        self.choose_codes();
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

    /// Has as many leaves as there must be. All matches are due.
    fn shrink(&mut self) {
        let width = self.heads.len().next_power_of_two();
        // So many may come again before there is something to allocate.
        self.heads.shrink_to(2 * width);
        self.losers.truncate(width);
        self.losers.shrink_to(2 * width);
        self.long_streak = long_streak(width);
        let levels = mem::replace(&mut self.levels, width.ilog2());
        self.credit = self.credit.saturating_sub((levels - self.levels).into());
    }

    /// Doubles the number of leaves. The old tree becomes the left subtree of the new root; on the right
    /// all are exhausted, so that the loser of each match there is the leftmost leaf of the right child.
    fn grow(&mut self) {
        let width = self.losers.len();
        if self.is_line() {
            // Codes are exact, so to play all matches takes no comparison.
            self.due = Due::Everything;
        }
        if self.stays_in_leaf() {
            self.leave_seat();
        }
        // The seat stays where it is, below the new root.
        self.settle_wins();
        self.finalist = NOBODY;
        self.long_streak = long_streak(2 * width);
        self.levels += 1;
        self.credit += 1;
        self.losers.resize(2 * width, Node::exhausted(0));
        // From the last one on, so that each is still there when it moves.
        for node in (1..2 * width).rev() {
            let level = 1 << node.ilog2();
            let offset = node - level;
            self.losers[node] = if level == 1 {
                Node::exhausted(width)
            } else if offset < level / 2 {
                self.losers[level / 2 + offset]
            } else {
                // The node covers `span` leaves from `first`.
                let span = 2 * width / level;
                let first = offset * span;
                Node::exhausted(first + span / 2)
            };
        }
        if width == 2 && !self.has_offsets() {
            // In a line, the one who is there comes before those who are not.
            self.losers.swap(1, 2);
        }
    }
}
