use std::fmt;
use std::time::Duration;

use crate::resource::PoolError;

/// Why a response set fails. Which store it is about is said by whoever merges it, for example by
/// [`MergeError`](crate::stream::MergeError).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseSetError<E> {
    /// The store could not be opened.
    #[error("opening failed")]
    Open(#[source] E),
    /// The store failed, or closing it did.
    #[error(transparent)]
    Store(E),
    /// The store took too long.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// Series have to be held back to be sorted, and there are too many.
    #[error("more than {limit_bytes} bytes of series would have to be held back")]
    TooLarge {
        /// How many bytes may be held back.
        limit_bytes: usize,
    },
    /// Series have to be held back to be sorted, and the pool has no room for them.
    #[error("no memory to hold series back")]
    Pool(#[from] PoolError),
    /// A series comes before the one ahead of it.
    #[error("series {position} comes before the one ahead of it")]
    OutOfOrder {
        /// Which series it is, counted from 0 among those that the set has given or would have.
        position: u64,
    },
    /// The background task has ended before the store has: it panicked, or its runtime was shut down.
    #[error("the background task has ended before the store")]
    Abandoned,
    /// There is no clock: timeouts need a tokio runtime.
    #[error("timeouts need a tokio runtime")]
    NoTimer,
}

/// A store took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{timeout} after {after:?}")]
#[non_exhaustive]
pub struct TimedOut {
    /// Which timeout it was.
    pub timeout: Timeout,
    /// How long it is.
    pub after: Duration,
}

impl TimedOut {
    pub(super) const fn new(timeout: Timeout, after: Duration) -> Self {
        Self { timeout, after }
    }
}

/// The timeouts of a response set.
///
/// Set by [`ResponseSetOptions`](super::ResponseSetOptions), which says what each of them measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Timeout {
    /// Opening the store.
    Open,
    /// Waiting for a frame.
    Frame,
    /// Everything from the first poll to the last frame.
    Total,
    /// Closing the store.
    Close,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open timeout",
            Self::Frame => "frame timeout",
            Self::Total => "total timeout",
            Self::Close => "close timeout",
        })
    }
}
