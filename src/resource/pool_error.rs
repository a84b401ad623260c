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
}

/// Why a [`BytePool`](super::BytePool) cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolConfigError {
    /// The smallest size is 0 or above the largest, or the largest is above `isize::MAX`.
    #[error(
        "buffers of {smallest} to {largest} bytes: the smallest must be at least 1 and not above the largest, \
         the largest at most isize::MAX"
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
