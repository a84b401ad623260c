use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures::FutureExt;
use losertree::LeakLedger;
use losertree::resource::{PendingReader, ReaderGate, ReaderGuard};

use crate::block::{Block, BlockError, Selector};
use crate::sync_log::{SyncLog, Syncs};

/// The blocks of a directory, which come, are replaced and go while they are read.
///
/// # Sync
///
/// [`sync`](Self::sync) looks at the directory and opens, replaces and removes blocks. A query takes its blocks once, all at one
/// moment, and keeps them to its end. A block that is removed lets nobody in any more; its files are closed and its memory is given
/// back when its last reader has left, whether somebody waits for that or not.
///
/// A block that was compacted into another one is not read beside that.
#[derive(Debug)]
pub struct BlockStore {
    dir: Option<PathBuf>,
    external: BTreeMap<String, String>,
    ledger: LeakLedger,
    state: Mutex<State>,
    syncs: SyncLog,
}

#[derive(Debug, Default)]
struct State {
    /// By name.
    current: Arc<BTreeMap<String, Known>>,
    /// Those that were removed and may have readers.
    leaving: Vec<Leaving>,
}

#[derive(Debug, Clone)]
struct Known {
    print: Print,
    block: Arc<Block>,
}

#[derive(Debug)]
struct Leaving {
    name: String,
    gate: ReaderGate,
}

/// By what the files of a block are told from those that replace them: length and time of change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Print([Option<(u64, SystemTime)>; 3]);

impl Print {
    fn of(dir: &Path) -> Self {
        Self(["meta.json", "index", "tombstones"].map(|name| {
            let meta = fs::metadata(dir.join(name)).ok()?;
            Some((meta.len(), meta.modified().ok()?))
        }))
    }
}

/// What a sync has done.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SyncReport {
    /// The names of blocks that were opened.
    pub added: Vec<String>,
    /// The names of blocks that were opened anew, since their files are others.
    pub replaced: Vec<String>,
    /// The names of blocks that are not there any more, or were compacted into others.
    pub removed: Vec<String>,
    /// Blocks that cannot be opened. Of those that could before, the files that are open are read on.
    pub errors: Vec<BlockError>,
}

impl SyncReport {
    /// Whether nothing has changed, and nothing went wrong.
    #[must_use]
    pub const fn is_quiet(&self) -> bool {
        self.added.is_empty() && self.replaced.is_empty() && self.removed.is_empty() && self.errors.is_empty()
    }
}

/// A block that was removed and still has readers.
#[derive(Debug)]
#[non_exhaustive]
pub struct Held {
    /// The name of the block.
    pub name: String,
    /// For how long it has been waiting for them.
    pub closing_for: Duration,
    /// Who they are.
    pub readers: Vec<PendingReader>,
}

/// A block that a query reads.
pub(crate) type Entered = (Arc<Block>, ReaderGuard);

impl BlockStore {
    /// Creates a store of a directory, without blocks before it is synced; without a directory it never has some. The labels are
    /// those of all series, as [`Block::open`] has it.
    #[must_use]
    pub fn new(dir: Option<PathBuf>, external: BTreeMap<String, String>, ledger: &LeakLedger) -> Self {
        Self { dir, external, ledger: ledger.clone(), state: Mutex::default(), syncs: SyncLog::default() }
    }

    /// Looks at the directory, and opens, replaces and removes blocks. Blocks the thread, but no queries.
    ///
    /// # Errors
    ///
    /// If the directory cannot be listed; then nothing has changed. What is wrong with single blocks is in the report.
    pub fn sync(&self) -> io::Result<SyncReport> {
        let Some(dir) = &self.dir else { return Ok(SyncReport::default()) };
        let (at, start) = (SystemTime::now(), Instant::now());
        let result = self.look(dir);
        self.syncs.record(at, start.elapsed(), &result);
        result
    }

    fn look(&self, dir: &Path) -> io::Result<SyncReport> {
        let before = Arc::clone(&self.lock().current);
        let mut names = names(dir)?;
        let mut tries = 0;
        let (mut next, mut report) = loop {
            let opened = self.open(dir, &names, &before);
            // A block that came for another one that went may have been in neither place when it was looked for. So a list is good only
            // if it still is the same. Who changes it all the time is believed in the end.
            let now = self::names(dir)?;
            tries += 1;
            if now == names || tries == TRIES {
                break opened;
            }
            names = now;
        };
        let replaced_by_others: HashSet<String> =
            next.values().flat_map(|known| parents(&known.block)).collect();
        next.retain(|name, known| {
            !replaced_by_others.contains(name) && !known.block.meta().compaction.deletable
        });
        self.install(&before, next, &mut report);
        Ok(report)
    }

    /// Opens the blocks of a list that are not open as they are.
    fn open(
        &self,
        dir: &Path,
        names: &BTreeSet<String>,
        before: &BTreeMap<String, Known>,
    ) -> (BTreeMap<String, Known>, SyncReport) {
        let mut report = SyncReport::default();
        let mut next = BTreeMap::new();
        for name in names {
            let dir = dir.join(name);
            let print = Print::of(&dir);
            let known = before.get(name);
            if let Some(known) = known.filter(|known| known.print == print) {
                next.insert(name.clone(), known.clone());
                continue;
            }
            match Block::open(&dir, &self.external, &self.ledger) {
                Ok(block) => drop(next.insert(name.clone(), Known { print, block: Arc::new(block) })),
                Err(error) => {
                    report.errors.push(error);
                    next.extend(known.map(|known| (name.clone(), known.clone())));
                }
            }
        }
        (next, report)
    }

    /// Puts the blocks in place at one moment, and lets nobody into those that are not among them any more.
    fn install(
        &self,
        before: &BTreeMap<String, Known>,
        next: BTreeMap<String, Known>,
        report: &mut SyncReport,
    ) {
        for (name, known) in &next {
            match before.get(name) {
                None => report.added.push(name.clone()),
                Some(old) if !Arc::ptr_eq(&old.block, &known.block) => report.replaced.push(name.clone()),
                Some(_) => {}
            }
        }
        report.removed.extend(before.keys().filter(|name| !next.contains_key(*name)).cloned());
        let mut state = self.lock();
        for name in report.removed.iter().chain(&report.replaced) {
            if let Some(old) = before.get(name) {
                let gate = old.block.gate().clone();
                // The first poll closes it. Nobody waits: the last reader takes the block with it.
                let _ = gate.close().now_or_never();
                state.leaving.push(Leaving { name: name.clone(), gate });
            }
        }
        state.leaving.retain(|leaving| leaving.gate.pending() > 0);
        let old = std::mem::replace(&mut state.current, Arc::new(next));
        drop(state);
        // Files are closed without the lock.
        drop(old);
    }

    /// Returns how often the directory was looked at, and what came of it.
    #[must_use]
    pub fn syncs(&self) -> Syncs {
        self.syncs.syncs()
    }

    /// Returns the directory that has the blocks.
    #[must_use]
    pub fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    /// Returns the labels that all series have, besides those that blocks name themselves.
    #[must_use]
    pub const fn external_labels(&self) -> &BTreeMap<String, String> {
        &self.external
    }

    /// Returns the names and gates of blocks that were removed and still have readers.
    #[must_use]
    pub fn closing(&self) -> Vec<(String, ReaderGate)> {
        let mut state = self.lock();
        state.leaving.retain(|leaving| leaving.gate.pending() > 0);
        state.leaving.iter().map(|leaving| (leaving.name.clone(), leaving.gate.clone())).collect()
    }

    /// Returns the blocks, in the order of their names.
    #[must_use]
    pub fn blocks(&self) -> Vec<Arc<Block>> {
        self.lock().current.values().map(|known| Arc::clone(&known.block)).collect()
    }

    /// Returns the blocks that were removed and still have readers, and who these are.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let held = |(name, gate): (String, ReaderGate)| Held {
            name,
            closing_for: gate.closing_for().unwrap_or_default(),
            readers: gate.readers(),
        };
        self.closing().into_iter().map(held).collect()
    }

    /// Enters all blocks in which a query can find something, at one moment.
    #[track_caller]
    pub(crate) fn enter(&self, reader: &Arc<str>, selector: &Selector) -> Result<Vec<Entered>, BlockError> {
        let state = self.lock();
        let mut entered = Vec::new();
        // Under the lock none of them is closed. A closure would be the caller of what it calls.
        for known in state.current.values() {
            if known.block.can_match(selector) {
                entered.push((Arc::clone(&known.block), known.block.enter(Arc::clone(reader))?));
            }
        }
        Ok(entered)
    }

    /// Removes all blocks: lets nobody in any more.
    pub fn close(&self) {
        let before = Arc::clone(&self.lock().current);
        self.install(&before, BTreeMap::new(), &mut SyncReport::default());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a directory is looked at that changes meanwhile.
const TRIES: usize = 8;

/// The names of the blocks of a directory. One without its description is not there yet, or not any more.
fn names(dir: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        if let Some(name) = entry?.file_name().to_str().filter(|name| is_ulid(name))
            && dir.join(name).join("meta.json").exists()
        {
            names.insert(name.to_owned());
        }
    }
    Ok(names)
}

fn parents(block: &Block) -> impl Iterator<Item = String> {
    block.meta().compaction.parents.iter().map(|parent| parent.ulid.clone())
}

/// Whether a name is that of a block: 26 digits and letters.
fn is_ulid(name: &str) -> bool {
    name.len() == 26 && name.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}
