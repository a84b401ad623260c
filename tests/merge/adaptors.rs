//! What a sync merge offers besides its items: peeking, sources, size hints, deduplication, and ways of
//! consuming it of its own.

use std::fmt::Debug;
use std::iter::FusedIterator;

use losertree::key::{By, Natural};
use losertree::{
    Merge, Phase, SortKey, merge, merge_by, merge_by_key, merge_with, try_merge, try_merge_with,
};
use losertree_testkit::{Item, Random, Runs, assert_same, merged};
use quickcheck::{QuickCheck, quickcheck};

use crate::probe::Books;

type Items<K> = Vec<Item<K>>;

fn natural<K: SortKey>(a: &Item<K>, b: &Item<K>) -> std::cmp::Ordering {
    a.key.compare(&b.key)
}

/// What deduplication must see: the merged items in runs of equal keys.
fn runs_of_equals<K: SortKey + Clone>(runs: &[Items<K>]) -> Vec<Items<K>> {
    merged(runs).chunk_by(|a, b| natural(a, b).is_eq()).map(<[_]>::to_vec).collect()
}

#[test]
fn peeking_at_random_changes_nothing() {
    fn property(runs: Runs<String>, seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let mut merge = merge(runs.clone().into_vec());
        for expected in merged(runs.as_slice()) {
            if random.chance(0.5) {
                assert_eq!(merge.peek(), Some(&expected));
            }
            assert_eq!(merge.next_with_source(), Some((expected.source, expected)));
        }
        assert_eq!(merge.peek(), None);
        assert_eq!(merge.next_with_source(), None);
        true
    }
    quickcheck(property as fn(Runs<String>, u64) -> bool);
}

/// After any number of items, what comes back is what would still have been yielded.
#[test]
fn sources_come_back_with_their_heads() {
    fn property(runs: Runs<u64>, taken: usize, peeks: bool) -> bool {
        let books = Books::default();
        let expected = merged(runs.as_slice());
        let taken = taken % (expected.len() + 2);
        let mut merge = merge(books.sources(runs.as_slice().to_vec()));
        let out: Items<u64> = merge.by_ref().take(taken).collect();
        if peeks {
            merge.peek();
        }
        let undrained = merge.into_sources();
        let ended = books.ended();
        let open: Vec<_> = (0..runs.sources()).filter(|index| !ended.contains(index)).collect();
        assert_eq!(undrained.iter().map(|source| source.index).collect::<Vec<_>>(), open);
        assert!(undrained.iter().all(|source| source.index == source.source.index && !source.has_ended));
        if taken == 0 && !peeks {
            assert!(undrained.iter().all(|source| source.head.is_none()));
        }
        let rest = merge_by(undrained.into_iter().map(|it| it.head.into_iter().chain(it.source)), natural);
        assert_same(&out.into_iter().chain(rest).collect::<Vec<_>>(), &expected);
        true
    }
    quickcheck(property as fn(Runs<u64>, usize, bool) -> bool);
}

/// Follows the hints of an iterator to its end.
fn assert_hints<I: Iterator>(mut iterator: I, is_exact: bool) {
    let mut hints = vec![iterator.size_hint()];
    while iterator.next().is_some() {
        hints.push(iterator.size_hint());
    }
    for (left, (low, high)) in hints.into_iter().rev().enumerate() {
        let high = high.expect("an upper bound");
        assert!(low <= left && left <= high, "{low} to {high}, but {left}");
        assert!(!is_exact || low == high, "{low} to {high}");
    }
    assert_eq!(iterator.size_hint(), (0, Some(0)), "after the end");
}

#[test]
fn size_hints_are_right_at_every_step() {
    fn property(runs: Runs<u64>) -> bool {
        let input = || runs.as_slice().iter().map(|run| run.iter().copied());
        assert_hints(merge(input()), true);
        let mut peeked = merge(input());
        peeked.peek();
        assert_hints(peeked, true);
        let filtered = || input().map(|run| run.filter(|item| item.sequence % 3 != 1));
        assert_hints(merge(filtered()), false);
        assert_hints(merge(input()).dedup(), false);
        assert_hints(merge(filtered()).dedup_by(|a, b| a.key / 2 == b.key / 2), false);
        assert_hints(merge(input()).coalesce(|_, _| ()), false);
        let fallible = || runs.as_slice().iter().map(|run| run.iter().map(|item| Ok::<_, ()>(*item)));
        assert_hints(try_merge(fallible()), false);
        let failing = fallible().map(|run| run.map(|item| item.ok().filter(|it| it.sequence != 4).ok_or(())));
        assert_hints(try_merge(failing), false);
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
}

#[test]
fn size_hints_do_not_overflow() {
    let endless = || std::iter::repeat_n(0..=u64::MAX, 3);
    assert_eq!(merge(endless()).size_hint(), (usize::MAX, None));
    let mut started = merge(endless());
    started.next();
    assert_eq!(started.size_hint(), (usize::MAX, None));
    assert_eq!(try_merge(endless().map(|run| run.map(Ok::<_, ()>))).size_hint(), (1, None));
    // Of one that is not started, nothing is held back.
    assert_eq!(merge(endless()).dedup().size_hint(), (1, None));
}

/// The end is the end, though the sources would panic if they were asked again.
#[test]
fn merges_are_fused() {
    fn check(mut iterator: impl FusedIterator) {
        assert_eq!(iterator.by_ref().count(), 2);
        for _ in 0..3 {
            assert!(iterator.next().is_none());
            assert_eq!(iterator.size_hint(), (0, Some(0)));
        }
    }
    let books = Books::default();
    let sources = || books.sources([vec![1], vec![2], vec![]]);
    check(merge(sources()));
    check(merge(sources()).dedup());
    check(merge(sources()).dedup_by(|a, b| a == b));
    check(merge(sources()).coalesce(|_, _| ()));
    check(try_merge(books.sources([vec![Ok(1), Err("gone"), Ok(1)], vec![Ok(3)]])));
    check(try_merge(books.sources([vec![Ok(1)], vec![Ok::<_, ()>(3)]])));
}

#[test]
fn deduplication_keeps_the_first_of_each_run() {
    fn property(runs: Runs<String>) -> bool {
        let expected: Items<String> =
            runs_of_equals(runs.as_slice()).iter().map(|run| run[0].clone()).collect();
        let input = || runs.clone().into_vec();
        assert_same(&merge(input()).dedup().collect::<Vec<_>>(), &expected);
        assert_same(&merge_by(input(), natural).dedup().collect::<Vec<_>>(), &expected);
        let by_key = merge_by_key(input(), |item| item.key.clone());
        assert_same(&by_key.dedup().collect::<Vec<_>>(), &expected);
        let by = merge(input()).dedup_by(|a, b| a.key == b.key);
        assert_same(&by.collect::<Vec<_>>(), &expected);
        true
    }
    quickcheck(property as fn(Runs<String>) -> bool);
}

/// Each run is compared with its first item, which is the one that is kept.
#[test]
fn deduplication_by_a_relation_compares_with_what_is_kept() {
    fn property(runs: Runs<u64>) -> bool {
        let same = |a: &Item<u64>, b: &Item<u64>| b.key - a.key <= 1;
        let mut expected: Items<u64> = Vec::new();
        for item in merged(runs.as_slice()) {
            if expected.last().is_none_or(|kept| !same(kept, &item)) {
                expected.push(item);
            }
        }
        assert_same(&merge(runs.into_vec()).dedup_by(same).collect::<Vec<_>>(), &expected);
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
    let merge = merge([vec![1, 3, 5], vec![2, 4]]);
    assert_eq!(merge.dedup_by(|a, b| b - a <= 1).collect::<Vec<_>>(), [1, 3, 5]);
}

/// F20: which of the duplicates is kept depends on nothing but the order of the sources. F34: neither a
/// deduplication before nor the number of copies changes the order among equal keys.
#[test]
fn equal_items_are_combined_in_source_order() {
    fn property(runs: Runs<u64>) -> bool {
        let whole = |run: &Vec<Item<u64>>| run.iter().map(|item| (*item, vec![item.identity()])).collect();
        let input: Vec<Vec<(Item<u64>, Vec<_>)>> = runs.as_slice().iter().map(whole).collect();
        let combined =
            merge_with(input, By::new(|a: &(Item<u64>, _), b: &(Item<u64>, _)| natural(&a.0, &b.0)))
                .coalesce(|all, mut next| all.1.append(&mut next.1));
        let seen: Vec<Vec<_>> = combined.map(|(_, identities)| identities).collect();
        let expected: Vec<Vec<_>> = runs_of_equals(runs.as_slice())
            .iter()
            .map(|run| run.iter().map(Item::identity).collect())
            .collect();
        assert_eq!(seen, expected);
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
}

/// Takes items by `next` alone.
struct Stepwise<I>(I);

impl<I: Iterator> Iterator for Stepwise<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.0.next()
    }
}

/// Whatever is specialised does the same as `next`, from every place (as in the tests of itertools).
fn assert_specialised<I: Iterator<Item: Debug + PartialEq>>(make: impl Fn() -> I) {
    let length = Stepwise(make()).count();
    for taken in 0..length + 2 {
        let start = || {
            let mut iterator = make();
            iterator.by_ref().take(taken).for_each(drop);
            iterator
        };
        let expected: Vec<_> = Stepwise(start()).collect();
        let mut seen = Vec::new();
        start().for_each(|item| seen.push(item));
        assert_eq!(seen, expected, "for_each");
        assert_eq!(start().collect::<Vec<_>>(), expected, "collect");
        assert_eq!(start().count(), expected.len());
        assert_eq!(start().last().as_ref(), expected.last());
        let (even, odd): (Vec<_>, Vec<_>) = start().enumerate().partition(|(at, _)| at % 2 == 0);
        assert_eq!((even.len(), odd.len()), (expected.len().div_ceil(2), expected.len() / 2));
        for n in [0, 1, 2, length] {
            let mut iterator = start();
            assert_eq!(iterator.nth(n).as_ref(), expected.get(n), "nth");
            assert!(iterator.eq(Stepwise(start()).skip(n + 1)), "after nth");
            let mut iterator = start();
            let mut left = n;
            let all = iterator.all(|_| left.checked_sub(1).map(|less| left = less).is_some());
            assert_eq!(all, expected.len() <= n);
            assert!(iterator.eq(Stepwise(start()).skip(n + 1)), "after a short circuit");
        }
    }
}

#[test]
fn folding_does_the_same_as_stepping_from_every_place() {
    fn property(runs: Runs<u64>) -> bool {
        let input = || runs.as_slice().iter().map(|run| run.iter().copied().take(12)).take(12);
        assert_specialised(|| merge(input()));
        assert_specialised(|| merge_by(input(), natural));
        assert_specialised(|| merge(input()).dedup());
        assert_specialised(|| merge(input()).coalesce(|_, _| ()));
        assert_specialised(|| {
            try_merge(
                input().map(|run| {
                    run.map(|item| if item.sequence == 9 { Err(item.identity()) } else { Ok(item) })
                }),
            )
        });
        true
    }
    QuickCheck::new().tests(30).quickcheck(property as fn(Runs<u64>) -> bool);
}

/// A clone has its own heads, its own books of what is owed, and the same future.
#[test]
fn a_clone_of_a_peeked_merge_is_independent() {
    let mut original = merge([vec![1, 4], vec![2, 3]]);
    original.next();
    original.peek();
    let clone: Merge<_, Natural> = original.clone();
    assert_eq!(original.collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(clone.collect::<Vec<_>>(), [2, 3, 4]);
}

/// F17, F21, F42: the first error ends the merge, after the items before it, once, and names its source;
/// everything has been released when it is seen.
#[test]
fn the_first_error_ends_a_merge_of_results() {
    fn property(runs: Runs<u64>, places: Vec<u8>) -> bool {
        // Some sources fail in the place of one of their items, or after the last.
        let place = |index: usize| places.get(index).map(|place| usize::from(*place) % 12);
        let fails = |item: &Item<u64>| place(item.source) == Some(item.sequence);
        let with_end = |(index, run): (usize, &Items<u64>)| {
            let mut results: Vec<Result<Item<u64>, usize>> =
                run.iter().map(|item| if fails(item) { Err(index) } else { Ok(*item) }).collect();
            if place(index) == Some(run.len()) {
                results.push(Err(index));
            }
            results
        };
        let results: Vec<_> = runs.as_slice().iter().enumerate().map(with_end).collect();
        // A source is asked for its successor when its item is out, so that is where an error comes.
        let next = |source: usize, after: usize| results[source].get(after).filter(|next| next.is_err());
        let mut expected = Vec::new();
        let at_first = (0..results.len()).find(|source| next(*source, 0).is_some());
        let mut failing = at_first;
        if at_first.is_none() {
            for item in merged(runs.as_slice()) {
                expected.push(item);
                failing = next(item.source, item.sequence + 1).map(|_| item.source);
                if failing.is_some() {
                    break;
                }
            }
        }

        let books = Books::default();
        let mut merge = try_merge_with(books.sources(results.clone()), By::new(natural));
        let mut out = Vec::new();
        let mut error = None;
        while let Some(next) = merge.next_with_source() {
            match next {
                Ok((source, item)) => {
                    assert_eq!(source, item.source);
                    out.push(item);
                }
                Err(met) => {
                    assert_eq!(books.dropped().len(), runs.sources(), "released before it is yielded");
                    assert!(error.replace(met).is_none(), "once");
                }
            }
        }
        assert_same(&out, &expected);
        let met = error.map(|error| {
            (error.path().index().unwrap(), error.phase().unwrap(), error.into_source_error().unwrap())
        });
        let phase = if at_first.is_some() { Phase::Filling } else { Phase::Merging };
        assert_eq!(met, failing.map(|source| (source, phase, source)));
        assert!(merge.next().is_none());
        if failing.is_some() {
            assert!(merge.into_sources().is_empty());
        }
        true
    }
    quickcheck(property as fn(Runs<u64>, Vec<u8>) -> bool);
}

#[test]
fn sources_of_results_come_back_with_their_heads() {
    let mut merge = try_merge([vec![Ok(1), Ok(5)], vec![Ok(2), Err("gone")], vec![Ok(9)]]);
    assert_eq!((merge.next(), merge.next_with_source()), (Some(Ok(1)), Some(Ok((1, 2)))));
    let rest: Vec<_> =
        merge.into_sources().into_iter().map(|it| (it.index, it.head, it.source.collect())).collect();
    assert_eq!(rest, [(0, Some(5), vec![]), (1, None, vec![Err("gone")]), (2, Some(9), vec![])]);
}
