//! A merge to try the testkit on: simple and slow, right if not told otherwise.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::Stream;
use losertree::{SortKey, Source};

/// What the merge does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Forgets every third wake-up of a source.
    ForgetsWakes,
    /// Wakes the waker that it was polled with first, for ever.
    KeepsFirstWaker,
    /// Polls pending sources whenever it is polled itself.
    PollsPending,
    /// The same for sources that are being closed.
    PollsClosing,
    /// Closes sources only when all have ended.
    ClosesLate,
    /// Keeps closed sources until it is dropped.
    KeepsClosed,
    /// Never drops anything.
    Leaks,
    /// Drops sources that have ended without closing them.
    DropsUnclosed,
    /// Prefers the later source among equals.
    Unstable,
    /// Wakes itself instead of waiting.
    Spins,
}

/// Merges, and closes each source when it has ended; after an error it closes all, and yields it at last.
pub(crate) struct Naive<S: Source> {
    slots: Vec<Slot<S>>,
    parent: Arc<Mutex<Option<Waker>>>,
    error: Option<S::Error>,
    failed: bool,
    fault: Fault,
}

struct Slot<S: Source> {
    source: Option<S>,
    head: Option<S::Item>,
    phase: Phase,
    child: Arc<Child>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    Closed,
}

struct Child {
    fired: AtomicBool,
    wakes: Mutex<usize>,
    parent: Arc<Mutex<Option<Waker>>>,
    fault: Fault,
}

impl Wake for Child {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        *wakes += 1;
        if self.fault == Fault::ForgetsWakes && wakes.is_multiple_of(3) {
            return;
        }
        self.fired.store(true, Ordering::SeqCst);
        let parent = self.parent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(parent) = parent {
            parent.wake();
        }
    }
}

impl<S: Source> Naive<S> {
    pub(crate) fn new(sources: Vec<S>, fault: Fault) -> Self {
        let parent = Arc::default();
        let slot = |source| {
            let fired = AtomicBool::new(true);
            let child = Child { fired, wakes: Mutex::default(), parent: Arc::clone(&parent), fault };
            Slot { source: Some(source), head: None, phase: Phase::Open, child: Arc::new(child) }
        };
        Self { slots: sources.into_iter().map(slot).collect(), parent, error: None, failed: false, fault }
    }
}

impl<S: Source> Unpin for Naive<S> {}

impl<S: Source + Unpin> Stream for Naive<S>
where
    S::Item: SortKey,
{
    type Item = Result<S::Item, S::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let fault = this.fault;
        let mut parent = this.parent.lock().unwrap_or_else(PoisonError::into_inner);
        if parent.is_none() || fault != Fault::KeepsFirstWaker {
            *parent = Some(cx.waker().clone());
        }
        drop(parent);
        let mut all_ended = true;
        for slot in &mut this.slots {
            if let Some(error) = slot.pull(fault) {
                this.error = this.error.take().or(Some(error));
                this.failed = true;
            }
            all_ended &= slot.phase != Phase::Open;
        }
        let mut waiting = false;
        for slot in &mut this.slots {
            if this.failed && slot.phase == Phase::Open {
                slot.end(fault);
            }
            if fault != Fault::ClosesLate || all_ended {
                slot.close(fault);
            }
            waiting |= slot.phase == Phase::Closing || (slot.phase == Phase::Open && slot.head.is_none());
        }
        if waiting {
            if fault == Fault::Spins {
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        if let Some(error) = this.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let heads = this.slots.iter_mut().filter(|slot| slot.head.is_some());
        let winner = heads.reduce(|a, b| {
            let order = a.head.as_ref().zip(b.head.as_ref()).map(|(a, b)| a.compare(b));
            let later = order.is_some_and(|order| order.is_gt() || fault == Fault::Unstable && order.is_eq());
            if later { b } else { a }
        });
        Poll::Ready(winner.and_then(|winner| {
            winner.child.fired.store(true, Ordering::SeqCst);
            winner.head.take().map(Ok)
        }))
    }
}

impl<S: Source + Unpin> Slot<S> {
    fn pull(&mut self, fault: Fault) -> Option<S::Error> {
        if self.phase != Phase::Open || self.head.is_some() {
            return None;
        }
        let source = self.source.as_mut()?;
        if !self.child.fired.swap(false, Ordering::SeqCst) && fault != Fault::PollsPending {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.child));
        match Pin::new(source).poll_next(&mut Context::from_waker(&waker)) {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(item))) => {
                self.head = Some(item);
                None
            }
            Poll::Ready(Some(Err(error))) => {
                self.end(fault);
                error.into_source_error()
            }
            Poll::Ready(None) => {
                self.end(fault);
                None
            }
        }
    }

    fn end(&mut self, fault: Fault) {
        self.head = None;
        self.phase = Phase::Closing;
        self.child.fired.store(true, Ordering::SeqCst);
        if fault == Fault::DropsUnclosed {
            self.phase = Phase::Closed;
            self.source = None;
        }
    }

    fn close(&mut self, fault: Fault) {
        let Some(source) = self.source.as_mut().filter(|_| self.phase == Phase::Closing) else { return };
        if !self.child.fired.swap(false, Ordering::SeqCst) && fault != Fault::PollsClosing {
            return;
        }
        let waker = Waker::from(Arc::clone(&self.child));
        if Pin::new(source).poll_close(&mut Context::from_waker(&waker)).is_ready() {
            self.phase = Phase::Closed;
            match fault {
                Fault::KeepsClosed => {}
                Fault::Leaks => std::mem::forget(self.source.take()),
                _ => self.source = None,
            }
        }
    }
}
