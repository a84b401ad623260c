use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::{Call, Record};
use crate::{Figures, Outcome, Violation};

/// What happened to the sources of a merge, and what the merge did wrong.
///
/// A handle: clones share one log. Every [`Checked`](crate::Checked) source writes to one; its index there is
/// its place in the order in which the sources were made.
///
/// Nothing is asserted by dropping a log. A test ends with [`assert_released`](Self::assert_released), which
/// asserts that there are no violations either.
#[derive(Debug, Clone, Default)]
pub struct Log {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Record>,
    violations: Vec<Violation>,
    drops: Vec<usize>,
}

impl Log {
    /// Creates a log of no sources.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the figures of each source.
    #[must_use]
    pub fn sources(&self) -> Vec<Figures> {
        self.lock().records.iter().map(|record| record.figures().clone()).collect()
    }

    /// Returns how often sources were polled, for items and to close.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.sum(|figures| figures.next_polls + figures.close_polls)
    }

    /// Returns how many items sources have given.
    #[must_use]
    pub fn items(&self) -> usize {
        self.sum(|figures| figures.items)
    }

    /// Returns the sources that were dropped, in the order in which they were.
    #[must_use]
    pub fn drop_order(&self) -> Vec<usize> {
        self.lock().drops.clone()
    }

    /// Returns what the merge did wrong so far, in the order in which it did.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.lock().violations.clone()
    }

    /// Looks at each source on the assumption that the merge is idle: it has returned `Pending`, and its
    /// waker was not woken since.
    ///
    /// What is wrong then is noted as a violation: a source whose waker fired and that was not polled, an
    /// ended source that is not being closed, a closed one that is not dropped. [`Driver`](crate::Driver)
    /// calls this whenever the merge is idle.
    pub fn check_idle(&self) {
        let mut state = self.lock();
        let found: Vec<_> = state.records.iter().filter_map(Record::idle).collect();
        // Being idle twice in a row is no second violation.
        for violation in found {
            if !state.violations.contains(&violation) {
                state.violations.push(violation);
            }
        }
    }

    /// Asserts that no source waits to be polled, on the assumption that the merge is idle.
    ///
    /// # Panics
    ///
    /// If [`check_idle`](Self::check_idle) finds something, or there was a violation before.
    #[track_caller]
    pub fn assert_no_missed_wakes(&self) {
        self.check_idle();
        self.assert_clean();
    }

    /// Asserts that the merge has kept to the contract so far.
    ///
    /// # Panics
    ///
    /// If there are violations, with all of them and the last calls before each.
    #[track_caller]
    pub fn assert_clean(&self) {
        let violations = self.violations();
        let mut report = String::new();
        for violation in &violations {
            // Writing to a string cannot fail.
            let _ = write!(report, "\n  {violation}");
        }
        assert!(violations.is_empty(), "the merge broke the contract with its sources:{report}");
    }

    /// Asserts that every source was dropped, and that there are no violations.
    ///
    /// A source cannot be dropped twice in safe code; what can happen is that it is not dropped at all.
    ///
    /// # Panics
    ///
    /// If not.
    #[track_caller]
    pub fn assert_released(&self) {
        self.assert_clean();
        self.assert_none("never dropped", |figures| !figures.dropped);
    }

    /// Asserts that every source was closed to the end and then dropped, and that there are no violations.
    ///
    /// # Panics
    ///
    /// If not.
    #[track_caller]
    pub fn assert_closed(&self) {
        self.assert_released();
        self.assert_none("dropped before they were closed", Figures::dropped_unclosed);
    }

    #[track_caller]
    fn assert_none(&self, what: &str, which: impl Fn(&Figures) -> bool) {
        let mut report = String::new();
        for (index, figures) in self.sources().iter().enumerate().filter(|(_, figures)| which(figures)) {
            // Writing to a string cannot fail.
            let _ = write!(report, "\n  source {index}: {figures:?}");
        }
        assert!(report.is_empty(), "these sources were {what}:{report}");
    }

    fn sum(&self, of: impl Fn(&Figures) -> usize) -> usize {
        self.lock().records.iter().map(|record| of(record.figures())).sum()
    }

    /// Enters a source, and returns its index.
    pub(crate) fn enter(&self, name: Option<String>) -> usize {
        let mut state = self.lock();
        let index = state.records.len();
        state.records.push(Record::new(index, name));
        index
    }

    /// Notes that a call begins, and returns whether the source is to be called.
    pub(crate) fn begin(&self, index: usize, call: Call) -> bool {
        let mut state = self.lock();
        let Some(violation) = state.records[index].begin(call) else { return true };
        let harmless = violation.misuse.is_harmless();
        state.violations.push(violation);
        harmless
    }

    pub(crate) fn end(&self, index: usize, call: Call, outcome: Outcome) {
        self.lock().records[index].end(call, outcome);
    }

    pub(crate) fn woken(&self, index: usize) {
        self.lock().records[index].woken();
    }

    pub(crate) fn dropped(&self, index: usize) {
        let mut state = self.lock();
        state.records[index].dropped();
        state.drops.push(index);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
