use std::fmt;
use std::panic::Location;

use super::proxy_response_loser_tree::Stage;
use super::slot::{Slot, SlotState};
use super::{ProxyResponseLoserTree, Source, UnpinSource};
use crate::key::Order;

/// How many sources must be gone at least for their places to be let go.
const FEW_GONE: usize = 4;

impl<S: Source, O: Order<S::Item>> ProxyResponseLoserTree<S, O> {
    /// Adds a source while merging, and returns its index: how many have joined before it.
    ///
    /// # Ordering
    ///
    /// Nothing more is yielded until the source has given its first item. Items of it that come before what
    /// was already yielded are yielded next.
    ///
    /// # Complexity
    ///
    /// Amortised `O(1)`, and at most 3·⌈log2 K⌉ + 1 comparisons more than without it, where K is the number of sources that are
    /// open. The places of sources that are gone are used again once they are half of all, so neither time nor memory grows with
    /// how many have come and gone.
    ///
    /// # Errors
    ///
    /// Gives the source back if the merge is closing or closed, has reached its limit or was interrupted by
    /// a panic.
    #[track_caller]
    pub fn push(&mut self, source: S) -> Result<usize, PushError<S>>
    where
        S: UnpinSource,
    {
        if self.stage != Stage::Merging || self.is_entered || self.remaining == 0 {
            return Err(PushError { source_not_added: source });
        }
        self.compact();
        let index = self.joined;
        let site = Location::caller();
        let open = |origin: &_| self.watch.open(origin, site, &self.options.ledger);
        let slot = Slot::new(source, index, self.readiness.add(index, false), self.options.is_timed, open);
        // Its first poll is due, and the task that waits is to make it.
        slot.waker.waker().wake_by_ref();
        self.slots.push(slot);
        self.tree.push(None);
        self.joined += 1;
        self.awaiting += 1;
        self.open += 1;
        Ok(index)
    }

    /// Lets go of the places of sources that are gone, once these are half of all and more than a few. Those that are left keep
    /// their order, which is that of joining, so that ties go as before.
    fn compact(&mut self) {
        let gone = self.slots.len() - self.open;
        if gone < FEW_GONE || 2 * gone < self.slots.len() {
            return;
        }
        let Self { slots, tree, options, gone, .. } = self;
        let is_here = |slot: &Slot<S>| slot.state != SlotState::Released;
        tree.retain(|place| slots.get(place).is_some_and(is_here));
        if let Some(checker) = &mut options.checker {
            checker.retain(|place| slots.get(place).is_some_and(is_here));
        }
        slots.retain(|slot| {
            let is_here = is_here(slot);
            if !is_here {
                gone.add(slot.stats());
            }
            is_here
        });
        slots.shrink_to(2 * slots.len());
        self.due.shrink_to(2 * slots.len());
        self.readiness.shrink_to(2 * slots.len());
    }
}

/// The source that could not be added to a merge, because the merge is closing or closed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("a source cannot be added to a merge that is closing")]
pub struct PushError<S> {
    /// The source, untouched.
    pub source_not_added: S,
}

impl<S> fmt::Debug for PushError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushError").finish_non_exhaustive()
    }
}
