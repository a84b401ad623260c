//! P1, sync: the output follows one strict total order, the key and then the source, whichever way it is
//! taken out of the merge.
#![allow(clippy::expect_used, clippy::unwrap_used)]
// quickcheck hands over its inputs by value.
#![allow(clippy::needless_pass_by_value)]

mod probe;

use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;
use std::convert::Infallible;

use losertree::key::{By, Natural, Reversed};
use losertree::tree::LoserTree;
use losertree::{SortKey, merge, merge_by, merge_by_key, merge_with, try_merge, try_merge_with};
use losertree_testkit::{
    Item, Random, Runs, TestKey, assert_merged, assert_merged_by, assert_same, for_each_key, inputs, merged,
};
use probe::assert_complete;
use quickcheck::{QuickCheck, quickcheck};

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

fn with_tree<K>(runs: Vec<Items<K>>, compare: impl FnMut(&Item<K>, &Item<K>) -> Ordering) -> Items<K> {
    let mut runs: Vec<_> = runs.into_iter().map(Vec::into_iter).collect();
    let mut tree = LoserTree::new(By::new(compare), runs.iter_mut().map(Iterator::next));
    let mut out = Vec::new();
    while let Some((source, _)) = tree.winner() {
        out.extend(tree.set_head(source, runs[source].next()));
    }
    out
}

fn every_way_gives_the_stable_order<K: TestKey>(runs: Runs<K>) -> bool {
    let expected = merged(runs.as_slice());
    let check = |out: Items<K>| assert_same(&out, &expected);
    let input = || runs.clone().into_vec();
    let key = |item: &Item<K>| item.key.clone();
    let fallible = || input().into_iter().map(|run| run.into_iter().map(Ok::<_, Infallible>));

    check(merge(input()).collect());
    check(merge_by(input(), natural).collect());
    check(merge_by_key(input(), key).collect());
    check(merge_with(input(), Natural).collect());
    check(merge_with(input(), Reversed(Reversed(Natural))).collect());
    check(merge(input()).by_ref().collect());
    check(try_merge(fallible()).map(Result::unwrap).collect());
    check(try_merge_with(fallible(), By::new(natural)).map(Result::unwrap).collect());
    check(with_tree(input(), natural));
    let mut merge = merge(input());
    let sourced: Vec<_> = std::iter::from_fn(|| merge.next_with_source()).collect();
    assert!(sourced.iter().all(|(source, item)| *source == item.source));
    check(sourced.into_iter().map(|(_, item)| item).collect());
    true
}

#[test]
fn every_constructor_gives_the_stable_order() {
    fn check<K: TestKey>() {
        quickcheck(every_way_gives_the_stable_order as fn(Runs<K>) -> bool);
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
    for runs in streaks() {
        // Distinct codes, equal codes of different keys, and keys of which every code is the same.
        let text = |prefix: &'static str| {
            let text = move |key: &u64| format!("{prefix}{key:020}");
            runs.iter().map(|run| run.iter().map(text).collect()).collect()
        };
        assert!(every_way_gives_the_stable_order(Runs::<String>::from_keys(text(""))));
        assert!(every_way_gives_the_stable_order(Runs::<String>::from_keys(text("the same for all"))));
        assert!(every_way_gives_the_stable_order(Runs::from_keys(runs)));
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
        let push = |mut out: Items<K>, item| {
            out.push(item);
            out
        };
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
    fn property<K: TestKey>(runs: Runs<K>) -> bool {
        let runs = descending(&runs);
        let check = |out: Items<K>| assert_merged_by(&out, &runs, |a, b| b.compare(a));
        let input = || runs.clone();
        check(merge_with(input(), Reversed(Natural)).collect());
        check(merge_with(input(), Reversed(Natural)).fold(Vec::new(), |mut out, item| {
            out.push(item);
            out
        }));
        check(merge_with(input(), Reversed(By::new(natural))).collect());
        check(merge_by(input(), |a: &Item<K>, b: &Item<K>| b.compare(a)).collect());
        check(merge_by_key(input(), |item: &Item<K>| Reverse(item.key.clone())).collect());
        true
    }
    fn check<K: TestKey>() {
        quickcheck(property as fn(Runs<K>) -> bool);
    }
    for_each_key!(check);
}

#[test]
fn a_coarse_order_keeps_ties_in_source_order() {
    fn property(runs: Runs<u64>) -> bool {
        // Also within a source: items that are equal keep the order in which it gave them.
        let coarse = |a: &Item<u64>, b: &Item<u64>| (a.key >> 2).cmp(&(b.key >> 2));
        let out: Vec<_> = merge_by(runs.clone().into_vec(), coarse).collect();
        assert_merged_by(&out, runs.as_slice(), coarse);
        let out: Vec<_> = merge_by_key(runs.clone().into_vec(), |item| item.key >> 2).collect();
        assert_merged_by(&out, runs.as_slice(), coarse);
        let out: Vec<_> = merge_by(runs.clone().into_vec(), |_, _| Ordering::Equal).collect();
        assert_eq!(out, runs.into_vec().concat());
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
}

/// The greatest item of a type, and the end, must not be taken for each other: F15.
#[test]
fn exhaustion_is_not_a_value() {
    fn check<K: TestKey>(greatest: &K) {
        for sources in 0..=40 {
            // Some sources are empty, the others end one after another.
            let keys = (0..sources).map(|source| vec![greatest.clone(); source * 7 % 5]).collect();
            let runs: Runs<K> = Runs::from_keys(keys);
            assert_merged(&merge(runs.clone().into_vec()).collect::<Vec<_>>(), runs.as_slice());
            let mut out = Vec::new();
            merge(runs.clone().into_vec()).for_each(|item| out.push(item));
            assert_merged(&out, runs.as_slice());
            let reversed: Vec<_> = merge_with(runs.clone().into_vec(), Reversed(Natural)).collect();
            assert_merged(&reversed, runs.as_slice());
            let reversed: Vec<_> = merge_with(runs.clone().into_vec(), Reversed(By::new(natural))).collect();
            assert_merged(&reversed, runs.as_slice());
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
        let mut random = Random::seed(seed);
        let mut any = move |_: &Item<u64>, _: &Item<u64>| {
            *random.pick(&[Ordering::Less, Ordering::Equal, Ordering::Greater]).unwrap()
        };
        let input = || runs.clone().into_vec();
        assert_complete(&merge_by(input(), &mut any).collect::<Vec<_>>(), runs.as_slice());
        let mut out = Vec::new();
        merge_by(input(), &mut any).for_each(|item| out.push(item));
        assert_complete(&out, runs.as_slice());
        assert_complete(&with_tree(input(), any), runs.as_slice());
        for always in [Ordering::Less, Ordering::Greater] {
            let out: Vec<_> = merge_by(input(), |_, _| always).collect();
            assert_complete(&out, runs.as_slice());
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
        assert_complete(&merge(runs.clone()).collect::<Vec<_>>(), &runs);
        let mut stepwise = merge(runs.clone());
        assert_complete(&std::iter::from_fn(|| stepwise.next()).collect::<Vec<_>>(), &runs);
        assert_complete(&merge_by(runs.clone(), natural).collect::<Vec<_>>(), &runs);
        assert_complete(&with_tree(runs.clone(), natural), &runs);
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

/// F16: a source that joins repeats neither the winner nor anything else.
#[test]
fn sources_pushed_while_merging_repeat_nothing() {
    fn property(runs: Runs<u64>, before: usize, taken: usize) -> bool {
        let before = before % (runs.sources() + 1);
        let mut expected = merged(&runs.as_slice()[..before]);
        expected.truncate(taken % (expected.len() + 1));
        let taken: HashSet<_> = expected.iter().map(Item::identity).collect();
        let rest =
            |run: &Items<u64>| run.iter().filter(|item| !taken.contains(&item.identity())).copied().collect();
        expected.extend(merged(&runs.as_slice().iter().map(rest).collect::<Vec<_>>()));

        let mut sources: Vec<_> = runs.as_slice().iter().map(|run| run.iter().copied()).collect();
        let mut tree: LoserTree<_, _> =
            LoserTree::new(Natural, sources[..before].iter_mut().map(Iterator::next));
        let mut out = Vec::new();
        while out.len() < taken.len() {
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
        assert_same(&out, &expected);
        true
    }
    quickcheck(property as fn(Runs<u64>, usize, usize) -> bool);
}
