use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, SortField};
use datafusion_common::{Result, not_impl_err};
use datafusion_physical_expr::expressions::Column;
use datafusion_physical_expr::{LexOrdering, PhysicalExpr};
use losertree::merge::window::{Columns, Direction, KeyColumns};

use crate::key_column::KeyColumn;

/// What batches are sorted by, and how that is read from them.
pub(crate) struct SortKeys {
    keys: Vec<SortKey>,
}

struct SortKey {
    expr: Arc<dyn PhysicalExpr>,
    /// Whether it is a column of the batch, which takes no memory of its own.
    is_column: bool,
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
    pub(crate) columns: Box<[KeyColumn]>,
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
            let is_column = sort.expr.downcast_ref::<Column>().is_some();
            let expr = Arc::clone(&sort.expr);
            if KeyColumn::is_supported(&data_type) {
                let direction =
                    Direction { is_descending: options.descending, are_nulls_first: options.nulls_first };
                return Ok(SortKey { expr, is_column, direction, converter: None });
            }
            let field = SortField::new_with_options(data_type.clone(), options);
            if !RowConverter::supports_fields(std::slice::from_ref(&field)) {
                return not_impl_err!("a merge by a column of type {data_type}");
            }
            let converter = Some(RowConverter::new(vec![field])?);
            Ok(SortKey { expr, is_column, direction: Direction::ASCENDING, converter })
        };
        Ok(Self { keys: ordering.iter().map(key).collect::<Result<_>>()? })
    }

    pub(crate) fn order(&self) -> Columns {
        Columns::new(self.keys.iter().map(|key| key.direction))
    }

    /// Returns the keys of a batch, and how many bytes they take that are not those of the batch.
    pub(crate) fn of(&self, batch: &RecordBatch) -> Result<(Box<[KeyColumn]>, usize)> {
        let mut bytes = 0;
        let column = |key: &SortKey| {
            let array = key.expr.evaluate(batch)?.into_array(batch.num_rows())?;
            let array = if let Some(converter) = &key.converter {
                let rows: Arc<dyn Array> = Arc::new(converter.convert_columns(&[array])?.try_into_binary()?);
                bytes += rows.get_array_memory_size();
                rows
            } else {
                if !key.is_column {
                    bytes += array.get_array_memory_size();
                }
                array
            };
            let Some(column) = KeyColumn::new(&array) else {
                return not_impl_err!("a merge by a column of type {}", array.data_type());
            };
            Ok(column)
        };
        let columns = self.keys.iter().map(column).collect::<Result<_>>()?;
        Ok((columns, bytes))
    }
}
