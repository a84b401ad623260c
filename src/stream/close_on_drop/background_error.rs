use crate::error::{CloseError, TimedOut};

/// Why something was not closed in order in the background. Told to the function of
/// [`CloseOnDrop::on_error`](super::CloseOnDrop::on_error).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackgroundError<E> {
    /// It was closed, but with errors, or some were met before and not yielded.
    #[error(transparent)]
    Failed(CloseError<E>),
    /// It took longer than the [time limit](super::Closer::time_limit). What was left was dropped unclosed.
    #[error(transparent)]
    TimedOut(TimedOut),
    /// A source has panicked, and was dropped unclosed. All else was closed without an error.
    #[error("a source panicked while it was closed in the background")]
    Panicked,
    /// The task that was to close it was dropped: the runtime is gone or was shut down, or the function that spawns has
    /// panicked. What was left was dropped unclosed.
    #[error("dropped before it was closed in the background: there is no runtime any more")]
    Dropped,
}
