//! P5: dropping is synchronous: it never blocks, spawns, compares or panics. Every source is dropped, in
//! source order, and recorded as dropped unclosed.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::StreamExt;
use losertree::key::By;
use losertree::stream::{PollClose, PollNext};
use losertree::{LeakLedger, ProxyResponseLoserTree, Source};
use losertree_testkit::{Script, Stage, Wake, poll_times, silence_scripted_panics};

#[test]
fn sources_are_dropped_in_source_order_and_recorded() {
    for taken in 0..5 {
        let stage = Stage::new();
        let ledger = LeakLedger::sites();
        let sources = stage.sources((0..6).map(|i| Script::of([i, i + 10]).close_pending(Wake::Never)));
        let mut merge = ProxyResponseLoserTree::builder().sources(sources).ledger(&ledger).build();
        let _ = stage.driver(0).run_up_to(&mut merge, taken);
        drop(merge);
        assert_eq!(stage.log().drop_order(), [0, 1, 2, 3, 4, 5]);
        let record = ledger.snapshot();
        assert_eq!((record.dropped_unclosed, record.open), (6, 0));
        stage.log().assert_released();
    }
}

// F47
#[test]
fn a_source_that_panics_in_its_drop_does_not_keep_the_others() {
    silence_scripted_panics();
    let stage = Stage::new();
    let ledger = LeakLedger::counts();
    let scripts = (0..6).map(|i| {
        let script = Script::of([i]);
        // Two of them: a second panic while one unwinds would abort the process.
        if i == 1 || i == 4 { script.drop_panics() } else { script }
    });
    let merge = ProxyResponseLoserTree::builder().sources(stage.sources(scripts)).ledger(&ledger).build();
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(merge)));
    assert!(dropped.is_ok(), "the panic got out");
    assert_eq!(stage.log().drop_order(), [0, 1, 2, 3, 4, 5]);
    stage.log().assert_released();
    ledger.assert_balanced();
}

/// The drop of a merge during another panic must not abort the process.
#[test]
fn a_drop_while_unwinding() {
    silence_scripted_panics();
    let stage = Stage::new();
    let sources = stage.sources([Script::of([1]).drop_panics(), Script::new().panic(), Script::of([2])]);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let mut merge = ProxyResponseLoserTree::new(sources);
        drop(futures::executor::block_on(merge.next()));
    }));
    assert!(unwound.is_err());
    stage.log().assert_released();
}

// F26
#[test]
fn dropping_compares_nothing() {
    let armed = Arc::new(AtomicBool::new(false));
    let order = {
        let armed = Arc::clone(&armed);
        By::new(move |a: &u64, b: &u64| {
            assert!(!armed.load(Ordering::Relaxed), "compared in a drop");
            a.cmp(b)
        })
    };
    let stage = Stage::new();
    let sources = stage.sources((0..5).map(|i| Script::of([i, i + 1, i + 2])));
    let mut merge = ProxyResponseLoserTree::builder().sources(sources).order(order).build();
    let _ = stage.driver(0).run_up_to(&mut merge, 4);
    armed.store(true, Ordering::Relaxed);
    drop(merge);
    stage.log().assert_released();
}

/// Heads go before sources, so that what they borrow from their sources is back first.
#[test]
fn heads_are_dropped_before_sources() {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    struct Lender(Arc<()>);
    impl Drop for Lender {
        fn drop(&mut self) {
            assert!(Arc::strong_count(&self.0) <= 2, "an item outlived the sources");
        }
    }
    impl Source for Lender {
        type Item = (u8, Lent);
        type Error = Infallible;
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
            Poll::Ready(Some(Ok((1, Lent(Arc::clone(&self.0))))))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
            Poll::Ready(Ok(()))
        }
    }
    struct Lent(#[allow(dead_code)] Arc<()>);

    // Each lender holds one count, and so does each head, and this one.
    let counts: Vec<_> = (0..3).map(|_| Arc::new(())).collect();
    let lenders = counts.iter().map(|count| Lender(Arc::clone(count)));
    let order = By::new(|a: &(u8, Lent), b: &(u8, Lent)| a.0.cmp(&b.0));
    let mut merge = ProxyResponseLoserTree::builder().sources(lenders).order(order).build();
    assert!(poll_times(merge.next(), 1).is_ok());
    assert!(counts.iter().any(|count| Arc::strong_count(count) > 2), "there are heads");
    drop(merge);
    assert!(counts.iter().all(|count| Arc::strong_count(count) == 1));
}

/// After the drop, a source's waker that fires late finds nothing, and keeps nothing of the task alive.
#[test]
fn wakers_that_outlive_the_merge_do_nothing() {
    use losertree_testkit::CountingWaker;
    use std::task::Context;

    let stage = Stage::new();
    let sources = stage.sources((0..3).map(|_| Script::of([1]).pending(Wake::Later)));
    // The pause is after the first item.
    let mut merge = ProxyResponseLoserTree::new(sources);
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    assert!(merge.poll_next_unpin(&mut cx).is_ready());
    assert!(merge.poll_next_unpin(&mut cx).is_pending());
    drop(merge);
    stage.bell().ring_all();
    assert_eq!(task.wakes(), 0);
    drop(waker);
    assert_eq!(task.kept(), 0, "a waker of the task is still held");
}

/// A source whose drop throws something whose drop panics too.
struct Grenade(Arc<AtomicUsize>);

struct Shrapnel;

impl Drop for Shrapnel {
    fn drop(&mut self) {
        resume_unwind(Box::new("as asked for"));
    }
}

impl Drop for Grenade {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        resume_unwind(Box::new(Shrapnel));
    }
}

impl Source for Grenade {
    type Item = u64;
    type Error = Infallible;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
        Poll::Pending
    }
}

// F47
#[test]
fn what_a_drop_throws_may_panic_when_it_is_dropped() {
    let (ledger, dropped) = (LeakLedger::counts(), Arc::new(AtomicUsize::new(0)));
    let sources = [(); 3].map(|()| Grenade(Arc::clone(&dropped)));
    let merge = ProxyResponseLoserTree::builder().sources(sources).ledger(&ledger).build();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _merge = merge;
        resume_unwind(Box::new("as asked for"));
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"as asked for"));
    assert_eq!(dropped.load(Ordering::Relaxed), 3);
    assert_eq!((ledger.snapshot().open, ledger.snapshot().dropped_unclosed), (0, 3));
}
