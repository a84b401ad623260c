use std::cmp::Reverse;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::{Ending, LastUse, OpenSite};

/// The state of a [`LeakLedger`](super::LeakLedger) at one moment.
///
/// Printing it gives the report: one line of figures; then a line for each open entry, or where these are more than 16,
/// one for each line of code that has opened some, the 24 with the oldest entries first; then one for each of the last that
/// were lost or dropped unclosed. That is at most 58 lines, however much is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LedgerSnapshot {
    /// How many entries were opened.
    pub opened: u64,
    /// How many were closed in order, save those closed in background.
    pub closed: u64,
    /// How many were closed in order by a guard, after their user had gone away.
    pub closed_in_background: u64,
    /// How many were released after a failure of their own or of their closing.
    pub failed: u64,
    /// How many were given back unreleased to whoever handed them in.
    pub handed_back: u64,
    /// How many were dropped without having been closed.
    pub dropped_unclosed: u64,
    /// How many were dropped without having been closed by something that was itself closed in order: an adaptor in
    /// between has lost the close. Always a bug.
    pub lost: u64,
    /// How many are open.
    pub open: u64,
    /// The oldest 16 of the open ones, oldest first. Empty below level sites.
    /// [`LeakLedger::open_entries`](super::LeakLedger::open_entries) gives more.
    pub open_entries: Vec<OpenEntry>,
    pub(super) open_sites: Vec<OpenSite>,
    /// The last 16 that were lost, then the last 16 that were dropped unclosed, each in the order in which they ended.
    /// Empty below level sites.
    pub last_unclosed: Vec<UnclosedEntry>,
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

/// Something that ended without having been closed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnclosedEntry {
    /// What is known of it. Its ages are of now, not of its end.
    pub entry: OpenEntry,
    /// Whether it was lost or dropped unclosed.
    pub ending: Ending,
    /// How long ago it ended.
    pub ended: Duration,
}

impl LedgerSnapshot {
    /// How many open entries are in it by themselves.
    pub(super) const OPEN_ENTRIES: usize = 16;
    /// How many lines of code a report has.
    const SITES_SHOWN: usize = 24;

    /// Returns whether nothing is open and nothing was lost.
    #[must_use]
    pub const fn is_balanced(&self) -> bool {
        self.open == 0 && self.lost == 0
    }

    /// Returns whether nothing is open, and nothing was lost or dropped without having been closed.
    #[must_use]
    pub const fn is_all_closed(&self) -> bool {
        self.is_balanced() && self.dropped_unclosed == 0
    }

    /// Returns how many have ended how, in the order of [`Ending::ALL`].
    pub(crate) const fn ended(&self) -> [u64; Ending::ALL.len()] {
        let Self { closed, closed_in_background, failed, handed_back, dropped_unclosed, lost, .. } = *self;
        [closed, closed_in_background, failed, handed_back, dropped_unclosed, lost]
    }
}

impl fmt::Display for LedgerSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "opened {}", self.opened)?;
        for (ending, count) in Ending::ALL.into_iter().zip(self.ended()) {
            write!(f, ", {ending} {count}")?;
        }
        write!(f, ", open {}", self.open)?;
        let of_sites: usize = self.open_sites.iter().map(|site| site.count).sum();
        if of_sites <= self.open_entries.len() {
            self.open_entries.iter().try_for_each(|entry| write!(f, "\n  {entry}"))?;
        } else {
            self.fmt_sites(f)?;
        }
        self.last_unclosed.iter().try_for_each(|entry| write!(f, "\n  {entry}"))
    }
}

impl LedgerSnapshot {
    fn fmt_sites(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sites: Vec<_> = self.open_sites.iter().collect();
        sites.sort_by_key(|site| Reverse(site.oldest.age));
        let (shown, others) = sites.split_at(sites.len().min(Self::SITES_SHOWN));
        shown.iter().try_for_each(|site| write!(f, "\n  {site}"))?;
        if others.is_empty() {
            return Ok(());
        }
        let open: usize = others.iter().map(|site| site.count).sum();
        write!(f, "\n  and {open} more, opened at {} other lines", others.len())
    }
}

impl fmt::Display for OpenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, opened at {}, {:.1?} ago", self.what, self.location, self.age)?;
        self.last_use.map_or(Ok(()), |last_use| write!(f, ", {last_use}"))
    }
}

/// As in `source 3, opened at src/query.rs:95:35, 5.1s ago, lost 0.2s ago`.
impl fmt::Display for UnclosedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} {:.1?} ago", self.entry, self.ending, self.ended)
    }
}
