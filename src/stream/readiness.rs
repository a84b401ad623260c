use std::collections::VecDeque;
// A waker is made of an `Arc` of std, so these are not exchanged for those of loom.
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Which children of a merge are to be polled.
///
/// P6: all that it needs of an executor is a waker.
///
/// P9: each child has a waker of its own. When one fires, the index of its child joins the list here and the
/// task that polls the merge is woken, so that the merge polls that child and no other. A child is in the
/// list at most once, save for stale entries, which [`ChildWaker::take`] tells apart.
///
/// The task's waker is only needed while the merge is pending, so it is registered then and not before every
/// item: a merge whose children are always ready takes no lock.
#[derive(Debug)]
pub(super) struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Whether the list may not be empty: a hint that saves taking the lock.
    has_woken: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    woken: Vec<usize>,
    task: Option<Waker>,
}

impl Readiness {
    pub(super) fn with_capacity(children: usize) -> Self {
        let state = State { woken: Vec::with_capacity(children), task: None };
        Self { shared: Arc::new(Shared { has_woken: AtomicBool::new(false), state: Mutex::new(state) }) }
    }

    /// Creates the waker of the child with this index, which is on a list already or is not.
    pub(super) fn add(&self, index: usize, is_listed: bool) -> ChildWaker {
        let flag =
            Arc::new(Flag { index, is_woken: AtomicBool::new(is_listed), shared: self.shared.clone() });
        ChildWaker { waker: Waker::from(flag.clone()), flag }
    }

    /// Returns whether a child may have been woken since the list was taken.
    #[inline]
    pub(super) fn has_woken(&self) -> bool {
        self.shared.has_woken.load(Ordering::Acquire)
    }

    /// Gives back memory of a list that was once longer than it may get now.
    pub(super) fn shrink_to(&self, children: usize) {
        self.shared.lock().woken.shrink_to(children);
    }

    /// Has the list taken by the next poll, though nobody has been woken.
    pub(super) fn nudge(&self) {
        self.shared.has_woken.store(true, Ordering::Release);
    }

    /// Has `task` woken by the next child that is woken, and moves the list of woken children to `due`.
    ///
    /// Both under one lock, so that no wake-up falls in between. The waker is not ours: it is cloned and dropped without it.
    pub(super) fn take_woken(&self, task: &Waker, due: &mut VecDeque<usize>) {
        let mut state = self.shared.lock();
        let mut replaced = None;
        if !state.task.as_ref().is_some_and(|registered| registered.will_wake(task)) {
            drop(state);
            let task = task.clone();
            state = self.shared.lock();
            replaced = state.task.replace(task);
        }
        due.extend(state.woken.drain(..));
        self.shared.has_woken.store(false, Ordering::Release);
        drop(state);
        drop(replaced);
    }

    /// Forgets the task, so that neither a merge that has ended nor children which outlive it keep anything of it
    /// alive.
    pub(super) fn detach(&self) {
        let task = self.shared.lock().task.take();
        drop(task);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes, so a poisoned lock has a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one child.
#[derive(Debug)]
pub(super) struct ChildWaker {
    waker: Waker,
    flag: Arc<Flag>,
}

#[derive(Debug)]
struct Flag {
    index: usize,
    /// Whether the waker has fired since the child was polled last.
    is_woken: AtomicBool,
    shared: Arc<Shared>,
}

impl ChildWaker {
    #[inline]
    pub(super) const fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Returns whether the waker has fired, and sets it back. To be done before the child is polled, so that
    /// a wake-up during the poll counts for the next one.
    #[inline]
    pub(super) fn take(&self) -> bool {
        // Reading first keeps the common case free of a locked instruction.
        self.flag.is_woken.load(Ordering::Acquire) && self.flag.is_woken.swap(false, Ordering::AcqRel)
    }

    /// As [`take`](Self::take), before the child has ever been polled: nobody else has the waker yet.
    pub(super) fn take_first(&self) -> bool {
        let is_woken = self.flag.is_woken.load(Ordering::Relaxed);
        self.flag.is_woken.store(false, Ordering::Relaxed);
        is_woken
    }

    /// Puts the child on `due`, unless it is on a list already.
    pub(super) fn make_due(&self, due: &mut VecDeque<usize>) {
        if !self.flag.is_woken.swap(true, Ordering::AcqRel) {
            due.push_back(self.flag.index);
        }
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut state = self.shared.lock();
            state.woken.push(self.index);
            self.shared.has_woken.store(true, Ordering::Release);
            state.task.take()
        };
        // Outside of the lock: the task's waker is not ours.
        if let Some(task) = task {
            task.wake();
        }
    }
}
