//! Metrics for monitoring, through the [`metrics`](https://docs.rs/metrics) facade. Feature `metrics`.
//!
//! # Who publishes what, and when
//!
//! Pools, gates and ledgers keep their numbers themselves, under locks that they take anyway. A
//! [`Publisher`] reads them when a service calls [`Publisher::publish`], in the handler of a scrape or every
//! few seconds. A lease, a reader or an entry costs nothing more than without the feature. What happened in
//! between is not lost, since counters are published as totals.
//!
//! A merge lives for as long as a query, which is too short to be scraped. So it publishes by itself: once for each
//! source that is released, and once when it is closed or dropped. It publishes nothing for an
//! item or a poll. Its metrics are the sums over all merges of one [name](crate::stream::Builder::name).
//!
//! Install the recorder before the first merge is built: what a merge publishes without one is lost.
//!
#![doc = include_str!("../../docs/metrics.md")]

mod metric;
mod publisher;

pub use metric::describe;
pub(crate) use metric::names;
pub use publisher::Publisher;
