use std::cmp::Ordering;

use super::{KeyBuffer, Meeting, OffsetCode, SharedPrefix};

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
pub trait Order<T>: sealed::Sealed {
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

    /// Compares two items of which it is not known what they have in common; the second is the offset-value code of the greater one
    /// against the smaller.
    #[doc(hidden)]
    fn compare_all(&mut self, a: &T, b: &T) -> (Ordering, OffsetCode) {
        (self.compare(a, b), OffsetCode::UNKNOWN)
    }

    /// Compares an item, which follows the one that was taken last, with one that has this code against that.
    #[doc(hidden)]
    fn meet(&mut self, _item: &T, _other: &T, _code: OffsetCode) -> Meeting {
        Meeting::Backwards
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
