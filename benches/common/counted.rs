//! Keys that count how often they are compared.

use std::cell::Cell;
use std::cmp::Ordering;

use losertree::SortKey;

use super::workload::{Ingest, Key};

thread_local! {
    static COMPARISONS: Cell<u64> = const { Cell::new(0) };
}

/// How many comparisons of keys this thread has made so far.
pub(crate) fn comparisons() -> u64 {
    COMPARISONS.get()
}

/// A key with the codes of `K`. What [`Ord`] or [`SortKey::compare`] is asked counts.
#[derive(Debug, Clone)]
pub(crate) struct Counted<K>(pub(crate) K);

impl<K: Ord> Ord for Counted<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl<K: Ord> PartialOrd for Counted<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord> PartialEq for Counted<K> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord> Eq for Counted<K> {}

impl<K: SortKey> SortKey for Counted<K> {
    const CODE_BITS: u32 = K::CODE_BITS;
    const EXACT: bool = K::EXACT;

    fn code(&self) -> u64 {
        self.0.code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0.compare(&other.0)
    }
}

impl<K: Key> Key for Counted<K> {
    fn digest(&self) -> u64 {
        Key::digest(&self.0)
    }
}

impl<K: Ingest> Ingest for Counted<K> {
    type Packed = Counted<K::Packed>;

    fn pack(&self) -> Self::Packed {
        Counted(self.0.pack())
    }

    fn unpack(packed: &Self::Packed) -> Self {
        Self(K::unpack(&packed.0))
    }
}
