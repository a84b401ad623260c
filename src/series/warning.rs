use std::fmt;

use crate::SourceId;

/// Something that went wrong without ending the answer, and the source it is about, if it is about one.
///
/// Written as `source 3 "store-a": message`, or as the message alone.
///
/// # Examples
///
/// ```
/// use losertree::{SourceId, Warning};
///
/// let warning = Warning::from_source(SourceId::new(3, Some("store-a".into())), "block 7 is missing");
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
    origin: Option<SourceId>,
    message: String,
}

impl Warning {
    /// Creates a warning about no source in particular.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self::of(None, message.into())
    }

    /// Creates a warning about a source.
    #[must_use]
    pub fn from_source(origin: SourceId, message: impl Into<String>) -> Self {
        Self::of(Some(origin), message.into())
    }

    fn of(origin: Option<SourceId>, message: String) -> Self {
        Self { inner: Box::new(Inner { origin, message }) }
    }

    /// Returns the source that the warning is about, if it is about one.
    #[must_use]
    pub const fn origin(&self) -> Option<&SourceId> {
        self.inner.origin.as_ref()
    }

    /// Returns what went wrong, without the source.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = self.origin() {
            write!(f, "{origin}: ")?;
        }
        f.write_str(self.message())
    }
}

impl fmt::Debug for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { origin, message } = &*self.inner;
        f.debug_struct("Warning").field("origin", origin).field("message", message).finish()
    }
}
