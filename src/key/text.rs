//! Keys that are strings of bytes: the code is their first eight bytes.

use std::cmp::Ordering;

#[cfg(feature = "bytes")]
use bytes::Bytes;

use super::SortKey;

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
