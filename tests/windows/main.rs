//! Merges of batches: what the oracle says, whatever the sizes of the batches, the keys and the order of supply.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod by_hand;
mod columns;
mod cost;
mod oracle;
mod panics;
mod slices;
