//! What stands between the network and the tree: which series of a response belong to a query, and what
//! becomes of the merged ones.
//!
//! | step | by |
//! |---|---|
//! | take replica labels off | [`Response::remove_labels`](crate::Response::remove_labels) |
//! | leave out the series of other shards | [`ShardMatcher`] |
//! | make one series of its replicas | [`deduplicate`] |
//! | pack series into frames | [`batches`] |

mod batches;
mod deduplicator;
mod shard_error;
mod shard_matcher;
mod unpack;

pub use batches::{Batches, batches};
pub use deduplicator::{ResponseDeduplicator, deduplicate};
pub use shard_error::ShardError;
pub use shard_matcher::ShardMatcher;
