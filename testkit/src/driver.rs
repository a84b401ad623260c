use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use futures::Stream;

use crate::{Bell, CountingWaker, End, Log, Random, Run};

/// How often a stream is polled at most.
const MAX_POLLS: usize = 1_000_000;

/// How likely the bell is rung although the stream is not idle.
const RING_EARLY: f64 = 0.25;

/// An executor for tests: one thread, one task, and a schedule that a seed decides.
///
/// It polls the stream at first, after each item, and then only if the waker of the last poll was woken;
/// each poll has a waker of its own, so that a stream that keeps an old one is found out. When the stream is
/// idle it lets the [`Log`] look for missed wake-ups and rings the [`Bell`] for one source after another;
/// now and then it rings without being idle. If nobody is left to ring for, that is a deadlock.
///
/// After each run it asserts that the log is clean.
#[derive(Debug)]
pub struct Driver {
    bell: Bell,
    log: Log,
    random: Random,
    restless: f64,
    max_polls: usize,
    polls: usize,
}

impl Driver {
    /// Creates a driver that rings `bell` in the order that `random` decides.
    #[must_use]
    pub const fn new(bell: Bell, log: Log, random: Random) -> Self {
        Self { bell, log, random, restless: 0.0, max_polls: MAX_POLLS, polls: 0 }
    }

    /// Polls the stream with probability `p` when it is idle though it was not woken.
    ///
    /// A task does so that waits for other things too. The merge must not pass that on to its sources.
    /// Default: 0.
    #[must_use]
    pub fn restless(self, p: f64) -> Self {
        Self { restless: p, ..self }
    }

    /// Polls at most this often, all runs together. Default: a million times.
    #[must_use]
    pub fn max_polls(self, max_polls: usize) -> Self {
        Self { max_polls, ..self }
    }

    /// Returns how often it has polled so far.
    #[must_use]
    pub const fn polls(&self) -> usize {
        self.polls
    }

    /// Takes all items of a stream.
    ///
    /// # Panics
    ///
    /// If the log has violations then. A panic of the stream is caught: see [`End::Panicked`].
    #[track_caller]
    pub fn run<S: Stream + Unpin>(&mut self, stream: &mut S) -> Run<S::Item> {
        self.run_up_to(stream, usize::MAX)
    }

    /// Takes the next `n` items of a stream. It is not polled once more after them.
    ///
    /// # Panics
    ///
    /// If the log has violations then. A panic of the stream is caught: see [`End::Panicked`].
    #[track_caller]
    pub fn run_up_to<S: Stream + Unpin>(&mut self, stream: &mut S, n: usize) -> Run<S::Item> {
        let mut items = Vec::new();
        let end = loop {
            if items.len() == n {
                break End::Enough;
            }
            match self.wait_for(|cx| Pin::new(&mut *stream).poll_next(cx)) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => break End::Finished,
                Err(end) => break end,
            }
        };
        self.log.assert_clean();
        Run { items, end }
    }

    /// Waits for a future, such as that of a close.
    ///
    /// # Errors
    ///
    /// Why it did not complete: [`End::Deadlock`], [`End::OutOfPolls`] or [`End::Panicked`]. The future is
    /// dropped then.
    ///
    /// # Panics
    ///
    /// If the log has violations then.
    #[track_caller]
    pub fn complete<F: Future>(&mut self, future: F) -> Result<F::Output, End> {
        let mut future = pin!(future);
        let output = self.wait_for(|cx| future.as_mut().poll(cx));
        self.log.assert_clean();
        output
    }

    /// Polls a future until it completes, but at most `n` times, and gives it back if it is not done then.
    ///
    /// Like [`poll_times`](crate::poll_times), but it polls only when the future was woken, as
    /// [`complete`](Self::complete) does.
    ///
    /// # Errors
    ///
    /// The future, if it is not done.
    ///
    /// # Panics
    ///
    /// If the log has violations then, or the future panics.
    #[track_caller]
    pub fn poll_times<F: Future + Unpin>(&mut self, mut future: F, n: usize) -> Result<F::Output, F> {
        let max_polls = std::mem::replace(&mut self.max_polls, self.polls.saturating_add(n));
        let output = self.wait_for(|cx| Pin::new(&mut future).poll(cx));
        self.max_polls = max_polls;
        self.log.assert_clean();
        match output {
            Ok(output) => Ok(output),
            // Reported already, when it was caught.
            Err(End::Panicked(message)) => resume_unwind(Box::new(message)),
            Err(_) => Err(future),
        }
    }

    /// Polls until it is ready.
    #[track_caller]
    fn wait_for<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Result<T, End> {
        while self.polls < self.max_polls {
            if self.random.chance(RING_EARLY) {
                self.bell.ring_one(&mut self.random);
            }
            self.polls += 1;
            let woken = CountingWaker::new();
            let waker = woken.waker();
            let mut cx = Context::from_waker(&waker);
            match catch_unwind(AssertUnwindSafe(|| poll(&mut cx))) {
                Ok(Poll::Ready(value)) => return Ok(value),
                Ok(Poll::Pending) => self.idle(&woken)?,
                Err(payload) => return Err(End::Panicked(message(&*payload))),
            }
        }
        Err(End::OutOfPolls)
    }

    /// Rings until the stream is woken.
    #[track_caller]
    fn idle(&mut self, woken: &CountingWaker) -> Result<(), End> {
        while woken.wakes() == 0 {
            self.log.assert_no_missed_wakes();
            if self.random.chance(self.restless) && !self.bell.waiting().is_empty() {
                break;
            }
            if self.bell.ring_one(&mut self.random).is_none() {
                return Err(End::Deadlock { stuck: self.bell.stuck() });
            }
        }
        Ok(())
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "not a text".to_owned())
}
