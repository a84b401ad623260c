/// What it means when a store sends a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StoreWarnings {
    /// Something is missing in what the store gives. The warning is passed on, and the answer is
    /// [partial](crate::Source::is_partial).
    #[default]
    Partial,
    /// Something is missing, and so the store has failed, with [`Cause::Incomplete`](crate::error::Cause::Incomplete).
    Fail,
    /// Nothing is missing. The warning is passed on, and stands for [no failure](crate::Warning::is_failure).
    Pass,
}
