use crate::key::Order;
use crate::tree::LoserTree;

/// What a merge does when a source gives an item that comes before the one ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrderCheck {
    /// The source has failed, with [`Cause::OutOfOrder`](crate::error::Cause::OutOfOrder); the item is not yielded.
    Fail,
    /// It is counted in [`SourceStats::out_of_order`](super::SourceStats::out_of_order) and yielded, at
    /// whichever place the tournament gives it.
    Report,
}

/// Compares each head with the item that its source gave before.
///
/// The item before has been yielded by then, so a clone of it is kept, until the source has come to its end: what closes a
/// source may wait for all that it has lent.
#[derive(Debug)]
pub(super) struct OrderChecker<T> {
    pub(super) check: OrderCheck,
    clone: fn(&T) -> T,
    /// The last item yielded, by the place of the source in the tournament.
    previous: Vec<Option<T>>,
    /// The source whose new head has not been compared yet, by its place.
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

    /// Lets go of the places of sources that are gone; the others move up.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(usize) -> bool) {
        self.unchecked = self.unchecked.filter(|place| keeps(*place));
        self.unchecked = self.unchecked.map(|unchecked| (0..unchecked).filter(|place| keeps(*place)).count());
        let mut place = 0;
        self.previous.retain(|_| {
            place += 1;
            keeps(place - 1)
        });
        self.previous.shrink_to(2 * self.previous.len());
    }

    /// Drops the item of a source that has come to its end.
    pub(super) fn forget(&mut self, source: usize) {
        if let Some(previous) = self.previous.get_mut(source) {
            *previous = None;
        }
        self.unchecked.take_if(|unchecked| *unchecked == source);
    }
}
