use std::cmp::Ordering;
use std::fmt;

use super::order::sealed::Sealed;
use super::{KeyBuffer, OffsetCode, Order, SortKey};

/// The order of a key that a function takes out of each item.
///
/// The function is called once for the code of each item, and twice for each comparison that the codes do not decide;
/// once more for each item where keys are strings of bytes and sources are many. It cannot return a key that borrows
/// from the item; for such keys implement [`SortKey`] for the item, or use a comparator with [`By`](super::By).
#[derive(Clone, Copy)]
pub struct ByKey<F>(F);

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

impl<F> fmt::Debug for ByKey<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByKey").finish_non_exhaustive()
    }
}

impl<F> Sealed for ByKey<F> {}

impl<T, K: SortKey, F: FnMut(&T) -> K> Order<T> for ByKey<F> {
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
    fn compare_coded(&mut self, code: OffsetCode, a: &T, b: &T) -> (Ordering, OffsetCode) {
        let a = (self.0)(a);
        code.compare(&a, &(self.0)(b))
    }

    #[inline]
    fn keep(&mut self, before: &mut KeyBuffer, item: &T, code: OffsetCode) {
        before.replace(&(self.0)(item), code);
    }
}
