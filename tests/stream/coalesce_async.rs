//! Async merges in which runs of items become one: as the sync ones do it, and closed as any merge.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures::executor::block_on;
use futures::stream::FusedStream;
use futures::task::AtomicWaker;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use losertree::error::Phase;
use losertree::key::ByKey;
use losertree::stream::{Closable, PollClose, PollNext, is_closing};
use losertree::{
    LeakLedger, ProxyResponseLoserTree, SortKey, Source, closing, from_iter, from_stream, merge, merge_by_key,
};
use losertree_testkit::{CountingWaker, Item, Random, Runs, Script, Stage, TestKey, Wake, assert_same};
use quickcheck::quickcheck;

type Items<K> =
    Pin<Box<dyn Stream<Item = Result<Item<K>, losertree::SourceError<losertree_testkit::TestError>>>>>;

type Sources<K> = Vec<losertree_testkit::Checked<losertree_testkit::ScriptedSource<Item<K>>>>;

/// Runs of few different keys, so that there are many equal ones, from enough sources for codes of all kinds.
fn check<K: TestKey>(runs: &Runs<K>, seed: u64) {
    let input = || runs.as_slice().to_vec();
    let stage = Stage::new();
    let mut random = Random::seed(seed);
    let mut run = |make: &dyn Fn(Sources<K>) -> Items<K>| {
        let mut stream = make(stage.sources_of(input(), &mut random, 0.3));
        stage.driver(seed).restless(0.2).run(&mut stream).ok()
    };
    let dedup = run(&|sources| ProxyResponseLoserTree::new(sources).dedup().boxed_local());
    assert_same(&dedup, &merge(input()).dedup().collect::<Vec<_>>());
    let same = |a: &Item<K>, b: &Item<K>| a.source == b.source;
    let dedup = run(&|sources| ProxyResponseLoserTree::new(sources).dedup_by(same).boxed_local());
    assert_same(&dedup, &merge(input()).dedup_by(same).collect::<Vec<_>>());
    let add = |all: &mut Item<K>, next: Item<K>| {
        all.sequence = (31 * all.sequence + next.sequence + next.source) % 1_000_003;
    };
    let combined = run(&|sources| ProxyResponseLoserTree::new(sources).coalesce(add).boxed_local());
    assert_same(&combined, &merge(input()).coalesce(add).collect::<Vec<_>>());
    stage.log().assert_closed();
}

#[test]
fn runs_are_those_of_a_sync_merge() {
    fn property<K: TestKey>(runs: Runs<K>, seed: u64) -> bool {
        check(&runs, seed);
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
    quickcheck(property as fn(Runs<String>, u64) -> bool);
    quickcheck(property as fn(Runs<(u32, u32)>, u64) -> bool);
}

/// F25: the future that waits for an item can be dropped at any time.
#[test]
fn nothing_is_lost_when_a_future_is_dropped() {
    let stage = Stage::new();
    let script = |items: [u64; 3]| Script::of(items).with_pauses(&mut Random::seed(3), 0.9);
    let sources = stage.sources([script([1, 1, 3]), script([1, 2, 3])]);
    let mut sums = ProxyResponseLoserTree::builder()
        .sources(sources.into_iter().map(|source| source.map(|key| (key, 1))))
        .order(ByKey::new(|pair: &(u64, i32)| pair.0))
        .build()
        .coalesce(|sum, next| sum.1 += next.1);
    let mut out = Vec::new();
    while out.last() != Some(&None) {
        match sums.next().now_or_never() {
            Some(item) => out.push(item.map(Result::unwrap)),
            // Some of the sources have woken themselves.
            None => drop(stage.bell().ring_all()),
        }
    }
    assert_eq!(out, [Some((1, 3)), Some((2, 1)), Some((3, 2)), None]);
    assert!(sums.is_terminated());
}

/// What is not ordered, and warnings, come at once.
#[test]
fn warnings_overtake_what_is_held() {
    let stage = Stage::new();
    let sources = stage.sources([
        Script::of([1, 1]).pending(Wake::Later).item(5),
        Script::of([1]).pending(Wake::Later).fail(),
    ]);
    let merge = ProxyResponseLoserTree::builder().sources(sources).warn_with(|_| 99).build();
    let mut dedup = merge.dedup();
    assert_eq!(stage.driver(1).run(&mut dedup).ok(), [99, 1, 5]);
    assert!(dedup.stats().is_partial);
}

/// F42: a run that an error has interrupted does not come out.
#[test]
fn an_error_comes_in_place_of_the_run_that_it_interrupts() {
    let store = |items: Vec<Result<u64, &'static str>>| from_stream(stream::iter(items));
    let merge =
        ProxyResponseLoserTree::new([store(vec![Ok(1), Ok(2), Ok(2)]), store(vec![Ok(2), Err("gone")])]);
    let mut dedup = merge.dedup();
    assert_eq!(dedup.next().now_or_never(), Some(Some(Ok(1))));
    let error = dedup.next().now_or_never().unwrap().unwrap().unwrap_err();
    assert_eq!((error.path().index(), error.source_error()), (Some(1), Some(&"gone")));
    assert_eq!(dedup.next().now_or_never(), Some(None));
    assert!(dedup.is_terminated() && dedup.is_closing());
}

/// P12: runs of any length do not keep a poll busy.
#[test]
fn a_poll_takes_a_bounded_number_of_items() {
    let taken = Cell::new(0);
    let endless = from_iter(std::iter::repeat_with(|| taken.set(taken.get() + 1)).map(|()| 7));
    let mut dedup = ProxyResponseLoserTree::new([endless]).dedup();
    let waker = CountingWaker::new();
    let polled = Pin::new(&mut dedup).poll_next(&mut Context::from_waker(&waker.waker()));
    assert!(polled.is_pending());
    assert!(taken.get() <= 130, "{}", taken.get());
    assert_eq!(waker.wakes(), 1);
    assert_eq!(dedup.close().now_or_never(), Some(Ok(())));
}

/// How many items of a source are somewhere.
#[derive(Default)]
struct Lent(AtomicUsize, AtomicWaker);

#[derive(Debug, Clone)]
struct Buffer(u64, Arc<Lent>);

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.1.0.fetch_sub(1, SeqCst);
        self.1.1.wake();
    }
}

impl SortKey for Buffer {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = true;

    fn code(&self) -> u64 {
        self.0
    }

    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// A source that is closed when all that it has lent has come back. Then the next item never comes.
struct Lender {
    keys: std::vec::IntoIter<u64>,
    ends: bool,
    lent: Arc<Lent>,
    /// How much was lent when the closing began.
    at_close: Rc<Cell<Option<usize>>>,
}

impl Lender {
    fn new(keys: &[u64], ends: bool, at_close: &Rc<Cell<Option<usize>>>) -> Self {
        Self { keys: Vec::from(keys).into_iter(), ends, lent: Arc::default(), at_close: Rc::clone(at_close) }
    }
}

impl Source for Lender {
    type Item = Buffer;
    type Error = &'static str;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
        match self.keys.next() {
            Some(key) => {
                self.lent.0.fetch_add(1, SeqCst);
                Poll::Ready(Some(Ok(Buffer(key, Arc::clone(&self.lent)))))
            }
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.lent.1.register(cx.waker());
        let lent = self.lent.0.load(SeqCst);
        self.at_close.set(self.at_close.get().or(Some(lent)));
        if lent == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// P15, F54: the last run comes though its source waits for just that to be dropped.
#[test]
fn the_last_run_does_not_wait_for_the_close_that_waits_for_it() {
    let at_close = Rc::default();
    let sources = || [Lender::new(&[1, 2, 2], true, &at_close), Lender::new(&[2], true, &at_close)];
    let mut dedup = ProxyResponseLoserTree::new(sources()).dedup();
    let keys: Vec<_> = block_on(dedup.by_ref().map_ok(|buffer| buffer.0).try_collect()).unwrap();
    assert_eq!(keys, [1, 2]);
    // The same through adaptors, and as a source of another merge.
    let mut boxed = ProxyResponseLoserTree::new(sources()).dedup().boxed_local();
    let keys: Vec<_> = block_on(boxed.by_ref().map_ok(|buffer| buffer.0).try_collect()).unwrap();
    assert_eq!(keys, [1, 2]);
    let inner = || ProxyResponseLoserTree::new(sources()).dedup().into_source();
    let mut outer = ProxyResponseLoserTree::new([inner(), inner()]).dedup();
    let keys: Vec<_> = block_on(outer.by_ref().map_ok(|buffer| buffer.0).try_collect()).unwrap();
    assert_eq!(keys, [1, 2]);
}

/// P15: the run at hand is dropped before a source is asked to close.
#[test]
fn nothing_is_held_when_it_is_closed() {
    let at_close: Rc<Cell<Option<usize>>> = Rc::default();
    let mut dedup = ProxyResponseLoserTree::new([Lender::new(&[1], false, &at_close)]).dedup();
    assert!(dedup.next().now_or_never().is_none());
    assert_eq!(block_on(Closable::close(&mut dedup)), Ok(()));
    assert_eq!(at_close.take(), Some(0));
    assert_eq!(dedup.next().now_or_never().map(|item| item.is_none()), Some(true));

    // As a source, and as a stream that is a source.
    let inner = ProxyResponseLoserTree::new([Lender::new(&[1], false, &at_close)]).dedup().into_source();
    let mut outer = ProxyResponseLoserTree::new([inner]);
    assert!(outer.next().now_or_never().is_none());
    assert_eq!(block_on(outer.close()), Ok(()));
    assert_eq!(at_close.take(), Some(0));
    let inner = ProxyResponseLoserTree::new([Lender::new(&[1], false, &at_close)]).dedup();
    let mut outer = ProxyResponseLoserTree::new([from_stream(inner.boxed_local())]);
    assert!(outer.next().now_or_never().is_none());
    assert!(block_on(outer.close()).is_ok());
}

#[test]
fn who_asks_is_told_that_only_closing_is_left_once_nothing_is_held() {
    let store = |key| closing(stream::iter([Ok::<u64, &str>(key)]), |_| std::future::pending());
    let mut dedup = ProxyResponseLoserTree::new([store(1), store(2)]).dedup();
    assert!(!is_closing(&dedup));
    assert_eq!(dedup.next().now_or_never(), Some(Some(Ok(1))));
    assert!(!is_closing(&dedup) && !dedup.is_closing());
    assert_eq!(dedup.next().now_or_never(), Some(Some(Ok(2))));
    assert!(dedup.next().now_or_never().is_none());
    assert!(is_closing(&dedup) && dedup.is_closing() && !dedup.is_terminated());
}

/// P14: through levels, with errors that say where.
#[test]
fn it_is_a_source_of_another_merge() {
    let ledger = LeakLedger::sites();
    let store =
        |items: Vec<Result<u64, &'static str>>| closing(stream::iter(items), |_| async { Err("refused") });
    let region = |name: &'static str, items: [Vec<Result<u64, &'static str>>; 2]| {
        let merge = ProxyResponseLoserTree::builder().sources(items.map(store)).ledger(&ledger).build();
        merge.dedup().into_source().named(name)
    };
    let mut merge = ProxyResponseLoserTree::builder()
        .source(region("eu", [vec![Ok(1), Ok(2), Ok(9)], vec![Ok(2), Ok(9)]]))
        .source(region("us", [vec![Ok(1), Ok(2), Ok(3)], vec![Err("gone")]]))
        .ledger(&ledger)
        .build()
        .dedup();
    let error = merge.next().now_or_never().unwrap().unwrap().unwrap_err();
    assert_eq!(
        (error.path().to_string(), error.source_error()),
        ("source 1.1 \"us/1\"".to_owned(), Some(&"gone"))
    );
    let errors = block_on(merge.close()).unwrap_err().into_errors();
    let mut paths: Vec<_> = errors.iter().map(|error| error.path().to_string()).collect();
    paths.sort();
    assert_eq!(
        paths,
        ["source 0.0 \"eu/0\"", "source 0.1 \"eu/1\"", "source 1.0 \"us/0\"", "source 1.1 \"us/1\""]
    );
    assert!(errors.iter().all(|error| error.phase() == Some(Phase::Closing)));
    assert_eq!((ledger.snapshot().open, ledger.snapshot().lost), (0, 0));
}

/// A rule that panics costs at most the item that it was asked about; all is closed.
#[test]
fn a_rule_that_panics_leaves_all_that_can_be_closed() {
    let ledger = LeakLedger::sites();
    let store = || closing(stream::iter([Ok::<u64, &str>(1), Ok(4)]), |_| async { Ok(()) });
    let merge = ProxyResponseLoserTree::builder().sources([store(), store()]).ledger(&ledger).build();
    let mut panics = true;
    let mut dedup = merge.dedup_by(|a, b| {
        assert!(!std::mem::take(&mut panics), "as asked");
        a == b
    });
    assert!(catch_unwind(AssertUnwindSafe(|| dedup.next().now_or_never())).is_err());
    assert_eq!(block_on(dedup.by_ref().try_collect::<Vec<_>>()), Ok(vec![1, 4]));
    assert_eq!(ledger.snapshot().closed, 2);
}

/// Items that are taken past it are not taken for part of what is held.
#[test]
fn the_merge_inside_can_be_used() {
    let sources = (0..6).map(|_| from_iter(vec!["a", "b", "b", "c"]).map(String::from));
    let mut dedup = ProxyResponseLoserTree::new(sources).dedup();
    assert_eq!(dedup.next().now_or_never(), Some(Some(Ok("a".into()))));
    // The first "b" is held; the others are taken by somebody else, and so is one "c".
    for expected in ["b"; 11].into_iter().chain(["c"]) {
        assert_eq!(dedup.get_mut().next().now_or_never(), Some(Some(Ok(expected.into()))));
    }
    let late = dedup.get_mut().push(from_iter(vec!["b", "d"]).map(String::from));
    assert_eq!(late.ok(), Some(6));
    assert_eq!(block_on(dedup.by_ref().try_collect::<Vec<_>>()).unwrap(), ["b", "c", "d"]);
    assert_eq!((dedup.stats().items, dedup.get_ref().stats().items), (26, 26));
    assert!(dedup.into_inner().is_terminated());
}

#[test]
fn keys_order_what_is_combined() {
    let sources = [vec![("a", 1), ("b", 2)], vec![("a", 10)]];
    let add = |sum: &mut (&str, i32), next: (&str, i32)| sum.1 += next.1;
    let merge = ProxyResponseLoserTree::builder()
        .sources(sources.clone().map(from_iter))
        .order(ByKey::new(|pair: &(&'static str, i32)| pair.0))
        .limit(2)
        .build();
    // The limit is one of items before they are combined.
    assert_eq!(block_on(merge.coalesce(add).try_collect::<Vec<_>>()).unwrap(), [("a", 11)]);
    assert!(merge_by_key(sources, |pair| pair.0).coalesce(add).eq([("a", 11), ("b", 2)]));
}
