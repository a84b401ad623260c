use std::cmp::Ordering;

use super::order::sealed::Sealed;
use super::{Coded, OffsetCode, Order, SortKey};

/// The natural order of items that bring along how they differ from the item before: see [`Coded`].
///
/// # Ordering
///
/// By the items, whose keys are strings of bytes. The codes are trusted: where one is wrong, the order of the output is
/// unspecified, but no item is lost or repeated.
///
/// [`merge_runs_with`](crate::merge_runs_with) does not take it: it leaps over items, whose codes would be missing then.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByOffsetCode;

impl Sealed for ByOffsetCode {}

impl<T: SortKey> Order<Coded<T>> for ByOffsetCode {
    const EXACT: bool = false;
    const HAS_CODES: bool = T::CODE_BITS > 0;
    const PARTS: usize = T::PARTS;
    const IS_CODED: bool = true;

    #[inline]
    fn code(&mut self, coded: &Coded<T>) -> u64 {
        coded.item.code()
    }

    #[inline]
    fn compare(&mut self, a: &Coded<T>, b: &Coded<T>) -> Ordering {
        a.item.compare(&b.item)
    }

    #[inline]
    fn is_ordered(&self, coded: &Coded<T>) -> bool {
        coded.item.is_ordered()
    }

    #[inline]
    fn first_code(&mut self, coded: &Coded<T>) -> OffsetCode {
        OffsetCode::first(&coded.item)
    }

    #[inline]
    fn handed_code(&mut self, coded: &Coded<T>) -> Option<OffsetCode> {
        (coded.code != OffsetCode::UNKNOWN).then_some(coded.code)
    }

    #[inline]
    fn hand_on(&mut self, coded: &mut Coded<T>, code: OffsetCode) {
        coded.code = code;
    }

    #[inline]
    fn compare_all(&mut self, a: &Coded<T>, b: &Coded<T>) -> (Ordering, OffsetCode) {
        OffsetCode::compare_all(&a.item, &b.item)
    }

    #[inline]
    fn compare_coded(&mut self, code: OffsetCode, a: &Coded<T>, b: &Coded<T>) -> (Ordering, OffsetCode) {
        code.compare(&a.item, &b.item)
    }
}
