use std::cmp::Ordering;
use std::error::Error;
use std::fmt;

use bytes::Bytes;

use crate::error::{Cause, SourceError};
use crate::key::SortKey;
use crate::series::{Labels, Series};
use crate::source_id::{SourceId, SourcePath};

/// One frame of a store's answer.
///
/// # Ordering
///
/// As a [`SortKey`]: series are ordered by their labels. All else [takes no part](SortKey::is_ordered) in the order: an async
/// merge passes warnings and hints on as soon as they come. Where they are compared, they come before every series and are
/// equal among themselves.
///
/// A batch counts as *not a series*: it has no labels of its own. Unpack batches before merging.
///
/// # Examples
///
/// ```
/// use losertree::{Labels, Response, Series, SortKey, Warning};
///
/// let series = Response::from(Series::default());
/// let warning = Response::from(Warning::new("slow"));
/// assert!(warning.compare(&series).is_lt());
/// assert!(warning.compare(&Response::Hints("…".into())).is_eq());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Response {
    /// One series.
    Series(Series),
    /// Something went wrong, and the answer goes on.
    Warning(Warning),
    /// Something else that the store has to say, encoded in some way that this library does not look into.
    Hints(Bytes),
    /// Several series in one frame, sorted by their labels.
    Batch(Vec<Series>),
}

impl Response {
    /// Returns the series, if this is one series.
    #[must_use]
    pub const fn as_series(&self) -> Option<&Series> {
        match self {
            Self::Series(series) => Some(series),
            _ => None,
        }
    }

    /// Returns the series, if this is one series.
    #[must_use]
    pub fn into_series(self) -> Option<Series> {
        match self {
            Self::Series(series) => Some(series),
            _ => None,
        }
    }

    /// Says of a warning that it has [come from a source](Warning::from_source) of a merge; anything else stays as it is.
    #[must_use]
    pub fn from_source(self, source: &SourceId) -> Self {
        match self {
            Self::Warning(warning) => Self::Warning(warning.from_source(source.clone())),
            other => other,
        }
    }

    /// Returns the error that this stands for, if it is a warning that [stands for a failure](Warning::is_failure).
    #[must_use]
    pub fn into_failure<E>(self) -> Option<SourceError<E>> {
        match self {
            Self::Warning(warning) if warning.is_failure() => Some(warning.into_error()),
            _ => None,
        }
    }

    /// Returns how many series this carries: 1 for a series, the length of a batch, otherwise 0.
    #[must_use]
    pub const fn series_count(&self) -> usize {
        match self {
            Self::Series(_) => 1,
            Self::Warning(_) | Self::Hints(_) => 0,
            Self::Batch(batch) => batch.len(),
        }
    }

    /// Returns how many bytes of memory this is: the response itself and what it holds.
    ///
    /// A series and a batch have the sizes of their [series](Series::size_bytes), a warning that of its message,
    /// hints their own.
    ///
    /// # Complexity
    ///
    /// Linear in the number of chunks.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        match self {
            // It is a part of the response itself.
            Self::Series(series) => size_of::<Self>() - size_of::<Series>() + series.size_bytes(),
            Self::Warning(warning) => size_of::<Self>() + warning.message().len(),
            Self::Hints(hints) => size_of::<Self>() + hints.len(),
            Self::Batch(batch) => size_of::<Self>() + batch.iter().map(Series::size_bytes).sum::<usize>(),
        }
    }

    /// What responses are ordered by. `None` before every `Some` is the order of responses.
    fn key(&self) -> Option<&Labels> {
        self.as_series().map(|series| &series.labels)
    }
}

/// All that is not a series first, then series by their labels.
impl SortKey for Response {
    const CODE_BITS: u32 = <Option<&Labels>>::CODE_BITS;
    const EXACT: bool = <Option<&Labels>>::EXACT;
    const PARTS: usize = <Option<&Labels>>::PARTS;

    #[inline]
    fn code(&self) -> u64 {
        self.key().code()
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.key().compare(&other.key())
    }

    #[inline]
    fn is_ordered(&self) -> bool {
        self.key().is_some()
    }

    /// As an `Option<&Labels>` has them, which a borrow of this cannot be made from.
    #[inline]
    fn part(&self, index: usize) -> &[u8] {
        match (self.key(), index) {
            (None, _) => &[],
            (Some(_), 0) => &[1],
            (Some(labels), _) => labels.packed(),
        }
    }
}

impl From<Series> for Response {
    fn from(series: Series) -> Self {
        Self::Series(series)
    }
}

/// As a [`Warning`].
impl<E: Error + 'static> From<SourceError<E>> for Response {
    fn from(error: SourceError<E>) -> Self {
        Self::Warning(error.into())
    }
}

impl From<Warning> for Response {
    fn from(warning: Warning) -> Self {
        Self::Warning(warning)
    }
}

/// Something that went wrong without ending the answer, and the source it is about, if it is about one.
///
/// Written as `source 3 "store-a": message`, or as the message alone.
///
/// # Examples
///
/// ```
/// use losertree::{SourceId, Warning};
///
/// let warning = Warning::about(SourceId::new(3, Some("store-a".into())), "block 7 is missing");
/// assert_eq!(warning.to_string(), r#"source 3 "store-a": block 7 is missing"#);
/// assert_eq!(Warning::new("too much to say").to_string(), "too much to say");
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Warning {
    /// Boxed, so that responses, which are mostly series, are no larger for it: each is moved several times.
    inner: Box<Inner>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Inner {
    origin: SourcePath,
    message: String,
    is_failure: bool,
}

impl Warning {
    /// Creates a warning about no source in particular.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::of(SourcePath::default(), message.into())
    }

    /// Creates a warning about a source.
    #[must_use]
    pub fn about(origin: impl Into<SourcePath>, message: impl Into<String>) -> Self {
        Self::of(origin.into(), message.into())
    }

    fn of(origin: SourcePath, message: String) -> Self {
        Self { inner: Box::new(Inner { origin, message, is_failure: false }) }
    }

    /// Returns the source that the warning is about; empty if it is about none in particular.
    #[must_use]
    pub const fn origin(&self) -> &SourcePath {
        &self.inner.origin
    }

    /// Says that the warning has come from a source of a merge: that is where its origin begins from now on.
    #[must_use]
    pub fn from_source(mut self, source: SourceId) -> Self {
        self.inner.origin.prepend(source);
        self
    }

    /// Returns whether the warning stands for the failure of a source: it was made of a [`SourceError`].
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.inner.is_failure
    }

    /// Says that nothing is missing because of this: the warning stands for no failure.
    pub(crate) fn without_failure(mut self) -> Self {
        self.inner.is_failure = false;
        self
    }

    /// Returns the error that the warning stands for: at its origin, with its message as [`Cause::Incomplete`].
    #[must_use]
    pub fn into_error<E>(self) -> SourceError<E> {
        SourceError::at(self.inner.origin, Cause::Incomplete(self.inner.message))
    }

    /// Returns the origin and what went wrong.
    #[must_use]
    pub fn into_parts(self) -> (SourcePath, String) {
        (self.inner.origin, self.inner.message)
    }

    /// Returns what went wrong, without the source.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }
}

/// The warning names the source, and its message has all causes of the error.
impl<E: Error + 'static> From<SourceError<E>> for Warning {
    fn from(error: SourceError<E>) -> Self {
        let mut warning = Self::about(error.path().clone(), error.report_without_path());
        warning.inner.is_failure = true;
        warning
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.origin().is_empty() {
            write!(f, "{}: ", self.origin())?;
        }
        f.write_str(self.message())
    }
}

impl fmt::Debug for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { origin, message, is_failure } = &*self.inner;
        f.debug_struct("Warning")
            .field("origin", origin)
            .field("message", message)
            .field("is_failure", is_failure)
            .finish()
    }
}
