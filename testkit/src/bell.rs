use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::{Random, Wake};

/// Where sources that are pending leave their wakers, and where the test rings for them.
///
/// A handle: clones share one bell. Nothing wakes by itself, so a test decides in which order sources become
/// ready, and repeats that order by the seed of its [`Random`].
///
/// A source that is closed or dropped leaves its waker behind, as with a reactor that has not noticed yet:
/// ringing it is a late wake-up, which a merge must bear.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tickets: u64,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    source: usize,
    waker: Waker,
    wake: Wake,
}

impl Bell {
    /// Creates a bell at which nobody waits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the sources that wait to be rung, in the order in which they began to.
    ///
    /// A source is there twice if it began to close while an item was awaited.
    #[must_use]
    pub fn waiting(&self) -> Vec<usize> {
        self.sources(|waiting| waiting.wake != Wake::Never)
    }

    /// Returns the sources that will never wake.
    #[must_use]
    pub fn stuck(&self) -> Vec<usize> {
        self.sources(|waiting| waiting.wake == Wake::Never)
    }

    /// Rings for one of those that wait, and returns its source; `None` if nobody waits.
    pub fn ring_one(&self, random: &mut Random) -> Option<usize> {
        let source = random.pick(&self.waiting()).copied()?;
        self.ring(source);
        Some(source)
    }

    /// Rings for a source, and returns whether it waited.
    // Called for its effect as often as for its result.
    #[allow(clippy::must_use_candidate)]
    pub fn ring(&self, source: usize) -> bool {
        self.ring_those(|waiting| waiting.source == source) > 0
    }

    /// Rings for all that wait, in the order in which they began to, and returns how many they were.
    // Called for its effect as often as for its result.
    #[allow(clippy::must_use_candidate)]
    pub fn ring_all(&self) -> usize {
        self.ring_those(|_| true)
    }

    /// Waits until the bell is rung. The first call gets a ticket, the call after it was rung is ready.
    pub(crate) fn wait(
        &self,
        ticket: &mut Option<u64>,
        wake: Wake,
        source: usize,
        cx: &Context<'_>,
    ) -> Poll<()> {
        let mut state = self.lock();
        let Some(number) = *ticket else {
            state.tickets += 1;
            let number = state.tickets;
            state.waiting.push(Waiting { ticket: number, source, waker: cx.waker().clone(), wake });
            *ticket = Some(number);
            return Poll::Pending;
        };
        match state.waiting.iter_mut().find(|waiting| waiting.ticket == number) {
            // Only the waker of the last poll counts.
            Some(waiting) => {
                let old = std::mem::replace(&mut waiting.waker, cx.waker().clone());
                drop(state);
                drop(old);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    fn sources(&self, which: impl Fn(&Waiting) -> bool) -> Vec<usize> {
        self.lock().waiting.iter().filter(|waiting| which(waiting)).map(|waiting| waiting.source).collect()
    }

    fn ring_those(&self, which: impl Fn(&Waiting) -> bool) -> usize {
        let rung: Vec<_> = self
            .lock()
            .waiting
            .extract_if(.., |waiting| waiting.wake != Wake::Never && which(waiting))
            .collect();
        // Not under the lock: a waker may do anything.
        for Waiting { waker, wake, .. } in &rung {
            waker.wake_by_ref();
            if *wake == Wake::Twice {
                waker.wake_by_ref();
            }
        }
        rung.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
