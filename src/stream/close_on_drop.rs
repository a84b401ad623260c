//! Closing without an `await` at hand: what is dropped is handed to a [`Closer`].

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures::Stream;
use futures::stream::FusedStream;
use futures::task::AtomicWaker;

use super::close::{Closable, Close};
use super::closer::{BackgroundError, Closer, OnError, Task};
use super::counters::Counters;
use super::release_context::drop_closed;
use super::source::{PollClose, PollNext, Source};
use crate::contain_panic::contain_panic;
use crate::error::CloseError;

/// A merge, a query or whatever else is [`Closable`], which is closed in the background when it is dropped.
///
/// Who gives up early often has no `await` at hand to close with: an HTTP body is dropped when the client disconnects, a future
/// when its time is up or another one of a `select!` was faster. This guard hands what it holds to a [`Closer`] then, which
/// closes it within a [time limit](Closer::time_limit).
///
/// It dereferences to what it holds, and is a [`Stream`] if that is one.
///
/// With the feature `tracing`, closing in the background is in the span that was current where the guard was made.
///
/// # Panics
///
/// Dropping it never panics, whatever the functions of the [`Closer`] do.
///
/// # Closing
///
/// - [`close`](Self::close) closes at once, and returns the errors. So does reading to the end. What is closed in either way is
///   only dropped later, and no task is spawned: the end of a stream counts as its close, as it is that of merges and queries.
/// - Dropped before, also while it was being closed, it is closed in the background from where it is. A
///   [ledger](crate::LeakLedger) has the sources as [closed in the background](crate::resource::Ending::ClosedInBackground).
/// - What does not close in time is dropped, and recorded as dropped unclosed. The same happens if the runtime of the closer is gone
///   or shut down before, or if its function panics or drops the task.
/// - A source that panics in the background is dropped unclosed, and the others are closed.
/// - Dropping waits for nothing and polls nothing: all of the closing is done where the closer spawns it.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use futures::stream::{self, TryStreamExt};
/// use losertree::stream::{CloseOnDrop, Closer};
/// use losertree::{LeakLedger, ProxyResponseLoserTree, closing};
///
/// let closer = Closer::current()?; // one for the whole service
///
/// let ledger = LeakLedger::sites();
/// let store = closing(stream::iter([1, 2, 3].map(Ok::<_, std::io::Error>)), |_| async {
///     tokio::task::yield_now().await; // the store is told, and answers
///     Ok(())
/// });
/// let merge = ProxyResponseLoserTree::builder().source(store).ledger(&ledger).build();
/// let mut merge = CloseOnDrop::new(merge, &closer)
///     .on_error(|error| eprintln!("a query was not closed in order: {error}"));
/// assert_eq!(merge.try_next().await?, Some(1));
/// drop(merge); // the client has gone
///
/// closer.idle().await; // at the end of the service
/// assert_eq!(ledger.snapshot().closed_in_background, 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "what is dropped at once is closed at once"]
pub struct CloseOnDrop<C: Closable + Send + 'static> {
    /// There until it is taken out by value or dropped.
    inner: Option<C>,
    state: State,
    closer: Closer,
    on_error: Option<OnError<C::Error>>,
    /// The span of whoever has made it, for what is done in the background.
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

/// What is left to do when a guard is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To close.
    Open,
    /// Nothing.
    Closed,
    /// Nothing: a source that has panicked is not called again.
    Panicked,
}

impl<C: Closable + Send + 'static> CloseOnDrop<C> {
    /// Has `closable` closed by `closer` when it is dropped.
    pub fn new(closable: C, closer: &Closer) -> Self {
        Self {
            inner: Some(closable),
            state: State::Open,
            closer: closer.clone(),
            on_error: None,
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        }
    }

    /// Sets a function that is told if closing in the background does not go well. Default: nobody is told, and it shows in the
    /// ledger only.
    ///
    /// It is called at most once, on the task that closes, or where that task is dropped. Should it panic, that is caught.
    pub fn on_error(
        mut self,
        on_error: impl FnOnce(BackgroundError<C::Error>) + Send + Sync + 'static,
    ) -> Self {
        self.on_error = Some(Box::new(on_error));
        self
    }

    /// Returns what is held, which nobody will close in the background any more.
    #[must_use = "dropping it releases it unclosed"]
    pub fn into_inner(mut self) -> C {
        self.take_inner()
    }

    /// Closes what is held, now. Nothing is left to be closed in the background then.
    ///
    /// # Errors, cancel safety
    ///
    /// As for [`Closable::close`]. If the future is dropped half-way and the guard too, closing goes on in the background.
    pub const fn close(&mut self) -> Close<'_, Self> {
        Close::of(self)
    }

    // The invariant of `inner`: only `into_inner` and `drop` take it out, and nothing of the guard can be reached after those.
    #[allow(clippy::expect_used)]
    fn take_inner(&mut self) -> C {
        self.inner.take().expect("it is there until it is taken out by value")
    }

    #[allow(clippy::expect_used)]
    const fn inner(&self) -> &C {
        self.inner.as_ref().expect("it is there until it is taken out by value")
    }

    #[allow(clippy::expect_used)]
    const fn inner_mut(&mut self) -> &mut C {
        self.inner.as_mut().expect("it is there until it is taken out by value")
    }
}

impl<C: Closable + Send + 'static> Deref for CloseOnDrop<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.inner()
    }
}

impl<C: Closable + Send + 'static> DerefMut for CloseOnDrop<C> {
    fn deref_mut(&mut self) -> &mut C {
        self.inner_mut()
    }
}

impl<C: Closable + Send + 'static> Closable for CloseOnDrop<C> {
    type Error = C::Error;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<C::Error>>> {
        let polled = self.inner_mut().poll_close_all(cx);
        if polled.is_ready() {
            self.state = State::Closed;
        }
        polled
    }
}

impl<C: Closable + Stream + Unpin + Send + 'static> Stream for CloseOnDrop<C> {
    type Item = C::Item;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<C::Item>> {
        let polled = Pin::new(self.inner_mut()).poll_next(cx);
        if let Poll::Ready(None) = polled {
            self.state = State::Closed;
        }
        polled
    }

    /// That of the stream inside: it is how a stage asks for the merge, see [`is_closing`](super::is_closing).
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner().size_hint()
    }
}

impl<C: Closable + FusedStream + Unpin + Send + 'static> FusedStream for CloseOnDrop<C> {
    fn is_terminated(&self) -> bool {
        self.inner().is_terminated()
    }
}

// Nothing in here is ever pinned.
impl<C: Closable + Send + 'static> Unpin for CloseOnDrop<C> {}

impl<C: Closable + Send + 'static> Drop for CloseOnDrop<C> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        match self.state {
            State::Open => {
                let task = Task::new(inner, &self.closer, self.on_error.take());
                #[cfg(feature = "tracing")]
                let task = tracing::Instrument::instrument(
                    task,
                    std::mem::replace(&mut self.span, tracing::Span::none()),
                );
                // Should this panic, the task is dropped, and what it was to close.
                contain_panic(|| self.closer.spawn(task));
            }
            State::Closed => {
                contain_panic(|| drop_closed(inner));
            }
            State::Panicked => {
                contain_panic(|| drop(inner));
            }
        }
    }
}

impl<C: Closable + fmt::Debug + Send + 'static> fmt::Debug for CloseOnDrop<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseOnDrop")
            .field("inner", self.inner())
            .field("state", &self.state)
            .field("closer", &self.closer)
            .finish_non_exhaustive()
    }
}

/// A source that is closed in the background when it is dropped unclosed: for the time in which no merge owns it, for example while
/// others are being opened.
///
/// Of a merge, guard the merge: one that is dropped records its sources as dropped unclosed, though this guard closes them.
///
/// # Closing
///
/// As for [`CloseOnDrop`]. A source that is polled to its end is still to be closed. One that has panicked is only dropped.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "tokio")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use futures::future::{join_all, ready};
/// use losertree::stream::{CloseSourceOnDrop, Closer};
/// use losertree::{ProxyResponseLoserTree, closing};
/// # use futures::stream;
/// # async fn open(_store: u64) -> impl losertree::Source<Item = u64, Error = std::io::Error> + Unpin + Send {
/// #     closing(stream::iter([Ok(1)]), |_| ready(Ok(())))
/// # }
///
/// let closer = Closer::current()?;
/// // Should this be cancelled half-way, those that are open already are closed.
/// let sources = join_all((0..3).map(async |store| CloseSourceOnDrop::new(open(store).await, &closer))).await;
/// let merge = ProxyResponseLoserTree::new(sources.into_iter().map(CloseSourceOnDrop::into_inner));
/// # drop(merge);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "what is dropped at once is closed at once"]
pub struct CloseSourceOnDrop<S: Source + Unpin + Send + 'static> {
    guard: CloseOnDrop<Owned<S>>,
}

/// A source with what it takes to close it by its contract, from wherever that has got to.
struct Owned<S> {
    source: S,
    /// Set when closing begins.
    relay: Option<(Waker, Arc<Relay>)>,
    /// Whether it is not to be called again: it is closed, or it has panicked.
    is_done: bool,
}

/// The waker of a source that is being closed. A source is polled only after its waker has fired, also when somebody else goes on
/// with the closing.
#[derive(Default)]
struct Relay {
    has_fired: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_fired.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<S: Source + Unpin> Owned<S> {
    /// Calls the source, unless that must not be. A panic leaves it done.
    fn call<T>(&mut self, done: T, call: impl FnOnce(Pin<&mut S>) -> T) -> T {
        if std::mem::replace(&mut self.is_done, true) {
            return done;
        }
        let result = call(Pin::new(&mut self.source));
        self.is_done = false;
        result
    }
}

impl<S: Source + Unpin> Closable for Owned<S> {
    type Error = S::Error;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        let (waker, relay) = self.relay.get_or_insert_with(|| {
            let relay = Arc::new(Relay { has_fired: AtomicBool::new(true), task: AtomicWaker::new() });
            (Waker::from(Arc::clone(&relay)), relay)
        });
        relay.task.register(cx.waker());
        if !self.is_done && !relay.has_fired.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        let waker = waker.clone();
        let closed =
            self.call(Poll::Ready(Ok(())), |source| source.poll_close(&mut Context::from_waker(&waker)));
        let closed = ready!(closed);
        self.is_done = true;
        Poll::Ready(closed)
    }
}

impl<S: Source + Unpin + Send + 'static> CloseSourceOnDrop<S> {
    /// Has `source` closed by `closer` when it is dropped unclosed.
    pub fn new(source: S, closer: &Closer) -> Self {
        let owned = Owned { source, relay: None, is_done: false };
        Self { guard: CloseOnDrop::new(owned, closer) }
    }

    /// Sets a function that is told if closing in the background does not go well, as [`CloseOnDrop::on_error`] does.
    pub fn on_error(self, on_error: impl FnOnce(BackgroundError<S::Error>) + Send + Sync + 'static) -> Self {
        Self { guard: self.guard.on_error(on_error) }
    }

    /// Returns the source.
    pub fn get_ref(&self) -> &S {
        &self.guard.source
    }

    /// Returns the source, which nobody will close in the background any more.
    #[must_use = "dropping it releases it unclosed"]
    pub fn into_inner(self) -> S {
        self.guard.into_inner().source
    }

    /// Calls the source; should it panic, it is only dropped when the guard is.
    fn call<T>(&mut self, call: impl FnOnce(&mut CloseOnDrop<Owned<S>>) -> T) -> T {
        let state = std::mem::replace(&mut self.guard.state, State::Panicked);
        let result = call(&mut self.guard);
        // Set meanwhile if it has been closed.
        if self.guard.state == State::Panicked {
            self.guard.state = state;
        }
        result
    }
}

impl<S: Source + Unpin + Send + 'static> Source for CloseSourceOnDrop<S> {
    type Item = S::Item;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        self.call(|guard| guard.call(Poll::Ready(None), |source| source.poll_next(cx)))
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.call(|guard| guard.call((), |source| source.poll_progress(cx)));
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.call(|guard| guard.poll_close_all(cx))
    }

    fn name(&self) -> Option<&str> {
        self.guard.source.name()
    }

    fn counters(&self) -> Counters {
        self.guard.source.counters()
    }

    fn is_partial(&self) -> bool {
        self.guard.source.is_partial()
    }
}

impl<S: Source + Unpin + Send + fmt::Debug + 'static> fmt::Debug for CloseSourceOnDrop<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseSourceOnDrop")
            .field("source", &self.guard.source)
            .field("state", &self.guard.state)
            .field("closer", &self.guard.closer)
            .finish_non_exhaustive()
    }
}
