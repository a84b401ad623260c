//! P13: no input panics the library. What the table of bad input in the design says, row by row; what it
//! says of closing is in the tests of P2 to P5.

use losertree::SourceError;
use losertree::error::Cause;
use losertree::key::{By, Natural, Reversed};
use losertree::stream::{OrderCheck, SourceEnd};
use losertree::tree::LoserTree;
use losertree::{Phase, ProxyResponseLoserTree, Response, Series, merge, try_merge};
use losertree_testkit::{At, Closing, End, Item, Random, Runs, Script, Stage, TestError, Wake};
use quickcheck::{QuickCheck, quickcheck};

use crate::probe::assert_complete;

type Items<K> = Vec<Item<K>>;

#[test]
fn no_sources() {
    let none: [Vec<u64>; 0] = [];
    let mut empty = merge(none.clone());
    assert_eq!(empty.peek(), None);
    assert_eq!(empty.size_hint(), (0, Some(0)));
    assert_eq!((empty.next(), empty.next_with_source()), (None, None));
    assert_eq!(merge(none.clone()).fold(0, |count, _| count + 1), 0);
    assert_eq!(merge(none.clone()).dedup().next(), None);
    assert!(merge(none).into_sources().is_empty());
    let none: [Vec<Result<u64, ()>>; 0] = [];
    assert!(try_merge(none).next().is_none());

    let stage = Stage::new();
    let none = || stage.sources(Vec::<Script<u64>>::new());
    assert_eq!(stage.driver(1).run(&mut ProxyResponseLoserTree::new(none())).ok(), []);
    let mut closed = ProxyResponseLoserTree::new(none());
    assert!(stage.driver(1).complete(closed.close()).unwrap().is_ok());
    assert_eq!(stage.driver(1).run(&mut closed).ok(), []);
    assert!(ProxyResponseLoserTree::new(none()).into_sources().is_empty());
    // F14, F19: asked for its end or closed at once, twice.
    assert!(stage.driver(1).complete(closed.close()).unwrap().is_ok());
}

#[test]
fn empty_sources() {
    for sources in 0..20 {
        assert_eq!(merge(vec![Vec::<u64>::new(); sources]).next(), None);
        let one = (0..sources).map(|source| if source == 3 { vec![7_u64] } else { vec![] });
        assert_eq!(merge(one).count(), usize::from(sources > 3));

        let stage = Stage::new();
        let scripts = (0..sources).map(|source| match source % 3 {
            0 => Script::<u64>::new(),
            1 => Script::new().pending(Wake::Later).close_pending(Wake::AtOnce),
            _ => Script::new().pending(Wake::AtOnce),
        });
        let mut merge = ProxyResponseLoserTree::new(stage.sources(scripts));
        assert_eq!(stage.driver(1).run(&mut merge).ok(), []);
        stage.log().assert_closed();
    }
}

/// Which source an error is of, by index and name, and when it was met.
fn origin(error: &SourceError<TestError>) -> (usize, Option<&str>, Phase) {
    let [place] = error.path().places() else { panic!("{error}") };
    assert_eq!(error.source_error().unwrap().source, place.index());
    (place.index(), place.name(), error.phase().unwrap())
}

#[test]
fn a_source_that_fails_on_its_first_poll() {
    let error = try_merge([vec![Ok(1)], vec![Err("gone")], vec![Ok(2)]]).next().unwrap().unwrap_err();
    assert_eq!((error.path().index(), error.phase()), (Some(1), Some(Phase::Filling)));
    assert_eq!(error.into_source_error(), Some("gone"));

    let scripts = || {
        [
            Script::of([1, 4]),
            Script::new().fail().named("store-b"),
            Script::of([2]).close_pending(Wake::Later),
        ]
    };
    // By default, it ends the merge.
    let stage = Stage::new();
    let mut merge = ProxyResponseLoserTree::new(stage.sources(scripts()));
    let out = stage.driver(1).run(&mut merge).finished();
    let errors: Vec<_> = out.iter().map(|item| origin(item.as_ref().unwrap_err())).collect();
    assert_eq!(errors, [(1, Some("store-b"), Phase::Filling)]);
    stage.log().assert_closed();
    // With partial responses it is replaced by a warning.
    let stage = Stage::new();
    let warning = |error: SourceError<_>| u64::try_from(error.path().index().unwrap()).unwrap() + 100;
    let mut merge =
        ProxyResponseLoserTree::builder().sources(stage.sources(scripts())).warn_with(warning).build();
    assert_eq!(stage.driver(1).run(&mut merge).ok(), [101, 1, 2, 4]);
    assert!(merge.stats().is_partial);
    stage.log().assert_closed();
}

/// Runs of which some step backwards. The identities stay in their order.
fn disordered(runs: &Runs<u64>, random: &mut Random) -> Vec<Items<u64>> {
    let mut runs = runs.as_slice().to_vec();
    for run in &mut runs {
        if run.len() > 1 && random.chance(0.5) {
            let (a, b) = (random.below(run.len()), random.below(run.len()));
            (run[a].key, run[b].key) = (run[b].key, run[a].key);
        }
    }
    runs
}

/// Where a run steps backwards.
fn steps_back(run: &Items<u64>) -> Vec<u64> {
    run.windows(2).filter(|pair| pair[1].key < pair[0].key).map(|pair| pair[1].sequence as u64).collect()
}

/// F48.
#[test]
fn a_source_out_of_order_is_an_error_if_that_is_checked() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let runs = disordered(&runs, &mut random);
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone(), &mut random, 0.2);
        let mut merge =
            ProxyResponseLoserTree::builder().sources(sources).order_check(OrderCheck::Fail).build();
        let mut out = stage.driver(seed).run(&mut merge).finished();
        stage.log().assert_closed();
        let is_in_order = runs.iter().all(|run| steps_back(run).is_empty());
        assert_eq!(out.last().is_some_and(Result::is_err), !is_in_order);
        if let Some(Err(_)) = out.last() {
            let Some(Err(error)) = out.pop() else { panic!("no error") };
            let Cause::OutOfOrder { position } = *error.cause() else { panic!("not of the order") };
            // It names the first step back of a source, which had been in order until then.
            let source = error.path().index().unwrap();
            assert_eq!(steps_back(&runs[source]).first(), Some(&position));
            let ends = |stats: &losertree::stream::SourceStats| stats.end.unwrap();
            assert_eq!(ends(&merge.stats().sources[source]), SourceEnd::Failed);
            assert_eq!(merge.stats().sources[source].items, position + 1);
        }
        // What came before is in order, complete for each source as far as it goes, and once.
        let out: Items<u64> = out.into_iter().map(Result::unwrap).collect();
        assert!(out.is_sorted_by_key(|item| (item.key, item.source, item.sequence)));
        let mut next = vec![0; runs.len()];
        for item in out {
            assert_eq!(item, runs[item.source][next[item.source]]);
            next[item.source] += 1;
        }
        assert!(!is_in_order || next.iter().sum::<usize>() == runs.concat().len());
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

#[test]
fn a_source_out_of_order_is_counted_or_let_be() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let runs = disordered(&runs, &mut random);
        for check in [Some(OrderCheck::Report), None] {
            let stage = Stage::new();
            let sources = stage.sources_of(runs.clone(), &mut random, 0.2);
            let builder = ProxyResponseLoserTree::builder().sources(sources);
            let mut merge = match check {
                Some(check) => builder.order_check(check).build(),
                None => builder.build(),
            };
            assert_complete(&stage.driver(seed).run(&mut merge).ok(), &runs);
            stage.log().assert_closed();
            for (stats, run) in merge.stats().sources.iter().zip(&runs) {
                let expected = if check.is_some() { steps_back(run).len() as u64 } else { 0 };
                assert_eq!(stats.out_of_order, expected, "of {run:?}");
            }
        }
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

#[test]
fn a_source_out_of_order_is_replaced_by_a_warning_in_a_partial_response() {
    let stage = Stage::new();
    let series = |value: &&str| {
        Response::from(Series { labels: format!("{{job={value:?}}}").parse().unwrap(), ..Series::default() })
    };
    let run = |values: &[&str]| Script::of(values.iter().map(series).collect::<Vec<_>>());
    let scripts = [run(&["a", "c"]), run(&["b", "d", "b"]).named("store-b"), run(&["e"])];
    let builder = ProxyResponseLoserTree::builder().sources(stage.sources(scripts));
    let mut merge = builder.order_check(OrderCheck::Fail).warn_with(Into::into).build();
    let out = stage.driver(1).run(&mut merge).ok();
    let (warnings, series): (Vec<_>, Vec<_>) =
        out.into_iter().partition(|item| matches!(item, Response::Warning(_)));
    assert_eq!((warnings.len(), series.len()), (1, 5));
    let Response::Warning(warning) = &warnings[0] else { panic!("no warning") };
    let text = warning.to_string();
    assert!(text.contains("store-b") && text.contains("item 2"), "{text}");
    stage.log().assert_closed();
}

/// F31.
#[test]
fn limit_zero_polls_nothing_but_to_close() {
    for sources in [0, 1, 5] {
        let stage = Stage::new();
        let scripts = (0..sources).map(|item: u64| Script::of([item]).close_pending(Wake::Later));
        let mut merge = ProxyResponseLoserTree::builder().sources(stage.sources(scripts)).limit(0).build();
        assert!(merge.push(stage.source(Script::of([1]))).is_err());
        assert_eq!(stage.driver(1).run(&mut merge).ok(), []);
        for figures in &stage.log().sources()[..usize::try_from(sources).unwrap()] {
            assert_eq!((figures.next_polls, figures.close), (0, Closing::Completed));
        }
        stage.log().assert_released();
    }
}

/// F51: NaN has a place in the order of floats.
#[test]
fn not_a_number_is_a_key_like_any_other() {
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    let runs = || [vec![-nan, 1.0, nan], vec![-infinity, -0.0, 0.0, infinity], vec![nan, nan]];
    let bits = |items: Vec<f64>| items.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    let expected = [-nan, -infinity, -0.0, 0.0, 1.0, infinity, nan, nan, nan];
    assert_eq!(bits(merge(runs()).collect()), bits(expected.to_vec()));
    let stage = Stage::new();
    let sources = stage.sources_of(runs(), &mut Random::seed(1), 0.5);
    let builder = ProxyResponseLoserTree::builder().sources(sources).order_check(OrderCheck::Fail);
    assert_eq!(bits(stage.driver(1).run(&mut builder.build()).ok()), bits(expected.to_vec()));
}

#[test]
fn a_source_that_does_not_exist_has_no_head() {
    for sources in [0, 1, 5, 8] {
        let mut tree = LoserTree::new(Natural, vec![Some(3_u64); sources]);
        for beyond in [sources, sources + 1, 1 << 20, usize::MAX / 2, usize::MAX] {
            assert_eq!((tree.set_head(beyond, Some(1)), tree.set_head(beyond, None)), (Some(1), None));
            assert_eq!(tree.winner(), (sources > 0).then_some((0, &3)));
        }
        assert_eq!(tree.into_heads(), vec![Some(3); sources]);
    }
}

#[test]
fn a_source_pushed_too_late_comes_back() {
    let stage = Stage::new();
    let late = || stage.source(Script::of([9]).named("late"));
    // Closed, ended, at its limit, failed: for each, a merge and how far it is driven.
    let builder = || ProxyResponseLoserTree::builder().source(stage.source(Script::of([1, 2])));
    let failing = stage.source(Script::new().fail());
    let cases = [
        (builder().build(), 0),
        (builder().build(), usize::MAX),
        (builder().limit(1).build(), 1),
        (builder().source(failing).build(), 1),
    ];
    for (index, (mut merge, items)) in cases.into_iter().enumerate() {
        let run = stage.driver(1).run_up_to(&mut merge, items);
        assert!(run.items.len() <= 2);
        if index == 0 {
            assert!(stage.driver(1).complete(merge.close()).unwrap().is_ok());
        }
        let error = merge.push(late()).unwrap_err();
        assert!(!error.to_string().is_empty());
        // It is untouched, and can go into another merge.
        let mut another = ProxyResponseLoserTree::new([error.source_not_added]);
        assert_eq!(stage.driver(1).run(&mut another).ok(), [9]);
        assert_eq!(stage.driver(1).run(&mut merge).items.len(), 0);
    }
    stage.log().assert_closed();
}

/// Sources that do all that a source can do, save panicking, under all options.
#[test]
fn no_input_panics_the_async_merge() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let stage = Stage::new();
        let runs = disordered(&runs, &mut random);
        let scripts = runs.iter().map(|run| {
            let mut script = Script::of(run.clone());
            if random.chance(0.1) {
                script = script.fail().item(run.last().copied().unwrap_or(Item::new(0, 0, 0)));
            }
            if random.chance(0.1) {
                script = script.close_fails();
            }
            script.with_pauses(&mut random, 0.2)
        });
        let sources = stage.sources(scripts.collect::<Vec<_>>());
        let mut builder =
            ProxyResponseLoserTree::builder().sources(sources).order(Reversed(Reversed(Natural)));
        if random.chance(0.3) {
            builder = builder.limit(random.next_u64() % 20);
        }
        if random.chance(0.5) {
            builder = builder.order_check([OrderCheck::Fail, OrderCheck::Report][random.below(2)]);
        }
        if random.chance(0.5) {
            builder = builder.warn_with(|error| Item::new(0, error.path().index().unwrap(), usize::MAX));
        }
        let mut merge = builder.build();
        let mut driver = stage.driver(seed).restless(0.1);
        let run = driver.run_up_to(&mut merge, random.below(40));
        assert!(matches!(run.end, End::Enough | End::Finished), "{:?}", run.end);
        if random.chance(0.5) {
            let closed = driver.complete(merge.close()).unwrap();
            assert!(closed.is_ok() || !closed.unwrap_err().errors().is_empty());
        } else {
            assert_eq!(driver.run(&mut merge).end, End::Finished);
        }
        stage.log().assert_closed();
        true
    }
    QuickCheck::new().tests(300).quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// Sync sources of results, out of order and failing anywhere.
#[test]
fn no_input_panics_the_sync_merges() {
    fn property(runs: Vec<Vec<Result<u8, ()>>>) -> bool {
        let by = By::new(|a: &u8, b: &u8| b.cmp(a).reverse());
        let errors = losertree::try_merge_with(runs.clone(), by).filter(Result::is_err).count();
        assert_eq!(errors, usize::from(runs.iter().flatten().any(Result::is_err)));
        let flat = runs.clone().into_iter().map(|run| run.into_iter().flatten());
        assert_eq!(merge(flat).count(), runs.iter().flatten().flatten().count());
        true
    }
    quickcheck(property as fn(Vec<Vec<Result<u8, ()>>>) -> bool);
    let named: Vec<_> = try_merge([[Err::<u8, _>(TestError { source: 0, at: At::Step(0) })]])
        .filter_map(Result::err)
        .collect();
    assert_eq!(named[0].to_string(), "source 0 failed before its first item");
}
