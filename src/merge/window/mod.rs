//! Merging of batches as batches.

mod bulk;
mod column;
mod columns;
mod engine;
mod gather;
mod merge_batches;
mod row_order;
mod run;
mod sources;
mod supply_error;
#[allow(clippy::module_inception)]
mod window;
mod window_merge;

pub use column::{Bounds, ByteColumn, Column, Nullable, Offset, Values};
pub use columns::{Columns, Direction, KeyColumns};
pub use gather::{AppendRows, Gather};
pub use merge_batches::{MergeBatches, merge_batches, merge_batches_with};
pub use row_order::{Coding, RowOrder, Rows};
pub use run::Run;
pub use supply_error::SupplyError;
pub use window::Window;
pub use window_merge::WindowMerge;
