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
    pub(crate) fn ask<R>(mut self, ask: impl FnOnce(&mut LoserTree<T, O>, &mut T) -> R) -> Option<(T, R)> {
        let answer = ask(self.tree, self.item.as_mut()?);
        Some((self.item.take()?, answer))
    }
}

impl<T, O: Order<T>> Drop for Held<'_, T, O> {
    #[inline]
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            let source = self.tree.winner.source();
            self.tree.set_head(source, Some(item));
        }
    }
}
