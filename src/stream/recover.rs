//! How a merge goes on after a panic.

use super::slot::SlotState;
use super::{ProxyResponseLoserTree, Source};
use crate::key::Order;

impl<S, O> ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    /// Releases the source that has panicked, if it was one, and has the others closed.
    #[cold]
    pub(super) fn recover(&mut self) {
        let closing = self.closing.take();
        if self.has_told_all {
            // One source was being closed, if any was called: there may be very many that panic, so the others are not looked at.
            if let Some(slot) = closing.and_then(|index| self.slots.get_mut(index)) {
                self.open -= 1;
                if slot.state == SlotState::Called {
                    slot.release_panicked();
                }
            }
            return;
        }
        let called = self.slots.iter().position(|slot| slot.state == SlotState::Called);
        self.open = self.slots.iter().filter(|slot| slot.state != SlotState::Released).count();
        self.open -= usize::from(called.is_some());
        self.start_closing();
        // For a panic in the stage of closing, which is not started again: a source may have ended, and not have been polled to
        // close.
        self.close_open_sources();
        if let Some(slot) = called.and_then(|index| self.slots.get_mut(index)) {
            slot.release_panicked();
        }
    }
}
