//! Executors of [Ballista](https://datafusion.apache.org/ballista) merge ordered queries by windows of [`losertree`].
//!
//! [`enable`] is all that an executor needs. Then each `SortPreservingMergeExec` of each stage that is sent to it is run as a
//! [`LoserTreeMergeExec`](losertree_datafusion::LoserTreeMergeExec), and a task that is cancelled stops and drops what it has open. The
//! scheduler, the plans that it makes and its clients stay as they are.
//!
//! The README has the whole program and the limits.

mod client_pool;
mod codec;
mod enable;
mod engine;
mod options;
mod output;

pub use codec::LoserTreeCodec;
pub use enable::{enable, enable_with_ledger};
pub use engine::LoserTreeEngine;
pub use options::with_options;

/// The code of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
