//! Waiting for a lease, or for a reservation to grow, within a time, on a clock that is paused.

use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use losertree::LeakLedger;
use losertree::resource::{BytePool, PoolError};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(30);

/// Sizes of 10, 20, 40, 80 and 100 bytes, 100 in all. What is not collected is passed on at the next use.
fn pool(ledger: &LeakLedger) -> BytePool {
    let builder = BytePool::builder().smallest_bytes(10).largest_bytes(100).budget_bytes(100);
    builder.collect_within(Duration::ZERO).ledger(ledger).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_given_without_waiting() {
    let pool = pool(&LeakLedger::off());
    let start = Instant::now();
    let lease = pool.lease_timeout(33, Duration::ZERO).await.unwrap();
    assert_eq!((lease.capacity(), start.elapsed()), (40, Duration::ZERO));
    let error = pool.lease_timeout(101, LIMIT).await.unwrap_err();
    assert!(matches!(error, PoolError::TooLarge { requested_bytes: 101, .. }), "{error}");
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_in_time_is_given() {
    let pool = pool(&LeakLedger::off());
    let start = Instant::now();
    let held = pool.try_lease(100).unwrap();
    tokio::spawn(async move {
        sleep(LIMIT / 3).await;
        drop(held);
    });
    // The time counts from the first poll.
    let wait = pool.lease_timeout(50, LIMIT / 2);
    sleep(LIMIT / 4).await;
    assert_eq!(wait.await.unwrap().capacity(), 80);
    assert_eq!(start.elapsed(), LIMIT / 3);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_is_an_error_and_nobody_is_held_up() {
    let ledger = LeakLedger::sites();
    let pool = pool(&ledger);
    let held = pool.try_lease(80).unwrap();
    let start = Instant::now();
    let line = line!() + 1;
    let waiting = tokio::spawn(pool.lease_timeout(50, LIMIT));
    tokio::task::yield_now().await;
    let record = ledger.snapshot();
    let wait = &record.open_entries[1];
    assert_eq!((&*wait.what, wait.location.line()), ("waiting for 80 bytes", line));
    let behind = tokio::spawn(pool.lease(10));
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(start.elapsed(), LIMIT);
    let PoolError::TimedOut { charge_bytes: 80, limit: LIMIT, budget_bytes: 100, .. } = error else {
        panic!("{error}")
    };
    let text = error.to_string();
    assert!(text.starts_with("the pool has not given 80 bytes within 30s: "), "{text}");
    assert!(text.ends_with(" of 100 are left, and 0 others wait"), "{text}");
    assert_eq!(behind.await.unwrap().unwrap().capacity(), 10);
    drop(held);
    let figures = pool.snapshot();
    assert_eq!((figures.used_bytes, figures.waiting, figures.waits.count), (0, 0, 2));
    assert_eq!(figures.refusals.count, 0);
    ledger.assert_all_closed();
}

#[tokio::test(start_paused = true)]
async fn dropped_half_way_it_leaves_the_queue() {
    let pool = pool(&LeakLedger::off());
    let _held = pool.try_lease(100).unwrap();
    let outer = tokio::time::timeout(LIMIT / 2, pool.lease_timeout(10, LIMIT)).await;
    assert!(outer.is_err());
    assert_eq!(pool.snapshot().waiting, 0);
}

/// A future that is not polled has what another waits for, and nobody else uses the pool.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_time_passes_on_what_was_not_collected() {
    let pool = pool(&LeakLedger::off());
    let held = pool.try_lease(100).unwrap();
    let mut parked = Box::pin(pool.lease(100));
    assert!(parked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let waiting = tokio::spawn(pool.lease_timeout(100, LIMIT));
    tokio::task::yield_now().await;
    drop(held);
    let start = Instant::now();
    let lease = waiting.await.unwrap().unwrap();
    assert_eq!((lease.capacity(), start.elapsed()), (100, LIMIT));
    assert!(Pin::new(&mut parked).poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(lease);
    assert_eq!(parked.await.unwrap().capacity(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_grows_in_time_or_is_as_it_was() {
    let ledger = LeakLedger::sites();
    let pool = pool(&ledger);
    let start = Instant::now();
    let mut reservation = pool.reservation();
    reservation.grow_timeout(30, Duration::ZERO).await.unwrap();
    let error = reservation.grow_timeout(71, LIMIT).await.unwrap_err();
    assert!(matches!(error, PoolError::TooLarge { requested_bytes: 101, .. }), "{error}");
    assert_eq!(start.elapsed(), Duration::ZERO);

    let held = pool.try_lease(40).unwrap();
    let error = reservation.grow_timeout(60, LIMIT).await.unwrap_err();
    assert_eq!((start.elapsed(), reservation.bytes()), (LIMIT, 30));
    let PoolError::TimedOut { charge_bytes: 60, limit: LIMIT, available_bytes: 30, waiting: 0, .. } = error
    else {
        panic!("{error}")
    };
    // It does not stand in the way of who comes later.
    drop(pool.try_lease(20).unwrap());

    tokio::spawn(async move {
        sleep(LIMIT / 3).await;
        drop(held);
    });
    reservation.grow_timeout(60, LIMIT).await.unwrap();
    assert_eq!((start.elapsed(), reservation.bytes()), (LIMIT + LIMIT / 3, 90));
    drop(reservation);
    ledger.assert_all_closed();
}

#[tokio::test(start_paused = true)]
async fn a_growth_that_is_dropped_half_way_leaves_the_queue() {
    let pool = pool(&LeakLedger::off());
    let held = pool.try_lease(100).unwrap();
    let mut reservation = pool.reservation();
    {
        let mut growing = Box::pin(reservation.grow_timeout(10, LIMIT));
        assert!(growing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(pool.snapshot().waiting, 1);
        // It is granted what it does not come for.
        drop(held);
        assert_eq!(pool.snapshot().uncollected, 1);
    }
    let figures = pool.snapshot();
    assert_eq!((figures.waiting, figures.uncollected, figures.used_bytes, reservation.bytes()), (0, 0, 0, 0));
}
