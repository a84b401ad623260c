//! The small things: what is refused, taken back, limited, pushed and removed.

use std::sync::Arc;

use losertree::key::{ByKey, Natural, Reversed};
use losertree::merge::window::WindowMerge;
use losertree::{merge_batches, merge_batches_with};
use losertree_testkit::{Random, inputs};

type Merge = WindowMerge<Vec<u64>, Natural>;

fn rows(merge: &mut Merge, most: usize) -> Vec<u64> {
    let mut out = Vec::new();
    merge.next_window(most).append_to(&mut out);
    out
}

#[test]
fn a_batch_that_is_not_needed_comes_back() {
    let mut merge = Merge::new(Natural, 2);
    assert_eq!(merge.needs().len(), 2);
    merge.supply(0, vec![1, 5]).unwrap();
    let error = merge.supply(0, vec![6]).unwrap_err();
    assert_eq!((error.source_index(), error.to_string().as_str()), (0, "source 0 needs no batch"));
    assert_eq!(error.into_batch(), [6]);
    assert!(merge.supply(2, vec![6]).is_err());
    // It has rows, so it does not end.
    merge.end(0);
    merge.end(7);
    assert!(merge.next_window(9).is_empty());
    merge.end(1);
    assert!(merge.supply(1, vec![6]).is_err());
    assert_eq!(rows(&mut merge, 1), [1]);
    assert!(merge.needs().is_empty() && merge.release(0).is_none());
    assert_eq!(rows(&mut merge, 9), [5]);
    assert_eq!((merge.needs(), merge.is_done()), (&[0][..], false));
    assert_eq!(merge.batch(0), Some(&vec![1, 5]));
    assert_eq!(merge.release(0), Some(vec![1, 5]));
    assert_eq!(merge.release(0), None);
    merge.supply(0, vec![]).unwrap();
    assert_eq!(merge.needs(), [0]);
    merge.end(0);
    assert!(merge.is_done());
}

#[test]
fn a_limit_counts_rows_whoever_takes_them() {
    let keys = inputs::uniform(1, 5, 50_000);
    let mut expected = keys.concat();
    expected.sort_unstable();
    for limit in [0, 1, 10, 100, 5000, 20_001, 60_000] {
        for sizes in [1, 100, 8192] {
            let mut merge = merge_batches(keys.iter().map(|keys| keys.chunks(sizes))).limit(limit as u64);
            let mut out = Vec::new();
            while merge.next_block(&mut out, 3000) > 0 {}
            assert_eq!(out, expected[..limit.min(expected.len())]);
        }
    }
    let mut merge = Merge::new(Natural, 1);
    merge.limit(0);
    assert!(merge.is_done() && merge.needs().is_empty());
}

/// What was decided and not handed out is merged again with the rows of a source that joins.
#[test]
fn a_source_that_is_pushed_takes_effect_at_once() {
    let mut random = Random::seed(2);
    for _ in 0..50 {
        let fan_in = 1 + random.below(10);
        let keys = inputs::uniform(random.next_u64(), fan_in, 5000);
        let mut merge = Merge::new(Natural, fan_in);
        let mut left: Vec<_> = keys.iter().map(|keys| keys.chunks(300)).collect();
        let mut out = Vec::new();
        let mut added = Vec::new();
        loop {
            while let Some(&source) = merge.needs().last() {
                match left[source].next() {
                    Some(batch) => merge.supply(source, batch.to_vec()).unwrap(),
                    None => merge.end(source),
                }
            }
            if merge.is_done() {
                break;
            }
            let most = random.below(300);
            out.extend(rows(&mut merge, most));
            if added.len() < 3 && random.chance(0.1) {
                // Its rows come after all that have been handed out, and among those that are decided.
                let last = out.last().copied().unwrap_or(0);
                let new: Vec<u64> = (0..100).map(|row| last.saturating_add(row << 40)).collect();
                assert_eq!(merge.push(), fan_in + added.len());
                added.push(new);
                let new: &'static [u64] = added.last().unwrap().clone().leak();
                left.push(new.chunks(300));
            }
        }
        let mut expected = [keys.concat(), added.concat()].concat();
        expected.sort_unstable();
        assert_eq!(out, expected);
    }
}

#[test]
fn sources_that_are_removed_leave_the_rest_in_order() {
    let mut merge = Merge::new(Natural, 4);
    for source in 0..4 {
        let source = source as u64;
        merge.supply(source as usize, vec![source, 10 + source, 20]).unwrap();
    }
    assert_eq!(rows(&mut merge, 2), [0, 1]);
    merge.retain(|source| source % 2 == 1);
    // What is left is now 0 and 1.
    assert_eq!(rows(&mut merge, 3), [3, 11, 13]);
    let mut runs = Vec::new();
    runs.extend(merge.next_window(9).runs().iter().map(|run| (run.source(), run.rows())));
    assert_eq!(runs, [(0, 2..3)]);
    // All of source 0 was taken; it may have more.
    assert_eq!(merge.needs(), [0]);
    merge.end(0);
    assert_eq!(rows(&mut merge, 9), [20]);
    merge.end(1);
    assert!(merge.is_done());
}

#[test]
fn other_orders_and_other_slices() {
    let down = merge_batches_with([[vec![9, 2]], [vec![5, 1]]], Reversed(Natural));
    assert_eq!(down.collect(), [9, 5, 2, 1]);
    let shorter =
        merge_batches_with([[vec!["a", "ccc"]], [vec!["bb"]]], ByKey::new(|word: &&str| word.len()));
    assert_eq!(shorter.collect(), ["a", "bb", "ccc"]);
    let shared: [[Arc<[u8]>; 1]; 2] = [[Arc::new([1, 3])], [Arc::new([2])]];
    assert_eq!(merge_batches(shared).fold(0, |sum, byte| 10 * sum + u32::from(byte)), 123);
    let none: [[Vec<u8>; 0]; 3] = [[], [], []];
    assert!(merge_batches(none).collect().is_empty());
}

struct Entry {
    name: String,
}

/// Keys that are borrowed from what outlives the merge, and from the batches themselves.
#[test]
fn borrowed_keys_work_across_calls() {
    let text = "delta alpha charlie bravo".to_owned();
    let mut words: Vec<&str> = text.split(' ').collect();
    words.sort_unstable();
    let (left, right) = words.split_at(1);
    let mut merge = merge_batches([left.chunks(1), right.chunks(2)]);
    let mut out = Vec::new();
    while merge.next_block(&mut out, 1) > 0 {}
    assert_eq!(out, words);
    let entry = |name: &str| Entry { name: name.to_owned() };
    let batches = [vec![entry("a"), entry("c")], vec![entry("b")]];
    let order = losertree::key::ByKeyRef::new(|entry: &Entry| entry.name.as_str());
    let mut merge = merge_batches_with(batches.iter().map(|batch| [batch.as_slice()]), order);
    let mut names = Vec::new();
    loop {
        let window = merge.next_window(1);
        let Some(entry) = window.items().next() else { break };
        names.push(entry.name.clone());
    }
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn items_are_those_of_the_runs_however_long_these_are() {
    let mut random = Random::seed(41);
    for longest in [1, 2, 3, 5, 9, 40, 300] {
        let mut sources = vec![Vec::new(); 3];
        for number in 0..4_000_u64 {
            // Who is next stays next for a while.
            if number == 0 || random.below(longest) == 0 {
                sources.rotate_left(1 + random.below(2));
            }
            sources[0].push(number);
        }
        let mut merge = merge_batches(sources.iter().map(|source| source.chunks(500)));
        let mut next = 0;
        loop {
            let window = merge.next_window(usize::MAX);
            if window.is_empty() {
                break;
            }
            let mut appended = Vec::new();
            window.append_to(&mut appended);
            assert!(appended.iter().eq(window.items()), "{longest}");
            assert!(window.items().copied().eq(next..next + window.rows() as u64), "{longest}");
            let (mut rest, mut folded) = (window.items(), Vec::new());
            rest.next();
            rest.for_each(|item| folded.push(*item));
            assert_eq!(folded, appended[1..], "{longest}");
            next += window.rows() as u64;
        }
        assert_eq!(next, 4_000);
    }
}
