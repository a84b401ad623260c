use std::fmt;

/// The source that could not be added to a merge, because the merge is closing or closed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("a source cannot be added to a merge that is closing")]
pub struct PushError<S> {
    /// The source, untouched.
    pub source_not_added: S,
}

impl<S> fmt::Debug for PushError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushError").finish_non_exhaustive()
    }
}
