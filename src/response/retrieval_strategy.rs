/// How the answers of stores are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RetrievalStrategy {
    /// While the merge goes on, into a buffer that is bounded: see [`LazyResponseSet`](super::LazyResponseSet).
    #[default]
    Lazy,
    /// As a whole, before anything is merged: see [`EagerResponseSet`](super::EagerResponseSet).
    Eager,
}
