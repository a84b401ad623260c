use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::contain_panic::contain_panic;

/// How many are being closed in the background, and who waits until none is.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    waiting: Vec<Waker>,
}

impl UnderWay {
    pub(super) fn count(&self) -> usize {
        self.lock().count
    }

    /// Counts one more, until what is returned is dropped.
    pub(super) fn start(self: &Arc<Self>) -> Started {
        self.lock().count += 1;
        Started(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What may panic under the lock is the cloning of a waker, before anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is being closed in the background.
pub(super) struct Started(Arc<UnderWay>);

impl Drop for Started {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.count -= 1;
        let woken = if state.count == 0 { std::mem::take(&mut state.waiting) } else { Vec::new() };
        drop(state);
        for waker in woken {
            contain_panic(|| waker.wake());
        }
    }
}

/// Waits until a closer has nothing left to close. Returned by [`Closer::idle`](super::Closer::idle).
#[must_use = "futures do nothing unless polled"]
pub struct Idle {
    under_way: Arc<UnderWay>,
}

impl Idle {
    pub(super) const fn new(under_way: Arc<UnderWay>) -> Self {
        Self { under_way }
    }
}

impl Future for Idle {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.under_way.lock();
        if state.count == 0 {
            return Poll::Ready(());
        }
        // One for each task that waits. Those of tasks that do not any more are woken in vain, once.
        if !state.waiting.iter().any(|waiting| waiting.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").field("closings", &self.under_way.count()).finish()
    }
}
