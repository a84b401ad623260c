use std::mem::needs_drop;

use super::by_reference::ByReference;
use super::cascade::{self, Rooms};
use super::entry::Sink;
use crate::key::{Natural, Order, SortKey};

/// The longest items that the cascade moves themselves.
const LONGEST_MOVED: usize = 32;

/// Merges runs sorted by the natural order of their items, and appends the result to `out`.
///
/// The runs are slices, or whatever can be had as one. Items that cannot be cloned, or not cheaply, are moved out of vectors by
/// `merge(runs).collect()`. For several threads there is `par_merge_runs` (feature `rayon`).
///
/// # Ordering
///
/// Equal items come in the order of their runs, and within a run as they are there. If a run is not sorted
/// the order is unspecified, but each run comes out once and in its own order.
///
/// # Complexity
///
/// `O(N·log K)` steps for N items in K runs; `O(N)` where the runs hardly overlap. No items are compared if
/// codes are exact, otherwise at most K + N·(⌈log2 K⌉ + 1) times; where [offset-value codes](crate::key::OffsetCode) are
/// compared, each item is compared with the one before it in its run in addition, and most matches read no item. A room for entries of at most half a
/// megabyte, or 128 for each run if that is more; the [module](super) says what is in it.
///
/// Items that need no drop are taken to be cheap to clone, and may be cloned more than once.
///
/// # Panics
///
/// Only where the order or the clone of an item panics. What was appended to `out` by then are the first
/// items of the merge.
///
/// # Examples
///
/// ```
/// use losertree::merge_runs;
///
/// let mut out = vec![0];
/// merge_runs(&[vec![1, 4, 7], vec![2, 5], vec![3, 6]], &mut out);
/// assert_eq!(out, [0, 1, 2, 3, 4, 5, 6, 7]);
///
/// let table = [1, 2, 3, 10, 11, 20];
/// let mut out = Vec::new();
/// merge_runs(&[&table[3..5], &table[..3], &table[5..]], &mut out);
/// assert_eq!(out, table);
/// ```
pub fn merge_runs<T, R>(runs: &[R], out: &mut Vec<T>)
where
    T: SortKey + Clone,
    R: AsRef<[T]>,
{
    merge_runs_with(runs, out, Natural);
}

/// Merges runs sorted by any [`Order`], and appends the result to `out`: see [`merge_runs`].
///
/// By a comparator: [`By`](crate::key::By). By a key: [`ByKey`](crate::key::ByKey), whose function is called twice for each
/// comparison. If the code of the key is exact that goes for comparisons of codes as well, where the items are moved themselves (see
/// the [module](super)): some 2·⌈log2 K⌉ calls for each item. Otherwise it is called about once more for each item, for its code, or
/// twice if that is an [offset-value code](crate::key::OffsetCode).
///
/// Does not compile for [`ByOffsetCode`](crate::key::ByOffsetCode), as items would keep the codes that they have in their
/// runs:
///
/// ```compile_fail,E0080
/// use losertree::key::{ByOffsetCode, Coded};
///
/// let run: Vec<_> = Coded::with_codes(["a", "b"]).collect();
/// losertree::merge_runs_with(&[run], &mut Vec::new(), ByOffsetCode);
/// ```
///
/// # Examples
///
/// ```
/// use losertree::key::{By, ByKey, Natural, Reversed};
/// use losertree::merge_runs_with;
///
/// let mut out = Vec::new();
/// merge_runs_with(&[[5, 1], [4, 2]], &mut out, Reversed(Natural));
/// assert_eq!(out, [5, 4, 2, 1]);
///
/// let mut out = Vec::new();
/// merge_runs_with(&[[7, 4], [6, 5]], &mut out, By::new(|a: &u32, b: &u32| b.cmp(a)));
/// assert_eq!(out, [7, 6, 5, 4]);
///
/// let mut out = Vec::new();
/// merge_runs_with(&[vec!["a", "ccc"], vec!["bb"]], &mut out, ByKey::new(|word: &&str| word.len()));
/// assert_eq!(out, ["a", "bb", "ccc"]);
/// ```
pub fn merge_runs_with<T, R, O>(runs: &[R], out: &mut Vec<T>, mut order: O)
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

/// Whether the cascade moves items themselves.
pub(in crate::merge) const fn is_moved<T, O: Order<T>>() -> bool {
    !needs_drop::<T>() && size_of::<T>() <= LONGEST_MOVED && (O::EXACT || !O::HAS_CODES)
}

/// Merges runs, none of which is empty.
pub(in crate::merge) fn merge_slices<T, O, S>(runs: Vec<&[T]>, order: &mut O, sink: S) -> S
where
    T: Clone,
    O: Order<T>,
    S: Sink<T>,
{
    merge_slices_in(runs, order, &mut Rooms::default(), sink).0
}

/// Merges runs, none of which is empty, with rooms for items that are [moved](is_moved). Returns whether there was more to see than a
/// tournament sees.
pub(in crate::merge) fn merge_slices_in<T, O, S>(
    runs: Vec<&[T]>,
    order: &mut O,
    rooms: &mut Rooms<T>,
    sink: S,
) -> (S, bool)
where
    T: Clone,
    O: Order<T>,
    S: Sink<T>,
{
    const { assert!(!O::IS_CODED, "items would come out with the codes that they have in their runs") };
    if is_moved::<T, O>() {
        return (cascade::merge(runs, order, rooms, sink), true);
    }
    let mut rooms = ByReference::default();
    let sink = cascade::merge(runs, order, &mut rooms, sink);
    (sink, !rooms.is_by_bytes)
}
