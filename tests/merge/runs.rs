//! Merging of runs in memory: what the oracle says, whatever the shape, the type and the number of threads.

use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use losertree::key::{By, ByKey, Natural, Reversed};
use losertree::{SortKey, merge, merge_runs, merge_runs_with, merge_with};
use losertree_testkit::{
    Comparisons, Item, Random, Runs, TestKey, assert_merged, assert_merged_by, assert_same, for_each_key,
    inputs, merged, panic_at, silence_scripted_panics,
};
use quickcheck::{Gen, QuickCheck, quickcheck};

use crate::probe::assert_complete;

/// More than there are in a portion of anything that is merged here.
const MANY: usize = 50_000;

/// Fan-ins with and without a lone run at some level.
const FAN_INS: [usize; 7] = [1, 2, 3, 8, 17, 64, 300];

type Shape = fn(&mut Random, usize, usize) -> Vec<Vec<u64>>;

/// Inputs that differ in how the runs interleave. They are given a seed, the fan-in and the number of items.
const SHAPES: [(&str, Shape); 8] = [
    ("uniform", |random, k, n| inputs::uniform(random.next_u64(), k, n)),
    ("long runs", |random, k, n| inputs::long_runs(random.next_u64(), k, n)),
    ("duplicates", |random, k, n| inputs::duplicates(random.next_u64(), k, n)),
    ("one key", |_, k, n| vec![vec![7; n / k]; k]),
    ("skewed", |random, k, n| {
        let mut runs = inputs::uniform(random.next_u64(), k, n / 10);
        let large = random.below(k);
        runs[large].extend((0..n - n / 10).map(|_| random.next_u64()));
        runs
    }),
    ("disjoint", |random, k, n| {
        let mut runs: Vec<Vec<u64>> = (0..k as u64)
            .map(|run| (0..(n / k) as u64).map(|item| (run << 32) + item / 3).collect())
            .collect();
        let by = random.below(k);
        runs.rotate_left(by);
        runs
    }),
    ("some empty", |random, k, n| {
        let mut runs = inputs::uniform(random.next_u64(), k, n);
        for run in &mut runs {
            if random.chance(0.5) {
                run.truncate(random.below(3));
            }
        }
        runs
    }),
    ("even, with ties", |random, k, n| {
        let mut runs: Vec<Vec<u64>> =
            (0..k).map(|_| (0..n / k).map(|_| random.below(n / 3) as u64).collect()).collect();
        for run in &mut runs {
            run.sort_unstable();
        }
        runs
    }),
];

/// Calls a check with large inputs of all shapes.
fn for_each_shape(items: usize, fan_ins: &[usize], check: impl Fn(&str, Vec<Vec<u64>>)) {
    let mut random = Random::seed(11);
    for (name, make) in SHAPES {
        for &fan_in in fan_ins {
            check(&format!("{name}, K = {fan_in}"), make(&mut random, fan_in, items));
        }
    }
}

fn natural<K: SortKey>(a: &Item<K>, b: &Item<K>) -> Ordering {
    a.compare(b)
}

/// Merges in all ways.
fn check_all<K: SortKey + Clone + std::fmt::Debug>(runs: &Runs<K>) {
    let (slices, expected) = (runs.as_slice(), merged(runs.as_slice()));
    let mut out = Vec::new();
    merge_runs(slices, &mut out);
    assert_same(&out, &expected);
    out.clear();
    merge_runs_with(slices, &mut out, By::new(natural));
    assert_same(&out, &expected);
    out.clear();
    merge_runs_with(slices, &mut out, ByKey::new(|item: &Item<K>| item.key.clone()));
    assert_same(&out, &expected);
    assert_same(&merge(slices.to_vec()).collect::<Vec<_>>(), &expected);

    let mut downwards = slices.to_vec();
    for run in &mut downwards {
        run.sort_by(|a, b| natural(b, a));
    }
    out.clear();
    merge_runs_with(&downwards, &mut out, Reversed(Natural));
    assert_merged_by(&out, &downwards, |a, b| natural(b, a));
    assert_same(&merge_with(downwards, Reversed(Natural)).collect::<Vec<_>>(), &out);
}

#[test]
fn is_what_the_oracle_says_for_all_keys() {
    fn of_key<K: TestKey>() {
        fn property<K: TestKey>(runs: Runs<K>) -> bool {
            check_all(&runs);
            true
        }
        QuickCheck::new().tests(60).quickcheck(property::<K> as fn(Runs<K>) -> bool);
    }
    for_each_key!(of_key);
}

#[test]
fn is_what_the_oracle_says_for_much_of_each_shape() {
    for_each_shape(MANY, &FAN_INS, |_, keys| {
        let runs = Runs::from_keys(keys);
        let mut out = Vec::new();
        merge_runs(runs.as_slice(), &mut out);
        assert_merged(&out, runs.as_slice());
        out.clear();
        merge_runs_with(runs.as_slice(), &mut out, By::new(natural));
        assert_merged(&out, runs.as_slice());
    });
}

#[test]
fn is_what_the_oracle_says_for_items_that_stay_where_they_are() {
    for_each_shape(MANY, &[3, 40], |_, keys| {
        let pairs = |keys: &[Vec<u64>]| -> Vec<Vec<_>> {
            keys.iter().map(|run| run.iter().map(|key| (key >> 3, *key)).collect()).collect()
        };
        check_all(&Runs::<(u64, u64)>::from_keys(pairs(&keys)));
        let texts = keys.iter().map(|run| run.iter().map(|key| format!("{key:020}")).collect());
        check_all(&Runs::<String>::from_keys(texts.collect()));
    });
}

#[test]
fn is_what_the_oracle_says_for_keys_that_begin_alike() {
    for_each_shape(20_000, &[9, 40], |_, keys| {
        let of = |make: &dyn Fn(&u64) -> String| -> Vec<Vec<_>> {
            keys.iter().map(|run| run.iter().map(make).collect()).collect()
        };
        check_all(&Runs::<String>::from_keys(of(&|key| format!("__name__={key:020}"))));
        // Ends in the middle of a column, and one in the middle of another.
        check_all(&Runs::<String>::from_keys(of(&|key| format!("{:09}{}", 0, key % 2000))));
        let pairs = |key: &u64| (format!("{:030}", key >> 40), format!("{}", key % 100).into_bytes());
        let pairs = keys.iter().map(|run| run.iter().map(pairs).collect()).collect();
        check_all(&Runs::<(String, Vec<u8>)>::from_keys(pairs));
    });
}

/// A key of a group of a group: each level begins alike, and for longer than a code can tell.
fn of_a_group(key: u64) -> String {
    format!("of a group {} of a group {} of {:012}", key >> 62, key >> 60 & 3, key & 0xFFFF_FFFF)
}

#[test]
fn is_what_the_oracle_says_for_keys_of_few_groups() {
    for_each_shape(20_000, &[2, 4, 9, 40], |_, keys| {
        let texts = keys.iter().map(|run| run.iter().map(|key| of_a_group(*key)).collect());
        check_all(&Runs::<String>::from_keys(texts.collect()));
        // The group is a part of its own, or in the middle of one.
        let pairs = |key: &u64| (format!("{:030}", key >> 62), of_a_group(key << 2).into_bytes());
        let pairs = keys.iter().map(|run| run.iter().map(pairs).collect()).collect();
        check_all(&Runs::<(String, Vec<u8>)>::from_keys(pairs));
    });
}

/// Bytes that a code may take for its own, and lengths around that of a column.
#[test]
fn is_what_the_oracle_says_for_all_bytes() {
    fn property(seed: u64, fan_in: u8, longest: u8) -> bool {
        let mut random = Random::seed(seed);
        let (fan_in, longest) = (9 + usize::from(fan_in % 30), 1 + usize::from(longest % 24));
        let mut key = || -> Vec<u8> {
            let mut key = vec![0xFF; if random.chance(0.9) { 8 } else { random.below(9) }];
            key.extend((0..random.below(longest)).map(|_| [0, 1, 0x7F, 0xFF][random.below(4)]));
            key
        };
        let keys = (0..fan_in).map(|_| (0..30).map(|_| key()).collect()).collect();
        check_all(&Runs::<Vec<u8>>::from_keys(keys));
        true
    }
    QuickCheck::new().tests(300).quickcheck(property as fn(u64, u8, u8) -> bool);
}

#[test]
fn keys_are_longer_than_their_codes_can_tell() {
    let mut random = Random::seed(3);
    let mut key = |_| {
        let mut key = vec![b'a'; 5 * 65_535 - 8 + random.below(16)];
        key.extend((0..random.below(8)).map(|_| b'a' + u8::from(random.chance(0.3))));
        key
    };
    let keys = (0..12).map(|_| (0..4).map(&mut key).collect()).collect();
    let runs = Runs::<Vec<u8>>::from_keys(keys);
    let mut out = Vec::new();
    merge_runs(runs.as_slice(), &mut out);
    assert_merged(&out, runs.as_slice());
}

/// Where there are offset-value codes, items that are not sorted have none against the one before.
#[test]
fn each_run_of_text_comes_out_in_its_own_order_though_none_is_sorted() {
    for_each_shape(20_000, &[2, 9, 64], |_, keys| {
        for make in [(|key| format!("{key:030}")) as fn(u64) -> String, of_a_group] {
            let text = |item: Item<u64>| Item::new(make(item.key), item.source, item.sequence);
            let runs: Vec<Vec<_>> = unsorted(keys.clone(), &mut Random::seed(5))
                .into_iter()
                .map(|run| run.into_iter().map(text).collect())
                .collect();
            let mut out = Vec::new();
            merge_runs(&runs, &mut out);
            assert_complete(&out, &runs);
        }
    });
}

#[test]
fn nothing_comes_of_nothing() {
    let mut out = vec![1_u8];
    merge_runs::<u8, Vec<u8>>(&[], &mut out);
    merge_runs(&[[]; 3], &mut out);
    merge_runs_with(&[[]; 3], &mut out, By::new(|_, _| unreachable!("there is nothing to compare")));
    assert_eq!(out, [1]);
    assert_eq!(merge(Vec::<Vec<u8>>::new()).collect::<Vec<_>>(), []);

    merge_runs_with(
        &[vec![], vec![9, 3], vec![]],
        &mut out,
        By::new(|_, _| unreachable!("one run is alone")),
    );
    assert_eq!(out, [1, 9, 3]);
    let mut units = Vec::new();
    merge_runs(&[vec![(); 1000], vec![(); 234]], &mut units);
    assert_eq!(units.len(), 1234);
}

#[test]
fn appends_to_what_is_there() {
    fn property(before: Vec<u64>, runs: Runs<u64>) -> bool {
        let mut out = before.clone();
        merge_runs(&runs.keys(), &mut out);
        let mut keys = runs.keys().concat();
        keys.sort_unstable();
        out == [before, keys].concat()
    }
    quickcheck(property as fn(Vec<u64>, Runs<u64>) -> bool);
}

/// The keys of the runs, with the order of each run destroyed.
fn unsorted(runs: Vec<Vec<u64>>, random: &mut Random) -> Vec<Vec<Item<u64>>> {
    let run = |(source, mut run): (usize, Vec<u64>)| {
        for index in 1..run.len() {
            run.swap(index, random.below(index + 1));
        }
        run.into_iter().enumerate().map(|(sequence, key)| Item::new(key, source, sequence)).collect()
    };
    runs.into_iter().enumerate().map(run).collect()
}

#[test]
fn each_run_comes_out_in_its_own_order_though_none_is_sorted() {
    for_each_shape(MANY, &FAN_INS, |_, keys| {
        let runs = unsorted(keys, &mut Random::seed(5));
        let mut out = Vec::new();
        merge_runs(&runs, &mut out);
        assert_complete(&out, &runs);
        assert_complete(&merge(runs.clone()).collect::<Vec<_>>(), &runs);
    });
}

#[test]
fn each_run_comes_out_in_its_own_order_though_the_comparator_contradicts_itself() {
    for_each_shape(MANY, &FAN_INS, |_, keys| {
        let runs = Runs::from_keys(keys).into_vec();
        let mut random = Random::seed(6);
        let mut out = Vec::new();
        merge_runs_with(&runs, &mut out, By::new(|_, _| 1.cmp(&random.below(3))));
        assert_complete(&out, &runs);
    });
}

/// Calls a check with the number of a comparison to fail at: each of the first ones, and some of the others.
fn for_each_comparison(comparisons: usize, check: impl Fn(usize)) {
    (1..=comparisons.min(100)).chain((100..=comparisons).step_by(9973)).for_each(check);
}

#[test]
fn what_was_appended_before_a_panic_are_the_first_items() {
    silence_scripted_panics();
    for (items, fan_in) in [(400, 5), (MANY, 20)] {
        let runs = Runs::from_keys(inputs::uniform(8, fan_in, items));
        let comparisons = Comparisons::new();
        merge_runs_with(runs.as_slice(), &mut Vec::new(), By::new(comparisons.counting(natural)));
        let expected = merged(runs.as_slice());
        for_each_comparison(comparisons.count(), |n| {
            let stray = Item::new(0, usize::MAX, usize::MAX);
            let mut out = vec![stray];
            let merging = || merge_runs_with(runs.as_slice(), &mut out, By::new(panic_at(n, natural)));
            assert!(catch_unwind(AssertUnwindSafe(merging)).is_err());
            assert_eq!(out[0], stray);
            assert_same(&out[1..], &expected[..out.len() - 1]);
        });
        let mut out = Vec::new();
        let last = panic_at(comparisons.count(), natural);
        assert!(
            catch_unwind(AssertUnwindSafe(|| merge_runs_with(runs.as_slice(), &mut out, By::new(last))))
                .is_err()
        );
        assert!(!out.is_empty(), "what is known to come first is appended");
    }
}

/// An item that cannot be cloned, and counts as one reference more as long as it is there.
#[derive(Debug)]
struct Token {
    key: u64,
    _alive: Rc<()>,
}

impl SortKey for Token {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = true;

    fn code(&self) -> u64 {
        self.key
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

fn tokens(keys: &[Vec<u64>], alive: &Rc<()>) -> Vec<Vec<Token>> {
    let token = |key: &u64| Token { key: *key, _alive: Rc::clone(alive) };
    keys.iter().map(|run| run.iter().map(token).collect()).collect()
}

#[test]
fn items_that_cannot_be_cloned_are_moved_and_dropped_once() {
    fn property(runs: Runs<u64>) -> bool {
        let alive = Rc::new(());
        let out = merge(tokens(&runs.keys(), &alive)).collect::<Vec<_>>();
        assert!(out.iter().map(|token| token.key).eq(merged(runs.as_slice()).iter().map(|item| item.key)));
        assert_eq!(Rc::strong_count(&alive), 1 + runs.items());
        drop(out);
        Rc::strong_count(&alive) == 1
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
}

#[test]
fn items_that_are_owned_are_dropped_once_though_the_comparator_panics() {
    silence_scripted_panics();
    let runs = inputs::uniform(4, 7, 60);
    let comparisons = Comparisons::new();
    let alive = Rc::new(());
    let order = |n| By::new(panic_at(n, Token::compare));
    let counting = By::new(comparisons.counting(Token::compare));
    assert_eq!(merge_with(tokens(&runs, &alive), counting).collect::<Vec<_>>().len(), 60);
    for n in 1..=comparisons.count() {
        let owned = tokens(&runs, &alive);
        assert!(catch_unwind(AssertUnwindSafe(|| merge_with(owned, order(n)).collect::<Vec<_>>())).is_err());
        assert_eq!(Rc::strong_count(&alive), 1);
    }
}

/// An item that counts how often it is cloned.
#[derive(Debug, PartialEq)]
struct Original(u64, Rc<std::cell::Cell<usize>>);

impl Clone for Original {
    fn clone(&self) -> Self {
        self.1.set(self.1.get() + 1);
        Self(self.0, Rc::clone(&self.1))
    }
}

#[test]
fn items_that_need_a_drop_are_cloned_once() {
    for_each_shape(MANY, &[1, 2, 40], |name, keys| {
        let clones = Rc::default();
        let runs = Runs::from_keys(keys).keys();
        let runs: Vec<Vec<_>> = runs
            .iter()
            .map(|run| run.iter().map(|key| Original(*key, Rc::clone(&clones))).collect())
            .collect();
        let mut out = Vec::new();
        merge_runs_with(&runs, &mut out, ByKey::new(|item: &Original| item.0));
        assert_eq!(clones.get(), out.len(), "{name}");
        out.clear();
        clones.set(0);
        merge_runs_with(&runs, &mut out, By::new(|a: &Original, b: &Original| a.0.cmp(&b.0)));
        assert_eq!(clones.get(), out.len(), "{name}");
        assert_eq!(Rc::strong_count(&clones), 1 + 2 * out.len());
    });
}

#[test]
fn comparisons_are_within_the_bound() {
    for_each_shape(MANY, &FAN_INS, |name, mut runs| {
        for run in &mut runs {
            run.sort_unstable();
        }
        let items: usize = runs.iter().map(Vec::len).sum();
        let levels = runs.len().next_power_of_two().ilog2() as usize;
        let comparisons = Comparisons::new();
        let mut out = Vec::with_capacity(items);
        merge_runs_with(&runs, &mut out, By::new(comparisons.counting(u64::cmp)));
        let (count, most) = (comparisons.take(), items * (levels + 1) + runs.len());
        assert!(count <= most, "{name}: {count} comparisons of {items} items, not {most}");

        let long: Vec<Vec<_>> =
            runs.iter().map(|run| run.iter().map(|key| (comparisons.key(*key), *key)).collect()).collect();
        let mut out = Vec::new();
        merge_runs_with(&long, &mut out, ByKey::new(|item: &(_, _)| item.1));
        assert_eq!(comparisons.count(), 0, "{name}: codes are exact");
    });
}

/// Where there are few items, nothing makes up for what it costs to look for stretches.
#[test]
fn comparisons_of_little_are_within_the_bound() {
    fn property(runs: Vec<Vec<u8>>) -> bool {
        let mut runs = runs;
        for run in &mut runs {
            run.sort_unstable();
        }
        assert_comparisons(&runs);
        // Few distinct values, which come in sweeps.
        let few: Vec<_> = runs.iter().map(|run| run.iter().map(|key| key / 80).collect()).collect();
        assert_comparisons(&few);
        true
    }
    let runs: [&[u8]; 5] = [&[38, 56], &[18, 64, 72], &[6, 21, 47, 96], &[44, 53, 70], &[83]];
    property(runs.map(<[u8]>::to_vec).to_vec());
    for size in [6, 10, 16, 24, 40] {
        QuickCheck::new().rng(Gen::new(size)).tests(2000).quickcheck(property as fn(Vec<Vec<u8>>) -> bool);
    }
}

fn assert_comparisons(runs: &[Vec<u8>]) {
    let items: usize = runs.iter().map(Vec::len).sum();
    let levels = runs.len().next_power_of_two().ilog2() as usize;
    let comparisons = Comparisons::new();
    merge_runs_with(runs, &mut Vec::with_capacity(items), By::new(comparisons.counting(u8::cmp)));
    let (count, most) = (comparisons.count(), items * (levels + 1) + runs.len());
    assert!(count <= most, "{runs:?}: {count} comparisons, not {most}");
}

/// Every way in which so many items can come from so many runs.
#[test]
fn comparisons_of_each_small_merge_are_within_the_bound() {
    for (fan_in, items) in [(2, 12), (3, 8), (4, 6), (5, 5), (6, 5)] {
        for mut ways in 0..usize::pow(fan_in, items) {
            let mut runs = vec![vec![]; fan_in];
            for item in 0..items {
                runs[ways % fan_in].push(u8::try_from(item).unwrap());
                ways /= fan_in;
            }
            runs.retain(|run| !run.is_empty());
            assert_comparisons(&runs);
        }
    }
}

/// Runs that may wait for others, so that there is a level more than there need be. All of them end at the end of the
/// merge, so that no merge of two stops early.
#[test]
fn comparisons_are_within_the_bound_though_runs_wait() {
    let mut random = Random::seed(9);
    for lens in [
        &[54, 763, 35, 400, 83, 531, 261, 1][..],
        &[5, 333, 4, 172, 137, 28, 136, 171, 6, 151, 172, 171, 124, 178, 13, 1],
        &[9, 125, 18, 124, 8, 63, 13, 4],
        &[50, 50, 1, 100, 50, 50, 100, 1, 50, 100, 1, 1, 100, 50, 1, 1],
    ] {
        let runs: Vec<Vec<_>> = lens
            .iter()
            .zip(u64::MAX - 16..)
            .map(|(len, last)| {
                let mut run: Vec<_> = (1..*len).map(|_| random.next_u64() >> 1).chain([last]).collect();
                run.sort_unstable();
                run
            })
            .collect();
        let items: usize = lens.iter().sum();
        let levels = lens.len().ilog2() as usize;
        let comparisons = Comparisons::new();
        merge_runs_with(&runs, &mut Vec::new(), By::new(comparisons.counting(u64::cmp)));
        // One for each level, and half a one for what it costs to look for stretches and to split merges.
        let most = items * levels + items / 2;
        assert!(comparisons.count() <= most, "{lens:?}: {} comparisons, not {most}", comparisons.count());
    }
}

#[test]
fn runs_that_hardly_overlap_take_few_comparisons() {
    let mut random = Random::seed(1);
    for fan_in in [8, 16, 64] {
        let disjoint = SHAPES[5].1(&mut random, fan_in, MANY);
        let comparisons = Comparisons::new();
        merge_runs_with(&disjoint, &mut Vec::new(), By::new(comparisons.counting(u64::cmp)));
        assert!(comparisons.take() < MANY / 10, "disjoint, K = {fan_in}: {}", comparisons.count());

        let long_runs = inputs::long_runs(3, fan_in, MANY);
        merge_runs_with(&long_runs, &mut Vec::new(), By::new(comparisons.counting(u64::cmp)));
        let levels = fan_in.ilog2() as usize;
        assert!(comparisons.count() < MANY * levels / 2, "K = {fan_in}: {}", comparisons.count());
    }
}

/// A key that has one code now, and another one then.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Fickle<'a>(u64, &'a std::cell::Cell<u64>);

impl SortKey for Fickle<'_> {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = true;

    fn code(&self) -> u64 {
        self.1.set(self.1.get() + 1);
        self.0 + self.1.get() % 7
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

/// P1: the order is unspecified then, but each comes out once.
#[test]
fn codes_that_change_lose_nothing() {
    let asked = std::cell::Cell::new(0);
    for fan_in in [3, 17, 64] {
        let runs: Vec<Vec<_>> =
            (0..fan_in).map(|run| (0..500).map(|row| Fickle(row * fan_in + run, &asked)).collect()).collect();
        let mut out = Vec::new();
        merge_runs(&runs, &mut out);
        let mut numbers: Vec<_> = out.iter().map(|key| key.0).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..500 * fan_in), "K = {fan_in}");
    }
}

#[test]
fn the_room_is_bounded() {
    let runs = Runs::from_keys(inputs::uniform(3, 16, 1 << 20)).keys();
    let mut out = Vec::with_capacity(1 << 20);
    let measured = allocation_counter::measure(|| merge_runs(&runs, &mut out));
    assert_eq!(out.len(), 1 << 20);
    assert!(measured.bytes_max < (2 << 18) + (1 << 14), "{} bytes", measured.bytes_max);
}

#[cfg(feature = "rayon")]
mod parallel {
    use super::*;
    use losertree::{par_merge_runs, par_merge_runs_with};
    use rayon::{ThreadPool, ThreadPoolBuilder};

    /// More than there are in a few parts.
    const MORE: usize = 150_000;

    fn pool(threads: usize) -> ThreadPool {
        ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn is_what_one_thread_makes_of_it_with_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = pool(threads);
            for_each_shape(MORE, &[1, 2, 16, 100], |name, keys| {
                let runs = Runs::from_keys(keys);
                let (mut one, mut all) = (Vec::new(), vec![Item::new(1, 1, 1)]);
                merge_runs(runs.as_slice(), &mut one);
                pool.install(|| par_merge_runs(runs.as_slice(), &mut all));
                assert_eq!(all.remove(0), Item::new(1, 1, 1));
                assert!(one == all, "{name}, {threads} threads");
            });
        }
    }

    #[test]
    fn is_what_one_thread_makes_of_it_in_any_order_and_for_text() {
        let pool = pool(4);
        for_each_shape(MORE, &[12], |_, keys| {
            let texts = keys.iter().map(|run| run.iter().map(|key| format!("{key:030}")).collect());
            let runs = Runs::<String>::from_keys(texts.collect());
            let expected = merged(runs.as_slice());
            let mut out = Vec::new();
            pool.install(|| par_merge_runs(runs.as_slice(), &mut out));
            assert_same(&out, &expected);
            out.clear();
            pool.install(|| par_merge_runs_with(runs.as_slice(), &mut out, By::new(natural)));
            assert_same(&out, &expected);
            out.clear();
            pool.install(|| {
                par_merge_runs_with(
                    runs.as_slice(),
                    &mut out,
                    ByKey::new(|item: &Item<String>| item.key.clone()),
                );
            });
            assert_same(&out, &expected);

            let mut downwards = runs.into_vec();
            for run in &mut downwards {
                run.sort_by(|a, b| natural(b, a));
            }
            out.clear();
            pool.install(|| par_merge_runs_with(&downwards, &mut out, Reversed(Natural)));
            assert_merged_by(&out, &downwards, |a, b| natural(b, a));
        });
    }

    #[test]
    fn splitting_takes_few_comparisons_however_runs_interleave() {
        use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

        let (fan_in, items) = (256_usize, 1 << 18);
        // Three splits make four parts, of which none is long enough to be split again.
        let one = (fan_in + 1) * (fan_in.ilog2() + 1) as usize * ((items / fan_in).ilog2() + 2) as usize;
        let pool = pool(4);
        for_each_shape(items, &[fan_in], |name, mut runs| {
            for run in &mut runs {
                run.sort_unstable();
            }
            let count = AtomicUsize::new(0);
            let compare = |a: &u64, b: &u64| {
                count.fetch_add(1, Relaxed);
                a.cmp(b)
            };
            let mut out = Vec::new();
            merge_runs_with(&runs, &mut out, By::new(compare));
            let alone = count.swap(0, Relaxed);
            out.clear();
            pool.install(|| par_merge_runs_with(&runs, &mut out, By::new(compare)));
            let most = alone + 3 * one;
            assert!(count.load(Relaxed) <= most, "{name}: {} comparisons, not {most}", count.load(Relaxed));
        });
    }

    #[test]
    fn little_is_merged_too() {
        fn property(runs: Runs<u64>) -> bool {
            let mut out = Vec::new();
            par_merge_runs(runs.as_slice(), &mut out);
            assert_merged(&out, runs.as_slice());
            true
        }
        quickcheck(property as fn(Runs<u64>) -> bool);
    }

    #[test]
    fn each_run_comes_out_in_its_own_order_though_none_is_sorted() {
        let pool = pool(4);
        for_each_shape(MORE, &[2, 16], |_, keys| {
            let runs = unsorted(keys, &mut Random::seed(5));
            let mut out = Vec::new();
            pool.install(|| par_merge_runs(&runs, &mut out));
            assert_complete(&out, &runs);
        });
    }

    #[test]
    fn a_panic_leaves_what_was_there() {
        silence_scripted_panics();
        let runs = inputs::uniform(2, 9, MORE);
        let pool = pool(3);
        for n in [1, 100, MORE, 3 * MORE] {
            let left = std::sync::atomic::AtomicUsize::new(n);
            let mut out = vec!["before".to_owned()];
            let texts: Vec<Vec<_>> =
                runs.iter().map(|run| run.iter().map(|key| format!("{key:020}")).collect()).collect();
            let compare = |a: &String, b: &String| {
                let left = left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                assert!(left != 1, "the comparator panics as asked");
                a.cmp(b)
            };
            let merging = || pool.install(|| par_merge_runs_with(&texts, &mut out, By::new(compare)));
            assert!(catch_unwind(AssertUnwindSafe(merging)).is_err());
            assert_eq!(out, ["before"]);
        }
    }
}
