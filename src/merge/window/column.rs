use std::cmp::Ordering;
use std::fmt;
use std::ops::{Deref, Range};

use super::{Coding, Rows};
use crate::key::{Natural, Order, SortKey, first_bytes, shared_bytes};

/// A column of keys.
///
/// It reads the values where they are: [`Values`] has numbers, or other keys, in a slice; [`ByteColumn`] has strings with offsets;
/// [`Nullable`] adds nulls. They own or borrow these by whatever derefs to slices, such as `Vec`, `&[T]`, `Arc<[T]>` or Arrow's
/// buffers. A batch with columns of several types has an enum of them, which implements this trait by delegating.
///
/// Values are ascending here. [`Columns`](super::Columns) turns them round, and orders nulls.
pub trait Column {
    /// Returns how many rows there are.
    fn rows(&self) -> usize;

    /// Returns whether there may be nulls. Default: no.
    fn has_nulls(&self) -> bool {
        false
    }

    /// Returns whether the value of a row is null. Default: no.
    #[inline]
    fn is_null(&self, row: usize) -> bool {
        let _ = row;
        false
    }

    /// Compares the values of two rows, neither of which is null.
    fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering;

    /// Returns the code of a value: a smaller code means a smaller value, in whatever batch. Default: 0, which tells nothing.
    #[inline]
    fn code(&self, row: usize) -> u64 {
        let _ = row;
        0
    }

    /// Appends a code for each of the rows, range after range, and returns what these codes tell. The code of a null can be any.
    ///
    /// If there are bounds, a least and a greatest value, all values are between them, inclusive, and what these have in common need not be in
    /// the codes. The order subtracts the smallest code. If there are no bounds, codes must be good for all values.
    ///
    /// Default: [`Coding::Nothing`], and rows are compared.
    fn codes(ranges: &[Rows<'_, Self>], bounds: Option<Bounds<'_, Self>>, codes: &mut Vec<u64>) -> Coding
    where
        Self: Sized,
    {
        let _ = (ranges, bounds, codes);
        Coding::Nothing
    }
}

/// The least and the greatest value of a window, each a row of a column.
pub type Bounds<'a, C> = ((&'a C, usize), (&'a C, usize));

/// A column of numbers, or of other keys, in a slice.
///
/// ```
/// use losertree::merge::window::{Column, Values};
///
/// let column = Values::new([3_i64, 5].as_slice());
/// assert!(column.compare(0, &column, 1).is_lt());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Values<V>(V);

impl<V> Values<V> {
    /// Creates a column of these values.
    pub const fn new<T>(values: V) -> Self
    where
        V: Deref<Target = [T]>,
    {
        Self(values)
    }

    /// Returns what has the values.
    pub fn into_inner(self) -> V {
        self.0
    }
}

impl<T: SortKey, V: Deref<Target = [T]>> Column for Values<V> {
    fn rows(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        match (self.0.get(row), other.0.get(other_row)) {
            (Some(a), Some(b)) => a.compare(b),
            _ => Ordering::Equal,
        }
    }

    #[inline]
    fn code(&self, row: usize) -> u64 {
        // Codes of few bits are as good as those of many.
        self.0.get(row).map_or(0, SortKey::code)
    }

    fn codes(ranges: &[Rows<'_, Self>], bounds: Option<Bounds<'_, Self>>, codes: &mut Vec<u64>) -> Coding {
        if T::CODE_BITS == 0 {
            return Coding::Nothing;
        }
        let prefix = match bounds {
            Some(((low, low_row), (high, high_row))) if !T::EXACT => {
                let values = low.0.get(low_row).zip(high.0.get(high_row));
                values.and_then(|(low, high)| Natural.shared_prefix(low, high))
            }
            _ => None,
        };
        for Rows { batch, rows } in ranges {
            let values = batch.0.get(rows.clone()).unwrap_or_default();
            match prefix {
                Some(prefix) => codes.extend(values.iter().map(|value| Natural.code_behind(prefix, value))),
                None => codes.extend(values.iter().map(SortKey::code)),
            }
        }
        if T::EXACT { Coding::Exact } else { Coding::Inexact }
    }
}

/// A column of strings of bytes that lie one after the other: value i is `data[offsets[i]..offsets[i + 1]]`, as Arrow has strings.
///
/// Where offsets do not fit the data, values are cut off.
///
/// ```
/// use losertree::merge::window::{ByteColumn, Column};
///
/// let column = ByteColumn::new(vec![0_i32, 1, 3], b"abc".as_slice());
/// assert_eq!((column.rows(), column.value(1)), (2, b"bc".as_slice()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteColumn<F, D> {
    offsets: F,
    data: D,
}

impl<O: Offset, F: Deref<Target = [O]>, D: Deref<Target = [u8]>> ByteColumn<F, D> {
    /// Creates a column of one value fewer than there are offsets.
    pub const fn new(offsets: F, data: D) -> Self {
        Self { offsets, data }
    }

    /// Returns the value of a row; an empty one if there is no such row.
    #[inline]
    pub fn value(&self, row: usize) -> &[u8] {
        match self.offsets.get(row..).and_then(<[O]>::first_chunk::<2>) {
            Some([from, to]) => part(&self.data, from.at(), to.at()),
            None => &[],
        }
    }

    /// Appends the values of some rows: in one go, if they lie one after the other.
    pub(super) fn append_to(&self, rows: Range<usize>, out: &mut Vec<u8>) {
        let (offsets, data) = self.raw(rows.clone());
        if let ([from, .., to], true) = (offsets, offsets.is_sorted_by_key(|offset| offset.at())) {
            out.extend_from_slice(part(data, from.at(), to.at()));
        } else {
            rows.for_each(|row| out.extend_from_slice(self.value(row)));
        }
    }

    /// Returns the offsets of the values of some rows, one more than these, and the data.
    pub(super) fn raw(&self, rows: Range<usize>) -> (&[O], &[u8]) {
        (self.offsets.get(rows.start..=rows.end).unwrap_or_default(), &self.data)
    }
}

#[inline]
fn part(data: &[u8], from: usize, to: usize) -> &[u8] {
    data.get(from..to.min(data.len())).unwrap_or_default()
}

impl<O: Offset, F: Deref<Target = [O]>, D: Deref<Target = [u8]>> Column for ByteColumn<F, D> {
    fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    #[inline]
    fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        self.value(row).cmp(other.value(other_row))
    }

    #[inline]
    fn code(&self, row: usize) -> u64 {
        first_bytes(self.value(row))
    }

    fn codes(ranges: &[Rows<'_, Self>], bounds: Option<Bounds<'_, Self>>, codes: &mut Vec<u64>) -> Coding {
        let prefix = bounds.map_or(0, |((low, low_row), (high, high_row))| {
            shared_bytes(low.value(low_row), high.value(high_row))
        });
        for Rows { batch, rows } in ranges {
            let (offsets, data) = batch.raw(rows.clone());
            codes.extend(offsets.windows(2).map(|pair| code_at(data, pair[0].at() + prefix, pair[1].at())));
        }
        Coding::Inexact
    }
}

/// Returns the eight bytes at a place as a number, zeros for those behind the end of the value.
#[inline]
fn code_at(data: &[u8], from: usize, end: usize) -> u64 {
    let Some(bytes) = data.get(from..).and_then(<[u8]>::first_chunk::<8>) else {
        return first_bytes(part(data, from, end.max(from)));
    };
    // In one piece, whatever the length: the bytes of the next value are masked.
    let missing = 8 - end.saturating_sub(from).min(8);
    let mask = u64::MAX.checked_shl(u32::try_from(8 * missing).unwrap_or(64)).unwrap_or(0);
    u64::from_be_bytes(*bytes) & mask
}

/// An offset into bytes.
pub trait Offset: Copy {
    /// Returns the offset as an index; a negative one is 0.
    fn at(self) -> usize;
}

macro_rules! offset {
    ($($type:ty),*) => {$(
        impl Offset for $type {
            #[inline]
            fn at(self) -> usize {
                usize::try_from(self).unwrap_or(0)
            }
        }
    )*};
}

offset!(i32, i64, u32, u64, usize);

/// A column some of whose values are null.
///
/// ```
/// use losertree::merge::window::{Column, Nullable, Values};
///
/// let column = Nullable::new(Values::new(vec![1, 0, 3]), |row| row == 1);
/// assert!(column.is_null(1) && !column.is_null(2));
/// ```
#[derive(Clone, Copy)]
pub struct Nullable<C, N> {
    values: C,
    is_null: N,
}

impl<C: Column, N: Fn(usize) -> bool> Nullable<C, N> {
    /// Creates a column whose nulls a function knows. What the values are in such rows does not matter.
    pub const fn new(values: C, is_null: N) -> Self {
        Self { values, is_null }
    }
}

impl<C: fmt::Debug, N> fmt::Debug for Nullable<C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nullable").field("values", &self.values).finish_non_exhaustive()
    }
}

impl<C: Column, N: Fn(usize) -> bool> Column for Nullable<C, N> {
    fn rows(&self) -> usize {
        self.values.rows()
    }

    fn has_nulls(&self) -> bool {
        true
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        (self.is_null)(row)
    }

    #[inline]
    fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        self.values.compare(row, &other.values, other_row)
    }

    #[inline]
    fn code(&self, row: usize) -> u64 {
        self.values.code(row)
    }

    fn codes(ranges: &[Rows<'_, Self>], bounds: Option<Bounds<'_, Self>>, codes: &mut Vec<u64>) -> Coding {
        let ranges: Vec<_> = ranges.iter().map(|range| range.of(|column| &column.values)).collect();
        let bounds = bounds
            .map(|((low, low_row), (high, high_row))| ((&low.values, low_row), (&high.values, high_row)));
        C::codes(&ranges, bounds, codes)
    }
}
