use losertree::stream::{PollClose, PollNext};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use losertree::Source;
use losertree::stream::Counters;

use crate::record::Call;
use crate::{Log, Outcome};

/// Any source, with each call checked against the table at [`Source`].
///
/// What the merge does wrong is noted in the [`Log`]. A call that is never allowed does not reach the source:
/// it is answered as if the source were at its end, or closed. A spurious poll does reach it.
///
/// Which wake-ups have been used up is exact where wakers are woken on the thread that polls next. A wake-up from
/// another thread may come to the merge late: for each of those the checker allows one poll more.
///
/// Every poll allocates its waker: do not count allocations through it.
#[derive(Debug)]
pub struct Checked<S> {
    inner: S,
    log: Log,
    index: usize,
}

impl<S: Source + Unpin> Checked<S> {
    /// Puts a source under the watch of `log`, which gives it the next index.
    pub fn new(source: S, log: &Log) -> Self {
        let index = log.enter(source.name().map(str::to_owned));
        Self { inner: source, log: log.clone(), index }
    }

    /// Calls the source under watch; `done` if it must not be called.
    fn call<T>(
        &mut self,
        call: Call,
        cx: &Context<'_>,
        poll: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<T>,
        outcome: impl FnOnce(&T) -> Outcome,
        done: T,
    ) -> Poll<T> {
        if !self.log.begin(self.index, call) {
            self.log.end(self.index, call, Outcome::Refused);
            return Poll::Ready(done);
        }
        let waker = Waker::from(Arc::new(Watch {
            waker: cx.waker().clone(),
            log: self.log.clone(),
            index: self.index,
        }));
        let mut ended = Ended { log: &self.log, index: self.index, call, outcome: Outcome::Panic };
        let polled = poll(Pin::new(&mut self.inner), &mut Context::from_waker(&waker));
        ended.outcome = match &polled {
            Poll::Ready(value) => outcome(value),
            Poll::Pending => Outcome::Pending,
        };
        polled
    }
}

impl<S: Source + Unpin> Source for Checked<S> {
    type Item = S::Item;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let outcome = |next: &Option<Result<_, _>>| match next {
            Some(Ok(_)) => Outcome::Item,
            Some(Err(_)) => Outcome::Error,
            None => Outcome::Done,
        };
        self.call(Call::Next, cx, S::poll_next, outcome, None)
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        let progress = |source: Pin<&mut S>, cx: &mut Context<'_>| {
            source.poll_progress(cx);
            Poll::Ready(())
        };
        let _ = self.call(Call::Progress, cx, progress, |()| Outcome::Done, ());
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        let outcome = |closed: &Result<_, _>| if closed.is_ok() { Outcome::Done } else { Outcome::Error };
        self.call(Call::Close, cx, S::poll_close, outcome, Ok(()))
    }

    fn name(&self) -> Option<&str> {
        self.inner.name()
    }

    fn counters(&self) -> Counters {
        self.inner.counters()
    }

    fn is_partial(&self) -> bool {
        self.inner.is_partial()
    }
}

impl<S> Drop for Checked<S> {
    fn drop(&mut self) {
        // Before the source itself is dropped, which may panic.
        self.log.dropped(self.index);
    }
}

/// Notes how a call ended, also if it panicked.
struct Ended<'a> {
    log: &'a Log,
    index: usize,
    call: Call,
    outcome: Outcome,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.log.end(self.index, self.call, self.outcome);
    }
}

/// The waker that a source is polled with: notes that it fired, and wakes that of the merge.
struct Watch {
    waker: Waker,
    log: Log,
    index: usize,
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.log.woken(self.index);
        self.waker.wake_by_ref();
    }
}
