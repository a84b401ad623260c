use std::fmt;

/// The source that could not be added to a merge, because that takes no more: it is closing or closed, has reached its limit, has met the
/// error that ends it, or was interrupted by a panic.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("a source cannot be added to a merge that takes no more")]
pub struct PushError<S> {
    /// The source, untouched.
    pub source_not_added: S,
}

impl<S> fmt::Debug for PushError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushError").finish_non_exhaustive()
    }
}
