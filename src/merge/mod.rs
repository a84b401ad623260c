//! Merging of iterators, and of runs in memory, synchronously.
//!
//! [`merge`], [`merge_by`], [`merge_by_key`] and [`merge_with`] merge sources that cannot fail;
//! [`try_merge`], [`try_merge_by`], [`try_merge_by_key`] and [`try_merge_with`] merge sources of `Result`s. [`merge_coded`] merges items that know what they have in common with the
//! item before. [`MergeSorted`] has the same as methods of a collection of
//! sources. All of them take the sources in the order that decides ties.
//!
//! [`runs`] merges whole runs that are in memory.
//!
//! # Ordering
//!
//! Each source must be sorted by the order of the merge. The output is then sorted by it, and equal items
//! come in the order of their sources, and within a source in the order in which it gave them: what a stable
//! sort of the concatenated sources gives. If a source is out of order, so is the output; nothing is lost.
//!
//! # Laziness
//!
//! Constructors pull nothing. The first item pulls one item from each source, each later one pulls one item
//! from the source of the item before. A source is dropped as soon as it has said that it is at its end, and
//! is not asked again. [`Merge::staged`] is the exception that one asks for.
//!
//! # Blocks
//!
//! Sources that give batches of items, and not items, are merged by [`merge_batches`]: see [`window`]. Item by item they are merged as
//! `merge(sources.map(Iterator::flatten))`: the items are taken from the block at hand, and a source is asked again when it is
//! used up. [`Merge::next_block`] takes blocks out of a merge, and [`Merge::staged`] makes blocks of what plain iterators
//! give, which pays for many sources of many items.

mod coalesce;
mod coded_merge;
mod engine;
#[allow(clippy::module_inception)]
mod merge;
mod merge_sorted;
mod rule;
pub mod runs;
mod staged;
mod sync_merge;
mod try_merge;
mod undrained;
pub mod window;

pub use coalesce::Coalesce;
pub use coded_merge::{CodedMerge, merge_coded};
pub use merge::{Merge, merge, merge_by, merge_by_key, merge_with};
pub use merge_sorted::MergeSorted;
pub(crate) use rule::Rule;
pub use rule::{Combine, KeepFirst, KeepFirstBy};
pub use runs::{
    merge_owned_runs, merge_owned_runs_with, merge_runs, merge_runs_by, merge_runs_by_key, merge_runs_with,
};
#[cfg(feature = "rayon")]
pub use runs::{par_merge_runs, par_merge_runs_by, par_merge_runs_by_key, par_merge_runs_with};
pub use staged::Staged;
use sync_merge::SyncMerge;
pub use try_merge::{TryMerge, try_merge, try_merge_by, try_merge_by_key, try_merge_with};
pub use undrained::Undrained;
pub use window::{MergeBatches, merge_batches, merge_batches_with};
