use std::mem;

use super::LoserTree;
use crate::key::Order;

/// The successor of the head that was popped, which is in no leaf. It goes there if the order panics.
pub(crate) struct Held<'a, T, O: Order<T>> {
    tree: &'a mut LoserTree<T, O>,
    item: Option<T>,
}

impl<'a, T, O: Order<T>> Held<'a, T, O> {
    #[inline]
    pub(crate) const fn new(tree: &'a mut LoserTree<T, O>, item: T) -> Self {
        Self { tree, item: Some(item) }
    }

    /// Asks the tree something about the item, and gives it back.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn ask<R>(mut self, ask: impl FnOnce(&mut LoserTree<T, O>, &T) -> R) -> Option<(T, R)> {
        let answer = ask(self.tree, self.item.as_ref()?);
        let item = self.item.take()?;
        // There is nothing to drop any more, which the compiler does not see: it would call the drop for each item.
        mem::forget(self);
        Some((item, answer))
    }
}

impl<T, O: Order<T>> Drop for Held<'_, T, O> {
    #[inline]
    fn drop(&mut self) {
        if let (Some(source), Some(item)) = (self.tree.popped(), self.item.take()) {
            self.tree.set_head(source, Some(item));
        }
    }
}
