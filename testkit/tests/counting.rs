//! What is counted is counted: comparisons, wake-ups, polls, and allocations.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};
use std::task::Poll;

use losertree::SortKey;
use losertree_testkit::{Comparisons, CountedKey, CountingWaker, panic_at, poll_times};

#[test]
fn comparisons_are_counted_by_keys_and_comparators() {
    let comparisons = Comparisons::new();
    let (one, two) = (comparisons.key(1), comparisons.key(2));
    assert_eq!(one.code(), two.code());
    assert!(one.compare(&two).is_lt());
    assert!(two.compare(&two.clone()).is_eq());
    assert_eq!((comparisons.count(), one.value()), (2, 1));
    assert!(comparisons.counting(u64::cmp)(&2, &1).is_gt());
    assert_eq!(comparisons.take(), 3);
    assert_eq!(comparisons.count(), 0);
}

#[test]
fn every_comparison_of_a_merge_is_counted() {
    let comparisons = Comparisons::new();
    let key = |value| comparisons.key(value);
    let merge = losertree::merge([[1, 3].map(key), [2, 4].map(key)]);
    assert_eq!(merge.map(|key: CountedKey| key.value()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    // One to begin with, and one after each item but the last two: of these a source is at its end.
    assert_eq!(comparisons.count(), 3);
}

#[test]
fn a_comparator_panics_when_asked_to() {
    let mut compare = panic_at(3, u64::cmp);
    assert!(compare(&1, &2).is_lt());
    assert!(compare(&2, &2).is_eq());
    assert!(catch_unwind(AssertUnwindSafe(|| compare(&1, &2))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| compare(&1, &2))).is_err());
}

#[test]
fn wakes_are_counted() {
    let counting = CountingWaker::new();
    let waker = counting.waker();
    waker.wake_by_ref();
    assert_eq!((counting.wakes(), counting.kept()), (1, 1));
    waker.wake();
    let clone = counting.clone();
    assert_eq!((clone.take(), counting.wakes(), counting.kept()), (2, 0, 1));
    drop(clone);
    assert_eq!(counting.kept(), 0);
}

#[test]
fn futures_are_polled_as_often_as_told() {
    let mut polls = 0;
    let mut third = poll_fn(|_| {
        polls += 1;
        if polls == 3 { Poll::Ready("done") } else { Poll::Pending }
    });
    assert!(poll_times(&mut third, 0).is_err());
    assert!(poll_times(&mut third, 2).is_err());
    assert!(matches!(poll_times(&mut third, 5), Ok("done")));
    assert_eq!(polls, 3);
}

#[test]
fn allocations_are_counted_where_the_counting_crate_is_named() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1_u64))));
    assert_eq!((counted.count_total, counted.count_current), (1, 0));
    let runs = losertree_testkit::inputs::uniform(1, 8, 1000);
    let mut merge = losertree::merge(runs);
    let first = merge.next();
    let counted = allocation_counter::measure(|| assert_eq!(merge.by_ref().count(), 999));
    assert_eq!((first.is_some(), counted.count_total), (true, 0));
}

#[test]
fn each_thread_counts_its_own_allocations() {
    let turns = Arc::new(Barrier::new(2));
    let other = std::thread::spawn({
        let turns = Arc::clone(&turns);
        move || {
            turns.wait();
            let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u64; 10])));
            turns.wait();
            counted.count_total
        }
    });
    let counted = allocation_counter::measure(|| {
        turns.wait();
        turns.wait();
    });
    assert_eq!((counted.count_total, other.join().unwrap()), (0, 1));
}
