use std::fmt;
use std::time::Duration;

use crate::SourceId;

/// What a merge has done so far. Returned by
/// [`ProxyResponseLoserTree::stats`](super::ProxyResponseLoserTree::stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeStats {
    /// How many items have been yielded, warnings of the merge's own not counted.
    pub items: u64,
    /// Whether the answer is partial: a source has failed and was replaced by a warning.
    pub is_partial: bool,
    /// Each source, by index.
    pub sources: Vec<SourceStats>,
}

/// What one source has done so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// Which source.
    pub origin: SourceId,
    /// How many items the source has given; one of them may still wait in the tournament.
    pub items: u64,
    /// How many bytes the source says it has read, if it counts them.
    pub bytes_read: Option<u64>,
    /// How often the source was polled, for items and for closing.
    pub polls: u64,
    /// The time from the first poll to the first item.
    pub time_to_first_item: Option<Duration>,
    /// How many items came before the one ahead of them. Counted where the merge checks the order.
    pub out_of_order: u64,
    /// How the source has ended; `None` while it is open.
    pub end: Option<SourceEnd>,
}

/// How a source has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceEnd {
    /// It gave all that it had.
    Exhausted,
    /// It failed, or closing it did, or it was out of order.
    Failed,
    /// It was closed before its end.
    ClosedEarly,
    /// It panicked, and was dropped.
    Panicked,
}

impl fmt::Display for SourceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
            Self::ClosedEarly => "closed early",
            Self::Panicked => "panicked",
        })
    }
}
