use std::cmp::Ordering;

use losertree::SortKey;

/// An item that knows where it comes from.
///
/// It is ordered by its key alone; source and sequence number are its identity. So among items with equal
/// keys a test still sees which is which: whether the merge is stable, and whether one was lost or repeated.
///
/// Equality, in contrast, is of the whole item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item<K> {
    /// What the item is ordered by.
    pub key: K,
    /// The index of the source that gives the item.
    pub source: usize,
    /// The place of the item in its source, from 0.
    pub sequence: usize,
}

impl<K> Item<K> {
    /// Creates an item.
    pub const fn new(key: K, source: usize, sequence: usize) -> Self {
        Self { key, source, sequence }
    }

    /// Returns what tells the item from all others: its source and its place there.
    #[must_use]
    pub const fn identity(&self) -> (usize, usize) {
        (self.source, self.sequence)
    }
}

/// The code and the order of the key.
impl<K: SortKey> SortKey for Item<K> {
    const CODE_BITS: u32 = K::CODE_BITS;
    const EXACT: bool = K::EXACT;
    const PARTS: usize = K::PARTS;

    #[inline]
    fn code(&self) -> u64 {
        self.key.code()
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.key.compare(&other.key)
    }

    #[inline]
    fn part(&self, index: usize) -> &[u8] {
        self.key.part(index)
    }
}
