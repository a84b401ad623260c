use std::cmp::Ordering;

use super::order::sealed::Sealed;
use super::{KeyBuffer, Meeting, OffsetCode, Order, SharedPrefix, SortKey};

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
    fn meet(&mut self, item: &T, other: &T, code: OffsetCode) -> Meeting {
        code.meet(item, other)
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
