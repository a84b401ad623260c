use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;

use super::idle::Started;
use super::{BackgroundError, Closer};
use crate::clock::Moment;
use crate::contain_panic::contain_panic;
use crate::error::{CloseError, TimedOut, Timeout};
use crate::stream::background::in_background;
use crate::stream::{Closable, drop_closed};

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
    /// Dropped last: whoever waits for it may look at the books.
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
