use super::SortKey;

/// A code put together from fields, the most significant first.
///
/// Fields are packed for as long as everything before them is exact, since only then does a later field
/// decide between equal codes. A field that does not fit any more leaves its high bits and makes the code
/// inexact.
#[derive(Clone, Copy)]
pub(super) struct Code {
    pub(super) value: u64,
    pub(super) bits: u32,
    pub(super) exact: bool,
}

impl Code {
    pub(super) const EMPTY: Self = Self { value: 0, bits: 0, exact: true };

    /// The shape of a key's code, with no value: what the constants of a compound key are made from.
    pub(super) const fn shape<K: SortKey>() -> Self {
        Self { value: 0, bits: K::CODE_BITS, exact: K::EXACT }
    }

    /// The code of `key`.
    #[inline]
    pub(super) fn of<K: SortKey>(key: &K) -> Self {
        Self { value: key.code(), ..Self::shape::<K>() }
    }

    /// Appends the less significant field `next`.
    #[inline]
    pub(super) const fn then(self, next: Self) -> Self {
        let room = 64_u32.saturating_sub(self.bits);
        if !self.exact || room == 0 {
            return Self { exact: self.exact && next.exact && next.bits == 0, ..self };
        }
        if self.bits == 0 {
            return next;
        }
        let kept = if next.bits < room { next.bits } else { room };
        Self {
            value: (self.value << kept) | (next.value >> (next.bits - kept)),
            bits: self.bits + kept,
            exact: next.exact && kept == next.bits,
        }
    }
}
