//! Keys that count how often they are compared.

use std::cell::Cell;
use std::cmp::Ordering;

use losertree::SortKey;
use losertree::key::OffsetCode;

use super::workload::{HandsIn, Ingest, Key};

thread_local! {
    /// How often one of two keys has been read for a comparison.
    static READS: Cell<u64> = const { Cell::new(0) };
}

/// How many comparisons of keys this thread has made so far.
pub(crate) fn comparisons() -> u64 {
    READS.get() / 2
}

fn count(reads: u64) {
    READS.set(READS.get() + reads);
}

/// A key with the codes of `K`. What [`Ord`] or [`SortKey::compare`] is asked counts. So does reading the first part of
/// one: a comparison with the key before reads that of an item, which is read again to be copied, and a comparison of two
/// items reads both.
#[derive(Debug, Clone)]
pub(crate) struct Counted<K>(pub(crate) K);

impl<K: Ord> Ord for Counted<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        count(2);
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
    const PARTS: usize = K::PARTS;

    fn code(&self) -> u64 {
        self.0.code()
    }

    fn part(&self, index: usize) -> &[u8] {
        count(u64::from(index == 0));
        self.0.part(index)
    }

    fn compare(&self, other: &Self) -> Ordering {
        count(2);
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

impl<K: HandsIn> HandsIn for Counted<K> {
    type Item = Counted<K::Item>;

    fn item(&self) -> Self::Item {
        Counted(self.0.item())
    }

    fn known_code(&self) -> OffsetCode {
        self.0.known_code()
    }

    fn of(item: Self::Item, code: OffsetCode) -> Self {
        Self(K::of(item.0, code))
    }
}
