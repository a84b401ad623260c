use std::fmt;

use crate::SourceError;

/// What a merge does when a source fails.
#[derive(Default)]
#[non_exhaustive]
pub enum ErrorPolicy<T, E> {
    /// The first error ends the merge: it is yielded once, every other source is closed, then comes `None`.
    #[default]
    Abort,
    /// The source is closed, the error becomes an item, and the others go on.
    ///
    /// The item is yielded at once, ahead of all that waits in the tournament. It takes no part in the order,
    /// the limit or the count of items. Any [`SourceError`] turns into a [`Response`](crate::Response) or
    /// a [`Warning`](crate::Warning) by `into`.
    PartialResponse(Box<dyn FnMut(SourceError<E>) -> T + Send + Sync>),
}

impl<T, E> fmt::Debug for ErrorPolicy<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abort => "Abort",
            Self::PartialResponse(_) => "PartialResponse",
        })
    }
}

/// What a merge does when a source gives an item that comes before the one ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OrderCheck {
    /// The source has failed, with [`Cause::OutOfOrder`](crate::error::Cause::OutOfOrder); the item is not yielded.
    Fail,
    /// It is counted in [`SourceStats::out_of_order`](super::SourceStats::out_of_order) and yielded, at
    /// whichever place the tournament gives it.
    Report,
}
