use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::response::Response;
use super::unpack::{POLL_BUDGET, Unpack};
use crate::error::{CloseError, SourceError};
use crate::series::Series;
use crate::stream::Closable;

pin_project! {
    /// Responses whose series are packed into batches. Made by [`batches`].
    #[must_use = "streams do nothing unless polled"]
    pub struct Batches<St: Stream> {
        #[pin]
        unpacked: Unpack<St>,
        batch: Vec<Series>,
        batch_bytes: usize,
        // What came after the batch that was yielded last.
        next: Option<St::Item>,
        max_series: usize,
        max_bytes: usize,
        is_ready_only: bool,
    }
}

/// Packs series that follow one another into batches, each of at most `max_series` series that together have at
/// most `max_bytes` bytes, so that fewer frames are sent.
///
/// Bytes are those of [`Series::size_bytes`]. A series that is larger alone makes a batch of its own; so a limit
/// of 0, of either kind, has the effect of 1. Every series comes out in a batch, also if it is alone. Batches that
/// come in are packed again: what counts is series, never frames.
///
/// # Ordering
///
/// Everything keeps its order: a batch ends where a warning, hints or an error comes.
///
/// While the stream is pending, a batch that is not full is held back, which makes the batches depend on the
/// series alone. [`ready_only`](Batches::ready_only) does not wait.
///
/// # Complexity
///
/// Holds at most `max_bytes` of series, or one series if that is larger; what ended the batch, which is one series
/// or another response; and what is left of the batch that came in last. The size of a series is computed once, or
/// twice if it begins a batch, linear in its chunks. What is allocated is the batches, which grow amortised.
///
/// One poll takes at most 128 series or frames without yielding one; then it has itself woken and is pending.
///
/// # Errors
///
/// Those of the stream. The series before an error come before it.
///
/// # Cancel safety
///
/// Everything is kept from one poll to the next.
///
/// # Closing
///
/// A merge closes its sources when it ends. A batch that is not full is given as soon as the merge has only closing left, also where
/// adaptors stand in between that pass on [`size_hint`](Stream::size_hint); see [`is_closing`](crate::stream::is_closing). Any other stream
/// cannot say so, and the last batch comes when it has ended. To close a merge before its end, close this by [`Closable`]: series
/// that are held back are dropped first, and a warning or error that ended the batch yielded last is among the errors.
///
/// # Examples
///
/// ```
/// use futures::executor::block_on;
/// use futures::{StreamExt, stream};
/// use losertree::response::batches;
/// use losertree::{Response, Series, Warning};
///
/// let series = || Ok::<_, std::io::Error>(Response::from(Series::default()));
/// let answer = [series(), series(), series(), Ok(Warning::new("slow").into()), series()];
/// let frames = batches(stream::iter(answer), 2, 1 << 20).map(|frame| frame.unwrap().series_count());
/// assert_eq!(block_on(frames.collect::<Vec<_>>()), [2, 1, 0, 1]);
/// ```
pub fn batches<St, E>(stream: St, max_series: usize, max_bytes: usize) -> Batches<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    Batches {
        unpacked: Unpack::new(stream),
        batch: Vec::new(),
        batch_bytes: 0,
        next: None,
        max_series,
        max_bytes,
        is_ready_only: false,
    }
}

impl<St: Stream> Batches<St> {
    /// Yields the series that there are, rather than be pending.
    ///
    /// Series then arrive sooner, and in smaller batches if the stream is slower than who reads them: of no more
    /// than 128 in any case, which is what one poll takes.
    pub fn ready_only(self) -> Self {
        Self { is_ready_only: true, ..self }
    }

    /// Returns the stream.
    #[must_use]
    pub const fn get_ref(&self) -> &St {
        self.unpacked.get_ref()
    }

    /// Returns the stream. Responses that are taken out of it are not seen from here.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut St {
        self.unpacked.get_mut()
    }

    /// Returns the stream, and drops what was taken out of it and not yielded.
    #[must_use]
    pub fn into_inner(self) -> St {
        self.unpacked.into_inner()
    }
}

/// Returns from close, as an error, also the warning that ended the batch which was yielded last: nobody would hear of it otherwise.
impl<St, E> Closable for Batches<St>
where
    St: Stream<Item = Result<Response, SourceError<E>>> + Closable<Error = E>,
{
    type Error = E;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<E>>> {
        self.unpacked.clear();
        self.batch = Vec::new();
        self.batch_bytes = 0;
        // It stays until the close is complete, so that it is not lost should that be given up.
        self.next.take_if(|next| !matches!(next, Ok(Response::Warning(_)) | Err(_)));
        let closed = ready!(self.unpacked.get_mut().poll_close_all(cx));
        let unyielded = self.next.take().and_then(|next| match next {
            Ok(Response::Warning(warning)) => Some(warning.into_error()),
            Ok(_) => None,
            Err(error) => Some(error),
        });
        Poll::Ready(CloseError::with_unyielded(unyielded, closed))
    }
}

impl<St, E> Stream for Batches<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    type Item = Result<Response, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        // What was kept is one of those that this poll takes.
        let mut budget = POLL_BUDGET - usize::from(this.next.is_some());
        let next = loop {
            let next = match this.next.take() {
                None => match this.unpacked.as_mut().poll_next(cx, &mut budget) {
                    Poll::Ready(next) => next,
                    // Where only closing is left, a source may wait for what is held here.
                    Poll::Pending
                        if !this.batch.is_empty() && (*this.is_ready_only || this.unpacked.is_closing()) =>
                    {
                        break None;
                    }
                    Poll::Pending => return Poll::Pending,
                },
                next => next,
            };
            match next {
                Some(Ok(Response::Series(series))) => {
                    let bytes = series.size_bytes();
                    if !this.batch.is_empty() && this.batch_bytes.saturating_add(bytes) > *this.max_bytes {
                        break Some(Ok(series.into()));
                    }
                    this.batch.push(series);
                    *this.batch_bytes = this.batch_bytes.saturating_add(bytes);
                    if this.batch.len() >= *this.max_series || *this.batch_bytes >= *this.max_bytes {
                        break None;
                    }
                }
                other if this.batch.is_empty() => return Poll::Ready(other),
                other => break other,
            }
        };
        *this.next = next;
        *this.batch_bytes = 0;
        Poll::Ready(Some(Ok(Response::Batch(mem::take(this.batch)))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let has_series = !self.batch.is_empty() || self.unpacked.left_in_batch() > 0;
        let next = usize::from(self.next.is_some());
        // A batch that comes in may have any number of series, or none.
        let left = next + usize::from(!self.batch.is_empty()) + self.unpacked.left_in_batch();
        (next.max(usize::from(has_series)), self.unpacked.is_exhausted().then_some(left))
    }
}

impl<St, E> FusedStream for Batches<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    fn is_terminated(&self) -> bool {
        // At the end of the stream nothing is left but the last batch, which is yielded then.
        self.unpacked.has_ended()
    }
}

/// Shows the stream, the limits and how much is held back.
impl<St: Stream + fmt::Debug> fmt::Debug for Batches<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches")
            .field("stream", self.get_ref())
            .field("max_series", &self.max_series)
            .field("max_bytes", &self.max_bytes)
            .field("held_series", &self.batch.len())
            .field("held_bytes", &self.batch_bytes)
            .finish_non_exhaustive()
    }
}
