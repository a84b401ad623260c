use std::cmp::Ordering;
use std::fmt;

use super::Order;
use super::order::sealed::Sealed;

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
