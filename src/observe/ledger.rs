use std::sync::Arc;
use std::time::Duration;

use super::group::Observed;
use super::names;
use crate::resource::LeakLedger;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    opened: u64,
    closed: u64,
    failed: u64,
    handed_back: u64,
    dropped_unclosed: u64,
}

#[derive(Debug, Default)]
pub(super) struct Levels {
    open: usize,
    oldest: Duration,
}

impl Observed for LeakLedger {
    type Counts = Counts;
    type Levels = Levels;

    fn is_last_handle(&mut self) -> bool {
        Self::is_last_handle(self)
    }

    fn add_to(&self, counts: &mut Counts, levels: &mut Levels) {
        let books = self.snapshot();
        counts.opened += books.opened;
        counts.closed += books.closed;
        counts.failed += books.failed;
        counts.handed_back += books.handed_back;
        counts.dropped_unclosed += books.dropped_unclosed;
        levels.open += usize::try_from(books.open).unwrap_or(usize::MAX);
        let oldest = books.open_entries.iter().map(|entry| entry.age).max();
        levels.oldest = levels.oldest.max(oldest.unwrap_or_default());
    }

    fn publish(name: &Arc<str>, counts: &Counts, levels: &Levels) {
        names::LEDGER_OPENED.counter(name).absolute(counts.opened);
        for (ending, count) in [
            ("closed", counts.closed),
            ("failed", counts.failed),
            ("handed_back", counts.handed_back),
            ("dropped_unclosed", counts.dropped_unclosed),
        ] {
            names::LEDGER_ENDED.counter_of(name, "ending", ending).absolute(count);
        }
        names::LEDGER_OPEN.set_count(name, levels.open);
        names::LEDGER_OLDEST.set_seconds(name, levels.oldest);
    }
}
