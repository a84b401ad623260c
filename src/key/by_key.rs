use std::cmp::Ordering;
use std::fmt;

use super::order::sealed::Sealed;
use super::{KeyBuffer, Meeting, OffsetCode, Order, SharedPrefix, SortKey};

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
            fn meet(&mut self, item: &T, other: &T, code: OffsetCode) -> Meeting {
                let item = (self.0)(item);
                code.meet(&item, &(self.0)(other))
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
