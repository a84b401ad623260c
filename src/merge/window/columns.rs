use std::cmp::Ordering;
use std::mem;
use std::sync::Arc;

use super::{Coding, Column, RowOrder, Rows};

/// The order of batches that have key columns: by the first column, then by the second, and so on, each in its direction.
///
/// # Codes
///
/// Columns in which all rows of a window are equal need no bits. Of the others as many are put together in a code as fit into its 64
/// bits, each with the bits that its values in the window need. So two or three columns of numbers mostly have exact codes. The nulls of the first column are a
/// [section](RowOrder::section).
///
/// # Examples
///
/// ```
/// use losertree::merge::window::{ByteColumn, Columns, Direction, Values, WindowMerge};
///
/// // By time, the latest first.
/// let times = |times: &[i64]| vec![Values::new(times.to_vec())];
/// let mut merge = WindowMerge::new(Columns::new([Direction::DESCENDING]), 2);
/// merge.supply(0, times(&[9, 7]))?;
/// merge.supply(1, times(&[8, 1]))?;
/// let rows = merge.next_window(2).runs().iter().map(|run| (run.source(), run.rows()));
/// assert!(rows.eq([(0, 0..1), (1, 0..1)]));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Columns {
    directions: Vec<Direction>,
    /// The codes of a column, and which of its rows are null.
    codes: Vec<u64>,
    nulls: Vec<bool>,
}

/// In which direction a column is ordered, and where its nulls are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Direction {
    /// Whether the greatest value comes first.
    pub is_descending: bool,
    /// Whether nulls come before all values, in either direction.
    pub are_nulls_first: bool,
}

impl Direction {
    /// The smallest value first, nulls last.
    pub const ASCENDING: Self = Self { is_descending: false, are_nulls_first: false };

    /// The greatest value first, nulls last.
    pub const DESCENDING: Self = Self { is_descending: true, are_nulls_first: false };

    /// The same with nulls first.
    #[must_use]
    pub const fn nulls_first(self) -> Self {
        Self { are_nulls_first: true, ..self }
    }

    /// Whether the column of a row with or without a value comes in the first section of the two.
    const fn section(self, is_null: bool) -> u32 {
        if is_null == self.are_nulls_first { 0 } else { 1 }
    }
}

/// A batch that has columns to be ordered by. An engine implements it for what it has, such as a record batch with its key columns.
pub trait KeyColumns {
    /// What a column is: one type for all of them, mostly an enum.
    type Column: Column;

    /// Returns the columns, the most significant first. All have as many rows.
    fn key_columns(&self) -> &[Self::Column];

    /// Returns how many rows there are. Default: as many as in the first column.
    fn rows(&self) -> usize {
        self.key_columns().first().map_or(0, Column::rows)
    }
}

macro_rules! key_columns {
    ($($type:ty),*) => {$(
        impl<C: Column> KeyColumns for $type {
            type Column = C;

            fn key_columns(&self) -> &[C] {
                self
            }
        }
    )*};
}

key_columns!(Vec<C>, &[C], Box<[C]>, Arc<[C]>);

impl Columns {
    /// Creates the order of as many columns as there are directions. Further columns of a batch are not looked at.
    pub fn new(directions: impl IntoIterator<Item = Direction>) -> Self {
        Self { directions: directions.into_iter().collect(), codes: Vec::new(), nulls: Vec::new() }
    }

    fn compare_from<B: KeyColumns>(
        &self,
        first: usize,
        (a, row_a): (&B, usize),
        (b, row_b): (&B, usize),
    ) -> Ordering {
        let columns = a.key_columns().iter().zip(b.key_columns()).zip(&self.directions).skip(first);
        for ((a, b), direction) in columns {
            let order = compare(*direction, (a, row_a), (b, row_b));
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }
}

fn compare<C: Column>(direction: Direction, (a, row_a): (&C, usize), (b, row_b): (&C, usize)) -> Ordering {
    let (null_a, null_b) = (a.is_null(row_a), b.is_null(row_b));
    if null_a || null_b {
        return direction.section(null_a).cmp(&direction.section(null_b));
    }
    let order = a.compare(row_a, b, row_b);
    if direction.is_descending { order.reverse() } else { order }
}

impl<B: KeyColumns> RowOrder<B> for Columns {
    const CODES: Coding = Coding::Inexact;

    fn rows(&self, batch: &B) -> usize {
        batch.rows()
    }

    #[inline]
    fn compare(&mut self, a: (&B, usize), b: (&B, usize)) -> Ordering {
        self.compare_from(0, a, b)
    }

    #[inline]
    fn code(&mut self, (batch, row): (&B, usize)) -> u64 {
        let (Some(column), Some(direction)) = (batch.key_columns().first(), self.directions.first()) else {
            return 0;
        };
        match (column.is_null(row), direction) {
            (true, Direction { are_nulls_first: true, .. }) => 0,
            (true, _) => u64::MAX,
            (_, Direction { is_descending: true, .. }) => !column.code(row),
            _ => column.code(row),
        }
    }

    #[inline]
    fn section(&mut self, (batch, row): (&B, usize)) -> u32 {
        match (batch.key_columns().first(), self.directions.first()) {
            (Some(column), Some(direction)) => direction.section(column.is_null(row)),
            _ => 0,
        }
    }

    fn codes(
        &mut self,
        ranges: &[Rows<'_, B>],
        (low, low_row): (&B, usize),
        (high, high_row): (&B, usize),
        codes: &mut Vec<u64>,
    ) -> Coding {
        let (lows, highs) = (low.key_columns(), high.key_columns());
        let has_all = |batch: &B| batch.key_columns().len() >= self.directions.len();
        if !ranges.iter().all(|range| has_all(range.batch)) {
            return Coding::Nothing;
        }
        let mut own = mem::take(&mut self.codes);
        let mut nulls = mem::take(&mut self.nulls);
        let begin = codes.len();
        let mut bits = 0;
        let mut coding = Coding::Exact;
        for (index, direction) in self.directions.iter().enumerate() {
            let (low, high) = (&lows[index], &highs[index]);
            let is_first = bits == 0;
            if is_first && compare(*direction, (low, low_row), (high, high_row)).is_eq() {
                continue;
            }
            let columns: Vec<_> =
                ranges.iter().map(|range| range.of(|batch| &batch.key_columns()[index])).collect();
            let are_bounds = is_first && !low.is_null(low_row) && !high.is_null(high_row);
            let (least, most) = if direction.is_descending {
                ((high, high_row), (low, low_row))
            } else {
                ((low, low_row), (high, high_row))
            };
            // The first codes are made where they belong.
            let (room, at) = if is_first { (&mut *codes, begin) } else { (&mut own, 0) };
            room.truncate(at);
            coding = Column::codes(&columns, are_bounds.then_some((least, most)), room);
            let rows: usize = columns.iter().map(|range| range.rows.len()).sum();
            let of_column = room.get_mut(at..).unwrap_or_default();
            if coding == Coding::Nothing || of_column.len() != rows {
                coding = if is_first { Coding::Nothing } else { Coding::Inexact };
                break;
            }
            if direction.is_descending {
                for code in &mut *of_column {
                    *code = !*code;
                }
            }
            nulls.clear();
            if columns.iter().any(|range| range.batch.has_nulls()) {
                nulls.extend(
                    columns.iter().flat_map(|range| range.rows.clone().map(|row| range.batch.is_null(row))),
                );
            }
            let (width, is_exact) = narrow(of_column, &nulls, direction.are_nulls_first);
            if !is_exact {
                coding = Coding::Inexact;
            }
            // What does not fit loses its lowest bits.
            let lost = (bits + width).saturating_sub(64);
            let width = width - lost;
            if lost > 0 {
                coding = Coding::Inexact;
            }
            if !is_first && width > 0 {
                for (code, own) in codes[begin..].iter_mut().zip(&own) {
                    *code = *code << width | own >> lost;
                }
            }
            bits += width;
            if coding == Coding::Inexact || bits == 64 {
                let is_last = index + 1 == self.directions.len();
                coding = if is_last { coding } else { Coding::Inexact };
                break;
            }
        }
        if bits == 0 {
            coding = Coding::Nothing;
        }
        (self.codes, self.nulls) = (own, nulls);
        coding
    }
}

/// Subtracts the smallest code from all, gives nulls a code of their own, and returns how many bits the codes have now, and whether they tell
/// as much as before.
fn narrow(codes: &mut [u64], nulls: &[bool], are_nulls_first: bool) -> (u32, bool) {
    let bounds = |values: &mut dyn Iterator<Item = u64>| {
        values.fold((u64::MAX, 0), |(least, most), code| (code.min(least), code.max(most)))
    };
    if !nulls.contains(&true) {
        let (least, most) = bounds(&mut codes.iter().copied());
        for code in codes.iter_mut() {
            *code = code.wrapping_sub(least);
        }
        return (64 - most.saturating_sub(least).leading_zeros(), true);
    }
    let of_values = codes.iter().zip(nulls).filter(|(_, is_null)| !**is_null);
    let (least, most) = bounds(&mut of_values.map(|(code, _)| *code));
    let range = most.saturating_sub(least);
    // A range of 64 bits has no room for nulls.
    let lost = u32::from(range == u64::MAX);
    let (before, null) = if are_nulls_first { (1, 0) } else { (0, (range >> lost) + 1) };
    for (code, is_null) in codes.iter_mut().zip(nulls) {
        *code = if *is_null { null } else { (code.wrapping_sub(least) >> lost) + before };
    }
    (64 - ((range >> lost) + 1).leading_zeros(), lost == 0)
}
