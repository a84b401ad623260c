//! What the benchmarks have in common: what is merged, and by what.
// Each of them uses a part of it.
#![allow(dead_code)]

pub(crate) mod asynchronous;
pub(crate) mod bulk;
pub(crate) mod contender;
pub(crate) mod counted;
pub(crate) mod heaps;
pub(crate) mod scrapes;
pub(crate) mod sync;
pub(crate) mod workload;
