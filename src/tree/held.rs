use super::LoserTree;
use super::favourite::Behind;
use crate::key::Order;

/// The next item of the finalist, which is in no leaf. It goes there if the order panics.
pub(crate) struct Held<'a, T, O: Order<T>> {
    tree: &'a mut LoserTree<T, O>,
    item: Option<T>,
}

impl<'a, T, O: Order<T>> Held<'a, T, O> {
    #[inline]
    pub(crate) const fn new(tree: &'a mut LoserTree<T, O>, item: T) -> Self {
        Self { tree, item: Some(item) }
    }

    /// Finds out whether the item is [ahead](LoserTree::ahead), and gives it back.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn ahead(mut self) -> Option<(T, Result<(), Behind>)> {
        let outcome = self.tree.ahead(self.item.as_mut()?);
        Some((self.item.take()?, outcome))
    }
}

impl<T, O: Order<T>> Drop for Held<'_, T, O> {
    #[inline]
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            let source = self.tree.finalist;
            self.tree.set_head(source, Some(item));
        }
    }
}
