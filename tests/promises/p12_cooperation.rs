//! P12: no single poll runs unboundedly. One poll of a merge polls each source once at most, and at most 128
//! sources; then it yields to the executor.

use losertree::stream::{PollClose, PollNext};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::stream::{self, FusedStream, StreamExt};
use losertree::response::limit;
use losertree::{ProxyResponseLoserTree, Response, Series, Source, SourceError, from_iter};
use losertree_testkit::{CountingWaker, End, Script, Stage, Wake};

const BUDGET: usize = 128;

// F28, F35
/// A source that yields to the executor by waking itself gets what it asks for: the executor runs, before it
/// is polled again.
#[test]
fn a_source_that_wakes_itself_is_polled_once_a_poll() {
    struct NeverReady(Arc<AtomicUsize>);
    impl Source for NeverReady {
        type Item = u64;
        type Error = Infallible;
        fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
            self.0.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
            self.0.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
    let polls = Arc::new(AtomicUsize::new(0));
    let mut merge = ProxyResponseLoserTree::new((0..3).map(|_| NeverReady(Arc::clone(&polls))));
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    for poll in 1..=100 {
        assert!(merge.poll_next_unpin(&mut cx).is_pending());
        assert_eq!(polls.load(Ordering::Relaxed), 3 * poll);
        assert!(task.take() > 0, "the sources have woken it");
    }
    polls.store(0, Ordering::Relaxed);
    for poll in 1..=100 {
        assert!(merge.poll_close_all(&mut cx).is_pending());
        assert_eq!(polls.load(Ordering::Relaxed), 3 * poll);
        assert!(task.take() > 0);
    }
}

/// Sources that are empty, and yield to the executor when they are to be closed.
struct ClosesSlowly(Arc<AtomicUsize>, usize);

impl Source for ClosesSlowly {
    type Item = u64;
    type Error = Infallible;
    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(None)
    }
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.1 += 1;
        if self.1 > 3 {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The poll that finds all sources at their end does not poll again those that have yielded in it.
#[test]
fn a_source_that_yields_while_closing_is_polled_once_a_poll() {
    for (sources, blocks) in [(1, false), (BUDGET, false), (1, true), (BUDGET, true)] {
        let closes = Arc::new(AtomicUsize::new(0));
        let mut merge =
            ProxyResponseLoserTree::new((0..sources).map(|_| ClosesSlowly(Arc::clone(&closes), 0)));
        let task = CountingWaker::new();
        let waker = task.waker();
        let mut cx = Context::from_waker(&waker);
        let mut block = Vec::new();
        for poll in 1..=4 {
            let polled = if blocks {
                merge.poll_next_ready(&mut cx, &mut block, BUDGET).map(Result::unwrap).map(drop)
            } else {
                merge.poll_next_unpin(&mut cx).map(drop)
            };
            assert_eq!(polled.is_ready(), poll == 4);
            assert_eq!(closes.load(Ordering::Relaxed), sources * poll);
            assert!(poll == 4 || task.take() > 0, "the sources have woken it");
        }
    }
}

/// Counts how many polls of sources one poll of the merge makes, until it is done.
fn most_polls_at_once(stage: &Stage, mut poll: impl FnMut(&mut Context<'_>) -> Poll<()>) -> (usize, usize) {
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    let (mut most, mut polls) = (0, 0);
    loop {
        let before = stage.log().polls();
        polls += 1;
        let polled = poll(&mut cx);
        most = most.max(stage.log().polls() - before);
        if polled.is_ready() {
            return (most, polls);
        }
        assert_eq!(task.take(), 1, "pending, and not woken: it would sleep for ever");
    }
}

#[test]
fn filling_many_sources_yields() {
    let stage = Stage::new();
    let mut merge = ProxyResponseLoserTree::new(stage.sources((0..1_000).map(|i| Script::of([i]))));
    let (most, polls) = most_polls_at_once(&stage, |cx| merge.poll_next_unpin(cx).map(drop));
    // The last poll takes an item, and so polls the winner, which ends, and closes it.
    assert!(most <= BUDGET + 2, "{most}");
    assert_eq!(polls, 1_000_usize.div_ceil(BUDGET));
}

#[test]
fn closing_many_sources_yields() {
    let stage = Stage::new();
    let mut merge = ProxyResponseLoserTree::new(stage.sources((0..1_000).map(|i| Script::of([i]))));
    let (most, polls) = most_polls_at_once(&stage, |cx| merge.poll_close_all(cx).map(drop));
    assert!(most <= BUDGET, "{most}");
    assert_eq!(polls, 1_000_usize.div_ceil(BUDGET));
    stage.log().assert_closed();
}

/// Empty sources and failing ones are polled once for the end and once to close.
#[test]
fn many_sources_without_items_yield() {
    for fails in [false, true] {
        let stage = Stage::new();
        let script = || if fails { Script::<u64>::new().fail() } else { Script::new() };
        let mut merge = ProxyResponseLoserTree::builder()
            .sources(stage.sources((0..1_000).map(|_| script())))
            .warn_with(|_| 0)
            .build();
        let (most, _) = most_polls_at_once(&stage, |cx| merge.poll_next_unpin(cx).map(drop));
        assert!(most <= 2 * BUDGET, "{most}");
        let items = stage.driver(0).run(&mut merge).ok();
        assert_eq!(items.len(), if fails { 999 } else { 0 });
        stage.log().assert_closed();
    }
}

/// Sources whose closing is due do not wait for the others to run dry.
#[test]
fn many_sources_that_close_slowly_do_not_starve() {
    let stage = Stage::new();
    let slow = (0..500).map(|_| Script::of([0]).close_pending(Wake::Later));
    let endless = Script::of(1..2_000);
    let mut merge = ProxyResponseLoserTree::new(stage.sources(slow.chain([endless])));
    let mut driver = stage.driver(0);
    assert_eq!(driver.run_up_to(&mut merge, 600).end, End::Enough);
    stage.bell().ring_all();
    assert_eq!(driver.run_up_to(&mut merge, 10).end, End::Enough);
    let closed = stage.log().sources().iter().filter(|source| source.close.is_complete()).count();
    assert_eq!(closed, 500);
}

/// What comes beyond a limit is dropped, and that takes its turns: here a stream goes on that is chained to the merge.
#[test]
fn a_limit_drops_no_more_than_128_series_in_a_poll() {
    let series = || Ok::<_, SourceError<Infallible>>(Response::from(Series::default()));
    let taken = AtomicUsize::new(0);
    let more = stream::iter(0..1000).map(|_| {
        taken.fetch_add(1, Ordering::Relaxed);
        series()
    });
    let merge = ProxyResponseLoserTree::new([from_iter((0..3).map(|_| Response::from(Series::default())))]);
    let mut limited = limit(merge.chain(more), 2);
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    for _ in 0..2 {
        assert!(matches!(limited.poll_next_unpin(&mut cx), Poll::Ready(Some(Ok(_)))));
    }
    let mut before = 0;
    while limited.poll_next_unpin(&mut cx).is_pending() {
        let dropped = taken.load(Ordering::Relaxed);
        assert!(dropped - before <= BUDGET && task.take() > 0, "{before} {dropped}");
        before = dropped;
    }
    assert_eq!((before, taken.load(Ordering::Relaxed)), (1000 - 1000 % BUDGET, 1000));
    assert!(limited.is_terminated());
}
