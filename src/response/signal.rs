use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;

/// A waker of a store's own, so that the store is polled again only when it has woken, and not when its task was
/// woken for something else: room in the buffer, memory, or a timeout.
#[derive(Debug)]
pub(super) struct Signal {
    flag: Arc<Flag>,
    waker: Waker,
    is_awaited: bool,
}

#[derive(Debug, Default)]
struct Flag {
    has_fired: AtomicBool,
    task: AtomicWaker,
}

impl Signal {
    pub(super) fn new() -> Self {
        let flag = Arc::<Flag>::default();
        Self { waker: Waker::from(Arc::clone(&flag)), flag, is_awaited: false }
    }

    /// Polls, unless that was pending and has not woken since.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.is_awaited {
            self.flag.task.register(cx.waker());
        }
        // Set back before the poll: what fires during it counts for the next one.
        if !self.flag.take() && self.is_awaited {
            return Poll::Pending;
        }
        let polled = poll(&mut Context::from_waker(&self.waker));
        self.is_awaited = polled.is_pending();
        if self.is_awaited {
            self.flag.task.register(cx.waker());
            if self.flag.has_fired.load(Ordering::Acquire) {
                cx.waker().wake_by_ref();
            }
        }
        polled
    }

    /// To be called before something else is polled.
    pub(super) const fn reset(&mut self) {
        self.is_awaited = false;
    }
}

impl Flag {
    /// Returns whether the waker has fired, and sets it back.
    fn take(&self) -> bool {
        // Reading first keeps the common case free of a locked instruction.
        self.has_fired.load(Ordering::Acquire) && self.has_fired.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.has_fired.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        // A store that left its waker somewhere keeps nothing of the task.
        drop(self.flag.task.take());
    }
}
