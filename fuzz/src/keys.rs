use std::cmp::Ordering;
use std::fmt::Debug;

use arbitrary::Arbitrary;
use losertree::SortKey;
use losertree_testkit::{Comparisons, CountedKey};

/// Which type of key an input is played with.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Kind {
    /// `u8`: an exact code.
    Byte,
    /// `u64`: an exact code, up to the greatest.
    Word,
    /// `String`: a code that often ties.
    Text,
    /// `(u64, u64)`: a code of the first half.
    Pair,
    /// `(String, Vec<u8>)`: offset-value codes of two parts.
    Parts,
    /// [`Counted`] with an exact code, which makes comparisons needless.
    Exact,
    /// [`Counted`] with a code that is the same for four neighbours.
    Coarse,
    /// [`Counted`] without a code.
    Plain,
}

/// A type of key that is made of one byte: mostly small values that tie, and the greatest of the type.
pub trait Key: SortKey + Clone + Debug {
    /// Makes the key, in the order of the bytes or another one. It may count its comparisons.
    fn of(byte: u8, comparisons: &Comparisons) -> Self;
}

/// Plays a generic function with the type of a [`Kind`].
#[macro_export]
macro_rules! with_keys {
    ($kind:expr, $play:ident($($argument:expr),*)) => {
        match $kind {
            $crate::Kind::Byte => $play::<u8>($($argument),*),
            $crate::Kind::Word => $play::<u64>($($argument),*),
            $crate::Kind::Text => $play::<String>($($argument),*),
            $crate::Kind::Pair => $play::<(u64, u64)>($($argument),*),
            $crate::Kind::Parts => $play::<(String, Vec<u8>)>($($argument),*),
            $crate::Kind::Exact => $play::<$crate::Counted<0>>($($argument),*),
            $crate::Kind::Coarse => $play::<$crate::Counted<2>>($($argument),*),
            $crate::Kind::Plain => $play::<$crate::Counted<64>>($($argument),*),
        }
    };
}

impl Key for u8 {
    fn of(byte: u8, _: &Comparisons) -> Self {
        byte
    }
}

impl Key for u64 {
    fn of(byte: u8, _: &Comparisons) -> Self {
        stretched(byte)
    }
}

/// With a shared prefix that ends before, at or after the eighth byte or the end of a column, and NULs next to nothing.
impl Key for String {
    fn of(byte: u8, _: &Comparisons) -> Self {
        let prefix = [0, 4, 5, 7, 8, 9, 10, 100][usize::from(byte & 7)];
        let suffix = ["", "\0", "\0\0", "a", "b", "ab", "\u{7f}", "\u{10ffff}"][usize::from(byte >> 3 & 7)];
        "a".repeat(prefix) + suffix
    }
}

/// With a first part that is mostly the same.
impl Key for (String, Vec<u8>) {
    fn of(byte: u8, comparisons: &Comparisons) -> Self {
        (
            ["", "same", "same!"][usize::from(byte.leading_zeros() as u8 % 3)].to_owned(),
            String::of(byte, comparisons).into(),
        )
    }
}

impl Key for (u64, u64) {
    fn of(byte: u8, _: &Comparisons) -> Self {
        let half = |nibble| if nibble == 15 { u64::MAX } else { u64::from(nibble) };
        (half(byte >> 4), half(byte & 15))
    }
}

/// A number that counts how often it is compared, with a code that leaves out the low bits of its byte.
#[derive(Debug, Clone)]
pub struct Counted<const LEFT_OUT: u32> {
    code: u64,
    key: CountedKey,
}

impl<const LEFT_OUT: u32> Key for Counted<LEFT_OUT> {
    fn of(byte: u8, comparisons: &Comparisons) -> Self {
        let value = stretched(byte);
        Self { code: value.checked_shr(LEFT_OUT).unwrap_or(0), key: comparisons.key(value) }
    }
}

impl<const LEFT_OUT: u32> SortKey for Counted<LEFT_OUT> {
    const CODE_BITS: u32 = 64 - LEFT_OUT;
    const EXACT: bool = LEFT_OUT == 0;

    fn code(&self) -> u64 {
        self.code
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.key.compare(&other.key)
    }
}

/// Turns a byte into a number, in order: the highest four bytes into the greatest numbers.
#[must_use]
pub fn stretched(byte: u8) -> u64 {
    if byte < 252 { u64::from(byte) } else { u64::MAX - u64::from(u8::MAX - byte) }
}
