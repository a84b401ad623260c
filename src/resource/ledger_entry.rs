use std::fmt;

use super::ledger::Books;
use crate::sync::Arc;

/// How something that was opened has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Closed in order.
    Closed,
    /// Released after it, or the closing of it, had failed.
    Failed,
    /// Given back to whoever handed it in, unreleased.
    HandedBack,
    /// Dropped without having been closed.
    DroppedUnclosed,
}

impl Ending {
    /// All endings, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Failed, Self::HandedBack, Self::DroppedUnclosed];
}

/// Something open in a [`LeakLedger`](super::LeakLedger).
///
/// Keep it beside the resource it stands for. Dropping it books the resource as dropped unclosed, so no
/// path can forget to.
#[must_use = "an entry that is dropped is booked as dropped unclosed"]
pub struct LedgerEntry {
    /// The books and the number of this entry in them; `None` at level off and once it has ended.
    open: Option<(Arc<Books>, u64)>,
}

impl LedgerEntry {
    pub(super) const fn new(open: Option<(Arc<Books>, u64)>) -> Self {
        Self { open }
    }

    /// Books how the resource has ended.
    pub fn end(mut self, ending: Ending) {
        self.book(ending);
    }

    /// Books how the resource has ended, once.
    #[inline]
    pub(super) fn book(&mut self, ending: Ending) {
        if let Some((books, number)) = self.open.take() {
            books.end(number, ending);
        }
    }
}

impl Drop for LedgerEntry {
    #[inline]
    fn drop(&mut self) {
        self.book(Ending::DroppedUnclosed);
    }
}

impl fmt::Debug for LedgerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.open.as_ref().map(|(_, number)| number);
        f.debug_struct("LedgerEntry").field("number", &number).finish()
    }
}
