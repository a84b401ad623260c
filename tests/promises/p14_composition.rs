//! P14: a merge is a source. Closing goes through all levels and is awaited; errors come up with their path; nothing of a lower
//! level is dropped that was asked to close.

use std::collections::BTreeSet;
use std::io;

use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use losertree::error::Cause;
use losertree::{
    BoxSource, CloseError, LeakLedger, Phase, ProxyResponseLoserTree, Source, SourceError, from_stream,
};
use losertree_testkit::{
    At, Checked, End, Item, Random, Runs, Script, ScriptedSource, Stage, TestError, Wake, assert_merged,
};

type Leaf = Checked<ScriptedSource<Item<u64>>>;
type Level = BoxSource<'static, Item<u64>, TestError>;

/// How many sources each merge has, and how many levels there are.
const WIDTH: usize = 3;
const LEVELS: u32 = 4;
const LEAVES: usize = WIDTH.pow(LEVELS);

/// Three levels of merges below one: the leaves in order, by threes.
fn composed(
    leaves: Vec<Leaf>,
    ledger: &LeakLedger,
    limit: Option<u64>,
    is_partial: bool,
) -> ProxyResponseLoserTree<Level> {
    let mut level: Vec<Level> = leaves.into_iter().map(Source::boxed).collect();
    for depth in (0..LEVELS).rev() {
        let mut above = Vec::new();
        let mut sources = level.into_iter();
        for index in 0..WIDTH.pow(depth) {
            let mut builder = ProxyResponseLoserTree::builder();
            builder = builder.sources(sources.by_ref().take(WIDTH)).ledger(ledger);
            if is_partial {
                builder = builder.warn_with(warning);
            }
            if depth == 0 {
                builder = if let Some(limit) = limit { builder.limit(limit) } else { builder };
                return builder.build();
            }
            let name = format!("merge-{}", index % WIDTH);
            above.push(builder.build().into_source().named(name).boxed());
        }
        level = above;
    }
    unreachable!("the outermost level is returned")
}

// As a merge calls it.
#[allow(clippy::needless_pass_by_value)]
/// An item that is none: its source is the leaf that has failed, by its path.
fn warning(error: SourceError<TestError>) -> Item<u64> {
    let at_leaf = error.source_error().expect("leaves fail by themselves").source;
    Item::new(u64::MAX, at_leaf, usize::MAX)
}

/// Which leaf a path of indexes leads to.
fn leaf_at(error: &SourceError<TestError>) -> usize {
    let places = error.path().places();
    assert_eq!(places.len(), LEVELS as usize, "{error:?}");
    places.iter().fold(0, |leaf, place| leaf * WIDTH + place.index())
}

fn runs(random: &mut Random) -> Runs<u64> {
    let mut keys = || (0..random.below(5)).map(|_| random.next_u64() % 20).collect::<Vec<_>>();
    let mut runs: Vec<_> = (0..LEAVES).map(|_| keys()).collect();
    for run in &mut runs {
        run.sort_unstable();
    }
    Runs::from_keys(runs)
}

fn sources_of_all_levels() -> u64 {
    (1..=LEVELS).map(|depth| WIDTH.pow(depth) as u64).sum()
}

#[test]
fn four_levels_of_merges_are_one_stable_merge_and_close_everything() {
    for seed in 0..60 {
        let random = &mut Random::seed(seed);
        let runs = runs(random);
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let leaves = stage.sources_of(runs.clone().into_vec(), random, 0.3);
        let mut merge = composed(leaves, &ledger, None, false);
        let merged = stage.driver(seed).restless(0.1).run(&mut merge).ok();
        assert_merged(&merged, runs.as_slice());
        stage.log().assert_closed();
        ledger.assert_all_closed();
        assert_eq!(ledger.snapshot().closed, sources_of_all_levels());
        assert!(!merge.is_partial());
    }
}

// F57: a limit at the top, a close at any point, with closes that take their time.
#[test]
fn ending_early_closes_every_leaf_of_every_level() {
    for seed in 0..60 {
        let random = &mut Random::seed(seed);
        let runs = runs(random);
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let leaves = stage.sources_of(runs.clone().into_vec(), random, 0.3);
        let limit = random.below(20);
        let mut merge = composed(leaves, &ledger, (seed % 2 == 0).then_some(limit as u64), false);
        let mut driver = stage.driver(seed);
        if seed % 2 == 0 {
            assert_eq!(driver.run(&mut merge).end, End::Finished);
        } else {
            let _ = driver.run_up_to(&mut merge, limit);
            assert_eq!(driver.complete(merge.close()), Ok(Ok(())));
        }
        stage.log().assert_closed();
        ledger.assert_all_closed();
        assert_eq!(ledger.snapshot().closed, sources_of_all_levels());
    }
}

// F40
#[test]
fn all_errors_of_closing_come_up_with_their_paths() {
    for seed in 0..40 {
        let random = &mut Random::seed(seed);
        let runs = runs(random);
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let mut failing = BTreeSet::new();
        let scripts = runs.clone().into_vec().into_iter().enumerate().map(|(leaf, run)| {
            let script = Script::of(run);
            // An empty one is closed before the others, and its error ends the merge.
            if random.chance(0.2) && !script.steps.is_empty() {
                failing.insert(leaf);
                script.close_fails()
            } else {
                script
            }
        });
        let scripts: Vec<_> = scripts.collect();
        let mut merge = composed(stage.sources(scripts), &ledger, None, false);
        let mut driver = stage.driver(seed);
        assert_eq!(driver.run_up_to(&mut merge, 1).oks().len(), 1);
        let closed = driver.complete(merge.close()).expect("it completes");
        let errors = closed.err().map(CloseError::into_errors).unwrap_or_default();
        for error in &errors {
            assert_eq!(error.phase(), Some(Phase::Closing));
            let TestError { source, at } = *error.source_error().expect("of the leaf");
            assert!(matches!(at, At::CloseStep(_)));
            assert_eq!(leaf_at(error), source);
        }
        // The first item's leaf may have ended and failed with it, which is among the errors too.
        let told: BTreeSet<_> = errors.iter().map(leaf_at).collect();
        assert_eq!((told.len(), &told), (errors.len(), &failing));
        stage.log().assert_closed();
    }
}

#[test]
fn an_error_of_a_leaf_ends_all_levels_and_says_where_and_when() {
    for leaf in [0, 1, 40, 80] {
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let scripts = (0..LEAVES).map(|index| {
            let script = Script::of([Item::new(1, index, 0)]).named(format!("leaf-{index}"));
            if index == leaf { script.pending(Wake::Later).fail() } else { script }
        });
        let mut merge = composed(stage.sources(scripts), &ledger, None, false);
        let run = stage.driver(leaf as u64).run(&mut merge);
        assert_eq!(run.end, End::Finished);
        let errors: Vec<_> = run.items.into_iter().filter_map(Result::err).collect();
        let [error] = &*errors else { panic!("{errors:?}") };
        assert_eq!((leaf_at(error), error.phase()), (leaf, Some(Phase::Merging)));
        let names = [leaf / 27, leaf / 9 % 3, leaf / 3 % 3].map(|index| format!("merge-{index}"));
        assert_eq!(error.path().name().unwrap(), format!("{}/leaf-{leaf}", names.join("/")));
        assert!(error.report().contains("source"), "{}", error.report());
        stage.log().assert_closed();
        ledger.assert_balanced();
    }
}

// F56
#[test]
fn the_upper_merge_is_partial_if_a_lower_one_is() {
    for seed in 0..30 {
        let random = &mut Random::seed(seed);
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let failing = random.below(LEAVES);
        let scripts: Vec<_> = (0..LEAVES)
            .map(|index| {
                let script = Script::of([Item::new(index as u64, index, 0)]);
                if index == failing { script.fail() } else { script }
            })
            .map(|script| script.with_pauses(random, 0.3))
            .collect();
        let mut merge = composed(stage.sources(scripts), &ledger, None, true);
        let items = stage.driver(seed).run(&mut merge).ok();
        let warnings: Vec<_> =
            items.iter().filter(|item| item.key == u64::MAX).map(|item| item.source).collect();
        assert_eq!((items.len(), warnings), (LEAVES + 1, vec![failing]));
        let stats = merge.stats();
        assert!(stats.is_partial);
        let partial: Vec<_> = stats.sources.iter().map(|source| source.is_partial).collect();
        assert_eq!(partial, (0..WIDTH).map(|index| index == failing / 27).collect::<Vec<_>>());
        stage.log().assert_closed();
    }
}

// F54: what has only closing left gives nobody something to wait for.
#[test]
fn no_item_above_waits_for_a_merge_below_that_is_only_closing() {
    for make in [nested, through_a_stream, through_adaptors] {
        let stage = Stage::new();
        // Its close never completes: that nobody waits for it here.
        let slow = Script::of([Item::new(1, 0, 0)]).close_pending(Wake::Never);
        let lower = ProxyResponseLoserTree::new([stage.source(slow)]);
        let other = stage.source(Script::of([Item::new(2, 1, 0), Item::new(3, 1, 1)])).map_err(|_| ());
        let mut merge = ProxyResponseLoserTree::new([make(lower), other.boxed()]);
        let run = stage.driver(1).run_up_to(&mut merge, 3);
        assert_eq!(run.oks().iter().map(|item| item.key).collect::<Vec<_>>(), [1, 2, 3]);
    }
}

type Lower = ProxyResponseLoserTree<Leaf>;
type Boxed = BoxSource<'static, Item<u64>, ()>;

fn nested(lower: Lower) -> Boxed {
    lower.into_source().map_err(|_| ()).boxed()
}

fn through_a_stream(lower: Lower) -> Boxed {
    from_stream(lower).map_err(|_| ()).boxed()
}

fn through_adaptors(lower: Lower) -> Boxed {
    let stream: BoxStream<'static, _> = lower.map_ok(|item| item).map_err(|_| ()).inspect(|_| {}).boxed();
    from_stream(stream).boxed()
}

// F57
#[test]
fn a_source_of_a_stream_closes_the_merge_in_it_also_through_adaptors() {
    for make in [nested, through_a_stream, through_adaptors] {
        for taken in 0..4 {
            let (stage, ledger) = (Stage::new(), LeakLedger::sites());
            let lower = |first: u64| {
                let leaf = |key| {
                    let items = (0..9).map(move |at| Item::new(key + 2 * at, 0, 0));
                    stage.source(Script::of(items).close_pending(Wake::Later))
                };
                ProxyResponseLoserTree::builder()
                    .sources([leaf(first), leaf(first + 1)])
                    .ledger(&ledger)
                    .build()
            };
            let regions = [make(lower(0)), make(lower(100))];
            let mut merge = ProxyResponseLoserTree::builder().sources(regions).ledger(&ledger).build();
            let mut driver = stage.driver(0);
            assert_eq!(driver.run_up_to(&mut merge, taken).oks().len(), taken);
            assert_eq!(driver.complete(merge.close()), Ok(Ok(())));
            stage.log().assert_closed();
            ledger.assert_all_closed();
            assert_eq!(ledger.snapshot().closed, 6);
        }
    }
}

#[test]
fn a_source_of_a_stream_returns_all_errors_of_the_merge_in_it() {
    let stage = Stage::new();
    let leaf = || stage.source(Script::of([1_u64, 2]).close_fails());
    let lower = ProxyResponseLoserTree::new([leaf(), leaf(), leaf()]);
    let mut merge = ProxyResponseLoserTree::new([from_stream(lower.map_ok(|item| item))]);
    let mut driver = stage.driver(0);
    assert_eq!(driver.run_up_to(&mut merge, 1).oks(), [1]);
    let errors = driver.complete(merge.close()).expect("it completes").expect_err("all fail").into_errors();
    // The errors of the lower merge are the upper source's own.
    let inner: BTreeSet<_> = errors
        .iter()
        .map(|error| {
            assert_eq!((error.path().index(), error.phase()), (Some(0), Some(Phase::Closing)));
            let Cause::Source(inner) = error.cause() else { panic!("{error:?}") };
            assert_eq!(inner.phase(), Some(Phase::Closing));
            inner.path().index()
        })
        .collect();
    let expected = (0..3).map(Some).collect();
    assert_eq!(inner, expected);
}

// F57: where nobody can know, the ledger shows it.
#[test]
fn what_an_adaptor_loses_is_lost_in_the_ledger() {
    let lose: [fn(Lower) -> Boxed; 2] = [
        // It has ended by itself, and does not poll any more.
        |lower| from_stream(lower.map_err(|_| ()).take(1)).boxed(),
        // It does not say how many it has.
        |lower| {
            let mut lower = lower.map_err(|_| ());
            from_stream(stream::poll_fn(move |cx| lower.poll_next_unpin(cx))).boxed()
        },
    ];
    for lose in lose {
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let items = || (0..3).map(|at| Item::new(at, 0, 0));
        let lower =
            ProxyResponseLoserTree::builder().source(stage.source(Script::of(items()))).ledger(&ledger);
        let mut merge =
            ProxyResponseLoserTree::builder().source(lose(lower.build())).ledger(&ledger).limit(1).build();
        assert_eq!(stage.driver(0).run(&mut merge).ok().len(), 1);
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.closed, snapshot.lost, snapshot.dropped_unclosed), (1, 1, 0), "{snapshot}");
        assert!(!snapshot.is_balanced());
    }
}

#[test]
fn dropping_the_upper_merge_loses_nothing() {
    let (stage, ledger) = (Stage::new(), LeakLedger::sites());
    let leaves = (0..LEAVES).map(|index| stage.source(Script::of([Item::new(1, index, 0)])));
    let leaves = leaves.collect();
    drop(composed(leaves, &ledger, None, false));
    // Nobody was asked to close, so this is no loss.
    let snapshot = ledger.snapshot();
    assert_eq!((snapshot.lost, snapshot.dropped_unclosed), (0, sources_of_all_levels()));
    ledger.assert_balanced();
    stage.log().assert_released();
}

#[test]
fn a_merge_below_goes_on_while_its_item_waits_above() {
    let stage = Stage::new();
    // The first store ends with its first item, and its close needs to be polled twice; nobody will take the second item.
    let ends = Script::of([1_u64]).close_pending(Wake::Later).close_pending(Wake::Later);
    let lower = ProxyResponseLoserTree::new([stage.source(ends), stage.source(Script::of([2, 3]))]);
    let never = stage.source(Script::new().item(1).pending(Wake::Never));
    let mut merge = ProxyResponseLoserTree::new([lower.into_source().boxed(), never.boxed()]);
    let mut driver = stage.driver(0);
    assert_eq!(driver.run_up_to(&mut merge, 2).oks(), [1, 1]);
    // From here on nothing can be yielded, and the item 2 waits above. The first store is closed all the same.
    assert!(driver.complete(merge.next()).is_err());
    assert!(stage.log().sources()[0].dropped);
    assert!(!stage.log().sources()[0].dropped_unclosed());
}

/// What users write first.
#[test]
fn two_regions_of_two_stores() {
    let told = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let ledger = LeakLedger::sites();
    let store = |first: u64| {
        let told = told.clone();
        let items = stream::iter((first..).step_by(4).take(100).map(Ok::<_, io::Error>));
        losertree::closing(items, move |_| {
            told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async { Ok(()) }
        })
    };
    for uses_stream in [false, true] {
        told.store(0, std::sync::atomic::Ordering::Relaxed);
        let region = |first| {
            let merge = ProxyResponseLoserTree::builder().sources([store(first), store(first + 1)]);
            let merge = merge.ledger(&ledger).build();
            if uses_stream {
                from_stream(merge).map_err(|_| "failed").boxed()
            } else {
                merge.into_source().map_err(|_| "failed").boxed()
            }
        };
        let mut query = ProxyResponseLoserTree::builder().sources([region(0), region(2)]).limit(10).build();
        for expected in 0..5 {
            assert_eq!(query.next().now_or_never(), Some(Some(Ok(expected))));
        }
        assert_eq!(query.close().now_or_never(), Some(Ok(())));
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), 4);
        ledger.assert_all_closed();
    }
}
