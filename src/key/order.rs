use std::cmp::Ordering;

/// The order of a merge: a code for each item, and a comparison for items whose codes are equal.
///
/// This trait is sealed: its orders are [`Natural`](super::Natural), [`By`](super::By),
/// [`ByKey`](super::ByKey) and [`Reversed`](super::Reversed). It is sealed because the contract between the
/// tournament and its codes is still growing; a type of your own joins by implementing
/// [`SortKey`](super::SortKey), and any other order is a comparator.
pub trait Order<T>: sealed::Sealed {
    /// Whether equal codes mean equal items, so that [`compare`](Order::compare) need not be asked.
    const EXACT: bool;

    /// Whether the code tells any two items apart. A comparator alone has no codes.
    const HAS_CODES: bool;

    /// Returns the code of an item: a smaller code means a smaller item.
    fn code(&mut self, item: &T) -> u64;

    /// Compares two items in full.
    fn compare(&mut self, a: &T, b: &T) -> Ordering;
}

pub(super) mod sealed {
    /// Keeps [`Order`](super::Order) to this crate.
    pub trait Sealed {}
}
