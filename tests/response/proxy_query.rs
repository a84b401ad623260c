//! A query to many stores, as a whole.

use losertree::error::Cause;
use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FusedStream;
use futures::{StreamExt, TryStreamExt, stream};
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseSetOptions, ResponseStats, RetrievalStrategy, SeriesOrder,
    Store, StoreWarnings, empty_sources,
};
use losertree::stream::SourceStats;
use losertree::{BoxSource, Chunk, Labels, LeakLedger, Phase, Response, Series, Source, Warning, closing};
use losertree_testkit::{Driver, Log, Random, Script, Stage, Tasks};
use quickcheck::QuickCheck;
use tokio::time::Instant;

use crate::timed;

type StoreSource = BoxSource<'static, Response, io::Error>;

fn labels(text: &str) -> Labels {
    text.parse().expect("labels")
}

fn series(text: &str, start: i64) -> Series {
    Series::new(labels(text), vec![Chunk::new(start, start + 9, "data")])
}

fn store(name: &str, frames: Vec<Response>) -> Store<StoreSource> {
    let source = closing(stream::iter(frames.into_iter().map(Ok)), |_| async { Ok(()) }).boxed();
    Store::opened(name, source)
}

fn failing(name: &str) -> Store<StoreSource> {
    Store::new(name, async { Err(io::ErrorKind::ConnectionRefused.into()) })
}

#[tokio::test]
async fn everything_at_once() {
    let replica = |replica: &str, pods: &[&str]| {
        let series =
            |pod: &&str| series(&format!(r#"{{__name__="up", replica="{replica}", zone="{pod}"}}"#), 0);
        Response::Batch(pods.iter().map(series).collect())
    };
    for strategy in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let ledger = LeakLedger::sites();
        let stores = [
            store("a", vec![replica("a", &["p", "q", "s"]), Warning::new("slow").into()]),
            store("b", vec![replica("b", &["q", "r"])]),
            failing("c"),
            store("d", vec![]),
        ];
        let mut query = ProxyQuery::builder()
            .stores(stores)
            .response_sets(ResponseSetOptions::new().retrieval(strategy).without_replica_labels(["replica"]))
            .partial_response(PartialResponseStrategy::Warn)
            .ledger(&ledger)
            .limit(3)
            .batches(2, usize::MAX)
            .build();
        let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
        let (warnings, batches): (Vec<_>, Vec<_>) =
            answer.into_iter().partition(|response| matches!(response, Response::Warning(_)));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let batches: Vec<Vec<String>> = batches
            .into_iter()
            .map(|batch| match batch {
                Response::Batch(batch) => {
                    batch.iter().map(|series| series.labels.get("zone").unwrap().into_owned()).collect()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(batches, [vec!["p", "q"], vec!["r"]]);
        let stats = query.stats();
        assert!(stats.is_partial);
        assert_eq!(empty_sources(&stats), 1);
        assert_eq!(stats.sources[0].received().unwrap().series, 3);
        assert_eq!(stats.sources[0].received().unwrap().frames, 2);
        ledger.assert_balanced();
    }
}

/// Bytes of a chunk, as a pool lends them, and how many of them are alive.
struct Lent {
    _alive: Arc<()>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        b"data"
    }
}

#[tokio::test]
async fn closing_drops_what_was_not_yielded() {
    for strategy in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        for batch in [None, Some((2, usize::MAX)), Some((10, 8))] {
            for stop in 0..3 {
                let lent = Arc::new(());
                let frames = (0..6).map(|pod| {
                    let chunk = Chunk::new(0, 9, Bytes::from_owner(Lent { _alive: Arc::clone(&lent) }));
                    Series::new(labels(&format!(r#"{{pod="{pod}"}}"#)), vec![chunk]).into()
                });
                let builder = ProxyQuery::builder()
                    .store(store("a", frames.collect()))
                    .response_sets(ResponseSetOptions::new().retrieval(strategy));
                let mut query = match batch {
                    Some((series, bytes)) => builder.batches(series, bytes).build(),
                    None => builder.build(),
                };
                for _ in 0..stop {
                    query.try_next().await.unwrap().unwrap();
                }
                query.close().await.unwrap();
                assert_eq!(Arc::strong_count(&lent), 1, "{strategy:?}, {batch:?}, after {stop}");
                assert!(query.try_next().await.unwrap().is_none());
            }
        }
    }
}

#[tokio::test]
async fn closing_returns_the_error_behind_a_batch() {
    let frames = ["a", "c"].map(|pod| Ok(series(&format!(r#"{{pod="{pod}"}}"#), 0).into()));
    let frames = frames.into_iter().chain([Err(io::ErrorKind::ConnectionReset.into())]);
    let source = closing(stream::iter(frames), |_| async { Err(io::ErrorKind::TimedOut.into()) }).boxed();
    let mut query = ProxyQuery::builder()
        .store(Store::opened("a", source))
        .store(store("b", vec![series(r#"{pod="b"}"#, 0).into()]))
        .batches(10, usize::MAX)
        .build();
    // The error has ended the batch, and comes next.
    assert!(matches!(query.try_next().await.unwrap(), Some(Response::Batch(_))));
    let errors = query.close().await.unwrap_err().into_errors();
    let kinds: Vec<_> =
        errors.iter().map(|error| error.source_error().expect("of the store").kind()).collect();
    assert_eq!(kinds, [io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut]);
    query.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_answer_does_not_wait_for_the_closing_of_its_stores() {
    let stores = |cast: &timed::Cast| {
        let plan = |name: &str, nth| timed::Plan {
            name: name.to_owned(),
            answer: vec![timed::Step::Frame(Response::from(series(&format!(r#"{{nth="{nth}"}}"#), 0)))],
            close: vec![timed::Step::Wait(Duration::from_secs(1000))],
            ..timed::Plan::default()
        };
        cast.stores([plan("a", 1), plan("b", 2)])
    };
    for strategy in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        for limit in [1, 2, 3] {
            for batch in [None, Some((10, usize::MAX))] {
                let cast = timed::Cast::default();
                let builder = ProxyQuery::builder()
                    .stores(stores(&cast))
                    .response_sets(ResponseSetOptions::new().retrieval(strategy))
                    .limit(limit);
                let mut query = match batch {
                    Some((series, bytes)) => builder.batches(series, bytes).build(),
                    None => builder.build(),
                };
                let start = Instant::now();
                let mut came = 0;
                while came < limit.min(2) {
                    came += query.try_next().await.unwrap().unwrap().series_count() as u64;
                }
                assert_eq!(start.elapsed(), Duration::ZERO, "{strategy:?}, limit {limit}, {batch:?}");
                assert!(query.try_next().await.unwrap().is_none());
                // The end is when all are closed.
                assert_eq!(start.elapsed(), Duration::from_secs(1000));
                cast.assert_released();
            }
        }
    }
}

// F42
#[tokio::test]
async fn a_series_that_an_error_cuts_off_does_not_come_wherever_the_executor_gets_its_turn() {
    for strategy in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        for duplicates in 1..300 {
            let frames = (0..duplicates).map(|_| Ok::<_, io::Error>(series(r#"{pod="a"}"#, 0).into()));
            let frames = frames.chain([Err(io::ErrorKind::ConnectionReset.into())]);
            let source = closing(stream::iter(frames), |_| pending()).boxed();
            let mut query = ProxyQuery::builder()
                .store(Store::opened("a", source))
                .response_sets(ResponseSetOptions::new().retrieval(strategy))
                .build();
            let first = query.next().await.unwrap();
            assert!(first.is_err(), "{strategy:?}, {duplicates}: {first:?}");
        }
    }
}

/// The clock is read for stores whose times somebody has asked for.
#[tokio::test]
async fn stores_have_times_if_asked_for() {
    for is_timed in [false, true] {
        let stores = [store("a", vec![series(r#"{pod="p"}"#, 0).into()]), store("b", vec![])];
        let builder = ProxyQuery::builder().stores(stores);
        let mut query = if is_timed { builder.times() } else { builder }.build();
        query.by_ref().try_collect::<Vec<_>>().await.unwrap();
        let times = |source: &SourceStats| (source.time_to_first_item.is_some(), source.duration.is_some());
        let found: Vec<_> = query.stats().sources.iter().map(times).collect();
        assert_eq!(found, [(is_timed, is_timed), (false, is_timed)]);
    }
}

/// Stores that can do different things, in one query.
#[tokio::test]
async fn a_store_has_options_of_its_own() {
    let frames = |replica: &str, pods: &[&str]| -> Vec<Response> {
        let one = |pod: &&str| series(&format!(r#"{{pod="{pod}"{replica}}}"#), 0).into();
        pods.iter().map(one).collect()
    };
    let options = ResponseSetOptions::new().without_replica_labels(["replica"]);
    let unsorted = || options.clone().series_order(SeriesOrder::Sorted).retrieval(RetrievalStrategy::Eager);
    let stores = |is_told: bool| {
        let c = store("c", frames("", &["r", "p"])).supports_without_replica_labels();
        let d = store("d", frames("", &["q", "s"]));
        [
            store("a", frames(r#", replica="a""#, &["p", "q"])),
            store("b", frames("", &["p", "q"])).supports_without_replica_labels(),
            if is_told { c.with_options(unsorted()) } else { c },
            d.with_options(options.clone().series_order(SeriesOrder::Checked)),
        ]
    };
    let mut query = ProxyQuery::builder().stores(stores(true)).response_sets(options.clone()).build();
    let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
    let pods = ["p", "q", "r", "s"].map(|pod| Response::from(series(&format!(r#"{{pod="{pod}"}}"#), 0)));
    assert_eq!(answer, pods);
    let stats = query.stats();
    let held_back = stats.sources.iter().map(|source| source.received().unwrap().is_held_back);
    assert_eq!(held_back.collect::<Vec<_>>(), [true, false, true, false]);
    let resorted = stats.sources.iter().map(|source| source.received().unwrap().is_resorted);
    assert_eq!(resorted.collect::<Vec<_>>(), [false, false, true, false]);
    assert_eq!((query.merged_series(), query.dropped_chunks()), (4, 4));
    query.close().await.unwrap();

    let query = ProxyQuery::builder().stores(stores(false)).response_sets(options.clone()).build();
    let error = query.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error.cause(), Cause::OutOfOrder { position: 1 }), "{error:?}");
}

// F40
#[tokio::test]
async fn a_warning_behind_a_batch_is_an_error_of_the_close() {
    let pod = |pod: &str| Response::from(series(&format!(r#"{{pod="{pod}"}}"#), 0));
    let frames = || [pod("a"), pod("b")].map(Ok::<_, io::Error>);
    let warned = [Ok(Warning::new("slow").into()), Ok(pod("c"))];
    let failed = [Err(io::ErrorKind::ConnectionReset.into())];
    let failure = "failed while merging: connection reset";
    for (last, message) in [(warned.into(), "slow"), (Vec::from(failed), failure)] {
        let source = closing(stream::iter(frames().into_iter().chain(last)), |_| async { Ok(()) }).boxed();
        let mut query = ProxyQuery::builder()
            .store(Store::opened("a", source))
            .partial_response(PartialResponseStrategy::Warn)
            .batches(10, usize::MAX)
            .build();
        assert!(matches!(query.try_next().await.unwrap().unwrap(), Response::Batch(_)));
        let errors = query.close().await.unwrap_err().into_errors();
        let [error] = &*errors else { panic!("{errors:?}") };
        assert_eq!(error.path().name().as_deref(), Some("a"));
        assert!(matches!(error.cause(), Cause::Incomplete(text) if text == message), "{error:?}");
        query.close().await.unwrap();
        assert_eq!(query.try_next().await.unwrap(), None);
        assert!(query.is_terminated());
    }
}

/// A close that is given up half-way has told nobody of the warning.
#[tokio::test]
async fn a_warning_behind_a_batch_is_yielded_if_the_close_is_given_up() {
    let pod = |pod: &str| Ok::<_, io::Error>(Response::from(series(&format!(r#"{{pod="{pod}"}}"#), 0)));
    let frames = [pod("a"), pod("b"), Ok(Warning::new("slow").into()), pod("c")];
    let source = closing(stream::iter(frames), |_| pending()).boxed();
    let strategy = PartialResponseStrategy::Warn;
    let query = ProxyQuery::builder().store(Store::opened("a", source)).partial_response(strategy);
    let mut query = query.batches(10, usize::MAX).build();
    assert!(matches!(query.try_next().await.unwrap().unwrap(), Response::Batch(_)));
    assert!(futures::poll!(query.close()).is_pending());
    assert!(matches!(query.try_next().await.unwrap().unwrap(), Response::Warning(_)));
}

/// With so many stores the tournament knows which responses are equal to the one before them. That is not the series
/// before where a hint comes in between.
#[tokio::test]
async fn equal_series_are_one_whatever_comes_between_them() {
    let name = |number: usize| format!(r#"{{__name__="up", zone="{}"}}"#, number / 3);
    for hints in [0, 1, 2] {
        let stores = (0..24).map(|number: usize| {
            let mut frames = vec![
                series("{}", 0).into(),
                series(&name(number), 10 * i64::try_from(number).unwrap()).into(),
            ];
            if hints > 0 && number.is_multiple_of(hints) {
                frames.insert(1, Response::Hints(Bytes::from_static(b"hint")));
                frames.push(Response::Hints(Bytes::from_static(b"hint")));
            }
            frames.push(series(r#"{__name__="up", zone="~"}"#, 0).into());
            store("store", frames)
        });
        let mut query = ProxyQuery::builder().stores(stores).build();
        let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
        let series: Vec<_> = answer.into_iter().filter_map(Response::into_series).collect();
        assert_eq!(series.len(), 10, "{hints}");
        assert!(series.is_sorted_by(|a, b| a.labels < b.labels));
        let chunks: Vec<_> = series.iter().map(|series| series.chunks.len()).collect();
        assert_eq!(chunks, [1, 3, 3, 3, 3, 3, 3, 3, 3, 1]);
        assert_eq!((query.merged_series(), query.dropped_chunks()), (23 + 16 + 23, 46));
    }
}

/// A store's series, in order, some of them several times, with other frames in between.
fn random_answer(random: &mut Random, store: usize) -> Vec<Response> {
    let mut names: Vec<_> = (0..random.below(12)).map(|_| random.below(6)).collect();
    names.sort_unstable();
    let mut frames = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let text = format!(r#"{{__name__="up", zone="{}"}}"#, "x".repeat(name));
        let start = i64::try_from(if random.chance(0.5) { 0 } else { store * 100 + at }).unwrap();
        let one = series(if name == 0 { "{}" } else { &text }, start);
        match (random.below(6), frames.last_mut()) {
            (0, _) => frames.push(Response::Batch(vec![one])),
            (1, Some(Response::Batch(batch))) => batch.push(one),
            (2, _) => frames.extend([Response::Hints(Bytes::new()), one.into()]),
            (3, _) => frames.extend([Warning::new("slow").into(), one.into()]),
            _ => frames.push(one.into()),
        }
    }
    frames
}

/// Few stores or many, whole or cut off, in whatever order their frames come: each series is yielded once.
#[test]
fn a_query_yields_each_series_once() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let (stage, tasks) = (Stage::new(), Tasks::new(seed));
        let mut expected = BTreeMap::<Labels, BTreeSet<Chunk>>::new();
        let (mut most, mut others) = (0, 0);
        let stores: Vec<_> = (0..random.below(24))
            .map(|at| {
                let frames = random_answer(&mut random, at);
                for frame in &frames {
                    let several = match frame {
                        Response::Series(series) => slice::from_ref(series),
                        Response::Batch(batch) => batch,
                        _ => &[],
                    };
                    others += usize::from(several.is_empty());
                    most += several.len() as u64;
                    for series in several {
                        expected.entry(series.labels.clone()).or_default().extend(series.chunks.clone());
                    }
                }
                let mut script = Script::of(frames);
                if random.chance(0.2) {
                    others += 1;
                    script = script.fail();
                }
                Store::opened("store", stage.source(script.with_pauses(&mut random, 0.2)))
            })
            .collect();
        let orders = [SeriesOrder::Checked, SeriesOrder::Trusted, SeriesOrder::Sorted];
        let mut options = ResponseSetOptions::new().series_order(*random.pick(&orders).unwrap());
        if random.chance(0.3) {
            options = options.retrieval(RetrievalStrategy::Eager);
        }
        if random.chance(0.5) {
            let tasks = tasks.clone();
            options = options.spawn_with(move |task| tasks.spawn(task)).buffer_frames(1 + random.below(3));
        }
        let limit = if random.chance(0.3) { random.below(7) } else { 100 };
        let mut query = ProxyQuery::builder()
            .stores(stores)
            .response_sets(options)
            .partial_response(PartialResponseStrategy::Warn)
            .limit(limit as u64);
        if random.chance(0.3) {
            query = query.batches(1 + random.below(4), usize::MAX);
        }
        let mut query = query.build();
        let mut stream = stream::poll_fn(|cx| tasks.poll(cx, |cx| query.poll_next_unpin(cx)));
        // A log of no sources: a set need not poll a store that has woken.
        let mut driver = Driver::new(stage.bell().clone(), Log::new(), Random::seed(seed));
        let answer = driver.run(&mut stream).ok();
        let mut yielded = Vec::new();
        let mut met = 0;
        for response in answer {
            match response {
                Response::Series(series) => yielded.push(series),
                Response::Batch(batch) => yielded.extend(batch),
                _ => met += 1,
            }
        }
        let is_limited = limit <= expected.len();
        let dropped = most - expected.len() as u64;
        let expected: Vec<_> = expected
            .into_iter()
            .take(limit)
            .map(|(labels, chunks)| Series::new(labels, chunks.into_iter().collect()))
            .collect();
        assert_eq!(yielded, expected);
        assert!(is_limited || (met, query.merged_series()) == (others, dropped));
        stage.log().assert_closed();
        true
    }
    QuickCheck::new().tests(2_000).quickcheck(property as fn(u64) -> bool);
}

fn warned(name: &'static str) -> Store<BoxSource<'static, Response, io::Error>> {
    let pod = series(&format!(r#"{{pod="{name}"}}"#), 0);
    let frames = [Ok(Warning::new("block 7 is missing").into()), Ok(pod.into())];
    Store::opened(name, closing(stream::iter(frames), |_| async { Ok(()) }).boxed())
}

// F59
#[tokio::test]
async fn a_warning_of_a_store_ends_a_query_that_aborts() {
    for (is_passed, retrieval) in
        [(false, RetrievalStrategy::Lazy), (false, RetrievalStrategy::Eager), (true, RetrievalStrategy::Lazy)]
    {
        let ledger = LeakLedger::sites();
        let options = ResponseSetOptions::new().retrieval(retrieval);
        let options = if is_passed { options.warnings(StoreWarnings::Pass) } else { options };
        let builder = ProxyQuery::builder().stores([warned("a"), warned("b")]).response_sets(options);
        let mut query = builder.ledger(&ledger).build();
        let answer: Vec<_> = query.by_ref().collect().await;
        if is_passed {
            assert_eq!((answer.len(), query.stats().is_partial), (4, false));
            assert!(answer.iter().all(Result::is_ok));
        } else {
            let [Err(error)] = &*answer else { panic!("{answer:?}") };
            assert!(
                matches!(error.cause(), Cause::Incomplete(text) if text == "block 7 is missing"),
                "{error:?}"
            );
            assert_eq!((error.path().name().as_deref(), error.phase()), (Some("a"), Some(Phase::Filling)));
        }
        ledger.assert_all_closed();
    }
}

// F56
#[tokio::test]
async fn a_warning_of_a_store_makes_the_answer_partial_and_names_the_store() {
    for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let mut query = ProxyQuery::builder()
            .stores([warned("a"), warned("b")])
            .response_sets(ResponseSetOptions::new().retrieval(retrieval))
            .partial_response(PartialResponseStrategy::Warn)
            .build();
        let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
        let origins: Vec<_> = answer
            .iter()
            .filter_map(|response| match response {
                Response::Warning(warning) => Some(warning.to_string()),
                _ => None,
            })
            .collect();
        let expected = ["a", "b"]
            .map(|name| format!("source {} {name:?}: block 7 is missing", usize::from(name == "b")));
        assert_eq!(origins, expected);
        assert!(query.stats().is_partial);
    }
}

/// The primary must answer, others may fail.
#[tokio::test]
async fn a_required_store_must_answer_where_others_may_fail() {
    let warn = PartialResponseStrategy::Warn;
    for (stores, is_ok) in [
        ([store("primary", vec![]).required(), failing("other")], true),
        ([store("other", vec![]), failing("primary").required()], false),
        ([warned("primary").required(), store("other", vec![])], false),
        ([warned("other"), store("primary", vec![]).required()], true),
    ] {
        let ledger = LeakLedger::sites();
        let mut query = ProxyQuery::builder().stores(stores).partial_response(warn).ledger(&ledger).build();
        let answer: Vec<_> = query.by_ref().collect().await;
        let errors: Vec<_> = answer.iter().filter_map(|response| response.as_ref().err()).collect();
        assert_eq!(errors.is_empty(), is_ok, "{answer:?}");
        for error in errors {
            assert_eq!(error.path().name().as_deref(), Some("primary"));
        }
        assert_eq!(query.stats().is_partial, is_ok);
        ledger.assert_all_closed();
    }
}
