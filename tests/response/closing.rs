//! Response sets are closed, dropped and abandoned at every stage, and nothing is left of them.

use losertree::SourceError;
use losertree::error::Cause;
use losertree::stream::PollClose;
use losertree::stream::PollNext;
use losertree_testkit::one_cause;
use std::future::poll_fn;
use std::io;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use losertree::resource::BytePool;
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseSet, ResponseSetOptions, RetrievalStrategy, SeriesOrder,
    ShardMatcher, Store,
};
use losertree::stream::SourceEnd;
use losertree::{LeakLedger, Response, Source, closing};
use losertree_testkit::{Checked, Closing, CountingWaker, Log, Random, Script, Stage, Wake, poll_times};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::timed::{
    self, Cast, Plan, Step, TimedSource, assert_no_timer, fail, frame, seconds, series, tasks, wait,
};

const STRATEGIES: [RetrievalStrategy; 2] = [RetrievalStrategy::Lazy, RetrievalStrategy::Eager];

type Set = ResponseSet<Checked<TimedSource>>;

async fn next<S>(set: &mut ResponseSet<S>) -> Option<Result<Response, Cause<S::Error>>>
where
    S: Source<Item = Response> + Unpin,
{
    poll_fn(|cx| Pin::new(&mut *set).poll_next(cx)).await.map(|next| next.map_err(SourceError::into_cause))
}

async fn close<S>(set: &mut ResponseSet<S>) -> Result<(), Cause<S::Error>>
where
    S: Source<Item = Response, Error: std::fmt::Debug> + Unpin,
{
    one_cause(poll_fn(|cx| Pin::new(&mut *set).poll_close(cx)).await)
}

fn poll_once<S>(set: &mut ResponseSet<S>) -> Poll<Option<Result<Response, Cause<S::Error>>>>
where
    S: Source<Item = Response> + Unpin,
{
    let polled = Pin::new(set).poll_next(&mut Context::from_waker(Waker::noop()));
    polled.map_err(SourceError::into_cause)
}

/// Where in its life a set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Unpolled,
    Opening,
    AtFirstFrame,
    AtLaterFrame,
    WithFullBuffer,
    WithFullPool,
    AmidAFrame,
    AtTheEnd,
    AfterAnError,
    Closing,
}

const STOPS: [Stop; 10] = [
    Stop::Unpolled,
    Stop::Opening,
    Stop::AtFirstFrame,
    Stop::AtLaterFrame,
    Stop::WithFullBuffer,
    Stop::WithFullPool,
    Stop::AmidAFrame,
    Stop::AtTheEnd,
    Stop::AfterAnError,
    Stop::Closing,
];

/// A set at some stage, and what it uses. Closing its store takes 3 seconds.
struct Stopped {
    cast: Cast,
    pool: BytePool,
    set: Set,
}

impl Stopped {
    async fn new(stop: Stop, strategy: RetrievalStrategy) -> Self {
        let cast = Cast::default();
        let pool =
            BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(10_000).build().unwrap();
        let timeout = seconds(1000);
        let options = ResponseSetOptions::new()
            .retrieval(strategy)
            .buffer_frames(if stop == Stop::WithFullBuffer { 2 } else { 100 })
            .pool(&pool)
            .open_timeout(timeout)
            .frame_timeout(timeout)
            .total_timeout(timeout)
            .close_timeout(timeout);
        let (open, answer) = match stop {
            Stop::Opening => (vec![Step::Stuck], vec![]),
            Stop::AtFirstFrame => (vec![], vec![Step::Stuck]),
            Stop::AfterAnError => (vec![], vec![frame(0), fail()]),
            Stop::AmidAFrame => {
                let series = |index| series(index).into_series().unwrap();
                let batch =
                    |nth: usize| Step::Frame(Response::Batch((3 * nth..3 * nth + 3).map(series).collect()));
                (vec![], (0..10).map(batch).chain([Step::Stuck]).collect())
            }
            Stop::AtLaterFrame | Stop::Closing => (vec![], vec![frame(0), frame(1), Step::Stuck]),
            Stop::Unpolled | Stop::WithFullBuffer | Stop::WithFullPool | Stop::AtTheEnd => {
                (vec![], (0..10).map(frame).collect())
            }
        };
        let others = (stop == Stop::WithFullPool).then(|| {
            let mut others = pool.reservation();
            others.try_grow(10_000).map(|()| others).unwrap()
        });
        let mut set = ResponseSet::new(
            cast.store(Plan { open, answer, close: vec![wait(3)], ..Plan::default() }),
            &options,
        );
        if stop != Stop::Unpolled {
            let _ = poll_once(&mut set);
            yield_now().await;
        }
        match stop {
            Stop::AmidAFrame if strategy == RetrievalStrategy::Lazy => {
                next(&mut set).await.unwrap().unwrap();
                assert!(pool.snapshot().used_bytes > 0);
            }
            Stop::AtTheEnd => while next(&mut set).await.is_some_and(|next| next.is_ok()) {},
            Stop::AfterAnError => while next(&mut set).await.unwrap().is_ok() {},
            Stop::Closing => {
                assert!(Pin::new(&mut set).poll_close(&mut Context::from_waker(Waker::noop())).is_pending());
            }
            _ => {}
        }
        drop(others);
        Self { cast, pool, set }
    }

    fn store(&self) -> losertree_testkit::Figures {
        self.cast.log.sources().remove(0)
    }
}

// F5, F6, F24, F37
#[tokio::test(start_paused = true)]
async fn closed_at_every_stage_the_store_is_closed_once_and_nothing_is_left() {
    for strategy in STRATEGIES {
        for stop in STOPS {
            let mut stopped = Stopped::new(stop, strategy).await;
            let items = stopped.store().items;
            let start = Instant::now();
            close(&mut stopped.set).await.unwrap();
            // While the set is still there.
            let store = stopped.store();
            assert!(store.dropped, "{stop:?} {strategy:?}");
            assert_eq!(tasks(), 0, "{stop:?} {strategy:?}");
            assert_eq!(stopped.pool.snapshot().used_bytes, 0, "{stop:?} {strategy:?}");
            assert_eq!(store.items, items, "nothing more is asked of a store that is to be closed");
            // One that was not open yet there is nothing to close of.
            let is_open = !matches!(stop, Stop::Unpolled | Stop::Opening);
            assert_eq!(store.close, if is_open { Closing::Completed } else { Closing::NotBegun });
            assert_eq!(
                start.elapsed(),
                if is_open { seconds(3) } else { Duration::ZERO },
                "{stop:?} {strategy:?}"
            );
            stopped.cast.assert_released();
            assert_no_timer().await;
        }
    }
}

// F4, F24, F37, F52
#[tokio::test(start_paused = true)]
async fn dropped_at_every_stage_the_store_is_dropped_before_the_drop_returns() {
    for strategy in STRATEGIES {
        for stop in STOPS {
            let Stopped { cast, pool, set } = Stopped::new(stop, strategy).await;
            drop(set);
            // No task has run since.
            cast.assert_released();
            assert_eq!(pool.snapshot().used_bytes, 0, "{stop:?} {strategy:?}");
            yield_now().await;
            assert_eq!(tasks(), 0, "{stop:?} {strategy:?}");
            assert_no_timer().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn closing_that_is_given_up_half_way_is_resumed_or_dropped() {
    for strategy in STRATEGIES {
        for stop in STOPS {
            for resumes in [true, false] {
                let mut stopped = Stopped::new(stop, strategy).await;
                let start = Instant::now();
                let given_up = tokio::time::timeout(seconds(1), close(&mut stopped.set)).await;
                let is_closed = given_up.is_ok();
                assert_eq!(stopped.pool.snapshot().used_bytes, 0, "memory does not wait for the store");
                assert_eq!(
                    is_closed,
                    matches!(stop, Stop::Unpolled | Stop::Opening),
                    "{stop:?} {strategy:?}"
                );
                if resumes {
                    if !is_closed {
                        close(&mut stopped.set).await.unwrap();
                        assert_eq!(start.elapsed(), seconds(3));
                        assert_eq!(stopped.store().close, Closing::Completed);
                    }
                } else {
                    drop(stopped.set);
                }
                stopped.cast.assert_released();
                assert_eq!(stopped.pool.snapshot().used_bytes, 0);
                yield_now().await;
                assert_eq!(tasks(), 0, "{stop:?} {strategy:?}");
            }
        }
    }
}

/// Stores with series in turn, which take their time in all phases.
fn slow_stores(cast: &Cast, stores: usize) -> Vec<timed::TimedStore> {
    let plan = |store: usize| {
        let answer = (0..4).flat_map(|nth| [wait(1 + store as u64 % 2), frame(nth * stores + store)]);
        Plan { open: vec![wait(1)], answer: answer.collect(), close: vec![wait(1)], ..Plan::default() }
    };
    cast.stores((0..stores).map(plan))
}

/// Waits for a future of `$call`, but drops it after each `$patience` polls and begins anew.
macro_rules! impatiently {
    ($patience:expr, $call:expr) => {
        loop {
            match poll_times(Box::pin($call), $patience) {
                Ok(output) => break output,
                Err(unfinished) => drop(unfinished),
            }
            // Nobody was woken, so somebody has to look.
            sleep(Duration::from_millis(100)).await;
        }
    };
}

#[tokio::test(start_paused = true)]
async fn every_future_dropped_after_each_number_of_polls_loses_nothing() {
    for strategy in STRATEGIES {
        for patience in 1..4 {
            for taken in 0..=13 {
                let cast = Cast::default();
                let ledger = LeakLedger::sites();
                let mut query = ProxyQuery::builder()
                    .stores(slow_stores(&cast, 3))
                    .response_sets(ResponseSetOptions::new().retrieval(strategy).buffer_frames(1))
                    .ledger(&ledger)
                    .build();
                for index in 0..taken {
                    let next = impatiently!(patience, query.next());
                    if index == 12 {
                        assert!(next.is_none());
                    } else {
                        assert_eq!(next.unwrap().unwrap(), series(index));
                    }
                }
                impatiently!(patience, query.close()).unwrap();
                cast.assert_released();
                assert_eq!(tasks(), 0);
                ledger.assert_balanced();
                assert!(ledger.snapshot().is_all_closed());
                assert!(query.next().await.is_none());
            }
        }
    }
}

// F1, F24
#[tokio::test(start_paused = true)]
async fn a_query_that_wants_no_more_leaves_nothing() {
    for strategy in STRATEGIES {
        for wanted in 0..12 {
            for by_limit in [true, false] {
                let cast = Cast::default();
                let ledger = LeakLedger::sites();
                let mut query = ProxyQuery::builder()
                    .stores(slow_stores(&cast, 3))
                    .response_sets(ResponseSetOptions::new().retrieval(strategy).buffer_frames(1))
                    .limit(if by_limit { wanted } else { u64::MAX })
                    .ledger(&ledger)
                    .build();
                let mut answer = Vec::new();
                while answer.len() as u64 != wanted {
                    answer.push(query.try_next().await.unwrap().unwrap());
                }
                if by_limit {
                    assert!(query.try_next().await.unwrap().is_none());
                } else {
                    query.close().await.unwrap();
                }
                let wanted = usize::try_from(wanted).unwrap();
                assert_eq!(answer, (0..wanted).map(series).collect::<Vec<_>>());
                cast.assert_released();
                assert_eq!(tasks(), 0, "{strategy:?} {wanted} {by_limit}");
                assert!(ledger.snapshot().is_all_closed());
                assert_no_timer().await;
                for store in cast.log.sources() {
                    assert_eq!(store.close.is_complete(), wanted > 0, "{store:?}");
                }
            }
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

// F24
#[test]
fn a_runtime_that_is_shut_down_abandons_its_sets_and_they_close_their_stores_themselves() {
    let plans: [(fn() -> Plan, usize); 4] = [
        (|| Plan { open: vec![Step::Stuck], ..Plan::default() }, 0),
        (|| Plan { answer: vec![Step::Stuck], ..Plan::default() }, 0),
        (|| Plan { answer: vec![frame(0), frame(1), Step::Stuck], ..Plan::default() }, 2),
        (|| Plan { answer: vec![frame(0), frame(1)], close: vec![Step::Stuck], ..Plan::default() }, 2),
    ];
    for (plan, frames) in plans {
        for reads in [true, false] {
            let (is_opening, is_closing) = (!plan().open.is_empty(), !plan().close.is_empty());
            let cast = Cast::default();
            let mut set = ResponseSet::new(cast.store(plan()), &ResponseSetOptions::new());
            let runtime = runtime();
            runtime.block_on(async {
                assert!(poll_once(&mut set).is_pending());
                yield_now().await;
                assert_eq!(tasks(), 1);
            });
            drop(runtime);
            assert!(!cast.log.sources()[0].dropped, "the set still has it");
            if reads {
                for index in 0..frames {
                    assert_eq!(block_on(next(&mut set)).unwrap().unwrap(), series(index));
                }
                // An answer that is complete is complete.
                match block_on(next(&mut set)) {
                    None => assert!(is_closing),
                    Some(end) => {
                        assert!(!is_closing && matches!(end, Err(Cause::Abandoned)), "{end:?}");
                    }
                }
            }
            let mut cx = Context::from_waker(Waker::noop());
            let closed = Pin::new(&mut set).poll_close(&mut cx);
            if is_closing {
                assert!(closed.is_pending(), "the store is stuck");
                drop(set);
            } else {
                assert!(matches!(closed, Poll::Ready(Ok(()))), "{closed:?}");
                let store = cast.log.sources().remove(0);
                assert_eq!(store.close, if is_opening { Closing::NotBegun } else { Closing::Completed });
            }
            cast.assert_released();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_in_the_background_has_failed_and_the_others_go_on() {
    // What it does, and how many series come before.
    let plans: [(Plan, usize); 4] = [
        (Plan { open: vec![wait(1), Step::Panic], ..Plan::default() }, 0),
        (Plan { answer: vec![wait(1), Step::Panic], ..Plan::default() }, 0),
        (Plan { answer: vec![frame(0), frame(2), wait(1), Step::Panic], ..Plan::default() }, 2),
        (Plan { answer: vec![frame(0), frame(2)], close: vec![wait(1), Step::Panic], ..Plan::default() }, 2),
    ];
    for (plan, before) in plans {
        let cast = Cast::default();
        let ledger = LeakLedger::sites();
        let pool = BytePool::builder().build().unwrap();
        let fine =
            Plan { answer: vec![frame(1), wait(5), frame(3)], close: vec![wait(1)], ..Plan::default() };
        let mut query = ProxyQuery::builder()
            .stores(cast.stores([Plan { name: "bad".into(), ..plan }, fine]))
            .response_sets(ResponseSetOptions::new().pool(&pool))
            .partial_response(PartialResponseStrategy::Warn)
            .ledger(&ledger)
            .build();
        let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
        let (warnings, answer): (Vec<_>, Vec<_>) =
            answer.into_iter().partition(|response| matches!(response, Response::Warning(_)));
        let [Response::Warning(warning)] = &*warnings else { panic!("{warnings:?}") };
        assert_eq!(warning.origin().name().as_deref(), Some("bad"));
        assert!(warning.message().ends_with("the source panicked"), "{warning}");
        let mut expected: Vec<_> = (0..before).map(|nth| 2 * nth).chain([1, 3]).collect();
        expected.sort_unstable();
        assert_eq!(answer, expected.into_iter().map(series).collect::<Vec<_>>());
        let ends: Vec<_> = query.stats().sources.iter().map(|source| source.end).collect();
        assert_eq!(ends, [Some(SourceEnd::Failed), Some(SourceEnd::Exhausted)]);
        cast.assert_released();
        assert_eq!((tasks(), pool.snapshot().used_bytes), (0, 0));
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.open, snapshot.failed, snapshot.closed), (0, 1, 1), "{snapshot}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_has_panicked_is_told_once_and_dropped_when_its_set_is_closed() {
    for reads in [true, false] {
        let cast = Cast::default();
        let plan = Plan { answer: vec![frame(0), Step::Panic], ..Plan::default() };
        let mut set = ResponseSet::new(cast.store(plan), &ResponseSetOptions::new());
        assert_eq!(next(&mut set).await.unwrap().unwrap(), series(0));
        if reads {
            assert!(matches!(next(&mut set).await, Some(Err(Cause::Panicked))));
        }
        let closed = close(&mut set).await;
        assert!(if reads { closed.is_ok() } else { matches!(closed, Err(Cause::Panicked)) });
        cast.assert_released();
        assert_eq!(tasks(), 0);
    }
}

// P3
#[tokio::test(start_paused = true)]
async fn what_closing_came_to_is_told_once_and_then_the_set_is_closed() {
    for strategy in STRATEGIES {
        for fails in [false, true] {
            for reads in 0..3 {
                let cast = Cast::default();
                let close_steps = if fails { vec![fail()] } else { vec![] };
                let plan = Plan { answer: vec![frame(0)], close: close_steps, ..Plan::default() };
                let options = ResponseSetOptions::new().retrieval(strategy);
                let mut set = ResponseSet::new(cast.store(plan), &options);
                for _ in 0..reads {
                    next(&mut set).await.transpose().unwrap();
                }
                let told = close(&mut set).await;
                // A store that was not opened yet need not be closed.
                assert_eq!(told.is_err(), fails && reads > 0, "{strategy:?} {reads}: {told:?}");
                for _ in 0..2 {
                    let again = close(&mut set).await;
                    assert!(again.is_ok(), "{strategy:?} {reads}: {again:?}");
                }
                cast.assert_released();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_drop_panics_in_the_background_is_told_and_leaves_nothing() {
    let stage = Stage::new();
    let ledger = LeakLedger::sites();
    let scripts = [Script::of([series(0)]).drop_panics(), Script::of([series(1)])];
    let stores = scripts.map(|script| Store::opened("store", stage.source(script)));
    let mut query = ProxyQuery::builder()
        .stores(stores)
        .partial_response(PartialResponseStrategy::Warn)
        .ledger(&ledger)
        .build();
    let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
    let (warnings, answer): (Vec<_>, Vec<_>) =
        answer.into_iter().partition(|response| matches!(response, Response::Warning(_)));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(answer, [series(0), series(1)]);
    assert_eq!(tasks(), 0);
    stage.log().assert_closed();
    ledger.assert_balanced();
}

// F49
#[tokio::test(start_paused = true)]
async fn what_was_held_back_to_be_sorted_is_charged_once() {
    let size: usize = (0..100).map(|index| series(index).size_bytes()).sum();
    for strategy in STRATEGIES {
        let pool =
            BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(10 * size).build().unwrap();
        let cast = Cast::default();
        let options =
            ResponseSetOptions::new().retrieval(strategy).series_order(SeriesOrder::Sorted).pool(&pool);
        let answer = (0..100).rev().map(frame).collect();
        let mut set = ResponseSet::new(cast.store(Plan { answer, ..Plan::default() }), &options);
        for index in 0..100 {
            assert_eq!(next(&mut set).await.unwrap().unwrap(), series(index));
        }
        let peak = pool.snapshot().peak_bytes;
        assert!((size / 2..=size).contains(&peak), "{strategy:?}: {peak} for {size}");
        assert!(next(&mut set).await.is_none());
        close(&mut set).await.unwrap();
        assert_eq!(pool.snapshot().used_bytes, 0);
    }
}

/// An executor that runs a task when it is told to.
#[derive(Clone, Default)]
struct ByHand(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl ByHand {
    fn options(&self) -> ResponseSetOptions {
        let tasks = self.clone();
        ResponseSetOptions::new().spawn_with(move |task| tasks.0.lock().unwrap().push(task))
    }

    fn run_once(&self) {
        self.run_with(Waker::noop());
    }

    fn run_with(&self, waker: &Waker) {
        let mut cx = Context::from_waker(waker);
        self.0.lock().unwrap().retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
    }

    fn tasks(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

fn opened(
    log: &Log,
    frames: Vec<Response>,
) -> Store<Checked<impl Source<Item = Response, Error = io::Error> + Unpin + use<>>> {
    let stream = stream::iter(frames).map(Ok).chain(stream::pending());
    Store::opened("store", Checked::new(closing(stream, |_| async { Ok(()) }), log))
}

#[test]
fn an_executor_of_the_users_runs_the_task() {
    let (by_hand, log) = (ByHand::default(), Log::new());
    let mut set = ResponseSet::new(opened(&log, vec![series(0), series(1)]), &by_hand.options());
    assert_eq!(by_hand.tasks(), 0, "nothing happens before the set is polled");
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut set).poll_next(&mut cx).is_pending());
    assert_eq!((by_hand.tasks(), task.take()), (1, 0));
    by_hand.run_once();
    assert_eq!(task.take(), 1, "there is something");
    for index in 0..2 {
        let Poll::Ready(Some(Ok(next))) = Pin::new(&mut set).poll_next(&mut cx) else {
            panic!("it is there")
        };
        assert_eq!(next, series(index));
    }
    assert!(Pin::new(&mut set).poll_next(&mut cx).is_pending());
    assert!(Pin::new(&mut set).poll_close(&mut cx).is_pending(), "only the task can");
    by_hand.run_once();
    assert_eq!((by_hand.tasks(), task.take()), (0, 1));
    assert!(matches!(Pin::new(&mut set).poll_close(&mut cx), Poll::Ready(Ok(()))));
    log.assert_closed();
}

#[test]
fn an_executor_that_drops_the_task_abandons_the_set() {
    for runs in [0, 1] {
        let (by_hand, log) = (ByHand::default(), Log::new());
        let mut set = ResponseSet::new(opened(&log, vec![series(0)]), &by_hand.options());
        assert!(poll_once(&mut set).is_pending());
        for _ in 0..runs {
            by_hand.run_once();
        }
        by_hand.0.lock().unwrap().clear();
        if runs > 0 {
            assert_eq!(block_on(next(&mut set)).unwrap().unwrap(), series(0));
        }
        assert!(matches!(block_on(next(&mut set)), Some(Err(Cause::Abandoned))));
        block_on(close(&mut set)).unwrap();
        log.assert_clean();
        assert_eq!(log.sources()[0].close, Closing::Completed);
    }
}

// F52
#[test]
fn a_task_that_never_runs_again_keeps_nothing_of_a_set_that_was_dropped() {
    let (by_hand, log) = (ByHand::default(), Log::new());
    let pool = BytePool::builder().build().unwrap();
    let mut set = ResponseSet::new(opened(&log, vec![series(0), series(1)]), &by_hand.options().pool(&pool));
    let task = CountingWaker::new();
    let _ = Pin::new(&mut set).poll_next(&mut Context::from_waker(&task.waker()));
    by_hand.run_once();
    assert!(pool.snapshot().used_bytes > 0);
    for _ in 0..3 {
        let _ = Pin::new(&mut set).poll_next(&mut Context::from_waker(&task.waker()));
    }
    drop(set);
    assert_eq!(by_hand.tasks(), 1, "nobody has run it");
    log.assert_released();
    assert_eq!(pool.snapshot().used_bytes, 0);
    assert_eq!(task.kept(), 0, "the waker of who waited for it");
    by_hand.run_once();
    assert_eq!(by_hand.tasks(), 0);
}

/// Panics when it is woken.
struct Panicking;

impl std::task::Wake for Panicking {
    fn wake(self: Arc<Self>) {
        resume_unwind(Box::new("as asked for"));
    }
}

// F47
#[test]
fn a_waker_that_panics_keeps_nothing_open() {
    let panicking = Waker::from(Arc::new(Panicking));
    let frames = || (0..8).map(series).collect::<Vec<_>>();
    for ends_by_drop in [true, false] {
        let (by_hand, log) = (ByHand::default(), Log::new());
        let options = by_hand.options().buffer_frames(2);
        let mut set = ResponseSet::new(opened(&log, frames()), &options);
        let mut cx = Context::from_waker(&panicking);
        // The one who reads is woken by the task, and the task by the one who reads.
        assert!(Pin::new(&mut set).poll_next(&mut cx).is_pending());
        for index in 0..8 {
            by_hand.run_with(&panicking);
            let Poll::Ready(Some(Ok(next))) = Pin::new(&mut set).poll_next(&mut cx) else {
                panic!("it is there")
            };
            assert_eq!(next, series(index));
        }
        assert!(Pin::new(&mut set).poll_next(&mut cx).is_pending());
        by_hand.run_with(&panicking);
        if ends_by_drop {
            drop(set);
            log.assert_released();
        } else {
            assert!(Pin::new(&mut set).poll_close(&mut cx).is_pending());
            by_hand.run_with(&panicking);
            assert!(matches!(Pin::new(&mut set).poll_close(&mut cx), Poll::Ready(Ok(()))));
            log.assert_closed();
        }
    }
}

// P9
#[test]
fn the_task_is_woken_only_for_what_it_waits_for() {
    let (by_hand, log) = (ByHand::default(), Log::new());
    let pool = BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(10_000).build().unwrap();
    let mut others = pool.reservation();
    others.try_grow(10_000).unwrap();
    let options = by_hand.options().buffer_frames(2).pool(&pool);
    let task = CountingWaker::new();

    // A frame that went through without memory has to be used up, before the store is asked again.
    let mut set = ResponseSet::new(opened(&log, vec![series(0)]), &options);
    assert!(poll_once(&mut set).is_pending());
    by_hand.run_with(&task.waker());
    assert!(poll_once(&mut set).is_ready());
    assert_eq!(task.take(), 0, "it is in use");
    assert!(poll_once(&mut set).is_pending());
    assert_eq!(task.take(), 1);
    by_hand.run_with(&task.waker());
    assert!(poll_once(&mut set).is_pending());
    assert_eq!(task.take(), 0, "it waits for the store");
    drop(set);
    by_hand.run_once();
    task.take();

    // There is memory for the first frame.
    others.shrink(series(0).size_bytes());
    let mut set = ResponseSet::new(opened(&log, vec![series(0), series(1), series(2)]), &options);
    assert!(poll_once(&mut set).is_pending());
    by_hand.run_with(&task.waker());
    assert!(poll_once(&mut set).is_ready());
    drop(others);
    assert_eq!(task.take(), 0, "memory alone wakes nobody: it does not stand in the queue");
    assert!(poll_once(&mut set).is_pending());
    assert_eq!(task.take(), 1, "a frame was used up");
    by_hand.run_with(&task.waker());
    task.take();
    // The buffer was full; when there is room again it waits for the store alone.
    while poll_once(&mut set).is_ready() {}
    assert_eq!(task.take(), 1);
    by_hand.run_with(&task.waker());
    assert!(poll_once(&mut set).is_pending());
    assert_eq!(task.take(), 0);
}

/// A source that stands still inside of its poll until it is let go.
struct Blocking {
    entered: mpsc::Sender<()>,
    go_on: mpsc::Receiver<()>,
}

impl Source for Blocking {
    type Item = Response;
    type Error = io::Error;

    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
        self.entered.send(()).unwrap();
        self.go_on.recv().unwrap();
        Poll::Pending
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
        panic!("it is dropped")
    }
}

#[test]
fn a_store_that_is_being_polled_does_not_block_the_drop_and_is_dropped_when_that_returns() {
    let log = Log::new();
    let (entered, is_entered) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let options = ResponseSetOptions::new().spawn_with(move |task| {
        let done = done.clone();
        thread::spawn(move || {
            block_on(task);
            done.send(()).unwrap();
        });
    });
    let mut set =
        ResponseSet::new(Store::opened("store", Checked::new(Blocking { entered, go_on }, &log)), &options);
    assert!(poll_once(&mut set).is_pending());
    is_entered.recv().unwrap();
    drop((set, options));
    assert!(!log.sources()[0].dropped);
    let_go.send(()).unwrap();
    is_done.recv().expect("the task has not panicked");
    log.assert_released();
}

/// The series of a script with pauses, which is to be rung for.
fn paused_script(random: &mut Random, length: usize) -> Script<Response> {
    let mut script = Script::new();
    for index in 0..length {
        for _ in 0..random.below(3) {
            script = script.pending(Wake::Later);
        }
        script = script.item(series(index));
    }
    script.pending(Wake::Later).close_pending(Wake::Later)
}

// P6, P9
#[test]
fn without_a_runtime_a_set_fills_its_buffer_itself_and_never_wakes_itself() {
    for strategy in STRATEGIES {
        for capacity in [1, 2, 3, 64] {
            for seed in 0..30 {
                let stage = Stage::new();
                let script = paused_script(&mut Random::seed(seed), 20);
                let store = Store::opened("store", stage.source(script));
                let options = ResponseSetOptions::new().retrieval(strategy).buffer_frames(capacity);
                let mut set = ResponseSet::new(store, &options);
                let task = CountingWaker::new();
                let waker = task.waker();
                let mut cx = Context::from_waker(&waker);
                let mut came = Vec::new();
                let ready = |poll: Poll<bool>| {
                    assert_eq!(task.take(), 0, "it wakes itself: {strategy:?} {capacity} {seed}");
                    if poll.is_pending() {
                        assert!(stage.bell().ring_all() > 0, "it waits for nobody");
                        assert!(task.take() > 0, "nobody is told");
                    }
                    poll == Poll::Ready(true)
                };
                loop {
                    let polled = Pin::new(&mut set).poll_next(&mut cx).map(|next| {
                        let is_end = next.is_none();
                        came.extend(next.map(Result::unwrap));
                        is_end
                    });
                    if ready(polled) {
                        break;
                    }
                }
                assert_eq!(came, (0..20).map(series).collect::<Vec<_>>());
                while !ready(Pin::new(&mut set).poll_close(&mut cx).map(|closed| closed.is_ok())) {}
                stage.log().assert_clean();
                assert_eq!(stage.log().sources()[0].close, Closing::Completed);
            }
        }
    }
}

// P9
#[test]
fn without_a_runtime_closing_early_does_not_wake_itself_either() {
    for strategy in STRATEGIES {
        for polls in 0..12 {
            let stage = Stage::new();
            let script = paused_script(&mut Random::seed(7), 5);
            let mut set = ResponseSet::new(
                Store::opened("store", stage.source(script)),
                &ResponseSetOptions::new().retrieval(strategy).buffer_frames(1),
            );
            let task = CountingWaker::new();
            let waker = task.waker();
            let mut cx = Context::from_waker(&waker);
            for _ in 0..polls {
                if Pin::new(&mut set).poll_next(&mut cx).is_pending() {
                    stage.bell().ring_all();
                }
            }
            task.take();
            let mut closed = Pin::new(&mut set).poll_close(&mut cx);
            while closed.is_pending() {
                assert_eq!(task.take(), 0, "{strategy:?} {polls}");
                assert!(stage.bell().ring_all() > 0);
                assert!(task.take() > 0);
                closed = Pin::new(&mut set).poll_close(&mut cx);
            }
            assert_eq!(task.take(), 0, "{strategy:?} {polls}");
            stage.log().assert_clean();
        }
    }
}

// F35, P12
#[test]
fn one_poll_takes_a_bounded_number_of_frames_however_many_belong_to_other_shards() {
    let shard = ShardMatcher::by(["pod"], 0, 64).unwrap();
    for strategy in STRATEGIES {
        let stage = Stage::new();
        let store = Store::opened("store", stage.source(Script::of((0..20_000).map(series))));
        let options = ResponseSetOptions::new().retrieval(strategy).buffer_frames(1000);
        let mut set = ResponseSet::new(store, &options.shard(shard.clone()));
        let mut polls = 0;
        loop {
            let next = poll_once(&mut set);
            let now = stage.log().polls();
            assert!(now - polls <= 128 + 2, "{strategy:?}: {} polls", now - polls);
            polls = now;
            if matches!(next, Poll::Ready(None)) {
                break;
            }
        }
    }
}
