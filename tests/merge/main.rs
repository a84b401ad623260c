//! Keys, the tournament, and merges of iterators and of runs in memory.

// A test fails by panicking; quickcheck hands over its inputs by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod adaptors;
mod borrowed_keys;
mod coded;
mod coded_random;
mod infallible_sources;
mod keys;
mod next_block;
mod offset_codes;
mod peers;
#[path = "../shared/probe.rs"]
mod probe;
mod runs;
mod tree;
mod tree_codes;
mod tree_cost;
mod try_adaptors;
