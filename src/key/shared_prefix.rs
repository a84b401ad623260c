use super::sort_key::{SortKey, first_bytes};

/// What all keys between two others begin with, where keys are [strings of bytes](SortKey::PARTS): some whole parts, and bytes of the
/// next one. A shorter one is smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedPrefix {
    parts: usize,
    bytes: usize,
}

impl SharedPrefix {
    /// Returns what two keys begin with; `None` if they are equal, or no strings of bytes.
    pub(super) fn of<K: SortKey + ?Sized>(low: &K, high: &K) -> Option<Self> {
        (0..K::PARTS).find_map(|parts| {
            let (low, high) = (low.part(parts), high.part(parts));
            (low != high).then(|| Self { parts, bytes: shared_bytes(low, high) })
        })
    }

    /// Returns the first eight bytes behind the prefix. Of two keys that begin with it, the one with the smaller code is the smaller.
    #[inline]
    pub(super) fn code_of<K: SortKey + ?Sized>(self, key: &K) -> u64 {
        first_bytes(key.part(self.parts).get(self.bytes..).unwrap_or_default())
    }
}

/// Returns how many bytes two strings have in common at the beginning.
pub(crate) fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    let chunks = a.chunks_exact(8).zip(b.chunks_exact(8)).take_while(|(a, b)| a == b).count();
    let known = 8 * chunks;
    known + a[known..].iter().zip(&b[known..]).take_while(|(a, b)| a == b).count()
}
