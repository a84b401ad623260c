//! What stands between the network and the tree: which series of a response belong to a query, and what
//! becomes of the merged ones.
//!
//! | step | by |
//! |---|---|
//! | take replica labels off | [`Response::remove_labels`](crate::Response::remove_labels) |
//! | leave out the series of other shards | [`ShardMatcher`] |

mod shard_error;
mod shard_matcher;

pub use shard_error::ShardError;
pub use shard_matcher::ShardMatcher;
