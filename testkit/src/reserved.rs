use std::task::{Context, Poll};

use losertree::resource::{BytePool, PoolError, Reservation};

use crate::CountingWaker;
use crate::pool_model::{PoolModel, Refusal};

/// A reservation of a [`PoolTrial`](crate::PoolTrial), and the task that waits for it to grow.
#[derive(Debug)]
pub(crate) struct Reserved {
    name: u64,
    reservation: Reservation,
    task: CountingWaker,
    /// What it was last to wait for.
    growth: usize,
}

impl Reserved {
    pub(crate) fn new(name: u64, pool: &BytePool, model: &mut PoolModel) -> Self {
        model.reserve(name);
        Self { name, reservation: pool.reservation(), task: CountingWaker::new(), growth: 1 }
    }

    /// What the pool and the model say.
    pub(crate) fn grow(
        &mut self,
        bytes: usize,
        model: &mut PoolModel,
    ) -> (Result<(), PoolError>, Result<(), Refusal>) {
        (self.reservation.try_grow(bytes), model.grow(self.name, bytes))
    }

    /// Waits for `bytes`, or goes on. Returns what the pool and the model say if that is an error.
    pub(crate) fn poll(
        &mut self,
        bytes: Option<usize>,
        is_new_task: bool,
        model: &mut PoolModel,
    ) -> Option<(PoolError, Refusal)> {
        let bytes = bytes.unwrap_or(self.growth);
        let is_new_growth = bytes != std::mem::replace(&mut self.growth, bytes);
        let is_new_task = is_new_task || is_new_growth || model.is_absent(self.name);
        let old_task = is_new_task.then(|| std::mem::take(&mut self.task));
        let waker = self.task.waker();
        let poll = self.reservation.poll_grow(&mut Context::from_waker(&waker), bytes);
        let expected = model.poll_growth(self.name, bytes);
        if let Some(old_task) = old_task {
            assert_eq!(old_task.kept(), 0, "the waker of the poll before is kept");
        }
        drop(waker);
        if poll.is_ready() {
            self.end_wait();
        }
        match (poll, expected) {
            (Poll::Pending, Ok(false)) | (Poll::Ready(Ok(())), Ok(true)) => None,
            (Poll::Ready(Err(error)), Err(refusal)) => Some((error, refusal)),
            (poll, expected) => panic!("{poll:?} instead of {expected:?}"),
        }
    }

    pub(crate) fn cancel(&mut self, model: &mut PoolModel) {
        self.reservation.cancel_grow();
        model.cancel(self.name);
        self.end_wait();
    }

    pub(crate) fn shrink(&mut self, bytes: usize, model: &mut PoolModel) {
        self.reservation.shrink(bytes);
        model.shrink(self.name, bytes);
    }

    pub(crate) fn drop(self, model: &mut PoolModel) {
        drop(self.reservation);
        model.drop_reservation(self.name);
        assert_eq!(self.task.kept(), 0, "the waker is kept after the wait");
    }

    pub(crate) fn check(&self, model: &PoolModel) {
        let Self { name, task, .. } = self;
        assert_eq!(self.reservation.bytes(), model.reservations()[name].bytes(), "bytes of {name}");
        assert_eq!(task.wakes(), usize::from(model.was_granted(*name)), "wake-ups of {name}");
        assert_eq!(task.kept(), usize::from(model.is_queued(*name)), "wakers of {name}");
    }

    fn end_wait(&mut self) {
        assert_eq!(self.task.kept(), 0, "the waker is kept after the wait");
        self.task = CountingWaker::new();
    }
}
