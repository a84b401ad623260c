//! P10: at most (K − 1) + N·⌈log2 K⌉ comparisons for N items from K sources, and none at all where the codes
//! of keys are exact.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::cell::Cell;
use std::cmp::Ordering;

use losertree::key::{By, Natural, Reversed};
use losertree::stream::OrderCheck;
use losertree::tree::LoserTree;
use losertree::{ProxyResponseLoserTree, SortKey, merge, merge_by, merge_by_key, merge_with, try_merge};
use losertree_testkit::{Comparisons, CountedKey, Random, Stage, inputs};

const FAN_INS: [usize; 10] = [0, 1, 2, 3, 5, 8, 16, 33, 100, 1000];

/// ⌈log2 K⌉.
fn levels(sources: usize) -> usize {
    sources.next_power_of_two().ilog2() as usize
}

fn bound(sources: usize, items: usize) -> usize {
    sources.saturating_sub(1) + items * levels(sources)
}

/// Calls a check with runs of every fan-in and kind, and their number of items.
fn for_each_input(check: impl Fn(Vec<Vec<u64>>, usize)) {
    for sources in FAN_INS {
        let items = 2_000 + 2 * sources;
        for make in [inputs::uniform, inputs::long_runs, inputs::duplicates] {
            let runs = make(7, sources, items);
            let items = runs.iter().map(Vec::len).sum();
            check(runs, items);
        }
        // Runs of which half are empty, and which end at different times.
        let uneven: Vec<Vec<u64>> =
            (0..sources).map(|source| (0..(source % 2 * (source % 30)) as u64).collect()).collect();
        let items = uneven.iter().map(Vec::len).sum();
        check(uneven, items);
    }
}

#[test]
fn the_measure_itself() {
    assert_eq!(FAN_INS.map(levels), [0, 0, 1, 2, 3, 3, 4, 6, 7, 10]);
}

#[test]
fn of_a_sync_merge() {
    for_each_input(|runs, items| {
        let (comparisons, most) = (Comparisons::new(), bound(runs.len(), items));
        let merge = || merge_by(runs.iter().map(|run| run.iter().copied()), comparisons.counting(u64::cmp));
        let mut stepwise = merge();
        while stepwise.next().is_some() {}
        let by_steps = comparisons.take();
        assert!(by_steps <= most, "K = {}: {by_steps}, not {most}", runs.len());

        assert_eq!(merge().count(), items);
        assert_eq!(comparisons.take(), by_steps, "folded");

        let mut blocks = merge();
        while blocks.next_block(&mut Vec::new(), 7) > 0 {}
        assert_eq!(comparisons.take(), by_steps, "in blocks");

        let mut peeking = merge();
        while peeking.peek().is_some() {
            peeking.next();
        }
        assert_eq!(comparisons.take(), by_steps, "peeked");

        let ok = runs.iter().map(|run| run.iter().map(|item| Ok::<_, ()>(comparisons.key(*item))));
        assert_eq!(try_merge(ok).count(), items);
        assert_eq!(comparisons.take(), by_steps, "of results");

        // One comparison more for each item but the first.
        let keys = runs.iter().map(|run| run.iter().map(|item| comparisons.key(*item)));
        let distinct = losertree::merge(keys).dedup().count();
        let with_dedup = comparisons.take();
        assert!(distinct <= items && with_dedup <= by_steps + items.saturating_sub(1), "without duplicates");
    });
}

#[test]
fn of_an_async_merge() {
    for_each_input(|runs, items| {
        for pauses in [0.0, 0.3] {
            let (comparisons, stage) = (Comparisons::new(), Stage::new());
            let most = bound(runs.len(), items);
            let mut random = Random::seed(3);
            let mut sources = || stage.sources_of(runs.clone(), &mut random, pauses);
            let counting = By::new(comparisons.counting(u64::cmp));
            let mut merge = ProxyResponseLoserTree::builder().sources(sources()).order(counting).build();
            assert_eq!(stage.driver(5).run(&mut merge).ok().len(), items);
            let merging = comparisons.take();
            assert!(merging <= most, "K = {}: {merging}, not {most}", runs.len());

            // One comparison more for each item but the first of each source.
            let counting = By::new(comparisons.counting(u64::cmp));
            let builder = ProxyResponseLoserTree::builder().sources(sources()).order(counting);
            let mut merge = builder.order_check(OrderCheck::Fail).build();
            assert_eq!(stage.driver(5).run(&mut merge).ok().len(), items);
            let sources = runs.iter().filter(|run| !run.is_empty()).count();
            assert_eq!(comparisons.take(), merging + items - sources);
        }
    });
}

/// Runs that are merged by stretches: each of the given number of items, in turn or at random from any source, with few
/// equal keys.
fn stretches(
    seed: u64,
    sources: usize,
    items: usize,
    length: impl Fn(&mut Random) -> usize,
) -> Vec<Vec<u64>> {
    let mut random = Random::seed(seed);
    let mut runs = vec![Vec::new(); sources];
    let mut key = 0;
    let mut left = items;
    while left > 0 {
        let run = &mut runs[random.below(sources)];
        for _ in 0..length(&mut random).min(left) {
            key += u64::from(random.chance(0.8));
            run.push(key);
            left -= 1;
        }
    }
    runs
}

/// A number without a code: whatever is compared is counted.
fn uncoded(comparisons: &Comparisons, runs: &[Vec<u64>]) -> usize {
    merge_by(runs.iter().map(|run| run.iter().copied()), comparisons.counting(u64::cmp)).count();
    comparisons.take()
}

/// What a streak costs is paid for before: the bound holds after each item, whenever streaks begin and end.
#[test]
fn streaks_that_end_at_any_moment() {
    for sources in FAN_INS.into_iter().filter(|sources| *sources > 0) {
        for (seed, longest) in (0..20).zip((1..).step_by(3)) {
            // From far below to far above what is taken for a streak.
            let runs = stretches(seed, sources, 1_000, |random| match seed % 3 {
                0 => 1 + random.below(longest),
                1 => longest,
                _ if random.chance(0.3) => longest,
                _ => 1,
            });
            let comparisons = Comparisons::new();
            let (mut items, mut sum, mut last) = (0, 0, 0);
            for item in merge_by(runs, comparisons.counting(u64::cmp)) {
                items += 1;
                sum += comparisons.take();
                assert!(sum <= bound(sources, items), "K = {sources}, seed {seed}: {sum} for {items}");
                assert!(last <= item, "K = {sources}, seed {seed}");
                last = item;
            }
            assert_eq!(items, 1_000);
        }
    }
}

#[test]
fn a_streak_takes_one_comparison_for_an_item() {
    const ITEMS: usize = 20_000;
    for sources in [2, 3, 4, 5, 8, 16, 33, 64] {
        let comparisons = Comparisons::new();
        let long = stretches(7, sources, ITEMS, |random| 1 + random.below(127));
        let counted = uncoded(&comparisons, &long);
        assert!(counted < ITEMS * 8 / 5, "K = {sources}: {counted}");
        // Where streaks by chance, or such that end at once, have come before.
        for longest in [1, 2, 4, 12] {
            let mut runs = stretches(3, sources, 2 * ITEMS, |random| 1 + random.below(longest));
            let alone = uncoded(&comparisons, &runs);
            let last = runs.iter().flatten().max().copied().unwrap_or(0);
            for (run, long) in runs.iter_mut().zip(&long) {
                run.extend(long.iter().map(|item| last + item));
            }
            let counted = uncoded(&comparisons, &runs) - alone;
            assert!(counted < ITEMS * 8 / 5, "K = {sources}, after stretches of {longest}: {counted}");
        }
    }
}

/// A head that is changed to be the smallest, as by a seek, is no win of its source: there is no streak to be tried, which
/// would use up what a real one is paid for with.
#[test]
fn seeks_are_no_streak() {
    const ITEMS: usize = 20_000;
    for sources in [4_usize, 8, 16, 64] {
        let comparisons = Comparisons::new();
        let order = By::new(comparisons.counting(i64::cmp));
        let mut tree = LoserTree::new(order, (0..sources).map(|_| Some(1)));
        tree.settle();
        for seek in 0..1_000 {
            // Never the winner, and none of the sources twice in a row.
            tree.set_head((seek + 1) % sources, Some(-i64::try_from(seek).unwrap()));
            tree.settle();
        }
        comparisons.take();
        for _ in 0..ITEMS {
            let (source, item) = tree.pop().unwrap();
            tree.set_head(source, Some(item));
            tree.settle();
        }
        let counted = comparisons.take();
        assert!(counted < ITEMS * 8 / 5, "K = {sources}: {counted}");
    }
}

/// One source has nine items in ten; the others come in between, one by one.
#[test]
fn a_source_that_comes_back_keeps_its_place() {
    const ITEMS: usize = 20_000;
    let comparisons = Comparisons::new();
    for sources in [3, 4, 5, 8, 16, 33, 64] {
        for seed in 0..30 {
            let counted = uncoded(&comparisons, &inputs::skewed(seed, sources, ITEMS));
            // Nine of one comparison, and one that plays on all levels and in the final, in which another one is played.
            let levels = sources.next_power_of_two().ilog2() as usize;
            assert!(
                counted < ITEMS * (9 + levels + 2) / 10 * 21 / 20,
                "K = {sources}, seed {seed}: {counted}"
            );
        }
    }
}

/// A number whose code says it all.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exact(u64);

impl SortKey for Exact {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = true;

    fn code(&self) -> u64 {
        self.0
    }

    fn compare(&self, other: &Self) -> Ordering {
        panic!("compares {self:?} with {other:?}")
    }
}

#[test]
fn exact_keys_are_never_compared() {
    for_each_input(|runs, items| {
        let keys = || runs.iter().map(|run| run.iter().map(|item| Exact(*item)));
        assert_eq!(merge(keys()).count(), items);
        let mut stepwise = merge(keys());
        while stepwise.peek().is_some() {
            stepwise.next_with_source();
        }
        assert_eq!(merge_by_key(keys(), |key| *key).count(), items);
        assert_eq!(try_merge(keys().map(|run| run.map(Ok::<_, ()>))).count(), items);
        let turned = keys().map(Iterator::rev);
        assert_eq!(merge_with(turned, Reversed(Natural)).count(), items);
        assert_eq!(merge(keys().map(|run| run.map(|key| (key, ())))).count(), items);

        let mut sources: Vec<_> = keys().collect();
        let mut tree: LoserTree<_, _> = LoserTree::new(Natural, sources.iter_mut().map(Iterator::next));
        while let Some((source, _)) = tree.pop() {
            tree.set_head(source, sources[source].next());
            tree.runner_up();
        }

        let stage = Stage::new();
        let sources = stage.sources_of(keys().map(Iterator::collect), &mut Random::seed(1), 0.2);
        let mut merge = ProxyResponseLoserTree::new(sources);
        assert_eq!(stage.driver(1).run(&mut merge).ok().len(), items);
    });
}

/// Keys are compared only where their codes leave it open.
#[test]
fn different_codes_decide() {
    struct Inexact(u64);
    impl SortKey for Inexact {
        const CODE_BITS: u32 = 64;
        const EXACT: bool = false;

        fn code(&self) -> u64 {
            self.0
        }

        fn compare(&self, other: &Self) -> Ordering {
            assert_eq!(self.0, other.0, "the codes have decided");
            Ordering::Equal
        }
    }
    for_each_input(|runs, items| {
        assert_eq!(merge(runs.iter().map(|run| run.iter().map(|key| Inexact(*key)))).count(), items);
    });
}

#[test]
fn a_key_function_is_called_once_for_each_item_whose_code_is_exact() {
    for_each_input(|runs, items| {
        let calls = Cell::new(0);
        let mut merge = merge_by_key(runs, |item| {
            calls.set(calls.get() + 1);
            *item
        });
        while merge.next().is_some() {}
        assert_eq!(calls.get(), items);
    });
}

/// A tree of heads that count their comparisons.
fn tree(comparisons: &Comparisons, sources: usize) -> LoserTree<CountedKey, Natural> {
    let mut random = Random::seed(9);
    let head = |_| Some(comparisons.key(random.below(50) as u64));
    let tree = LoserTree::new(Natural, (0..sources).map(head));
    assert_eq!(comparisons.take(), 0, "construction compares nothing");
    tree
}

#[test]
fn building_a_tree_takes_one_match_for_each_source_but_the_winner() {
    for sources in FAN_INS {
        let comparisons = Comparisons::new();
        let mut tree = tree(&comparisons, sources);
        // Three are put in order, which may take one comparison more.
        let most = if sources == 3 { 3 } else { sources.saturating_sub(1) };
        tree.winner();
        assert!((sources.saturating_sub(1)..=most).contains(&comparisons.take()));
        // Once played, there is nothing to play.
        tree.winner();
        tree.settle();
        assert_eq!(comparisons.take(), 0);
        // A question after several heads have changed plays everything.
        for source in (0..sources).step_by(2) {
            tree.set_head(source, Some(comparisons.key(source as u64)));
        }
        assert_eq!(comparisons.take(), 0, "setting heads compares nothing");
        tree.winner();
        assert!(comparisons.take() <= most);
        // Exhausted sources take part in no match.
        let live = sources.div_ceil(3);
        for source in (0..sources).filter(|source| source % 3 != 0) {
            tree.set_head(source, None);
        }
        tree.winner();
        assert_eq!(comparisons.take(), live.saturating_sub(1));
    }
}

#[test]
fn one_changed_head_replays_one_path() {
    for sources in FAN_INS {
        let (comparisons, path) = (Comparisons::new(), levels(sources));
        let mut tree = tree(&comparisons, sources);
        tree.winner();
        comparisons.take();
        // A look for a runner-up is paid for by what was saved before, or by the first item.
        let mut left = path;
        let mut paid = |most: usize| {
            let taken = comparisons.take();
            assert!(taken <= most + path.saturating_sub(1), "K = {sources}: {taken}, not {most}");
            assert!(taken <= left + most, "K = {sources}: {taken}, of {left} and {most}");
            left = left + most - taken;
        };
        let mut random = Random::seed(5);
        for round in 0..sources.min(1) * 1_000 {
            // Of the winner, of any source, or to and from exhaustion.
            let winner = tree.winner().map(|(source, _)| source);
            let source = match winner {
                Some(winner) if round % 3 == 0 => winner,
                _ => random.below(sources),
            };
            let head = random.chance(0.8).then(|| comparisons.key(random.below(50) as u64));
            tree.set_head(source, head);
            // A second thought about the same source costs no more.
            let head = random.chance(0.8).then(|| comparisons.key(random.below(50) as u64));
            tree.set_head(source, head);
            assert_eq!(comparisons.take(), 0);
            tree.winner();
            paid(path);
            tree.runner_up();
            paid(path.saturating_sub(1));
            // The successor of a popped head, brought before or after the next question.
            if let Some((source, head)) = tree.pop() {
                assert_eq!(comparisons.take(), 0);
                if round % 2 == 0 {
                    tree.runner_up();
                    paid(path + path.saturating_sub(1));
                }
                tree.set_head(source, Some(head));
                tree.settle();
                paid(path);
            }
        }
    }
}

#[test]
fn settling_in_between_keeps_each_of_several_changes_cheap() {
    for sources in FAN_INS {
        let comparisons = Comparisons::new();
        let mut tree = tree(&comparisons, sources);
        tree.settle();
        comparisons.take();
        for source in 0..sources.min(20) {
            tree.set_head(source, Some(comparisons.key(3)));
            tree.settle();
            assert!(comparisons.take() <= levels(sources));
        }
    }
}

#[test]
fn pushing_compares_nothing() {
    let comparisons = Comparisons::new();
    let mut tree = tree(&comparisons, 0);
    for sources in 1..200 {
        tree.push(Some(comparisons.key(sources as u64 * 7 % 50)));
        assert_eq!(comparisons.take(), 0);
        tree.winner();
        assert!(comparisons.take() <= levels(sources), "K = {sources}");
    }
    // One that is exhausted from the start leaves nothing to play.
    tree.push(None);
    tree.winner();
    assert_eq!(comparisons.take(), 0);
}
