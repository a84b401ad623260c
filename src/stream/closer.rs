//! Who closes what was dropped unclosed.

use std::fmt;
use std::pin::Pin;
#[cfg(feature = "tokio")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;

use super::close::Closable;
use super::release_context::{drop_closed, in_background};
#[cfg(feature = "tokio")]
use crate::clock::HAS_CLOCK;
use crate::clock::Moment;
use crate::contain_panic::contain_panic;
use crate::error::{CloseError, TimedOut, Timeout};

/// How long closing in the background may take if nothing else is said.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// Closes in the background what was dropped unclosed: says where, and for how long at most. See
/// [`CloseOnDrop`](super::CloseOnDrop) and [`CloseSourceOnDrop`](super::CloseSourceOnDrop).
///
/// Clones are cheap, and are one closer: make one for the service, and [wait](Self::idle) for it before the runtime is shut down.
/// It has a task for each of those that are dropped, until that is closed.
///
/// | option | default |
/// |---|---|
/// | [`time_limit`](Self::time_limit) | 10 s |
///
/// # Examples
///
/// On a runtime other than tokio:
///
/// ```
/// use futures::FutureExt;
/// use losertree::stream::Closer;
/// use std::time::Duration;
/// # fn spawn_on_my_runtime(_task: futures::future::BoxFuture<'static, ()>) {}
/// # async fn sleep_on_my_runtime(_limit: Duration) {}
///
/// let closer = Closer::new(
///     |task| spawn_on_my_runtime(task),
///     |limit| sleep_on_my_runtime(limit).boxed(),
/// )
/// .time_limit(Duration::from_secs(3));
/// # drop(closer);
/// ```
#[derive(Clone)]
pub struct Closer {
    spawner: Spawner,
    limit: Duration,
    under_way: Arc<UnderWay>,
}

#[derive(Clone)]
enum Spawner {
    #[cfg(feature = "tokio")]
    Tokio {
        runtime: tokio::runtime::Handle,
        /// Whether it was found to have no clock. It tells by panicking, which is to be seen once only.
        has_no_clock: Arc<AtomicBool>,
    },
    Functions(Arc<Functions>),
}

struct Functions {
    spawn: Box<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>,
    sleep: Box<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Closer {
    /// Closes on another runtime: `spawn` spawns a task on it, and `sleep` makes a timer of it.
    ///
    /// `spawn` is called where something is dropped, so it must not wait. A task that it drops drops what is to be closed.
    /// `sleep` is called by the task.
    pub fn new(
        spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static,
        sleep: impl Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let functions = Functions { spawn: Box::new(spawn), sleep: Box::new(sleep) };
        Self::on(Spawner::Functions(Arc::new(functions)))
    }

    /// Closes on a tokio runtime, from whichever thread something is dropped.
    ///
    /// The runtime should have its time enabled. Without, the time limit is kept only as far as something else wakes the task, and
    /// [where there is no clock](crate#without-a-clock) not at all.
    #[cfg(feature = "tokio")]
    #[must_use]
    pub fn tokio(runtime: tokio::runtime::Handle) -> Self {
        Self::on(Spawner::Tokio { runtime, has_no_clock: Arc::default() })
    }

    /// Closes on the tokio runtime that this is called in.
    ///
    /// # Errors
    ///
    /// If it is called outside of a runtime.
    #[cfg(feature = "tokio")]
    pub fn current() -> Result<Self, tokio::runtime::TryCurrentError> {
        tokio::runtime::Handle::try_current().map(Self::tokio)
    }

    fn on(spawner: Spawner) -> Self {
        Self { spawner, limit: DEFAULT_LIMIT, under_way: Arc::default() }
    }

    /// Sets how long closing may take, from when the task runs first: what is not closed then is dropped. For each of those that
    /// are dropped; `Duration::MAX` is for ever. Default: 10 s.
    #[must_use]
    pub const fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Returns how many are being closed at the moment, by all clones of the closer.
    #[must_use]
    pub fn closings(&self) -> usize {
        self.under_way.count()
    }

    /// Waits until all that was dropped has been closed, or dropped because that took too long; also what is dropped meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub fn idle(&self) -> Idle {
        Idle::new(Arc::clone(&self.under_way))
    }

    const fn limit(&self) -> Duration {
        self.limit
    }

    fn start(&self) -> Started {
        self.under_way.start()
    }

    /// Spawns a task. It is dropped where there is nothing to spawn it on any more.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.spawner {
            #[cfg(feature = "tokio")]
            Spawner::Tokio { runtime, .. } => drop(runtime.spawn(task)),
            Spawner::Functions(functions) => (functions.spawn)(Box::pin(task)),
        }
    }

    /// Makes a timer of the time limit, to be called by the task. `None` where there is no clock.
    fn timer(&self) -> Option<BoxFuture<'static, ()>> {
        match &self.spawner {
            #[cfg(feature = "tokio")]
            Spawner::Tokio { has_no_clock, .. } => {
                if !HAS_CLOCK || has_no_clock.load(Ordering::Relaxed) {
                    return None;
                }
                let timer = contain_panic(|| Box::pin(tokio::time::sleep(self.limit)) as BoxFuture<'_, _>);
                has_no_clock.store(timer.is_none(), Ordering::Relaxed);
                timer
            }
            Spawner::Functions(functions) => contain_panic(|| (functions.sleep)(self.limit)),
        }
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spawner = match &self.spawner {
            #[cfg(feature = "tokio")]
            Spawner::Tokio { .. } => "tokio",
            Spawner::Functions(_) => "functions",
        };
        f.debug_struct("Closer")
            .field("spawner", &spawner)
            .field("time_limit", &self.limit)
            .field("closings", &self.closings())
            .finish_non_exhaustive()
    }
}

/// Why something was not closed in order in the background. Told to the function of
/// [`CloseOnDrop::on_error`](super::CloseOnDrop::on_error).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackgroundError<E> {
    /// It was closed, but with errors, or some were met before and not yielded.
    #[error(transparent)]
    Failed(CloseError<E>),
    /// It took longer than the [time limit](Closer::time_limit). What was left was dropped unclosed.
    #[error(transparent)]
    TimedOut(TimedOut),
    /// A source has panicked, and was dropped unclosed. All else was closed without an error.
    #[error("a source panicked while it was closed in the background")]
    Panicked,
    /// The task that was to close it was dropped: the runtime is gone or was shut down, or the function that spawns has
    /// panicked. What was left was dropped unclosed.
    #[error("dropped before it was closed in the background: there is no runtime any more")]
    Dropped,
}

/// Waits until a closer has nothing left to close. Returned by [`Closer::idle`](Closer::idle).
#[must_use = "futures do nothing unless polled"]
pub struct Idle {
    under_way: Arc<UnderWay>,
}

impl Idle {
    const fn new(under_way: Arc<UnderWay>) -> Self {
        Self { under_way }
    }
}

impl Future for Idle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.under_way.lock();
        if state.count == 0 {
            return Poll::Ready(());
        }
        // One for each task that waits. Those of tasks that do not any more are woken in vain, once.
        if !state.waiting.iter().any(|waiting| waiting.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").field("closings", &self.under_way.count()).finish()
    }
}

/// How many are being closed in the background, and who waits until none is.
#[derive(Debug, Default)]
struct UnderWay {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    waiting: Vec<Waker>,
}

impl UnderWay {
    fn count(&self) -> usize {
        self.lock().count
    }

    /// Counts one more, until what is returned is dropped.
    fn start(self: &Arc<Self>) -> Started {
        self.lock().count += 1;
        Started(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What may panic under the lock is the cloning of a waker, before anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is being closed in the background.
struct Started(Arc<UnderWay>);

impl Drop for Started {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.count -= 1;
        let woken = if state.count == 0 { std::mem::take(&mut state.waiting) } else { Vec::new() };
        drop(state);
        for waker in woken {
            contain_panic(|| waker.wake());
        }
    }
}

/// Who is told what has not gone well.
pub(super) type OnError<E> = Box<dyn FnOnce(BackgroundError<E>) + Send + Sync>;

/// Closes something within a time limit. Dropped before, it drops that.
pub(super) struct Task<C: Closable> {
    /// What is to be closed, until it is.
    closable: Option<C>,
    closer: Closer,
    clock: Clock,
    on_error: Option<OnError<C::Error>>,
    has_panicked: bool,
    /// Dropped last: whoever waits for it may look at the ledger.
    _started: Started,
}

/// What measures the time limit.
enum Clock {
    /// To be made where the task runs.
    Unset,
    Timer(BoxFuture<'static, ()>),
    /// There is none that wakes the task.
    Since(Moment),
}

impl<C: Closable> Task<C> {
    pub(super) fn new(closable: C, closer: &Closer, on_error: Option<OnError<C::Error>>) -> Self {
        let started = closer.start();
        Self {
            closable: Some(closable),
            closer: closer.clone(),
            clock: Clock::Unset,
            on_error,
            has_panicked: false,
            _started: started,
        }
    }

    /// Whether the time is up; if not, has the task woken when it is.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if let Clock::Unset = self.clock {
            self.clock = self.closer.timer().map_or_else(|| Clock::Since(Moment::now()), Clock::Timer);
        }
        if let Clock::Timer(timer) = &mut self.clock {
            if let Some(polled) = contain_panic(|| timer.as_mut().poll(cx)) {
                return polled.is_ready();
            }
            // Its runtime is gone, or it is broken.
            self.clock = Clock::Since(Moment::now());
        }
        matches!(self.clock, Clock::Since(since) if since.elapsed() >= self.closer.limit())
    }

    /// Drops what was closed, by which what is inside and was not counts as lost.
    fn finish(&mut self, closed: Result<(), CloseError<C::Error>>) {
        if !self.has_panicked {
            contain_panic(|| self.closable.take().map(drop_closed));
        }
        let error = closed.err().map(BackgroundError::Failed);
        self.give_up(error.or(self.has_panicked.then_some(BackgroundError::Panicked)));
    }

    /// Drops what is left, and tells what has not gone well.
    fn give_up(&mut self, error: Option<BackgroundError<C::Error>>) {
        let closable = self.closable.take();
        contain_panic(|| drop(closable));
        if let (Some(error), Some(on_error)) = (error, self.on_error.take()) {
            contain_panic(|| on_error(error));
        }
    }
}

// Nothing in here is ever pinned.
impl<C: Closable> Unpin for Task<C> {}

impl<C: Closable> Future for Task<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(closable) = &mut self.closable else { return Poll::Ready(()) };
        match contain_panic(|| in_background(|| closable.poll_close_all(cx))) {
            Some(Poll::Ready(closed)) => {
                self.finish(closed);
                return Poll::Ready(());
            }
            Some(Poll::Pending) => {}
            None => {
                // The next poll releases the source that has panicked, and goes on with the others.
                self.has_panicked = true;
                cx.waker().wake_by_ref();
            }
        }
        if self.is_late(cx) {
            let timed_out = TimedOut::new(Timeout::Close, self.closer.limit());
            self.give_up(Some(BackgroundError::TimedOut(timed_out)));
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<C: Closable> Drop for Task<C> {
    fn drop(&mut self) {
        if self.closable.is_some() {
            self.give_up(Some(BackgroundError::Dropped));
        }
    }
}
