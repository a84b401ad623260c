//! The oracle is a stable sort, and tells a wrong merge from a right one.
// Properties take their arguments by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};

use losertree_testkit::{
    Item, Random, Runs, assert_merged, assert_merged_by, assert_same, merged, merged_by,
};
use quickcheck::quickcheck;

fn identities<K>(items: &[Item<K>]) -> Vec<(usize, usize)> {
    items.iter().map(Item::identity).collect()
}

fn report(actual: &[Item<u64>], runs: &Runs<u64>) -> Option<String> {
    let asserted = catch_unwind(AssertUnwindSafe(|| assert_merged(actual, runs.as_slice())));
    asserted.err().map(|payload| payload.downcast_ref::<String>().cloned().unwrap())
}

#[test]
fn equal_keys_come_in_source_order() {
    let runs = Runs::from_keys(vec![vec![2_u64, 2], vec![1, 2], vec![], vec![2]]);
    let merged = merged(runs.as_slice());
    assert_eq!(identities(&merged), [(1, 0), (0, 0), (0, 1), (1, 1), (3, 0)]);
    assert_merged(&merged, runs.as_slice());
}

#[test]
fn the_identity_breaks_ties_and_not_the_place() {
    let runs = Runs::from_keys(vec![vec![1_u64, 1], vec![1]]);
    let mut turned = runs.clone().into_vec();
    turned.reverse();
    turned[1].reverse();
    assert_eq!(merged(&turned), merged(runs.as_slice()));
}

#[test]
fn the_order_is_that_of_sort_key() {
    let runs = Runs::from_keys(vec![vec![f64::NAN, 0.0, -0.0], vec![-f64::NAN, -0.0]]);
    let merged = merged(runs.as_slice());
    assert_eq!(identities(&merged), [(1, 0), (0, 0), (1, 1), (0, 1), (0, 2)]);
    assert_merged(&merged, runs.as_slice());
}

#[test]
fn a_comparator_decides_if_given() {
    let descending = |a: &Item<u64>, b: &Item<u64>| Reverse(a.key).cmp(&Reverse(b.key));
    let runs = Runs::from_keys(vec![vec![1_u64], vec![1, 3]]);
    let merged = merged_by(runs.as_slice(), descending);
    assert_eq!(identities(&merged), [(1, 1), (0, 0), (1, 0)]);
    assert_merged_by(&merged, runs.as_slice(), descending);
    assert!(report(&merged, &runs).is_some());
}

#[test]
fn every_single_fault_is_found() {
    fn found(runs: Runs<u64>, seed: u64) -> bool {
        let right = merged(runs.as_slice());
        assert_eq!(report(&right, &runs), None);
        if right.is_empty() {
            return true;
        }
        let mut random = Random::seed(seed);
        let at = random.below(right.len());
        let mut missing = right.clone();
        let item = missing.remove(at);
        let mut repeated = right.clone();
        repeated.insert(at, item);
        let mut changed = right.clone();
        changed[at].key ^= 1;
        let mut faults = vec![missing, repeated, changed];
        if at > 0 {
            let mut swapped = right;
            swapped.swap(at - 1, at);
            faults.push(swapped);
        }
        faults.iter().all(|fault| report(fault, &runs).is_some())
    }
    quickcheck(found as fn(Runs<u64>, u64) -> bool);
}

#[test]
fn the_report_shows_where_and_what() {
    let runs = Runs::from_keys(vec![vec![1_u64, 2], vec![2, 3]]);
    let mut wrong = merged(runs.as_slice());
    wrong[1] = Item::new(7, 9, 9);
    let report = report(&wrong, &runs).unwrap();
    assert_eq!(
        report,
        "merged wrongly: first difference at 1 (of 4 items, 4 expected)
      0: 1 (source 0, sequence 0) | expected 1 (source 0, sequence 0)
>     1: 7 (source 9, sequence 9) | expected 2 (source 0, sequence 1)
      2: 2 (source 1, sequence 0) | expected 2 (source 1, sequence 0)
      3: 3 (source 1, sequence 1) | expected 3 (source 1, sequence 1)
missing: 2 (source 0, sequence 1); \n\
         repeated or foreign: 7 (source 9, sequence 9); \n"
    );
}

#[test]
fn a_part_can_be_compared_too() {
    let runs = Runs::from_keys(vec![vec![1_u64, 2], vec![2, 3]]);
    let all = merged(runs.as_slice());
    assert_same(&all[..2], &merged(runs.as_slice())[..2]);
    assert!(catch_unwind(|| assert_same(&all[..2], &all)).is_err());
    assert!(catch_unwind(|| assert_same(&all, &all[..2])).is_err());
}
