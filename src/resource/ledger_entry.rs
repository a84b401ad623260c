use std::fmt;

use super::Ending;
use super::books::Books;
use super::ledger_record::Record;
use crate::sync::Arc;

/// Something open in a [`LeakLedger`](super::LeakLedger).
///
/// Keep it beside the resource it stands for. Dropping it books the resource as dropped unclosed, so no
/// path can forget to.
///
/// # Examples
///
/// ```
/// use losertree::LeakLedger;
///
/// let ledger = LeakLedger::sites();
/// let entry = ledger.open("connection to store-a");
/// entry.note("sending request", Some(7));
/// let report = ledger.snapshot().to_string();
/// assert!(report.ends_with(" ago: sending request 7"), "{report}");
/// ```
#[must_use = "an entry that is dropped is booked as dropped unclosed"]
pub struct LedgerEntry {
    /// The books and the place in them; `None` at level off and once it has ended.
    open: Option<(Arc<Books>, Option<Arc<Record>>)>,
}

impl LedgerEntry {
    pub(super) const fn new(open: Option<(Arc<Books>, Option<Arc<Record>>)>) -> Self {
        Self { open }
    }

    /// Notes what the holder does with the resource from now on, for the report: `waiting for item`, and which.
    ///
    /// The last note counts. At level sites it takes a clock and a lock that nobody else takes but for a report,
    /// and allocates nothing; at the others it does nothing.
    #[inline]
    pub fn note(&self, doing: &'static str, number: Option<u64>) {
        if let Some((_, Some(record))) = &self.open {
            record.note(doing, number);
        }
    }

    /// Returns what notes for the entry from elsewhere.
    pub(super) fn noter(&self) -> Noter {
        Noter(self.open.as_ref().and_then(|(_, record)| record.clone()))
    }

    /// Books how the resource has ended.
    pub fn end(mut self, ending: Ending) {
        self.book(ending);
    }

    /// Books how the resource has ended, once.
    #[inline]
    pub(super) fn book(&mut self, ending: Ending) {
        if self.open.is_some() {
            self.book_open(ending);
        }
    }

    /// Kept out of callers, who mostly have no books.
    #[inline(never)]
    fn book_open(&mut self, ending: Ending) {
        if let Some((books, record)) = self.open.take() {
            books.end(record, ending);
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
        let record = self.open.as_ref().and_then(|(_, record)| record.as_ref());
        f.debug_struct("LedgerEntry").field("is_open", &self.open.is_some()).field("record", &record).finish()
    }
}

/// Notes what becomes of the holder of an entry, where that is not for the holder to say. Outlives the entry.
#[derive(Debug)]
pub(super) struct Noter(Option<Arc<Record>>);

impl Noter {
    /// As [`LedgerEntry::note`]. Runs no code that is not ours, so it may be called under a lock.
    pub(super) fn note(&self, doing: &'static str, number: Option<u64>) {
        if let Some(record) = &self.0 {
            record.note(doing, number);
        }
    }
}
