use super::{MOST_PARTS, OffsetCode, SortKey};

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

/// Whether keys of this type have offset-value codes.
pub(crate) const fn has_codes<K: SortKey>() -> bool {
    K::PARTS > 0 && K::PARTS <= MOST_PARTS
}
