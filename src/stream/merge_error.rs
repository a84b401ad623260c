use crate::{SourceError, SourceId};

/// Why an async merge ends early, or what a warning is about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError<E> {
    /// A source failed.
    #[error(transparent)]
    Source(#[from] SourceError<E>),
    /// A source stepped backwards, and the merge checks the order.
    #[error(transparent)]
    OutOfOrder(#[from] OutOfOrder),
}

impl<E> MergeError<E> {
    /// Returns which source the error is about.
    #[must_use]
    pub const fn origin(&self) -> &SourceId {
        match self {
            Self::Source(error) => error.origin(),
            Self::OutOfOrder(error) => &error.origin,
        }
    }

    /// Returns the source's own error, if that is what it is.
    #[must_use]
    pub fn into_source_error(self) -> Option<E> {
        match self {
            Self::Source(error) => Some(error.into_error()),
            Self::OutOfOrder(_) => None,
        }
    }
}

/// A source gave an item that comes before the one it had given last.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin} is out of order: item {position} comes before the one ahead of it")]
#[non_exhaustive]
pub struct OutOfOrder {
    /// The source.
    pub origin: SourceId,
    /// Which of its items stepped backwards, counted from 0.
    pub position: u64,
}
