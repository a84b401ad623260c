use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

/// A waker that counts how often it was woken.
///
/// A handle: clones share one count.
#[derive(Debug, Clone, Default)]
pub struct CountingWaker {
    count: Arc<Count>,
}

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl CountingWaker {
    /// Creates a waker that was not woken yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the waker, to poll with.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.count))
    }

    /// Returns how often it was woken.
    #[must_use]
    pub fn wakes(&self) -> usize {
        self.count.0.load(Ordering::SeqCst)
    }

    /// Returns how often it was woken since this was last asked.
    // Called for its effect as often as for its result.
    #[allow(clippy::must_use_candidate)]
    pub fn take(&self) -> usize {
        self.count.0.swap(0, Ordering::SeqCst)
    }

    /// Returns how many other handles and wakers of this count there are: after all is over, those that
    /// somebody forgot to drop.
    #[must_use]
    pub fn kept(&self) -> usize {
        Arc::strong_count(&self.count) - 1
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
