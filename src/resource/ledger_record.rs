use std::fmt;
use std::panic::Location;
use std::sync::PoisonError;

use super::{LastUse, OpenEntry};
use crate::clock::Moment;
use crate::sync::Mutex;

/// What a ledger at level sites knows of an open entry. The holder of the entry has it too, and so can note a
/// use without taking the lock of the books.
pub(super) struct Record {
    /// The number of the opening.
    pub(super) number: u64,
    what: String,
    pub(super) location: &'static Location<'static>,
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
    pub(super) fn new(number: u64, what: String, location: &'static Location<'static>) -> Self {
        Self { number, what, location, since: Moment::now(), last_use: Mutex::new(None) }
    }

    pub(super) fn note(&self, doing: &'static str, number: Option<u64>) {
        let noted = Use { at: Moment::now(), doing, number };
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Some(noted);
    }

    /// What is known of it at a moment. All of a report are of the same one: an older entry has the greater age.
    pub(super) fn report(&self, now: Moment) -> OpenEntry {
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
