use std::cmp::Ordering;
use std::fmt;

use super::offset_code::{KeyBuffer, OffsetCode};
use super::shared_prefix::SharedPrefix;
use super::sort_key::SortKey;
use sealed::Sealed;

/// The order of a merge: a code for each item, and a comparison for items whose codes are equal.
///
/// This trait is sealed: its orders are [`Natural`](super::Natural), [`By`](super::By),
/// [`ByKey`](super::ByKey), [`ByKeyRef`](super::ByKeyRef), [`Reversed`](super::Reversed) and
/// [`ByOffsetCode`](super::ByOffsetCode). It is sealed because the contract between the
/// tournament and its codes is still growing; a type of your own joins by implementing
/// [`SortKey`](super::SortKey), and any other order is a comparator:
///
/// ```compile_fail,E0277
/// // Not the comparator itself: `merge_by` takes that, or `By::new` makes an order of it.
/// let merge = losertree::merge_with([vec![1], vec![2]], |a: &u64, b: &u64| b.cmp(a));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an order of `{T}`",
    label = "not an `Order`",
    note = "an order is `Natural`, for a `SortKey`; `By::new(|a, b| …)`, of a comparator; `ByKey::new(|item| …)` or `ByKeyRef::new(|item| …)`, of a key; or one of these `Reversed`",
    note = "`merge_by` and its like take a comparator, and `merge_by_key` and its like a function of a key"
)]
pub trait Order<T>: Sealed {
    /// Whether equal codes mean equal items, so that [`compare`](Order::compare) need not be asked.
    const EXACT: bool;

    /// Whether the code tells any two items apart. A comparator alone has no codes.
    const HAS_CODES: bool;

    /// How many strings of bytes the key of an item is made of; none has no offset-value codes.
    const PARTS: usize = 0;

    /// Whether items bring their offset-value codes along.
    const IS_CODED: bool = false;

    /// Returns the code of an item: a smaller code means a smaller item.
    fn code(&mut self, item: &T) -> u64;

    /// Compares two items in full.
    fn compare(&mut self, a: &T, b: &T) -> Ordering;

    /// Returns whether an item takes part in the order: see [`SortKey::is_ordered`](super::SortKey::is_ordered).
    fn is_ordered(&self, _item: &T) -> bool {
        true
    }

    /// Returns the offset-value code of an item against nothing.
    #[doc(hidden)]
    fn first_code(&mut self, _item: &T) -> OffsetCode {
        OffsetCode::EQUAL
    }

    /// Returns the offset-value code of an item against the last one of its source, if the source has handed it in. No keys
    /// are kept where items are coded.
    #[doc(hidden)]
    fn handed_code(&mut self, _item: &T) -> Option<OffsetCode> {
        None
    }

    /// Tells an item its offset-value code.
    #[doc(hidden)]
    fn hand_on(&mut self, _item: &mut T, _code: OffsetCode) {}

    /// Returns the offset-value code of an item against the key before; `None` if it comes before that.
    #[doc(hidden)]
    fn code_after(&mut self, _before: &KeyBuffer, _item: &T) -> Option<OffsetCode> {
        None
    }

    /// Returns the offset-value code of an item against the one before; `None` if it comes before that.
    #[doc(hidden)]
    fn code_between(&mut self, _before: &T, _item: &T) -> Option<OffsetCode> {
        None
    }

    /// Compares two items. What they have in common is not known. The second result is the offset-value code of the greater item
    /// against the smaller.
    #[doc(hidden)]
    fn compare_all(&mut self, a: &T, b: &T) -> (Ordering, OffsetCode) {
        (self.compare(a, b), OffsetCode::UNKNOWN)
    }

    /// Returns the offset-value code of an item against a key before it, which `other` has this code against. If that of the item is
    /// smaller, it may be another one that is. `None` if it is not known.
    #[doc(hidden)]
    fn code_beside(&mut self, _item: &T, _other: &T, _code: OffsetCode) -> Option<OffsetCode> {
        None
    }

    /// Compares two items that have the same offset-value code; the second is that of the greater one against the
    /// smaller.
    #[doc(hidden)]
    fn compare_coded(&mut self, code: OffsetCode, a: &T, b: &T) -> (Ordering, OffsetCode) {
        (self.compare(a, b), code)
    }

    /// Returns what the keys of all items between these two begin with. `None` where keys are no strings of bytes, or the two are
    /// equal.
    #[doc(hidden)]
    fn shared_prefix(&mut self, _low: &T, _high: &T) -> Option<SharedPrefix> {
        None
    }

    /// Returns the code of an item among those that begin so.
    #[doc(hidden)]
    fn code_behind(&mut self, _prefix: SharedPrefix, item: &T) -> u64 {
        self.code(item)
    }

    /// Copies the key of an item, which has this code against the one that is there.
    #[doc(hidden)]
    fn keep(&mut self, _before: &mut KeyBuffer, _item: &T, _code: OffsetCode) {}
}

pub(crate) mod sealed {
    /// Keeps [`Order`](super::Order) to this crate.
    pub trait Sealed {}
}

/// The order that items have of themselves: that of their [`SortKey`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Natural;

impl Sealed for Natural {}

impl<T: SortKey> Order<T> for Natural {
    const EXACT: bool = T::EXACT;
    const HAS_CODES: bool = T::CODE_BITS > 0;
    const PARTS: usize = T::PARTS;

    #[inline]
    fn code(&mut self, item: &T) -> u64 {
        item.code()
    }

    #[inline]
    fn compare(&mut self, a: &T, b: &T) -> Ordering {
        a.compare(b)
    }

    #[inline]
    fn is_ordered(&self, item: &T) -> bool {
        item.is_ordered()
    }

    #[inline]
    fn first_code(&mut self, item: &T) -> OffsetCode {
        OffsetCode::first(item)
    }

    #[inline]
    fn code_after(&mut self, before: &KeyBuffer, item: &T) -> Option<OffsetCode> {
        before.code_of_next(item)
    }

    #[inline]
    fn code_between(&mut self, before: &T, item: &T) -> Option<OffsetCode> {
        OffsetCode::after(before, item)
    }

    #[inline]
    fn compare_all(&mut self, a: &T, b: &T) -> (Ordering, OffsetCode) {
        OffsetCode::compare_all(a, b)
    }

    #[inline]
    fn code_beside(&mut self, item: &T, other: &T, code: OffsetCode) -> Option<OffsetCode> {
        code.code_beside(item, other)
    }

    #[inline]
    fn compare_coded(&mut self, code: OffsetCode, a: &T, b: &T) -> (Ordering, OffsetCode) {
        code.compare(a, b)
    }

    #[inline]
    fn shared_prefix(&mut self, low: &T, high: &T) -> Option<SharedPrefix> {
        SharedPrefix::of(low, high)
    }

    #[inline]
    fn code_behind(&mut self, prefix: SharedPrefix, item: &T) -> u64 {
        prefix.code_of(item)
    }

    #[inline]
    fn keep(&mut self, before: &mut KeyBuffer, item: &T, code: OffsetCode) {
        before.replace(item, code);
    }
}

/// The order that a comparator gives, for items of any type.
///
/// # Ordering
///
/// The comparator must be a total order for the output to be in order. If it is not, the order of the
/// output is unspecified, but no item is lost or repeated.
#[derive(Clone, Copy)]
pub struct By<F>(F);

impl<F> By<F> {
    /// Creates the order in which `compare` puts items.
    pub const fn new<T>(compare: F) -> Self
    where
        F: FnMut(&T, &T) -> Ordering,
    {
        Self(compare)
    }
}

impl<F> fmt::Debug for By<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("By").finish_non_exhaustive()
    }
}

impl<F> Sealed for By<F> {}

impl<T, F: FnMut(&T, &T) -> Ordering> Order<T> for By<F> {
    const EXACT: bool = false;
    const HAS_CODES: bool = false;

    #[inline]
    fn code(&mut self, _item: &T) -> u64 {
        0
    }

    #[inline]
    fn compare(&mut self, a: &T, b: &T) -> Ordering {
        (self.0)(a, b)
    }
}

/// The order of a key that a function makes of each item.
///
/// The function is called once for the code of each item, and twice for each comparison that the codes do not decide;
/// once more for each item where keys are strings of bytes and sources are many. It cannot return a key that borrows
/// from the item: that is [`ByKeyRef`].
#[derive(Clone, Copy)]
pub struct ByKey<F>(F);

/// The order of a key that is part of each item, to which a function returns a reference. Nothing is cloned.
///
/// Several keys at once, such as a string and then a number, cannot be borrowed so. Implement [`SortKey`] for the item then;
/// the example below is one that delegates to a tuple of what it borrows.
///
/// # Examples
///
/// ```
/// use losertree::key::ByKeyRef;
/// use losertree::merge_with;
///
/// struct Entry { key: String, version: u64 }
/// let entry = |key: &str, version| Entry { key: key.to_owned(), version };
///
/// let runs = [vec![entry("a", 2), entry("c", 2)], vec![entry("b", 1)]];
/// let merged = merge_with(runs, ByKeyRef::new(|entry: &Entry| entry.key.as_str()));
/// assert_eq!(merged.map(|entry| entry.key).collect::<String>(), "abc");
/// ```
///
/// By the key and then the latest version:
///
/// ```
/// use losertree::{SortKey, merge};
/// use std::cmp::{Ordering, Reverse};
///
/// struct Entry { key: String, version: u64 }
///
/// impl Entry {
///     fn order(&self) -> (&str, Reverse<u64>) {
///         (&self.key, Reverse(self.version))
///     }
/// }
///
/// impl SortKey for Entry {
///     const CODE_BITS: u32 = <(&str, Reverse<u64>)>::CODE_BITS;
///     const EXACT: bool = <(&str, Reverse<u64>)>::EXACT;
///     fn code(&self) -> u64 { self.order().code() }
///     fn compare(&self, other: &Self) -> Ordering { self.order().compare(&other.order()) }
/// }
/// # let entry = |key: &str, version| Entry { key: key.to_owned(), version };
/// # let runs = [vec![entry("a", 2), entry("c", 2)], vec![entry("a", 3), entry("b", 1)]];
/// # let merged: Vec<_> = merge(runs).map(|entry| (entry.key, entry.version)).collect();
/// # assert_eq!(merged, [("a".into(), 3), ("a".into(), 2), ("b".into(), 1), ("c".into(), 2)]);
/// ```
#[derive(Clone, Copy)]
pub struct ByKeyRef<F>(F);

impl<F> ByKey<F> {
    /// Creates the order of the keys that `key` returns.
    pub const fn new<T, K>(key: F) -> Self
    where
        F: FnMut(&T) -> K,
        K: SortKey,
    {
        Self(key)
    }
}

impl<F> ByKeyRef<F> {
    /// Creates the order of the keys to which `key` returns a reference.
    pub const fn new<T, K>(key: F) -> Self
    where
        F: FnMut(&T) -> &K,
        K: SortKey + ?Sized,
    {
        Self(key)
    }
}

/// An order by what a function returns, which is a key, owned or borrowed.
macro_rules! order {
    ($name:ident $(, ?$sized:ident)? => $returned:ty) => {
        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        impl<F> Sealed for $name<F> {}

        impl<T, K: SortKey $(+ ?$sized)?, F: FnMut(&T) -> $returned> Order<T> for $name<F> {
            const EXACT: bool = K::EXACT;
            const HAS_CODES: bool = K::CODE_BITS > 0;
            const PARTS: usize = K::PARTS;

            #[inline]
            fn code(&mut self, item: &T) -> u64 {
                (self.0)(item).code()
            }

            #[inline]
            fn compare(&mut self, a: &T, b: &T) -> Ordering {
                let a = (self.0)(a);
                a.compare(&(self.0)(b))
            }

            #[inline]
            fn first_code(&mut self, item: &T) -> OffsetCode {
                OffsetCode::first(&(self.0)(item))
            }

            #[inline]
            fn code_after(&mut self, before: &KeyBuffer, item: &T) -> Option<OffsetCode> {
                before.code_of_next(&(self.0)(item))
            }

            #[inline]
            fn code_between(&mut self, before: &T, item: &T) -> Option<OffsetCode> {
                let before = (self.0)(before);
                OffsetCode::after(&before, &(self.0)(item))
            }

            #[inline]
            fn compare_all(&mut self, a: &T, b: &T) -> (Ordering, OffsetCode) {
                let a = (self.0)(a);
                OffsetCode::compare_all(&a, &(self.0)(b))
            }

            #[inline]
            fn code_beside(&mut self, item: &T, other: &T, code: OffsetCode) -> Option<OffsetCode> {
                let item = (self.0)(item);
                code.code_beside(&item, &(self.0)(other))
            }

            #[inline]
            fn compare_coded(&mut self, code: OffsetCode, a: &T, b: &T) -> (Ordering, OffsetCode) {
                let a = (self.0)(a);
                code.compare(&a, &(self.0)(b))
            }

            #[inline]
            fn shared_prefix(&mut self, low: &T, high: &T) -> Option<SharedPrefix> {
                let low = (self.0)(low);
                SharedPrefix::of(&low, &(self.0)(high))
            }

            #[inline]
            fn code_behind(&mut self, prefix: SharedPrefix, item: &T) -> u64 {
                prefix.code_of(&(self.0)(item))
            }

            #[inline]
            fn keep(&mut self, before: &mut KeyBuffer, item: &T, code: OffsetCode) {
                before.replace(&(self.0)(item), code);
            }
        }
    };
}

order!(ByKey => K);
order!(ByKeyRef, ?Sized => &K);

/// Another order, turned round: the greatest item first.
///
/// Equal items still come in source order.
///
/// ```
/// use losertree::key::{Natural, Reversed};
/// use losertree::merge_with;
///
/// let merged: Vec<u32> = merge_with([vec![5, 1], vec![4, 2]], Reversed(Natural)).collect();
/// assert_eq!(merged, [5, 4, 2, 1]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Reversed<O>(pub O);

impl<O> Sealed for Reversed<O> {}

impl<T, O: Order<T>> Order<T> for Reversed<O> {
    const EXACT: bool = O::EXACT;
    const HAS_CODES: bool = O::HAS_CODES;

    #[inline]
    fn code(&mut self, item: &T) -> u64 {
        !self.0.code(item)
    }

    #[inline]
    fn is_ordered(&self, item: &T) -> bool {
        self.0.is_ordered(item)
    }

    #[inline]
    fn compare(&mut self, a: &T, b: &T) -> Ordering {
        self.0.compare(b, a)
    }

    #[inline]
    fn shared_prefix(&mut self, low: &T, high: &T) -> Option<SharedPrefix> {
        self.0.shared_prefix(high, low)
    }

    #[inline]
    fn code_behind(&mut self, prefix: SharedPrefix, item: &T) -> u64 {
        !self.0.code_behind(prefix, item)
    }
}

/// A borrowed order is the same order.
impl<O> Sealed for &mut O {}

impl<T, O: Order<T>> Order<T> for &mut O {
    const EXACT: bool = O::EXACT;
    const HAS_CODES: bool = O::HAS_CODES;
    const PARTS: usize = O::PARTS;
    const IS_CODED: bool = O::IS_CODED;

    #[inline]
    fn code(&mut self, item: &T) -> u64 {
        (**self).code(item)
    }

    #[inline]
    fn compare(&mut self, a: &T, b: &T) -> Ordering {
        (**self).compare(a, b)
    }

    #[inline]
    fn is_ordered(&self, item: &T) -> bool {
        (**self).is_ordered(item)
    }

    #[inline]
    fn first_code(&mut self, item: &T) -> OffsetCode {
        (**self).first_code(item)
    }

    #[inline]
    fn handed_code(&mut self, item: &T) -> Option<OffsetCode> {
        (**self).handed_code(item)
    }

    #[inline]
    fn hand_on(&mut self, item: &mut T, code: OffsetCode) {
        (**self).hand_on(item, code);
    }

    #[inline]
    fn code_after(&mut self, before: &KeyBuffer, item: &T) -> Option<OffsetCode> {
        (**self).code_after(before, item)
    }

    #[inline]
    fn code_between(&mut self, before: &T, item: &T) -> Option<OffsetCode> {
        (**self).code_between(before, item)
    }

    #[inline]
    fn compare_all(&mut self, a: &T, b: &T) -> (Ordering, OffsetCode) {
        (**self).compare_all(a, b)
    }

    #[inline]
    fn code_beside(&mut self, item: &T, other: &T, code: OffsetCode) -> Option<OffsetCode> {
        (**self).code_beside(item, other, code)
    }

    #[inline]
    fn compare_coded(&mut self, code: OffsetCode, a: &T, b: &T) -> (Ordering, OffsetCode) {
        (**self).compare_coded(code, a, b)
    }

    #[inline]
    fn shared_prefix(&mut self, low: &T, high: &T) -> Option<SharedPrefix> {
        (**self).shared_prefix(low, high)
    }

    #[inline]
    fn code_behind(&mut self, prefix: SharedPrefix, item: &T) -> u64 {
        (**self).code_behind(prefix, item)
    }

    #[inline]
    fn keep(&mut self, before: &mut KeyBuffer, item: &T, code: OffsetCode) {
        (**self).keep(before, item, code);
    }
}

/// A borrowed order, for references to its items, without offset-value codes: for tournaments that see few of the items.
#[derive(Debug)]
pub(crate) struct ByRef<'o, O>(pub(crate) &'o mut O);

impl<O> Sealed for ByRef<'_, O> {}

impl<T, O: Order<T>> Order<&T> for ByRef<'_, O> {
    const EXACT: bool = O::EXACT;
    const HAS_CODES: bool = O::HAS_CODES;

    #[inline]
    fn code(&mut self, item: &&T) -> u64 {
        self.0.code(item)
    }

    #[inline]
    fn compare(&mut self, a: &&T, b: &&T) -> Ordering {
        self.0.compare(a, b)
    }
}
