use std::cmp::Ordering;

use losertree::SortKey;

use crate::Comparisons;

/// A number that counts how often it is compared. Made by [`Comparisons::key`].
///
/// Its code is always 0, and so decides nothing: each comparison that a merge makes is counted, once.
#[derive(Debug, Clone)]
pub struct CountedKey {
    value: u64,
    comparisons: Comparisons,
}

impl CountedKey {
    pub(crate) const fn new(value: u64, comparisons: Comparisons) -> Self {
        Self { value, comparisons }
    }

    /// Returns the number.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.value
    }
}

impl SortKey for CountedKey {
    const CODE_BITS: u32 = 0;
    const EXACT: bool = false;

    fn code(&self) -> u64 {
        0
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.comparisons.add();
        self.value.cmp(&other.value)
    }
}
