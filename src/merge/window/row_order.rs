use std::cmp::Ordering;
use std::ops::{Deref, Range};

use crate::key::Order;

/// How the rows of batches are ordered, and how that is told by numbers.
///
/// A batch is whatever has rows: a slice of items, columns of keys, or a record batch with the columns that it is sorted by. The order
/// reads it where it is. Ready-made are:
///
/// | batches of type `B` | order |
/// |---|---|
/// | that are slices (`B: Deref<Target = [T]>`): `Vec<T>`, `&[T]`, `Arc<[T]>` and so on | any [`Order`]: [`Natural`](crate::key::Natural) for a [`SortKey`](crate::SortKey), [`By`](crate::key::By) for a comparator, [`ByKey`](crate::key::ByKey), [`Reversed`](crate::key::Reversed) |
/// | that have [columns](super::KeyColumns) | [`Columns`](super::Columns): ascending or descending, nulls first or last |
///
/// # Ordering
///
/// [`compare`](Self::compare) must be a total order, and codes must preserve it. An implementation that breaks this cannot make a merge
/// lose rows, repeat them or panic; the order of the output is unspecified then.
pub trait RowOrder<B> {
    /// What [`code`](Self::code) tells. Default: nothing.
    const CODES: Coding = Coding::Nothing;

    /// Returns how many rows a batch has.
    fn rows(&self, batch: &B) -> usize;

    /// Compares a row with one of the same or another batch.
    fn compare(&mut self, a: (&B, usize), b: (&B, usize)) -> Ordering;

    /// Returns the code of a row: a smaller code means a smaller row, whatever batch it is in.
    #[inline]
    fn code(&mut self, row: (&B, usize)) -> u64 {
        let _ = row;
        0
    }

    /// Appends a code for each of the rows, range after range, and returns what these codes tell.
    ///
    /// They need to be good among these rows alone, all of which are between `low` and `high`, inclusive: so what these have in common
    /// need not be in a code, and there is more room for what differs. The merge subtracts the smallest code and drops the
    /// lowest bits if there are too many, so a code may begin with zeros, and the most significant differences should come first.
    ///
    /// Default: [`code`](Self::code), if it tells something.
    ///
    /// If the number of codes is wrong, they are not used.
    fn codes(
        &mut self,
        ranges: &[Rows<'_, B>],
        low: (&B, usize),
        high: (&B, usize),
        codes: &mut Vec<u64>,
    ) -> Coding {
        let _ = (low, high);
        if Self::CODES != Coding::Nothing {
            for Rows { batch, rows } in ranges {
                codes.extend(rows.clone().map(|row| self.code((*batch, row))));
            }
        }
        Self::CODES
    }

    /// Returns the section that a row is in. Sections come one after the other: all rows of a smaller one are smaller. Default: 0.
    ///
    /// A merge orders each section by itself, so that codes need not tell one from the other. Nulls are a section.
    #[inline]
    fn section(&mut self, row: (&B, usize)) -> u32 {
        let _ = row;
        0
    }
}

/// What codes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// There are none.
    Nothing,
    /// A smaller code means a smaller row; rows with equal codes must be compared.
    Inexact,
    /// Also, equal codes mean equal rows.
    Exact,
}

/// Some neighbouring rows of a batch.
#[derive(Debug)]
pub struct Rows<'a, B> {
    /// The batch.
    pub batch: &'a B,
    /// Which of its rows.
    pub rows: Range<usize>,
}

impl<B> Clone for Rows<'_, B> {
    fn clone(&self) -> Self {
        Self { batch: self.batch, rows: self.rows.clone() }
    }
}

impl<'a, B> Rows<'a, B> {
    /// Returns the same rows of a part of the batch, such as one of its columns.
    pub fn of<P>(&self, part: impl FnOnce(&'a B) -> &'a P) -> Rows<'a, P> {
        Rows { batch: part(self.batch), rows: self.rows.clone() }
    }
}

/// Slices, by the order of their items.
impl<T, B, O> RowOrder<B> for O
where
    B: Deref<Target = [T]>,
    O: Order<T>,
{
    const CODES: Coding = if O::EXACT {
        Coding::Exact
    } else if O::HAS_CODES {
        Coding::Inexact
    } else {
        Coding::Nothing
    };

    #[inline]
    fn rows(&self, batch: &B) -> usize {
        batch.len()
    }

    #[inline]
    fn compare(&mut self, (a, row_a): (&B, usize), (b, row_b): (&B, usize)) -> Ordering {
        match (a.get(row_a), b.get(row_b)) {
            (Some(a), Some(b)) if O::EXACT => Order::code(self, a).cmp(&Order::code(self, b)),
            (Some(a), Some(b)) => Order::compare(self, a, b),
            _ => Ordering::Equal,
        }
    }

    #[inline]
    fn code(&mut self, (batch, row): (&B, usize)) -> u64 {
        batch.get(row).map_or(0, |item| Order::code(self, item))
    }

    fn codes(
        &mut self,
        ranges: &[Rows<'_, B>],
        (low, low_row): (&B, usize),
        (high, high_row): (&B, usize),
        codes: &mut Vec<u64>,
    ) -> Coding {
        if !O::HAS_CODES {
            return Coding::Nothing;
        }
        let prefix = match (low.get(low_row), high.get(high_row)) {
            (Some(low), Some(high)) if !O::EXACT => self.shared_prefix(low, high),
            _ => None,
        };
        for Rows { batch, rows } in ranges {
            let items = batch.get(rows.clone()).unwrap_or_default();
            match prefix {
                Some(prefix) => codes.extend(items.iter().map(|item| Order::code_behind(self, prefix, item))),
                None => codes.extend(items.iter().map(|item| Order::code(self, item))),
            }
        }
        <Self as RowOrder<B>>::CODES
    }
}
