use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::block::Selector;
use crate::text::cut;

/// The queries that run, and what went wrong with those before them.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    state: Mutex<State>,
    begun: AtomicU64,
    failed: AtomicU64,
    partial: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<u64, Arc<Progress>>,
    /// The last ones, oldest first.
    failures: VecDeque<Failure>,
}

/// How far a query has come.
#[derive(Debug)]
struct Progress {
    kind: &'static str,
    reader: Arc<str>,
    selector: Selector,
    since: Instant,
    is_admitted: AtomicBool,
    blocks: AtomicU64,
    servers: AtomicU64,
    series: AtomicU64,
    chunk_bytes: AtomicU64,
}

/// A query that has failed, or whose answer was partial.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) at: SystemTime,
    pub(crate) reader: Arc<str>,
    pub(crate) is_partial: bool,
    /// Not longer than a text may be.
    pub(crate) problem: String,
}

/// How many failures are remembered.
const FAILURES: usize = 16;

/// What a running query is and does.
#[derive(Debug, Clone)]
pub(crate) struct RunningQuery {
    pub(crate) reader: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) selector: Selector,
    pub(crate) age: Duration,
    pub(crate) is_admitted: bool,
    pub(crate) blocks: u64,
    pub(crate) servers: u64,
    pub(crate) series: u64,
    pub(crate) chunk_bytes: u64,
}

/// How many queries there were, and are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) running: usize,
    pub(crate) begun: u64,
    pub(crate) failed: u64,
    pub(crate) partial: u64,
}

impl Queries {
    /// Begins a query of some kind. The reader is what the ledger calls it; it has the number in it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        kind: &'static str,
        selector: &Selector,
        reader: impl FnOnce(u64) -> Arc<str>,
    ) -> Running {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(Progress {
            kind,
            reader: reader(number),
            selector: selector.clone(),
            since: Instant::now(),
            is_admitted: AtomicBool::new(false),
            blocks: AtomicU64::new(0),
            servers: AtomicU64::new(0),
            series: AtomicU64::new(0),
            chunk_bytes: AtomicU64::new(0),
        });
        self.lock().running.insert(number, Arc::clone(&progress));
        Running { queries: Arc::clone(self), number, progress }
    }

    /// A query has failed, or could not begin.
    pub(crate) fn failed(&self, reader: impl Into<Arc<str>>, problem: impl fmt::Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.remember(reader.into(), false, problem);
    }

    fn remember(&self, reader: Arc<str>, is_partial: bool, problem: impl fmt::Display) {
        let failure = Failure { at: SystemTime::now(), reader, is_partial, problem: cut(problem) };
        let mut state = self.lock();
        if state.failures.len() == FAILURES {
            state.failures.pop_front();
        }
        state.failures.push_back(failure);
    }

    /// Returns the oldest ones that run, oldest first, but not more than so many.
    pub(crate) fn running(&self, limit: usize) -> Vec<RunningQuery> {
        let running = |progress: &Arc<Progress>| RunningQuery {
            reader: Arc::clone(&progress.reader),
            kind: progress.kind,
            selector: progress.selector.clone(),
            age: progress.since.elapsed(),
            is_admitted: progress.is_admitted.load(Ordering::Relaxed),
            blocks: progress.blocks.load(Ordering::Relaxed),
            servers: progress.servers.load(Ordering::Relaxed),
            series: progress.series.load(Ordering::Relaxed),
            chunk_bytes: progress.chunk_bytes.load(Ordering::Relaxed),
        };
        self.lock().running.values().take(limit).map(running).collect()
    }

    /// Returns the last failures, the newest first.
    pub(crate) fn failures(&self) -> Vec<Failure> {
        self.lock().failures.iter().rev().cloned().collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            running: self.lock().running.len(),
            begun: self.begun.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            partial: self.partial.load(Ordering::Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A query that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    queries: Arc<Queries>,
    number: u64,
    progress: Arc<Progress>,
}

impl Running {
    /// Returns what the ledger calls it.
    pub(crate) fn reader(&self) -> &Arc<str> {
        &self.progress.reader
    }

    /// It has memory, and reads so many blocks and asks so many servers.
    pub(crate) fn admit(&self, blocks: usize, servers: usize) {
        self.progress.blocks.store(blocks as u64, Ordering::Relaxed);
        self.progress.servers.store(servers as u64, Ordering::Relaxed);
        self.progress.is_admitted.store(true, Ordering::Relaxed);
    }

    /// It has given so many series in all, and so many bytes of chunks.
    pub(crate) fn given(&self, series: u64, chunk_bytes: u64) {
        self.progress.series.store(series, Ordering::Relaxed);
        self.progress.chunk_bytes.store(chunk_bytes, Ordering::Relaxed);
    }

    /// It has failed.
    pub(crate) fn failed(&self, problem: impl fmt::Display) {
        self.queries.failed(Arc::clone(self.reader()), problem);
    }

    /// Its answer is partial.
    pub(crate) fn partial(&self, problem: impl fmt::Display) {
        self.queries.partial.fetch_add(1, Ordering::Relaxed);
        self.queries.remember(Arc::clone(self.reader()), true, problem);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queries.lock().running.remove(&self.number);
    }
}
