//! P10: at most (K − 1) + N·⌈log2 K⌉ comparisons for N items from K sources, and none at all where the codes
//! of keys are exact.

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
fn a_source_that_comes_back_is_tried_at_once() {
    const ITEMS: usize = 20_000;
    let comparisons = Comparisons::new();
    for sources in [3, 4, 5, 8, 16, 33, 64] {
        let mut given_up = 0;
        for seed in 0..30 {
            let counted = uncoded(&comparisons, &inputs::skewed(seed, sources, ITEMS));
            // Nine of one comparison; one that loses, and one of another source, at one for each level at most; and as many less one
            // to find the runner-up again.
            let levels = sources.next_power_of_two().ilog2() as usize;
            if counted >= ITEMS * (9 + 3 * levels - 1) / 10 {
                // The first tries have failed by chance, and there was nothing left to pay for another.
                assert!(counted < ITEMS * levels + sources, "K = {sources}, seed {seed}: {counted}");
                given_up += 1;
            }
        }
        assert!(given_up <= 1, "K = {sources}: {given_up} of 30");
    }
}

/// Between the keys of the others, who win in turn, the first source has room for its own.
const TURN: u64 = 1 << 20;

/// What a tree has been asked, and what that may have taken.
struct Account {
    tree: LoserTree<u64, By<CountCompare>>,
    comparisons: Comparisons,
    sum: usize,
    most: usize,
}

type CountCompare = Box<dyn FnMut(&u64, &u64) -> Ordering>;

impl Account {
    fn new(heads: impl ExactSizeIterator<Item = Option<u64>>) -> Self {
        let comparisons = Comparisons::new();
        let most = heads.len() - 1;
        let count: CountCompare = Box::new(comparisons.counting(u64::cmp));
        Self { tree: LoserTree::new(By::new(count), heads), comparisons, sum: 0, most }
    }

    /// Asks for the winner after one change, and returns how many comparisons that takes.
    fn ask(&mut self) -> usize {
        self.tree.settle();
        let taken = self.comparisons.take();
        self.sum += taken;
        self.most += levels(self.tree.sources());
        assert!(self.sum <= self.most, "K = {}: {}, not {}", self.tree.sources(), self.sum, self.most);
        taken
    }

    /// Has the first source win until it has been seen to be in a streak, and then go on for a moment or be beaten at once.
    /// So it saves as little as it can.
    ///
    /// With some probability, another head changes when that has just been seen.
    fn end_streaks(&mut self, random: &mut Random, others: usize, disturbed: f64) {
        let levels = levels(self.tree.sources());
        let mut last = 0;
        for _ in 0..1_000 {
            let taken = self.ask();
            if taken != levels && random.chance(disturbed) {
                // The runner-up is forgotten, however much is known of it.
                let source = random.below(self.tree.sources());
                let head = self.tree.heads()[source];
                self.tree.set_head(source, head);
                self.ask();
            }
            let (source, key) = self.tree.pop().unwrap();
            assert!(last <= key);
            last = key;
            let next = if source > 0 {
                key + others as u64 * TURN
            } else if taken == levels || random.chance(0.3) {
                key + 1
            } else {
                (key / TURN + 1 + random.below(levels + 2) as u64) * TURN + 1
            };
            self.tree.set_head(source, Some(next));
        }
    }
}

#[test]
fn a_streak_that_ends_as_soon_as_it_has_begun() {
    for sources in [4, 8, 16, 64] {
        for (seed, disturbed) in (0..40).zip([0.0, 0.1, 0.5].into_iter().cycle()) {
            // All others win in turn, or those of the other half, who play on all levels.
            let others = if seed % 2 == 0 { sources - 1 } else { sources / 2 };
            let heads = (0..sources).map(|source| match sources - source {
                _ if source == 0 => Some(0),
                turn if turn <= others => Some(turn as u64 * TURN),
                _ => Some(u64::MAX),
            });
            Account::new(heads).end_streaks(&mut Random::seed(seed), others, disturbed);
        }
    }
}

/// What it saves there is more for each item, but not for those that were before.
#[test]
fn a_streak_in_a_tree_that_grows() {
    for sources in [4, 8, 16, 32] {
        for wins in 0..40 {
            let mut account = Account::new((0..sources).map(|source| Some(source as u64 * TURN)));
            let mut key = 0;
            let mut win = |account: &mut Account| {
                key += 1;
                account.tree.set_head(0, Some(key));
                account.ask()
            };
            account.ask();
            while win(&mut account) > 1 {}
            for _ in 0..wins {
                assert_eq!(win(&mut account), 1);
            }
            // That the tree is larger takes nothing. The first question is one of a larger tree then.
            assert_eq!(account.tree.push(None), sources);
            account.most += 1;
            win(&mut account);
            assert_eq!(win(&mut account), 1);
            account.tree.set_head(sources, Some(sources as u64 * TURN));
            for source in sources + 1..2 * sources {
                account.ask();
                account.tree.push(Some(source as u64 * TURN));
            }
            account.end_streaks(&mut Random::seed(wins), 2 * sources - 1, 0.0);
        }
    }
}

/// To remove half of the sources or more pays for all that is due then: one comparison for each.
#[test]
fn a_streak_in_a_tree_that_shrinks_and_grows() {
    for sources in [4, 8, 16, 32] {
        for seed in 0..40 {
            let random = &mut Random::seed(seed);
            let mut account = Account::new((0..sources).map(|source| Some(source as u64 * TURN)));
            for _ in 0..8 {
                account.end_streaks(random, sources - 1, 0.0);
                account.ask();
                let left = sources / if random.chance(0.8) { 2 } else { 4 };
                let last = account.tree.heads().iter().flatten().max().copied().unwrap();
                for source in left..sources {
                    account.tree.set_head(source, None);
                    // Most matches are against nobody. What that saves is not what pays.
                    account.tree.settle();
                    account.sum += account.comparisons.take().saturating_sub(levels(sources));
                }
                account.tree.retain(|source| source < left);
                account.tree.settle();
                account.sum += account.comparisons.take();
                account.most += sources - left;
                account.most -= levels(sources) - levels(left);
                assert!(account.sum <= account.most);
                for source in left..sources {
                    account.tree.push(Some(last + source as u64 * TURN));
                    account.most += levels(source + 1) - levels(source);
                    account.ask();
                }
            }
        }
    }
}

/// How many comparisons it takes to find each item, where sources that do not end win in this order.
fn to_find_each(sources: usize, winners: &[usize]) -> Vec<usize> {
    let comparisons = Comparisons::new();
    let mut runs = vec![Vec::new(); sources];
    for (key, winner) in winners.iter().enumerate() {
        runs[*winner].push(key as u64);
    }
    let runs = runs.into_iter().map(|run| run.into_iter().chain([u64::MAX]));
    let merge = merge_by(runs, comparisons.counting(u64::cmp));
    merge.take(winners.len()).map(|_| comparisons.take()).collect()
}

/// When a streak begins, what that saves, and what it takes to end.
#[test]
fn what_items_take_while_streaks_begin_and_end() {
    let check = |sources: usize, story: &[(&[usize], &[usize])]| {
        let winners: Vec<_> = story.iter().flat_map(|(winners, _)| *winners).copied().collect();
        let mut taken = to_find_each(sources, &winners).into_iter();
        for (chapter, (winners, expected)) in story.iter().enumerate() {
            let taken: Vec<_> = taken.by_ref().take(winners.len()).collect();
            assert_eq!(taken, *expected, "K = {sources}, chapter {chapter}");
        }
    };
    check(
        16,
        &[
            // As long as there is little to pay with, eight wins in a row are no chance; then the runner-up is found by steps.
            (&[0; 12], &[15, 4, 4, 4, 4, 4, 4, 4, 5, 4, 3, 1]),
            (&[0; 50], &[1; 50]),
            // The runner-up was at the top. Who comes next is likely to stay, too, and is tried at once.
            (&[9; 6], &[7, 1, 1, 1, 1, 1]),
            (&[0; 3], &[7, 1, 1]),
            // That one has not. Two wins in a row are no chance any more.
            (&[12; 4], &[4, 4, 7, 1]),
            (&[9; 6], &[3, 7, 1, 1, 1, 1]),
            (&[12], &[3]),
            // A source that has stayed often is tried as soon as it wins again.
            (&[9; 3], &[7, 1, 1]),
            (&[12, 11, 10, 8], &[3, 4, 4, 4]),
            (&[9; 2], &[7, 1]),
            // The runner-up is the neighbour, so that nobody is met below. Trying fails three times, and then no more at once.
            (&[8, 9, 8, 9, 8, 9, 8], &[1, 7, 1, 7, 1, 7, 1]),
            (&[9; 4], &[4, 4, 7, 1]),
        ],
    );
    // In a line, all that it takes is to have won often in a row.
    check(3, &[(&[0; 12], &[2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1]), (&[1, 0, 1, 0], &[2, 2, 2, 2])]);
}

/// The runner-up is forgotten when another head changes. What it has saved is not lost.
#[test]
fn what_a_streak_has_saved_is_there_for_the_next_one() {
    let comparisons = Comparisons::new();
    let heads = (0..16).map(|source| Some(1_000 + source));
    let mut tree = LoserTree::new(By::new(comparisons.counting(u64::cmp)), heads);
    let win = |tree: &mut LoserTree<u64, _>, key| {
        tree.set_head(0, Some(key));
        tree.settle();
        comparisons.take()
    };
    for key in 0..20 {
        win(&mut tree, key);
    }
    assert_eq!(win(&mut tree, 20), 1);
    tree.set_head(9, Some(2_000));
    tree.settle();
    assert_eq!(comparisons.take(), 4);
    // It need not win eight times in a row to be tried again: it has stayed often.
    assert_eq!([21, 22, 23].map(|key| win(&mut tree, key)), [7, 1, 1]);
}

#[test]
fn a_tree_that_has_grown_is_like_one_of_its_size() {
    let taken = |pushed: usize| {
        let comparisons = Comparisons::new();
        let order = By::new(comparisons.counting(u64::cmp));
        let mut tree = LoserTree::new(order, (pushed as u64..16).map(|head| Some(1_000 + head)));
        for source in 0..pushed {
            tree.push(Some(2_000 + source as u64));
        }
        let mut win = |key| {
            tree.set_head(0, Some(key));
            tree.settle();
            comparisons.take()
        };
        (0..20).map(&mut win).collect::<Vec<_>>()
    };
    for pushed in [6, 8, 11, 12] {
        assert_eq!(taken(pushed), taken(0));
    }
}

/// To put three in a line may take a comparison more than their matches do, which is not there for a runner-up then.
#[test]
fn a_streak_in_a_tree_that_has_been_a_line() {
    for seed in 0..40 {
        let mut account = Account::new([0, 2, 1].map(|turn| Some(turn * TURN)).into_iter());
        account.ask();
        assert_eq!(account.sum, 3);
        account.tree.push(Some(3 * TURN));
        account.end_streaks(&mut Random::seed(seed), 3, 0.0);
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
