use std::error::Error;
use std::fmt;

use crate::error::Cause;
use crate::{SourceError, SourceId, SourcePath};

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
