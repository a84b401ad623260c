//! P7: dropping a future loses nothing.

use futures::StreamExt;
use losertree::ProxyResponseLoserTree;
use losertree_testkit::{Driver, Item, Random, Runs, Stage, assert_merged, merged};
use quickcheck::quickcheck;

type Merge = ProxyResponseLoserTree<losertree_testkit::Checked<losertree_testkit::ScriptedSource<Item<u64>>>>;

fn merge_of(stage: &Stage, runs: &Runs<u64>, seed: u64) -> Merge {
    ProxyResponseLoserTree::new(stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), 0.4))
}

/// Waits for an item, but drops the future after each `patience` polls and begins anew.
fn next_impatiently(driver: &mut Driver, merge: &mut Merge, patience: usize) -> Option<Item<u64>> {
    loop {
        match driver.poll_times(merge.next(), patience) {
            Ok(item) => return item.map(|item| item.expect("nothing fails")),
            Err(unfinished) => drop(unfinished),
        }
    }
}

// F25
#[test]
fn every_next_dropped_after_each_possible_number_of_polls() {
    for seed in 0..40 {
        let runs = Runs::<u64>::random(&mut Random::seed(seed), 12);
        for patience in 1..6 {
            let stage = Stage::new();
            let mut merge = merge_of(&stage, &runs, seed);
            let mut driver = stage.driver(seed);
            let items: Vec<_> =
                std::iter::from_fn(|| next_impatiently(&mut driver, &mut merge, patience)).collect();
            assert_merged(&items, runs.as_slice());
            stage.log().assert_closed();
        }
    }
}

/// The future of one item is dropped after each number of polls it can take; then the merge is resumed, and
/// yields all that it would have, or it is dropped, and has released all.
#[test]
fn one_next_dropped_at_each_point_then_resumed_or_dropped() {
    for seed in 0..25 {
        let runs = Runs::<u64>::random(&mut Random::seed(seed), 8);
        let expected = merged(runs.as_slice());
        for at in 0..=expected.len() {
            let mut polls = 0;
            loop {
                let stage = Stage::new();
                let mut merge = merge_of(&stage, &runs, seed);
                let mut driver = stage.driver(seed);
                let mut items = driver.run_up_to(&mut merge, at).oks();
                let is_done = match driver.poll_times(merge.next(), polls) {
                    Ok(item) => {
                        items.extend(item.map(|item| item.expect("nothing fails")));
                        true
                    }
                    Err(unfinished) => {
                        drop(unfinished);
                        false
                    }
                };
                if (seed + polls as u64).is_multiple_of(2) {
                    items.extend(driver.run(&mut merge).ok());
                    assert_eq!(items, expected, "seed {seed}, item {at}, dropped after {polls} polls");
                    stage.log().assert_closed();
                } else {
                    assert!(expected.starts_with(&items));
                    drop(merge);
                    stage.log().assert_released();
                }
                if is_done {
                    break;
                }
                polls += 1;
                assert!(polls < 1_000, "the item never comes");
            }
        }
    }
}

quickcheck! {
    /// Different ways of asking for items are interleaved, and futures dropped between them.
    fn ways_of_asking_can_be_mixed(runs: Runs<u64>, seed: u64) -> bool {
        let stage = Stage::new();
        let mut merge = merge_of(&stage, &runs, seed);
        let mut driver = stage.driver(seed);
        let random = &mut Random::seed(!seed);
        let mut items = Vec::new();
        loop {
            let patience = random.below(3);
            let polled = if random.chance(0.5) {
                driver.poll_times(merge.next(), patience).ok()
            } else {
                let polled = driver.poll_times(merge.next_with_source(), patience).ok();
                polled.map(|next| next.map(|next| next.map(|(source, item)| {
                    assert_eq!(source, item.source);
                    item
                })))
            };
            match polled {
                Some(Some(item)) => items.push(item.expect("nothing fails")),
                Some(None) => break,
                None => {}
            }
        }
        assert_merged(&items, runs.as_slice());
        stage.log().assert_closed();
        true
    }
}
