/// What a query does when a store fails: to open, in between, in time, to be in order, or to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PartialResponseStrategy {
    /// The first error ends the query.
    #[default]
    Abort,
    /// The error becomes a warning that names the store, and the others go on.
    Warn,
}
