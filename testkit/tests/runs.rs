//! Generated runs are what they promise, for each type of key, and stay so when they are shrunk.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::HashSet;

use losertree::SortKey;
use losertree_testkit::{Domain, Random, Runs, TestKey, for_each_key};
use quickcheck::{Arbitrary, Gen};

fn is_consistent<K: SortKey>(runs: &Runs<K>) -> bool {
    runs.as_slice().iter().enumerate().all(|(source, run)| {
        run.is_sorted_by(|a, b| a.compare(b).is_le())
            && run.iter().enumerate().all(|(sequence, item)| item.identity() == (source, sequence))
    })
}

fn generated<K: TestKey>(count: u64) -> impl Iterator<Item = Runs<K>> {
    (0..count).map(|seed| Runs::random(&mut Random::seed(seed), 100))
}

#[test]
fn generated_runs_are_sorted_and_numbered() {
    fn check<K: TestKey>() {
        assert!(generated::<K>(200).all(|runs| is_consistent(&runs)));
        let mut g = Gen::from_size_and_seed(30, 7);
        assert!((0..50).all(|_| is_consistent(&Runs::<K>::arbitrary(&mut g))));
    }
    for_each_key!(check);
}

#[test]
fn an_unsorted_run_would_be_noticed() {
    let mut runs = Runs::from_keys(vec![vec![1_u64, 2]]).into_vec();
    assert!(runs[0].is_sorted_by(|a, b| a.compare(b).is_le()));
    runs[0].swap(0, 1);
    assert!(!runs[0].is_sorted_by(|a, b| a.compare(b).is_le()));
}

#[test]
fn generated_runs_cover_the_shapes_that_matter() {
    fn check<K: TestKey>() {
        let all: Vec<Runs<K>> = generated(300).collect();
        let covers = |what: &str, which: &dyn Fn(&Runs<K>) -> bool| {
            assert!(all.iter().any(which), "no runs {what}");
        };
        covers("without sources", &|runs| runs.sources() == 0);
        covers("of one source", &|runs| runs.sources() == 1 && runs.items() > 1);
        covers("of many sources", &|runs| runs.sources() > 32);
        covers("that are all empty", &|runs| runs.sources() > 1 && runs.items() == 0);
        covers("of very different lengths", &|runs| {
            let lengths = || runs.as_slice().iter().map(Vec::len);
            lengths().any(|length| length == 0) && lengths().any(|length| length > 50)
        });
        covers("with ties between sources", &|runs| {
            let first = runs.as_slice().first().and_then(|run| run.first());
            first.is_some_and(|first| {
                runs.as_slice()[1..].iter().flatten().any(|other| other.compare(first).is_eq())
            })
        });
        assert!(all.iter().all(|runs| runs.sources() <= 40));
    }
    for_each_key!(check);
}

#[test]
fn generated_keys_cover_the_values_that_matter() {
    fn all<K: TestKey>() -> Vec<K> {
        let mut random = Random::seed(1);
        let domains = Domain::ALL.into_iter().cycle().take(3000);
        domains.map(|domain| K::generate(&mut random, domain)).collect()
    }
    let numbers = all::<u64>();
    assert!(numbers.contains(&0) && numbers.contains(&u64::MAX));
    let numbers = all::<i64>();
    assert!(numbers.contains(&i64::MIN) && numbers.contains(&i64::MAX));
    let floats: HashSet<_> = all::<f64>().into_iter().map(f64::to_bits).collect();
    let edges = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN, f64::MAX];
    assert!(edges.iter().all(|edge| floats.contains(&edge.to_bits())));
    let options = all::<Option<u8>>();
    assert!(options.contains(&None) && options.contains(&Some(0)) && options.contains(&Some(u8::MAX)));
    for texts in [all::<Vec<u8>>(), all::<String>().into_iter().map(String::into_bytes).collect()] {
        assert!((0..20).all(|length| texts.iter().any(|text| text.len() == length)));
        assert!(texts.iter().any(|text| text.ends_with(b"\0")));
        assert!(texts.iter().any(|text| text.len() > 150));
        // Equal codes, though the keys are not equal: beyond the eighth byte, and by NULs before it.
        let same_code = |a: &Vec<u8>, b: &Vec<u8>| a != b && a.code() == b.code();
        let short = || texts.iter().filter(|text| text.len() < 8);
        assert!(short().any(|a| short().any(|b| same_code(a, b))));
        let long = || texts.iter().filter(|text| text.len() > 8).take(200);
        assert!(long().any(|a| long().any(|b| same_code(a, b))));
    }
}

#[test]
fn shrinking_keeps_runs_sorted_and_numbered() {
    fn check<K: TestKey>() {
        for runs in generated::<K>(20) {
            assert!(runs.shrink().take(2000).all(|shrunk| is_consistent(&shrunk)));
        }
    }
    for_each_key!(check);
}

/// Shrinks as quickcheck does, for as long as the runs fail.
fn shrunk<K: TestKey>(mut runs: Runs<K>, fails: impl Fn(&Runs<K>) -> bool) -> Runs<K> {
    assert!(fails(&runs), "nothing to shrink");
    for _ in 0..10_000 {
        let Some(simpler) = runs.shrink().find(&fails) else { return runs };
        runs = simpler;
    }
    panic!("shrinking does not come to an end: {runs:?}");
}

#[test]
fn shrinking_comes_to_an_end_at_nothing() {
    fn check<K: TestKey>() {
        let all = generated::<K>(20).collect::<Vec<_>>();
        for runs in &all {
            assert_eq!(shrunk(runs.clone(), |_| true).sources(), 0);
        }
        // And keys by themselves: as many items and sources as there were.
        let small = all.iter().filter(|runs| (1..30).contains(&runs.items())).take(3);
        for runs in small {
            let shape = |runs: &Runs<K>| runs.as_slice().iter().map(Vec::len).collect::<Vec<_>>();
            let end = shrunk(runs.clone(), |simpler| shape(simpler) == shape(runs));
            let mut keys = end.as_slice().iter().flatten();
            let first = &keys.next().unwrap().key;
            assert!(keys.all(|item| item.key.compare(first).is_eq()), "{end:?}");
            assert_eq!(first.simpler().count(), 0);
        }
    }
    for_each_key!(check);
}

#[test]
fn shrinking_finds_the_smallest_that_fails() {
    let runs = generated::<u64>(100).find(|runs| runs.items() > 200).unwrap();
    let two_apart = |runs: &Runs<u64>| runs.as_slice().iter().filter(|run| run.len() >= 2).count() >= 2;
    assert_eq!(shrunk(runs, two_apart), Runs::from_keys(vec![vec![0, 0], vec![0, 0]]));
    let runs = Runs::from_keys(vec![vec![5_u64], vec![1000, 2000], vec![3]]);
    let large = |runs: &Runs<u64>| runs.as_slice().iter().flatten().any(|item| item.key > 700);
    assert_eq!(shrunk(runs, large), Runs::from_keys(vec![vec![701]]));
}

#[test]
fn the_library_merges_them() {
    fn check<K: TestKey>() {
        for runs in generated::<K>(50) {
            let merged: Vec<_> = losertree::merge(runs.clone().into_vec()).collect();
            losertree_testkit::assert_merged(&merged, runs.as_slice());
        }
    }
    for_each_key!(check);
}
