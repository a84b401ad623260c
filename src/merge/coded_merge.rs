use std::fmt;
use std::iter::FusedIterator;

use super::merge::merge_with;
use super::{Merge, Undrained};
use crate::key::{ByOffsetCode, Coded, Order, SortKey, has_codes};

/// A merge that yields its items with their [offset-value codes](crate::key::OffsetCode): what each has in common with
/// the one before.
///
/// Made by [`Merge::coded`]. A merge knows these codes, and a merge of such merges, by [`merge_coded`], does not have to
/// find them again. A code that [is equal](crate::key::OffsetCode::is_equal) is that of a repeated key.
///
/// # Complexity
///
/// That of the merge, whose tournament plays by these codes however few its sources are.
///
/// Each item is compared with the one before it, whose key is copied, into memory that is allocated for the first of them and again
/// for a longer key; unless sources hand codes in.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct CodedMerge<I: Iterator, O> {
    merge: Merge<I, O>,
}

impl<I: Iterator, O: Order<I::Item>> CodedMerge<I, O> {
    pub(super) const fn new(merge: Merge<I, O>) -> Self {
        Self { merge }
    }

    /// Gives back the sources that have not ended, as [`Merge::into_sources`] does.
    pub fn into_sources(self) -> Vec<Undrained<I, I::Item>> {
        self.merge.into_sources()
    }
}

/// Merges sorted sources of items that bring along their codes, and yields them with those that they have in the output.
///
/// No item is compared with its predecessor. So a merge of merges, or of blocks that store prefixes once, compares
/// only the bytes behind what its sources have in common.
///
/// Does not compile for keys that are not [strings of bytes](SortKey::PARTS).
///
/// # Examples
///
/// ```
/// use losertree::{merge, merge_coded};
///
/// // Two merges, as two engines may have made them, and one of both.
/// let here = merge([vec!["cpu", "disk"], vec!["cpu", "memory"]]).coded();
/// let there = merge([vec!["disk"], vec!["network"]]).coded();
/// let distinct = merge_coded([here, there]).filter(|coded| !coded.code.is_equal());
/// assert_eq!(distinct.map(|coded| coded.item).collect::<Vec<_>>(), ["cpu", "disk", "memory", "network"]);
/// ```
pub fn merge_coded<S, T>(sources: S) -> Merge<<S::Item as IntoIterator>::IntoIter, ByOffsetCode>
where
    S: IntoIterator<Item: IntoIterator<Item = Coded<T>>>,
    T: SortKey,
{
    const { assert!(has_codes::<T>(), "only keys that are strings of bytes have offset-value codes") };
    merge_with(sources, ByOffsetCode)
}

impl<I: Iterator, O: Order<I::Item>> Iterator for CodedMerge<I, O> {
    type Item = Coded<I::Item>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.merge.next()?;
        Some(Coded { item, code: self.merge.code_of_last() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.merge.size_hint()
    }
}

impl<I: Iterator, O: Order<I::Item>> FusedIterator for CodedMerge<I, O> {}

impl<I: Iterator + Clone, O: Clone> Clone for CodedMerge<I, O>
where
    I::Item: Clone,
{
    fn clone(&self) -> Self {
        Self { merge: self.merge.clone() }
    }
}

impl<I: Iterator + fmt::Debug, O: fmt::Debug> fmt::Debug for CodedMerge<I, O>
where
    I::Item: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodedMerge").field("merge", &self.merge).finish()
    }
}
