use smallvec::SmallVec;

use super::{OffsetCode, SortKey};

/// A copy of the key that came last, which the next one is compared with.
#[derive(Debug, Clone, Default)]
pub struct KeyBuffer {
    parts: SmallVec<[Vec<u8>; 2]>,
}

impl KeyBuffer {
    /// Takes over a key that has `code` against the one that is here. Only what is new is copied.
    #[inline]
    pub(super) fn replace<K: SortKey + ?Sized>(&mut self, key: &K, code: OffsetCode) {
        if code.is_equal() {
            return;
        }
        if self.parts.len() != K::PARTS {
            self.parts.resize_with(K::PARTS, Vec::new);
        }
        let (changed, column) = code.place::<K>();
        let mut kept = OffsetCode::shared_bytes(column);
        for (index, part) in self.parts.iter_mut().enumerate().skip(changed) {
            let bytes = key.part(index);
            kept = kept.min(part.len()).min(bytes.len());
            part.truncate(kept);
            part.extend_from_slice(&bytes[kept..]);
            kept = 0;
        }
    }

    /// The code of `key` against the key that is here; `None` if it comes before.
    #[inline]
    pub(super) fn code_of_next<K: SortKey + ?Sized>(&self, key: &K) -> Option<OffsetCode> {
        OffsetCode::after_parts(|part| self.parts.get(part).map_or(&[], Vec::as_slice), key)
    }
}
