//! P1, async: the output follows one strict total order, the key and then the source, in whichever order
//! the sources become ready.
#![allow(clippy::expect_used, clippy::unwrap_used)]
// quickcheck hands over its inputs by value.
#![allow(clippy::needless_pass_by_value)]

use std::cmp::Ordering;
use std::collections::HashSet;
use std::future::poll_fn;

use futures::stream::{self, StreamExt};
use losertree::key::{By, ByKey, Natural, Order, Reversed};
use losertree::{ProxyResponseLoserTree, SortKey, Source, from_stream};
use losertree_testkit::{
    Item, Random, Runs, Stage, TestKey, assert_merged, assert_merged_by, assert_same, for_each_key, inputs,
    merged,
};
use quickcheck::{QuickCheck, quickcheck};

type Items<K> = Vec<Item<K>>;

/// How likely a source pauses at each place: never, now and then, mostly.
fn pauses(seed: u64) -> f64 {
    [0.0, 0.1, 0.7][usize::try_from(seed % 3).unwrap()]
}

/// Merges scripted sources to the end, and checks that all is closed then.
fn merged_async<K: TestKey, O: Order<Item<K>>>(runs: Vec<Items<K>>, order: O, seed: u64) -> Items<K> {
    let stage = Stage::new();
    let sources = stage.sources_of(runs, &mut Random::seed(seed), pauses(seed));
    let mut merge = ProxyResponseLoserTree::builder().sources(sources).order(order).build();
    let out = stage.driver(seed).run(&mut merge).ok();
    stage.log().assert_closed();
    out
}

#[test]
fn scripted_sources_are_merged_in_the_stable_order() {
    fn property<K: TestKey>(runs: Runs<K>, seed: u64) -> bool {
        let input = || runs.clone().into_vec();
        assert_merged(&merged_async(input(), Natural, seed), runs.as_slice());
        let natural = |a: &Item<K>, b: &Item<K>| a.compare(b);
        assert_merged(&merged_async(input(), By::new(natural), seed), runs.as_slice());
        let key = |item: &Item<K>| item.key.clone();
        assert_merged(&merged_async(input(), ByKey::new(key), seed), runs.as_slice());
        true
    }
    fn check<K: TestKey>() {
        QuickCheck::new().tests(60).quickcheck(property as fn(Runs<K>, u64) -> bool);
    }
    for_each_key!(check);
}

#[test]
fn streaks_do_not_change_the_order() {
    let kinds = [inputs::long_runs, inputs::duplicates, inputs::skewed, inputs::disjoint];
    for sources in 1..=20 {
        for (make, seed) in kinds.into_iter().zip(0..) {
            let runs = Runs::from_keys(make(seed, sources, 400));
            for seed in [0, 1, 2] {
                assert_merged(&merged_async(runs.clone().into_vec(), Natural, seed), runs.as_slice());
            }
        }
    }
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
fn each_item_comes_with_its_source() {
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
fn a_reversed_and_a_coarse_order_keep_ties_in_source_order() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let turned = |(source, keys): (usize, Vec<u64>)| {
            let item = |(sequence, key)| Item::new(key, source, sequence);
            keys.into_iter().rev().enumerate().map(item).collect()
        };
        let reversed: Vec<Items<u64>> = runs.keys().into_iter().enumerate().map(turned).collect();
        let out = merged_async(reversed.clone(), Reversed(Natural), seed);
        assert_merged_by(&out, &reversed, |a, b| b.compare(a));

        let coarse = |a: &Item<u64>, b: &Item<u64>| (a.key >> 2).cmp(&(b.key >> 2));
        let out = merged_async(runs.clone().into_vec(), By::new(coarse), seed);
        assert_merged_by(&out, runs.as_slice(), coarse);
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// The greatest item of a type, and the end, must not be taken for each other: F15.
#[test]
fn exhaustion_is_not_a_value() {
    fn check<K: TestKey>(greatest: &K) {
        for sources in 0..=40 {
            let keys = (0..sources).map(|source| vec![greatest.clone(); source * 7 % 5]).collect();
            let runs: Runs<K> = Runs::from_keys(keys);
            for seed in 0..3 {
                assert_merged(&merged_async(runs.clone().into_vec(), Natural, seed), runs.as_slice());
                let out = merged_async(runs.clone().into_vec(), Reversed(Natural), seed);
                assert_merged(&out, runs.as_slice());
            }
        }
    }
    check(&u64::MAX);
    check(&0_u64);
    check(&String::new());
    check(&"\0".to_owned());
    check(&None::<u8>);
    check(&f64::from_bits(u64::MAX >> 1));
}

/// F48 and F51: unsorted sources, and an order that makes no sense, lose and repeat nothing.
#[test]
fn disorder_loses_nothing() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let mut runs = runs.into_vec();
        for run in &mut runs {
            let mut keys: Vec<_> = run.iter().map(|item| item.key).collect();
            random.shuffle(&mut keys);
            run.iter_mut().zip(keys).for_each(|(item, key)| item.key = key);
        }
        let any = move |_: &Item<u64>, _: &Item<u64>| {
            *random.pick(&[Ordering::Less, Ordering::Equal, Ordering::Greater]).unwrap()
        };
        let ways =
            [merged_async(runs.clone(), Natural, seed), merged_async(runs.clone(), By::new(any), seed)];
        for out in ways {
            // Each source's items are there, and in the order in which it gave them.
            let mut sources = vec![Vec::new(); runs.len()];
            for item in out {
                sources[item.source].push(item);
            }
            assert_eq!(sources, runs);
        }
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
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

/// F16: a source that joins repeats neither the winner nor anything else; F46: nor does it miss a wake-up.
#[test]
fn sources_pushed_while_merging_repeat_nothing() {
    fn property(runs: Runs<u64>, seed: u64, before: usize, taken: usize) -> bool {
        let before = before % (runs.sources() + 1);
        let first: usize = runs.as_slice()[..before].iter().map(Vec::len).sum();
        // The last item of the first sources leaves the merge open, `None` would close it.
        let taken = taken % (first + 1);
        let expected = expected_with_push(runs.as_slice(), before, taken);

        let stage = Stage::new();
        let mut sources =
            stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), pauses(seed)).into_iter();
        let mut merge = ProxyResponseLoserTree::new(sources.by_ref().take(before));
        let mut driver = stage.driver(seed);
        let mut out = driver.run_up_to(&mut merge, taken).items;
        for (index, source) in sources.enumerate() {
            assert_eq!(merge.push(source).unwrap(), before + index);
        }
        out.extend(driver.run(&mut merge).items);
        let out: Items<u64> = out.into_iter().map(Result::unwrap).collect();
        assert_same(&out, &expected);
        stage.log().assert_closed();
        true
    }
    quickcheck(property as fn(Runs<u64>, u64, usize, usize) -> bool);
}

#[test]
fn streams_and_boxed_sources_are_merged_alike() {
    fn property(runs: Runs<String>) -> bool {
        let source = |run: &Items<String>| {
            let stream = stream::iter(run.clone()).map(Ok::<_, String>);
            from_stream(stream).boxed()
        };
        let mut merge = ProxyResponseLoserTree::new(runs.as_slice().iter().map(source));
        let out: Vec<_> = futures::executor::block_on(async {
            let mut out = Vec::new();
            while let Some(item) = poll_fn(|cx| merge.poll_next_unpin(cx)).await {
                out.push(item.unwrap());
            }
            out
        });
        assert_merged(&out, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<String>) -> bool);
}
