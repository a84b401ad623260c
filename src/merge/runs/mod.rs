//! Merging of sorted runs that are in memory, in bulk.

mod cascade;
mod cut;
mod entry;
mod lane;
mod level;
mod merge_runs;
#[cfg(feature = "rayon")]
mod par;
mod sink;
#[cfg(feature = "rayon")]
mod split;

pub use merge_runs::{merge_runs, merge_runs_by, merge_runs_by_key, merge_runs_with};
#[cfg(feature = "rayon")]
pub use par::{par_merge_runs, par_merge_runs_by, par_merge_runs_by_key, par_merge_runs_with};
use sink::Sink;
