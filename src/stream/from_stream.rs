use std::pin::Pin;
use std::task::{Context, Poll};

use futures::TryStream;
use pin_project_lite::pin_project;

use super::{PollClose, PollNext, Source};
use crate::SourceError;

pin_project! {
    /// A stream as a source that has nothing to close. Made by [`from_stream`].
    #[derive(Debug, Clone)]
    pub struct FromStream<St> {
        #[pin]
        stream: St,
    }
}

/// Makes a source of any [`TryStream`].
///
/// # Closing
///
/// Completes at once. What the stream holds is released when the source is dropped, which a merge does
/// right after closing it. Where releasing takes awaiting, use [`closing`](super::closing).
///
/// # Examples
///
/// ```
/// use futures::stream::{self, StreamExt};
/// use losertree::from_stream;
/// use std::convert::Infallible;
///
/// // Of a stream whose items are no `Result`s:
/// let source = from_stream(stream::iter([1, 2, 3]).map(Ok::<_, Infallible>));
/// # drop(source);
/// ```
pub const fn from_stream<St: TryStream>(stream: St) -> FromStream<St> {
    FromStream { stream }
}

impl<St> FromStream<St> {
    /// Returns the stream.
    #[must_use]
    pub fn into_inner(self) -> St {
        self.stream
    }
}

impl<St: TryStream> Source for FromStream<St> {
    type Item = St::Ok;
    type Error = St::Error;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        self.project().stream.try_poll_next(cx).map_err(SourceError::from)
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
        Poll::Ready(Ok(()))
    }
}
