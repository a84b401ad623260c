//! P14 and P15 where responses are merged: a query is a store of another query, and stages behind a merge hold nothing back once it
//! has only closing left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use futures::executor::block_on;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use losertree::error::{Cause, CloseError};
use losertree::response::{
    Deduplicate, PartialResponseStrategy, ProxyQuery, ResponseSetOptions, RetrievalStrategy, Store,
    StoreWarnings, batches, deduplicate, limit,
};
use losertree::stream::{Closable, MergeSource};
use losertree::{
    BoxSource, Labels, LeakLedger, Phase, ProxyResponseLoserTree, Response, Series, Source, SourceError,
    Warning, closing, from_stream,
};
use losertree_testkit::{
    At, Checked, Driver, Ending, Log, Random, Script, ScriptedSource, Stage, Step, TestError, Wake,
};

type Leaf = Checked<ScriptedSource<Response>>;

const WIDTH: usize = 3;
const LEAVES: usize = 81;
const STRATEGIES: [RetrievalStrategy; 2] = [RetrievalStrategy::Lazy, RetrievalStrategy::Eager];

fn series(key: usize) -> Series {
    Series::new(Labels::from_pairs([("__name__", format!("s{key:04}"))]).unwrap(), vec![])
}

fn leaf_store(
    stage: &Stage,
    leaf: usize,
    script: Script<Response>,
) -> Store<BoxSource<'static, Response, TestError>> {
    Store::opened(format!("leaf-{}", leaf % WIDTH), stage.source(script).boxed())
}

type AnyStore = Store<BoxSource<'static, Response, TestError>>;

/// A query below, as a store of any kind.
fn as_store(index: usize, query: ProxyQuery<BoxSource<'static, Response, TestError>>) -> AnyStore {
    Store::opened(format!("q-{}", index % WIDTH), query.into_source().boxed())
}

/// Four levels of queries over 81 leaves, by threes.
fn composed(
    mut stores: Vec<AnyStore>,
    strategy: PartialResponseStrategy,
    retrieval: RetrievalStrategy,
    ledger: &LeakLedger,
    limit: u64,
) -> ProxyQuery<BoxSource<'static, Response, TestError>> {
    loop {
        let mut above = Vec::new();
        let mut rest = stores.into_iter();
        loop {
            let some: Vec<_> = rest.by_ref().take(WIDTH).collect();
            if some.is_empty() {
                break;
            }
            let builder = ProxyQuery::builder()
                .stores(some)
                .response_sets(ResponseSetOptions::new().retrieval(retrieval))
                .partial_response(strategy)
                .ledger(ledger);
            let index = above.len();
            above.push((index, builder));
        }
        if above.len() == 1 {
            let (_, builder) = above.pop().unwrap();
            return builder.limit(limit).build();
        }
        stores = above.into_iter().map(|(index, builder)| as_store(index, builder.build())).collect();
    }
}

fn path_of(leaf: usize) -> String {
    format!("q-{}/q-{}/q-{}/leaf-{}", leaf / 27, leaf / 9 % 3, leaf / 3 % 3, leaf % 3)
}

fn scripts(random: &mut Random) -> Vec<Script<Response>> {
    (0..LEAVES)
        .map(|_| {
            let mut keys: Vec<_> = (0..random.below(4)).map(|_| random.below(60)).collect();
            keys.sort_unstable();
            keys.dedup();
            Script::of(keys.into_iter().map(|key| Response::from(series(key))))
        })
        .collect()
}

fn keys(scripts: &[Script<Response>]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for script in scripts {
        for step in &script.steps {
            if let Step::Item(Response::Series(series)) = step {
                names.insert(series.labels.metric_name().unwrap().into_owned());
            }
        }
    }
    names.into_iter().collect()
}

fn names(answer: &[Response]) -> Vec<String> {
    let series = answer.iter().filter_map(Response::as_series);
    series.map(|series| series.labels.metric_name().unwrap().into_owned()).collect()
}

/// A driver that leaves the log to the end: a set that fills its buffer by itself follows its store when it is polled.
fn driver(stage: &Stage, seed: u64) -> Driver {
    Driver::new(stage.bell().clone(), Log::new(), Random::seed(seed))
}

#[test]
fn queries_of_queries_give_each_series_once_and_close_everything() {
    for seed in 0..40 {
        let random = &mut Random::seed(seed);
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let scripts = scripts(random);
        let expected = keys(&scripts);
        let leaves = scripts.into_iter().map(|script| script.with_pauses(random, 0.3)).enumerate();
        let stores = leaves.map(|(leaf, script)| leaf_store(&stage, leaf, script)).collect();
        let limit = if seed % 4 == 0 { random.below(30) as u64 } else { u64::MAX };
        let retrieval = STRATEGIES[usize::from(seed % 2 == 1)];
        let mut query = composed(stores, PartialResponseStrategy::Abort, retrieval, &ledger, limit);
        let mut driver = driver(&stage, seed);
        if seed % 5 == 0 {
            let taken = driver.run_up_to(&mut query, random.below(10)).oks();
            assert!(expected.starts_with(&names(&taken)));
            assert_eq!(driver.complete(query.close()), Ok(Ok(())));
        } else {
            let answer = driver.run(&mut query).ok();
            let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(expected.len());
            assert_eq!(names(&answer), &expected[..limit]);
        }
        assert!(!query.stats().is_partial);
        stage.log().assert_closed();
        ledger.assert_all_closed();
        assert_eq!(ledger.snapshot().closed, 81 + 27 + 9 + 3);
    }
}

// F56
#[test]
fn warnings_and_failures_come_up_with_their_paths() {
    for seed in 0..40 {
        let random = &mut Random::seed(seed);
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let mut expected = BTreeMap::new();
        let scripts: Vec<_> = scripts(random)
            .into_iter()
            .enumerate()
            .map(|(leaf, script)| match random.below(20) {
                0 => {
                    expected.insert(path_of(leaf), "fails as scripted".to_owned());
                    script.fail()
                }
                1 => {
                    expected.insert(path_of(leaf), format!("block {leaf} is missing"));
                    script.item(Warning::new(format!("block {leaf} is missing")).into())
                }
                _ => script,
            })
            .collect();
        let scripts: Vec<_> = scripts.into_iter().map(|script| script.with_pauses(random, 0.3)).collect();
        let series = keys(&scripts);
        let stores =
            scripts.into_iter().enumerate().map(|(leaf, script)| leaf_store(&stage, leaf, script)).collect();
        let retrieval = STRATEGIES[usize::from(seed % 2 == 1)];
        let mut query = composed(stores, PartialResponseStrategy::Warn, retrieval, &ledger, u64::MAX);
        let answer = driver(&stage, seed).run(&mut query).ok();
        assert_eq!(names(&answer), series);
        let mut told = BTreeMap::new();
        for response in answer {
            let Response::Warning(warning) = response else { continue };
            let (origin, message) = warning.into_parts();
            assert_eq!(origin.places().len(), 4);
            let before = told.insert(origin.name().unwrap().into_owned(), message);
            assert!(before.is_none(), "once");
        }
        assert!(told.keys().eq(expected.keys()), "{told:?} {expected:?}");
        for (path, message) in &told {
            assert!(message.contains(&expected[path]), "{message}");
        }
        let stats = query.stats();
        assert_eq!(stats.is_partial, !expected.is_empty());
        for (index, source) in stats.sources.iter().enumerate() {
            let is_partial = expected.keys().any(|path| path.starts_with(&format!("q-{index}/")));
            assert_eq!(source.is_partial, is_partial, "{index}: {expected:?}");
        }
        stage.log().assert_closed();
        ledger.assert_balanced();
    }
}

#[test]
fn an_abort_goes_through_all_levels() {
    for (leaf, is_warning) in [(0, true), (40, false), (80, true), (17, false)] {
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let scripts = (0..LEAVES).map(|index| {
            let script = Script::of([Response::from(series(index))]).close_pending(Wake::Later);
            match (index == leaf, is_warning) {
                (true, true) => script.item(Warning::new("missing").into()),
                (true, false) => script.fail(),
                _ => script,
            }
        });
        let stores = scripts.enumerate().map(|(leaf, script)| leaf_store(&stage, leaf, script)).collect();
        let mut query =
            composed(stores, PartialResponseStrategy::Abort, RetrievalStrategy::Lazy, &ledger, u64::MAX);
        let run = driver(&stage, 1).run(&mut query);
        let errors: Vec<_> = run.items.into_iter().filter_map(Result::err).collect();
        let [error] = &*errors else { panic!("{errors:?}") };
        assert_eq!(error.path().name().unwrap(), path_of(leaf));
        let is_as_expected = match error.cause() {
            Cause::Incomplete(message) => is_warning && message == "missing",
            Cause::Source(error) => !is_warning && error.source == leaf,
            _ => false,
        };
        assert!(is_as_expected, "{error:?}");
        stage.log().assert_closed();
        ledger.assert_balanced();
    }
}

// F40
#[test]
fn all_errors_of_closing_come_up() {
    let (stage, ledger) = (Stage::new(), LeakLedger::sites());
    let scripts = (0..LEAVES).map(|leaf| {
        let script = Script::of((0..9).map(|key| Response::from(series(100 * key + leaf))));
        if leaf % 10 == 3 { script.close_fails() } else { script }
    });
    let stores = scripts.enumerate().map(|(leaf, script)| leaf_store(&stage, leaf, script)).collect();
    let mut query =
        composed(stores, PartialResponseStrategy::Abort, RetrievalStrategy::Lazy, &ledger, u64::MAX);
    let mut driver = driver(&stage, 0);
    assert_eq!(driver.run_up_to(&mut query, 2).oks().len(), 2);
    let errors = driver.complete(query.close()).unwrap().unwrap_err().into_errors();
    let mut told: Vec<_> = errors
        .iter()
        .map(|error: &SourceError<TestError>| {
            assert_eq!(error.phase(), Some(Phase::Closing));
            let TestError { source, at } = *error.source_error().unwrap();
            assert_eq!(at, At::CloseStep(0));
            assert_eq!(error.path().name().unwrap(), path_of(source));
            source
        })
        .collect();
    told.sort_unstable();
    assert_eq!(told, [3, 13, 23, 33, 43, 53, 63, 73]);
    stage.log().assert_closed();
}

/// How often the failure of each leaf is told, in messages of warnings and reports of errors.
fn count_told(told: &[String]) -> Vec<usize> {
    let failure = |leaf: usize| format!("source {leaf} fails as scripted, at step");
    (0..LEAVES).map(|leaf| told.iter().filter(|text| text.contains(&failure(leaf))).count()).collect()
}

/// A failure is told once, be it that its warning was yielded, or that it was somewhere on its way when the query was closed.
#[test]
fn failures_below_whose_warnings_were_not_yielded_are_told_by_close() {
    let mut told_by_close = 0;
    for seed in 0..80 {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        let scripts: Vec<_> = scripts(random)
            .into_iter()
            .map(|script| {
                let script = if random.chance(0.5) { script.fail() } else { script };
                script.with_pauses(random, 0.3)
            })
            .collect();
        let stores =
            scripts.into_iter().enumerate().map(|(leaf, script)| leaf_store(&stage, leaf, script)).collect();
        let retrieval = STRATEGIES[usize::from(seed % 2 == 1)];
        let ledger = LeakLedger::off();
        let mut query = composed(stores, PartialResponseStrategy::Warn, retrieval, &ledger, u64::MAX);
        let mut driver = driver(&stage, seed);
        let taken = driver.run_up_to(&mut query, random.below(40)).oks();
        let mut told: Vec<_> = taken
            .into_iter()
            .filter_map(|response| match response {
                Response::Warning(warning) => {
                    assert!(warning.is_failure());
                    Some(warning.message().to_owned())
                }
                _ => None,
            })
            .collect();
        let closed = driver.complete(query.close()).unwrap();
        for error in closed.err().into_iter().flat_map(CloseError::into_errors) {
            assert_eq!(error.path().places().len(), 4, "{error:?}");
            told_by_close += 1;
            told.push(error.report());
        }
        let failed = stage.log().sources();
        let failed: Vec<_> =
            failed.iter().map(|leaf| usize::from(leaf.ending == Some(Ending::Failed))).collect();
        assert_eq!(count_told(&told), failed, "{seed}: {told:#?}");
        assert!(query.stats().is_partial || !failed.contains(&1));
        stage.log().assert_closed();
    }
    assert!(told_by_close > 100, "{told_by_close}");
}

/// What stands for nothing that is missing is no failure of the query above.
#[test]
fn a_warning_that_is_passed_on_is_no_failure_when_it_is_not_yielded() {
    for strategy in [PartialResponseStrategy::Abort, PartialResponseStrategy::Warn] {
        let stage = Stage::new();
        let leaf = Script::of([Response::from(series(1)), series(2).into()]).fail();
        let below = ProxyQuery::builder()
            .store(leaf_store(&stage, 0, leaf))
            .partial_response(PartialResponseStrategy::Warn)
            .build();
        let mut query = ProxyQuery::builder()
            .store(below.into_store("below"))
            .response_sets(ResponseSetOptions::new().warnings(StoreWarnings::Pass))
            .partial_response(strategy)
            .limit(1)
            .build();
        let answer = driver(&stage, 0).run(&mut query).ok();
        let is_no_failure =
            |response: &Response| !matches!(response, Response::Warning(warning) if warning.is_failure());
        assert!(answer.iter().all(is_no_failure), "{answer:?}");
        stage.log().assert_closed();
    }
}

/// A merge that aborts while the failure of another query waits to be yielded tells it too.
#[test]
fn a_failure_below_is_not_lost_to_an_error_beside_it() {
    let failure = SourceError::<TestError>::new(Cause::Abandoned);
    let warning = Script::of([Response::from(Warning::from(failure))]);
    let stage = Stage::new();
    let sources = stage.sources([warning, Script::new().fail()]);
    let mut merge = ProxyResponseLoserTree::builder()
        .sources(sources)
        .attribute(Response::from_source)
        .unyielded(Response::into_failure)
        .build();
    let mut driver = stage.driver(0);
    let run = driver.run(&mut merge);
    assert_eq!(run.items.iter().filter(|item| item.is_err()).count(), 1);
    let is_yielded = run.items.iter().any(|item| matches!(item, Ok(Response::Warning(_))));
    let closed = driver.complete(merge.close()).unwrap().err().map_or(vec![], CloseError::into_errors);
    assert_eq!(usize::from(is_yielded) + closed.len(), 1);
    assert!(closed.iter().all(|error| matches!(error.cause(), Cause::Incomplete(_))), "{closed:?}");
    assert!(closed.iter().all(|error| error.path().index() == Some(0)), "{closed:?}");
}

/// A store that counts how often it was told to close.
fn told_store(told: &Arc<AtomicUsize>, first: usize) -> Store<BoxSource<'static, Response, io::Error>> {
    let told = told.clone();
    let answer = stream::iter((0..50).map(move |at| Ok(Response::from(series(4 * at + first)))));
    let source = closing(answer, move |_| {
        told.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    });
    Store::opened(format!("store-{first}"), source.boxed())
}

fn is_store<S: Source<Item = Response> + Unpin>(_: Store<MergeSource<ProxyQuery<S>>>) {}

type Region = ProxyQuery<BoxSource<'static, Response, io::Error>>;

type RegionStore = Store<BoxSource<'static, Response, io::Error>>;

// F57
#[test]
fn two_regions_of_two_stores_are_closed_however_the_regions_are_made_stores() {
    let ways: [fn(Region) -> RegionStore; 3] = [
        |region| Store::opened("region", region.into_source().boxed()),
        |region| Store::opened("region", from_stream(region.map_err(io::Error::other)).boxed()),
        |region| {
            Store::new("region", async { Ok(from_stream(region.map_err(io::Error::other).boxed()).boxed()) })
        },
    ];
    for way in ways {
        for batch in [false, true] {
            let told = Arc::new(AtomicUsize::new(0));
            let ledger = LeakLedger::sites();
            let region = |first| {
                let stores = [told_store(&told, first), told_store(&told, first + 1)];
                let builder = ProxyQuery::builder().stores(stores).ledger(&ledger);
                way(if batch { builder.batches(3, usize::MAX).build() } else { builder.build() })
            };
            let mut query =
                ProxyQuery::builder().stores([region(0), region(2)]).ledger(&ledger).limit(10).build();
            let first: Vec<_> = block_on(query.by_ref().take(5).try_collect()).unwrap();
            assert_eq!(names(&first), ["s0000", "s0001", "s0002", "s0003", "s0004"]);
            block_on(query.close()).unwrap();
            assert_eq!(told.load(Ordering::Relaxed), 4);
            ledger.assert_all_closed();
        }
    }
    let told = Arc::new(AtomicUsize::new(0));
    is_store(ProxyQuery::builder().store(told_store(&told, 0)).build().into_store("region"));
}

/// A merge of sources of which none is ever closed.
fn never_closed(fan_in: usize) -> ProxyResponseLoserTree<BoxSource<'static, Response, io::Error>> {
    ProxyResponseLoserTree::new((0..fan_in).map(|first| {
        let answer = (0..3).map(|at| Ok(Response::from(series(fan_in * at + first))));
        closing(stream::iter(answer.collect::<Vec<_>>()), |_| std::future::pending()).boxed()
    }))
}

/// Takes what is there, and returns how many series that is, and whether the stream is pending then.
fn taken<E: std::fmt::Debug>(stream: impl futures::Stream<Item = Result<Response, E>>) -> (usize, bool) {
    let mut stream = Box::pin(stream);
    let mut series = 0;
    while let Some(next) = stream.next().now_or_never() {
        let Some(response) = next else { return (series, false) };
        series += response.unwrap().series_count();
    }
    (series, true)
}

// F54
#[test]
fn stages_give_what_they_hold_when_only_closing_is_left() {
    for fan_in in [1, 2, 7] {
        let all = (3 * fan_in, true);
        let merge = || never_closed(fan_in);
        assert_eq!(taken(merge()), all);
        assert_eq!(taken(merge().deduplicate()), all);
        assert_eq!(taken(deduplicate(merge())), all);
        assert_eq!(taken(batches(merge(), 100, usize::MAX)), all);
        assert_eq!(taken(batches(limit(merge().deduplicate(), 100), 2, usize::MAX)), all);
        // Through adaptors of others.
        assert_eq!(taken(deduplicate(merge().map_err(|error| error.to_string()).boxed())), all);
        assert_eq!(taken(batches(deduplicate(merge().inspect(|_| {})).boxed(), 100, usize::MAX)), all);
        // The limit ends the merge, and what is held back then does not come.
        assert_eq!(taken(limit(merge().deduplicate(), 2)), (2, true));
        assert_eq!(taken(batches(limit(deduplicate(merge()), 2), 100, usize::MAX)), (2, true));
        assert_eq!(taken(limit(merge(), 0)), (0, true));
        assert_eq!(
            taken(limit(stream::iter([Ok::<_, io::Error>(Response::from(series(1)))]), 0)),
            (0, false)
        );
        // Merges that are chained have more to give.
        let chained = never_closed(fan_in).chain(stream::poll_fn(|_| Poll::Pending));
        assert_eq!(taken(deduplicate(chained)), (3 * fan_in - 1, true));
    }
}

#[test]
fn a_stage_drops_what_it_holds_before_it_closes() {
    let stage = Stage::new();
    let scripts = [Script::of((0..9).map(|key| Response::from(series(key))))];
    let merge = ProxyResponseLoserTree::new(stage.sources(scripts) as Vec<Leaf>);
    let mut stages = batches(limit(merge.deduplicate(), 100), 100, usize::MAX);
    let mut driver = stage.driver(0);
    assert!(driver.poll_times(stages.next(), 0).is_err());
    assert_eq!(driver.complete(stages.close()), Ok(Ok(())));
    assert_eq!(driver.complete(stages.close()), Ok(Ok(())));
    assert_eq!(driver.complete(stages.next()), Ok(None));
    stage.log().assert_closed();
}
