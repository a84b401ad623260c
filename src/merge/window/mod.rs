//! Merging of batches as batches: what comes next is told as runs of rows, and no row is touched.
//!
//! Engines hand over batches, and not items. [`WindowMerge`] says which sources it needs a batch of, is supplied, and gives
//! [`Run`]s: a source, a batch, a row, and how many rows. [`merge_batches`] drives it for iterators of batches, and fills a vector if
//! the batches are slices. [`Gather`] puts the rows of a [`Window`] into columns.
//!
//! # A window, K = 3
//!
//! Of the batches at hand, everything up to the smallest of their last rows comes before whatever the sources will give later. Here
//! that is the 8 of s1. A row of s0 that is equal to it would come with it, one of s2 would not: ties go by source.
//!
//! ```text
//! s0   1   4   5   8 │ 9   12   20              needs no batch: 9 is next
//! s1   2   6   7   8 │                          used up: needs a batch
//! s2   3   3 │ 11   15                          needs no batch: 11 is next
//!                    ╰─ the window ends here
//!
//! runs   s0 1   s1 2   s2 3 3   s0 4 5   s1 6 7   s0 8   s1 8
//! ```
//!
//! So nothing is held back for longer than any merge must: the first rows come when each source has given its first batch, and a
//! source is asked for the next one when nothing more can be decided without it.
//!
//! # How a window is merged
//!
//! The rows of a window are known, so they are told apart by numbers that are good in it alone: its smallest code is subtracted, strings
//! begin behind what all of them share, and columns that are equal throughout are left out. Of the bits that are left, the lowest
//! take the index of the source. Then
//! the numbers are merged in bulk, as [runs in memory](super::runs) are, and what is read from the result is only which source is
//! next: the rows of each come in their own order.
//!
//! ```text
//! rows       "cart" s0   "cat" s0   │   "carbon" s1   "catalog" s1          the window shares "ca"
//! numbers     rt·0        t·0       │    rbon·1        talog·1
//! merged      rbon·1   rt·0   t·0   talog·1
//! runs        s1 1 row,  s0 2 rows,  s1 1 row
//! ```
//!
//! Rows with equal numbers are compared, or get numbers of their own, unless these are [exact](Coding::Exact). What an order
//! has no codes for is merged by comparing. A vector of items is filled by merging the items themselves, as runs in memory: all that is
//! decided at once, since these cut it into portions.
//!
//! # When there is no window
//!
//! To find a window all sources are looked at. That does not pay where it has few rows for each of them, as with
//! many sources of small batches. Then the [tournament](crate::tree) of the sources' next rows decides, which touches the winner alone; a
//! vector of items is filled by a tournament of items. It also does where sources give many rows in a row, as disjoint ones do: it
//! finds by doubling and bisection how many. And it does where a vector is filled with items of few sources that are told apart late, so that a
//! window, too, would compare all of their bytes. Which way is taken is decided by what the rows have been like, and by how long batches are: a
//! window ends with one of them, so where they are short none is tried.
//!
//! The first items come from a tournament of items too, before anything is set up for windows. So who wants few does not pay for them.
//!
//! # Where it is
//!
//! | file | what |
//! |---|---|
//! | `window_merge` | what is needed, supplied, handed out and withdrawn |
//! | `engine` | which way the next rows are decided |
//! | `sources` | the batches and how far they are merged: the order of the tournament |
//! | `bulk` | a window, by numbers |
//! | `row_order`, `columns`, `column` | how rows are ordered, and their codes |
//! | `gather` | from runs to columns |
//! | `merge_batches` | the merge of iterators |
//! | `one_by_one` | its sources, and the same item by item |

mod bulk;
mod column;
mod columns;
mod engine;
mod gather;
mod merge_batches;
mod one_by_one;
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
pub(crate) use window::Items;
pub use window::Window;
pub use window_merge::WindowMerge;
