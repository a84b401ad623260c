use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::response::Response;
use super::unpack::POLL_BUDGET;
use crate::error::CloseError;
use crate::stream::{Closable, ask_to_finish};

pin_project! {
    /// Responses up to a number of series. Made by [`limit`].
    #[must_use = "streams do nothing unless polled"]
    pub struct ResponseLimit<St> {
        #[pin]
        stream: St,
        // How many series are still wanted.
        remaining: u64,
        has_ended: bool,
    }
}

/// Ends a stream of responses after so many series. Warnings, hints and errors are passed on and do not count; nor do the series of a
/// batch, so limit before you make [batches](super::batches()).
///
/// # Ordering
///
/// That of the stream.
///
/// # Closing
///
/// When the last series has been yielded, a merge in the stream ends, as with a [limit of its own](crate::stream::Builder::limit):
/// it closes its sources, yields what goes wrong, and then the stream ends. Series that stages in between have held back are dropped.
/// With a limit of 0 no source is polled but to be closed. The merge is found through the stages of this library and through
/// adaptors that pass on [`size_hint`](Stream::size_hint). Where there is none, the stream ends at once, and is dropped with this one.
///
/// # Complexity
///
/// One poll drops at most 128 series that are beyond the limit; then it has itself woken and is pending.
///
/// # Errors
///
/// Those of the stream.
///
/// # Cancel safety
///
/// Everything is kept from one poll to the next.
///
/// # Examples
///
/// ```
/// use futures::executor::block_on;
/// use futures::{StreamExt, stream};
/// use losertree::response::limit;
/// use losertree::{Response, Series, Warning};
///
/// let series = || Ok::<_, std::io::Error>(Response::from(Series::default()));
/// let answer = [series(), Ok(Warning::new("slow").into()), series(), series()];
/// assert_eq!(block_on(limit(stream::iter(answer), 2).count()), 3);
/// ```
pub fn limit<St, E>(stream: St, series: u64) -> ResponseLimit<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    let has_ended = series == 0 && !ask_to_finish(&stream);
    ResponseLimit { stream, remaining: series, has_ended }
}

impl<St> ResponseLimit<St> {
    /// Returns the stream.
    #[must_use]
    pub const fn get_ref(&self) -> &St {
        &self.stream
    }

    /// Returns the stream. Series that are taken out of it do not count.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut St {
        &mut self.stream
    }

    /// Returns the stream.
    #[must_use]
    pub fn into_inner(self) -> St {
        self.stream
    }
}

impl<St, E> Stream for ResponseLimit<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    type Item = Result<Response, E>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        for _ in 0..POLL_BUDGET {
            if *this.has_ended {
                return Poll::Ready(None);
            }
            let next = ready!(this.stream.as_mut().poll_next(cx));
            if let Some(Ok(Response::Series(_))) = next {
                // One that was held back when the limit was reached.
                let Some(remaining) = this.remaining.checked_sub(1) else { continue };
                *this.remaining = remaining;
                if remaining == 0 {
                    *this.has_ended = !ask_to_finish(&*this.stream);
                }
            }
            *this.has_ended |= next.is_none();
            return Poll::Ready(next);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.has_ended { (0, Some(0)) } else { (0, self.stream.size_hint().1) }
    }
}

impl<St, E> FusedStream for ResponseLimit<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    fn is_terminated(&self) -> bool {
        self.has_ended
    }
}

impl<St: Closable> Closable for ResponseLimit<St> {
    type Error = St::Error;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<Self::Error>>> {
        self.remaining = 0;
        self.stream.poll_close_all(cx)
    }
}

impl<St: fmt::Debug> fmt::Debug for ResponseLimit<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseLimit")
            .field("stream", &self.stream)
            .field("remaining", &self.remaining)
            .finish_non_exhaustive()
    }
}
