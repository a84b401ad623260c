//! DataFusion merges its ordered queries, and the runs of its sorts, by windows of [`losertree`].
//!
//! [`enable`] is all that a session needs. Then [`LoserTreeMergeExec`] takes the place of DataFusion's `SortPreservingMergeExec` in
//! its plans, and [`LoserTreeSortExec`] that of its `SortExec` without a limit. The README has the limits.
//!
//! Without the feature `session`, there is no [`enable`], and only the crates of the physical layer are needed: use the
//! rule [`MergeByWindows`] or the nodes.

mod batch_bytes;
#[cfg(feature = "session")]
mod enable;
mod key_column;
mod keys;
mod merge_by_windows;
mod merge_exec;
mod merge_stream;
mod options;
mod output;
mod sort_exec;
mod sorter;
mod turns;

#[cfg(feature = "session")]
pub use enable::enable;
pub use merge_by_windows::MergeByWindows;
pub use merge_exec::LoserTreeMergeExec;
pub use options::LoserTreeOptions;
pub use sort_exec::LoserTreeSortExec;
