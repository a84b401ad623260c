use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::Location;
use std::sync::PoisonError;

use super::ledger_record::Record;
use super::{Ending, LedgerSnapshot, OpenEntry, OpenSite, UnclosedEntry};
use crate::clock::Moment;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard};

/// How many entries are remembered that were lost, and how many that were dropped unclosed.
const REMEMBERED: usize = 16;

/// What the handles and the entries of a ledger share.
#[derive(Default)]
pub(super) struct Books {
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

impl Books {
    pub(super) fn new(keeps_records: bool) -> Self {
        Self { records: keeps_records.then(Mutex::default), ..Self::default() }
    }

    pub(super) const fn keeps_records(&self) -> bool {
        self.records.is_some()
    }

    fn records(&self) -> Option<MutexGuard<'_, Records>> {
        // Nothing in here panics between two changes to the records, so a poisoned lock has whole ones.
        let records = self.records.as_ref()?;
        Some(records.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Opens an entry. Kept out of callers, who mostly have no books.
    #[inline(never)]
    pub(super) fn open(
        &self,
        what: impl fmt::Display,
        location: &'static Location<'static>,
    ) -> Option<Arc<Record>> {
        // First, since formatting may panic.
        let what = self.records.is_some().then(|| what.to_string());
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let record = Arc::new(Record::new(number, what?, location));
        self.records()?.open.entry(location).or_default().insert(number, Arc::clone(&record));
        Some(record)
    }

    pub(super) fn end(&self, record: Option<Arc<Record>>, ending: Ending) {
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
    pub(super) fn open_entries(&self, limit: usize) -> Vec<OpenEntry> {
        let oldest = self.records().map_or_else(Vec::new, |records| records.oldest(limit));
        // Without the lock of the books.
        let now = Moment::now();
        oldest.iter().map(|record| record.report(now)).collect()
    }

    pub(super) fn snapshot(&self) -> LedgerSnapshot {
        // An entry that ends in between is counted as open, not as ended without having been opened.
        let ended = Ending::ALL.map(|ending| self.endings[ending as usize].load(Ordering::Acquire));
        let opened = self.opened.load(Ordering::Acquire);
        let of = |ending: Ending| ended[ending as usize];
        let (sites, oldest, unclosed) = self.records().map_or_else(Default::default, |records| {
            let unclosed: Vec<_> = records.lost.iter().chain(&records.dropped_unclosed).cloned().collect();
            (records.sites(), records.oldest(LedgerSnapshot::OPEN_ENTRIES), unclosed)
        });
        // Without the lock of the books.
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
