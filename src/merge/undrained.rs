/// A source that a merge was not done with, as its `into_sources` gives it back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undrained<S, T> {
    /// The index that the source has in the merge.
    pub index: usize,
    /// The item that was pulled from the source and has not been yielded. It comes before all that the
    /// source still has.
    pub head: Option<T>,
    /// The source.
    pub source: S,
    /// Whether the source has ended or failed and is only to be closed. Never for an iterator: those are
    /// dropped at their end.
    pub has_ended: bool,
}
