use std::cmp::Reverse;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

/// The state of a [`LeakLedger`](super::LeakLedger) at one moment.
///
/// Printing it gives the report: one line of counts; then a line for each open entry, or where these are more than 16,
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
    /// What is open by the line of code that opened it, in the order of file, line and column. Empty below level sites.
    ///
    /// A leak has thousands of entries, and few lines.
    pub open_sites: Vec<OpenSite>,
    /// The last 16 that were lost, then the last 16 that were dropped unclosed, each in the order in which they ended.
    /// Empty below level sites.
    pub last_unclosed: Vec<UnclosedEntry>,
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

impl fmt::Display for OpenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, opened at {}, {:.1?} ago", self.what, self.location, self.age)?;
        self.last_use.map_or(Ok(()), |last_use| write!(f, ", {last_use}"))
    }
}

/// What the holder of an entry of a [`LeakLedger`](super::LeakLedger) has [noted](super::LedgerEntry::note) last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastUse {
    /// What it began to do.
    pub doing: &'static str,
    /// A number that belongs to that: `waiting for item` 4.
    pub number: Option<u64>,
    /// How long ago.
    pub age: Duration,
}

/// As in `last used 0.3s ago: waiting for item 4`.
impl fmt::Display for LastUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "last used {:.1?} ago: {}", self.age, self.doing)?;
        self.number.map_or(Ok(()), |number| write!(f, " {number}"))
    }
}

/// What one line of code has opened and is open. Of [`LedgerSnapshot::open_sites`].
///
/// As in `16 opened at src/query.rs:95:35, the first of them source 0, 57.1s ago`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenSite {
    /// The line of code.
    pub location: &'static Location<'static>,
    /// How many entries of it are open.
    pub count: usize,
    /// The oldest of them.
    pub oldest: OpenEntry,
}

impl OpenSite {
    pub(super) const fn new(count: usize, oldest: OpenEntry) -> Self {
        Self { location: oldest.location, count, oldest }
    }
}

impl fmt::Display for OpenSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, count, oldest: OpenEntry { what, age, last_use, .. } } = self;
        write!(f, "{count} opened at {location}, the first of them {what}, {age:.1?} ago")?;
        last_use.map_or(Ok(()), |last_use| write!(f, ", {last_use}"))
    }
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

/// As in `source 3, opened at src/query.rs:95:35, 5.1s ago, lost 0.2s ago`.
impl fmt::Display for UnclosedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} {:.1?} ago", self.entry, self.ending, self.ended)
    }
}

/// How something that was opened has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Closed in order.
    Closed,
    /// Closed in order, but by a guard, after its user had gone away: a client that disconnected.
    ClosedInBackground,
    /// Released after it, or the closing of it, had failed.
    Failed,
    /// Given back to whoever handed it in, unreleased.
    HandedBack,
    /// Dropped without having been closed.
    DroppedUnclosed,
    /// Dropped without having been closed, by something that was itself closed in order: an adaptor in between has
    /// lost the close. That is always a bug.
    Lost,
}

impl Ending {
    /// All endings, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::Closed,
        Self::ClosedInBackground,
        Self::Failed,
        Self::HandedBack,
        Self::DroppedUnclosed,
        Self::Lost,
    ];

    /// Returns the ending as the value of a label: `closed_in_background`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClosedInBackground => "closed_in_background",
            Self::Failed => "failed",
            Self::HandedBack => "handed_back",
            Self::DroppedUnclosed => "dropped_unclosed",
            Self::Lost => "lost",
        }
    }

    /// Whether nobody has closed it who should have.
    pub(super) const fn is_unclosed(self) -> bool {
        matches!(self, Self::DroppedUnclosed | Self::Lost)
    }
}

/// In words: `closed in background`.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::ClosedInBackground => "closed in background",
            Self::Failed => "failed",
            Self::HandedBack => "handed back",
            Self::DroppedUnclosed => "dropped unclosed",
            Self::Lost => "lost",
        })
    }
}
