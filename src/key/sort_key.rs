use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::rc::Rc;
use std::sync::Arc;

#[cfg(feature = "bytes")]
use bytes::Bytes;

/// A type with a natural order and a code that preserves it.
///
/// The code is what the tournament keeps in its nodes; [`compare`](SortKey::compare) is called only where it
/// does not decide. `SortKey` does not ask for [`Ord`], so that floats can have their total order and a
/// record can be ordered by one of its fields.
///
/// # Ordering
///
/// An implementation must satisfy, for all `a` and `b`:
///
/// - `a.code() < b.code()` implies `a.compare(&b).is_lt()`;
/// - if [`EXACT`](SortKey::EXACT), `a.code() == b.code()` implies `a.compare(&b).is_eq()`;
/// - `a.code()` fits into the low [`CODE_BITS`](SortKey::CODE_BITS) bits;
/// - `compare` is a total order;
/// - if there are [`PARTS`](SortKey::PARTS), comparing them one after the other, byte by byte, is `compare`.
///
/// An implementation that breaks these cannot make a merge lose items, repeat them or panic; it only makes
/// the order of the output unspecified.
///
/// # Examples
///
/// A record ordered by its timestamp, with an exact code:
///
/// ```
/// use losertree::{SortKey, merge};
/// use std::cmp::Ordering;
///
/// struct Row { time_ms: u64, payload: &'static str }
///
/// impl SortKey for Row {
///     const CODE_BITS: u32 = 64;
///     const EXACT: bool = true;
///     fn code(&self) -> u64 { self.time_ms }
///     fn compare(&self, other: &Self) -> Ordering { self.time_ms.cmp(&other.time_ms) }
/// }
///
/// let left = vec![Row { time_ms: 1, payload: "a" }, Row { time_ms: 3, payload: "c" }];
/// let right = vec![Row { time_ms: 2, payload: "b" }];
/// let merged: String = merge([left, right]).map(|row| row.payload).collect();
/// assert_eq!(merged, "abc");
/// ```
///
/// A type that has [`Ord`] and no code is merged by a comparator, or by a key of it. It does not merge by itself:
///
/// ```
/// use losertree::{ProxyResponseLoserTree, from_iter, merge_by, merge_by_key};
/// use losertree::key::By;
///
/// #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
/// struct Version(u32, String);
///
/// let runs = [vec![Version(1, "a".into())], vec![Version(1, "b".into())]];
/// let by_comparator = merge_by(runs.clone(), Ord::cmp);
/// let by_key = merge_by_key(runs.clone(), |version| version.0);
/// assert!(by_comparator.eq(by_key));
/// // Async:
/// let merge = ProxyResponseLoserTree::builder().sources(runs.map(from_iter)).order(By::new(Version::cmp)).build();
/// # drop(merge);
/// ```
///
/// ```compile_fail,E0277
/// #[derive(PartialEq, Eq, PartialOrd, Ord)]
/// struct Version(u32, String);
///
/// let merge = losertree::merge([vec![Version(1, "a".into())]]);
/// ```
#[diagnostic::on_unimplemented(
    message = "a merge does not know how `{Self}` is ordered: it has no `SortKey`",
    label = "not a `SortKey`",
    note = "merge by a comparator, if `{Self}` has `Ord`: `merge_by(sources, Ord::cmp)`, `.order(By::new(Ord::cmp))` on a builder",
    note = "or by a key of it: `merge_by_key(sources, |item| …)`, `.order(ByKey::new(|item: &_| …))`",
    note = "or implement `SortKey` for `{Self}`: a code and a comparison, which makes merging fast"
)]
pub trait SortKey {
    /// How many of the low bits of [`code`](SortKey::code) are in use: 0 to 64.
    ///
    /// A narrow exact code leaves room for the code of the next field of a tuple.
    const CODE_BITS: u32;

    /// Whether equal codes mean equal keys.
    const EXACT: bool;

    /// How many strings of bytes the key is made of, up to 16. Default: 0, for keys that are something else.
    ///
    /// Where there are some, sources are many and [`code`](SortKey::code)s are often the same, the tournament compares [offset-value
    /// codes](super::OffsetCode) instead: what keys have in common is read once for each item, and not once for each
    /// comparison.
    const PARTS: usize = 0;

    /// Returns the code: a number that preserves the order of the keys.
    fn code(&self) -> u64;

    /// Compares two keys in full.
    fn compare(&self, other: &Self) -> Ordering;

    /// Returns whether the item takes part in the order. Default: yes.
    ///
    /// An async merge yields one that does not as soon as it comes, without waiting for other sources, and polls its source
    /// again after that. Such items count for no limit and are not checked for order. So it is for
    /// [`Response`](crate::Response)s that are no series. Iterators cannot be asked without waiting for an answer, so merges
    /// of these place all items by their keys.
    #[must_use]
    #[inline]
    fn is_ordered(&self) -> bool {
        true
    }

    /// Returns one of the strings of bytes that the key is made of, the most significant first.
    #[must_use]
    fn part(&self, index: usize) -> &[u8] {
        let _ = index;
        &[]
    }
}

/// How many parts a key has at most: with so many each still has 4,095 columns of an [offset-value code](super::OffsetCode),
/// 20,475 bytes.
pub(crate) const MOST_PARTS: usize = 16;

/// Whether keys of this type have offset-value codes.
pub(crate) const fn has_codes<K: SortKey + ?Sized>() -> bool {
    K::PARTS > 0 && K::PARTS <= MOST_PARTS
}

// Numbers: their codes are exact, save for the 128-bit integers.

macro_rules! unsigned {
    ($($type:ty),*) => {$(
        impl SortKey for $type {
            const CODE_BITS: u32 = <$type>::BITS;
            const EXACT: bool = true;

            // `usize` has no lossless conversion, though it is never wider.
            #[allow(clippy::cast_lossless)]
            #[inline]
            fn code(&self) -> u64 {
                *self as u64
            }

            #[inline]
            fn compare(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    )*};
}

unsigned!(u8, u16, u32, u64, usize);

macro_rules! signed {
    ($($type:ty as $unsigned:ty),*) => {$(
        impl SortKey for $type {
            const CODE_BITS: u32 = <$type>::BITS;
            const EXACT: bool = true;

            /// The offset binary form: the sign bit flipped puts negative numbers below the others.
            #[inline]
            fn code(&self) -> u64 {
                (self.cast_unsigned() ^ (1 << (<$unsigned>::BITS - 1))).code()
            }

            #[inline]
            fn compare(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    )*};
}

signed!(i8 as u8, i16 as u16, i32 as u32, i64 as u64, isize as usize);

/// The code is the high half.
impl SortKey for u128 {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = false;

    #[inline]
    fn code(&self) -> u64 {
        (self >> 64) as u64
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

/// The code is the high half, in offset binary form.
impl SortKey for i128 {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = false;

    #[inline]
    fn code(&self) -> u64 {
        (self.cast_unsigned() ^ (1 << 127)).code()
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

macro_rules! float {
    ($($type:ty as $signed:ty),*) => {$(
        /// Ordered by the total order of IEEE 754: negative NaN, −∞, numbers with −0 before +0, +∞, NaN.
        impl SortKey for $type {
            const CODE_BITS: u32 = <$signed>::BITS;
            const EXACT: bool = true;

            /// The bits of the float as a signed integer, with all but the sign flipped where it is
            /// negative (as in `total_cmp` of the standard library).
            #[inline]
            fn code(&self) -> u64 {
                let bits = self.to_bits().cast_signed();
                (bits ^ (bits >> (<$signed>::BITS - 1)) & <$signed>::MAX).code()
            }

            #[inline]
            fn compare(&self, other: &Self) -> Ordering {
                self.total_cmp(other)
            }
        }
    )*};
}

float!(f32 as i32, f64 as i64);

impl SortKey for bool {
    const CODE_BITS: u32 = 1;
    const EXACT: bool = true;

    #[inline]
    fn code(&self) -> u64 {
        u64::from(*self)
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl SortKey for char {
    const CODE_BITS: u32 = 21;
    const EXACT: bool = true;

    #[inline]
    fn code(&self) -> u64 {
        u64::from(u32::from(*self))
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

// Strings of bytes: the code is their first eight bytes.

/// The first eight bytes as a big-endian number, short strings filled with zeros.
///
/// Zeros make "a" and "a\0" share a code; the full comparison then tells them apart.
#[inline]
pub(crate) fn first_bytes(bytes: &[u8]) -> u64 {
    if let Some(first) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*first);
    }
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(padded)
}

macro_rules! text {
    ($($type:ty),*) => {$(
        impl SortKey for $type {
            const CODE_BITS: u32 = 64;
            const EXACT: bool = false;
            const PARTS: usize = 1;

            #[inline]
            fn code(&self) -> u64 {
                first_bytes(self.as_ref())
            }

            #[inline]
            fn compare(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }

            #[inline]
            fn part(&self, _index: usize) -> &[u8] {
                self.as_ref()
            }
        }
    )*};
}

text!(str, String, [u8], Vec<u8>);
#[cfg(feature = "bytes")]
text!(Bytes);

/// Exact up to eight bytes, such as the big-endian form of a number.
impl<const N: usize> SortKey for [u8; N] {
    // The cast is exact: N is below 8 where it is used.
    #[allow(clippy::cast_possible_truncation)]
    const CODE_BITS: u32 = if N < 8 { 8 * N as u32 } else { 64 };
    const EXACT: bool = N <= 8;
    const PARTS: usize = 1;

    #[inline]
    fn code(&self) -> u64 {
        // A shift by 64 would overflow: the empty array has no bits at all.
        first_bytes(self).checked_shr(64 - Self::CODE_BITS).unwrap_or(0)
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    #[inline]
    fn part(&self, _index: usize) -> &[u8] {
        self
    }
}

// Keys made from other keys: references, `Reverse`, `Option` and tuples.

macro_rules! forwarding {
    ($($type:ty),*) => {$(
        impl<K: SortKey + ?Sized> SortKey for $type {
            const CODE_BITS: u32 = K::CODE_BITS;
            const EXACT: bool = K::EXACT;
            const PARTS: usize = K::PARTS;

            #[inline]
            fn code(&self) -> u64 {
                (**self).code()
            }

            #[inline]
            fn compare(&self, other: &Self) -> Ordering {
                (**self).compare(other)
            }

            #[inline]
            fn part(&self, index: usize) -> &[u8] {
                (**self).part(index)
            }
        }
    )*};
}

forwarding!(&K, &mut K, Box<K>, Rc<K>, Arc<K>);

impl<K: SortKey + ToOwned + ?Sized> SortKey for Cow<'_, K> {
    const CODE_BITS: u32 = K::CODE_BITS;
    const EXACT: bool = K::EXACT;
    const PARTS: usize = K::PARTS;

    #[inline]
    fn code(&self) -> u64 {
        (**self).code()
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        (**self).compare(other)
    }

    #[inline]
    fn part(&self, index: usize) -> &[u8] {
        (**self).part(index)
    }
}

/// The order of `K`, turned round.
impl<K: SortKey> SortKey for Reverse<K> {
    const CODE_BITS: u32 = K::CODE_BITS;
    const EXACT: bool = K::EXACT;

    #[inline]
    fn code(&self) -> u64 {
        // Subtracting from the largest code keeps unused high bits clear. It wraps only where an
        // implementation breaks its word about `CODE_BITS`.
        let largest = u64::MAX.checked_shr(64_u32.saturating_sub(K::CODE_BITS)).unwrap_or(0);
        largest.wrapping_sub(self.0.code())
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        other.0.compare(&self.0)
    }
}

/// `None` before every `Some`.
impl<K: SortKey> SortKey for Option<K> {
    const CODE_BITS: u32 = Code::shape::<bool>().then(Code::shape::<K>()).bits;
    const EXACT: bool = Code::shape::<bool>().then(Code::shape::<K>()).exact;
    const PARTS: usize = most(if K::PARTS == 0 { 0 } else { K::PARTS + 1 });

    #[inline]
    fn code(&self) -> u64 {
        let value = match self {
            Some(key) => Code::of(key),
            None => Code::shape::<K>(),
        };
        Code::of(&self.is_some()).then(value).value
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Some(a), Some(b)) => a.compare(b),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }

    /// Whether there is a key, as a byte or none, and then the key.
    #[inline]
    fn part(&self, index: usize) -> &[u8] {
        match (self, index.checked_sub(1)) {
            (None, _) => &[],
            (Some(_), None) => &[1],
            (Some(key), Some(index)) => key.part(index),
        }
    }
}

/// A number of parts, or none where that is more than codes are made for.
const fn most(parts: usize) -> usize {
    if parts > MOST_PARTS { 0 } else { parts }
}

/// The parts of a tuple: those of its fields, if each has some.
const fn parts(fields: &[usize]) -> usize {
    let (mut sum, mut index) = (0, 0);
    while index < fields.len() {
        if fields[index] == 0 {
            return 0;
        }
        sum += fields[index];
        index += 1;
    }
    most(sum)
}

macro_rules! tuple {
    ($($name:ident $index:tt),*) => {
        /// Ordered field by field; the code packs as many fields as fit into 64 bits.
        impl<$($name: SortKey),*> SortKey for ($($name,)*) {
            const CODE_BITS: u32 = Code::EMPTY$(.then(Code::shape::<$name>()))*.bits;
            const EXACT: bool = Code::EMPTY$(.then(Code::shape::<$name>()))*.exact;
            const PARTS: usize = parts(&[$($name::PARTS),*]);

            #[inline]
            fn code(&self) -> u64 {
                Code::EMPTY$(.then(Code::of(&self.$index)))*.value
            }

            #[inline]
            fn compare(&self, _other: &Self) -> Ordering {
                Ordering::Equal$(.then_with(|| self.$index.compare(&_other.$index)))*
            }

            #[inline]
            fn part(&self, _index: usize) -> &[u8] {
                $(
                    if _index < $name::PARTS {
                        return self.$index.part(_index);
                    }
                    let _index = _index - $name::PARTS;
                )*
                &[]
            }
        }
    };
}

tuple!();
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

/// A code put together from fields, the most significant first.
///
/// Fields are packed for as long as everything before them is exact, since only then does a later field
/// decide between equal codes. A field that does not fit any more leaves its high bits and makes the code
/// inexact.
#[derive(Clone, Copy)]
struct Code {
    value: u64,
    bits: u32,
    exact: bool,
}

impl Code {
    const EMPTY: Self = Self { value: 0, bits: 0, exact: true };

    /// The shape of a key's code, with no value: what the constants of a compound key are made from.
    const fn shape<K: SortKey>() -> Self {
        Self { value: 0, bits: K::CODE_BITS, exact: K::EXACT }
    }

    /// The code of `key`.
    #[inline]
    fn of<K: SortKey>(key: &K) -> Self {
        Self { value: key.code(), ..Self::shape::<K>() }
    }

    /// Appends the less significant field `next`.
    #[inline]
    const fn then(self, next: Self) -> Self {
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
