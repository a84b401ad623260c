/// Why a [`BytePool`](super::BytePool) does not lease a buffer, or a reservation does not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The budget does not allow it now, or others are waiting for theirs.
    #[error(
        "the pool cannot give {charge_bytes} bytes now: {available_bytes} of {budget_bytes} are left, and {waiting} \
         wait and come first"
    )]
    Exhausted {
        /// What would be charged: the capacity of the buffer, or what a lease or reservation was to grow by.
        charge_bytes: usize,
        /// What the budget had left.
        available_bytes: usize,
        /// The budget.
        budget_bytes: usize,
        /// How many are waiting; they come first.
        waiting: usize,
    },
    /// The pool never has so much for one lease or reservation.
    #[error("{requested_bytes} bytes are more than the pool has for one holder, {largest_bytes} bytes")]
    TooLarge {
        /// How many bytes were asked for; of a reservation, those it has included.
        requested_bytes: usize,
        /// The capacity of the largest buffers; of a reservation, the budget.
        largest_bytes: usize,
    },
    /// The budget allows it, but the allocator has no memory for the buffer. Nothing is charged.
    #[error("the allocator has no {charge_bytes} bytes for a buffer")]
    OutOfMemory {
        /// What would have been charged: the capacity of the buffer, or what a lease was to grow by.
        charge_bytes: usize,
    },
    /// The lease or growth that was waited for was not granted in time.
    #[cfg(feature = "tokio")]
    #[error(
        "the pool has not given {charge_bytes} bytes within {limit:?}: {available_bytes} of {budget_bytes} are left, and \
         {waiting} others wait"
    )]
    TimedOut {
        /// What would have been charged: the capacity of the buffer, or what a reservation was to grow by.
        charge_bytes: usize,
        /// The time it had.
        limit: std::time::Duration,
        /// What the budget had left in the end.
        available_bytes: usize,
        /// The budget.
        budget_bytes: usize,
        /// How many others were waiting in the end.
        waiting: usize,
    },
}

/// Why a [`BytePool`](super::BytePool) cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolConfigError {
    /// The smallest size is 0 or above the largest, or the largest is above
    /// [`BytePoolBuilder::LARGEST_BYTES`](super::BytePoolBuilder::LARGEST_BYTES).
    #[error(
        "buffers of {smallest} to {largest} bytes: the smallest must be at least 1 and not above the largest, \
         the largest at most {}",
        super::BytePoolBuilder::LARGEST_BYTES
    )]
    Sizes {
        /// The smallest size asked for.
        smallest: usize,
        /// The largest size asked for.
        largest: usize,
    },
    /// Sizes would not grow.
    #[error("the growth factor {factor} is below 2")]
    GrowthFactor {
        /// The factor asked for.
        factor: usize,
    },
    /// The largest buffers could never be leased.
    #[error("the budget of {budget} bytes does not allow for one buffer of {largest} bytes")]
    Budget {
        /// The budget asked for.
        budget: usize,
        /// The largest size asked for.
        largest: usize,
    },
}
