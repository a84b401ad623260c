/// Why there is no such shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// There are to be no shards at all.
    #[error("series cannot be divided into 0 shards")]
    NoShards,
    /// The shards have smaller indices.
    #[error("there is no shard {index} of {total}: the last one is {}", .total - 1)]
    NoSuchShard {
        /// The index asked for.
        index: u64,
        /// How many shards there are.
        total: u64,
    },
}
