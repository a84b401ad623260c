//! Taking items in blocks: the same items as one by one, nothing lost, errors by themselves.

use losertree::stream::{PollClose, PollNext};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use losertree::key::By;
use losertree::stream::OrderCheck;
use losertree::{ProxyResponseLoserTree, Source, merge, merge_by, merge_by_key, try_merge};
use losertree_testkit::{
    Checked, Driver, End, Item, Random, Runs, Script, ScriptedSource, Stage, Step, TestError, Wake,
    assert_merged, inputs, merged, silence_scripted_panics,
};
use quickcheck::quickcheck;

use crate::probe::Books;

type Merge<O> = ProxyResponseLoserTree<Checked<ScriptedSource<Item<u64>>>, O>;

/// The most that one call of the async merge gives.
const BUDGET: usize = 128;

#[test]
fn a_sync_merge_gives_in_blocks_what_it_gives_one_by_one() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let books = Books::default();
        let mut merge = merge(books.sources(runs.as_slice().to_vec()));
        let mut out = Vec::new();
        loop {
            if random.chance(0.2) {
                merge.peek();
            }
            if random.chance(0.2) {
                out.extend(merge.next());
            }
            let (begin, max) = (out.len(), random.below(20));
            let taken = merge.next_block(&mut out, max);
            assert_eq!(taken, out.len() - begin);
            assert!(books.total() <= runs.sources() + out.len());
            if taken < max {
                assert_eq!((merge.next_block(&mut out, 1), merge.next()), (0, None));
                break;
            }
        }
        assert_merged(&out, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
    let runs = Runs::from_keys(inputs::long_runs(1, 5, 400));
    let mut out = Vec::new();
    assert_eq!(merge(runs.clone().into_vec()).next_block(&mut out, usize::MAX), 400);
    assert_merged(&out, runs.as_slice());
}

// F42
#[test]
fn an_error_of_a_sync_source_comes_alone_after_the_items_before_it() {
    for max in 1..6 {
        let books = Books::default();
        let mut merge =
            try_merge(books.sources([vec![Ok(1), Ok(4), Err("gone"), Ok(5)], vec![Ok(2), Ok(9)]]));
        let mut out = Vec::new();
        let error = loop {
            let begin = out.len();
            match merge.next_block(&mut out, max) {
                Ok(taken) => assert_eq!((taken, taken > 0), (out.len() - begin, true)),
                Err(error) => {
                    assert_eq!(out.len(), begin);
                    break error;
                }
            }
        };
        assert_eq!((&*out, error.path().index()), (&[1, 2, 4][..], Some(0)));
        assert_eq!(error.into_source_error(), Some("gone"));
        assert_eq!(books.dropped(), [0, 1]);
        assert_eq!((merge.next_block(&mut out, max), merge.next()), (Ok(0), None));
    }
}

#[test]
fn an_error_that_waits_is_told_by_whichever_call_comes_next() {
    let failing = || try_merge([vec![Ok(1), Err("gone")], vec![Ok(2)]]);
    let mut out = Vec::new();
    let mut merge = failing();
    assert_eq!(merge.next_block(&mut out, 5), Ok(1));
    assert_eq!(merge.size_hint(), (1, Some(1)));
    assert_eq!(merge.next_block(&mut out, 0), Ok(0));
    assert!(merge.next().unwrap().is_err());
    assert_eq!((merge.size_hint(), merge.next()), ((0, Some(0)), None));
    let mut merge = failing();
    assert_eq!(merge.next_block(&mut out, 5), Ok(1));
    assert!(merge.into_sources().is_empty());
}

#[test]
fn a_panic_of_a_sync_source_or_of_the_order_costs_no_item() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let books = Books::default();
        let sources = runs.as_slice().iter().map(|run| {
            let source = books.source(run.clone());
            if random.chance(0.5) { source.panicking_at(random.below(run.len() + 1)) } else { source }
        });
        let sources: Vec<_> = sources.collect();
        let mut until_panic = random.below(200);
        let mut merge = merge_by(sources, |a: &Item<u64>, b: &Item<u64>| {
            until_panic = until_panic.wrapping_sub(1);
            assert!(until_panic != 0, "the comparator panics as asked");
            a.key.cmp(&b.key)
        });
        let mut out = Vec::new();
        loop {
            match catch_unwind(AssertUnwindSafe(|| merge.next_block(&mut out, 7))) {
                Ok(taken) if taken < 7 => break,
                _ => {}
            }
        }
        assert_merged(&out, runs.as_slice());
        true
    }
    silence_scripted_panics();
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// In a streak an item is asked for its key before it is in the tournament.
#[test]
fn a_panic_of_a_key_in_a_streak_costs_no_item() {
    silence_scripted_panics();
    let runs = Runs::from_keys(inputs::long_runs(1, 3, 300));
    for at in 1..600 {
        let mut keys = 0;
        let mut merge =
            merge_by_key(runs.as_slice().iter().map(|run| run.iter().copied()), |item: &Item<u64>| {
                keys += 1;
                assert!(keys != at, "the key panics as scripted");
                item.key
            });
        let mut out = Vec::new();
        while !matches!(catch_unwind(AssertUnwindSafe(|| merge.next_block(&mut out, 50))), Ok(0)) {}
        assert_merged(&out, runs.as_slice());
    }
}

/// Takes all in blocks of random sizes, dropping futures after random numbers of polls.
fn run_in_blocks<O: losertree::key::Order<Item<u64>>>(
    driver: &mut Driver,
    merge: &mut Merge<O>,
    random: &mut Random,
) -> (Vec<Item<u64>>, Vec<losertree::SourceError<TestError>>) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    loop {
        let (begin, max) = (out.len(), 1 + random.below(20));
        let patience = if random.chance(0.3) { random.below(3) } else { usize::MAX };
        let polled = driver.poll_times(merge.next_ready(&mut out, max), patience).map_err(drop);
        let appended = out.len() - begin;
        match polled {
            Ok(Ok(0)) => return (out, errors),
            Ok(Ok(taken)) => assert!(taken == appended && taken <= max),
            Ok(Err(error)) => {
                assert_eq!(appended, 0);
                errors.push(error);
            }
            Err(()) => assert_eq!(appended, 0, "pending, and it has appended something"),
        }
    }
}

quickcheck! {
    // F25
    fn an_async_merge_gives_in_blocks_what_it_gives_one_by_one(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), random, 0.2);
        let mut merge = ProxyResponseLoserTree::new(sources);
        let (out, errors) = run_in_blocks(&mut stage.driver(seed), &mut merge, random);
        assert_merged(&out, runs.as_slice());
        stage.log().assert_closed();
        let stats = merge.stats();
        errors.is_empty() && stats.items == out.len() as u64
    }

    fn blocks_keep_to_the_limit_and_pull_nothing_after_it(runs: Runs<u64>, seed: u64, limit: u8) -> bool {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), random, 0.2);
        let mut merge = ProxyResponseLoserTree::builder().sources(sources).limit(limit.into()).build();
        let (out, _) = run_in_blocks(&mut stage.driver(seed), &mut merge, random);
        let limit = usize::from(limit);
        assert_eq!(out, merged(runs.as_slice())[..limit.min(runs.items())]);
        let most = if limit == 0 { 0 } else { runs.sources() + limit - 1 };
        assert!(stage.log().items() <= most);
        stage.log().assert_closed();
        true
    }

    // F48
    fn blocks_are_checked_for_their_order(runs: Runs<u64>, seed: u64, places: Vec<u8>) -> bool {
        let random = &mut Random::seed(seed);
        let mut runs = runs.into_vec();
        for (run, place) in runs.iter_mut().zip(&places) {
            if let Some(item) = run.get_mut(usize::from(*place)) {
                item.key /= 2;
            }
        }
        let one_by_one = |check, runs: &[Vec<Item<u64>>]| {
            let stage = Stage::new();
            let sources = stage.sources_of(runs.to_vec(), &mut Random::seed(0), 0.0);
            let merge = ProxyResponseLoserTree::builder().sources(sources).order_check(check);
            let mut merge = merge.warn_with(|_| Item::new(0, 99, 0)).build();
            let items = stage.driver(0).run(&mut merge).ok();
            (items, merge.stats().sources.iter().map(|source| source.out_of_order).collect::<Vec<_>>())
        };
        for check in [OrderCheck::Fail, OrderCheck::Report] {
            let (expected, counts) = one_by_one(check, &runs);
            let stage = Stage::new();
            let sources = stage.sources_of(runs.clone(), random, 0.2);
            let merge = ProxyResponseLoserTree::builder().sources(sources).order_check(check);
            let mut merge = merge.warn_with(|_| Item::new(0, 99, 0)).build();
            let (out, errors) = run_in_blocks(&mut stage.driver(seed), &mut merge, random);
            assert!(errors.is_empty());
            let found: Vec<_> = merge.stats().sources.iter().map(|source| source.out_of_order).collect();
            assert_eq!((out.len(), found), (expected.len(), counts));
            // When a warning comes depends on when the source is ready, the items around it do not.
            let is_item = |item: &&Item<u64>| item.source != 99;
            assert!(out.iter().filter(is_item).eq(expected.iter().filter(is_item)));
            stage.log().assert_closed();
        }
        true
    }
}

/// With more to be had from every source, so that one item too many would be seen.
#[test]
fn the_last_item_of_a_limit_ends_a_block_and_pulls_nothing() {
    for limit in 1..20 {
        let stage = Stage::new();
        let items = |source| (0..100).map(move |sequence| Item::new(sequence as u64, source, sequence));
        let sources = stage.sources((0..3).map(|source| Script::of(items(source))));
        let mut merge = ProxyResponseLoserTree::builder().sources(sources).limit(limit).build();
        let mut out = Vec::new();
        let taken = stage.driver(1).complete(merge.next_ready(&mut out, 50)).unwrap().unwrap();
        assert_eq!((taken as u64, stage.log().items() as u64), (limit, limit + 2));
    }
}

// F42
#[test]
fn an_error_of_an_async_source_comes_alone_after_the_items_before_it() {
    for seed in 0..50 {
        let stage = Stage::new();
        let item = |key, sequence| Item::new(key, 0, sequence);
        let bad = Script::of([item(1, 0), item(4, 1)]).fail().with_pauses(&mut Random::seed(seed), 0.2);
        let good = Script::of([Item::new(2, 1, 0), Item::new(3, 1, 1), Item::new(9, 1, 2)]);
        let mut merge = ProxyResponseLoserTree::new(stage.sources([bad, good]));
        let (out, errors) = run_in_blocks(&mut stage.driver(seed), &mut merge, &mut Random::seed(seed));
        assert_eq!(out.iter().map(|item| item.key).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!((errors.len(), errors[0].path().index().unwrap()), (1, 0));
        stage.log().assert_closed();
    }
}

/// P12: however much is ready and asked for, one call gives 128 items at most, and polls no source but for them.
#[test]
fn one_call_gives_a_bounded_number_of_items() {
    let stage = Stage::new();
    let items = |source| (0..1_000).map(move |sequence| Item::new(sequence as u64, source, sequence));
    let mut merge =
        ProxyResponseLoserTree::new(stage.sources((0..3).map(|source| Script::of(items(source)))));
    let mut cx = Context::from_waker(Waker::noop());
    let mut out = Vec::new();
    while out.len() < 2_900 {
        let before = stage.log().polls();
        let begin = out.len();
        let polled = merge.poll_next_ready(&mut cx, &mut out, usize::MAX);
        assert_eq!(polled.map(Result::unwrap), Poll::Ready(BUDGET));
        assert_eq!(out.len(), begin + BUDGET);
        assert!(stage.log().polls() - before <= BUDGET + 3);
    }
}

/// Wakes the merge with each item, which a source may do.
struct Noisy(ScriptedSource<Item<u64>>);

impl Source for Noisy {
    type Item = Item<u64>;
    type Error = TestError;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let polled = Pin::new(&mut self.0).poll_next(cx);
        if let Poll::Ready(Some(Ok(_))) = polled {
            cx.waker().wake_by_ref();
        }
        polled
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// A wake-up is used up by the next poll, also if both are within one block.
#[test]
fn a_source_that_wakes_within_a_block_is_not_polled_for_that_when_it_is_pending() {
    for seed in 0..30 {
        let random = &mut Random::seed(seed);
        let runs = Runs::random(random, 30);
        let stage = Stage::new();
        let scripts = runs.clone().into_vec().into_iter().map(|run| Script::of(run).with_pauses(random, 0.3));
        let sources: Vec<_> = scripts
            .enumerate()
            .map(|(index, script)| {
                Checked::new(Noisy(ScriptedSource::new(index, script, stage.bell())), stage.log())
            })
            .collect();
        let mut merge = ProxyResponseLoserTree::new(sources);
        let (mut out, mut driver) = (Vec::new(), stage.driver(seed));
        while driver.complete(merge.next_ready(&mut out, 9)).unwrap().unwrap() > 0 {}
        assert_merged(&out, runs.as_slice());
        stage.log().assert_closed();
    }
}

/// A source that wakes itself in the middle of a block is left to the next poll.
#[test]
fn a_block_ends_where_an_item_has_to_be_waited_for() {
    let stage = Stage::new();
    let script = Script::of([1, 2]).pending(Wake::AtOnce).items([3, 4]);
    let mut merge = ProxyResponseLoserTree::new(stage.sources([script, Script::of([2, 9])]));
    let mut driver = stage.driver(1);
    let mut out = Vec::new();
    assert_eq!(driver.complete(merge.next_ready(&mut out, 10)), Ok(Ok(2)));
    assert_eq!(driver.complete(merge.next_ready(&mut out, 0)), Ok(Ok(0)));
    assert_eq!(driver.complete(merge.next_ready(&mut out, 10)), Ok(Ok(4)));
    assert_eq!(out, [1, 2, 2, 3, 4, 9]);
    assert_eq!(driver.complete(merge.next_ready(&mut out, 10)), Ok(Ok(0)));
}

#[test]
fn a_panic_of_an_async_source_costs_nothing_that_was_appended() {
    silence_scripted_panics();
    for at in 0..4 {
        let stage = Stage::new();
        let mut bad = Script::of([1, 3, 5]);
        bad.steps.insert(at, Step::Panic);
        let mut merge = ProxyResponseLoserTree::new(stage.sources([bad, Script::of([2, 4, 6])]));
        let mut out = Vec::new();
        let mut driver = stage.driver(1);
        let end = driver.complete(merge.next_ready(&mut out, 10)).unwrap_err();
        assert!(matches!(end, End::Panicked(_)));
        // The item whose successor was asked for is the last.
        assert_eq!(out, [1, 2, 3, 4, 5][..(2 * at).saturating_sub(1)]);
        assert_eq!(driver.complete(merge.next_ready(&mut out, 10)), Ok(Ok(0)));
        drop(merge);
        stage.log().assert_released();
    }
}

#[test]
fn a_panic_of_the_order_in_a_block_costs_no_item() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let mut until_panic = random.below(100);
        let order = By::new(move |a: &Item<u64>, b: &Item<u64>| {
            until_panic = until_panic.wrapping_sub(1);
            assert!(until_panic != 0, "the comparator panics as scripted");
            a.key.cmp(&b.key)
        });
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), random, 0.0);
        let mut merge = ProxyResponseLoserTree::builder().sources(sources).order(order).build();
        let mut out = Vec::new();
        let mut driver = stage.driver(seed);
        let mut given = stage.log().items();
        while let Ok(Ok(1..)) = driver.complete(merge.next_ready(&mut out, 7)) {
            given = stage.log().items();
        }
        let heads = merge.into_sources().iter().filter(|undrained| undrained.head.is_some()).count();
        assert!(merged(runs.as_slice()).starts_with(&out));
        assert!(given <= out.len() + heads, "an item is neither here nor there");
        assert_eq!(stage.log().items(), out.len() + heads);
        true
    }
    silence_scripted_panics();
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// Keys that are merged by offset-value codes, shared by sources or in long runs of one of them.
#[test]
fn strings_come_in_blocks_too() {
    for (sources, replicas) in [(3, 1), (12, 1), (12, 2), (20, 20)] {
        let runs = Runs::from_keys(inputs::labels(1, sources, 2_000, replicas));
        let mut sync = Vec::new();
        let mut merge = merge(runs.as_slice().iter().map(|run| run.iter().cloned()));
        while merge.next_block(&mut sync, 37) > 0 {}
        assert_merged(&sync, runs.as_slice());

        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(1), 0.1);
        let mut merge = ProxyResponseLoserTree::new(sources);
        let (mut out, mut driver) = (Vec::new(), stage.driver(1));
        while driver.complete(merge.next_ready(&mut out, 37)).unwrap().unwrap() > 0 {}
        assert_merged(&out, runs.as_slice());
    }
}

#[test]
fn boxed_sources_are_taken_in_blocks_too() {
    let stage = Stage::new();
    let sources = stage.sources([Script::of([1, 3]), Script::of([2])]);
    let mut merge = ProxyResponseLoserTree::new(sources.into_iter().map(Source::boxed));
    let mut out = vec![0];
    assert_eq!(stage.driver(1).complete(merge.next_ready(&mut out, 10)), Ok(Ok(3)));
    assert_eq!(out, [0, 1, 2, 3]);
}
