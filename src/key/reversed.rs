use std::cmp::Ordering;

use super::order::sealed::Sealed;
use super::{Order, SharedPrefix};

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
