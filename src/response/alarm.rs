//! A clock that wakes: that of tokio, or none without the feature.

use std::task::{Context, Poll};

#[cfg(feature = "tokio")]
pub(super) use with_tokio::{Alarm, Instant};
#[cfg(not(feature = "tokio"))]
pub(super) use without::{Alarm, Instant};

#[cfg(feature = "tokio")]
mod with_tokio {
    use std::pin::Pin;

    use tokio::runtime::Handle;
    pub(in super::super) use tokio::time::Instant;
    use tokio::time::Sleep;

    use super::{Context, Poll};

    /// Wakes a task at a time.
    #[derive(Debug)]
    pub(in super::super) struct Alarm {
        sleep: Pin<Box<Sleep>>,
    }

    impl Alarm {
        /// `None` where there is no runtime.
        pub(in super::super) fn new(at: Instant) -> Option<Self> {
            Handle::try_current().ok()?;
            Some(Self { sleep: Box::pin(tokio::time::sleep_until(at)) })
        }

        /// Is ready once the time `at` has been reached.
        ///
        /// An alarm that is set for an earlier time is left as it is until it goes off: most often the store
        /// answers before that, and setting it for each frame would cost more than waking once in vain.
        pub(in super::super) fn poll_reached(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
            if self.sleep.deadline() > at {
                self.sleep.as_mut().reset(at);
            }
            while self.sleep.as_mut().poll(cx).is_ready() {
                if self.sleep.deadline() >= at {
                    return Poll::Ready(());
                }
                self.sleep.as_mut().reset(at);
            }
            Poll::Pending
        }
    }
}

#[cfg(not(feature = "tokio"))]
mod without {
    pub(in super::super) use std::time::Instant;

    use super::{Context, Poll};

    /// There is none: without the feature `tokio` no timeout can be set.
    #[derive(Debug)]
    pub(in super::super) enum Alarm {}

    impl Alarm {
        pub(in super::super) const fn new(_at: Instant) -> Option<Self> {
            None
        }

        pub(in super::super) const fn poll_reached(
            &mut self,
            _at: Instant,
            _cx: &mut Context<'_>,
        ) -> Poll<()> {
            match *self {}
        }
    }
}
