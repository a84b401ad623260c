//! Queries over many stores.

// A test fails by panicking; quickcheck hands over its inputs by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod backpressure;
mod batches;
#[cfg(feature = "tokio")]
mod closing;
mod composition;
#[cfg(feature = "tokio")]
mod composition_random;
mod dedup;
mod determinism;
#[cfg(feature = "tokio")]
mod eager;
mod frames;
#[cfg(feature = "tokio")]
mod matrix;
mod panics;
mod proxy_query;
mod responses;
mod sets;
mod shards;
#[cfg(feature = "tokio")]
mod stress;
// Most of those who use it need tokio.
#[cfg_attr(not(feature = "tokio"), allow(dead_code))]
mod timed;
#[cfg(feature = "tokio")]
mod timeouts;
