//! Merges of batches: what the oracle says, whatever the sizes of the batches, the keys and the order of supply.
#![allow(clippy::expect_used, clippy::unwrap_used)]
// Numbers of rows are small here.
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
// quickcheck hands over its inputs by value.
#![allow(clippy::needless_pass_by_value)]

mod by_hand;
mod columns;
mod cost;
mod oracle;
mod panics;
mod slices;
