//! Sources made of what one has: iterators, streams, and streams with a future that closes them.

use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Stream, TryStream};
use pin_project_lite::pin_project;

use super::children::POLL_BUDGET;
use super::inquiry::{ask_to_close, is_closing};
use super::source::{PollClose, PollNext, Source};
use crate::error::{CloseError, SourceError};

/// An iterator as a source that is always ready, cannot fail and has nothing to close. Made by [`from_iter`].
#[derive(Debug, Clone)]
pub struct FromIter<I> {
    iter: I,
}

/// Makes a source of anything that can be iterated over: what is in memory already, among sources that are not.
///
/// It cannot fail. To merge it with sources that can, change its error: `from_iter(items).map_err(|never| match never {})`.
/// An iterator of `Result`s becomes a source by `from_stream(futures::stream::iter(results))`.
///
/// Where all sources are iterators, [`merge`](crate::merge()) does the same faster and without a future.
///
/// # Closing
///
/// There is nothing to close. The iterator is dropped with the source.
///
/// # Examples
///
/// ```
/// use futures::{TryStreamExt, stream};
/// use losertree::{ProxyResponseLoserTree, Source, from_iter, from_stream};
///
/// # futures::executor::block_on(async {
/// let file = from_stream(stream::iter([Ok(2), Ok(3), Err("disk on fire")]));
/// let memory = from_iter([1, 4]).map_err(|never| match never {});
/// let mut merge = ProxyResponseLoserTree::new([file.boxed(), memory.boxed()]);
/// assert_eq!(merge.try_next().await?, Some(1));
/// # Ok::<_, losertree::SourceError<&str>>(())
/// # }).unwrap();
/// ```
pub fn from_iter<I: IntoIterator>(items: I) -> FromIter<I::IntoIter> {
    FromIter { iter: items.into_iter() }
}

impl<I> FromIter<I> {
    /// Returns the iterator.
    #[must_use]
    pub fn into_inner(self) -> I {
        self.iter
    }
}

// The iterator is never pinned.
impl<I> Unpin for FromIter<I> {}

impl<I: Iterator> Source for FromIter<I> {
    type Item = I::Item;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(self.iter.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
        Poll::Ready(Ok(()))
    }
}

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

pin_project! {
    /// A stream of items that are no `Result`s, as a source that cannot fail. Made by [`from_items`].
    #[derive(Clone)]
    pub struct FromItems<St>
    where
        St: Stream,
    {
        #[pin]
        source: FromStream<Succeed<St>>,
    }
}

pin_project! {
    /// A stream that wraps each item in `Ok`.
    #[derive(Clone)]
    struct Succeed<St> {
        #[pin]
        stream: St,
    }
}

/// Makes a source of any [`Stream`], which cannot fail. For a stream of `Result`s there is [`from_stream`].
///
/// To merge it with sources that can, change its error: `from_items(stream).map_err(|never| match never {})`.
///
/// # Closing
///
/// As for [`from_stream`].
///
/// # Examples
///
/// ```
/// use futures::{TryStreamExt, stream};
/// use losertree::{ProxyResponseLoserTree, from_items};
///
/// # futures::executor::block_on(async {
/// let merge = ProxyResponseLoserTree::new([vec![1, 3], vec![2]].map(|items| from_items(stream::iter(items))));
/// assert_eq!(merge.try_collect::<Vec<_>>().await?, [1, 2, 3]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub const fn from_items<St: Stream>(stream: St) -> FromItems<St> {
    FromItems { source: from_stream(Succeed { stream }) }
}

impl<St: Stream> FromItems<St> {
    /// Returns the stream.
    #[must_use]
    pub fn into_inner(self) -> St {
        self.source.into_inner().stream
    }
}

impl<St: Stream> Stream for Succeed<St> {
    type Item = Result<St::Item, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().stream.poll_next(cx).map(|item| item.map(Ok))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<St: Stream> Source for FromItems<St> {
    type Item = St::Item;
    type Error = Infallible;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        self.project().source.poll_next(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.project().source.poll_close(cx)
    }
}

impl<St: Stream + fmt::Debug> fmt::Debug for FromItems<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromItems").field("stream", &self.source.stream.stream).finish()
    }
}

/// A stream as a source that is closed by a future. Made by [`closing`].
pub struct Closing<St, F, Fut> {
    state: ClosingState<St, F, Fut>,
}

enum ClosingState<St, F, Fut> {
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
    Closing { state: ClosingState::Open(stream, close) }
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
            ClosingState::Open(stream, _) => Pin::new(stream).try_poll_next(cx).map_err(SourceError::from),
            ClosingState::Closing(_) | ClosingState::Closed => Poll::Ready(None),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        // While the function or the future panics, the state is `Closed`, and what panicked is dropped.
        let mut close = match mem::replace(&mut self.state, ClosingState::Closed) {
            ClosingState::Open(stream, close) => Box::pin(close(stream)),
            ClosingState::Closing(close) => close,
            ClosingState::Closed => return Poll::Ready(Ok(())),
        };
        let closed = close.as_mut().poll(cx);
        if closed.is_pending() {
            self.state = ClosingState::Closing(close);
        }
        closed.map_err(CloseError::from)
    }
}

impl<St: fmt::Debug, F, Fut> fmt::Debug for Closing<St, F, Fut> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            ClosingState::Open(stream, _) => f.debug_tuple("Open").field(stream).finish(),
            ClosingState::Closing(_) => f.write_str("Closing"),
            ClosingState::Closed => f.write_str("Closed"),
        }
    }
}
