//! `ByKeyRef`: keys that are part of the items order every kind of merge, and none of them is cloned.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use futures::executor::block_on;
use losertree::key::{ByKeyRef, Reversed};
use losertree::{ProxyResponseLoserTree, from_iter, merge_runs_with, merge_with, try_merge_with};
use losertree_testkit::{Item, Runs, TestKey, assert_same, merged};
use quickcheck::quickcheck;

fn check<K: TestKey>(runs: &Runs<K>) {
    let order = || ByKeyRef::new(|item: &Item<K>| &item.key);
    let runs = runs.as_slice();
    let expected = merged(runs);
    assert_same(&merge_with(runs.to_vec(), order()).collect::<Vec<_>>(), &expected);
    let results = runs.iter().map(|run| run.iter().cloned().map(Ok::<_, ()>));
    assert_same(&try_merge_with(results, order()).collect::<Result<Vec<_>, _>>().unwrap(), &expected);
    let sources = runs.iter().map(|run| from_iter(run.clone()));
    let merge = ProxyResponseLoserTree::builder().sources(sources).order(order()).build();
    assert_same(&block_on(merge.try_collect::<Vec<_>>()).unwrap(), &expected);
    let mut out = Vec::new();
    merge_runs_with(runs, &mut out, order());
    assert_same(&out, &expected);

    let backwards: Vec<Vec<_>> = runs.iter().map(|run| run.iter().rev().cloned().collect()).collect();
    let merged_backwards = merge_with(backwards, Reversed(order()));
    let mut keys = merged_backwards.map(|item| item.key);
    assert!(expected.iter().rev().all(|item| keys.next().is_some_and(|key| key.compare(&item.key).is_eq())));
    assert!(keys.next().is_none());
}

#[test]
fn all_merges_are_ordered_by_them() {
    fn property<K: TestKey>(runs: Runs<K>) -> bool {
        check(&runs);
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
    quickcheck(property as fn(Runs<String>) -> bool);
    quickcheck(property as fn(Runs<(Vec<u8>, Option<String>)>) -> bool);
}

/// The key need not have a size, and the items need not be anything but what the function takes.
#[test]
fn keys_are_borrowed_from_whatever_there_is() {
    struct Name(Box<str>);
    let names = |names: &[&str]| names.iter().map(|name| Name((*name).into())).collect::<Vec<_>>();
    let by_str = merge_with([names(&["a", "c"]), names(&["b"])], ByKeyRef::new(|name: &Name| &*name.0));
    assert_eq!(by_str.map(|name| name.0).collect::<Vec<_>>().concat(), "abc");

    let maps = [BTreeMap::from([("b", 1), ("c", 2)]), BTreeMap::from([("a", 3), ("b", 4)])];
    let by_pair = merge_with(&maps, ByKeyRef::new(|pair: &(&&'static str, _)| pair.0)).dedup();
    assert!(by_pair.eq([(&"a", &3), (&"b", &1), (&"c", &2)]));
}
