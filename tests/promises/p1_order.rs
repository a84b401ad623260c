//! P1: the output follows one strict total order, the key and then the source, whichever way it is taken out of the
//! merge, and in whichever order async sources become ready.

use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;
use std::convert::Infallible;

use futures::stream::{self, StreamExt};
use losertree::key::{By, ByKey, Natural, Order, Reversed};
use losertree::tree::LoserTree;
use losertree::{
    ProxyResponseLoserTree, SortKey, Source, from_stream, merge, merge_by, merge_by_key, merge_with,
    try_merge, try_merge_with,
};
use losertree_testkit::{
    Item, Random, Runs, Stage, TestKey, assert_merged, assert_merged_by, assert_same, for_each_key, inputs,
    merged,
};
use quickcheck::{QuickCheck, quickcheck};

use crate::probe::assert_complete;

type Items<K> = Vec<Item<K>>;

fn natural<K: SortKey>(a: &Item<K>, b: &Item<K>) -> Ordering {
    a.compare(b)
}

/// The same runs, from the greatest key down.
fn descending<K: Clone>(runs: &Runs<K>) -> Vec<Items<K>> {
    let run = |(source, keys): (usize, Vec<K>)| {
        let item = |(sequence, key)| Item::new(key, source, sequence);
        keys.into_iter().rev().enumerate().map(item).collect()
    };
    runs.keys().into_iter().enumerate().map(run).collect()
}

/// The keys in any order, but the sequence numbers in theirs.
fn unsorted<K: Clone>(runs: &Runs<K>, random: &mut Random) -> Vec<Items<K>> {
    let run = |(source, mut keys): (usize, Vec<K>)| {
        random.shuffle(&mut keys);
        keys.into_iter().enumerate().map(|(sequence, key)| Item::new(key, source, sequence)).collect()
    };
    runs.keys().into_iter().enumerate().map(run).collect()
}

fn with_tree<K, O: Order<Item<K>>>(runs: Vec<Items<K>>, order: O) -> Items<K> {
    let mut runs: Vec<_> = runs.into_iter().map(Vec::into_iter).collect();
    let mut tree = LoserTree::new(order, runs.iter_mut().map(Iterator::next));
    let mut out = Vec::new();
    while let Some((source, _)) = tree.winner() {
        out.extend(tree.set_head(source, runs[source].next()));
    }
    out
}

fn push<T>(mut out: Vec<T>, item: T) -> Vec<T> {
    out.push(item);
    out
}

/// How likely an async source pauses at each place: never, now and then, mostly.
fn pauses(seed: u64) -> f64 {
    [0.0, 0.1, 0.7][usize::try_from(seed % 3).unwrap()]
}

/// Merges scripted async sources to the end, and checks that all is closed then.
fn merged_async<K: TestKey, O: Order<Item<K>>>(runs: Vec<Items<K>>, order: O, seed: u64) -> Items<K> {
    let stage = Stage::new();
    let sources = stage.sources_of(runs, &mut Random::seed(seed), pauses(seed));
    let mut merge = ProxyResponseLoserTree::builder().sources(sources).order(order).build();
    let out = stage.driver(seed).run(&mut merge).ok();
    stage.log().assert_closed();
    out
}

/// What each way of merging by an order gives: item by item, folded, by the tournament, and async.
fn merged_by<K: TestKey, O: Order<Item<K>>>(
    runs: &[Items<K>],
    mut order: impl FnMut() -> O,
    seed: u64,
) -> [Items<K>; 4] {
    let mut stepwise = merge_with(runs.to_vec(), order());
    [
        std::iter::from_fn(|| stepwise.next()).collect(),
        merge_with(runs.to_vec(), order()).fold(Vec::new(), push),
        with_tree(runs.to_vec(), order()),
        merged_async(runs.to_vec(), order(), seed),
    ]
}

fn every_way_gives_the_stable_order<K: TestKey>(runs: Runs<K>, seed: u64) -> bool {
    let expected = merged(runs.as_slice());
    let check = |out: Items<K>| assert_same(&out, &expected);
    let input = || runs.clone().into_vec();
    let key = |item: &Item<K>| item.key.clone();
    let fallible = || input().into_iter().map(|run| run.into_iter().map(Ok::<_, Infallible>));

    check(merge(input()).collect());
    check(merge_by(input(), natural).collect());
    check(merge_by_key(input(), key).collect());
    check(merge_with(input(), Reversed(Reversed(Natural))).collect());
    check(merge(input()).by_ref().collect());
    check(try_merge(fallible()).map(Result::unwrap).collect());
    check(try_merge_with(fallible(), By::new(natural)).map(Result::unwrap).collect());
    let mut merge = merge(input());
    let sourced: Vec<_> = std::iter::from_fn(|| merge.next_with_source()).collect();
    assert!(sourced.iter().all(|(source, item)| *source == item.source));
    check(sourced.into_iter().map(|(_, item)| item).collect());

    merged_by(runs.as_slice(), || Natural, seed).into_iter().for_each(check);
    merged_by(runs.as_slice(), || By::new(natural), seed).into_iter().for_each(check);
    merged_by(runs.as_slice(), || ByKey::new(key), seed).into_iter().for_each(check);
    true
}

#[test]
fn every_constructor_gives_the_stable_order() {
    fn check<K: TestKey>() {
        QuickCheck::new().tests(60).quickcheck(every_way_gives_the_stable_order as fn(Runs<K>, u64) -> bool);
    }
    for_each_key!(check);
}

/// Runs in which a source wins many times in a row, by chance or not.
fn streaks() -> impl Iterator<Item = Vec<Vec<u64>>> {
    let kinds = [inputs::long_runs, inputs::duplicates, inputs::skewed, inputs::disjoint];
    (1..=20).flat_map(move |sources| kinds.map(|make| make(sources as u64, sources, 600)))
}

#[test]
fn streaks_do_not_change_the_order() {
    for (runs, seed) in streaks().zip(0..) {
        // Distinct codes, equal codes of different keys, and keys of which every code is the same.
        let text = |prefix: &'static str| {
            let text = move |key: &u64| format!("{prefix}{key:020}");
            runs.iter().map(|run| run.iter().map(text).collect()).collect()
        };
        assert!(every_way_gives_the_stable_order(Runs::<String>::from_keys(text("")), seed));
        assert!(every_way_gives_the_stable_order(Runs::<String>::from_keys(text("the same for all")), seed));
        assert!(every_way_gives_the_stable_order(Runs::from_keys(runs), seed));
    }
}

#[test]
fn a_merge_of_references_has_the_same_order() {
    fn property(runs: Runs<String>) -> bool {
        let items: Vec<_> = merge(runs.as_slice()).cloned().collect();
        assert_merged(&items, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<String>) -> bool);
}

#[test]
fn every_way_of_consuming_gives_the_rest_after_any_number_of_items() {
    fn property<K: TestKey>(runs: Runs<K>, taken: u8) -> bool {
        let expected = merged(runs.as_slice());
        let taken = usize::from(taken).min(expected.len());
        let mut stepwise = merge(runs.as_slice().iter().map(|run| run.iter().cloned()));
        let mut out: Items<K> = stepwise.by_ref().take(taken).collect();
        out.extend(stepwise);
        assert_same(&out, &expected);
        // Folding has a way of its own through exact codes, another for all the others, and comparators.
        let mut natural_order = merge(runs.clone().into_vec());
        let out: Items<K> = natural_order.by_ref().take(taken).collect();
        assert_same(&natural_order.fold(out, push), &expected);
        let mut by = merge_by(runs.clone().into_vec(), natural);
        let out: Items<K> = by.by_ref().take(taken).collect();
        assert_same(&by.fold(out, push), &expected);
        let mut peeked = merge(runs.into_vec());
        let mut out: Items<K> = peeked.by_ref().take(taken).collect();
        peeked.peek();
        peeked.for_each(|item| out.push(item));
        assert_same(&out, &expected);
        true
    }
    fn check<K: TestKey>() {
        quickcheck(property as fn(Runs<K>, u8) -> bool);
    }
    for_each_key!(check);
}

#[test]
fn the_reversed_order_keeps_ties_in_source_order() {
    fn property<K: TestKey>(runs: Runs<K>, seed: u64) -> bool {
        let runs = descending(&runs);
        let check = |out: Items<K>| assert_merged_by(&out, &runs, |a, b| b.compare(a));
        merged_by(&runs, || Reversed(Natural), seed).into_iter().for_each(check);
        merged_by(&runs, || Reversed(By::new(natural)), seed).into_iter().for_each(check);
        check(merge_by(runs.clone(), |a: &Item<K>, b: &Item<K>| b.compare(a)).collect());
        check(merge_by_key(runs.clone(), |item: &Item<K>| Reverse(item.key.clone())).collect());
        true
    }
    fn check<K: TestKey>() {
        quickcheck(property as fn(Runs<K>, u64) -> bool);
    }
    for_each_key!(check);
}

#[test]
fn a_coarse_order_keeps_ties_in_source_order() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        // Also within a source: items that are equal keep the order in which it gave them.
        let coarse = |a: &Item<u64>, b: &Item<u64>| (a.key >> 2).cmp(&(b.key >> 2));
        let check = |out: Items<u64>| assert_merged_by(&out, runs.as_slice(), coarse);
        merged_by(runs.as_slice(), || By::new(coarse), seed).into_iter().for_each(check);
        merged_by(runs.as_slice(), || ByKey::new(|item: &Item<u64>| item.key >> 2), seed)
            .into_iter()
            .for_each(check);
        let equal = |_: &Item<u64>, _: &Item<u64>| Ordering::Equal;
        for out in merged_by(runs.as_slice(), || By::new(equal), seed) {
            assert_eq!(out, runs.as_slice().concat());
        }
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// The greatest item of a type, and the end, must not be taken for each other: F15.
#[test]
fn exhaustion_is_not_a_value() {
    fn check<K: TestKey>(greatest: &K) {
        for sources in 0..=40 {
            // Some sources are empty, the others end one after another.
            let keys = (0..sources).map(|source| vec![greatest.clone(); source * 7 % 5]).collect();
            let runs: Runs<K> = Runs::from_keys(keys);
            let check = |out: Items<K>| assert_merged(&out, runs.as_slice());
            for seed in 0..3 {
                merged_by(runs.as_slice(), || Natural, seed).into_iter().for_each(check);
                merged_by(runs.as_slice(), || Reversed(Natural), seed).into_iter().for_each(check);
                merged_by(runs.as_slice(), || Reversed(By::new(natural)), seed).into_iter().for_each(check);
            }
        }
    }
    // Greatest, or smallest and so greatest reversed.
    check(&u64::MAX);
    check(&0_u64);
    check(&i64::MAX);
    check(&i64::MIN);
    check(&String::new());
    check(&"\0".to_owned());
    check(&"\0\0\0\0\0\0\0\0\0".to_owned());
    check(&char::MAX.to_string().repeat(4));
    check(&vec![u8::MAX; 9]);
    check(&(u32::MAX, u32::MAX));
    check(&f64::from_bits(u64::MAX >> 1));
    check(&f64::from_bits(u64::MAX));
    check(&Some(u8::MAX));
    // Nothing against nothing is equal, and an item like any other.
    check(&None::<u8>);
}

/// `Result`s are ordered by the values in them: F45.
#[test]
fn results_are_ordered_by_value() {
    let sources = [vec![Ok(3), Ok(4)], vec![Ok(1), Ok(5), Err("last")], vec![Ok(2)]];
    let out: Vec<_> =
        try_merge(sources).map(|item| item.map_err(|error| error.into_source_error().unwrap())).collect();
    assert_eq!(out, [Ok(1), Ok(2), Ok(3), Ok(4), Ok(5), Err("last")]);
    // An error is not sorted in among the values, neither before nor after all of them.
    let sources = [vec![Ok(1), Err("middle"), Ok(0)], vec![Ok(1), Ok(9)]];
    let out: Vec<_> =
        try_merge(sources).map(|item| item.map_err(|error| error.into_source_error().unwrap())).collect();
    assert_eq!(out, [Ok(1), Err("middle")]);
}

#[test]
fn a_clone_goes_on_independently() {
    fn property(runs: Runs<String>, taken: u8, first: u8) -> bool {
        let expected = merged(runs.as_slice());
        let taken = usize::from(taken).min(expected.len());
        let mut original = merge(runs.into_vec());
        for _ in 0..taken {
            original.next();
        }
        let mut clone = original.clone();
        let ahead: Vec<_> = original.by_ref().take(usize::from(first)).collect();
        assert_same(&clone.by_ref().collect::<Vec<_>>(), &expected[taken..]);
        let rest: Vec<_> = ahead.into_iter().chain(original).collect();
        assert_same(&rest, &expected[taken..]);
        true
    }
    quickcheck(property as fn(Runs<String>, u8, u8) -> bool);
}

/// A comparator that makes no sense loses and repeats nothing: F51.
#[test]
fn an_inconsistent_comparator_loses_nothing() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let check = |out: Items<u64>| assert_complete(&out, runs.as_slice());
        let any = || {
            let mut random = Random::seed(seed);
            By::new(move |_: &Item<u64>, _: &Item<u64>| {
                *random.pick(&[Ordering::Less, Ordering::Equal, Ordering::Greater]).unwrap()
            })
        };
        merged_by(runs.as_slice(), any, seed).into_iter().for_each(check);
        for always in [Ordering::Less, Ordering::Greater] {
            merged_by(runs.as_slice(), || By::new(move |_: &Item<u64>, _: &Item<u64>| always), seed)
                .into_iter()
                .for_each(check);
        }
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// Keys of which each code is a different one, and wrong: F51.
#[test]
fn codes_that_lie_lose_nothing() {
    #[derive(Clone)]
    struct Liar(Item<u64>);
    impl SortKey for Liar {
        const CODE_BITS: u32 = 64;
        const EXACT: bool = true;

        fn code(&self) -> u64 {
            self.0.key.rotate_left(9) ^ self.0.sequence as u64
        }

        fn compare(&self, _other: &Self) -> Ordering {
            Ordering::Greater
        }
    }
    fn property(runs: Runs<u64>) -> bool {
        let input = || runs.as_slice().iter().map(|run| run.iter().copied().map(Liar));
        assert_complete(&merge(input()).map(|liar| liar.0).collect::<Vec<_>>(), runs.as_slice());
        let mut merge = merge(input());
        let stepwise: Vec<_> = std::iter::from_fn(|| merge.next()).map(|liar| liar.0).collect();
        assert_complete(&stepwise, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
}

/// F51: a comparator for which NaN is equal to everything is not transitive.
#[test]
fn not_a_number_loses_nothing() {
    fn property(runs: Runs<f64>) -> bool {
        let partial = |a: &Item<f64>, b: &Item<f64>| a.key.partial_cmp(&b.key).unwrap_or(Ordering::Equal);
        let out: Vec<_> = merge_by(runs.clone().into_vec(), partial).collect();
        assert_complete(&out, runs.as_slice());
        // By their total order, they have their place.
        let total = |a: &Item<f64>, b: &Item<f64>| a.key.total_cmp(&b.key);
        let out: Vec<_> = merge_by(runs.clone().into_vec(), total).collect();
        assert_merged(&out, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<f64>) -> bool);
}

/// F48.
#[test]
fn unsorted_sources_lose_nothing() {
    fn property<K: TestKey>(runs: Runs<K>, seed: u64) -> bool {
        let runs = unsorted(&runs, &mut Random::seed(seed));
        let check = |out: Items<K>| assert_complete(&out, &runs);
        merged_by(&runs, || Natural, seed).into_iter().for_each(check);
        merged_by(&runs, || By::new(natural), seed).into_iter().for_each(check);
        true
    }
    fn check<K: TestKey>() {
        QuickCheck::new().tests(50).quickcheck(property as fn(Runs<K>, u64) -> bool);
    }
    for_each_key!(check);
}

/// F43: duplicates of one source come one after another, before those of later sources.
#[test]
fn duplicates_inside_a_source_stay_together() {
    let runs = Runs::from_keys(vec![vec![5_u64; 4], vec![5; 3], vec![1, 5, 5, 9]]);
    let identities: Vec<_> = merge(runs.into_vec()).map(|item| item.identity()).skip(1).take(9).collect();
    let expected = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)];
    assert_eq!(identities, expected);
}

/// What comes out if the sources from `before` on are pushed when `taken` items are out.
fn expected_with_push(runs: &[Items<u64>], before: usize, taken: usize) -> Items<u64> {
    let mut expected = merged(&runs[..before]);
    expected.truncate(taken);
    let gone: HashSet<_> = expected.iter().map(Item::identity).collect();
    let rest =
        |run: &Items<u64>| run.iter().filter(|item| !gone.contains(&item.identity())).copied().collect();
    expected.extend(merged(&runs.iter().map(rest).collect::<Vec<_>>()));
    expected
}

fn pushed_into_tree(runs: &[Items<u64>], before: usize, taken: usize) -> Items<u64> {
    let mut sources: Vec<_> = runs.iter().map(|run| run.iter().copied()).collect();
    let mut tree: LoserTree<_, _> = LoserTree::new(Natural, sources[..before].iter_mut().map(Iterator::next));
    let mut out = Vec::new();
    while out.len() < taken {
        let (source, _) = tree.winner().unwrap();
        out.extend(tree.set_head(source, sources[source].next()));
    }
    // The winner is asked for before and after, as one who peeks does.
    tree.winner();
    for (index, source) in sources.iter_mut().enumerate().skip(before) {
        assert_eq!(tree.push(source.next()), index);
        tree.winner();
    }
    while let Some((source, item)) = tree.pop() {
        out.push(item);
        tree.set_head(source, sources[source].next());
    }
    out
}

/// F46: a source that joins misses no wake-up.
fn pushed_async(runs: &[Items<u64>], before: usize, taken: usize, seed: u64) -> Items<u64> {
    let stage = Stage::new();
    let mut sources = stage.sources_of(runs.to_vec(), &mut Random::seed(seed), pauses(seed)).into_iter();
    let mut merge = ProxyResponseLoserTree::new(sources.by_ref().take(before));
    let mut driver = stage.driver(seed);
    let mut out = driver.run_up_to(&mut merge, taken).items;
    for (index, source) in sources.enumerate() {
        assert_eq!(merge.push(source).unwrap(), before + index);
    }
    out.extend(driver.run(&mut merge).items);
    stage.log().assert_closed();
    out.into_iter().map(Result::unwrap).collect()
}

/// F16: a source that joins repeats neither the winner nor anything else.
#[test]
fn sources_pushed_while_merging_repeat_nothing() {
    fn property(runs: Runs<u64>, seed: u64, before: usize, taken: usize) -> bool {
        let before = before % (runs.sources() + 1);
        let runs = runs.as_slice();
        // The last item of the first sources leaves the async merge open, `None` would close it.
        let taken = taken % (runs[..before].iter().map(Vec::len).sum::<usize>() + 1);
        let expected = expected_with_push(runs, before, taken);
        assert_same(&pushed_into_tree(runs, before, taken), &expected);
        assert_same(&pushed_async(runs, before, taken, seed), &expected);
        true
    }
    quickcheck(property as fn(Runs<u64>, u64, usize, usize) -> bool);
}

#[test]
fn a_restless_task_does_not_change_the_order() {
    fn property(runs: Runs<String>, seed: u64) -> bool {
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), 0.4);
        let mut merge = ProxyResponseLoserTree::new(sources);
        assert_merged(&stage.driver(seed).restless(0.3).run(&mut merge).ok(), runs.as_slice());
        stage.log().assert_closed();
        true
    }
    quickcheck(property as fn(Runs<String>, u64) -> bool);
}

#[test]
fn each_async_item_comes_with_its_source() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), pauses(seed));
        let mut merge = ProxyResponseLoserTree::new(sources);
        let mut stream = stream::poll_fn(|cx| merge.poll_next_with_source(cx));
        let numbered = stage.driver(seed).run(&mut stream).ok();
        assert!(numbered.iter().all(|(source, item)| *source == item.source));
        assert_merged(&numbered.into_iter().map(|(_, item)| item).collect::<Vec<_>>(), runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

#[test]
fn streams_and_boxed_sources_are_merged_alike() {
    fn property(runs: Runs<String>) -> bool {
        let source =
            |run: &Items<String>| from_stream(stream::iter(run.clone()).map(Ok::<_, String>)).boxed();
        let merge = ProxyResponseLoserTree::new(runs.as_slice().iter().map(source));
        let out: Vec<_> = futures::executor::block_on(merge.map(Result::unwrap).collect());
        assert_merged(&out, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<String>) -> bool);
}
