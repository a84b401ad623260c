use std::fmt;

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
