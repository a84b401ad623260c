use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::block_store::SyncReport;
use crate::text::cut;

/// How often a directory was looked at, and what came of it.
#[derive(Debug, Default)]
pub(crate) struct SyncLog {
    state: Mutex<Syncs>,
}

/// The syncs of a store, as they are known at one moment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Syncs {
    /// How often the directory was looked at.
    pub count: u64,
    /// How often it could not be.
    pub failed: u64,
    /// When it was looked at last, with success.
    pub last_success: Option<SystemTime>,
    /// How many blocks were left out, or not read anew, when it was looked at last, since something is wrong with them.
    pub wrong_blocks: usize,
    /// The last 16 syncs that changed something or found something wrong, oldest first. One that finds wrong what the one before it
    /// did takes its place.
    pub notable: VecDeque<NotableSync>,
}

/// A sync that has changed something, or found something wrong.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NotableSync {
    /// When it began.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// How many blocks were added, replaced and removed.
    pub changed: [usize; 3],
    /// How many blocks are wrong.
    pub wrong_blocks: usize,
    /// The first thing that is wrong, not more than 200 characters of it.
    pub problem: Option<String>,
}

/// How many syncs are remembered.
const NOTABLE: usize = 16;

impl SyncLog {
    pub(crate) fn record(&self, at: SystemTime, took: Duration, result: &io::Result<SyncReport>) {
        let mut state = self.lock();
        state.count += 1;
        let sync = match result {
            Ok(report) => {
                state.last_success = Some(at);
                state.wrong_blocks = report.errors.len();
                if report.is_quiet() {
                    return;
                }
                NotableSync {
                    at,
                    took,
                    changed: [report.added.len(), report.replaced.len(), report.removed.len()],
                    wrong_blocks: report.errors.len(),
                    problem: report.errors.first().map(cut),
                }
            }
            Err(error) => {
                state.failed += 1;
                NotableSync { at, took, changed: [0; 3], wrong_blocks: 0, problem: Some(cut(error)) }
            }
        };
        // A block that stays wrong would push all else out.
        let repeats = |last: &NotableSync| {
            last.changed == [0; 3]
                && sync.changed == [0; 3]
                && (last.wrong_blocks, &last.problem) == (sync.wrong_blocks, &sync.problem)
        };
        if let Some(last) = state.notable.back_mut().filter(|last| repeats(last)) {
            (last.at, last.took) = (sync.at, sync.took);
            return;
        }
        if state.notable.len() == NOTABLE {
            state.notable.pop_front();
        }
        state.notable.push_back(sync);
    }

    pub(crate) fn syncs(&self) -> Syncs {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Syncs> {
        // Nothing in here panics between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As in `2 added, 1 removed, 1 wrong: DIR/index: …`.
impl fmt::Display for NotableSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [added, replaced, removed] = self.changed;
        let counts =
            [(added, "added"), (replaced, "replaced"), (removed, "removed"), (self.wrong_blocks, "wrong")];
        let mut is_first = true;
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "{}{count} {what}", if is_first { "" } else { ", " })?;
            is_first = false;
        }
        match &self.problem {
            Some(problem) if is_first => write!(f, "failed: {problem}"),
            Some(problem) => write!(f, ": {problem}"),
            None => Ok(()),
        }
    }
}
