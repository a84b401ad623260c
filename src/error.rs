//! Errors that more than one layer raises: [`SourceError`], why a source failed, and [`CloseError`], all that went wrong in
//! closing. They are the same at every depth of a composition.

use std::error::Error;
use std::fmt;
use std::time::Duration;

#[cfg(feature = "resource")]
use crate::resource::PoolError;
use crate::source_id::{SourceId, SourcePath};

/// What was being done when a source failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Opening the source.
    Opening,
    /// Waiting for the first item of the source.
    Filling,
    /// Waiting for a later item, or taking one in.
    Merging,
    /// Closing the source.
    Closing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "while opening",
            Self::Filling => "before its first item",
            Self::Merging => "while merging",
            Self::Closing => "while closing",
        })
    }
}

/// The failure of one source: where, when and why.
///
/// One type for every depth. A source raises it with a cause only, which is what `?` and [`From`] make of the source's own
/// error. The merge that meets it adds which of its sources it was, and the phase if that is not known; and so does each merge
/// above. So the [path](Self::path) begins with the source of the merge that gave the error, and ends where it happened.
///
/// [`Display`](fmt::Display) writes where and when; the cause is the [`source`](Error::source), as is the convention, so what
/// prints a chain of errors prints each once. Printed by itself, `{error:#}` writes the cause too, and
/// [`report`](Self::report) all causes of that.
///
/// It is one pointer, so that the items that come in its place are no larger for it.
///
/// # Examples
///
/// ```
/// use losertree::SourceError;
/// use losertree::error::Cause;
///
/// let error: SourceError<&str> = "disk on fire".into();
/// assert!(error.path().is_empty());
/// assert_eq!(error.cause(), &Cause::Source("disk on fire"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SourceError<E> {
    inner: Box<Inner<E>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner<E> {
    path: SourcePath,
    phase: Option<Phase>,
    cause: Cause<E>,
}

// P13: what can go wrong is one of these.
/// Why a source failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause<E> {
    /// The source's own error.
    #[error(transparent)]
    Source(E),
    /// An item comes before the one ahead of it.
    #[error("item {position} comes before the one ahead of it")]
    OutOfOrder {
        /// Which item of the source it is, counted from 0: of a response set, among the series that it has given or would have.
        position: u64,
    },
    /// The source has said that something is missing in its answer, where that is not tolerated.
    #[error("the answer is incomplete: {0}")]
    Incomplete(String),
    /// The source took too long.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// The source has sent a frame that is larger than one may be.
    #[error("a frame of {frame_bytes} bytes is larger than {limit_bytes}")]
    FrameTooLarge {
        /// How many bytes the frame has.
        frame_bytes: usize,
        /// How many it may have.
        limit_bytes: usize,
    },
    /// Series have to be held back to be sorted, and there are too many.
    #[error("more than {limit_bytes} bytes of series would have to be held back")]
    TooLarge {
        /// How many bytes may be held back.
        limit_bytes: usize,
    },
    /// The pool has no room for what the source has given: series that have to be held back to be sorted, or a batch.
    #[cfg(feature = "resource")]
    #[error("no memory to hold what the source has given")]
    Pool(#[from] PoolError),
    /// The source has panicked, which the panic hook has reported. It was dropped without another call.
    #[error("the source panicked")]
    Panicked,
    /// The background task of the source has ended before the source has: its runtime was shut down, or who was to spawn it has
    /// dropped it.
    #[error("the background task has ended before the source")]
    Abandoned,
    /// There is no clock: timeouts need a tokio runtime.
    #[error("timeouts need a tokio runtime")]
    NoTimer,
}

impl<E> Cause<E> {
    /// Changes the source's own error by a function.
    pub fn map<F>(self, change: impl FnOnce(E) -> F) -> Cause<F> {
        match self {
            Self::Source(error) => Cause::Source(change(error)),
            Self::OutOfOrder { position } => Cause::OutOfOrder { position },
            Self::Incomplete(message) => Cause::Incomplete(message),
            Self::TimedOut(timed_out) => Cause::TimedOut(timed_out),
            Self::FrameTooLarge { frame_bytes, limit_bytes } => {
                Cause::FrameTooLarge { frame_bytes, limit_bytes }
            }
            Self::TooLarge { limit_bytes } => Cause::TooLarge { limit_bytes },
            #[cfg(feature = "resource")]
            Self::Pool(error) => Cause::Pool(error),
            Self::Panicked => Cause::Panicked,
            Self::Abandoned => Cause::Abandoned,
            Self::NoTimer => Cause::NoTimer,
        }
    }
}

/// A store took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{timeout} after {after:?}")]
#[non_exhaustive]
pub struct TimedOut {
    /// Which timeout it was.
    pub timeout: Timeout,
    /// How long it is.
    pub after: Duration,
}

impl TimedOut {
    pub(crate) const fn new(timeout: Timeout, after: Duration) -> Self {
        Self { timeout, after }
    }
}

/// The timeouts of a response set.
///
/// Set by [`ResponseSetOptions`](crate::response::ResponseSetOptions), which says what each of them measures.
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

impl<E> SourceError<E> {
    /// Creates the error of a source that says why it failed. Where and when is said by the merge that meets it.
    #[must_use]
    pub fn new(cause: Cause<E>) -> Self {
        Self { inner: Box::new(Inner { path: SourcePath::default(), phase: None, cause }) }
    }

    /// Says in which phase the source failed, where that is better known than to the merge.
    #[must_use]
    pub fn in_phase(mut self, phase: Phase) -> Self {
        self.inner.phase = Some(phase);
        self
    }

    /// P14: the error as a merge gives it that has met it from one of its sources.
    #[must_use]
    pub(crate) fn of_source(mut self, source: &SourceId, phase: Phase) -> Self {
        self.inner.path.prepend(source.clone());
        self.inner.phase.get_or_insert(phase);
        self
    }

    /// The error that a warning stands for.
    pub(crate) fn at(path: SourcePath, cause: Cause<E>) -> Self {
        Self { inner: Box::new(Inner { path, phase: None, cause }) }
    }

    /// Returns which source failed: empty until a merge has met the error, longer than one where merges are merged.
    #[must_use]
    pub const fn path(&self) -> &SourcePath {
        &self.inner.path
    }

    /// Returns what was being done, if that is known, which it is once a merge has met the error.
    #[must_use]
    pub const fn phase(&self) -> Option<Phase> {
        self.inner.phase
    }

    /// Returns why.
    #[must_use]
    pub const fn cause(&self) -> &Cause<E> {
        &self.inner.cause
    }

    /// Returns why.
    #[must_use]
    pub fn into_cause(self) -> Cause<E> {
        self.inner.cause
    }

    /// Returns the source's own error, if that is the cause.
    #[must_use]
    pub const fn source_error(&self) -> Option<&E> {
        match &self.inner.cause {
            Cause::Source(error) => Some(error),
            _ => None,
        }
    }

    /// Returns the source's own error, if that is the cause.
    #[must_use]
    pub fn into_source_error(self) -> Option<E> {
        match self.inner.cause {
            Cause::Source(error) => Some(error),
            _ => None,
        }
    }

    /// Changes the source's own error by a function. Where and when it happened stays.
    #[must_use]
    pub fn map<F>(self, change: impl FnOnce(E) -> F) -> SourceError<F> {
        let Inner { path, phase, cause } = *self.inner;
        SourceError { inner: Box::new(Inner { path, phase, cause: cause.map(change) }) }
    }

    /// When it failed, as part of a sentence.
    fn failure(&self) -> impl fmt::Display {
        struct Failure(Option<Phase>);
        impl fmt::Display for Failure {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("failed")?;
                self.0.map_or(Ok(()), |phase| write!(f, " {phase}"))
            }
        }
        Failure(self.inner.phase)
    }
}

impl<E: Error + 'static> SourceError<E> {
    /// Writes the error and all its causes in one line, separated by colons.
    #[must_use]
    pub fn report(&self) -> String {
        self.report_after(self.to_string())
    }

    /// The report without the place, for what says that itself.
    pub(crate) fn report_without_path(&self) -> String {
        self.report_after(self.failure().to_string())
    }

    fn report_after(&self, mut text: String) -> String {
        let mut cause = self.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

impl<E> From<E> for SourceError<E> {
    fn from(error: E) -> Self {
        Self::new(Cause::Source(error))
    }
}

/// Where and when; with `{:#}` also why, as that prints itself by `{:#}`.
impl<E: fmt::Display> fmt::Display for SourceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path(), self.failure())?;
        if f.alternate() {
            write!(f, ": {:#}", self.cause())?;
            #[cfg(feature = "resource")]
            if let Cause::Pool(error) = self.cause() {
                write!(f, ": {error:#}")?;
            }
        }
        Ok(())
    }
}

impl<E: fmt::Debug> fmt::Debug for SourceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { path, phase, cause } = &*self.inner;
        f.debug_struct("SourceError").field("path", path).field("phase", phase).field("cause", cause).finish()
    }
}

impl<E: Error + 'static> Error for SourceError<E> {
    /// The source's own error, or else the cause.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.inner.cause {
            Cause::Source(error) => Some(error),
            cause => Some(cause),
        }
    }
}

/// What went wrong in closing: all of it.
///
/// Besides the errors of closing, this has any error that was met before and not yielded. Each says in which [`Phase`] it was
/// raised. Where merges are merged, those of all levels are in it, each with its [path](SourceError::path).
///
/// There is at least one error in it. What closes with a single one makes it of that by `?` or [`From`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseError<E> {
    errors: Vec<SourceError<E>>,
}

impl<E> CloseError<E> {
    /// `Err` of the errors, if there are any.
    ///
    /// # Errors
    ///
    /// If there are any.
    pub fn check(errors: Vec<SourceError<E>>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self { errors }) }
    }

    /// What closing comes to where errors were met before that nobody will be given any more.
    pub(crate) fn with_unyielded(
        unyielded: impl IntoIterator<Item = SourceError<E>>,
        closed: Result<(), Self>,
    ) -> Result<(), Self> {
        let mut errors: Vec<_> = unyielded.into_iter().collect();
        for error in &mut errors {
            error.inner.phase.get_or_insert(Phase::Merging);
        }
        errors.extend(closed.err().into_iter().flat_map(Self::into_errors));
        Self::check(errors)
    }

    /// Returns the errors, at least one, in the order in which they were met.
    #[must_use]
    pub fn errors(&self) -> &[SourceError<E>] {
        &self.errors
    }

    /// Returns the errors, at least one, in the order in which they were met.
    #[must_use]
    pub fn into_errors(self) -> Vec<SourceError<E>> {
        self.errors
    }

    /// Changes the sources' own errors by a function.
    #[must_use]
    pub fn map<F>(self, mut change: impl FnMut(E) -> F) -> CloseError<F> {
        CloseError { errors: self.errors.into_iter().map(|error| error.map(&mut change)).collect() }
    }
}

impl<E> From<E> for CloseError<E> {
    fn from(error: E) -> Self {
        Self { errors: vec![error.into()] }
    }
}

impl<E> From<SourceError<E>> for CloseError<E> {
    fn from(error: SourceError<E>) -> Self {
        Self { errors: vec![error] }
    }
}

/// The errors with their causes, separated by semicolons.
impl<E: Error + 'static> fmt::Display for CloseError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "; " }, error.report())?;
        }
        Ok(())
    }
}

/// All causes are in the message, so there is no [`source`](Error::source).
impl<E: Error + 'static> Error for CloseError<E> {}
