//! Errors that more than one floor raises. Each operation has its own error type; there is no catch-all.

use std::fmt;

use crate::SourceId;

/// What the merge was doing when a source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Waiting for the first item of the source.
    Filling,
    /// Waiting for a later item.
    Merging,
    /// Closing the source.
    Closing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filling => "before its first item",
            Self::Merging => "while merging",
            Self::Closing => "while closing",
        })
    }
}

/// The failure of one source, which it names.
///
/// The source's own error is the [`source`](std::error::Error::source) of this one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin} failed {phase}")]
pub struct SourceError<E> {
    origin: SourceId,
    phase: Phase,
    #[source]
    error: E,
}

impl<E> SourceError<E> {
    pub(crate) const fn new(origin: SourceId, phase: Phase, error: E) -> Self {
        Self { origin, phase, error }
    }

    /// Returns which source failed.
    #[must_use]
    pub const fn origin(&self) -> &SourceId {
        &self.origin
    }

    /// Returns what the merge was doing.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns the source's own error.
    #[must_use]
    pub const fn error(&self) -> &E {
        &self.error
    }

    /// Returns the source's own error.
    #[must_use]
    pub fn into_error(self) -> E {
        self.error
    }
}
