//! Metrics and spans, and what documentation and alert rules say of them.

// A test fails by panicking; quickcheck hands over its inputs by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "tracing")]
mod tracing;
