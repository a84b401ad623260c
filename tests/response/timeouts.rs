//! The timeouts of response sets, on a clock that is paused.

use losertree::error::Cause;
use losertree::error::Timeout;
use losertree_testkit::one_cause;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::executor::block_on;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use losertree::SourceError;
use losertree::resource::BytePool;
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseSet, ResponseSetOptions, RetrievalStrategy, SeriesOrder,
    Store,
};
use losertree::stream::{PollClose, PollNext};
use losertree::{LeakLedger, Phase, ProxyResponseLoserTree, Response, Source, closing};
use losertree_testkit::{Checked, Closing};
use tokio::time::{Instant, sleep};

use crate::timed::{
    Cast, Plan, Step, TimedSource, assert_no_timer, fail, frame, seconds, series, tasks, wait,
};

const STRATEGIES: [RetrievalStrategy; 2] = [RetrievalStrategy::Lazy, RetrievalStrategy::Eager];

type Set = ResponseSet<Checked<TimedSource>>;

/// All timeouts, no two the same.
fn all_timeouts() -> ResponseSetOptions {
    ResponseSetOptions::new()
        .open_timeout(seconds(5))
        .frame_timeout(seconds(7))
        .total_timeout(seconds(60))
        .close_timeout(seconds(11))
}

async fn next(set: &mut Set) -> Option<Result<Response, Cause<io::Error>>> {
    poll_fn(|cx| Pin::new(&mut *set).poll_next(cx)).await.map(|next| next.map_err(SourceError::into_cause))
}

async fn close(set: &mut Set) -> Result<(), Cause<io::Error>> {
    one_cause(poll_fn(|cx| Pin::new(&mut *set).poll_close(cx)).await)
}

/// Which timeout fires when a store does this, when, and how many series come before.
struct Case {
    plan: fn() -> Plan,
    timeout: Timeout,
    limit: Duration,
    fires_at: Duration,
    series: usize,
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            plan: || Plan { open: vec![Step::Stuck], ..Plan::default() },
            timeout: Timeout::Open,
            limit: seconds(5),
            fires_at: seconds(5),
            series: 0,
        },
        Case {
            plan: || Plan { open: vec![wait(4)], answer: vec![Step::Stuck], ..Plan::default() },
            timeout: Timeout::Frame,
            limit: seconds(7),
            fires_at: seconds(11),
            series: 0,
        },
        Case {
            plan: || Plan { answer: vec![wait(6), frame(0), frame(1), Step::Stuck], ..Plan::default() },
            timeout: Timeout::Frame,
            limit: seconds(7),
            fires_at: seconds(13),
            series: 2,
        },
        Case {
            plan: || {
                let steps = (0..20).flat_map(|index| [Step::Wait(Duration::from_millis(6500)), frame(index)]);
                Plan { answer: steps.collect(), ..Plan::default() }
            },
            timeout: Timeout::Total,
            limit: seconds(60),
            fires_at: seconds(60),
            series: 9,
        },
        Case {
            plan: || Plan { answer: vec![wait(3), frame(0)], close: vec![Step::Stuck], ..Plan::default() },
            timeout: Timeout::Close,
            limit: seconds(11),
            fires_at: seconds(14),
            series: 1,
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn each_fires_after_exactly_its_time_and_says_which_it_was_and_of_which_store() {
    for strategy in STRATEGIES {
        for Case { plan, timeout, limit, fires_at, series } in cases() {
            let cast = Cast::default();
            let ledger = LeakLedger::sites();
            let options = all_timeouts().retrieval(strategy);
            let healthy = Plan { name: "healthy".into(), ..Plan::default() };
            let stores = cast.stores([healthy, Plan { name: "slow".into(), ..plan() }]);
            let sets = stores.into_iter().map(|store| ResponseSet::new(store, &options));
            let mut merge = ProxyResponseLoserTree::builder().sources(sets).ledger(&ledger).build();
            let start = Instant::now();
            for _ in 0..series {
                assert!(merge.next().await.unwrap().is_ok(), "{strategy:?} {timeout:?}");
            }
            let error = merge.next().await.unwrap().unwrap_err();
            assert_eq!(start.elapsed(), fires_at, "{strategy:?} {timeout:?}");
            let Cause::TimedOut(timed_out) = error.cause() else {
                panic!("{error:?}");
            };
            assert_eq!((timed_out.timeout, timed_out.after), (timeout, limit));
            assert_eq!(error.path().name().as_deref(), Some("slow"));
            let text = error.report();
            assert!(text.contains("\"slow\"") && text.contains(&timed_out.to_string()), "{text}");
            assert!(merge.next().await.is_none());
            assert_eq!(start.elapsed(), fires_at, "what is left has its end at once");
            ledger.assert_balanced();
            cast.assert_released();
            assert_eq!(tasks(), 0);
            assert_no_timer().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn as_a_warning_it_names_the_store_and_the_timeout() {
    for strategy in STRATEGIES {
        for Case { plan, timeout, limit, fires_at, series } in cases() {
            let cast = Cast::default();
            let options = all_timeouts().retrieval(strategy);
            // It is slower than the other, and has nothing to do with it.
            let steady = (0..20).flat_map(|index| [wait(2), frame(100 + index)]).collect();
            let steady = Plan { name: "steady".into(), answer: steady, ..Plan::default() };
            let stores = cast.stores([Plan { name: "slow".into(), ..plan() }, steady]);
            let sets = stores.into_iter().map(|store| ResponseSet::new(store, &options));
            let merge = ProxyResponseLoserTree::builder().sources(sets).warn_with(Response::from);
            let start = Instant::now();
            let mut merge = merge.build();
            let (mut came, mut warned) = (0, None);
            while let Some(response) = merge.try_next().await.unwrap() {
                if let Response::Warning(warning) = response {
                    assert!(warned.is_none(), "{warning:?}");
                    warned = Some((start.elapsed(), warning));
                } else {
                    came += 1;
                }
            }
            assert_eq!(came, series + 20, "{strategy:?} {timeout:?}");
            let (at, warning) = warned.unwrap();
            assert_eq!(warning.origin().name().as_deref(), Some("slow"));
            let text = warning.message();
            assert!(text.contains(&format!("{timeout} after {limit:?}")), "{text}");
            // It is told when the merge asks the store again, which may be later.
            assert!(at >= fires_at, "{strategy:?} {timeout:?}: {at:?}");
            assert!(merge.stats().is_partial);
            assert_eq!(tasks(), 0);
            cast.assert_released();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_total_counts_opening_and_alone_it_is_enough() {
    for strategy in STRATEGIES {
        for plan in [
            Plan { open: vec![Step::Stuck], ..Plan::default() },
            Plan { open: vec![wait(20)], answer: vec![wait(20), frame(0), Step::Stuck], ..Plan::default() },
        ] {
            let series = plan.answer.len() / 3;
            let cast = Cast::default();
            let options = ResponseSetOptions::new().retrieval(strategy).total_timeout(seconds(60));
            let mut set = ResponseSet::new(cast.store(plan), &options);
            let start = Instant::now();
            for _ in 0..series {
                next(&mut set).await.unwrap().unwrap();
            }
            let error = next(&mut set).await.unwrap().unwrap_err();
            assert!(matches!(error, Cause::TimedOut(error) if error.timeout == Timeout::Total));
            assert_eq!(start.elapsed(), seconds(60));
            close(&mut set).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_time_after_a_long_one_fires_in_time() {
    for strategy in STRATEGIES {
        let cast = Cast::default();
        let plan = Plan {
            open: vec![wait(4)],
            answer: vec![Step::Stuck],
            close: vec![Step::Stuck],
            ..Plan::default()
        };
        let options = all_timeouts().open_timeout(seconds(50)).close_timeout(seconds(2));
        let mut set = ResponseSet::new(cast.store(plan), &options.retrieval(strategy));
        let start = Instant::now();
        let error = next(&mut set).await.unwrap().unwrap_err();
        assert!(matches!(error, Cause::TimedOut(error) if error.timeout == Timeout::Frame));
        assert_eq!(start.elapsed(), seconds(11));
        let error = close(&mut set).await.unwrap_err();
        assert!(matches!(error, Cause::TimedOut(error) if error.timeout == Timeout::Close));
        assert_eq!(start.elapsed(), seconds(13));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_but_steady_store_does_not_time_out() {
    for strategy in STRATEGIES {
        let cast = Cast::default();
        let steps = (0..100).flat_map(|index| [Step::Wait(Duration::from_millis(6999)), frame(index)]);
        let plan =
            Plan { open: vec![wait(4)], answer: steps.collect(), close: vec![wait(10)], ..Plan::default() };
        let options = all_timeouts().total_timeout(Duration::MAX).retrieval(strategy);
        let mut merge = ProxyResponseLoserTree::new([ResponseSet::new(cast.store(plan), &options)]);
        let answer: Vec<_> = merge.by_ref().try_collect().await.unwrap();
        assert_eq!(answer, (0..100).map(series).collect::<Vec<_>>());
        assert!(cast.log.sources()[0].close == Closing::Completed);
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_asks_does_not_count_for_a_frame() {
    for strategy in STRATEGIES {
        let cast = Cast::default();
        // Each time the store is asked it takes 4 of the 7 seconds, while the consumer takes 30 for each series.
        let steps = (0..12).flat_map(|index| [wait(4), frame(index)]);
        let options = ResponseSetOptions::new()
            .frame_timeout(seconds(7))
            .close_timeout(seconds(7))
            .buffer_frames(2)
            .retrieval(strategy);
        let mut set =
            ResponseSet::new(cast.store(Plan { answer: steps.collect(), ..Plan::default() }), &options);
        for index in 0..12 {
            let polled = poll_fn(|cx| Poll::Ready(Pin::new(&mut set).poll_next(cx))).await;
            sleep(seconds(30)).await;
            let next = match polled {
                Poll::Ready(next) => next.map(|next| next.map_err(SourceError::into_cause)),
                Poll::Pending => next(&mut set).await,
            };
            assert_eq!(next.unwrap().unwrap(), series(index), "{strategy:?}");
        }
        assert!(next(&mut set).await.is_none());
        close(&mut set).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_total_goes_on_while_nobody_asks_until_the_last_frame() {
    for strategy in STRATEGIES {
        let cast = Cast::default();
        let answer = (0..10).map(frame).collect();
        let options = ResponseSetOptions::new().total_timeout(seconds(60)).buffer_frames(2);
        let mut set =
            ResponseSet::new(cast.store(Plan { answer, ..Plan::default() }), &options.retrieval(strategy));
        let mut came = Vec::new();
        let end = loop {
            match next(&mut set).await {
                Some(Ok(series)) => came.push(series),
                end => break end,
            }
            sleep(seconds(50)).await;
        };
        if strategy == RetrievalStrategy::Eager {
            // All has come at once.
            assert!(end.is_none() && came.len() == 10);
        } else {
            let Some(Err(Cause::TimedOut(error))) = end else { panic!("{end:?}") };
            assert_eq!(error.timeout, Timeout::Total);
            assert!((3..6).contains(&came.len()), "what was buffered comes first: {came:?}");
        }
        close(&mut set).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_waits_for_the_closing_does_not_count() {
    for strategy in STRATEGIES {
        let cast = Cast::default();
        let plan =
            Plan { answer: vec![frame(0), frame(1)], close: vec![wait(1), wait(1)], ..Plan::default() };
        let options = ResponseSetOptions::new().close_timeout(seconds(5)).retrieval(strategy);
        let mut set = ResponseSet::new(cast.store(plan), &options);
        assert_eq!(next(&mut set).await.unwrap().unwrap(), series(0));
        sleep(seconds(20)).await;
        assert_eq!(next(&mut set).await.unwrap().unwrap(), series(1));
        sleep(seconds(20)).await;
        assert!(next(&mut set).await.is_none());
        close(&mut set).await.unwrap();
        assert_eq!(cast.log.sources()[0].close, Closing::Completed, "{strategy:?}");
    }
}

/// Closing takes longer than it may, but nobody has closed the set: neither a consumer that is slow nor one that has found the
/// end waits for it.
#[tokio::test(start_paused = true)]
async fn the_time_for_closing_runs_only_once_the_set_is_being_closed() {
    for strategy in STRATEGIES {
        for finds_end in [false, true] {
            let cast = Cast::default();
            let plan = Plan { answer: vec![frame(0)], close: vec![wait(20)], ..Plan::default() };
            let options = ResponseSetOptions::new().close_timeout(seconds(5)).retrieval(strategy);
            let mut set = ResponseSet::new(cast.store(plan), &options);
            assert_eq!(next(&mut set).await.unwrap().unwrap(), series(0));
            if finds_end {
                assert!(next(&mut set).await.is_none());
            }
            sleep(seconds(19)).await;
            // What is left is well within the time.
            close(&mut set).await.unwrap();
            assert_eq!(cast.log.sources()[0].close, Closing::Completed, "{strategy:?}");

            // And from then on it runs.
            let plan = Plan { answer: vec![frame(0)], close: vec![wait(20)], ..Plan::default() };
            let mut set = ResponseSet::new(cast.store(plan), &options);
            assert_eq!(next(&mut set).await.unwrap().unwrap(), series(0));
            if finds_end {
                assert!(next(&mut set).await.is_none());
            }
            sleep(seconds(10)).await;
            let start = Instant::now();
            let error = close(&mut set).await.unwrap_err();
            assert!(matches!(error, Cause::TimedOut(error) if error.timeout == Timeout::Close));
            assert_eq!(start.elapsed(), seconds(5), "{strategy:?}");
        }
    }
}

/// A consumer that is slow gets all series of a query that aborts, though its stores take their time to close.
#[tokio::test(start_paused = true)]
async fn a_slow_consumer_loses_nothing_to_the_time_for_closing() {
    for strategy in STRATEGIES {
        let cast = Cast::default();
        let plans = (0..3).map(|index| Plan {
            name: format!("store-{index}"),
            answer: vec![frame(index), frame(10 + index), frame(20 + index)],
            close: vec![wait(20)],
            ..Plan::default()
        });
        let options = ResponseSetOptions::new().close_timeout(seconds(5)).retrieval(strategy);
        let mut query = ProxyQuery::builder().stores(cast.stores(plans)).response_sets(options).build();
        let mut came = 0;
        while let Some(response) = query.try_next().await.unwrap() {
            came += response.series_count();
            sleep(seconds(30)).await;
        }
        assert_eq!(came, 9, "{strategy:?}");
        cast.assert_released();
    }
}

/// Says that something is missing in what it gives, without a warning.
struct Partial<S>(S);

impl<S: Source + Unpin> Source for Partial<S> {
    type Item = S::Item;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        Pin::new(&mut self.0).poll_next(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        Pin::new(&mut self.0).poll_close(cx)
    }

    fn is_partial(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_stays_partial_when_closing_takes_too_long() {
    for strategy in STRATEGIES {
        for reads in [true, false] {
            let answer = stream::iter([Ok::<_, io::Error>(series(0)), Ok(series(1))]);
            let store = Partial(closing(answer, |_| std::future::pending()));
            let options = ResponseSetOptions::new().close_timeout(seconds(5)).retrieval(strategy);
            let store = Store::opened("partial", store);
            let mut query = ProxyQuery::builder().store(store).response_sets(options).build();
            let mut failed = 0;
            if reads {
                while let Some(next) = query.next().await {
                    failed += usize::from(next.is_err());
                }
            } else {
                assert!(query.next().await.unwrap().is_ok());
                failed += query.close().await.unwrap_err().into_errors().len();
            }
            assert_eq!(failed, 1);
            let stats = query.stats();
            assert!(stats.is_partial && stats.sources[0].is_partial, "{strategy:?} {reads}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn time_without_memory_does_not_count_for_a_frame() {
    // While there is no memory, the first frame has to be used up before the second is asked for. With memory for one,
    // the second is received, and finds none.
    for charged in [0, 1] {
        let pool =
            BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(10_000).build().unwrap();
        let mut others = pool.reservation();
        others.try_grow(10_000 - charged * series(0).size_bytes()).unwrap();
        let cast = Cast::default();
        let options = ResponseSetOptions::new().frame_timeout(seconds(7)).pool(&pool);
        let steps = (0..12).flat_map(|index| [wait(4), frame(index)]);
        let mut set =
            ResponseSet::new(cast.store(Plan { answer: steps.collect(), ..Plan::default() }), &options);
        assert_eq!(next(&mut set).await.unwrap().unwrap(), series(0));
        sleep(seconds(100)).await;
        assert_eq!(cast.log.items(), charged + 1);
        drop(others);
        for index in 1..12 {
            assert_eq!(next(&mut set).await.unwrap().unwrap(), series(index));
        }
        assert!(next(&mut set).await.is_none());
        close(&mut set).await.unwrap();
        drop(set);
        assert_eq!(pool.snapshot().used_bytes, 0);
    }
}

// F6
fn small_pool(budget_bytes: usize) -> BytePool {
    BytePool::builder().smallest_bytes(16).largest_bytes(16).budget_bytes(budget_bytes).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_timer_is_left_when_nothing_more_is_waited_for() {
    let limits = ResponseSetOptions::new()
        .open_timeout(seconds(1000))
        .frame_timeout(seconds(1000))
        .total_timeout(seconds(2000));
    let answer = || vec![wait(1), frame(1), wait(1), frame(2)];
    for strategy in STRATEGIES {
        // How it ends, which is what it says when it is asked the third time.
        for end in [|| None, || Some(fail()), || Some(frame(0))] {
            let cast = Cast::default();
            let answer = answer().into_iter().chain(end()).collect();
            let plan = Plan { answer, close: vec![Step::Stuck], ..Plan::default() };
            let mut set = ResponseSet::new(cast.store(plan), &limits.clone().retrieval(strategy));
            for _ in 0..3 {
                let _ = next(&mut set).await;
            }
            assert_no_timer().await;
            // Its closing is stuck, for which there is no timeout.
            let closing = poll_fn(|cx| Poll::Ready(Pin::new(&mut set).poll_close(cx))).await;
            assert!(closing.is_pending());
            assert_no_timer().await;
            drop(set);
            tokio::task::yield_now().await;
            assert_eq!(tasks(), 0);
            cast.assert_released();
        }

        // It ends by an error of the set's own, while the alarm is set that was for a frame of the store.
        let (sorted, one_and_a_half) =
            (limits.clone().series_order(SeriesOrder::Sorted), series(0).size_bytes() * 3 / 2);
        let held_back = [
            sorted.clone().sort_buffer_bytes(one_and_a_half),
            sorted.clone().pool(&small_pool(one_and_a_half)),
        ];
        // An eager set looks at the order at the end, and this store has none.
        let checked = (strategy == RetrievalStrategy::Lazy).then(|| limits.clone());
        for options in held_back.into_iter().chain(checked) {
            let cast = Cast::default();
            let answer = vec![wait(1), frame(1), frame(0), Step::Stuck];
            let plan = Plan { answer, close: vec![Step::Stuck], ..Plan::default() };
            let mut set = ResponseSet::new(cast.store(plan), &options.retrieval(strategy));
            assert_eq!(next(&mut set).await.unwrap().unwrap(), series(1));
            assert_no_timer().await;
            let error = next(&mut set).await.unwrap().unwrap_err();
            let is_expected =
                matches!(error, Cause::TooLarge { .. } | Cause::OutOfOrder { .. } | Cause::Pool(_));
            assert!(is_expected, "{error:?}");
            assert_no_timer().await;
            drop(set);
            tokio::task::yield_now().await;
            cast.assert_released();
        }

        // Closed while a frame is waited for.
        let cast = Cast::default();
        let plan = Plan { answer: vec![Step::Stuck], close: vec![Step::Stuck], ..Plan::default() };
        let mut set = ResponseSet::new(cast.store(plan), &limits.clone().retrieval(strategy));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut set).poll_next(&mut cx).is_pending());
        tokio::task::yield_now().await;
        assert!(Pin::new(&mut set).poll_close(&mut cx).is_pending());
        tokio::task::yield_now().await;
        assert_no_timer().await;
    }
}

const KINDS: [ErrorKind; 12] = [
    ErrorKind::TimedOut,
    ErrorKind::Interrupted,
    ErrorKind::WouldBlock,
    ErrorKind::UnexpectedEof,
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionRefused,
    ErrorKind::BrokenPipe,
    ErrorKind::NotFound,
    ErrorKind::PermissionDenied,
    ErrorKind::InvalidData,
    ErrorKind::OutOfMemory,
    ErrorKind::Other,
];

// F7
#[tokio::test(start_paused = true)]
async fn every_error_of_the_transport_passes_unharmed() {
    let fails = |kind: ErrorKind| Step::Fail(io::Error::new(kind, "of the transport"));
    for strategy in STRATEGIES {
        for kind in KINDS {
            let places: [(Plan, Phase, usize); 4] = [
                (Plan { open: vec![wait(1), fails(kind)], ..Plan::default() }, Phase::Filling, 0),
                (Plan { answer: vec![wait(1), fails(kind)], ..Plan::default() }, Phase::Filling, 0),
                (Plan { answer: vec![frame(0), wait(1), fails(kind)], ..Plan::default() }, Phase::Merging, 1),
                (
                    Plan { answer: vec![frame(0)], close: vec![wait(1), fails(kind)], ..Plan::default() },
                    Phase::Closing,
                    1,
                ),
            ];
            for (plan, phase, series) in places {
                let is_opening = !plan.open.is_empty();
                let cast = Cast::default();
                let options = all_timeouts().retrieval(strategy);
                let mut merge = ProxyResponseLoserTree::new([ResponseSet::new(cast.store(plan), &options)]);
                for _ in 0..series {
                    merge.next().await.unwrap().unwrap();
                }
                let Some(Err(error)) = merge.next().await else { panic!("it fails") };
                assert_eq!(
                    error.phase(),
                    Some(if is_opening { Phase::Opening } else { phase }),
                    "{strategy:?} {kind:?}"
                );
                let error = error.into_source_error().expect("of the transport");
                assert_eq!((error.kind(), error.to_string()), (kind, "of the transport".into()));
                assert!(merge.next().await.is_none());
                cast.assert_released();
            }
        }
    }
}

/// Stores that are stuck in each of their phases, without a clock of their own.
fn stuck_stores() -> Vec<Store<impl Source<Item = Response, Error = io::Error> + Unpin>> {
    let source = |frames: Vec<Response>, is_stuck, is_stuck_in_closing| {
        let rest = if is_stuck { stream::pending().left_stream() } else { stream::empty().right_stream() };
        closing(stream::iter(frames).map(Ok).chain(rest), move |_| async move {
            if is_stuck_in_closing { std::future::pending().await } else { Ok(()) }
        })
    };
    let open = |source| Store::new("stuck", async { Ok(source) });
    let unopened = source(vec![], false, false);
    vec![
        Store::new("stuck", async move {
            std::future::pending::<()>().await;
            Ok(unopened)
        }),
        open(source(vec![], true, false)),
        open(source(vec![series(0)], true, false)),
        open(source(vec![series(0)], false, true)),
    ]
}

/// Takes all of a store that is stuck, and expects that nobody could time it.
async fn expect_no_timer(options: &ResponseSetOptions) {
    for store in stuck_stores() {
        let mut merge = ProxyResponseLoserTree::new([ResponseSet::new(store, options)]);
        let mut answer: Vec<_> = merge.by_ref().collect().await;
        let error = answer.pop().unwrap().unwrap_err();
        assert!(matches!(error.cause(), Cause::NoTimer), "{error:?}");
        assert!(answer.iter().all(Result::is_ok));
    }
}

#[test]
fn without_a_runtime_or_its_clock_there_is_an_error_and_no_panic() {
    for strategy in STRATEGIES {
        let options = all_timeouts().retrieval(strategy);
        block_on(expect_no_timer(&options));
        // A runtime whose clock is not enabled, and a task that is not on a runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(expect_no_timer(&options));
        let on_a_thread = |task| drop(std::thread::spawn(|| block_on(task)));
        block_on(expect_no_timer(&options.spawn_with(on_a_thread)));
    }
}

#[test]
fn a_runtime_that_is_gone_takes_its_clock_with_it() {
    let clock =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    for strategy in STRATEGIES {
        for moves_on in [false, true] {
            // Eager sets are polled here and there; a lazy one only by its task, so its closing goes on elsewhere.
            let cast = Cast::default();
            let answer = if strategy == RetrievalStrategy::Eager { vec![Step::Stuck] } else { vec![] };
            let plan = Plan { answer, close: vec![Step::Stuck], ..Plan::default() };
            let options = ResponseSetOptions::new().frame_timeout(seconds(7)).close_timeout(seconds(11));
            let mut set = ResponseSet::new(cast.store(plan), &options.retrieval(strategy));
            let runtime = clock();
            runtime.block_on(async {
                let mut cx = Context::from_waker(std::task::Waker::noop());
                let _ = Pin::new(&mut set).poll_next(&mut cx);
                sleep(seconds(1)).await;
            });
            drop(runtime);
            let closing = async {
                if strategy == RetrievalStrategy::Eager {
                    let error = next(&mut set).await.unwrap().unwrap_err();
                    let is_expected = match error {
                        Cause::TimedOut(error) => moves_on && error.timeout == Timeout::Frame,
                        error => !moves_on && matches!(error, Cause::NoTimer),
                    };
                    assert!(is_expected);
                }
                let error = close(&mut set).await.unwrap_err();
                match error {
                    Cause::TimedOut(error) => assert!(moves_on && error.timeout == Timeout::Close),
                    error => assert!(!moves_on && matches!(error, Cause::NoTimer)),
                }
            };
            if moves_on {
                clock().block_on(closing);
            } else {
                block_on(closing);
            }
            cast.assert_released();
        }
    }
}

/// A runtime that stands still: it polls its tasks only when it is told to, and then once.
#[derive(Clone, Default)]
struct Idle(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl Idle {
    fn options(&self) -> ResponseSetOptions {
        let tasks = self.clone();
        all_timeouts().spawn_with(move |task| tasks.0.lock().unwrap().push(task))
    }

    fn run_once(&self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.0.lock().unwrap().retain_mut(|task| task.as_mut().poll(&mut cx).is_pending());
    }
}

/// By how much a set waits longer than its task.
const GRACE: Duration = seconds(1);

#[tokio::test(start_paused = true)]
async fn timeouts_fire_where_the_task_is_never_polled() {
    // A store that is not opened before the set takes over, at 6 s, has had its time. From then on all is exact.
    let expected = [
        (Timeout::Open, 6, 0),
        (Timeout::Open, 6, 0),
        (Timeout::Frame, 6 + 6 + 7, 2),
        (Timeout::Total, 60, 8),
        (Timeout::Close, 6 + 3 + 11, 1),
    ];
    for (Case { plan, .. }, (timeout, fires_at, before)) in cases().into_iter().zip(expected) {
        let (cast, idle) = (Cast::default(), Idle::default());
        let mut set = ResponseSet::new(cast.store(plan()), &idle.options());
        let start = Instant::now();
        let mut came = 0;
        let error = loop {
            match next(&mut set).await {
                Some(Ok(_)) => came += 1,
                Some(Err(error)) => break error,
                None => break close(&mut set).await.unwrap_err(),
            }
        };
        assert!(matches!(error, Cause::TimedOut(error) if error.timeout == timeout), "{error:?}");
        assert_eq!((start.elapsed(), came), (seconds(fires_at), before), "{timeout:?}");
        let start = Instant::now();
        close(&mut set).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO, "it is the set that closes");
        cast.assert_released();
        assert_no_timer().await;
        // The task has nothing left to do, and does no harm.
        idle.run_once();
        assert_eq!(idle.0.lock().unwrap().len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_polled_any_more_is_late_by_a_second() {
    // Opened, and waited for; with frames taken before; being closed.
    type Steps = fn() -> Vec<Step>;
    let cases: [(Steps, usize, Timeout, Duration); 3] = [
        (|| vec![Step::Stuck], 0, Timeout::Frame, seconds(7)),
        (|| vec![frame(0), frame(1), Step::Stuck], 2, Timeout::Frame, seconds(7)),
        (|| vec![frame(0)], 1, Timeout::Close, seconds(11)),
    ];
    for (answer, series, timeout, limit) in cases {
        for is_dropped in [false, true] {
            let (cast, idle) = (Cast::default(), Idle::default());
            let plan = Plan { answer: answer(), close: vec![Step::Stuck], ..Plan::default() };
            let mut set = ResponseSet::new(cast.store(plan), &idle.options());
            assert!(poll_fn(|cx| Poll::Ready(Pin::new(&mut set).poll_next(cx))).await.is_pending());
            idle.run_once();
            for _ in 0..series {
                next(&mut set).await.unwrap().unwrap();
            }
            let start = Instant::now();
            let error = match next(&mut set).await {
                Some(next) => next.unwrap_err(),
                None => close(&mut set).await.unwrap_err(),
            };
            assert!(matches!(error, Cause::TimedOut(error) if error.timeout == timeout), "{error:?}");
            assert_eq!(start.elapsed(), limit + GRACE);
            if is_dropped {
                idle.0.lock().unwrap().clear();
            }
            if timeout != Timeout::Close {
                let start = Instant::now();
                let error = close(&mut set).await.unwrap_err();
                assert!(matches!(error, Cause::TimedOut(error) if error.timeout == Timeout::Close));
                assert_eq!(start.elapsed(), seconds(11), "the set has taken over");
            }
            cast.assert_released();
        }
    }
}

/// One store of a query is received where nothing runs: that costs its time, and its answer if it is stuck, but nothing else.
#[tokio::test(start_paused = true)]
async fn a_store_whose_task_is_not_polled_comes_late_or_becomes_a_warning() {
    for is_stuck in [false, true] {
        let (cast, idle) = (Cast::default(), Idle::default());
        let answer = if is_stuck { vec![Step::Stuck] } else { vec![frame(0), frame(2)] };
        let late = Plan { name: "late".into(), answer, ..Plan::default() };
        let fine = Plan { name: "fine".into(), answer: vec![frame(1), frame(3)], ..Plan::default() };
        let mut query = ProxyQuery::builder()
            .store(cast.store(late).with_options(idle.options()))
            .store(cast.store(fine))
            .partial_response(PartialResponseStrategy::Warn)
            .build();
        let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
        if is_stuck {
            let Response::Warning(warning) = &answer[0] else { panic!("{answer:?}") };
            assert!(warning.message().contains("frame timeout after 7s"), "{warning}");
            assert_eq!(answer[1..], [series(1), series(3)]);
        } else {
            assert_eq!(answer, [0, 1, 2, 3].map(series));
        }
        assert_eq!(query.stats().is_partial, is_stuck);
        cast.assert_released();
    }
}
