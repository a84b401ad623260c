use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::row::{RowConverter, SortField};
use datafusion_common::{Result, not_impl_err};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{LexOrdering, PhysicalExpr};
use losertree::merge::window::{Columns, Direction, KeyColumns};

use crate::key_column::KeyColumn;
use crate::turns::Turns;

/// What batches are sorted by, and how that is read from them.
pub(crate) struct SortKeys {
    keys: Vec<SortKey>,
    /// If equal rows take turns. Otherwise they come by input.
    turns: Option<Turns>,
}

struct SortKey {
    expr: Arc<dyn PhysicalExpr>,
    /// If it is a column of the batch, which takes no memory of its own: which one.
    column: Option<usize>,
    /// The type of the column that is merged by.
    data_type: DataType,
    direction: Direction,
    /// For types that have no [`KeyColumn`]: makes rows of bytes, in the direction already.
    converter: Option<RowConverter>,
}

impl fmt::Debug for SortKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| (&key.expr, key.direction))).finish()
    }
}

/// The rows of a batch as a merge has them: their keys, and where the batch is.
#[derive(Debug)]
pub(crate) struct Keyed {
    pub(crate) columns: Vec<KeyColumn>,
    pub(crate) rows: usize,
    /// Where the output holds the batch.
    pub(crate) slot: usize,
}

impl KeyColumns for Keyed {
    type Column = KeyColumn;

    fn key_columns(&self) -> &[KeyColumn] {
        &self.columns
    }

    fn rows(&self) -> usize {
        self.rows
    }
}

impl SortKeys {
    /// Finds out how to read the keys of an ordering.
    ///
    /// # Errors
    ///
    /// `NotImplemented`, if a type has no order.
    pub(crate) fn new(schema: &Schema, ordering: &LexOrdering) -> Result<Self> {
        let key = |sort: &datafusion_physical_expr::PhysicalSortExpr| {
            let data_type = sort.expr.data_type(schema)?;
            let options = sort.options;
            let column = sort.expr.downcast_ref::<Column>().map(Column::index);
            let expr = Arc::clone(&sort.expr);
            if KeyColumn::is_supported(&data_type) {
                let direction =
                    Direction { is_descending: options.descending, are_nulls_first: options.nulls_first };
                return Ok(SortKey { expr, column, data_type, direction, converter: None });
            }
            let field = SortField::new_with_options(data_type.clone(), options);
            if !RowConverter::supports_fields(std::slice::from_ref(&field)) {
                return not_impl_err!("a merge by a column of type {data_type}");
            }
            let converter = Some(RowConverter::new(vec![field])?);
            let (data_type, direction) = (DataType::Binary, Direction::ASCENDING);
            Ok(SortKey { expr, column, data_type, direction, converter })
        };
        Ok(Self { keys: ordering.iter().map(key).collect::<Result<_>>()?, turns: None })
    }

    /// Has equal rows of several inputs take turns.
    pub(crate) fn with_turns(self) -> Result<Self> {
        let types = self.keys.iter().map(|key| key.data_type.clone()).collect();
        let directions = self.keys.iter().map(|key| key.direction).collect();
        Ok(Self { turns: Some(Turns::new(types, directions)?), ..self })
    }

    pub(crate) fn order(&self) -> Columns {
        let turns = self.turns.as_ref().map(|_| Direction::ASCENDING);
        Columns::new(self.keys.iter().map(|key| key.direction).chain(turns))
    }

    /// Returns the keys of the next batch of an input, which has rows, and how many bytes they take that are not those of the batch.
    pub(crate) fn of(&mut self, input: usize, batch: &RecordBatch) -> Result<(Vec<KeyColumn>, usize)> {
        let mut bytes = 0;
        let mut columns = Vec::with_capacity(self.keys.len() + usize::from(self.turns.is_some()));
        let mut arrays = Vec::new();
        for key in &self.keys {
            let array = key.array(batch)?;
            if key.column.is_none() || key.converter.is_some() {
                bytes += array.get_array_memory_size();
            }
            columns.push(column(&array)?);
            if self.turns.is_some() {
                arrays.push(array);
            }
        }
        if let Some(turns) = &mut self.turns {
            let turns: ArrayRef = Arc::new(turns.next(input, &columns, &arrays)?);
            bytes += turns.get_array_memory_size();
            columns.push(column(&turns)?);
        }
        Ok((columns, bytes))
    }

    /// Forgets what is kept of an input that has ended.
    pub(crate) fn end(&mut self, input: usize) {
        if let Some(turns) = &mut self.turns {
            turns.end(input);
        }
    }
}

impl SortKey {
    /// Returns what the rows of a batch are ordered by.
    fn array(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let array = match self.column.and_then(|index| batch.columns().get(index)) {
            Some(array) => Arc::clone(array),
            None => self.expr.evaluate(batch)?.into_array(batch.num_rows())?,
        };
        let Some(converter) = &self.converter else { return Ok(array) };
        Ok(Arc::new(converter.convert_columns(&[array])?.try_into_binary()?))
    }
}

fn column(array: &ArrayRef) -> Result<KeyColumn> {
    let Some(column) = KeyColumn::new(array) else {
        return not_impl_err!("a merge by a column of type {}", array.data_type());
    };
    Ok(column)
}
