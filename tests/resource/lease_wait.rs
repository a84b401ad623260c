//! Waiting for a lease: in order, overtaken by nobody, and no wake-up is lost.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use losertree::LeakLedger;
use losertree::resource::{ByteLease, BytePool, LeaseWait, PoolError};
use losertree_testkit::CountingWaker;

/// Sizes of 10, 20, 40, 80 and 100 bytes, 100 in all.
fn pool() -> BytePool {
    BytePool::builder().smallest_bytes(10).largest_bytes(100).budget_bytes(100).build().unwrap()
}

fn poll(wait: &mut LeaseWait, waker: &Waker) -> Poll<Result<ByteLease, PoolError>> {
    Pin::new(wait).poll(&mut Context::from_waker(waker))
}

/// A wait that is in the queue, and the count of its wake-ups.
fn queued(pool: &BytePool, len: usize) -> (LeaseWait, CountingWaker) {
    let mut wait = pool.lease(len);
    let task = CountingWaker::new();
    assert!(poll(&mut wait, &task.waker()).is_pending());
    (wait, task)
}

fn taken(wait: &mut LeaseWait) -> Option<ByteLease> {
    match poll(wait, Waker::noop()) {
        Poll::Ready(lease) => Some(lease.unwrap()),
        Poll::Pending => None,
    }
}

#[test]
fn a_lease_that_fits_is_there_at_once() {
    let pool = pool();
    let lease = taken(&mut pool.lease(33)).unwrap();
    assert_eq!((lease.capacity(), pool.snapshot().waits.count), (40, 0));
}

#[test]
fn a_lease_that_is_too_large_fails_at_once() {
    let pool = pool();
    let before = pool.snapshot();
    let _held = pool.try_lease(100).unwrap();
    let mut wait = pool.lease(101);
    let Poll::Ready(Err(PoolError::TooLarge { requested_bytes: 101, largest_bytes: 100, .. })) =
        poll(&mut wait, Waker::noop())
    else {
        panic!("it is too large");
    };
    drop(wait);
    assert_eq!((pool.snapshot().waiting, pool.snapshot().waits), (0, before.waits));
}

#[test]
fn grants_come_in_the_order_of_arrival() {
    let pool = pool();
    let mut held =
        vec![pool.try_lease(40).unwrap(), pool.try_lease(40).unwrap(), pool.try_lease(20).unwrap()];
    // The place is taken at the first poll, not at the call.
    let mut late = pool.lease(1);
    let (mut first, first_task) = queued(&pool, 20);
    let (mut second, second_task) = queued(&pool, 10);
    let (mut third, third_task) = queued(&pool, 10);
    let late_task = CountingWaker::new();
    assert!(poll(&mut late, &late_task.waker()).is_pending());
    let wakes = || [&first_task, &second_task, &third_task, &late_task].map(CountingWaker::wakes);
    assert_eq!((wakes(), pool.snapshot().waiting), ([0; 4], 4));
    drop(held.pop());
    assert_eq!((wakes(), pool.snapshot().waiting), ([1, 0, 0, 0], 3));
    assert!(poll(&mut second, &second_task.waker()).is_pending(), "not granted by asking");
    let first = taken(&mut first).unwrap();
    drop(first);
    assert_eq!(wakes(), [1, 1, 1, 0], "as many as fit are let in");
    drop(taken(&mut third).unwrap());
    assert_eq!(wakes(), [1, 1, 1, 1]);
    assert!(taken(&mut second).is_some() && taken(&mut late).is_some());
    assert_eq!(wakes(), [1; 4], "woken once each");
}

#[test]
fn a_large_waiter_is_not_overtaken() {
    let pool = pool();
    let mut held: Vec<_> = (0..10).map(|_| pool.try_lease(10).unwrap()).collect();
    let (mut large, large_task) = queued(&pool, 100);
    let (mut small, small_task) = queued(&pool, 10);
    for left in (1..10).rev() {
        held.pop();
        assert_eq!(held.len(), left);
        // 10 bytes would be there, but somebody waits.
        let error = pool.try_lease(1).unwrap_err();
        let PoolError::Exhausted { charge_bytes: 10, available_bytes, waiting: 2, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(available_bytes, 100 - 10 * left);
        assert!(matches!(held[0].try_resize(20), Err(PoolError::Exhausted { waiting: 2, .. })));
        assert!(taken(&mut small).is_none());
    }
    assert_eq!((large_task.wakes(), small_task.wakes()), (0, 0));
    held.pop();
    assert_eq!((large_task.wakes(), small_task.wakes()), (1, 0));
    assert!(pool.try_lease(1).is_err(), "granted is as good as leased");
    drop(taken(&mut large).unwrap());
    assert!(taken(&mut small).is_some());
}

#[test]
fn shrinking_lets_in_who_waits() {
    let pool = pool();
    let mut held = pool.try_lease(100).unwrap();
    let (mut wait, task) = queued(&pool, 20);
    held.try_resize(90).unwrap();
    assert_eq!(task.wakes(), 0);
    held.try_resize(80).unwrap();
    assert_eq!(task.wakes(), 1);
    assert!(taken(&mut wait).is_some());
}

// F46, F52
#[test]
fn a_grant_that_is_not_taken_is_passed_on() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let (granted, granted_task) = queued(&pool, 100);
    let (mut next, next_task) = queued(&pool, 80);
    let (mut after, after_task) = queued(&pool, 20);
    drop(held);
    assert_eq!((granted_task.wakes(), next_task.wakes()), (1, 0));
    let figures = pool.snapshot();
    assert_eq!((figures.used_bytes, figures.outstanding, figures.waiting), (100, 1, 2));
    assert_eq!(figures.idle_bytes, 0, "its buffer is kept for it");
    drop(granted);
    assert_eq!((granted_task.wakes(), next_task.wakes(), after_task.wakes()), (1, 1, 1));
    assert!(taken(&mut next).is_some() && taken(&mut after).is_some());
    assert_eq!(pool.snapshot().idle_bytes, 100, "the buffer of the one that was not taken");
    assert_eq!(pool.snapshot().gets, pool.snapshot().puts);
}

#[test]
fn leaving_the_queue_lets_in_who_was_behind() {
    let pool = pool();
    let _held = pool.try_lease(80).unwrap();
    let (large, large_task) = queued(&pool, 40);
    let (middle, middle_task) = queued(&pool, 10);
    let (mut small, small_task) = queued(&pool, 20);
    drop(middle);
    assert_eq!(small_task.wakes(), 0);
    drop(large);
    assert_eq!((large_task.wakes(), middle_task.wakes(), small_task.wakes()), (0, 0, 1));
    assert!(taken(&mut small).is_some());
    drop(pool.lease(100));
    assert_eq!(pool.snapshot().waits.count, 3, "who was never polled did not wait");
}

#[test]
fn the_last_waker_counts() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let (mut wait, old_task) = queued(&pool, 10);
    let new_task = CountingWaker::new();
    assert!(poll(&mut wait, &new_task.waker()).is_pending());
    assert_eq!((old_task.kept(), new_task.kept()), (0, 1));
    assert!(poll(&mut wait, &new_task.waker()).is_pending());
    assert_eq!(new_task.kept(), 1);
    drop(held);
    assert_eq!((old_task.wakes(), new_task.wakes()), (0, 1));
    assert_eq!(new_task.kept(), 0, "once woken it is not held on to");
    assert!(taken(&mut wait).is_some());
}

/// A waker that does something.
struct Acting<F: Fn() + Send + Sync>(F);

impl<F: Fn() + Send + Sync> Wake for Acting<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

// F47
#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let (_before, before_task) = queued(&pool, 10);
    let mut panicking = pool.lease(10);
    let waker = Waker::from(Arc::new(Acting(|| resume_unwind(Box::new("as asked for")))));
    assert!(poll(&mut panicking, &waker).is_pending());
    let (_behind, behind_task) = queued(&pool, 10);
    drop(held);
    assert_eq!((before_task.wakes(), behind_task.wakes()), (1, 1));
    assert!(taken(&mut panicking).is_some());
}

/// What is thrown panics once more when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        resume_unwind(Box::new("as asked for"));
    }
}

// F47
#[test]
fn what_a_waker_throws_may_panic_when_it_is_dropped() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let mut panicking = pool.lease(10);
    let waker = Waker::from(Arc::new(Acting(|| resume_unwind(Box::new(Bomb)))));
    assert!(poll(&mut panicking, &waker).is_pending());
    let (_behind, behind_task) = queued(&pool, 10);
    drop(held);
    assert_eq!(behind_task.wakes(), 1);
    assert!(taken(&mut panicking).is_some());
}

/// A waker whose drop panics, once it is armed.
struct Brittle(Arc<AtomicBool>);

impl Wake for Brittle {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Brittle {
    fn drop(&mut self) {
        if self.0.load(Ordering::Relaxed) {
            resume_unwind(Box::new("as asked for"));
        }
    }
}

/// Whatever is dropped with a waker that panics, nothing is left undone and nothing that was granted is lost.
#[test]
fn wakers_may_panic_when_they_are_dropped() {
    let pool = pool();
    let is_armed = Arc::new(AtomicBool::new(false));
    let brittle = || Waker::from(Arc::new(Brittle(Arc::clone(&is_armed))));
    let held = pool.try_lease(100).unwrap();
    let (mut given_up, mut moved, mut reservation) = (pool.lease(10), pool.lease(10), pool.reservation());
    assert!(poll(&mut given_up, &brittle()).is_pending() && poll(&mut moved, &brittle()).is_pending());
    assert!(reservation.poll_grow(&mut Context::from_waker(&brittle()), 10).is_pending());
    is_armed.store(true, Ordering::Relaxed);
    let task = CountingWaker::new();
    assert!(poll(&mut moved, &task.waker()).is_pending());
    drop((given_up, reservation));
    assert_eq!(pool.snapshot().waiting, 1);
    drop(held);
    assert_eq!(task.wakes(), 1);
    assert!(taken(&mut moved).is_some());

    // Of a reservation that holds something, that comes back too.
    is_armed.store(false, Ordering::Relaxed);
    let held = pool.try_lease(80).unwrap();
    let mut reservation = pool.reservation();
    reservation.try_grow(20).unwrap();
    assert!(reservation.poll_grow(&mut Context::from_waker(&brittle()), 10).is_pending());
    is_armed.store(true, Ordering::Relaxed);
    drop(reservation);
    drop(held);
    assert_eq!((pool.snapshot().used_bytes, pool.snapshot().waiting), (0, 0));
}

/// A waker that uses the pool when it is dropped, which would block for ever under the lock.
#[test]
fn wakers_are_dropped_without_the_lock() {
    struct Using(BytePool, CountingWaker);
    impl Wake for Using {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Using {
        fn drop(&mut self) {
            assert!(self.0.snapshot().budget_bytes > 0);
            self.1.waker().wake();
        }
    }
    let pool = pool();
    let dropped = CountingWaker::new();
    let using = || Waker::from(Arc::new(Using(pool.clone(), dropped.clone())));
    let held = pool.try_lease(100).unwrap();
    let (mut wait, mut given_up, mut reservation) = (pool.lease(10), pool.lease(10), pool.reservation());
    for polls in [0, 3] {
        assert!(poll(&mut wait, &using()).is_pending() && poll(&mut given_up, &using()).is_pending());
        assert!(reservation.poll_grow(&mut Context::from_waker(&using()), 10).is_pending());
        assert_eq!(dropped.wakes(), polls);
    }
    drop(given_up);
    reservation.cancel_grow();
    assert_eq!(dropped.wakes(), 5);
    drop(held);
    assert_eq!(dropped.wakes(), 6);
    drop(taken(&mut wait).unwrap());
    assert_eq!(pool.snapshot().used_bytes, 0);
}

#[test]
fn who_is_woken_may_use_the_pool_and_finds_the_ledger_in_order() {
    let ledger = LeakLedger::sites();
    let pool = BytePool::builder().smallest_bytes(10).largest_bytes(100).budget_bytes(100);
    let pool = pool.ledger(&ledger).build().unwrap();
    let held = pool.try_lease(100).unwrap();
    let seen = Arc::new(Mutex::new(None));
    let waker = {
        let (seen, pool, ledger) = (Arc::clone(&seen), pool.clone(), ledger.clone());
        Waker::from(Arc::new(Acting(move || {
            let lease = pool.try_lease(80);
            *seen.lock().unwrap() = Some((lease.is_ok(), pool.snapshot().used_bytes, ledger.snapshot().open));
        })))
    };
    let mut wait = pool.lease(20);
    assert!(poll(&mut wait, &waker).is_pending());
    drop(held);
    // What it waits for is in the ledger, and what it has leased.
    assert_eq!(*seen.lock().unwrap(), Some((true, 100, 2)));
    assert_eq!((pool.snapshot().used_bytes, ledger.snapshot().open), (20, 1));
    drop(taken(&mut wait).unwrap());
    ledger.assert_balanced();
}

#[test]
fn a_panic_while_waiting_leaves_the_queue() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let (mut behind, behind_task) = catch_unwind(AssertUnwindSafe(|| {
        let (_wait, _task) = queued(&pool, 100);
        let behind = queued(&pool, 10);
        drop(held);
        // Granted, and not taken.
        assert_eq!(behind.1.wakes(), 0);
        resume_unwind(Box::new(behind));
    }))
    .map_err(|panic| *panic.downcast::<(LeaseWait, CountingWaker)>().unwrap())
    .unwrap_err();
    assert_eq!(behind_task.wakes(), 1);
    assert!(taken(&mut behind).is_some());
    assert_eq!((pool.snapshot().waiting, pool.snapshot().used_bytes), (0, 0));
}

#[test]
fn printing() {
    let pool = pool();
    let _held = pool.try_lease(100).unwrap();
    let mut wait = pool.lease(7);
    assert_eq!(format!("{wait:?}"), "LeaseWait { len: 7, is_queued: false, .. }");
    assert!(poll(&mut wait, Waker::noop()).is_pending());
    assert_eq!(format!("{wait:?}"), "LeaseWait { len: 7, is_queued: true, .. }");
    assert!(
        format!("{pool:?}")
            .starts_with("BytePool { snapshot: PoolSnapshot { budget_bytes: 100, used_bytes: 100")
    );
}
