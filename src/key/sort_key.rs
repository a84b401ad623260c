use std::cmp::Ordering;

/// A type with a natural order and a code that preserves it.
///
/// The code is what the tournament keeps in its nodes; [`compare`](SortKey::compare) is called only where it
/// does not decide. `SortKey` does not ask for [`Ord`], so that floats can have their total order and a
/// record can be ordered by one of its fields.
///
/// # Ordering
///
/// An implementation must satisfy, for all `a` and `b`:
///
/// - `a.code() < b.code()` implies `a.compare(&b).is_lt()`;
/// - if [`EXACT`](SortKey::EXACT), `a.code() == b.code()` implies `a.compare(&b).is_eq()`;
/// - `a.code()` fits into the low [`CODE_BITS`](SortKey::CODE_BITS) bits;
/// - `compare` is a total order;
/// - if there are [`PARTS`](SortKey::PARTS), comparing them one after the other, byte by byte, is `compare`.
///
/// An implementation that breaks these cannot make a merge lose items, repeat them or panic; it only makes
/// the order of the output unspecified.
///
/// # Examples
///
/// A record ordered by its timestamp, with an exact code:
///
/// ```
/// use losertree::{SortKey, merge};
/// use std::cmp::Ordering;
///
/// struct Row { time_ms: u64, payload: &'static str }
///
/// impl SortKey for Row {
///     const CODE_BITS: u32 = 64;
///     const EXACT: bool = true;
///     fn code(&self) -> u64 { self.time_ms }
///     fn compare(&self, other: &Self) -> Ordering { self.time_ms.cmp(&other.time_ms) }
/// }
///
/// let left = vec![Row { time_ms: 1, payload: "a" }, Row { time_ms: 3, payload: "c" }];
/// let right = vec![Row { time_ms: 2, payload: "b" }];
/// let merged: String = merge([left, right]).map(|row| row.payload).collect();
/// assert_eq!(merged, "abc");
/// ```
///
/// A type that has [`Ord`] and no code is merged by a comparator, or by a key of it. It does not merge by itself:
///
/// ```
/// use losertree::{ProxyResponseLoserTree, from_iter, merge_by, merge_by_key};
/// use losertree::key::By;
///
/// #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
/// struct Version(u32, String);
///
/// let runs = [vec![Version(1, "a".into())], vec![Version(1, "b".into())]];
/// let by_comparator = merge_by(runs.clone(), Ord::cmp);
/// let by_key = merge_by_key(runs.clone(), |version| version.0);
/// assert!(by_comparator.eq(by_key));
/// // Async:
/// let merge = ProxyResponseLoserTree::builder().sources(runs.map(from_iter)).order(By::new(Version::cmp)).build();
/// # drop(merge);
/// ```
///
/// ```compile_fail,E0277
/// #[derive(PartialEq, Eq, PartialOrd, Ord)]
/// struct Version(u32, String);
///
/// let merge = losertree::merge([vec![Version(1, "a".into())]]);
/// ```
#[diagnostic::on_unimplemented(
    message = "a merge does not know how `{Self}` is ordered: it has no `SortKey`",
    label = "not a `SortKey`",
    note = "merge by a comparator, if `{Self}` has `Ord`: `merge_by(sources, Ord::cmp)`, `.order(By::new(Ord::cmp))` on a builder",
    note = "or by a key of it: `merge_by_key(sources, |item| …)`, `.order(ByKey::new(|item: &_| …))`",
    note = "or implement `SortKey` for `{Self}`: a code and a comparison, which makes merging fast"
)]
pub trait SortKey {
    /// How many of the low bits of [`code`](SortKey::code) are in use: 0 to 64.
    ///
    /// A narrow exact code leaves room for the code of the next field of a tuple.
    const CODE_BITS: u32;

    /// Whether equal codes mean equal keys.
    const EXACT: bool;

    /// How many strings of bytes the key is made of, up to 16. Default: 0, for keys that are something else.
    ///
    /// Where there are some, sources are many and [`code`](SortKey::code)s are often the same, the tournament compares [offset-value
    /// codes](super::OffsetCode) instead: what keys have in common is read once for each item, and not once for each
    /// comparison.
    const PARTS: usize = 0;

    /// Returns the code: a number that preserves the order of the keys.
    fn code(&self) -> u64;

    /// Compares two keys in full.
    fn compare(&self, other: &Self) -> Ordering;

    /// Returns whether the item takes part in the order. Default: yes.
    ///
    /// An async merge yields one that does not as soon as it comes, without waiting for other sources, and polls its source
    /// again after that. Such items count for no limit and are not checked for order. So it is for
    /// [`Response`](crate::Response)s that are no series. Iterators cannot be asked without waiting for an answer, so merges
    /// of these place all items by their keys.
    #[must_use]
    #[inline]
    fn is_ordered(&self) -> bool {
        true
    }

    /// Returns one of the strings of bytes that the key is made of, the most significant first.
    #[must_use]
    fn part(&self, index: usize) -> &[u8] {
        let _ = index;
        &[]
    }
}
