use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::Location;
use std::sync::PoisonError;

use super::ledger_snapshot::{Ending, LastUse, LedgerSnapshot, OpenEntry, OpenSite, UnclosedEntry};
use crate::clock::Moment;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard};

/// A record of what is open and of how everything else has ended.
///
/// Cloning gives another handle to the same ledger. Share one among all merges of a service to have its
/// metrics in one place, or give each test its own and end it with
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
    shared: Option<Arc<Shared>>,
}

impl LeakLedger {
    /// Creates an empty ledger.
    #[must_use]
    pub fn new(level: LedgerLevel) -> Self {
        let keeps_records = level == LedgerLevel::Sites;
        let shared = (level != LedgerLevel::Off).then(|| Arc::new(Shared::new(keeps_records)));
        Self { shared }
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
        match &self.shared {
            None => LedgerLevel::Off,
            Some(shared) if !shared.keeps_records() => LedgerLevel::Counts,
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
        LedgerEntry::new(self.shared.as_ref().map(|shared| (Arc::clone(shared), shared.open(what, location))))
    }

    /// Returns what is recorded: the counts, and at level sites what is open by the line that opened it, with
    /// the oldest few of it.
    ///
    /// While entries are opened and ended concurrently, the counts may be of slightly different moments;
    /// `open` is never too small.
    ///
    /// # Complexity
    ///
    /// Depends on how many lines of code have opened something, not on how much is open.
    #[must_use]
    pub fn snapshot(&self) -> LedgerSnapshot {
        self.shared.as_ref().map_or_else(LedgerSnapshot::default, |shared| shared.snapshot())
    }

    /// Returns what is open, the oldest first, but no more than `limit` of it. Empty below level sites.
    ///
    /// # Complexity
    ///
    /// With n entries in all that are looked at, O(n log n), and a copy of what each that is returned is in the words of
    /// whoever opened it. Looked at are `limit` for each line of code that has opened something, or all it has open.
    #[must_use]
    pub fn open_entries(&self, limit: usize) -> Vec<OpenEntry> {
        self.shared.as_ref().map_or_else(Vec::new, |shared| shared.open_entries(limit))
    }

    /// Whether there is no other handle and no entry, so that nothing will change any more.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_last_handle(&mut self) -> bool {
        self.shared.as_mut().is_none_or(|shared| Arc::get_mut(shared).is_some())
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
        let found = self.snapshot();
        assert!(found.is_balanced(), "the ledger is not balanced{}: {found}", Lost(found.lost));
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
        let found = self.snapshot();
        assert!(
            found.is_all_closed(),
            "not everything in the ledger was closed{}: {found}",
            Lost(found.lost)
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

/// Something open in a [`LeakLedger`](super::LeakLedger).
///
/// Keep it beside the resource it stands for. Dropping it records the resource as dropped unclosed, so no
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
#[must_use = "an entry that is dropped is recorded as dropped unclosed"]
pub struct LedgerEntry {
    /// The ledger and the place in it; `None` at level off and once it has ended.
    open: Option<(Arc<Shared>, Option<Arc<Record>>)>,
}

impl LedgerEntry {
    const fn new(open: Option<(Arc<Shared>, Option<Arc<Record>>)>) -> Self {
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

    /// Records how the resource has ended.
    pub fn end(mut self, ending: Ending) {
        self.record(ending);
    }

    /// Records how the resource has ended, once.
    #[inline]
    pub(super) fn record(&mut self, ending: Ending) {
        if self.open.is_some() {
            self.record_open(ending);
        }
    }

    /// Kept out of callers, who mostly have no ledger.
    #[inline(never)]
    fn record_open(&mut self, ending: Ending) {
        if let Some((shared, record)) = self.open.take() {
            shared.end(record, ending);
        }
    }
}

impl Drop for LedgerEntry {
    #[inline]
    fn drop(&mut self) {
        self.record(Ending::DroppedUnclosed);
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

/// How many entries are remembered that were lost, and how many that were dropped unclosed.
const REMEMBERED: usize = 16;

/// What the handles and the entries of a ledger share.
#[derive(Default)]
struct Shared {
    opened: AtomicU64,
    endings: [AtomicU64; Ending::ALL.len()],
    /// `None` below level sites.
    records: Option<Mutex<Records>>,
}

#[derive(Default)]
struct Records {
    /// What is open, by the line that opened it, and by number of opening: the oldest of a line first. A line that has
    /// nothing open any more stays, since it may open again; a program has only so many.
    open: BTreeMap<&'static Location<'static>, BTreeMap<u64, Arc<Record>>>,
    /// The last that were lost. They have a list of their own: there are few, and many may be dropped unclosed.
    lost: VecDeque<Unclosed>,
    dropped_unclosed: VecDeque<Unclosed>,
}

/// An entry that ended without having been closed.
#[derive(Clone)]
struct Unclosed {
    record: Arc<Record>,
    ending: Ending,
    at: Moment,
}

impl Shared {
    fn new(keeps_records: bool) -> Self {
        Self { records: keeps_records.then(Mutex::default), ..Self::default() }
    }

    const fn keeps_records(&self) -> bool {
        self.records.is_some()
    }

    fn records(&self) -> Option<MutexGuard<'_, Records>> {
        // Nothing in here panics between two changes to the records, so a poisoned lock has whole ones.
        let records = self.records.as_ref()?;
        Some(records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens an entry. Kept out of callers, who mostly have no ledger.
    #[inline(never)]
    fn open(&self, what: impl fmt::Display, location: &'static Location<'static>) -> Option<Arc<Record>> {
        // First, since formatting may panic.
        let what = self.records.is_some().then(|| what.to_string());
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(Record::new(number, what?, location));
        self.records()?.open.entry(location).or_default().insert(number, Arc::clone(&record));
        Some(record)
    }

    fn end(&self, record: Option<Arc<Record>>, ending: Ending) {
        if let Some((mut records, record)) = self.records().zip(record) {
            if let Some(of_line) = records.open.get_mut(record.location) {
                of_line.remove(&record.number);
            }
            let forgotten = if ending.is_unclosed() { records.remember(record, ending) } else { None };
            // What is forgotten is freed without the lock.
            drop(records);
            drop(forgotten);
        }
        self.endings[ending as usize].fetch_add(1, Ordering::Release);
    }

    /// What is open, the oldest first, and no more than so many.
    fn open_entries(&self, limit: usize) -> Vec<OpenEntry> {
        let oldest = self.records().map_or_else(Vec::new, |records| records.oldest(limit));
        // Without the lock of the ledger.
        let now = Moment::now();
        oldest.iter().map(|record| record.report(now)).collect()
    }

    fn snapshot(&self) -> LedgerSnapshot {
        // An entry that ends in between is counted as open, not as ended without having been opened.
        let ended = Ending::ALL.map(|ending| self.endings[ending as usize].load(Ordering::Acquire));
        let opened = self.opened.load(Ordering::Acquire);
        let of = |ending: Ending| ended[ending as usize];
        let (sites, oldest, unclosed) = self.records().map_or_else(Default::default, |records| {
            let unclosed: Vec<_> = records.lost.iter().chain(&records.dropped_unclosed).cloned().collect();
            (records.sites(), records.oldest(LedgerSnapshot::OPEN_ENTRIES), unclosed)
        });
        // Without the lock of the ledger.
        let now = Moment::now();
        LedgerSnapshot {
            opened,
            closed: of(Ending::Closed),
            closed_in_background: of(Ending::ClosedInBackground),
            failed: of(Ending::Failed),
            handed_back: of(Ending::HandedBack),
            dropped_unclosed: of(Ending::DroppedUnclosed),
            lost: of(Ending::Lost),
            open: opened.saturating_sub(ended.iter().sum()),
            open_entries: oldest.iter().map(|record| record.report(now)).collect(),
            open_sites: sites
                .into_iter()
                .map(|(count, oldest)| OpenSite::new(count, oldest.report(now)))
                .collect(),
            last_unclosed: unclosed.iter().map(|unclosed| unclosed.report(now)).collect(),
        }
    }
}

impl Records {
    /// For each line that has something open: how much, and the oldest of it.
    fn sites(&self) -> Vec<(usize, Arc<Record>)> {
        let sites = self.open.values().filter_map(|of_line| {
            let (_, oldest) = of_line.first_key_value()?;
            Some((of_line.len(), Arc::clone(oldest)))
        });
        sites.collect()
    }

    fn oldest(&self, limit: usize) -> Vec<Arc<Record>> {
        // Of each line no more than are wanted of all: what is looked at depends on the lines, not on what is open.
        let mut oldest: Vec<_> =
            self.open.values().flat_map(|of_line| of_line.values().take(limit)).collect();
        oldest.sort_unstable_by_key(|record| record.number);
        oldest.truncate(limit);
        oldest.into_iter().cloned().collect()
    }

    /// Remembers an entry that ended without having been closed. Returns the one that is forgotten for it.
    fn remember(&mut self, record: Arc<Record>, ending: Ending) -> Option<Unclosed> {
        let remembered = if ending == Ending::Lost { &mut self.lost } else { &mut self.dropped_unclosed };
        let forgotten = if remembered.len() < REMEMBERED { None } else { remembered.pop_front() };
        remembered.push_back(Unclosed { record, ending, at: Moment::now() });
        forgotten
    }
}

impl Unclosed {
    fn report(&self, now: Moment) -> UnclosedEntry {
        UnclosedEntry { entry: self.record.report(now), ending: self.ending, ended: now.since(self.at) }
    }
}

/// What a ledger at level sites knows of an open entry. The holder of the entry has it too, and so can note a
/// use without taking the lock of the ledger.
struct Record {
    /// The number of the opening.
    number: u64,
    what: String,
    location: &'static Location<'static>,
    since: Moment,
    last_use: Mutex<Option<Use>>,
}

#[derive(Clone, Copy)]
struct Use {
    at: Moment,
    doing: &'static str,
    number: Option<u64>,
}

impl Record {
    fn new(number: u64, what: String, location: &'static Location<'static>) -> Self {
        Self { number, what, location, since: Moment::now(), last_use: Mutex::new(None) }
    }

    fn note(&self, doing: &'static str, number: Option<u64>) {
        let noted = Use { at: Moment::now(), doing, number };
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Some(noted);
    }

    /// What is known of it at a moment. All of a report are of the same one: an older entry has the greater age.
    fn report(&self, now: Moment) -> OpenEntry {
        let last_use = *self.last_use.lock().unwrap_or_else(PoisonError::into_inner);
        OpenEntry {
            what: self.what.clone(),
            location: self.location,
            age: now.since(self.since),
            last_use: last_use.map(|last| LastUse {
                doing: last.doing,
                number: last.number,
                age: now.since(last.at),
            }),
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("number", &self.number)
            .field("what", &self.what)
            .finish_non_exhaustive()
    }
}
