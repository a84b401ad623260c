use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use losertree::LeakLedger;
use losertree::resource::{BytePool, Ending, ReaderGate};

use crate::wait;

/// A lease that is waited for and granted, and a growth of a reservation behind it.
pub(crate) fn a_pool() {
    let pool =
        BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(64).build().expect("a budget");
    let mut cx = Context::from_waker(Waker::noop());
    let lease = pool.try_lease(64).expect("all is free");
    let mut waiting = pin!(pool.lease(16));
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    let mut reservation = pool.reservation();
    assert!(reservation.poll_grow(&mut cx, 64).is_pending());
    drop(lease);
    // The first one is granted what it waits for, and no time passes in which it could be too late to collect it.
    let figures = pool.snapshot();
    assert_eq!((figures.uncollected, figures.waiting), (1, 1));
    let Poll::Ready(lease) = waiting.as_mut().poll(&mut cx) else { panic!("it was granted") };
    assert!(reservation.poll_grow(&mut cx, 64).is_pending());
    drop(lease);
    assert!(reservation.poll_grow(&mut cx, 64).is_ready());
    drop(reservation);
    assert_eq!(pool.snapshot().used_bytes, 0);
}

/// Readers are inside for no time.
pub(crate) fn a_gate() {
    let gate = ReaderGate::new("block 7");
    let reader = gate.enter_as("a query").expect("the gate is open");
    let mut close = pin!(gate.close());
    assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(gate.closing_for(), Some(Duration::ZERO));
    assert_eq!(gate.readers()[0].age, Duration::ZERO);
    drop(reader);
    wait(close);
}

/// What is open has no age, and is in the report all the same.
pub(crate) fn a_ledger() {
    let ledger = LeakLedger::sites();
    let entry = ledger.open("connection");
    entry.note("receiving", Some(1));
    let open = ledger.open_entries(1);
    assert_eq!((&*open[0].what, open[0].age), ("connection", Duration::ZERO));
    entry.end(Ending::DroppedUnclosed);
    assert_eq!(ledger.snapshot().last_unclosed[0].ended, Duration::ZERO);
}
