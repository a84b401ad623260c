use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use super::source::{PollClose, PollNext, Source};
use crate::error::{CloseError, SourceError};

/// A client that is asked by async functions, as a source. Made by [`unfold`].
///
/// `Fut` is one future that the compiler makes of both functions and the client, and has no name. What holds sources of this
/// type is generic over it, or has them [boxed](Source::boxed).
pub struct Unfold<Fut, T, E> {
    /// Owns the client, asks it and closes it. Boxed, so that the source is [`Unpin`]; `None` once it is closed.
    driver: Option<Pin<Box<Fut>>>,
    exchange: Arc<Exchange<T, E>>,
}

/// What the source and the future inside of it tell each other. Only one of the two runs at any time.
struct Exchange<T, E> {
    is_closing: AtomicBool,
    /// What `next` has returned, for as long as the poll lasts.
    given: Mutex<Poll<Option<Result<T, E>>>>,
}

/// Makes a source of anything that is asked by async functions: no poll code is needed.
///
/// `next` asks the client for the next item; `None` is the end. `close` gets the client. Both can be async closures, or methods:
/// `unfold(client, Client::next, Client::shutdown)`. Neither is called before the source is polled, so that a client can
/// connect when it is first asked.
///
/// The source is [`Send`] if the client and the futures are, and [`Unpin`] always. Its type cannot be named; where that is in
/// the way, [box](Source::boxed) it. It has no name, unless it is given one by [`named`](Source::named).
///
/// # Complexity
///
/// One allocation when it is made, none for an item. An item costs two uncontended locks.
///
/// # Errors
///
/// Those that `next` returns, after which it is not called again, and those that `close` returns.
///
/// # Cancel safety
///
/// A call of `next` that is under way goes on with the next poll, whatever becomes of the future that waits for the merge. It is
/// dropped half-way only when the source is closed or dropped. So `next` need not be cancel safe, if `close` can bear a client
/// that was left in the middle of an answer.
///
/// # Closing
///
/// `close` does not wait for `next`: a call that is under way is dropped first, as by `select!`, then `close` is called with the
/// client as that has left it. The source is closed when the future of `close` completes; the client is dropped by whoever has
/// it then, mostly `close`.
///
/// `close` is called once, after the end and after an error too, also if `next` was never called. It is not called if the source is
/// dropped before it is closed, nor if `next` has panicked: then the call that is under way is dropped, and then the client.
///
/// # Examples
///
/// ```
/// use losertree::{ProxyResponseLoserTree, Source, unfold};
/// use futures::TryStreamExt;
/// use std::io;
///
/// struct Client { next: u64, end: u64 }
///
/// impl Client {
///     async fn next(&mut self) -> Option<io::Result<u64>> {
///         // For example: a frame of the answer.
///         self.next += 1;
///         (self.next <= self.end).then_some(Ok(self.next))
///     }
///
///     async fn cancel(&mut self) -> io::Result<()> {
///         Ok(()) // for example, when the server has acknowledged
///     }
/// }
///
/// # futures::executor::block_on(async {
/// let store = |next, end| unfold(Client { next, end }, Client::next, async |mut client| client.cancel().await);
/// let mut merge = ProxyResponseLoserTree::new([store(0, 3), store(1, 4)]);
/// assert_eq!(merge.by_ref().try_collect::<Vec<_>>().await?, [1, 2, 2, 3, 3, 4]);
/// # use futures::StreamExt;
///
/// // Of different types, and with what the closures hold:
/// let addend = 10;
/// let shifted = unfold(
///     Client { next: 0, end: 2 },
///     async move |client| client.next().await.map(|item| item.map(|item| item + addend)),
///     async |mut client| client.cancel().await,
/// );
/// let mut merge = ProxyResponseLoserTree::new([store(0, 3).boxed(), shifted.named("shifted").boxed()]);
/// assert_eq!(merge.by_ref().try_collect::<Vec<_>>().await?, [1, 2, 3, 11, 12]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// A client that returns `Result<Option<T>, E>` takes one word more, and one that has to be opened is opened by the first call:
///
/// ```
/// use losertree::{Source, unfold};
/// # use std::io;
/// # struct Connection;
/// # impl Connection {
/// #     async fn open(_address: &str) -> io::Result<Self> { Ok(Self) }
/// #     async fn message(&mut self) -> io::Result<Option<u64>> { Ok(None) }
/// #     async fn shutdown(self) -> io::Result<()> { Ok(()) }
/// # }
///
/// async fn next(connection: &mut Option<Connection>) -> io::Result<Option<u64>> {
///     let connection = match connection {
///         Some(connection) => connection,
///         closed => closed.insert(Connection::open("store-a:10901").await?),
///     };
///     connection.message().await
/// }
///
/// let source = unfold(
///     None,
///     async |connection| next(connection).await.transpose(),
///     async |connection| match connection {
///         Some(connection) => Connection::shutdown(connection).await,
///         None => Ok(()), // never opened
///     },
/// );
/// # drop(source.boxed());
/// ```
pub fn unfold<S, T, E, N, C>(
    client: S,
    next: N,
    close: C,
) -> Unfold<impl Future<Output = Result<(), E>>, T, E>
where
    N: AsyncFnMut(&mut S) -> Option<Result<T, E>>,
    C: AsyncFnOnce(S) -> Result<(), E>,
{
    let exchange =
        Arc::new(Exchange { is_closing: AtomicBool::new(false), given: Mutex::new(Poll::Pending) });
    let driver = drive(client, next, close, Arc::clone(&exchange));
    Unfold { driver: Some(Box::pin(driver)), exchange }
}

/// Asks the client whenever it is polled for an item, and closes it when it is polled to be closed.
///
/// The future of `next` borrows the client, so both have to be in one future that outlives each call.
async fn drive<S, T, E, N, C>(
    mut client: S,
    mut next: N,
    close: C,
    exchange: Arc<Exchange<T, E>>,
) -> Result<(), E>
where
    N: AsyncFnMut(&mut S) -> Option<Result<T, E>>,
    C: AsyncFnOnce(S) -> Result<(), E>,
{
    while !exchange.is_closing() {
        {
            let mut under_way = pin!(next(&mut client));
            let asked = poll_fn(|cx| {
                if exchange.is_closing() {
                    return Poll::Ready(None);
                }
                under_way.as_mut().poll(cx).map(Some)
            });
            let Some(given) = asked.await else { break };
            exchange.give(given);
        }
        // Until the source is polled again, for whatever it is.
        let mut has_paused = false;
        poll_fn(|_| if mem::replace(&mut has_paused, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
    close(client).await
}

impl<T, E> Exchange<T, E> {
    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    fn give(&self, given: Option<Result<T, E>>) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Poll::Ready(given);
    }

    fn take(&self) -> Poll<Option<Result<T, E>>> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut given, Poll::Pending)
    }
}

impl<Fut, T, E> Source for Unfold<Fut, T, E>
where
    Fut: Future<Output = Result<(), E>>,
{
    type Item = T;
    type Error = E;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let Self { driver: Some(driver), exchange } = &mut *self else { return Poll::Ready(None) };
        if exchange.is_closing() {
            return Poll::Ready(None);
        }
        // It completes only when it has closed.
        let _ = driver.as_mut().poll(cx);
        exchange.take().map_err(SourceError::from)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.exchange.is_closing.store(true, Ordering::Relaxed);
        let Some(driver) = &mut self.driver else { return Poll::Ready(Ok(())) };
        let closed = driver.as_mut().poll(cx);
        if closed.is_ready() {
            self.driver = None;
        }
        closed.map_err(CloseError::from)
    }
}

impl<Fut, T, E> fmt::Debug for Unfold<Fut, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.driver {
            Some(_) if self.exchange.is_closing() => "Closing",
            Some(_) => "Open",
            None => "Closed",
        };
        f.debug_tuple("Unfold").field(&format_args!("{state}")).finish()
    }
}
