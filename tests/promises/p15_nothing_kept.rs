//! P15: when the closing of a source begins, the merge keeps nothing that came out of it but the item that this poll hands over.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::executor::block_on;
use futures::future::poll_fn;
use futures::task::AtomicWaker;
use losertree::stream::{OrderCheck, PollClose, PollNext};
use losertree::{ProxyResponseLoserTree, SortKey, Source};

/// How many sources a merge has: one, two, and enough for a tree.
const FAN_INS: [usize; 3] = [1, 2, 7];

/// What a source has lent, clones of items included.
#[derive(Debug, Default)]
struct Lent {
    outstanding: AtomicUsize,
    waits: AtomicWaker,
}

/// An item that belongs to its source until it is dropped, as a lease of a buffer does.
#[derive(Debug)]
struct Buffer {
    key: u64,
    is_ordered: bool,
    lent: Arc<Lent>,
}

impl Buffer {
    fn new(key: u64, is_ordered: bool, lent: &Arc<Lent>) -> Self {
        lent.outstanding.fetch_add(1, SeqCst);
        Self { key, is_ordered, lent: lent.clone() }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        Self::new(self.key, self.is_ordered, &self.lent)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.lent.outstanding.fetch_sub(1, SeqCst);
        self.lent.waits.wake();
    }
}

impl SortKey for Buffer {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = true;

    fn code(&self) -> u64 {
        self.key
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }

    fn is_ordered(&self) -> bool {
        self.is_ordered
    }
}

/// How many items of sources were still somewhere when their closing began, in the order in which it did.
type KeptAtClose = Arc<Mutex<Vec<usize>>>;

#[derive(Debug, Clone, Copy)]
enum Step {
    Item(u64),
    /// An item that takes no part in the order.
    Unordered,
    Never,
    Fail,
}

/// A source that is closed when all that it has lent has come back.
struct Lender {
    steps: VecDeque<Step>,
    lent: Arc<Lent>,
    kept: KeptAtClose,
    /// How many were somewhere when it was dropped.
    kept_at_drop: KeptAtClose,
    is_closing: bool,
}

impl Drop for Lender {
    fn drop(&mut self) {
        self.kept_at_drop.lock().unwrap().push(self.lent.outstanding.load(SeqCst));
    }
}

impl Source for Lender {
    type Item = Buffer;
    type Error = &'static str;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
        match self.steps.pop_front() {
            Some(Step::Item(key)) => Poll::Ready(Some(Ok(Buffer::new(key, true, &self.lent)))),
            Some(Step::Unordered) => Poll::Ready(Some(Ok(Buffer::new(0, false, &self.lent)))),
            Some(Step::Never) => Poll::Pending,
            Some(Step::Fail) => Poll::Ready(Some(Err("failed".into()))),
            None => Poll::Ready(None),
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.lent.waits.register(cx.waker());
        let outstanding = self.lent.outstanding.load(SeqCst);
        if !std::mem::replace(&mut self.is_closing, true) {
            self.kept.lock().unwrap().push(outstanding);
        }
        if outstanding == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

#[derive(Default)]
struct Lenders {
    kept: KeptAtClose,
    kept_at_drop: KeptAtClose,
}

impl Lenders {
    fn of(&self, steps: impl IntoIterator<Item = Step>) -> Lender {
        let steps = steps.into_iter().collect();
        let (kept, kept_at_drop) = (self.kept.clone(), self.kept_at_drop.clone());
        Lender { steps, lent: Arc::default(), kept, kept_at_drop, is_closing: false }
    }

    fn kept(&self) -> Vec<usize> {
        std::mem::take(&mut *self.kept.lock().unwrap())
    }
}

fn merges(sources: impl Fn() -> Vec<Lender>) -> impl Iterator<Item = ProxyResponseLoserTree<Lender>> {
    let checks = [None, Some(OrderCheck::Fail), Some(OrderCheck::Report)];
    checks.into_iter().map(move |check| {
        let builder = ProxyResponseLoserTree::builder().sources(sources());
        if let Some(check) = check { builder.order_check(check).build() } else { builder.build() }
    })
}

// F53
#[test]
fn sources_that_wait_for_their_items_are_closed_when_they_end() {
    for fan_in in FAN_INS {
        let lenders = Lenders::default();
        let sources =
            || (0..fan_in as u64).map(|first| lenders.of((0..5).map(|n| Step::Item(first + n)))).collect();
        for mut merge in merges(sources) {
            let mut items = 0;
            // It would hang here.
            while let Some(item) = block_on(merge.next()) {
                drop(item.unwrap());
                items += 1;
            }
            assert_eq!(items, 5 * fan_in);
            // Its last item is the one that the poll hands over.
            assert_eq!(lenders.kept(), vec![1; fan_in]);
        }
    }
}

#[test]
fn blocks_of_items_are_the_consumers() {
    for fan_in in FAN_INS {
        let lenders = Lenders::default();
        let sources =
            || (0..fan_in as u64).map(|first| lenders.of((0..5).map(|n| Step::Item(first + n)))).collect();
        for mut merge in merges(sources) {
            let mut block = Vec::new();
            let mut items = 0;
            while block_on(merge.next_ready(&mut block, 2)).unwrap() > 0 {
                items += block.drain(..).count();
            }
            assert_eq!(items, 5 * fan_in);
            assert!(lenders.kept().iter().all(|kept| *kept <= 2));
        }
    }
}

#[test]
fn nothing_is_kept_when_a_close_or_a_limit_ends_it_early() {
    for fan_in in FAN_INS {
        for taken in 0..6 {
            let lenders = Lenders::default();
            let sources = || {
                let mut lenders: Vec<_> = (0..fan_in as u64)
                    .map(|first| lenders.of((0..9).map(|n| Step::Item(first + n))))
                    .collect();
                lenders[0].steps.truncate(3);
                lenders
            };
            for mut merge in merges(sources) {
                for _ in 0..taken.min(if fan_in == 1 { 3 } else { 6 }) {
                    drop(block_on(merge.next()).unwrap());
                }
                lenders.kept();
                assert_eq!(block_on(merge.close()), Ok(()));
                assert!(lenders.kept().iter().all(|kept| *kept == 0));
            }
            for check in [OrderCheck::Fail, OrderCheck::Report] {
                let builder = ProxyResponseLoserTree::builder().sources(sources()).order_check(check);
                let mut merge = builder.limit(taken).build();
                let mut items = 0;
                while let Some(item) = block_on(merge.next()) {
                    drop(item.unwrap());
                    items += 1;
                }
                assert_eq!(items, taken.min(if fan_in == 1 { 3 } else { 6 }));
                assert!(lenders.kept().iter().all(|kept| *kept <= 1));
            }
        }
    }
}

#[test]
fn nothing_is_kept_of_a_source_that_goes_backwards() {
    let lenders = Lenders::default();
    let sources = [lenders.of([5, 7, 6].map(Step::Item)), lenders.of([1, 6, 9].map(Step::Item))];
    let mut merge = ProxyResponseLoserTree::builder().sources(sources).order_check(OrderCheck::Fail).build();
    let mut keys = Vec::new();
    let error = loop {
        match block_on(merge.next()).unwrap() {
            Ok(item) => keys.push(item.key),
            Err(error) => break error,
        }
    };
    assert_eq!((&*keys, error.path().index()), (&[1, 5, 6, 7][..], Some(0)));
    assert!(block_on(merge.next()).is_none());
    assert_eq!(lenders.kept(), [0, 0]);
}

#[test]
fn an_item_that_takes_no_part_in_the_order_is_not_kept_either() {
    let lenders = Lenders::default();
    // The second source has something to say, and the third is waited for.
    let sources = [
        lenders.of([Step::Item(1)]),
        lenders.of([Step::Unordered, Step::Unordered, Step::Item(2)]),
        lenders.of([Step::Never]),
    ];
    let mut merge = ProxyResponseLoserTree::new(sources);
    let first = block_on(merge.next()).unwrap().unwrap();
    assert!(!first.is_ordered);
    drop(first);
    // The next one has been met, and is not yielded any more.
    assert!(block_on(poll_fn(|cx| Poll::Ready(merge.poll_close_all(cx).is_ready()))));
    assert_eq!(lenders.kept(), [0, 0, 0]);
}

#[test]
fn an_item_that_takes_no_part_in_the_order_is_not_kept_when_another_source_fails() {
    let lenders = Lenders::default();
    let sources = [lenders.of([Step::Unordered, Step::Item(2)]), lenders.of([Step::Fail])];
    let mut merge = ProxyResponseLoserTree::new(sources);
    assert_eq!(block_on(merge.next()).unwrap().unwrap_err().path().index(), Some(1));
    assert!(block_on(merge.next()).is_none());
    assert_eq!(lenders.kept(), [0, 0]);
}

#[test]
fn handing_sources_back_keeps_nothing() {
    let lenders = Lenders::default();
    let sources = (0..3).map(|first| lenders.of((0..4).map(|n| Step::Item(first + n))));
    let mut merge = ProxyResponseLoserTree::builder().sources(sources).order_check(OrderCheck::Fail).build();
    for _ in 0..4 {
        drop(block_on(merge.next()).unwrap());
    }
    for undrained in merge.into_sources() {
        let outstanding = undrained.source.lent.outstanding.load(SeqCst);
        assert_eq!(outstanding, usize::from(undrained.head.is_some()));
    }
}

/// Heads, the item that the order is checked against, and what waits to be yielded may hold on to what their sources lend.
#[test]
fn a_merge_that_is_dropped_drops_what_came_out_of_its_sources_before_them() {
    for fan_in in FAN_INS {
        for taken in 0..5 {
            let lenders = Lenders::default();
            let sources = || {
                let steps =
                    |first| [Step::Item(first), Step::Item(first + 1), Step::Unordered, Step::Item(9)];
                (0..fan_in as u64).map(|first| lenders.of(steps(first))).collect()
            };
            for mut merge in merges(sources) {
                for _ in 0..taken {
                    drop(block_on(poll_fn(|cx| Poll::Ready(merge.poll_next_unpin(cx)))));
                }
                // Not those that were closed before, while the consumer had their last item.
                let before = lenders.kept_at_drop.lock().unwrap().len();
                drop(merge);
                let kept = lenders.kept_at_drop.lock().unwrap().split_off(before);
                assert!(kept.iter().all(|kept| *kept == 0), "{fan_in} {taken}: {kept:?}");
            }
        }
    }
}
