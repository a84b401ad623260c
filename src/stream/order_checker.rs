use super::OrderCheck;
use crate::key::Order;
use crate::tree::LoserTree;

/// Compares each head with the item that its source gave before.
///
/// The item before has been yielded by then, so a clone of it is kept.
#[derive(Debug)]
pub(super) struct OrderChecker<T> {
    pub(super) check: OrderCheck,
    clone: fn(&T) -> T,
    /// The last item yielded, by source.
    previous: Vec<Option<T>>,
    /// The source whose new head has not been compared yet.
    pub(super) unchecked: Option<usize>,
}

impl<T> OrderChecker<T> {
    pub(super) fn new(check: OrderCheck, clone: fn(&T) -> T) -> Self {
        Self { check, clone, previous: Vec::new(), unchecked: None }
    }

    /// Notes an item that is about to be yielded.
    #[inline(never)]
    pub(super) fn note(&mut self, source: usize, item: &T) {
        let item = (self.clone)(item);
        if self.previous.len() <= source {
            self.previous.resize_with(source + 1, || None);
        }
        self.previous[source] = Some(item);
    }

    /// Returns whether the head of `source` comes before the item that the source gave last.
    pub(super) fn is_backwards<O: Order<T>>(&self, source: usize, tree: &mut LoserTree<T, O>) -> bool {
        let Some(Some(previous)) = self.previous.get(source) else { return false };
        tree.is_head_before(source, previous)
    }
}
