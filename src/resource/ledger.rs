use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::sync::PoisonError;

use super::ledger_record::Record;
use super::{Ending, LedgerEntry, LedgerSnapshot};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard};

/// How much a [`LeakLedger`] writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LedgerLevel {
    /// Nothing. Costs nothing.
    Off,
    /// How many entries were opened and how they ended: two atomic additions for each.
    #[default]
    Counts,
    /// Also what is open, since when, the line of code that opened it and how it was last used: a lock, a
    /// clock and two allocations for each entry, a lock of its own and a clock for each use that is noted.
    Sites,
}

/// The books of what is open and how everything else ended.
///
/// Cloning gives another handle to the same books. Share one among all merges of a service to have its
/// figures in one place, or give each test its own and end it with
/// [`assert_balanced`](Self::assert_balanced).
///
/// The levels are those of Netty's `ResourceLeakDetector`, but nothing is sampled; and of the accesses that are
/// recorded there with `touch`, only the last is kept, as [`LedgerEntry::note`] has it.
///
/// # Examples
///
/// ```
/// use losertree::LeakLedger;
/// use losertree::resource::Ending;
///
/// let ledger = LeakLedger::sites();
/// let entry = ledger.open("connection to store-a");
/// assert_eq!(ledger.snapshot().open, 1);
/// entry.end(Ending::Closed);
/// ledger.assert_balanced();
/// ```
#[derive(Clone)]
pub struct LeakLedger {
    /// `None` at level off.
    books: Option<Arc<Books>>,
}

#[derive(Default)]
pub(super) struct Books {
    opened: AtomicU64,
    endings: [AtomicU64; Ending::ALL.len()],
    /// What is open, by number of opening; `None` below level sites.
    records: Option<Mutex<Records>>,
}

type Records = BTreeMap<u64, Arc<Record>>;

impl LeakLedger {
    /// Creates empty books.
    #[must_use]
    pub fn new(level: LedgerLevel) -> Self {
        let records = (level == LedgerLevel::Sites).then(Mutex::default);
        let books = (level != LedgerLevel::Off).then(|| Arc::new(Books { records, ..Books::default() }));
        Self { books }
    }

    /// Creates a ledger that writes nothing down.
    #[must_use]
    pub fn off() -> Self {
        Self::new(LedgerLevel::Off)
    }

    /// Creates a ledger that counts.
    #[must_use]
    pub fn counts() -> Self {
        Self::new(LedgerLevel::Counts)
    }

    /// Creates a ledger that also remembers what is open and where it was opened.
    #[must_use]
    pub fn sites() -> Self {
        Self::new(LedgerLevel::Sites)
    }

    /// Returns how much the ledger writes down.
    #[must_use]
    pub fn level(&self) -> LedgerLevel {
        match &self.books {
            None => LedgerLevel::Off,
            Some(books) if books.records.is_none() => LedgerLevel::Counts,
            Some(_) => LedgerLevel::Sites,
        }
    }

    /// Opens an entry, at the line of the caller.
    ///
    /// `what` is written down at level sites only.
    #[track_caller]
    pub fn open(&self, what: impl fmt::Display) -> LedgerEntry {
        self.open_at(what, Location::caller())
    }

    /// Opens an entry, at a given line.
    #[inline]
    pub(crate) fn open_at(
        &self,
        what: impl fmt::Display,
        location: &'static Location<'static>,
    ) -> LedgerEntry {
        LedgerEntry::new(self.books.as_ref().map(|books| (Arc::clone(books), books.open(what, location))))
    }

    /// Returns the state of the books.
    ///
    /// While entries are opened and ended concurrently, the figures may be of slightly different moments;
    /// `open` is never too small.
    #[must_use]
    pub fn snapshot(&self) -> LedgerSnapshot {
        let Some(books) = &self.books else {
            return LedgerSnapshot::default();
        };
        // An entry that ends in between is counted as open, not as ended without having been opened.
        let [closed, failed, handed_back, dropped_unclosed] =
            Ending::ALL.map(|ending| books.endings[ending as usize].load(Ordering::Acquire));
        let opened = books.opened.load(Ordering::Acquire);
        let open = opened.saturating_sub(closed + failed + handed_back + dropped_unclosed);
        let records: Vec<_> =
            books.records().map_or_else(Vec::new, |records| records.values().cloned().collect());
        // Without the lock of the books.
        let open_entries = records.iter().map(|record| record.report()).collect();
        LedgerSnapshot { opened, closed, failed, handed_back, dropped_unclosed, open, open_entries }
    }

    /// Whether there is no other handle and no entry, so that the books will not change any more.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_last_handle(&mut self) -> bool {
        self.books.as_mut().is_none_or(|books| Arc::get_mut(books).is_some())
    }

    /// Asserts that nothing is open.
    ///
    /// Entries that were dropped unclosed have been released, so they do not count as open; where every
    /// source must have been closed, look at [`LedgerSnapshot::dropped_unclosed`] too. At level off there
    /// is nothing to look at, and the assertion holds.
    ///
    /// # Panics
    ///
    /// If something is open, with a report of what, since when and opened where.
    #[track_caller]
    pub fn assert_balanced(&self) {
        let snapshot = self.snapshot();
        assert!(snapshot.is_balanced(), "the ledger is not balanced: {snapshot}");
    }
}

impl Books {
    fn records(&self) -> Option<MutexGuard<'_, Records>> {
        // Nothing in here panics between two changes to the map, so a poisoned one is whole.
        let records = self.records.as_ref()?;
        Some(records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens an entry. Kept out of callers, who mostly have no books.
    #[inline(never)]
    fn open(&self, what: impl fmt::Display, location: &'static Location<'static>) -> Option<Arc<Record>> {
        // First, since formatting may panic.
        let what = self.records.is_some().then(|| what.to_string());
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(Record::new(number, what?, location));
        self.records()?.insert(number, Arc::clone(&record));
        Some(record)
    }

    pub(super) fn end(&self, record: Option<&Record>, ending: Ending) {
        if let Some((mut records, record)) = self.records().zip(record) {
            records.remove(&record.number);
        }
        self.endings[ending as usize].fetch_add(1, Ordering::Release);
    }
}

/// Level counts.
impl Default for LeakLedger {
    fn default() -> Self {
        Self::new(LedgerLevel::default())
    }
}

impl fmt::Debug for LeakLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeakLedger")
            .field("level", &self.level())
            .field("snapshot", &self.snapshot())
            .finish()
    }
}
