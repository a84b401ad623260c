use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::LastUse;

/// The state of a [`LeakLedger`](super::LeakLedger) at one moment.
///
/// Printing it gives the report: one line of figures, then a line for each open entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerSnapshot {
    /// How many entries were opened.
    pub opened: u64,
    /// How many were closed in order.
    pub closed: u64,
    /// How many were released after a failure of their own or of their closing.
    pub failed: u64,
    /// How many were given back unreleased to whoever handed them in.
    pub handed_back: u64,
    /// How many were dropped without having been closed.
    pub dropped_unclosed: u64,
    /// How many are open.
    pub open: u64,
    /// The open ones, oldest first. Empty below level sites.
    pub open_entries: Vec<OpenEntry>,
}

/// Something that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenEntry {
    /// What it is, in the words of whoever opened it.
    pub what: String,
    /// The line of code that opened it.
    pub location: &'static Location<'static>,
    /// For how long it has been open.
    pub age: Duration,
    /// How it was last used, if its holder has said so.
    ///
    /// Of a source of a merge: the item that it waits for, or since which it has not been waited for, or that it
    /// is closing. Of a lease: how far it is filled, or frozen. Of a reservation: how much it holds or waits for.
    pub last_use: Option<LastUse>,
}

impl LedgerSnapshot {
    /// Returns whether nothing is open.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.open == 0
    }

    /// Returns whether nothing is open and nothing was dropped without having been closed.
    #[must_use]
    pub const fn is_all_closed(&self) -> bool {
        self.open == 0 && self.dropped_unclosed == 0
    }
}

impl fmt::Display for LedgerSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "opened {}, closed {}, failed {}, handed back {}, dropped unclosed {}, open {}",
            self.opened, self.closed, self.failed, self.handed_back, self.dropped_unclosed, self.open
        )?;
        self.open_entries.iter().try_for_each(|entry| write!(f, "\n  {entry}"))
    }
}

impl fmt::Display for OpenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, opened at {}, {:.1?} ago", self.what, self.location, self.age)?;
        self.last_use.map_or(Ok(()), |last_use| write!(f, ", {last_use}"))
    }
}
