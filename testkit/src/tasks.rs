use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::future::BoxFuture;

use crate::Random;

/// Background tasks for tests: they are polled between the polls of what a test is about, in an order that a seed
/// decides, and only when they were woken.
///
/// A handle: clones share the tasks.
///
/// # Examples
///
/// ```
/// use losertree_testkit::Tasks;
/// use std::task::{Context, Poll, Waker};
///
/// let tasks = Tasks::new(7);
/// tasks.spawn(Box::pin(async {}));
/// let polled = tasks.poll(&mut Context::from_waker(Waker::noop()), |_| Poll::<()>::Pending);
/// assert!(polled.is_pending());
/// assert_eq!((tasks.alive(), tasks.polls()), (0, 1));
/// ```
#[derive(Clone)]
pub struct Tasks {
    state: Arc<Mutex<State>>,
}

struct State {
    random: Random,
    tasks: Vec<Task>,
    polls: usize,
    /// Whether what the test is about is to be polled, and who polls it.
    main: Arc<Flag>,
}

struct Task {
    /// `None` while it is being polled.
    future: Option<BoxFuture<'static, ()>>,
    flag: Arc<Flag>,
}

/// Whether something was woken, and whom to tell.
#[derive(Default)]
struct Flag {
    is_due: AtomicBool,
    executor: Mutex<Option<Waker>>,
}

impl Flag {
    fn due(executor: Option<&Waker>) -> Arc<Self> {
        Arc::new(Self { is_due: true.into(), executor: Mutex::new(executor.cloned()) })
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_due.store(true, Ordering::SeqCst);
        let executor = lock(&self.executor).clone();
        if let Some(executor) = executor {
            executor.wake();
        }
    }
}

impl Tasks {
    /// Creates an executor without tasks.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let main = Flag::due(None);
        let state = State { random: Random::seed(seed), tasks: Vec::new(), polls: 0, main };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Adds a task. It is polled first when something else is next.
    pub fn spawn(&self, future: BoxFuture<'static, ()>) {
        let mut state = lock(&self.state);
        let executor = lock(&state.main.executor).clone();
        state.tasks.push(Task { future: Some(future), flag: Flag::due(executor.as_ref()) });
    }

    /// Returns how many tasks have not completed.
    #[must_use]
    pub fn alive(&self) -> usize {
        lock(&self.state).tasks.len()
    }

    /// Returns how often tasks were polled so far.
    #[must_use]
    pub fn polls(&self) -> usize {
        lock(&self.state).polls
    }

    /// Drops all tasks, as a runtime does that is shut down.
    pub fn shut_down(&self) {
        let tasks = std::mem::take(&mut lock(&self.state).tasks);
        drop(tasks);
    }

    /// Polls what the test is about, and the tasks, in random order, each only if it was woken, until that is ready
    /// or nothing is left to be polled. After it was ready, it is polled again at the next call.
    pub fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        {
            let state = lock(&self.state);
            for flag in state.tasks.iter().map(|task| &task.flag).chain([&state.main]) {
                *lock(&flag.executor) = Some(cx.waker().clone());
            }
        }
        while let Some(next) = self.pick() {
            let Some((mut future, flag)) = next else {
                // With a new waker for each poll, so that an old one that is kept is found out.
                let main = Flag::due(Some(cx.waker()));
                main.is_due.store(false, Ordering::SeqCst);
                lock(&self.state).main = Arc::clone(&main);
                let polled = poll(&mut Context::from_waker(&Waker::from(Arc::clone(&main))));
                if polled.is_ready() {
                    main.is_due.store(true, Ordering::SeqCst);
                    return polled;
                }
                continue;
            };
            let polled = future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&flag))));
            let mut state = lock(&self.state);
            state.polls += 1;
            if let Some(at) = state.tasks.iter().position(|task| Arc::ptr_eq(&task.flag, &flag)) {
                let done = match polled {
                    Poll::Ready(()) => Some(state.tasks.remove(at)),
                    Poll::Pending => {
                        state.tasks[at].future = Some(future);
                        continue;
                    }
                };
                drop(state);
                drop(done);
            }
        }
        Poll::Pending
    }

    /// Polls the tasks alone until all of them are idle.
    pub fn run_until_idle(&self) {
        let flag = Arc::clone(&lock(&self.state).main);
        let was_due = flag.is_due.swap(false, Ordering::SeqCst);
        while let Some(Some((mut future, flag))) = self.pick() {
            let polled = future.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&flag))));
            let mut state = lock(&self.state);
            state.polls += 1;
            let Some(at) = state.tasks.iter().position(|task| Arc::ptr_eq(&task.flag, &flag)) else {
                continue;
            };
            if polled.is_pending() {
                state.tasks[at].future = Some(future);
            } else {
                let done = state.tasks.remove(at);
                drop(state);
                drop(done);
            }
        }
        if was_due {
            flag.is_due.store(true, Ordering::SeqCst);
        }
    }

    /// Takes one of those that are due; `None` inside is what the test is about.
    #[allow(clippy::option_option, clippy::type_complexity)]
    fn pick(&self) -> Option<Option<(BoxFuture<'static, ()>, Arc<Flag>)>> {
        let mut state = lock(&self.state);
        let is_due = |flag: &Flag| flag.is_due.load(Ordering::SeqCst);
        let mut due: Vec<_> =
            (0..state.tasks.len()).filter(|at| is_due(&state.tasks[*at].flag)).map(Some).collect();
        if is_due(&state.main) {
            due.push(None);
        }
        let picked = *state.random.pick(&due)?;
        let Some(at) = picked else {
            return Some(None);
        };
        let flag = Arc::clone(&state.tasks[at].flag);
        flag.is_due.store(false, Ordering::SeqCst);
        let future = state.tasks[at].future.take()?;
        Some(Some((future, flag)))
    }
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks").field("alive", &self.alive()).field("polls", &self.polls()).finish()
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
