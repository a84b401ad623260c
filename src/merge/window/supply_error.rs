use std::fmt;

/// A batch that was handed in for a source that needs none.
#[derive(Clone, PartialEq, Eq)]
pub struct SupplyError<B> {
    source: usize,
    batch: B,
}

impl<B> SupplyError<B> {
    pub(super) const fn new(source: usize, batch: B) -> Self {
        Self { source, batch }
    }

    /// Returns the source.
    #[must_use]
    pub const fn source_index(&self) -> usize {
        self.source
    }

    /// Returns the batch.
    pub fn into_batch(self) -> B {
        self.batch
    }
}

impl<B> fmt::Debug for SupplyError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupplyError").field("source", &self.source).finish_non_exhaustive()
    }
}

impl<B> fmt::Display for SupplyError<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {} needs no batch", self.source)
    }
}

impl<B> std::error::Error for SupplyError<B> {}
