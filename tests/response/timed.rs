//! Stores that take their time, by the clock of tokio, and what became of them.

use losertree::stream::PollClose;
use losertree::stream::PollNext;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use losertree::response::Store;
use losertree::{Labels, Response, Series, Source};
use losertree_testkit::{Checked, Log};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep};

/// What a store does next, be it opened, read or closed.
#[derive(Debug)]
pub(crate) enum Step {
    Wait(Duration),
    /// Never gets further, and never wakes.
    Stuck,
    Frame(Response),
    Fail(io::Error),
    Panic,
}

/// What a store is going to do. After the last step of each phase it is open, at its end, closed.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) open: Vec<Step>,
    pub(crate) answer: Vec<Step>,
    pub(crate) close: Vec<Step>,
}

pub(crate) type TimedStore = Store<Checked<TimedSource>>;

/// The stores of a test.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    pub(crate) log: Log,
    opened_at: Arc<Mutex<Vec<Instant>>>,
}

impl Cast {
    pub(crate) fn store(&self, plan: Plan) -> TimedStore {
        let Plan { name, open, answer, close } = plan;
        let source = TimedSource { answer: Script::new(answer), close: Script::new(close) };
        let source = Checked::new(source, &self.log);
        let mut open = Script::new(open);
        let opened_at = Arc::clone(&self.opened_at);
        Store::new(name, async move {
            opened_at.lock().expect("nobody panics").push(Instant::now());
            match poll_fn(|cx| open.poll(cx)).await {
                Some(Step::Fail(error)) => Err(error),
                Some(Step::Panic) => panic!("the store panics as scripted, in opening"),
                _ => Ok(source),
            }
        })
    }

    pub(crate) fn stores(&self, plans: impl IntoIterator<Item = Plan>) -> Vec<TimedStore> {
        plans.into_iter().map(|plan| self.store(plan)).collect()
    }

    /// When the opening of each store began, in the order in which it did.
    pub(crate) fn opened_at(&self) -> Vec<Instant> {
        self.opened_at.lock().expect("nobody panics").clone()
    }

    /// Asserts that all stores were released, and called as [`Source`] says.
    #[track_caller]
    pub(crate) fn assert_released(&self) {
        self.log.assert_released();
    }
}

/// A source that does what its plan says.
#[derive(Debug)]
pub(crate) struct TimedSource {
    answer: Script,
    close: Script,
}

#[derive(Debug)]
struct Script {
    steps: VecDeque<Step>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Script {
    fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), pause: None }
    }

    /// The next step that is not to wait.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        loop {
            match self.steps.front() {
                Some(Step::Wait(time)) => {
                    let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(*time)));
                    ready!(pause.as_mut().poll(cx));
                    self.pause = None;
                    self.steps.pop_front();
                }
                Some(Step::Stuck) => return Poll::Pending,
                _ => return Poll::Ready(self.steps.pop_front()),
            }
        }
    }
}

impl Source for TimedSource {
    type Item = Response;
    type Error = io::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(match ready!(self.answer.poll(cx)) {
            Some(Step::Frame(frame)) => Some(Ok(frame)),
            Some(Step::Fail(error)) => Some(Err(error.into())),
            Some(Step::Panic) => panic!("the store panics as scripted"),
            _ => None,
        })
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.answer.pause = None;
        Poll::Ready(match ready!(self.close.poll(cx)) {
            Some(Step::Fail(error)) => Err(error.into()),
            Some(Step::Panic) => panic!("the store panics as scripted, in closing"),
            _ => Ok(()),
        })
    }
}

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn wait(time: u64) -> Step {
    Step::Wait(seconds(time))
}

pub(crate) fn fail() -> Step {
    Step::Fail(io::ErrorKind::ConnectionReset.into())
}

pub(crate) fn frame(index: usize) -> Step {
    Step::Frame(series(index))
}

pub(crate) fn series(index: usize) -> Response {
    let pod = format!("pod-{index:04}");
    Series::new(Labels::from_pairs([("__name__", "up"), ("pod", &pod)]).expect("two names"), vec![]).into()
}

/// How many tasks the runtime has.
pub(crate) fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Asserts that nobody waits for the clock: a clock that is paused goes on at once if somebody does.
pub(crate) async fn assert_no_timer() {
    let before = Instant::now();
    let (done, is_done) = oneshot::channel();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        done.send(()).expect("it waits");
    });
    is_done.await.expect("it is sent");
    thread.join().expect("it has sent");
    assert_eq!(before.elapsed(), Duration::ZERO, "a timer was left");
}
