//! What the benchmarks have in common: what is merged, and by what.

pub(crate) mod asynchronous;
pub(crate) mod contender;
pub(crate) mod heaps;
pub(crate) mod sync;
pub(crate) mod workload;
