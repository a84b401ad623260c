use std::cmp::Ordering;
use std::mem;

use smallvec::SmallVec;

use super::sort_key::SortKey;

/// Where a key first differs from the one before it, and how it goes on there, in one number.
///
/// Both keys are strings of bytes ([`SortKey::PARTS`]), cut into columns of five bytes:
///
/// ```text
///  before   cpu_s│econd│s_tot│al{cp│u="0"│}
///  key      cpu_s│econd│s_tot│al{cp│u="1"│,mode│="idl│e"}
///                                    ╰── the first column that differs, 4
///
///            63            48 47                              8 7       0
///           ┌────────────────┬─────────────────────────────────┬─────────┐
///  code     │ !4             │   u    =    "    1    "         │    5    │
///           └────────────────┴─────────────────────────────────┴─────────┘
///             column, inverted   its five bytes, then zeros      how many
/// ```
///
/// # Ordering
///
/// Of two keys that both come after a third, and have codes against that, the one with the smaller code is the
/// smaller: the one that has more in common with the third, or goes on with smaller bytes. And its code against the
/// third is also the greater one's code against it. Only where two codes are equal must bytes be read, and only those
/// behind the columns that both codes stand for. The code of a key that is equal to the one before is the smallest.
///
/// # Bounds
///
/// Any keys have codes. From column 65,535 on, that is behind 327,675 bytes that a key shares with the one before, the
/// columns have one code, so that such keys are compared by their bytes. For a key of several parts the columns are shared
/// out among these.
///
/// # Sources
///
/// Graefe & Do, *Offset-value coding in database query processing*, EDBT 2023, sections 2 and 3 (ascending codes; the
/// theorem is theirs); the columns of five bytes are this library's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OffsetCode(pub(crate) u64);

/// How many bytes a column has.
const COLUMN: usize = 5;

impl OffsetCode {
    /// The code of a key that is equal to the one before.
    pub const EQUAL: Self = Self(0);

    /// The code of a key whose difference from the key before is not known, such as that of the first item.
    ///
    /// It is no mistake to hand it in: the tournament then reads the bytes of the heads that it meets, up to the first that is
    /// smaller.
    pub const UNKNOWN: Self = Self(u64::MAX);

    /// The code of `key` against nothing, which comes before all keys, even the empty one.
    pub(super) fn first<K: SortKey + ?Sized>(key: &K) -> Self {
        Self::at(key, 0, 0)
    }

    /// Returns the code of `key` against `before`; `None` if it comes before that.
    ///
    /// For keys without [parts](SortKey::PARTS) it says nothing.
    ///
    /// # Complexity
    ///
    /// Reads what the keys have in common, and one column more.
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::key::OffsetCode;
    ///
    /// let code = |key: &str| OffsetCode::after("carbon", key);
    /// assert_eq!(code("carbon"), Some(OffsetCode::EQUAL));
    /// assert!(code("carbonate") < code("card"));
    /// assert_eq!(code("carafe"), None);
    /// ```
    #[must_use]
    pub fn after<K: SortKey + ?Sized>(before: &K, key: &K) -> Option<Self> {
        Self::after_parts(|part| before.part(part), key)
    }

    /// Returns the code of `key`, where it is known that it shares all parts before `part` with the key before, and
    /// the first `shared_bytes` of that part but not the next one. With a `part` beyond the last it shares all, and is
    /// [equal](Self::EQUAL).
    ///
    /// This is for sources whose items are stored by what they share, as in blocks with compressed prefixes: the key
    /// before is not read, and of this one a column.
    ///
    /// # Ordering
    ///
    /// Codes are trusted. Where they are wrong the order of a merge is unspecified, but nothing is lost or repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// use losertree::key::OffsetCode;
    ///
    /// assert_eq!(Some(OffsetCode::sharing("carbonate", 0, 6)), OffsetCode::after("carbon", "carbonate"));
    /// assert_eq!(OffsetCode::sharing("carbon", 0, 6), OffsetCode::EQUAL);
    /// ```
    #[must_use]
    pub fn sharing<K: SortKey + ?Sized>(key: &K, part: usize, shared_bytes: usize) -> Self {
        if part >= K::PARTS || part == K::PARTS - 1 && shared_bytes >= key.part(part).len() {
            return Self::EQUAL;
        }
        Self::at(key, part, shared_bytes)
    }

    /// Returns whether the key is equal to the one before.
    #[must_use]
    pub const fn is_equal(self) -> bool {
        self.0 == 0
    }

    /// The code of `key` against the key that has these parts.
    #[inline]
    pub(super) fn after_parts<'b, K: SortKey + ?Sized>(
        before: impl Fn(usize) -> &'b [u8],
        key: &K,
    ) -> Option<Self> {
        for part in 0..K::PARTS {
            let (old, new) = (before(part), key.part(part));
            let shared = common_prefix(old, new, 0);
            if shared == new.len() && shared == old.len() {
                continue;
            }
            // Where one ends, it is the smaller.
            return (old.get(shared) < new.get(shared)).then(|| Self::at(key, part, shared));
        }
        Some(Self::EQUAL)
    }

    /// Compares two keys. What they have in common is not known. The second result is the code of the greater key against the smaller.
    #[inline]
    pub(super) fn compare_all<K: SortKey + ?Sized>(a: &K, b: &K) -> (Ordering, Self) {
        for part in 0..K::PARTS {
            let (x, y) = (a.part(part), b.part(part));
            let shared = common_prefix(x, y, 0);
            match (x.get(shared), y.get(shared)) {
                (None, None) => {}
                (x, y) if x < y => return (Ordering::Less, Self::at(b, part, shared)),
                _ => return (Ordering::Greater, Self::at(a, part, shared)),
            }
        }
        (Ordering::Equal, Self::EQUAL)
    }

    /// Returns the code of a key against a third, if that has come before it and `other` has this code against it; `None` if the key
    /// comes before the third, or that is not known.
    ///
    /// Of a key that comes before `other` it is not always the right code, but one that is smaller than this one, as the right one is.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn code_beside<K: SortKey + ?Sized>(self, key: &K, other: &K) -> Option<Self> {
        if !self.is_equal() {
            let (part, column) = self.place::<K>();
            let shared = column * COLUMN;
            if (0..part).all(|part| key.part(part) == other.part(part)) {
                let (x, y) = (key.part(part), other.part(part));
                let found = match (x.first_chunk::<BLOCK>(), y.first_chunk::<BLOCK>()) {
                    // Bytes behind those are read, too: a whole block is compared faster than the bytes of a part of it.
                    (Some(x), Some(y)) if shared <= BLOCK => {
                        shared.min(first_difference(x, y).unwrap_or(BLOCK))
                    }
                    _ => common_prefix(x, y.get(..shared)?, 0),
                };
                if found == shared {
                    // Then the key differs from the third in this column or behind it, as the other one does in this.
                    return (self != Self::UNKNOWN).then(|| Self::at(key, part, shared));
                }
                return (x.get(found) > y.get(found)).then(|| Self::at(key, part, found));
            }
        }
        Self::after(other, key)
    }

    /// Compares two keys that have this one code against the same key. The second is the code of the greater one
    /// against the smaller.
    pub(super) fn compare<K: SortKey + ?Sized>(self, a: &K, b: &K) -> (Ordering, Self) {
        if self.is_equal() {
            return (Ordering::Equal, Self::EQUAL);
        }
        let (first, mut known) = self.known_bytes::<K>();
        for part in first..K::PARTS {
            let (x, y) = (a.part(part), b.part(part));
            let shared = common_prefix(x, y, mem::take(&mut known));
            match x.get(shared).cmp(&y.get(shared)) {
                Ordering::Equal => {}
                Ordering::Less => return (Ordering::Less, Self::at(b, part, shared)),
                Ordering::Greater => return (Ordering::Greater, Self::at(a, part, shared)),
            }
        }
        (Ordering::Equal, Self::EQUAL)
    }

    /// The part that the code is about, and how many bytes of it, from its beginning, two keys have in common that have
    /// this code against one key.
    fn known_bytes<K: SortKey + ?Sized>(self) -> (usize, usize) {
        let (part, column) = self.place::<K>();
        let is_beyond = column == Self::columns::<K>();
        (part, if is_beyond { column * COLUMN } else { column * COLUMN + (self.0 & 0xFF) as usize })
    }

    /// The part that the code is about, and the first column of it that differs.
    pub(super) fn place<K: SortKey + ?Sized>(self) -> (usize, usize) {
        // Of 16 bits.
        let place = (!self.0 >> 48) as usize;
        (place >> Self::column_bits::<K>(), place & Self::columns::<K>())
    }

    /// How many bytes of that part the key has in common with the one before, at least.
    pub(super) fn shared_bytes(column: usize) -> usize {
        column * COLUMN
    }

    /// The code of a key that shares all parts before `part`, and so many bytes of that.
    #[inline]
    fn at<K: SortKey + ?Sized>(key: &K, part: usize, shared: usize) -> Self {
        let column = shared / COLUMN;
        let columns = Self::columns::<K>();
        let place = |column: usize| !((part << Self::column_bits::<K>() | column) as u64) << 48;
        if column >= columns {
            // More bytes than a column has, so that it is no other code.
            return Self(place(columns) | 0xFF);
        }
        let rest = key.part(part).get(column * COLUMN..).unwrap_or_default();
        let (bytes, count) = if let Some(bytes) = rest.first_chunk::<8>() {
            (u64::from_be_bytes(*bytes) >> 24, COLUMN)
        } else {
            let count = rest.len().min(COLUMN);
            let mut bytes = [0; 8];
            bytes[..count].copy_from_slice(&rest[..count]);
            (u64::from_be_bytes(bytes) >> 24, count)
        };
        Self(place(column) | bytes << 8 | count as u64)
    }

    /// How many columns of a part have codes of their own; the number also stands for all that are behind.
    const fn columns<K: SortKey + ?Sized>() -> usize {
        (1 << Self::column_bits::<K>()) - 1
    }

    /// How many of 16 bits are for the column; the others are for the part.
    const fn column_bits<K: SortKey + ?Sized>() -> u32 {
        u16::BITS.saturating_sub(K::PARTS.next_power_of_two().ilog2())
    }
}

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

/// How many bytes a block has, of those that are compared at once.
const BLOCK: usize = 16;

/// How many bytes two strings have in common, from their beginnings, where it is known of the first ones.
#[allow(clippy::inline_always)]
#[inline(always)]
fn common_prefix(a: &[u8], b: &[u8], known: usize) -> usize {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let known = known.min(len);
    let (a_blocks, rest) = a[known..].as_chunks::<BLOCK>();
    let (b_blocks, _) = b[known..].as_chunks::<BLOCK>();
    let mut at = known;
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        if let Some(shared) = first_difference(x, y) {
            return at + shared;
        }
        at += BLOCK;
    }
    if rest.is_empty() {
        return len;
    }
    // The last block. The first bytes of it are known to be the same.
    if let (Some(x), Some(y)) = (a.last_chunk::<BLOCK>(), b.last_chunk::<BLOCK>()) {
        return first_difference(x, y).map_or(len, |shared| len - BLOCK + shared);
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(x, y)| x == y).count()
}

/// Where two blocks first differ, if they do.
#[inline]
fn first_difference(a: &[u8; BLOCK], b: &[u8; BLOCK]) -> Option<usize> {
    let difference = u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b);
    (difference != 0).then(|| difference.trailing_zeros() as usize / 8)
}
