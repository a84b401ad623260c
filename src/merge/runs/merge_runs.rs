use std::cmp::Ordering;
use std::mem::needs_drop;

use super::Sink;
use super::cascade;
use super::entry::Coded;
use crate::key::{By, ByKey, Natural, Order, SortKey};

/// The longest items that the cascade moves themselves.
const LONGEST_MOVED: usize = 32;

/// Merges runs sorted by the natural order of their items, and appends the result to `out`.
pub fn merge_runs<T, R>(runs: &[R], out: &mut Vec<T>)
where
    T: SortKey + Clone,
    R: AsRef<[T]>,
{
    merge_runs_with(runs, Natural, out);
}

/// Merges runs sorted by a comparator, and appends the result to `out`.
pub fn merge_runs_by<T, R, F>(runs: &[R], compare: F, out: &mut Vec<T>)
where
    T: Clone,
    R: AsRef<[T]>,
    F: FnMut(&T, &T) -> Ordering,
{
    merge_runs_with(runs, By::new(compare), out);
}

/// Merges runs sorted by a key of their items, and appends the result to `out`.
pub fn merge_runs_by_key<T, R, K, F>(runs: &[R], key: F, out: &mut Vec<T>)
where
    T: Clone,
    R: AsRef<[T]>,
    K: SortKey,
    F: FnMut(&T) -> K,
{
    merge_runs_with(runs, ByKey::new(key), out);
}

/// Merges runs sorted by any [`Order`], and appends the result to `out`.
pub fn merge_runs_with<T, R, O>(runs: &[R], mut order: O, out: &mut Vec<T>)
where
    T: Clone,
    R: AsRef<[T]>,
    O: Order<T>,
{
    let runs = slices(runs);
    out.reserve(runs.iter().map(|run| run.len()).sum());
    merge_slices(runs, &mut order, out);
}

/// Returns the runs that are not empty.
pub(super) fn slices<T, R: AsRef<[T]>>(runs: &[R]) -> Vec<&[T]> {
    runs.iter().map(AsRef::as_ref).filter(|run| !run.is_empty()).collect()
}

/// Merges runs, none of which is empty.
pub(super) fn merge_slices<T, O, S>(runs: Vec<&[T]>, order: &mut O, sink: S) -> S
where
    T: Clone,
    O: Order<T>,
    S: Sink<T>,
{
    let is_moved = !needs_drop::<T>() && size_of::<T>() <= LONGEST_MOVED;
    if is_moved && (O::EXACT || !O::HAS_CODES) {
        cascade::merge::<T, O, T, S>(runs, order, sink)
    } else {
        cascade::merge::<T, O, Coded<'_, T>, S>(runs, order, sink)
    }
}
