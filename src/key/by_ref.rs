use std::cmp::Ordering;

use super::Order;
use super::order::sealed::Sealed;

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
