use crate::key::{Natural, Order, SortKey};
use crate::merge::merge_with;

/// Merges runs by the natural order of their items, which are moved.
///
/// For items that cannot be cloned, or not cheaply. Numbers and the like are faster with
/// [`merge_runs`](super::merge_runs()).
///
/// # Ordering
///
/// Equal items come in the order of their runs, and within a run in the order in which they are there.
///
/// # Complexity
///
/// That of [`Merge`](crate::Merge): at most (K − 1) + N·⌈log2 K⌉ comparisons, and one more for each item with more than
/// four runs and keys that are [strings of bytes](SortKey::PARTS). One allocation of N items, and beside it `O(K)` and a copy
/// of one such key.
///
/// # Panics
///
/// Only where the order or the drop of an item panics. All items are dropped then.
///
/// # Examples
///
/// ```
/// use losertree::merge_owned_runs;
///
/// let runs = vec![vec![Box::new(1), Box::new(4)], vec![Box::new(2)]];
/// assert_eq!(merge_owned_runs(runs), [1, 2, 4].map(Box::new));
/// ```
#[must_use]
pub fn merge_owned_runs<T: SortKey>(runs: Vec<Vec<T>>) -> Vec<T> {
    merge_owned_runs_with(runs, Natural)
}

/// Merges runs by any [`Order`], like [`merge_owned_runs`].
///
/// # Examples
///
/// ```
/// use losertree::key::By;
/// use losertree::merge_owned_runs_with;
///
/// let shorter = By::new(|a: &String, b: &String| a.len().cmp(&b.len()));
/// let runs = vec![vec!["b".to_owned(), "ccc".to_owned()], vec!["aa".to_owned()]];
/// assert_eq!(merge_owned_runs_with(runs, shorter), ["b", "aa", "ccc"]);
/// ```
#[must_use]
pub fn merge_owned_runs_with<T, O: Order<T>>(runs: Vec<Vec<T>>, order: O) -> Vec<T> {
    let mut merged = Vec::with_capacity(runs.iter().map(Vec::len).sum());
    merge_with(runs, order).for_each(|item| merged.push(item));
    merged
}
