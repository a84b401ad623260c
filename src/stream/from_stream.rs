use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::TryStream;
use pin_project_lite::pin_project;

use super::inquiry::{ask_to_close, is_closing};
use super::{PollClose, PollNext, Source};
use crate::error::{CloseError, SourceError};

/// How many items one poll takes at most that are left in a stream which is being closed. Enough that the cost of being
/// scheduled again is small beside it.
const POLL_BUDGET: usize = 128;

pin_project! {
    /// A stream as a source that has nothing to close. Made by [`from_stream`].
    #[derive(Clone)]
    pub struct FromStream<St>
    where
        St: TryStream,
    {
        #[pin]
        stream: St,
        stage: Stage<St::Error>,
    }
}

#[derive(Clone)]
enum Stage<E> {
    Open,
    /// A merge inside of the stream is being closed; and what has gone wrong in it.
    Closing(Vec<SourceError<E>>),
    Ended,
}

/// Makes a source of any [`TryStream`]: a stream of `Result`s. For other streams there is [`from_items`](super::from_items).
///
/// # Closing
///
/// A stream has no orderly close, so closing completes at once. What the stream holds is released when the source is dropped,
/// which a merge does right after closing it. Where releasing takes awaiting, use [`closing`](super::closing).
///
/// A merge or a query of this library *has* an orderly close, and closing the source closes it, also through adaptors like
/// `map_ok` and `boxed`: what the stream has left is dropped, and it is polled to its end. For that the adaptors must pass on
/// [`size_hint`](futures::Stream::size_hint) and go on polling; a task, a channel or `take` does not. A merge behind such is
/// dropped, and a ledger shows its sources as [lost](crate::resource::Ending::Lost). Better make a source of it by
/// [`into_source`](crate::ProxyResponseLoserTree::into_source), which also keeps its errors apart: here they are errors inside
/// of an error.
///
/// # Examples
///
/// ```
/// use futures::stream;
/// use losertree::from_stream;
///
/// let source = from_stream(stream::iter([Ok(1), Ok(2), Err("broken pipe")]));
/// # drop(source);
/// ```
pub const fn from_stream<St: TryStream>(stream: St) -> FromStream<St> {
    FromStream { stream, stage: Stage::Open }
}

impl<St: TryStream> FromStream<St> {
    /// Returns the stream.
    #[must_use]
    pub fn into_inner(self) -> St {
        self.stream
    }

    pub(super) const fn get_ref(&self) -> &St {
        &self.stream
    }
}

impl<St: TryStream> Source for FromStream<St> {
    type Item = St::Ok;
    type Error = St::Error;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let mut this = self.project();
        let polled = this.stream.as_mut().try_poll_next(cx).map_err(SourceError::from);
        match polled {
            // A merge inside is only closing: nobody above is to wait for that before this is asked to close.
            Poll::Pending if is_closing(&*this.stream) => Poll::Ready(None),
            Poll::Ready(None) => {
                *this.stage = Stage::Ended;
                Poll::Ready(None)
            }
            polled => polled,
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        let mut this = self.project();
        if matches!(this.stage, Stage::Open) {
            *this.stage = if ask_to_close(&*this.stream) { Stage::Closing(Vec::new()) } else { Stage::Ended };
        }
        let Stage::Closing(errors) = this.stage else { return Poll::Ready(Ok(())) };
        for _ in 0..POLL_BUDGET {
            match ready!(this.stream.as_mut().try_poll_next(cx)) {
                Some(Ok(item)) => drop(item),
                Some(Err(error)) => errors.push(error.into()),
                None => {
                    let errors = mem::take(errors);
                    *this.stage = Stage::Ended;
                    return Poll::Ready(CloseError::check(errors));
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<St: TryStream + fmt::Debug> fmt::Debug for FromStream<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}
