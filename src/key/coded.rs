use std::cmp::Ordering;

use super::offset_code::OffsetCode;
use super::order::Order;
use super::order::sealed::Sealed;
use super::sort_key::{SortKey, has_codes};

/// An item that knows its [code](OffsetCode) against the item before it.
///
/// A source of coded items hands in what it knows anyway, because it stores prefixes once or is itself a merge. A merge
/// by [`ByOffsetCode`](super::ByOffsetCode) then compares no item with its predecessor, and yields the items with the codes
/// that they have in its output, so that merges of merges compare next to nothing.
///
/// The first item of a source has the code [`OffsetCode::UNKNOWN`]. [`Merge::coded`](crate::merge::Merge::coded) and
/// [`with_codes`](Self::with_codes) make coded items of others.
///
/// # Examples
///
/// ```
/// use losertree::key::{Coded, OffsetCode};
/// use losertree::merge_coded;
///
/// let left = Coded::with_codes(["ab", "abc", "b"]);
/// let right = Coded::with_codes(["ab", "aba"]);
/// let merged: Vec<_> = merge_coded([left.collect::<Vec<_>>(), right.collect()]).collect();
/// let repeated: Vec<_> = merged.iter().map(|coded| (coded.item, coded.code.is_equal())).collect();
/// assert_eq!(repeated, [("ab", false), ("ab", true), ("aba", false), ("abc", false), ("b", false)]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coded<T> {
    /// The item.
    pub item: T,
    /// Its code against the item before it.
    pub code: OffsetCode,
}

impl<T: SortKey> Coded<T> {
    /// Returns the items of a sorted source with their codes, each found by comparing it with the one before.
    ///
    /// The first, and one that comes before its predecessor, has the code [`OffsetCode::UNKNOWN`].
    pub fn with_codes<I>(items: I) -> impl Iterator<Item = Self>
    where
        I: IntoIterator<Item = T>,
        T: Clone,
    {
        const { assert!(has_codes::<T>(), "only keys that are strings of bytes have offset-value codes") };
        let mut before: Option<T> = None;
        items.into_iter().map(move |item| {
            let code = before.as_ref().and_then(|before| OffsetCode::after(before, &item));
            let code = code.unwrap_or(OffsetCode::UNKNOWN);
            before = Some(item.clone());
            Self { item, code }
        })
    }
}

/// The natural order of items that bring along how they differ from the item before: see [`Coded`].
///
/// # Ordering
///
/// By the items, whose keys are strings of bytes. The codes are trusted: where one is wrong, the order of the output is
/// unspecified, but no item is lost or repeated.
///
/// [`merge_runs_with`](crate::merge_runs_with) does not take it: it leaps over items, whose codes would be missing then.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByOffsetCode;

impl Sealed for ByOffsetCode {}

impl<T: SortKey> Order<Coded<T>> for ByOffsetCode {
    const EXACT: bool = false;
    const HAS_CODES: bool = T::CODE_BITS > 0;
    const PARTS: usize = T::PARTS;
    const IS_CODED: bool = true;

    #[inline]
    fn code(&mut self, coded: &Coded<T>) -> u64 {
        coded.item.code()
    }

    #[inline]
    fn compare(&mut self, a: &Coded<T>, b: &Coded<T>) -> Ordering {
        a.item.compare(&b.item)
    }

    #[inline]
    fn is_ordered(&self, coded: &Coded<T>) -> bool {
        coded.item.is_ordered()
    }

    #[inline]
    fn first_code(&mut self, coded: &Coded<T>) -> OffsetCode {
        OffsetCode::first(&coded.item)
    }

    #[inline]
    fn handed_code(&mut self, coded: &Coded<T>) -> Option<OffsetCode> {
        (coded.code != OffsetCode::UNKNOWN).then_some(coded.code)
    }

    #[inline]
    fn hand_on(&mut self, coded: &mut Coded<T>, code: OffsetCode) {
        coded.code = code;
    }

    #[inline]
    fn compare_all(&mut self, a: &Coded<T>, b: &Coded<T>) -> (Ordering, OffsetCode) {
        OffsetCode::compare_all(&a.item, &b.item)
    }

    #[inline]
    fn compare_coded(&mut self, code: OffsetCode, a: &Coded<T>, b: &Coded<T>) -> (Ordering, OffsetCode) {
        code.compare(&a.item, &b.item)
    }
}
