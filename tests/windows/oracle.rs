//! What comes out is the stable merge.

use losertree::SortKey;
use losertree::key::{By, ByKey, Natural, Reversed};
use losertree::merge::window::RowOrder;
use losertree::merge_batches;
use losertree_testkit::{
    Item, Random, Runs, TestKey, assert_merged, assert_same, for_each_key, inputs, merged, merged_by,
};
use quickcheck::QuickCheck;

use crate::by_hand::{Sizes, items_of, merge_by_hand};

type Batches<K> = Vec<Vec<Vec<Item<K>>>>;

fn cut<K: Clone>(runs: &[Vec<Item<K>>], sizes: Sizes, random: &mut Random) -> Batches<K> {
    runs.iter().map(|run| sizes.cut(run, random)).collect()
}

/// Merges by hand with windows of any size, of few rows and of one.
fn check<K: SortKey + Clone + std::fmt::Debug, O: RowOrder<Vec<Item<K>>>>(
    sources: &Batches<K>,
    order: impl Fn() -> O,
    expected: &[Item<K>],
    random: &mut Random,
) {
    let all = merge_by_hand(sources.clone(), order(), |_| usize::MAX, random);
    assert_same(&items_of(sources, &all), expected);
    let few = merge_by_hand(sources.clone(), order(), |random| random.below(40), random);
    assert_eq!(few, all);
}

fn check_all<K: SortKey + Clone + std::fmt::Debug>(runs: &Runs<K>, random: &mut Random) {
    let runs = runs.as_slice();
    let expected = merged(runs);
    for sizes in Sizes::ALL {
        let sources = cut(runs, sizes, random);
        check(&sources, || Natural, &expected, random);
        check(&sources, || By::new(SortKey::compare), &expected, random);
        check(&sources, || ByKey::new(|item: &Item<K>| item.key.clone()), &expected, random);
        assert_same(&merge_batches(sources).collect(), &expected);
    }
    let mut downwards = runs.to_vec();
    for run in &mut downwards {
        run.sort_by(|a, b| b.compare(a));
    }
    let expected = merged_by(&downwards, |a, b| b.compare(a));
    check(&cut(&downwards, Sizes::Mixed(20), random), || Reversed(Natural), &expected, random);
}

#[test]
fn is_what_the_oracle_says_for_all_keys() {
    fn of_key<K: TestKey>() {
        fn property<K: TestKey>(runs: Runs<K>, seed: u64) -> bool {
            check_all(&runs, &mut Random::seed(seed));
            true
        }
        QuickCheck::new().tests(30).quickcheck(property::<K> as fn(Runs<K>, u64) -> bool);
    }
    for_each_key!(of_key);
}

type Shape = fn(u64, usize, usize) -> Vec<Vec<u64>>;

const SHAPES: [Shape; 6] = [
    inputs::uniform,
    inputs::long_runs,
    inputs::duplicates,
    inputs::skewed,
    inputs::disjoint,
    |_, sources, rows| vec![vec![7; rows / sources.max(1)]; sources],
];

#[test]
fn is_what_the_oracle_says_for_much_of_each_shape() {
    let mut random = Random::seed(1);
    for shape in SHAPES {
        for fan_in in [0, 1, 2, 3, 16, 17, 300] {
            let keys = if fan_in == 0 { Vec::new() } else { shape(random.next_u64(), fan_in, 40_000) };
            let texts = keys.iter().map(|run| run.iter().map(|key| format!("{key:030}")).collect()).collect();
            let pairs = keys.iter().map(|run| run.iter().map(|key| (key >> 50, *key)).collect()).collect();
            for sizes in [Sizes::Same(8192), Sizes::Mixed(2000), Sizes::Same(61), Sizes::Huge] {
                of_keys(Runs::<u64>::from_keys(keys.clone()), sizes, &mut random);
            }
            of_keys(Runs::<String>::from_keys(texts), Sizes::Mixed(2000), &mut random);
            of_keys(Runs::<(u64, u64)>::from_keys(pairs), Sizes::Same(1024), &mut random);
        }
    }
}

fn of_keys<K: SortKey + Clone + std::fmt::Debug>(runs: Runs<K>, sizes: Sizes, random: &mut Random) {
    let expected = merged(runs.as_slice());
    let sources = cut(runs.as_slice(), sizes, random);
    check(&sources, || Natural, &expected, random);
    check(&sources, || By::new(SortKey::compare), &expected, random);
    let mut merge = merge_batches(sources.clone());
    let mut block = Vec::new();
    while merge.next_block(&mut block, 1 + random.below(3000)) > 0 {}
    assert_same(&block, &expected);
    let folded = merge_batches(sources).fold(Vec::new(), |mut all, item| {
        all.push(item);
        all
    });
    assert_same(&folded, &expected);
}

/// Ties are of several batches of one source, and of all sources.
#[test]
fn ties_go_on_across_batches() {
    let mut random = Random::seed(2);
    for _ in 0..100 {
        let fan_in = 1 + random.below(20);
        let keys = (0..fan_in).map(|_| vec![random.below(3) as u64 + 7; random.below(500)]).collect();
        let runs = Runs::<u64>::from_keys(keys);
        let sources = cut(runs.as_slice(), Sizes::Mixed(30), &mut random);
        let rows = merge_by_hand(sources.clone(), Natural, |random| random.below(100), &mut random);
        assert_merged(&items_of(&sources, &rows), runs.as_slice());
    }
}

/// Whatever the order of the rows, each comes once, and those of a source in their own order.
#[test]
fn unsorted_batches_come_once_and_in_their_own_order() {
    let mut random = Random::seed(3);
    for round in 0..200 {
        let fan_in = 1 + random.below(if round % 10 == 0 { 300 } else { 20 });
        let rows = 3 + random.below(20_000 / fan_in);
        let few = random.chance(0.3);
        let mut key = || if few { random.next_u64() % 5 } else { random.next_u64() };
        let keys: Vec<Vec<u64>> = (0..fan_in).map(|_| (0..rows).map(|_| key()).collect()).collect();
        let sources: Vec<Vec<Vec<u64>>> =
            keys.iter().map(|run| Sizes::Mixed(3000).cut(run, &mut random)).collect();
        let texts: Vec<Vec<Vec<String>>> = sources
            .iter()
            .map(|batches| {
                batches.iter().map(|batch| batch.iter().map(|key| format!("{key:025}")).collect()).collect()
            })
            .collect();
        check_complete(&sources, &merge_by_hand(sources.clone(), Natural, |_| usize::MAX, &mut random));
        check_complete(
            &sources,
            &merge_by_hand(sources.clone(), By::new(u64::cmp), |_| usize::MAX, &mut random),
        );
        check_complete(&texts, &merge_by_hand(texts.clone(), Natural, |_| usize::MAX, &mut random));
        // An order that is none.
        let mut coin = Random::seed(random.next_u64());
        let order = By::new(move |_: &u64, _: &u64| (coin.below(3) as i32 - 1).cmp(&0));
        check_complete(&sources, &merge_by_hand(sources.clone(), order, |_| usize::MAX, &mut random));
    }
}

pub(crate) fn check_complete<T>(sources: &[Vec<Vec<T>>], rows: &[(usize, usize, usize)]) {
    let mut of_source = vec![Vec::new(); sources.len()];
    for (source, batch, row) in rows {
        of_source[*source].push((*batch, *row));
    }
    for (batches, have) in sources.iter().zip(of_source) {
        let all =
            batches.iter().enumerate().flat_map(|(batch, rows)| (0..rows.len()).map(move |row| (batch, row)));
        assert!(have.into_iter().eq(all));
    }
}
