//! P8: with the default policy the first error of any source, in whichever phase, ends the merge: it is
//! yielded once, naming the source; every other source is closed; then `None` for ever. And the other
//! policy: a failing source is replaced by a warning, and the others go on.

use futures::StreamExt;
use losertree::SourceError;
use losertree::error::Cause;
use losertree::stream::{OrderCheck, SourceEnd};
use losertree::{Phase, ProxyResponseLoserTree, Response, Series, SourceId};
use losertree_testkit::{
    At, Checked, End, Item, Random, Runs, Script, ScriptedSource, Stage, TestError, Wake, merged,
};
use quickcheck::quickcheck;

type Store<T> = Checked<ScriptedSource<T>>;

fn source_error(error: SourceError<TestError>) -> (SourceId, Phase, TestError) {
    let [place] = error.path().places() else { panic!("{error}") };
    (place.clone(), error.phase().unwrap(), error.into_source_error().unwrap())
}

/// Runs to the end, and returns the items before the error, the error, and asserts that it is the last.
fn items_and_error(
    stage: &Stage,
    merge: &mut ProxyResponseLoserTree<Store<u64>>,
) -> (Vec<u64>, SourceError<TestError>) {
    let mut driver = stage.driver(0);
    let run = driver.run(merge);
    assert_eq!(run.end, End::Finished);
    stage.log().assert_closed();
    // None for ever.
    for _ in 0..3 {
        assert_eq!(driver.run(merge).items, []);
    }
    let mut items = Vec::new();
    let mut error = None;
    for item in run.items {
        assert_eq!(error, None, "something came after the error");
        match item {
            Ok(item) => items.push(item),
            Err(met) => error = Some(met),
        }
    }
    (items, error.expect("there is an error"))
}

// F17, F21, F27, F36
#[test]
fn an_error_in_each_phase() {
    let others = [Script::of([2, 4, 6]), Script::of([3, 5])];
    let cases = [
        (Script::new().named("store-c").fail(), Phase::Filling, vec![]),
        (Script::new().named("store-c").pending(Wake::Later).fail(), Phase::Filling, vec![]),
        (Script::of([1]).named("store-c").fail(), Phase::Merging, vec![1]),
        (
            Script::of([1, 4]).named("store-c").pending(Wake::Later).fail(),
            Phase::Merging,
            vec![1, 2, 3, 4, 4],
        ),
        (Script::of([1]).named("store-c").close_fails(), Phase::Closing, vec![1]),
        (
            Script::of([1]).named("store-c").close_pending(Wake::Later).close_fails(),
            Phase::Closing,
            vec![1, 2, 3, 4, 5, 6],
        ),
    ];
    for (script, phase, expected) in cases {
        let stage = Stage::new();
        let context = format!("{script:?}");
        let scripts = others.iter().cloned().chain([script]);
        let mut merge = ProxyResponseLoserTree::new(stage.sources(scripts));
        let (items, error) = items_and_error(&stage, &mut merge);
        assert_eq!(error.to_string(), format!("source 2 \"store-c\" failed {phase}"), "{context}");
        let (origin, met, error) = source_error(error);
        assert_eq!((origin.index(), origin.name(), met), (2, Some("store-c"), phase), "{context}");
        assert_eq!(error.source, 2);
        // What is ready is yielded before the error; how much that is depends on when the error comes.
        assert!(expected.starts_with(&items), "{context}: {items:?}");
        assert!(phase == Phase::Filling || items.starts_with(&[1]), "{context}: {items:?}");
        assert_eq!(merge.stats().sources[2].end, Some(SourceEnd::Failed));
    }
}

quickcheck! {
    /// One source fails somewhere; what is yielded before is a prefix of the merge of what there was.
    fn what_comes_before_an_error_is_a_prefix(runs: Runs<u64>, source: usize, at: usize, seed: u64) -> bool {
        if runs.sources() == 0 {
            return true;
        }
        let mut runs = runs.into_vec();
        let source = source % runs.len();
        let at = at % (runs[source].len() + 1);
        runs[source].truncate(at);
        let expected = merged(&runs);
        let stage = Stage::new();
        let random = &mut Random::seed(seed);
        let scripts: Vec<_> = runs
            .into_iter()
            .enumerate()
            .map(|(index, run)| {
                let script = Script::of(run);
                if index == source { script.fail() } else { script }.with_pauses(random, 0.3)
            })
            .collect();
        let mut merge = ProxyResponseLoserTree::new(stage.sources(scripts));
        let run = stage.driver(seed).run(&mut merge);
        assert_eq!(run.end, End::Finished);
        let errors = run.items.iter().filter(|item| item.is_err()).count();
        assert_eq!(errors, 1);
        assert!(run.items.last().is_some_and(Result::is_err));
        let items: Vec<Item<u64>> = run.items.into_iter().filter_map(Result::ok).collect();
        assert!(expected.starts_with(&items));
        stage.log().assert_closed();
        true
    }
}

// F8
#[test]
fn many_sources_failing_at_once_yield_one_error() {
    for sources in [1, 2, 40, 300] {
        let stage = Stage::new();
        let mut merge =
            ProxyResponseLoserTree::new(stage.sources((0..sources).map(|_| Script::<u64>::new().fail())));
        let (items, error) = items_and_error(&stage, &mut merge);
        assert!(items.is_empty());
        let (origin, phase, error) = source_error(error);
        assert_eq!((origin.index(), phase), (0, Phase::Filling));
        assert_eq!(error, TestError { source: 0, at: At::Step(0) });
    }
}

#[test]
fn a_failing_source_is_replaced_by_a_warning() {
    for seed in 0..60 {
        let stage = Stage::new();
        let random = &mut Random::seed(seed);
        let scripts: Vec<_> = [
            Script::of([10, 40, 70]),
            Script::of([20]).named("store-b").fail(),
            Script::new().fail(),
            Script::of([30, 60]).close_fails(),
            Script::of([50, 80]),
        ]
        .into_iter()
        .map(|script| script.with_pauses(random, 0.3))
        .collect();
        let mut merge = ProxyResponseLoserTree::builder()
            .sources(stage.sources(scripts))
            .warn_with(|error| match error.path().index().unwrap() {
                1 => {
                    assert_eq!(error.path().name().as_deref(), Some("store-b"));
                    1_001
                }
                index => 1_000 + index as u64,
            })
            .build();
        assert!(!merge.stats().is_partial);
        let items = stage.driver(seed).run(&mut merge).ok();
        stage.log().assert_closed();
        let (warnings, items): (Vec<u64>, Vec<u64>) = items.into_iter().partition(|item| *item >= 1_000);
        assert_eq!(items, [10, 20, 30, 40, 50, 60, 70, 80], "the rest of the answer is whole and in order");
        let mut sorted = warnings.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [1_001, 1_002, 1_003], "seed {seed}");
        let stats = merge.stats();
        assert!(stats.is_partial);
        assert_eq!(stats.items, 8, "warnings are no items");
        let expected = [
            SourceEnd::Exhausted,
            SourceEnd::Failed,
            SourceEnd::Failed,
            SourceEnd::Failed,
            SourceEnd::Exhausted,
        ];
        let ends: Vec<_> = stats.sources.iter().map(|source| source.end).collect();
        assert_eq!(ends, expected.map(Some));
    }
}

#[test]
fn items_and_warnings_come_with_their_sources_however_those_before_were_asked_for() {
    const WARNING: usize = 99;
    for seed in 0..100 {
        let stage = Stage::new();
        let random = &mut Random::seed(seed);
        let mut expected = 0;
        let scripts: Vec<_> = (0..4)
            .map(|source| {
                let count = random.below(4);
                expected += count;
                let items = (0..count).map(|nth| Item::new(10 * nth + random.below(10), source, nth));
                let script = Script::of(items);
                let script = match random.below(3) {
                    0 => script,
                    1 => script.fail(),
                    _ => script.close_fails(),
                };
                script.with_pauses(random, 0.3)
            })
            .collect();
        let mut merge = ProxyResponseLoserTree::builder()
            .sources(stage.sources(scripts))
            .warn_with(|error| Item::new(WARNING, error.path().index().unwrap(), 0))
            .build();
        let mut driver = stage.driver(seed);
        let (mut items, mut warnings) = (0, 0);
        loop {
            let next = if random.chance(0.5) {
                driver.complete(merge.next()).unwrap()
            } else {
                let next = driver.complete(merge.next_with_source()).unwrap();
                next.map(|next| {
                    let (source, item) = next.unwrap();
                    assert_eq!(source, item.source, "seed {seed}");
                    Ok(item)
                })
            };
            let Some(item) = next else { break };
            *(if item.unwrap().key == WARNING { &mut warnings } else { &mut items }) += 1;
        }
        let failed = merge.stats().sources.iter().filter(|it| it.end == Some(SourceEnd::Failed)).count();
        assert_eq!((items, warnings), (expected, failed), "seed {seed}");
        stage.log().assert_closed();
    }
}

/// F13: a warning of the merge's own does not use up the limit, and comes ahead of what waits.
#[test]
fn warnings_do_not_count_for_the_limit() {
    let stage = Stage::new();
    let scripts = [Script::of([1, 2, 3]), Script::new().fail()];
    let mut merge =
        ProxyResponseLoserTree::builder().sources(stage.sources(scripts)).warn_with(|_| 99).limit(2).build();
    assert_eq!(stage.driver(0).run(&mut merge).ok(), [99, 1, 2]);
    stage.log().assert_closed();
}

#[test]
fn all_sources_failing_is_still_an_answer() {
    let stage = Stage::new();
    let scripts = (0..5).map(|_| Script::<u64>::new().fail());
    let mut merge = ProxyResponseLoserTree::builder()
        .sources(stage.sources(scripts))
        .warn_with(|error| error.path().index().unwrap() as u64)
        .build();
    assert_eq!(stage.driver(0).run(&mut merge).ok(), [0, 1, 2, 3, 4]);
    stage.log().assert_closed();
}

#[test]
fn errors_become_responses() {
    let stage = Stage::new();
    let scripts = [Script::of([Response::from(Series::default())]).named("store-a").fail(), Script::new()];
    let mut merge =
        ProxyResponseLoserTree::builder().sources(stage.sources(scripts)).warn_with(Into::into).build();
    let items = stage.driver(0).run(&mut merge).ok();
    assert_eq!(items.len(), 2);
    assert!(items[0].as_series().is_some());
    let Response::Warning(warning) = &items[1] else { panic!("{:?}", items[1]) };
    assert_eq!(warning.origin().index(), Some(0));
    let text = warning.to_string();
    assert!(text.starts_with("source 0 \"store-a\": failed while merging: "), "{text}");
}

// F48
#[test]
fn a_source_out_of_order_is_an_error_where_the_order_is_checked() {
    for seed in 0..40 {
        let stage = Stage::new();
        let random = &mut Random::seed(seed);
        let scripts = [Script::of([1, 5, 9]), Script::of([2, 6, 4, 7]).named("store-b"), Script::of([3, 8])];
        let scripts: Vec<_> = scripts.into_iter().map(|script| script.with_pauses(random, 0.3)).collect();
        let mut merge = ProxyResponseLoserTree::builder()
            .sources(stage.sources(scripts))
            .order_check(OrderCheck::Fail)
            .build();
        let run = stage.driver(seed).run(&mut merge);
        stage.log().assert_closed();
        let Some(Err(error)) = run.items.last() else { panic!("{:?}", run.items) };
        assert_eq!((error.path().index(), error.path().name().as_deref()), (Some(1), Some("store-b")));
        assert_eq!(
            (error.cause(), error.phase()),
            (&Cause::OutOfOrder { position: 2 }, Some(Phase::Merging))
        );
        assert_eq!(run.oks(), [1, 2, 3, 5, 6]);
        let stats = merge.stats();
        assert_eq!((stats.sources[1].out_of_order, stats.sources[0].out_of_order), (1, 0));
        assert_eq!(stats.sources[1].end, Some(SourceEnd::Failed));
    }
}

#[test]
fn a_source_out_of_order_is_counted_where_the_order_is_reported() {
    for seed in 0..40 {
        let stage = Stage::new();
        let random = &mut Random::seed(seed);
        let scripts = [Script::of([1, 5, 9]), Script::of([6, 4, 7, 2]), Script::of([3, 3, 8])];
        let scripts: Vec<_> = scripts.into_iter().map(|script| script.with_pauses(random, 0.3)).collect();
        let mut merge = ProxyResponseLoserTree::builder()
            .sources(stage.sources(scripts))
            .order_check(OrderCheck::Report)
            .build();
        let mut items = stage.driver(seed).run(&mut merge).ok();
        stage.log().assert_closed();
        items.sort_unstable();
        assert_eq!(items, [1, 2, 3, 3, 4, 5, 6, 7, 8, 9], "nothing is lost");
        let counts: Vec<_> = merge.stats().sources.iter().map(|source| source.out_of_order).collect();
        assert_eq!(counts, [0, 2, 0], "equal items are in order");
    }
}

#[test]
fn a_source_out_of_order_becomes_a_warning_in_a_partial_response() {
    let stage = Stage::new();
    let scripts = [Script::of([1, 5, 9]), Script::of([2, 6, 4, 7])];
    let mut merge = ProxyResponseLoserTree::builder()
        .sources(stage.sources(scripts))
        .order_check(OrderCheck::Fail)
        .warn_with(|_| 99)
        .build();
    assert_eq!(stage.driver(0).run(&mut merge).ok(), [1, 2, 5, 6, 99, 9]);
    stage.log().assert_closed();
}
