//! Memory that is not the pool's, charged against its budget: to the byte, in turn, and given back on every path.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::executor::block_on;
use losertree::LeakLedger;
use losertree::resource::{BytePool, LeaseWait, PoolError, Reservation};
use losertree_testkit::CountingWaker;

/// Sizes of 10, 20, 40, 80 and 100 bytes, 100 in all.
fn pool() -> BytePool {
    BytePool::builder().smallest_bytes(10).largest_bytes(100).budget_bytes(100).build().unwrap()
}

fn holding(pool: &BytePool, bytes: usize) -> Reservation {
    let mut reservation = pool.reservation();
    reservation.try_grow(bytes).unwrap();
    reservation
}

fn poll(reservation: &mut Reservation, bytes: usize) -> Poll<Result<(), PoolError>> {
    reservation.poll_grow(&mut Context::from_waker(Waker::noop()), bytes)
}

/// Puts a reservation into the queue. The count of its wake-ups.
fn queue(reservation: &mut Reservation, bytes: usize) -> CountingWaker {
    let task = CountingWaker::new();
    assert!(reservation.poll_grow(&mut Context::from_waker(&task.waker()), bytes).is_pending());
    task
}

fn queued_lease(pool: &BytePool, len: usize) -> (LeaseWait, CountingWaker) {
    let (mut wait, task) = (pool.lease(len), CountingWaker::new());
    assert!(Pin::new(&mut wait).poll(&mut Context::from_waker(&task.waker())).is_pending());
    (wait, task)
}

// F49
#[test]
fn what_is_admitted_is_charged_to_the_byte() {
    let pool = pool();
    let mut reservation = pool.reservation();
    assert_eq!((reservation.bytes(), pool.snapshot().used_bytes), (0, 0));
    for (growth, held) in [(1, 1), (98, 99), (0, 99), (1, 100)] {
        reservation.try_grow(growth).unwrap();
        let figures = pool.snapshot();
        assert_eq!((reservation.bytes(), figures.used_bytes, figures.reserved_bytes), (held, held, held));
        assert_eq!((figures.budget_bytes, figures.outstanding), (100, 0));
        assert_eq!((figures.gets.count, figures.gets.bytes, figures.allocations.count), (0, 0, 0));
    }
    reservation.shrink(60);
    assert_eq!((reservation.bytes(), pool.snapshot().used_bytes), (40, 40));
    reservation.shrink(1_000);
    let figures = pool.snapshot();
    assert_eq!((reservation.bytes(), figures.used_bytes, figures.peak_bytes), (0, 0, 100));
    assert_eq!((figures.puts.count, figures.puts.bytes), (0, 0));
}

#[test]
fn leases_and_reservations_share_one_budget() {
    let pool = pool();
    let mut reservation = holding(&pool, 61);
    let PoolError::Exhausted { charge_bytes: 40, available_bytes: 39, .. } = pool.try_lease(40).unwrap_err()
    else {
        panic!("39 are left");
    };
    let lease = pool.try_lease(20).unwrap();
    let PoolError::Exhausted { charge_bytes: 20, available_bytes: 19, budget_bytes: 100, waiting: 0, .. } =
        reservation.try_grow(20).unwrap_err()
    else {
        panic!("19 are left");
    };
    assert_eq!(reservation.bytes(), 61, "as it was");
    reservation.try_grow(19).unwrap();
    let figures = pool.snapshot();
    assert_eq!((figures.used_bytes, figures.reserved_bytes, figures.outstanding), (100, 80, 1));
    assert_eq!((figures.refusals.count, figures.refusals.bytes), (2, 60));
    drop(lease);
    reservation.try_grow(20).unwrap();
}

#[test]
fn idle_buffers_make_room() {
    let pool = pool();
    drop((pool.try_lease(40).unwrap(), pool.try_lease(20).unwrap(), pool.try_lease(10).unwrap()));
    assert_eq!(pool.snapshot().idle_bytes, 70);
    let mut first = holding(&pool, 30);
    assert_eq!(pool.snapshot().idle_bytes, 70, "there is room beside them");
    first.try_grow(1).unwrap();
    assert_eq!(pool.snapshot().idle_bytes, 30, "the largest goes first");
    let held = holding(&pool, 60);
    assert_eq!(pool.snapshot().idle_bytes, 0);
    drop(held);
    drop(pool.try_lease(40).unwrap());
    let blocks = pool.try_lease(20).unwrap();
    let mut waiting = pool.reservation();
    let task = queue(&mut waiting, 69);
    drop(blocks);
    assert_eq!((task.wakes(), pool.snapshot().idle_bytes), (1, 0), "for what is granted too");
}

#[test]
fn more_than_the_budget_is_too_large() {
    let pool = pool();
    let mut reservation = holding(&pool, 60);
    for (growth, requested) in [(41, 101), (usize::MAX, usize::MAX)] {
        let error = reservation.try_grow(growth).unwrap_err();
        assert_eq!(poll(&mut reservation, growth), Poll::Ready(Err(error)), "no wait would help");
        let PoolError::TooLarge { requested_bytes, largest_bytes: 100, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(requested_bytes, requested);
    }
    assert_eq!(
        reservation.try_grow(41).unwrap_err().to_string(),
        "101 bytes are more than the pool has for one holder, 100 bytes"
    );
    let figures = pool.snapshot();
    assert_eq!((figures.used_bytes, figures.refusals.count, figures.waits.count), (60, 0, 0));
}

/// A budget that no sum is above: what comes to more than numbers can say is too large all the same.
#[test]
fn more_than_a_number_is_too_large() {
    let pool = BytePool::builder().smallest_bytes(10).largest_bytes(100).budget_bytes(usize::MAX);
    let pool = pool.build().unwrap();
    let (mut reservation, mut other) = (holding(&pool, 10), pool.reservation());
    for growth in [usize::MAX, usize::MAX - 9] {
        let error = reservation.try_grow(growth).unwrap_err();
        let PoolError::TooLarge { requested_bytes: usize::MAX, largest_bytes: usize::MAX, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(poll(&mut reservation, growth), Poll::Ready(Err(error)), "no wait would help");
    }
    assert_eq!(pool.snapshot().waits.count, 0);
    // What is refused or waited for adds up to more than that.
    for count in 1..=3 {
        assert!(matches!(other.try_grow(usize::MAX), Err(PoolError::Exhausted { .. })));
        assert_eq!((pool.snapshot().refusals.count, pool.snapshot().refusals.bytes), (count, u64::MAX));
    }
    assert_eq!(poll(&mut other, usize::MAX), Poll::Pending);
    other.cancel_grow();
    assert_eq!(poll(&mut other, usize::MAX), Poll::Pending);
    assert_eq!((pool.snapshot().waits.count, pool.snapshot().waits.bytes), (2, u64::MAX));
    reservation.shrink(10);
    assert_eq!(poll(&mut other, usize::MAX), Poll::Ready(Ok(())));
    assert_eq!(pool.snapshot().used_bytes, usize::MAX);
    assert!(pool.try_lease(1).is_err() && reservation.try_grow(1).is_err());
}

/// Whoever grows in between may come to more than there is, for which no wait would help.
#[test]
fn what_has_become_too_large_leaves_the_queue() {
    let pool = BytePool::builder().smallest_bytes(10).largest_bytes(100).budget_bytes(100);
    let pool = pool.collect_within(Duration::ZERO).build().unwrap();
    let (held, mut reservation) = (holding(&pool, 90), holding(&pool, 10));
    assert!(poll(&mut reservation, 60).is_pending());
    drop(held);
    // It was granted 60 and has not collected them, and now they are passed on: to itself.
    reservation.try_grow(50).unwrap();
    assert_eq!((pool.snapshot().absent, reservation.bytes()), (1, 60));
    let Poll::Ready(Err(PoolError::TooLarge { requested_bytes: 120, .. })) = poll(&mut reservation, 60)
    else {
        panic!("it would wait for ever, and in front of all others");
    };
    assert_eq!((pool.snapshot().absent, pool.snapshot().waiting, pool.snapshot().used_bytes), (0, 0, 60));
    assert_eq!(poll(&mut reservation, 40), Poll::Ready(Ok(())));
}

#[test]
fn it_waits_in_turn() {
    let pool = pool();
    let held = pool.try_lease(100).unwrap();
    let (mut first, mut third) = (pool.reservation(), pool.reservation());
    let first_task = queue(&mut first, 70);
    let (second, second_task) = queued_lease(&pool, 40);
    let third_task = queue(&mut third, 5);
    assert_eq!((pool.snapshot().waiting, pool.snapshot().waits.bytes), (3, 115));
    assert!(matches!(pool.reservation().try_grow(1), Err(PoolError::Exhausted { waiting: 3, .. })));
    assert!(pool.reservation().try_grow(0).is_ok(), "there is nothing to wait for");
    drop(held);
    let wakes = || [&first_task, &second_task, &third_task].map(CountingWaker::wakes);
    assert_eq!(wakes(), [1, 0, 0], "the small one behind does not overtake");
    let figures = pool.snapshot();
    assert_eq!((figures.used_bytes, figures.reserved_bytes, figures.outstanding), (70, 70, 0));
    assert_eq!(first.bytes(), 0, "granted, not come for");
    assert!(matches!(first.try_grow(1), Err(PoolError::Exhausted { available_bytes: 30, waiting: 2, .. })));
    assert_eq!(poll(&mut first, 70), Poll::Ready(Ok(())));
    assert_eq!((first.bytes(), pool.snapshot().used_bytes), (70, 70));
    first.shrink(5);
    assert_eq!(wakes(), [1, 0, 0]);
    first.shrink(5);
    assert_eq!(wakes(), [1, 1, 0]);
    drop(second);
    assert_eq!(wakes(), [1, 1, 1]);
    assert_eq!(poll(&mut third, 5), Poll::Ready(Ok(())));
    assert_eq!((third.bytes(), pool.snapshot().used_bytes), (5, 65));
}

#[test]
fn cancelling_leaves_the_queue_or_passes_the_grant_on() {
    let pool = pool();
    let held = pool.try_lease(80).unwrap();
    let (mut first, mut second) = (holding(&pool, 10), pool.reservation());
    let first_task = queue(&mut first, 20);
    let second_task = queue(&mut second, 10);
    first.cancel_grow();
    assert_eq!((first_task.wakes(), first_task.kept(), second_task.wakes()), (0, 0, 1));
    first.cancel_grow();
    assert_eq!(first.bytes(), 10, "it keeps what it has");

    let third_task = queue(&mut first, 5);
    assert_eq!((second.bytes(), pool.snapshot().used_bytes), (0, 100));
    second.cancel_grow();
    assert_eq!((second.bytes(), third_task.wakes()), (0, 1), "the grant that was not come for");
    assert_eq!(poll(&mut first, 5), Poll::Ready(Ok(())));
    drop(held);
    assert_eq!((first.bytes(), pool.snapshot().used_bytes), (15, 15));
    assert_eq!(pool.snapshot().waiting, 0);
}

#[test]
fn another_number_starts_anew_at_the_end_of_the_queue() {
    let pool = pool();
    let mut held = holding(&pool, 100);
    let (mut first, mut second) = (pool.reservation(), pool.reservation());
    let given_up = queue(&mut first, 50);
    let second_task = queue(&mut second, 20);
    let first_task = queue(&mut first, 40);
    assert_eq!((given_up.kept(), pool.snapshot().waiting), (0, 2));
    held.shrink(20);
    assert_eq!((first_task.wakes(), second_task.wakes()), (0, 1));
    // What was granted is given back too.
    assert_eq!(poll(&mut second, 0), Poll::Ready(Ok(())));
    assert_eq!((second.bytes(), pool.snapshot().used_bytes), (0, 80));
    held.shrink(20);
    assert_eq!(first_task.wakes(), 1);
    assert_eq!(poll(&mut first, 40), Poll::Ready(Ok(())));
    assert_eq!(given_up.wakes(), 0);
}

#[test]
fn the_last_waker_counts() {
    let pool = pool();
    let held = holding(&pool, 100);
    let mut reservation = pool.reservation();
    let old_task = queue(&mut reservation, 1);
    let new_task = queue(&mut reservation, 1);
    assert_eq!((old_task.kept(), new_task.kept()), (0, 1));
    drop(held);
    assert_eq!((old_task.wakes(), new_task.wakes(), new_task.kept()), (0, 1, 0));
}

// F1, F9
#[test]
fn dropping_gives_everything_back_and_leaves_the_queue() {
    let ledger = LeakLedger::sites();
    let pool = BytePool::builder().smallest_bytes(10).largest_bytes(100).budget_bytes(100);
    let pool = pool.ledger(&ledger).build().unwrap();
    let line = line!() + 1;
    let mut first = pool.reservation();
    let record = ledger.snapshot();
    assert_eq!(
        (&*record.open_entries[0].what, record.open_entries[0].location.line()),
        ("reservation", line)
    );
    first.try_grow(70).unwrap();
    let mut second = holding(&pool, 10);
    let panic = catch_unwind(AssertUnwindSafe(move || {
        let task = queue(&mut first, 30);
        let _first = first;
        resume_unwind(Box::new(task));
    }));
    let task = panic.unwrap_err().downcast::<CountingWaker>().unwrap();
    assert_eq!((task.kept(), pool.snapshot().used_bytes, pool.snapshot().waiting), (0, 10, 0));

    // A grant that was not come for.
    let held = holding(&pool, 90);
    let task = queue(&mut second, 50);
    drop(held);
    assert_eq!((task.wakes(), pool.snapshot().used_bytes), (1, 60));
    let (behind, behind_task) = queued_lease(&pool, 80);
    drop(second);
    assert_eq!((behind_task.wakes(), pool.snapshot().reserved_bytes), (1, 0));
    drop(behind);
    ledger.assert_balanced();
    assert!(ledger.snapshot().is_all_closed());
}

#[test]
fn a_task_waits_for_what_another_gives_back() {
    let pool = pool();
    let (mut held, mut reservation) = (holding(&pool, 100), pool.reservation());
    block_on(async {
        let wait = reservation.grow(40);
        let give_back = async { held.shrink(40) };
        let (waited, ()) = futures::join!(wait, give_back);
        waited.unwrap();
    });
    assert_eq!((held.bytes(), reservation.bytes(), pool.snapshot().used_bytes), (60, 40, 100));
}

#[test]
fn waiting_to_grow_does_nothing_before_a_poll_and_is_given_up_by_a_drop() {
    let pool = pool();
    let (held, mut reservation) = (holding(&pool, 70), pool.reservation());
    drop(reservation.grow(40));
    assert_eq!((pool.snapshot().waiting, pool.snapshot().waits.count), (0, 0));

    let task = CountingWaker::new();
    let mut growing = Box::pin(reservation.grow(40));
    assert!(growing.as_mut().poll(&mut Context::from_waker(&task.waker())).is_pending());
    assert_eq!(pool.snapshot().waiting, 1);
    let (_behind, behind_task) = queued_lease(&pool, 20);
    drop(growing);
    assert_eq!((task.wakes(), behind_task.wakes(), pool.snapshot().waiting), (0, 1, 0));
    assert_eq!(reservation.bytes(), 0);

    // What a call of `poll_grow` has begun it goes on with, in its place.
    queue(&mut reservation, 30);
    let (_last, _) = queued_lease(&pool, 10);
    let waits = pool.snapshot().waits;
    drop(held);
    block_on(reservation.grow(30)).unwrap();
    assert_eq!((reservation.bytes(), pool.snapshot().waits), (30, waits));
    assert!(matches!(block_on(reservation.grow(71)), Err(PoolError::TooLarge { requested_bytes: 101, .. })));
    assert_eq!(reservation.bytes(), 30);
}

#[test]
fn printing() {
    let pool = pool();
    let mut reservation = holding(&pool, 70);
    assert_eq!(format!("{reservation:?}"), "Reservation { bytes: 70, waits_for: None, .. }");
    let _held = pool.try_lease(20).unwrap();
    queue(&mut reservation, 30);
    assert_eq!(format!("{reservation:?}"), "Reservation { bytes: 70, waits_for: Some(30), .. }");
}
