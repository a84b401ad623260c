use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::{Cause, TimedOut, Timeout};

/// How long a store may take.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timeouts {
    pub(super) open: Option<Duration>,
    pub(super) frame: Option<Duration>,
    pub(super) total: Option<Duration>,
    pub(super) close: Option<Duration>,
}

impl Timeouts {
    /// Whether there is any.
    pub(super) const fn is_any(&self) -> bool {
        self.open.is_some() || self.frame.is_some() || self.total.is_some() || self.close.is_some()
    }

    const fn of(&self, timeout: Timeout) -> Option<Duration> {
        match timeout {
            Timeout::Open => self.open,
            Timeout::Frame => self.frame,
            Timeout::Total => self.total,
            Timeout::Close => self.close,
        }
    }
}

/// The clocks of one store.
///
/// A clock runs while the store is waited for, and stands still while it is not asked for anything.
#[derive(Debug)]
pub(super) struct Timers {
    timeouts: Timeouts,
    /// When the store was asked first.
    started: Option<Instant>,
    /// What is waited for, and since when.
    waiting: Option<(Timeout, Instant)>,
    /// Set only while the store is waited for with a timeout.
    alarm: Alarm,
}

impl Timers {
    pub(super) const fn new(timeouts: Timeouts) -> Self {
        Self { timeouts, started: None, waiting: None, alarm: Alarm::new() }
    }

    /// To be called before the store is asked for something. Fails if it has had its time.
    pub(super) fn start(&mut self) -> Result<(), TimedOut> {
        let Some(total) = self.timeouts.total else { return Ok(()) };
        self.started = self.started.or_else(now);
        let is_late = self.started.is_some_and(|started| started.elapsed() >= total);
        if is_late { Err(TimedOut::new(Timeout::Total, total)) } else { Ok(()) }
    }

    /// To be called when the store has answered.
    pub(super) const fn answered(&mut self) {
        self.waiting = None;
    }

    /// To be called when nothing more will be waited for.
    pub(super) fn stop(&mut self) {
        self.waiting = None;
        self.alarm.stop();
    }

    /// To be called when the store is asked to close, for an alarm may be set for a frame.
    pub(super) fn stop_reading(&mut self) {
        self.waiting.take_if(|(waiting_for, _)| *waiting_for != Timeout::Close);
        self.alarm.stop();
    }

    /// To be called when somebody else polls than before: the alarm may be on a clock that stands still.
    pub(super) fn change_clock(&mut self) {
        self.alarm.stop();
    }

    /// How long what is waited for may take, and the whole answer.
    fn limits(&self, waiting_for: Timeout) -> (Option<Duration>, Option<Duration>) {
        // Closing comes after the end, which is when the total stops.
        let total = self.timeouts.total.filter(|_| waiting_for != Timeout::Close);
        (self.timeouts.of(waiting_for), total)
    }

    /// When the store that is waited for has had its time, and which one; `None` if it may take any time, or there is no clock. The
    /// clock runs from the first call on, until it is answered.
    pub(super) fn deadline(&mut self, waiting_for: Timeout) -> Option<(Instant, TimedOut)> {
        let (limit, total) = self.limits(waiting_for);
        if limit.is_none() && total.is_none() {
            return None;
        }
        let since = match self.waiting {
            Some((known, since)) if known == waiting_for => since,
            _ => self.waiting.insert((waiting_for, now()?)).1,
        };
        let due = |timeout, since: Instant, limit: Option<Duration>| {
            // A time that no clock can show never comes.
            limit.and_then(|after| Some((since.checked_add(after)?, TimedOut::new(timeout, after))))
        };
        let this = due(waiting_for, since, limit);
        let total =
            total.and_then(|total| due(Timeout::Total, *self.started.get_or_insert(since), Some(total)));
        this.into_iter().chain(total).min_by_key(|(at, _)| *at)
    }

    /// To be called when the store has not answered. Is ready when that takes too long; until then, has the task
    /// woken when it does.
    pub(super) fn poll_expired<E>(&mut self, waiting_for: Timeout, cx: &mut Context<'_>) -> Poll<Cause<E>> {
        let Some((at, timed_out)) = self.deadline(waiting_for) else {
            // What was waited for before is not any more.
            self.stop();
            let is_limited = self.limits(waiting_for) != (None, None);
            return if is_limited && now().is_none() { Poll::Ready(Cause::NoTimer) } else { Poll::Pending };
        };
        match self.alarm.poll_reached(at, cx) {
            Some(reached) => reached.map(|()| timed_out.into()),
            None => Poll::Ready(Cause::NoTimer),
        }
    }
}

#[cfg(feature = "tokio")]
pub(super) use with_tokio::{Alarm, Instant, now};
#[cfg(not(feature = "tokio"))]
pub(super) use without::{Alarm, Instant, now};

#[cfg(feature = "tokio")]
mod with_tokio {
    use std::pin::Pin;

    use tokio::runtime::Handle;
    pub(in super::super) use tokio::time::Instant;
    use tokio::time::Sleep;

    use super::{Context, Poll};
    use crate::clock::HAS_CLOCK;
    use crate::contain_panic::contain_panic;

    /// Reads the clock. `None` where there is none.
    pub(in super::super) fn now() -> Option<Instant> {
        HAS_CLOCK.then(Instant::now)
    }

    /// Wakes a task at a time.
    #[derive(Debug)]
    pub(in super::super) struct Alarm {
        /// There is one only while it is set.
        sleep: Option<Pin<Box<Sleep>>>,
    }

    impl Alarm {
        pub(in super::super) const fn new() -> Self {
            Self { sleep: None }
        }

        /// Is ready once the time `at` has been reached. `None` where there is no clock.
        ///
        /// An alarm that is set for an earlier time is left as it is until it goes off: most often the store
        /// answers before that, and setting it for each frame would cost more than waking once in vain.
        pub(in super::super) fn poll_reached(
            &mut self,
            at: Instant,
            cx: &mut Context<'_>,
        ) -> Option<Poll<()>> {
            if let Some(polled) = self.poll(at, cx) {
                return Some(polled);
            }
            self.sleep = None;
            Handle::try_current().ok()?;
            // Whether a runtime has a clock, and whether that still runs, tokio tells by panicking only.
            self.sleep = contain_panic(|| Box::pin(tokio::time::sleep_until(at)));
            self.poll(at, cx)
        }

        pub(in super::super) fn stop(&mut self) {
            self.sleep = None;
        }

        /// `None` if it is not set, or its runtime is gone.
        fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Option<Poll<()>> {
            let sleep = self.sleep.as_mut()?;
            contain_panic(|| {
                if sleep.deadline() > at {
                    sleep.as_mut().reset(at);
                }
                while sleep.as_mut().poll(cx).is_ready() {
                    if sleep.deadline() >= at {
                        return Poll::Ready(());
                    }
                    sleep.as_mut().reset(at);
                }
                Poll::Pending
            })
        }
    }
}

#[cfg(not(feature = "tokio"))]
mod without {
    pub(in super::super) use std::time::Instant;

    use super::{Context, Poll};

    pub(in super::super) const fn now() -> Option<Instant> {
        None
    }

    /// There is none: without the feature `tokio` no timeout can be set.
    #[derive(Debug)]
    pub(in super::super) struct Alarm;

    impl Alarm {
        pub(in super::super) const fn new() -> Self {
            Self
        }

        #[allow(clippy::unused_self)]
        pub(in super::super) const fn poll_reached(
            &mut self,
            _at: Instant,
            _cx: &mut Context<'_>,
        ) -> Option<Poll<()>> {
            None
        }

        #[allow(clippy::unused_self)]
        pub(in super::super) const fn stop(&mut self) {}
    }
}
