use std::fmt;
use std::panic::Location;

use super::books::Books;
use super::{LedgerEntry, LedgerSnapshot, OpenEntry};
use crate::sync::Arc;

/// How much a [`LeakLedger`] writes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LedgerLevel {
    /// Nothing. Costs nothing.
    Off,
    /// How many entries were opened and how they ended: two atomic additions for each.
    #[default]
    Counts,
    /// Also what is open, since when, the line of code that opened it and how it was last used: a lock, a
    /// clock and two allocations for each entry, a lock of its own and a clock for each use that is noted. And the
    /// last 16 that were lost and the last 16 that were dropped unclosed, and no more of these.
    Sites,
}

/// The books of what is open and how everything else ended.
///
/// Cloning gives another handle to the same books. Share one among all merges of a service to have its
/// figures in one place, or give each test its own and end it with
/// [`assert_all_closed`](Self::assert_all_closed), or with [`assert_balanced`](Self::assert_balanced) where it drops
/// something unclosed on purpose.
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

impl LeakLedger {
    /// Creates empty books.
    #[must_use]
    pub fn new(level: LedgerLevel) -> Self {
        let keeps_records = level == LedgerLevel::Sites;
        let books = (level != LedgerLevel::Off).then(|| Arc::new(Books::new(keeps_records)));
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
            Some(books) if !books.keeps_records() => LedgerLevel::Counts,
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

    /// Returns the state of the books: the figures, and at level sites what is open by the line that opened it, with
    /// the oldest few of it.
    ///
    /// While entries are opened and ended concurrently, the figures may be of slightly different moments;
    /// `open` is never too small.
    ///
    /// # Complexity
    ///
    /// Depends on how many lines of code have opened something, not on how much is open.
    #[must_use]
    pub fn snapshot(&self) -> LedgerSnapshot {
        self.books.as_ref().map_or_else(LedgerSnapshot::default, |books| books.snapshot())
    }

    /// Returns what is open, the oldest first, but no more than `limit` of it. Empty below level sites.
    ///
    /// # Complexity
    ///
    /// With n entries in all that are looked at, O(n log n), and a copy of what each that is returned is in the words of
    /// whoever opened it. Looked at are `limit` for each line of code that has opened something, or all it has open.
    #[must_use]
    pub fn open_entries(&self, limit: usize) -> Vec<OpenEntry> {
        self.books.as_ref().map_or_else(Vec::new, |books| books.open_entries(limit))
    }

    /// Whether there is no other handle and no entry, so that the books will not change any more.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_last_handle(&mut self) -> bool {
        self.books.as_mut().is_none_or(|books| Arc::get_mut(books).is_some())
    }

    /// Asserts that nothing is open and nothing was [lost](super::Ending::Lost).
    ///
    /// Holds where some were dropped unclosed: they have been released. Use it where users may go away without
    /// closing, as at the end of a service or of a test that drops a merge, and
    /// [`assert_all_closed`](Self::assert_all_closed) where everything must have been closed. At level off there is
    /// nothing to look at, and the assertion holds.
    ///
    /// # Panics
    ///
    /// If something is open or was lost, with a report of what, since when and opened where.
    #[track_caller]
    pub fn assert_balanced(&self) {
        let books = self.snapshot();
        assert!(books.is_balanced(), "the ledger is not balanced{}: {books}", Lost(books.lost));
    }

    /// Asserts that nothing is open, and that nothing was lost or dropped unclosed.
    ///
    /// Use it where every user closes or reads to the end, as in a test of a path that must close. What has failed
    /// or was handed back has ended in order too. At level off there is nothing to look at, and the assertion holds.
    ///
    /// # Panics
    ///
    /// If something is open, or was lost or dropped unclosed, with the report of
    /// [`assert_balanced`](Self::assert_balanced).
    #[track_caller]
    pub fn assert_all_closed(&self) {
        let books = self.snapshot();
        assert!(
            books.is_all_closed(),
            "not everything in the ledger was closed{}: {books}",
            Lost(books.lost)
        );
    }
}

/// Says what it means that so many were lost.
struct Lost(u64);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return Ok(());
        }
        write!(
            f,
            ", {} lost (dropped unclosed by what was itself closed in order: an adaptor in between has lost the close)",
            self.0
        )
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
