use std::cmp::Ordering;

use super::order::sealed::Sealed;
use super::{Order, SortKey};

/// The order that items have of themselves: that of their [`SortKey`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Natural;

impl Sealed for Natural {}

impl<T: SortKey> Order<T> for Natural {
    const EXACT: bool = T::EXACT;
    const HAS_CODES: bool = T::CODE_BITS > 0;

    #[inline]
    fn code(&mut self, item: &T) -> u64 {
        item.code()
    }

    #[inline]
    fn compare(&mut self, a: &T, b: &T) -> Ordering {
        a.compare(b)
    }
}
