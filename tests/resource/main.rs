//! What must be given back: the buffer pool, the reader gate, the ledger.

// A test fails by panicking; quickcheck hands over its inputs by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod byte_pool;
mod byte_pool_model;
#[cfg(feature = "tokio")]
mod close_timeout;
#[cfg(feature = "tokio")]
mod lease_timeout;
mod lease_wait;
mod ledger;
mod long_held;
mod reader_gate;
mod reservation;
mod stress;
mod uncollected_grants;
