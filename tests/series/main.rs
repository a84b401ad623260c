//! Labels, chunks and series.

// A test fails by panicking; quickcheck hands over its inputs by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod builder;
mod labels;
#[cfg(feature = "serde")]
mod serde;
mod text;
