use std::fmt;
use std::panic::Location;

use super::{LedgerSnapshot, OpenEntry};

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

impl LedgerSnapshot {
    /// Returns what is open by the line of code that opened it, in the order of file, line and column. Empty below
    /// level sites.
    ///
    /// A leak has thousands of entries, and few lines.
    #[must_use]
    pub fn open_sites(&self) -> &[OpenSite] {
        &self.open_sites
    }
}

impl fmt::Display for OpenSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, count, oldest: OpenEntry { what, age, last_use, .. } } = self;
        write!(f, "{count} opened at {location}, the first of them {what}, {age:.1?} ago")?;
        last_use.map_or(Ok(()), |last_use| write!(f, ", {last_use}"))
    }
}
