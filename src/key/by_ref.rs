use std::cmp::Ordering;

use super::order::sealed::Sealed;
use super::{KeyBuffer, OffsetCode, Order};

/// A borrowed order, for references to its items.
#[derive(Debug)]
pub(crate) struct ByRef<'o, O>(pub(crate) &'o mut O);

impl<O> Sealed for ByRef<'_, O> {}

impl<T, O: Order<T>> Order<&T> for ByRef<'_, O> {
    const EXACT: bool = O::EXACT;
    const HAS_CODES: bool = O::HAS_CODES;
    // References are taken with leaps, but codes are against the item before, and cannot be handed on.
    const PARTS: usize = if O::IS_CODED { 0 } else { O::PARTS };

    #[inline]
    fn code(&mut self, item: &&T) -> u64 {
        self.0.code(item)
    }

    #[inline]
    fn compare(&mut self, a: &&T, b: &&T) -> Ordering {
        self.0.compare(a, b)
    }

    #[inline]
    fn first_code(&mut self, item: &&T) -> OffsetCode {
        self.0.first_code(item)
    }

    #[inline]
    fn code_after(&mut self, before: &KeyBuffer, item: &&T) -> Option<OffsetCode> {
        self.0.code_after(before, item)
    }

    #[inline]
    fn compare_coded(&mut self, code: OffsetCode, a: &&T, b: &&T) -> (Ordering, OffsetCode) {
        self.0.compare_coded(code, a, b)
    }

    #[inline]
    fn keep(&mut self, before: &mut KeyBuffer, item: &&T, code: OffsetCode) {
        self.0.keep(before, item, code);
    }
}
