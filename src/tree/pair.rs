//! Two sources of keys that are strings of bytes.
//!
//! Such keys are seldom in a near cache, so all that counts is how early the next one is on its way. It is as soon as the
//! winner is guessed, and a branch on one comparison is guessed. Codes, a leaf for the successor and a
//! [favourite](super::favourite) come between, and none of them saves a comparison: there is one for each item anyway.

use super::LoserTree;
use super::held::Held;
use super::loser_tree::Due;
use super::node::Node;
use crate::key::Order;

impl<T, O: Order<T>> LoserTree<T, O> {
    /// Whether there are two sources, whose keys are compared by their bytes.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) const fn is_pair(&self) -> bool {
        O::PARTS > 0 && !O::EXACT && self.losers.len() == 2 && !self.has_offsets()
    }

    /// Brings the successor of the head that was popped, and returns the source of the winner; or the item, if it has won.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn bring_to_pair(&mut self, head: T) -> Result<usize, T> {
        let source = self.winner.source();
        let Some((item, stays)) = Held::new(self, head).ask(Self::wins_in_pair) else { return Ok(source) };
        if stays {
            return Err(item);
        }
        // Should the order panic, the item is in its leaf.
        self.due = Due::Everything;
        let (Some(leaf), Some(loser)) = (self.heads.get_mut(source), self.losers.get_mut(1)) else {
            return Err(item);
        };
        self.winner = *loser;
        *loser = Node::live(self.order.code(leaf.insert(item)), source);
        self.due = Due::Nothing;
        Ok(self.winner.source())
    }

    /// Whether an item wins as the successor of the head that was popped.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn wins_in_pair(&mut self, item: &mut T) -> bool {
        let source = self.winner.source();
        let Some(Some(opponent)) = self.heads.get(source ^ 1) else { return true };
        let order = self.order.compare(item, opponent);
        if source == 0 { order.is_le() } else { order.is_lt() }
    }
}
