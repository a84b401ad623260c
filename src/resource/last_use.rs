use std::fmt;
use std::time::Duration;

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
