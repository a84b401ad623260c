//! The inputs of the benchmarks have the figures that their documentation states.
#![allow(clippy::cast_precision_loss)]

use std::collections::HashSet;

use losertree_testkit::{Random, inputs};

const ITEMS: usize = 20_000;

/// All keys in order, each with its source.
fn in_order<T: Ord + Clone>(runs: &[Vec<T>]) -> Vec<(T, usize)> {
    let of =
        |(source, run): (usize, &Vec<T>)| run.iter().map(|key| (key.clone(), source)).collect::<Vec<_>>();
    let mut all: Vec<_> = runs.iter().enumerate().flat_map(of).collect();
    all.sort();
    all
}

#[track_caller]
fn assert_about(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance, "{actual} is not about {expected}");
}

/// How many items one source has in a row, on average.
fn mean_run<T: Ord + Clone>(runs: &[Vec<T>]) -> f64 {
    let all = in_order(runs);
    let changes = all.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    all.len() as f64 / (changes + 1) as f64
}

#[test]
fn all_are_sorted_complete_and_repeatable() {
    for sources in [1, 2, 16, 300] {
        for make in [inputs::uniform, inputs::long_runs, inputs::duplicates] {
            let runs = make(1, sources, ITEMS);
            assert_eq!(runs.len(), sources);
            assert_eq!(runs.iter().map(Vec::len).sum::<usize>(), ITEMS);
            assert!(runs.iter().all(|run| run.is_sorted()));
            assert_eq!(runs, make(1, sources, ITEMS));
            assert_ne!(runs, make(2, sources, ITEMS));
        }
        let runs = inputs::labels(1, sources, 600, 2);
        assert!(runs.iter().all(|run| run.is_sorted()));
        assert_eq!(runs.iter().map(Vec::len).sum::<usize>(), 600);
    }
    assert!(inputs::uniform(1, 0, 5).is_empty());
}

#[test]
fn uniform_changes_source_all_the_time() {
    assert_about(mean_run(&inputs::uniform(3, 16, ITEMS)), 16.0 / 15.0, 0.02);
}

#[test]
fn long_runs_are_64_long() {
    for sources in [2, 16, 64] {
        assert_about(mean_run(&inputs::long_runs(3, sources, 4 * ITEMS)), 64.0, 8.0);
    }
}

#[test]
fn duplicates_are_of_16() {
    let distinct: HashSet<_> = inputs::duplicates(3, 16, ITEMS).into_iter().flatten().collect();
    assert_eq!(distinct.len(), 16);
}

#[test]
fn labels_are_long_and_share_much() {
    let all = in_order(&inputs::labels(3, 16, ITEMS, 1));
    assert_about(all.iter().map(|(label, _)| label.len()).sum::<usize>() as f64 / ITEMS as f64, 238.0, 2.0);
    let shared = |pair: &[(String, usize)]| {
        pair[0].0.bytes().zip(pair[1].0.bytes()).take_while(|(a, b)| a == b).count()
    };
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "unique");
    let mean = all.windows(2).map(shared).sum::<usize>() as f64 / (ITEMS - 1) as f64;
    assert_about(mean, 174.0, 1.0);
}

#[test]
fn replicated_labels_are_at_different_sources() {
    let all = in_order(&inputs::labels(3, 16, 1000, 2));
    assert!(all.chunks(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1));
}

#[test]
fn random_is_splitmix64() {
    // The first outputs of the reference implementation for this seed.
    let mut random = Random::seed(1_234_567);
    let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
    assert_eq!(expected.map(|_| random.next_u64()), expected);
}

#[test]
fn random_draws_are_even() {
    let mut random = Random::seed(5);
    let mut counts = [0; 7];
    (0..70_000).for_each(|_| counts[random.below(7)] += 1);
    assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    assert_eq!(random.below(0), 0);
    let hits = (0..10_000).filter(|_| random.chance(0.25)).count();
    assert!((2_300..2_700).contains(&hits), "{hits}");
    assert!((0..1000).all(|_| random.chance(1.0) && !random.chance(0.0)));
    assert_eq!(random.pick::<u8>(&[]), None);
}

#[test]
fn shuffling_reaches_every_permutation() {
    let mut random = Random::seed(5);
    let shuffled = |_| {
        let mut items = [1, 2, 3, 4];
        random.shuffle(&mut items);
        items
    };
    assert_eq!((0..1000).map(shuffled).collect::<HashSet<_>>().len(), 24);
}
