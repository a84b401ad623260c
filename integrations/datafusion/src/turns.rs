use arrow::array::{ArrayRef, UInt64Array};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion_common::Result;
use losertree::merge::window::{Columns, Direction, KeyColumns, RowOrder};

/// Has equal rows of several inputs take turns: the first of each input, then the second of each, and so on.
///
/// Which of the equal rows of its input a row is, is one more column to merge by. So it is known before anything is merged, and however
/// few of the rows a window has.
pub(crate) struct Turns {
    order: Columns,
    converter: RowConverter,
    /// The last row of each input, and how many equal ones came before it. A copy: batches are let go of.
    last: Vec<Option<(OwnedRow, u64)>>,
}

impl Turns {
    /// For keys of these types, in these directions.
    ///
    /// # Errors
    ///
    /// If a type cannot be copied as a row.
    pub(crate) fn new(types: Vec<DataType>, directions: Vec<Direction>) -> Result<Self> {
        let converter = RowConverter::new(types.into_iter().map(SortField::new).collect())?;
        Ok(Self { order: Columns::new(directions), converter, last: Vec::new() })
    }

    /// Returns how many equal rows of its input come before each row of its next batch, which has rows. The keys are those of the arrays.
    pub(crate) fn next<K: KeyColumns>(
        &mut self,
        input: usize,
        keys: &K,
        arrays: &[ArrayRef],
    ) -> Result<UInt64Array> {
        let row = |row: usize| {
            let arrays: Vec<_> = arrays.iter().map(|array| array.slice(row, 1)).collect();
            self.converter.convert_columns(&arrays).map(|rows| rows.row(0).owned())
        };
        let (first, last) = (row(0)?, row(keys.rows() - 1)?);
        if self.last.len() <= input {
            self.last.resize(input + 1, None);
        }
        let mut turn = match &self.last[input] {
            Some((row, turn)) if *row == first => turn + 1,
            _ => 0,
        };
        let mut turns = Vec::with_capacity(keys.rows());
        turns.push(turn);
        for row in 1..keys.rows() {
            let is_equal = RowOrder::compare(&mut self.order, (keys, row - 1), (keys, row)).is_eq();
            turn = if is_equal { turn + 1 } else { 0 };
            turns.push(turn);
        }
        self.last[input] = Some((last, turn));
        Ok(UInt64Array::from(turns))
    }

    /// Forgets the last row of an input that has ended.
    pub(crate) fn end(&mut self, input: usize) {
        if let Some(last) = self.last.get_mut(input) {
            *last = None;
        }
    }
}
