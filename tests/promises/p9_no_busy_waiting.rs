//! P9: a source is polled only at first, after its own waker fired, or when it is the winner that must be
//! refilled. Start-up costs O(K) polls however the sources wake. An idle merge polls nothing.
//!
//! That no poll is spurious is what the checker around every scripted source asserts, in all tests; here the
//! polls are counted too.

use losertree::stream::{PollClose, PollNext};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::StreamExt;
use losertree::{LeakLedger, ProxyResponseLoserTree, Source};
use losertree_testkit::{
    Checked, CountingWaker, Item, Log, Random, Runs, Script, Stage, Wake, assert_merged,
};
use quickcheck::quickcheck;

// F28, F29
#[test]
fn a_thousand_sources_that_wake_one_by_one() {
    const SOURCES: usize = 1_000;
    for seed in 0..3 {
        let stage = Stage::new();
        let scripts = (0..SOURCES as u64).map(|i| Script::new().pending(Wake::Later).item(i % 10).item(i));
        let mut merge = ProxyResponseLoserTree::new(stage.sources(scripts));
        let task = CountingWaker::new();
        let waker = task.waker();
        let mut cx = Context::from_waker(&waker);
        // The first polls, as many of the merge as it yields to the executor in between.
        let mut polls_of_merge = 0;
        loop {
            polls_of_merge += 1;
            assert!(merge.poll_next_unpin(&mut cx).is_pending());
            if task.take() == 0 {
                break;
            }
        }
        assert_eq!(stage.log().polls(), SOURCES);
        assert!(polls_of_merge <= SOURCES / 100, "{polls_of_merge}");
        // One after the other, in random order, and the merge polled after each.
        let mut order: Vec<_> = (0..SOURCES).collect();
        Random::seed(seed).shuffle(&mut order);
        for (count, source) in order.iter().enumerate() {
            assert!(stage.bell().ring(*source));
            assert_eq!(task.take(), 1, "the merge is woken once");
            let polled = merge.poll_next_unpin(&mut cx);
            assert_eq!(polled.is_ready(), count + 1 == SOURCES);
            // The last poll has taken an item, and polled for its successor.
            let successor = usize::from(polled.is_ready());
            assert_eq!(stage.log().polls(), SOURCES + count + 1 + successor);
        }
        assert_eq!(task.take(), 0, "it has not woken itself");
        // The rest: one poll for each item, and for each source one for the end and one to close.
        assert_eq!(stage.driver(seed).run(&mut merge).ok().len(), 2 * SOURCES - 1);
        assert_eq!(stage.log().polls(), 5 * SOURCES);
        stage.log().assert_closed();
    }
}

#[test]
fn an_idle_merge_polls_nothing() {
    let stage = Stage::new();
    let scripts = [Script::of([1, 2]), Script::new().pending(Wake::Later).item(3)];
    let mut merge = ProxyResponseLoserTree::new(stage.sources(scripts));
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    assert!(merge.poll_next_unpin(&mut cx).is_pending());
    let polls = stage.log().polls();
    for _ in 0..100 {
        assert!(merge.poll_next_unpin(&mut cx).is_pending());
    }
    assert_eq!(stage.log().polls(), polls);
    assert_eq!(task.wakes(), 0);
    stage.bell().ring_all();
    assert_eq!(task.wakes(), 1);
    assert_eq!(merge.poll_next_unpin(&mut cx), Poll::Ready(Some(Ok(1))));
}

/// Each item costs one poll of its source, where sources are always ready.
#[test]
fn a_ready_source_is_polled_once_for_each_item() {
    let stage = Stage::new();
    let runs = Runs::<u64>::random(&mut Random::seed(3), 80);
    let mut merge =
        ProxyResponseLoserTree::new(stage.sources(runs.clone().into_vec().into_iter().map(Script::of)));
    assert_merged(&stage.driver(0).run(&mut merge).ok(), runs.as_slice());
    // And one for the end of each source, and one to close it.
    assert_eq!(stage.log().polls(), runs.items() + 2 * runs.sources());
}

/// Only the winner is asked for more: the source that is not is left alone, even if it wakes.
#[test]
fn a_source_with_a_head_is_not_polled_when_it_wakes() {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::Waker;

    /// Prefetches: it gives an item at once and wakes later, when another one has arrived.
    struct Prefetching(u64, Arc<Mutex<(usize, Option<Waker>)>>);
    impl Source for Prefetching {
        type Item = u64;
        type Error = Infallible;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
            let mut shared = self.1.lock().expect("not poisoned");
            shared.0 += 1;
            shared.1 = Some(cx.waker().clone());
            drop(shared);
            self.0 += 10;
            Poll::Ready(Some(Ok(self.0)))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
            Poll::Ready(Ok(()))
        }
    }
    let shared = Arc::new(Mutex::new((0, None)));
    let low = || Arc::new(Mutex::new((0, None)));
    let sources = [Prefetching(1_000, Arc::clone(&shared)), Prefetching(0, low()), Prefetching(5, low())];
    let mut merge = ProxyResponseLoserTree::new(sources);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..50 {
        assert!(merge.poll_next_unpin(&mut cx).is_ready());
        let waker = shared.lock().expect("not poisoned").1.clone();
        waker.expect("it was polled at first").wake();
    }
    assert_eq!(shared.lock().expect("not poisoned").0, 1);
}

quickcheck! {
    // F46, F16
    /// Sources are pushed while merging, with random schedules; the driver finds missed wake-ups.
    fn sources_pushed_while_merging(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        let ledger = LeakLedger::counts();
        let mut sources = stage.sources_of(runs.clone().into_vec(), random, 0.4).into_iter();
        let at_first = random.below(runs.sources() + 1);
        let mut merge = ProxyResponseLoserTree::builder()
            .sources(sources.by_ref().take(at_first))
            .ledger(&ledger)
            .build();
        let mut driver = stage.driver(seed).restless(0.1);
        let mut items: Vec<Item<u64>> = Vec::new();
        let mut pushed = at_first;
        for source in sources {
            items.extend(driver.run_up_to(&mut merge, random.below(4)).oks());
            match merge.push(source) {
                Ok(index) => {
                    assert_eq!(index, pushed);
                    pushed += 1;
                }
                // All others have ended and the end was seen: the source comes back, untouched.
                Err(error) => {
                    assert_eq!(items.len(), runs.as_slice()[..pushed].iter().map(Vec::len).sum::<usize>());
                    drop(error.source_not_added);
                    break;
                }
            }
        }
        let rest = driver.run(&mut merge).ok();
        // From here on all sources are there, so the rest is in order.
        assert!(rest.is_sorted_by(|a, b| (a.key, a.source) <= (b.key, b.source)));
        items.extend(rest);
        // Nothing is lost or repeated, and each source comes in its own order.
        for (source, run) in runs.as_slice()[..pushed].iter().enumerate() {
            let found: Vec<_> = items.iter().filter(|item| item.source == source).copied().collect();
            assert_eq!(&found, run);
        }
        assert_eq!(items.len(), runs.as_slice()[..pushed].iter().map(Vec::len).sum::<usize>());
        drop(merge);
        stage.log().assert_released();
        ledger.assert_balanced();
        true
    }
}

/// A push from outside of a poll wakes the task that waits.
#[test]
fn a_push_wakes_the_task() {
    let stage = Stage::new();
    let waiting = stage.source(Script::new().pending(Wake::Later).item(5));
    let mut merge = ProxyResponseLoserTree::new([waiting]);
    let task = CountingWaker::new();
    let waker = task.waker();
    assert!(merge.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(task.wakes(), 0);
    merge.push(stage.source(Script::of([1]))).expect("it is merging");
    assert_eq!(task.wakes(), 1);
}

/// A wake-up that a source has had before it is polled for a successor is used up by that poll, though the merge has not come to it: in
/// one poll it comes to 128 that were woken.
#[test]
fn a_wake_up_from_before_the_poll_for_a_successor_is_used_up_by_it() {
    const SOURCES: usize = 300;
    type Wakers = Arc<Mutex<Vec<Option<Waker>>>>;
    /// Gives two items, and leaves its waker where it can be woken.
    struct Remote(usize, usize, Wakers);
    impl Source for Remote {
        type Item = usize;
        type Error = Infallible;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
            self.2.lock().unwrap()[self.0] = Some(cx.waker().clone());
            self.1 += 1;
            // The last source wins.
            if self.1 > 2 { Poll::Pending } else { Poll::Ready(Some(Ok(10 * (SOURCES - self.0) + self.1))) }
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
            Poll::Ready(Ok(()))
        }
    }
    let log = Log::new();
    let wakers = Wakers::new(Mutex::new(vec![None; SOURCES]));
    let sources = (0..SOURCES).map(|index| Checked::new(Remote(index, 0, wakers.clone()), &log));
    let mut merge = ProxyResponseLoserTree::new(sources);
    let mut cx = Context::from_waker(Waker::noop());
    let first = loop {
        if let Poll::Ready(first) = merge.poll_next_unpin(&mut cx) {
            break first;
        }
    };
    assert_eq!(first, Some(Ok(11)));
    // All have a head now, and all are woken; the merge comes to the first of them.
    for waker in wakers.lock().unwrap().iter().flatten() {
        waker.wake_by_ref();
    }
    assert!(matches!(merge.poll_next_unpin(&mut cx), Poll::Ready(Some(Ok(12)))));
    for _ in 0..10 {
        assert!(merge.poll_next_unpin(&mut cx).is_pending());
    }
    log.assert_clean();
}
