use std::sync::Arc;
use std::time::Duration;

use super::group::Observed;
use super::names;
use crate::resource::{Ending, LeakLedger};

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    opened: u64,
    ended: [u64; Ending::ALL.len()],
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
        for (sum, ended) in counts.ended.iter_mut().zip(books.ended()) {
            *sum += ended;
        }
        levels.open += usize::try_from(books.open).unwrap_or(usize::MAX);
        let oldest = books.open_entries.iter().map(|entry| entry.age).max();
        levels.oldest = levels.oldest.max(oldest.unwrap_or_default());
    }

    fn publish(name: &Arc<str>, counts: &Counts, levels: &Levels) {
        names::LEDGER_OPENED.counter(name).absolute(counts.opened);
        for (ending, count) in Ending::ALL.into_iter().zip(counts.ended) {
            names::LEDGER_ENDED.counter_of(name, "ending", ending.as_str()).absolute(count);
        }
        names::LEDGER_OPEN.set_count(name, levels.open);
        names::LEDGER_OLDEST.set_seconds(name, levels.oldest);
    }
}
