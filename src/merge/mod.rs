//! Merging of iterators, and of runs in memory, synchronously.
//!
//! [`merge`], [`merge_by`], [`merge_by_key`] and [`merge_with`] merge sources that cannot fail.
//! [`try_merge`] and [`try_merge_with`] merge sources of `Result`s. [`merge_coded`] merges items that know what they have in common
//! with the item before. The order in which a function takes the sources decides ties.
//!
//! [`runs`] merges whole runs that are in memory.
//!
//! # Ordering
//!
//! Each source must be sorted by the order of the merge. Then the output is what a stable sort of the concatenated sources gives:
//! sorted, with equal items in the order of their sources, and within a source in the order in which it gave them.
//! If a source is out of order, so is the output. Nothing is lost.
//!
//! # Laziness
//!
//! Constructors pull nothing. The first item pulls one item from each source. Each later one pulls one item
//! from the source of the item before. A source is dropped as soon as it has ended, and
//! is not asked again.
//!
//! # Blocks
//!
//! Sources that give batches of items are merged by [`merge_batches`]: see [`window`]. Item by item they are merged as
//! `merge(sources.map(Iterator::flatten))`. The items are taken from the block at hand, and a source is asked again when its
//! block is used up. [`Merge::next_block`] takes blocks out of a merge.

mod coalesce;
mod engine;
#[allow(clippy::module_inception)]
mod merge;
pub mod runs;
mod try_merge;
pub mod window;

pub(crate) use coalesce::Rule;
pub use coalesce::{Coalesce, Combine, KeepFirst, KeepFirstBy};
pub use engine::Undrained;
pub use merge::{CodedMerge, Merge, merge, merge_by, merge_by_key, merge_coded, merge_with};
pub use runs::{merge_runs, merge_runs_with};
#[cfg(feature = "rayon")]
pub use runs::{par_merge_runs, par_merge_runs_with};
pub use try_merge::{TryMerge, try_merge, try_merge_with};
pub use window::{MergeBatches, merge_batches, merge_batches_with};
