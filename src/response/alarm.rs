//! A clock that wakes: that of tokio, or none without the feature.

use std::task::{Context, Poll};

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
