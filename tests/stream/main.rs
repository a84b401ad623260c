//! Async sources and the merge of them, beyond what the promises say.

// A test fails by panicking; quickcheck hands over its inputs by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod auto_traits;
mod batch_merge;
mod batch_merge_memory;
mod block_sources;
mod close_on_drop;
mod coalesce_async;
mod error_reports;
mod found;
mod found_by_fuzzing;
mod sources;
mod unfold;
