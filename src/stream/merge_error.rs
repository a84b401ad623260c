use std::error::Error;

use crate::series::{Response, Warning};
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
    pub const fn source_error(&self) -> Option<&E> {
        match self {
            Self::Source(error) => Some(error.error()),
            Self::OutOfOrder(_) => None,
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

impl<E: Error + 'static> MergeError<E> {
    /// Writes the error and all its causes in one line, separated by colons.
    ///
    /// [`Display`](std::fmt::Display) writes the error alone, as is the convention for errors that have a
    /// [`source`](Error::source).
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// The warning names the source, and its message has all causes of the error.
impl<E: Error + 'static> From<MergeError<E>> for Warning {
    fn from(error: MergeError<E>) -> Self {
        let text = error.report();
        // The warning says itself which source it is about.
        let message = text.strip_prefix(&format!("{} ", error.origin())).unwrap_or(&text);
        Self::from_source(error.origin().clone(), message)
    }
}

/// As a [`Warning`].
impl<E: Error + 'static> From<MergeError<E>> for Response {
    fn from(error: MergeError<E>) -> Self {
        Self::Warning(error.into())
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
