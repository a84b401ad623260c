//! Keys that are numbers: their codes are exact, save for the 128-bit integers.

use std::cmp::Ordering;

use super::SortKey;

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
