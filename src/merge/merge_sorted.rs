use std::cmp::Ordering;

use super::{Merge, TryMerge};
use crate::key::{By, ByKey, Natural, SortKey};

/// The free functions of this module as methods of a collection of sources.
///
/// ```
/// use losertree::MergeSorted;
///
/// let merged: Vec<i32> = [vec![1, 3], vec![2]].merge_sorted().collect();
/// assert_eq!(merged, [1, 2, 3]);
/// ```
pub trait MergeSorted: IntoIterator<Item: IntoIterator> + Sized {
    /// See [`merge`](super::merge()).
    fn merge_sorted(self) -> Merge<<Self::Item as IntoIterator>::IntoIter, Natural>
    where
        <Self::Item as IntoIterator>::Item: SortKey,
    {
        super::merge(self)
    }

    /// See [`merge_by`](super::merge_by).
    fn merge_sorted_by<F>(self, compare: F) -> Merge<<Self::Item as IntoIterator>::IntoIter, By<F>>
    where
        F: FnMut(&<Self::Item as IntoIterator>::Item, &<Self::Item as IntoIterator>::Item) -> Ordering,
    {
        super::merge_by(self, compare)
    }

    /// See [`merge_by_key`](super::merge_by_key).
    fn merge_sorted_by_key<K, F>(self, key: F) -> Merge<<Self::Item as IntoIterator>::IntoIter, ByKey<F>>
    where
        K: SortKey,
        F: FnMut(&<Self::Item as IntoIterator>::Item) -> K,
    {
        super::merge_by_key(self, key)
    }

    /// See [`try_merge`](super::try_merge()).
    fn try_merge_sorted<T, E>(self) -> TryMerge<<Self::Item as IntoIterator>::IntoIter, T, E, Natural>
    where
        Self::Item: IntoIterator<Item = Result<T, E>>,
        T: SortKey,
    {
        super::try_merge(self)
    }

    /// See [`try_merge_by`](super::try_merge_by).
    fn try_merge_sorted_by<T, E, F>(
        self,
        compare: F,
    ) -> TryMerge<<Self::Item as IntoIterator>::IntoIter, T, E, By<F>>
    where
        Self::Item: IntoIterator<Item = Result<T, E>>,
        F: FnMut(&T, &T) -> Ordering,
    {
        super::try_merge_by(self, compare)
    }

    /// See [`try_merge_by_key`](super::try_merge_by_key).
    fn try_merge_sorted_by_key<T, E, K, F>(
        self,
        key: F,
    ) -> TryMerge<<Self::Item as IntoIterator>::IntoIter, T, E, ByKey<F>>
    where
        Self::Item: IntoIterator<Item = Result<T, E>>,
        K: SortKey,
        F: FnMut(&T) -> K,
    {
        super::try_merge_by_key(self, key)
    }
}

impl<S: IntoIterator<Item: IntoIterator>> MergeSorted for S {}
