use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use super::close::Closable;
use super::counters::Counters;
use super::inquiry::is_closing;
use super::source::{PollClose, PollNext, Source};
use crate::error::SourceError;

/// A merge as a source of another merge. Made by [`into_source`](super::ProxyResponseLoserTree::into_source), the method of merges,
/// of [`Coalesce`](super::Coalesce) and of [queries](crate::response::ProxyQuery).
///
/// # Ordering
///
/// That of the merge, which must be that of the merge above.
///
/// # Errors
///
/// Those of the merge, with the [path](crate::SourceError::path) to the source in it. The merge above adds its own place in
/// front.
///
/// An error of closing that is met after the merge above has asked for closing cannot become a warning of this merge any more: it
/// is an error of closing to the merge above, and ends it unless that tolerates failures, too.
///
/// # Panics
///
/// Where the merge does. Then the merge above drops it, as it does each source that has panicked, with all sources in it: they are
/// recorded as dropped unclosed.
///
/// # Closing
///
/// Closes all sources of the merge, concurrently, and completes when each is closed. All errors come up. The source has ended as
/// soon as the merge has only closing left, so nobody above waits for that before it is asked to close.
pub struct MergeSource<M> {
    merge: M,
}

/// What can be a source of a merge above: a merge, or what stands over one.
pub trait Nested:
    Closable + Stream<Item = Result<Self::Yielded, SourceError<<Self as Closable>::Error>>>
{
    /// What it yields.
    type Yielded;

    /// Goes on with what is under way, and takes no item.
    fn poll_progress(&mut self, cx: &mut Context<'_>);

    /// See [`Source::counters`].
    fn counters(&self) -> Counters;

    /// See [`Source::is_partial`].
    fn is_partial(&self) -> bool;
}

impl<M> MergeSource<M> {
    pub(crate) const fn new(merge: M) -> Self {
        Self { merge }
    }

    /// Returns the merge.
    pub const fn get_ref(&self) -> &M {
        &self.merge
    }

    /// Returns the merge.
    pub fn into_inner(self) -> M {
        self.merge
    }
}

impl<M: Nested + Unpin> Source for MergeSource<M> {
    type Item = M::Yielded;
    type Error = <M as Closable>::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        match Pin::new(&mut self.merge).poll_next(cx) {
            // P14: whoever is above does not wait for the closing of what is below before it has asked for that.
            Poll::Pending if is_closing(&self.merge) => Poll::Ready(None),
            polled => polled,
        }
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.merge.poll_progress(cx);
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.merge.poll_close_all(cx)
    }

    fn counters(&self) -> Counters {
        self.merge.counters()
    }

    fn is_partial(&self) -> bool {
        self.merge.is_partial()
    }
}

impl<M: fmt::Debug> fmt::Debug for MergeSource<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergeSource").field("merge", &self.merge).finish()
    }
}
