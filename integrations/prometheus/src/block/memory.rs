use std::time::Duration;

use losertree::resource::{ByteLease, BytePool, PoolError, Reservation};
use tokio::runtime::Handle;

/// Where the memory of queries comes from. Cheap to clone.
///
/// There are two budgets, so that a query that waits for a buffer never waits for one that holds lists: buffers come
/// back, since what they hold is sent; lists are held until their query ends.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Lends the buffers that chunks and parts of indexes are read into.
    pub buffers: BytePool,
    /// Is charged what a query keeps besides: postings, series to be sorted, chunks that are merged.
    pub lists: BytePool,
    /// How long a query waits for either.
    pub patience: Duration,
}

impl Memory {
    /// Returns a buffer, and waits for it if the budget does not allow one now. Blocks the thread.
    #[track_caller]
    pub(crate) fn lease(&self, len: usize) -> Result<ByteLease, PoolError> {
        match (self.buffers.try_lease(len), Handle::try_current()) {
            (Err(PoolError::Exhausted { .. }), Ok(runtime)) => {
                runtime.block_on(self.buffers.lease_timeout(len, self.patience))
            }
            (leased, _) => leased,
        }
    }

    /// Charges memory that is not the pool's, and waits for it if the budget does not allow it now. Blocks the thread.
    pub(crate) fn charge(&self, reservation: &mut Reservation, bytes: usize) -> Result<(), PoolError> {
        match (reservation.try_grow(bytes), Handle::try_current()) {
            (Err(PoolError::Exhausted { .. }), Ok(runtime)) => {
                runtime.block_on(reservation.grow_timeout(bytes, self.patience))
            }
            (grown, _) => grown,
        }
    }
}
