//! What a merge must give: the one oracle of all tests, benchmarks and fuzz targets.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt::{Debug, Write};

use losertree::SortKey;

use crate::Item;

/// How many items the report of a mismatch shows on each side of it.
const AROUND: usize = 3;

/// Returns what merging `runs` must give: all items, sorted by key, then source, then sequence.
///
/// It shares no code with the merges that it judges: it concatenates and sorts. The order of the keys is
/// that of [`SortKey::compare`]; their codes are not looked at, so a wrong code is found too.
///
/// # Examples
///
/// ```
/// use losertree_testkit::{Runs, merged};
///
/// let runs = Runs::from_keys(vec![vec![1_u64, 2], vec![1]]);
/// let identities: Vec<_> = merged(runs.as_slice()).iter().map(|item| item.identity()).collect();
/// assert_eq!(identities, [(0, 0), (1, 0), (0, 1)]);
/// ```
#[must_use]
pub fn merged<K: SortKey + Clone>(runs: &[Vec<Item<K>>]) -> Vec<Item<K>> {
    merged_by(runs, SortKey::compare)
}

/// Like [`merged`], by a comparator. The comparator should look at keys only.
#[must_use]
pub fn merged_by<K, F>(runs: &[Vec<Item<K>>], mut compare: F) -> Vec<Item<K>>
where
    K: Clone,
    F: FnMut(&Item<K>, &Item<K>) -> Ordering,
{
    let mut all = runs.concat();
    all.sort_by(|a, b| compare(a, b).then_with(|| a.identity().cmp(&b.identity())));
    all
}

/// Asserts that `actual` is what merging `runs` must give.
///
/// # Panics
///
/// If it is not, with the first difference, its neighbourhood, and a word on which items are missing or
/// repeated.
#[track_caller]
pub fn assert_merged<K: SortKey + Clone + Debug>(actual: &[Item<K>], runs: &[Vec<Item<K>>]) {
    assert_same(actual, &merged(runs));
}

/// Like [`assert_merged`], by a comparator.
///
/// # Panics
///
/// If `actual` is not what merging `runs` must give.
#[track_caller]
pub fn assert_merged_by<K, F>(actual: &[Item<K>], runs: &[Vec<Item<K>>], compare: F)
where
    K: SortKey + Clone + Debug,
    F: FnMut(&Item<K>, &Item<K>) -> Ordering,
{
    assert_same(actual, &merged_by(runs, compare));
}

/// Asserts that two sequences of items are the same: identities, and keys by their order.
///
/// Keys are compared by [`SortKey::compare`], for which NaN equals itself. For tests of which the expected
/// items are not a whole merge, such as those of a limit.
///
/// # Panics
///
/// If they differ.
#[track_caller]
pub fn assert_same<K: SortKey + Debug>(actual: &[Item<K>], expected: &[Item<K>]) {
    let same = |(a, b): &(&Item<K>, &Item<K>)| a.identity() == b.identity() && a.compare(b).is_eq();
    let at = actual.iter().zip(expected).take_while(same).count();
    let differs = at < actual.len().max(expected.len());
    assert!(!differs, "{}", difference(actual, expected, at));
}

fn difference<K: Debug>(actual: &[Item<K>], expected: &[Item<K>], at: usize) -> String {
    let mut report = format!(
        "merged wrongly: first difference at {at} (of {} items, {} expected)\n",
        actual.len(),
        expected.len()
    );
    let mut line = |text: &str| {
        report.push_str(text);
        report.push('\n');
    };
    for index in at.saturating_sub(AROUND)..at.saturating_add(AROUND + 1) {
        let (actual, expected) = (actual.get(index), expected.get(index));
        if actual.is_none() && expected.is_none() {
            break;
        }
        let mark = if index == at { ">" } else { " " };
        line(&format!("{mark} {index:>5}: {} | expected {}", shown(actual), shown(expected)));
    }
    let counted = |items: &[Item<K>]| {
        let mut counts = HashMap::<_, usize>::new();
        for item in items {
            *counts.entry(item.identity()).or_default() += 1;
        }
        counts
    };
    let (have, want) = (counted(actual), counted(expected));
    line(&format!("missing: {}", listed(expected, &want, &have)));
    line(&format!("repeated or foreign: {}", listed(actual, &have, &want)));
    report
}

fn shown<K: Debug>(item: Option<&Item<K>>) -> String {
    item.map_or_else(
        || "nothing".to_owned(),
        |item| format!("{:?} (source {}, sequence {})", item.key, item.source, item.sequence),
    )
}

/// Lists the items that occur more often in `many` than in `few`, the first few of them.
fn listed<K: Debug>(
    items: &[Item<K>],
    many: &HashMap<(usize, usize), usize>,
    few: &HashMap<(usize, usize), usize>,
) -> String {
    let times =
        |counts: &HashMap<_, usize>, item: &Item<K>| counts.get(&item.identity()).copied().unwrap_or(0);
    let mut seen = HashSet::new();
    let mut more =
        items.iter().filter(|item| times(many, item) > times(few, item) && seen.insert(item.identity()));
    let mut list = String::new();
    for item in more.by_ref().take(AROUND) {
        // Writing to a string cannot fail.
        let _ = write!(list, "{}; ", shown(Some(item)));
    }
    match (list.is_empty(), more.count()) {
        (true, _) => "none".to_owned(),
        (false, 0) => list,
        (false, rest) => format!("{list}and {rest} more"),
    }
}
