use std::fmt;
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;

use super::Idle;
use super::idle::{Started, UnderWay};
#[cfg(feature = "tokio")]
use crate::clock::HAS_CLOCK;
use crate::contain_panic::contain_panic;

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
    /// Closes on a runtime of which `spawn` spawns a task and `sleep` makes a timer.
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

    pub(super) const fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn start(&self) -> Started {
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
    pub(super) fn timer(&self) -> Option<BoxFuture<'static, ()>> {
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
