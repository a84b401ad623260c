/// What a query does when a store fails: to open, in between, in time, to be in order, or to close, be it by a panic; or when it says
/// by a warning that something is missing in its answer, unless [warnings are passed on](super::ResponseSetOptions::warnings).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PartialResponseStrategy {
    /// The first error or warning of a store ends the query, so that an answer is complete or there is none.
    #[default]
    Abort,
    /// The error becomes a warning that names the store, and the others go on, but for stores that are
    /// [required](super::Store::required).
    Warn,
}
