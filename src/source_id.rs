use std::fmt;
use std::sync::Arc;

/// Which source of a merge something is about: its index and, where it has one, its name.
///
/// Written as `source 3 "store-a"`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SourceId {
    index: usize,
    name: Option<Arc<str>>,
}

impl SourceId {
    /// Creates the identity of the source at `index`.
    #[must_use]
    pub const fn new(index: usize, name: Option<Arc<str>>) -> Self {
        Self { index, name }
    }

    /// Returns the index of the source: its place among the sources of the merge, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Returns the name of the source, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {}", self.index)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name:?}"))
    }
}
