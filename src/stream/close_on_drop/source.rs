use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures::task::AtomicWaker;

use super::{BackgroundError, CloseOnDrop, Closer, State};
use crate::error::CloseError;
use crate::stream::{Closable, PollClose, PollNext, Received, Source};

/// A source that is closed in the background when it is dropped unclosed: for the time in which no merge owns it, for example while
/// others are being opened.
///
/// Of a merge, guard the merge: one that is dropped books its sources as dropped unclosed, though this guard closes them.
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

    fn received(&self) -> Option<Received> {
        self.guard.source.received()
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
