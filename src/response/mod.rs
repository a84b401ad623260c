//! What stands between the network and the tree: which series of a response belong to a query, and what
//! becomes of the merged ones.
//!
//! | step | by |
//! |---|---|
//! | take replica labels off | [`Response::remove_labels`](crate::Response::remove_labels) |
//! | leave out the series of other shards | [`ShardMatcher`] |

mod alarm;
mod arranger;
mod buffer;
mod eager_response_set;
mod error;
mod lazy_response_set;
mod producer;
mod receiver;
mod response_set;
mod response_set_options;
mod retrieval_strategy;
mod series_order;
mod shard_error;
mod shard_matcher;
mod spawner;
mod store;
mod timers;

pub use eager_response_set::EagerResponseSet;
pub use error::{ResponseSetError, TimedOut, Timeout};
pub use lazy_response_set::LazyResponseSet;
pub use response_set::ResponseSet;
pub use response_set_options::ResponseSetOptions;
pub use retrieval_strategy::RetrievalStrategy;
pub use series_order::SeriesOrder;
pub use shard_error::ShardError;
pub use shard_matcher::ShardMatcher;
pub use store::Store;
