//! What was granted to a future that is not polled: it is named, and it does not starve others for ever.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use losertree::LeakLedger;
use losertree::resource::{ByteLease, BytePool, BytePoolBuilder, LeaseWait, PoolError, Reservation};
use losertree_testkit::{CountingWaker, Random, assert_no_square};

/// Sizes of 10, 20, 40, 80 and 100 bytes, 100 in all.
fn builder() -> BytePoolBuilder {
    BytePool::builder().smallest_bytes(10).largest_bytes(100).budget_bytes(100)
}

/// What is not collected is passed on at the next use of the pool.
fn pool() -> BytePool {
    builder().collect_within(Duration::ZERO).build().unwrap()
}

fn poll(wait: &mut LeaseWait, waker: &Waker) -> Poll<Result<ByteLease, PoolError>> {
    Pin::new(wait).poll(&mut Context::from_waker(waker))
}

/// A wait that is in the queue, and the count of its wake-ups.
#[track_caller]
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

/// `(uncollected, uncollected_bytes, absent, waiting)`, without a use of the pool.
fn figures(pool: &BytePool) -> (usize, usize, usize, usize) {
    let shown = format!("{pool:?}");
    let figure = |name: &str| {
        let (_, rest) = shown.split_once(&format!(" {name}: ")).unwrap();
        rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    (figure("uncollected"), figure("uncollected_bytes"), figure("absent"), figure("waiting"))
}

#[test]
fn who_waits_is_in_the_ledger_from_the_first_poll() {
    let ledger = LeakLedger::sites();
    let pool = builder().ledger(&ledger).collect_within(Duration::ZERO).build().unwrap();
    let held = pool.try_lease(100).unwrap();
    let line = line!() + 1;
    let mut wait = pool.lease(33);
    assert_eq!(ledger.snapshot().open, 1, "it has not begun");
    assert!(poll(&mut wait, Waker::noop()).is_pending());
    let of_wait = || {
        let record = ledger.snapshot();
        let mut entries = record.open_entries.iter();
        let entry = entries.find(|entry| entry.what == "waiting for 40 bytes").expect("it is in the ledger");
        assert_eq!((entry.location.file(), entry.location.line()), (file!(), line));
        (record.open, entry.last_use.map(|last| (last.doing, last.number)))
    };
    assert_eq!(of_wait(), (2, None));
    drop(held);
    assert_eq!(of_wait(), (1, Some(("granted, not collected: bytes", Some(40)))));
    let snapshot = pool.snapshot();
    assert_eq!((snapshot.uncollected, snapshot.uncollected_bytes, snapshot.used_bytes), (1, 40, 40));
    let other = pool.try_lease(80).unwrap();
    assert_eq!(of_wait(), (2, Some(("absent, the grant was passed on: bytes", Some(40)))));
    assert!(poll(&mut wait, Waker::noop()).is_pending());
    assert_eq!(of_wait().1, Some(("waiting again for bytes", Some(40))));
    drop(other);
    let lease = taken(&mut wait).unwrap();
    let record = ledger.snapshot();
    assert_eq!((record.open, &*record.open_entries[0].what), (1, "lease of 40 bytes"));
    assert_eq!(record.open_entries[0].location.line(), line);
    drop((lease, wait));
    ledger.assert_all_closed();

    // A wait that is given up has ended in order.
    let _held = pool.try_lease(100).unwrap();
    drop(queued(&pool, 1));
    let record = ledger.snapshot();
    assert_eq!((record.open, record.dropped_unclosed), (1, 0));
}

/// The other users of a pool, who have something to give back and wait for more than there is.
struct Others {
    lease: Option<ByteLease>,
    reservation: Reservation,
    waits: Vec<LeaseWait>,
}

/// Each use of a pool by others passes on what was not collected.
#[test]
fn each_use_passes_on_what_others_wait_for() {
    type Use = fn(&BytePool, &mut Others, &mut LeaseWait);
    let uses: [(&str, Use); 9] = [
        ("a snapshot", |pool, _, _| assert_eq!(pool.snapshot().absent, 1)),
        ("a poll of the wait", |_, _, next| assert!(taken(next).is_some())),
        ("the first poll of a wait", |pool, others, _| {
            let mut wait = pool.lease(100);
            assert!(taken(&mut wait).is_none());
            others.waits.push(wait);
        }),
        ("a wait that is given up", |_, others, _| others.waits.clear()),
        ("a lease", |pool, _, _| assert!(pool.try_lease(100).is_err())),
        ("a growth", |_, others, _| assert!(others.reservation.try_grow(90).is_err())),
        ("a growth that waits", |_, others, _| {
            assert!(others.reservation.poll_grow(&mut Context::from_waker(Waker::noop()), 90).is_pending());
        }),
        ("shrinking", |_, others, _| others.reservation.shrink(1)),
        ("a return", |_, others, _| drop(others.lease.take())),
    ];
    for (name, use_pool) in uses {
        let pool = pool();
        let mut others = Others { lease: None, reservation: pool.reservation(), waits: Vec::new() };
        let held = pool.try_lease(80).unwrap();
        others.lease = Some(pool.try_lease(10).unwrap());
        others.reservation.try_grow(1).unwrap();
        let (mut parked, parked_task) = queued(&pool, 80);
        let (mut next, next_task) = queued(&pool, 40);
        others.waits.push(queued(&pool, 80).0);
        drop(held);
        assert_eq!((parked_task.wakes(), next_task.wakes()), (1, 0));
        assert_eq!(figures(&pool), (1, 80, 0, 2), "{name}");
        use_pool(&pool, &mut others, &mut next);
        assert_eq!(figures(&pool).2, 1, "{name}");
        drop((others, next));
        let lease = taken(&mut parked).unwrap();
        assert_eq!((lease.capacity(), pool.snapshot().used_bytes), (80, 80), "{name}");
        drop(lease);
        let figures = pool.snapshot();
        assert_eq!((figures.used_bytes, figures.waiting, figures.uncollected, figures.absent), (0, 0, 0, 0));
        assert_eq!(figures.gets, figures.puts, "{name}");
    }
}

#[test]
fn where_nobody_waits_a_lease_or_a_growth_gets_it() {
    let pool = pool();
    let granted = |len| {
        let held = pool.try_lease(100).unwrap();
        let parked = queued(&pool, len);
        drop(held);
        parked
    };
    let (mut parked, task) = granted(80);
    drop(pool.try_lease(20).unwrap());
    assert_eq!(figures(&pool), (1, 80, 0, 0), "there is room beside it");
    let lease = pool.try_lease(40).unwrap();
    assert_eq!(figures(&pool), (0, 0, 1, 0));
    assert!(taken(&mut parked).is_none());
    assert_eq!((figures(&pool), task.wakes()), ((0, 0, 0, 1), 1));
    drop(lease);
    assert!(taken(&mut parked).is_some());

    let (parked, _) = granted(80);
    let mut reservation = pool.reservation();
    reservation.try_grow(21).unwrap();
    assert_eq!(figures(&pool), (0, 0, 1, 0));
    drop((reservation, parked));

    let mut lease = pool.try_lease(10).unwrap();
    let mut held = pool.try_lease(80).unwrap();
    let (_parked, _) = queued(&pool, 80);
    held.try_resize(1).unwrap();
    assert_eq!(figures(&pool), (1, 80, 0, 0));
    lease.try_resize(40).unwrap();
    assert_eq!(figures(&pool), (0, 0, 1, 0));
    assert_eq!(pool.snapshot().refusals.count, 0);
}

#[test]
fn who_comes_back_is_in_front_of_all_who_came_later() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let [(mut first, _), (mut second, _), (mut third, _)] = [40, 40, 20].map(|len| queued(&pool, len));
    drop(held);
    let mut late = pool.try_lease(20).unwrap();
    assert_eq!(figures(&pool), (2, 60, 1, 0), "the oldest grant was taken back");
    late.try_resize(80).unwrap();
    late.try_resize(100).unwrap();
    assert_eq!(figures(&pool), (0, 0, 3, 0));
    let (mut last, last_task) = queued(&pool, 10);
    let tasks = [(); 3].map(|()| CountingWaker::new());
    for (wait, task) in [&mut third, &mut second, &mut first].into_iter().zip(&tasks) {
        assert!(poll(wait, &task.waker()).is_pending());
    }
    assert_eq!(figures(&pool), (0, 0, 0, 4));
    let wakes = || tasks.each_ref().map(CountingWaker::wakes);
    late.try_resize(80).unwrap();
    assert_eq!(wakes(), [0, 0, 0], "it would do for the third one");
    late.try_resize(40).unwrap();
    assert_eq!((wakes(), last_task.wakes()), ([0, 0, 1], 0));
    let first = taken(&mut first).unwrap();
    late.try_resize(20).unwrap();
    assert_eq!((wakes(), last_task.wakes()), ([0, 1, 1], 0));
    let second = taken(&mut second).unwrap();
    drop((first, late));
    assert_eq!((wakes(), last_task.wakes()), ([1, 1, 1], 1));
    assert!(taken(&mut third).is_some() && taken(&mut last).is_some());
    drop(second);
    assert_eq!(pool.snapshot().used_bytes, 0);
}

#[test]
fn what_nobody_needs_is_kept() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let (mut parked, _) = queued(&pool, 40);
    drop(held);
    for _ in 0..3 {
        let _ = pool.snapshot();
        drop(pool.try_lease(40).unwrap());
    }
    assert_eq!(figures(&pool), (1, 40, 0, 0));
    assert!(taken(&mut parked).is_some());
    assert_eq!(pool.snapshot().passed_on.count, 0);
}

/// The oldest grants are taken back, and no more than are needed.
#[test]
fn no_more_is_taken_back_than_is_needed() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let mut parked: Vec<_> = (0..10).map(|_| queued(&pool, 10)).collect();
    drop(held);
    assert_eq!(figures(&pool), (10, 100, 0, 0));
    let lease = pool.try_lease(33).unwrap();
    assert_eq!(figures(&pool), (6, 60, 4, 0));
    let collected: Vec<_> = parked.iter_mut().filter_map(|(wait, _)| taken(wait)).collect();
    // Each of the four who have come back has taken from one who has not.
    assert_eq!(collected.len(), 6);
    let mut others = parked.split_off(6);
    assert!(others.iter().all(|(_, task)| task.wakes() == 1));
    drop((lease, collected));
    assert_eq!(others.iter_mut().filter_map(|(wait, _)| taken(wait)).count(), 4);
}

#[test]
fn the_time_counts_from_the_grant() {
    let patient = builder().collect_within(Duration::MAX).build().unwrap();
    // Longer than a machine that is busy keeps a thread from its next line.
    let hasty = builder().collect_within(Duration::from_millis(500)).build().unwrap();
    for (pool, is_passed_on) in [(patient, false), (hasty, true)] {
        let held = pool.try_lease(100).unwrap();
        let (_parked, _) = queued(&pool, 100);
        // It has waited for longer than that before it is granted anything.
        thread::sleep(Duration::from_millis(600));
        drop(held);
        let (_next, next_task) = queued(&pool, 100);
        thread::sleep(Duration::from_millis(600));
        assert_eq!(pool.snapshot().passed_on.count, u64::from(is_passed_on));
        assert_eq!(next_task.wakes(), usize::from(is_passed_on));
    }
    // The default is long enough for a test.
    let pool = builder().build().unwrap();
    let held = pool.try_lease(100).unwrap();
    let (mut wait, _) = queued(&pool, 100);
    drop(held);
    let is_passed_on = pool.try_lease(100).is_ok();
    assert!(!is_passed_on || taken(&mut wait).is_some());
}

#[test]
fn an_absent_waiter_can_go() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let (parked, task) = queued(&pool, 100);
    let mut reservation = pool.reservation();
    drop(held);
    assert!(reservation.poll_grow(&mut Context::from_waker(Waker::noop()), 50).is_ready());
    assert_eq!((figures(&pool), task.kept()), ((0, 0, 1, 0), 0));
    drop(parked);
    assert_eq!((figures(&pool), pool.snapshot().used_bytes), ((0, 0, 0, 0), 50));

    // A reservation too.
    let mut parked = pool.reservation();
    assert!(parked.poll_grow(&mut Context::from_waker(Waker::noop()), 60).is_pending());
    drop(reservation);
    let lease = pool.try_lease(80).unwrap();
    assert_eq!((figures(&pool), parked.bytes()), ((0, 0, 1, 0), 0));
    assert!(parked.poll_grow(&mut Context::from_waker(Waker::noop()), 60).is_pending());
    assert_eq!(figures(&pool), (0, 0, 0, 1));
    drop(lease);
    assert!(parked.poll_grow(&mut Context::from_waker(Waker::noop()), 60).is_ready());
    let mut absent = pool.reservation();
    assert!(absent.poll_grow(&mut Context::from_waker(Waker::noop()), 60).is_pending());
    drop(parked);
    drop(pool.try_lease(80).unwrap());
    absent.cancel_grow();
    assert_eq!((figures(&pool), pool.snapshot().used_bytes), ((0, 0, 0, 0), 0));
}

/// A waker that does something.
struct Acting<F: Fn() + Send + Sync>(F);

impl<F: Fn() + Send + Sync> Wake for Acting<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

/// Whoever is woken by what was passed on may use the pool at once, and does not take it away again.
#[test]
fn who_is_woken_may_use_the_pool() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let (_parked, _) = queued(&pool, 100);
    let taken = Arc::new(Mutex::new(None));
    let next = Arc::new(Mutex::new(pool.lease(60)));
    let waker = Waker::from(Arc::new(Acting({
        let (taken, next) = (Arc::clone(&taken), Arc::clone(&next));
        move || {
            let Poll::Ready(lease) = poll(&mut next.lock().unwrap(), Waker::noop()) else { return };
            *taken.lock().unwrap() = Some(lease.unwrap());
        }
    })));
    assert!(poll(&mut next.lock().unwrap(), &waker).is_pending());
    drop(held);
    let error = pool.try_lease(100).unwrap_err();
    assert!(matches!(error, PoolError::Exhausted { available_bytes: 20, waiting: 0, .. }), "{error}");
    assert_eq!(taken.lock().unwrap().take().unwrap().capacity(), 80);
}

/// Many are let in and collect in any order, and many give up in any order.
#[test]
fn many_waiters_cost_no_square() {
    let prepare = |waiters| {
        let pool = BytePool::builder().smallest_bytes(1).largest_bytes(1 << 40).budget_bytes(1 << 40);
        let pool = pool.collect_within(Duration::MAX).build().unwrap();
        let mut held = pool.reservation();
        held.try_grow(1 << 40).unwrap();
        let task = CountingWaker::new();
        let mut waits: Vec<_> = (0..waiters).map(|_| pool.lease(1)).collect();
        assert!(!waits.iter_mut().any(|wait| poll(wait, &task.waker()).is_ready()));
        Random::seed(waiters as u64).shuffle(&mut waits);
        (held, waits)
    };
    assert_no_square(5_000, prepare, |(held, mut waits)| {
        // Half of them give up, and others wait on another task.
        let left = waits.len() / 2;
        waits.truncate(left);
        let task = CountingWaker::new();
        assert!(!waits.iter_mut().any(|wait| poll(wait, &task.waker()).is_ready()));
        drop(held);
        assert_eq!(task.wakes(), left);
        // Of those who were let in some do not come, and the others collect.
        waits.truncate(left - left / 4);
        assert!(waits.iter_mut().all(|wait| taken(wait).is_some()));
    });
}

#[test]
fn many_absent_waiters_cost_no_square() {
    let prepare = |waiters| {
        let pool = BytePool::builder().smallest_bytes(1).largest_bytes(1).budget_bytes(waiters);
        let pool = pool.collect_within(Duration::ZERO).build().unwrap();
        let held: Vec<_> = (0..waiters).map(|_| pool.try_lease(1).unwrap()).collect();
        let mut waits: Vec<_> = (0..waiters).map(|_| queued(&pool, 1).0).collect();
        drop(held);
        Random::seed(waiters as u64).shuffle(&mut waits);
        (pool, waits)
    };
    assert_no_square(3_000, prepare, |(pool, mut waits)| {
        let leases: Vec<_> = (0..waits.len()).map(|_| pool.try_lease(1).unwrap()).collect();
        assert_eq!(pool.snapshot().absent, waits.len());
        assert!(!waits.iter_mut().any(|wait| taken(wait).is_some()));
        drop(leases);
        waits.truncate(waits.len() / 2);
        assert!(waits.iter_mut().all(|wait| taken(wait).is_some()));
    });
}
