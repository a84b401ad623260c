use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::TryStream;

use super::{PollClose, PollNext, Source};
use crate::error::{CloseError, SourceError};

/// A stream as a source that is closed by a future. Made by [`closing`].
pub struct Closing<St, F, Fut> {
    state: State<St, F, Fut>,
}

enum State<St, F, Fut> {
    Open(St, F),
    /// Boxed, so that a source whose stream is [`Unpin`] is so too, though futures hardly ever are.
    Closing(Pin<Box<Fut>>),
    Closed,
}

/// Makes a source of a [`TryStream`] and a function that closes it.
///
/// # Closing
///
/// The function gets the stream, and the source is closed when the future that it returns completes. It is
/// called by the first [`poll_close`](Source::poll_close), and not at all if the source is dropped before:
/// then the stream is dropped, or the future if it was under way. The future is boxed when it is made: one
/// allocation for each source that is closed.
///
/// # Examples
///
/// ```
/// use futures::stream::{self, StreamExt};
/// use losertree::closing;
///
/// let source = closing(stream::iter([Ok(1), Ok(2), Err("broken pipe")]), |stream| async move {
///     drop(stream);
///     Ok(()) // for example, after the server has acknowledged
/// });
/// # drop(source);
/// ```
pub const fn closing<St, F, Fut>(stream: St, close: F) -> Closing<St, F, Fut>
where
    St: TryStream,
    F: FnOnce(St) -> Fut,
    Fut: Future<Output = Result<(), St::Error>>,
{
    Closing { state: State::Open(stream, close) }
}

// The function is never pinned, and the future is so inside its box.
impl<St: Unpin, F, Fut> Unpin for Closing<St, F, Fut> {}

impl<St, F, Fut> Source for Closing<St, F, Fut>
where
    St: TryStream + Unpin,
    F: FnOnce(St) -> Fut,
    Fut: Future<Output = Result<(), St::Error>>,
{
    type Item = St::Ok;
    type Error = St::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        match &mut self.state {
            State::Open(stream, _) => Pin::new(stream).try_poll_next(cx).map_err(SourceError::from),
            State::Closing(_) | State::Closed => Poll::Ready(None),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        // While the function or the future panics, the state is `Closed`, and what panicked is dropped.
        let mut close = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(stream, close) => Box::pin(close(stream)),
            State::Closing(close) => close,
            State::Closed => return Poll::Ready(Ok(())),
        };
        let closed = close.as_mut().poll(cx);
        if closed.is_pending() {
            self.state = State::Closing(close);
        }
        closed.map_err(CloseError::from)
    }
}

impl<St: fmt::Debug, F, Fut> fmt::Debug for Closing<St, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Open(stream, _) => f.debug_tuple("Open").field(stream).finish(),
            State::Closing(_) => f.write_str("Closing"),
            State::Closed => f.write_str("Closed"),
        }
    }
}
