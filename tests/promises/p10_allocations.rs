//! P10: after start-up nothing is allocated, and a merge of K sources takes O(K) memory. Counted by a global
//! allocator, on bare sources: what the checked ones of the testkit allocate would be counted too.

use losertree::stream::{PollClose, PollNext};
use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use allocation_counter::{AllocationInfo, measure};
use futures::StreamExt;
use losertree::key::Order;
use losertree::{LeakLedger, ProxyResponseLoserTree, Source, merge, merge_by, merge_by_key, try_merge};
use losertree_testkit::{CountingWaker, inputs};

const ITEMS: usize = 5_000;

fn assert_none(counted: &AllocationInfo, what: &str) {
    assert_eq!(counted.count_total, 0, "{what} allocates: {counted:?}");
}

/// Counts what is allocated after the first item is out.
fn assert_iteration_is_free<I: Iterator>(what: &str, merge: impl Fn() -> I) {
    assert_free_after(1, what, merge);
}

/// Counts what is allocated after so many items are out.
fn assert_free_after<I: Iterator>(start: usize, what: &str, merge: impl Fn() -> I) {
    let mut stepwise = merge();
    let mut items = stepwise.by_ref().take(start).count();
    let counted = measure(|| {
        while stepwise.next().is_some() {
            items += 1;
        }
    });
    assert_none(&counted, what);

    let mut folded = merge();
    let mut folded_items = folded.by_ref().take(start).count();
    assert_none(&measure(|| folded_items += folded.count()), what);
    assert_eq!((items, items > 100), (folded_items, true));

    let mut dropped = merge();
    assert_eq!(dropped.by_ref().take(start).count(), start);
    assert_none(&measure(|| drop(dropped)), what);
}

#[test]
fn sync_merges_allocate_nothing_for_an_item() {
    for sources in [1, 2, 5, 16, 100] {
        let runs = inputs::duplicates(3, sources, ITEMS);
        let numbers = || runs.iter().map(|run| run.iter().copied());
        let labels = inputs::labels(3, sources, ITEMS, 2);
        assert_iteration_is_free("a merge of numbers", || merge(numbers()));
        assert_iteration_is_free("a merge by a comparator", || merge_by(numbers(), Ord::cmp));
        assert_iteration_is_free("a merge by a key", || merge_by_key(numbers(), |item| *item));
        // Offset-value codes, with the one key that is kept, begin after two ties for each leaf: each of these items has some.
        let start = 2 * sources.next_power_of_two() + 1;
        assert_free_after(start, "a merge of labels", || merge(&labels));
        assert_free_after(start, "deduplication", || merge(&labels).dedup());
        assert_free_after(start, "coalescing", || {
            merge(labels.iter().map(|run| run.iter().map(|label| (label, 1)))).coalesce(|a, b| a.1 += b.1)
        });
        assert_iteration_is_free("a merge of results", || {
            try_merge(numbers().map(|run| run.map(Ok::<_, Infallible>)))
        });
    }
}

#[test]
fn peeking_allocates_nothing() {
    let runs = inputs::uniform(3, 16, ITEMS);
    let mut merge = merge(runs);
    merge.next();
    let counted = measure(|| {
        while merge.peek().is_some() {
            merge.next_with_source();
        }
    });
    assert_none(&counted, "peeking");
}

#[test]
fn taking_blocks_allocates_nothing() {
    let runs = inputs::long_runs(3, 16, ITEMS);
    let numbers = || runs.iter().map(|run| run.iter().copied());
    let mut block = Vec::with_capacity(100);
    let (mut sync, mut fallible) =
        (merge(numbers()), try_merge(numbers().map(|run| run.map(Ok::<_, Infallible>))));
    let mut items = 0;
    sync.next();
    fallible.next();
    let counted = measure(|| {
        while sync.next_block(&mut block, 100) > 0
            || fallible.next_block(&mut block, 100).is_ok_and(|n| n > 0)
        {
            items += block.len();
            block.clear();
        }
    });
    assert_none(&counted, "taking blocks");
    assert_eq!(items, 2 * (ITEMS - 1));

    let (children, _bell) = bare(16, u64::MAX, 0);
    let mut merge = ProxyResponseLoserTree::new(children);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(merge.poll_next_ready(&mut cx, &mut block, 1).is_ready());
    let counted = measure(|| {
        for _ in 0..100 {
            block.clear();
            assert!(matches!(merge.poll_next_ready(&mut cx, &mut block, 100), Poll::Ready(Ok(100))));
        }
    });
    assert_none(&counted, "taking blocks of an async merge");
}

/// Where sources that wait have left their wakers.
type Bell = Rc<RefCell<Vec<Option<Waker>>>>;

/// Gives numbers, and does not allocate.
#[derive(Debug)]
struct Bare {
    index: usize,
    next: u64,
    end: u64,
    step: u64,
    /// Every so many polls, it has to be woken first. Never, if 0.
    pause: u64,
    has_paused: bool,
    bell: Bell,
}

impl Source for Bare {
    type Item = u64;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let turn = self.next / self.step;
        if self.pause > 0 && turn.is_multiple_of(self.pause) && !self.has_paused {
            self.has_paused = true;
            self.bell.borrow_mut()[self.index] = Some(cx.waker().clone());
            return Poll::Pending;
        }
        self.has_paused = false;
        if self.next >= self.end {
            return Poll::Ready(None);
        }
        let item = self.next;
        self.next += self.step;
        Poll::Ready(Some(Ok(item)))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
        Poll::Ready(Ok(()))
    }
}

/// Makes sources, lazily, so that not even a list of them is allocated.
fn bare(sources: usize, end: u64, pause: u64) -> (impl Iterator<Item = Bare>, Bell) {
    let bell = Bell::new(RefCell::new((0..sources).map(|_| None).collect()));
    let hung = Rc::clone(&bell);
    let source = move |index: usize| {
        // All have numbers of their own; a few are much denser than the others.
        let step = sources as u64 * if index.is_multiple_of(4) { 1 } else { 3 };
        Bare { index, next: index as u64, end, step, pause, has_paused: false, bell: Rc::clone(&hung) }
    };
    ((0..sources).map(source), bell)
}

/// Polls until `items` have come or the end, ringing for all that wait, and returns how many came.
fn drive<O: Order<u64>>(
    merge: &mut ProxyResponseLoserTree<Bare, O>,
    bell: &Bell,
    items: usize,
    waker: &Waker,
) -> usize {
    let sources = bell.borrow().len();
    let mut cx = Context::from_waker(waker);
    let mut count = 0;
    while count < items {
        match merge.poll_next_unpin(&mut cx) {
            Poll::Ready(Some(item)) => count += usize::from(item.is_ok()),
            Poll::Ready(None) => break,
            Poll::Pending => {
                for index in 0..sources {
                    let waiting = bell.borrow_mut()[index].take();
                    if let Some(waiting) = waiting {
                        waiting.wake();
                    }
                }
            }
        }
    }
    count
}

#[test]
fn async_merges_allocate_nothing_for_an_item() {
    for sources in [1, 2, 5, 16, 100, 1000] {
        for pause in [0, 1, 3] {
            let (children, bell) = bare(sources, u64::MAX, pause);
            let mut merge = ProxyResponseLoserTree::new(children);
            let counting = CountingWaker::new();
            let waker = counting.waker();
            assert_eq!(drive(&mut merge, &bell, 1, &waker), 1);
            let mut count = 0;
            let counted = measure(|| count = drive(&mut merge, &bell, ITEMS, &waker));
            assert_eq!((count, counting.wakes() > 0), (ITEMS, pause > 0 || sources > 128));
            assert_none(&counted, "an async merge");
        }
    }
}

/// The use of each source is noted at level sites, in the place that was allocated for it.
#[test]
fn noting_the_uses_of_sources_allocates_nothing() {
    let ledger = LeakLedger::sites();
    let (children, bell) = bare(16, u64::MAX, 2);
    let mut merge = ProxyResponseLoserTree::builder().sources(children).ledger(&ledger).build();
    let waker = CountingWaker::new().waker();
    drive(&mut merge, &bell, 1, &waker);
    let counted = measure(|| {
        drive(&mut merge, &bell, ITEMS, &waker);
    });
    assert_none(&counted, "an async merge with a ledger");
    assert!(ledger.snapshot().open_entries.iter().all(|entry| entry.last_use.is_some()));
}

/// A task that is polled with another waker each time, as under `select`, costs nothing either.
#[test]
fn changing_wakers_allocate_nothing() {
    let (children, bell) = bare(16, u64::MAX, 2);
    let mut merge = ProxyResponseLoserTree::new(children);
    let wakers: Vec<_> = (0..10).map(|_| CountingWaker::new().waker()).collect();
    drive(&mut merge, &bell, 1, &wakers[0]);
    let counted = measure(|| {
        for round in 0..ITEMS {
            drive(&mut merge, &bell, 1, &wakers[round % wakers.len()]);
        }
    });
    assert_none(&counted, "an async merge");
}

/// The part of the life of a merge in which its sources end.
#[test]
fn sources_that_end_allocate_nothing() {
    for sources in [1, 16, 1000] {
        for pause in [0, 2] {
            let (children, bell) = bare(sources, 20_000, pause);
            let mut merge = ProxyResponseLoserTree::new(children);
            let counting = CountingWaker::new();
            let waker = counting.waker();
            drive(&mut merge, &bell, 1, &waker);
            let counted = measure(|| {
                drive(&mut merge, &bell, usize::MAX, &waker);
            });
            assert_eq!(counted.count_total, 0, "{counted:?}");
            assert_none(&measure(|| drop(merge)), "dropping a merge that has ended");
        }
    }
}

#[test]
fn closing_and_dropping_allocate_nothing() {
    for sources in [0, 1, 16, 1000] {
        for taken in [0, 1, 50] {
            let merge = || {
                let (children, bell) = bare(sources, u64::MAX, 2);
                let mut merge = ProxyResponseLoserTree::new(children);
                drive(&mut merge, &bell, taken, Waker::noop());
                merge
            };
            let dropped = merge();
            assert_none(&measure(|| drop(dropped)), "dropping");
            let mut closed = merge();
            let mut is_closed = false;
            let counted = measure(|| {
                let mut cx = Context::from_waker(Waker::noop());
                while !is_closed {
                    is_closed = closed.poll_close_all(&mut cx).is_ready();
                }
            });
            assert_none(&counted, "closing");
            assert_none(&measure(|| drop(closed)), "dropping a closed merge");
        }
    }
}

/// The bytes that stay allocated, and the most there were meanwhile, for each of K sources.
fn per_source<T>(sources: usize, make: impl FnOnce() -> T) -> (usize, usize) {
    let mut result = None;
    let counted = measure(|| result = Some(make()));
    drop(result);
    // Small merges have something constant too, and the series that they count in.
    let constant = if cfg!(feature = "metrics") { 768 } else { 256 };
    let each = |bytes: usize| bytes.saturating_sub(constant) / sources;
    (each(usize::try_from(counted.bytes_current).unwrap()), each(usize::try_from(counted.bytes_max).unwrap()))
}

#[test]
fn memory_is_proportional_to_the_number_of_sources() {
    for sources in [1, 16, 100, 1024, 10_000] {
        // The source and its head; 16 bytes for a node, of which there may be almost two for each source.
        let ranges = (0..sources).map(|start| start as u64..u64::MAX);
        let most = size_of::<Option<std::ops::Range<u64>>>() + size_of::<Option<u64>>() + 2 * 16;
        let (kept, peak) = per_source(sources, || merge(ranges));
        assert!(kept <= most && peak <= most, "{kept}, at most {peak}, for each of {sources}");

        // The source with its head, node, waker, figures and entry in the ledger.
        // With tracing also the span and the name for its events, with metrics the series.
        let observed =
            if cfg!(feature = "tracing") { 72 } else { 0 } + if cfg!(feature = "metrics") { 8 } else { 0 };
        let most = size_of::<Bare>() + 300 + observed;
        let (children, _bell) = bare(sources, u64::MAX, 0);
        let (kept, peak) = per_source(sources, || ProxyResponseLoserTree::new(children));
        assert!(kept <= most && peak <= most, "{kept}, at most {peak}, for each of {sources}");
    }
}

#[test]
fn all_that_is_allocated_is_freed() {
    let counted = measure(|| {
        let runs = inputs::uniform(1, 20, ITEMS);
        assert_eq!(merge(runs).dedup().count(), ITEMS);
        let (children, bell) = bare(40, 20_000, 2);
        let mut merge = ProxyResponseLoserTree::new(children);
        assert!(drive(&mut merge, &bell, usize::MAX, Waker::noop()) > 1_000);
        let (children, bell) = bare(40, 20_000, 2);
        let mut dropped = ProxyResponseLoserTree::new(children);
        drive(&mut dropped, &bell, 100, Waker::noop());
    });
    assert_eq!((counted.count_current, counted.bytes_current), (0, 0));
}
