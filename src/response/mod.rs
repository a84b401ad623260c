//! Everything between the network and the merge: what a query engine would have to write beside its transport.
//!
//! # The problem
//!
//! A query goes to many stores. Each has to be opened, and may never answer. Its frames have to be received while
//! others are slow, within bounds. Some frames carry several series. Some stores cannot leave out the labels by which
//! their replicas differ, or the series of other shards. A store that fails should cost its own answer and no other. And every
//! store has to be closed, whatever happened.
//!
//! [`ProxyQuery`] does all of it in one stream. It is made of parts that can be used alone. Each stage behind the merge is
//! [`Closable`](crate::stream::Closable). It gives what it holds back as soon as the merge
//! [has only closing left](crate::stream::is_closing):
//!
//! ```text
//!  Store             your transport: a name, and a future that opens a Source of Responses
//!    │
//!  ResponseSet       opens it, receives in time and within bounds, takes labels off, leaves out other
//!    │               shards, restores the order, unpacks batches, counts            (lazy or eager)
//!  ProxyResponseLoserTree
//!    │
//!  deduplicate       makes one series of its replicas
//!    │
//!  limit             ends it after so many series
//!    │
//!  batches           packs series into frames
//! ```
//!
//! | to | use |
//! |---|---|
//! | ask many stores | [`ProxyQuery`] |
//! | receive in the background, within bounds | [`ResponseSetOptions`], [`LazyResponseSet`] |
//! | receive as a whole | [`RetrievalStrategy::Eager`], [`EagerResponseSet`] |
//! | give up on slow stores | `open_timeout`, `frame_timeout` and others of [`ResponseSetOptions`] (feature `tokio`) |
//! | take replica labels off | [`ResponseSetOptions::without_replica_labels`], [`SeriesOrder`] |
//! | leave out the series of other shards | [`ShardMatcher`] |
//! | go on without stores that fail | [`PartialResponseStrategy::Warn`] |
//! | make one series of its replicas | [`deduplicate`], or the method of [`Deduplicate`] |
//! | make a query a store of another one | [`ProxyQuery::into_store`] |
//! | end after so many series | [`limit`](limit()) |
//! | pack series into frames | [`batches`](batches()) |
//!
//! # Sources
//!
//! The division is that of `pkg/store` of thanos-io/thanos: `proxy.go` (the query), `proxy_merge.go` (lazy and eager
//! response sets, the deduplicator).

mod batches;
mod buffer;
mod client;
mod deduplicator;
mod eager_response_set;
mod lazy_response_set;
mod limit;
mod proxy_query;
mod received;
#[allow(clippy::module_inception)]
mod response;
mod response_set;
mod shard_matcher;
mod sorted_client;
mod store;
mod timers;
mod unpack;

pub use batches::{Batches, batches};
pub use deduplicator::{Deduplicate, ResponseDeduplicator, deduplicate};
pub use eager_response_set::EagerResponseSet;
pub use lazy_response_set::LazyResponseSet;
pub use limit::{ResponseLimit, limit};
pub use proxy_query::{PartialResponseStrategy, ProxyQuery, ProxyQueryBuilder};
pub use received::{Received, ResponseStats, empty_sources};
pub use response::{Response, Warning};
pub use response_set::{ResponseSet, ResponseSetOptions, RetrievalStrategy, SeriesOrder, StoreWarnings};
pub use shard_matcher::{ShardError, ShardMatcher};
pub use store::Store;
