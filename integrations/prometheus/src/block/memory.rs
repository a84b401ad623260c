use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use losertree::resource::{ByteLease, BytePool, PoolError, Reservation};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

/// Where the memory of queries comes from. Cheap to clone.
///
/// There are two budgets, so that a query that waits for a buffer never waits for one that holds lists: buffers come
/// back, since what they hold is sent; lists are held until their query ends.
///
/// # Knots
///
/// Who waits for lists may hold some already, and all that hold some may wait for more. When nothing has moved for
/// 5 s, one that waits is refused, of those that hold much, so that the others go on.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Lends the buffers that chunks and parts of indexes are read into.
    pub buffers: BytePool,
    /// Is charged what a query keeps besides: postings, series to be sorted, chunks that are merged.
    pub lists: BytePool,
    /// How long a query waits for either.
    pub patience: Duration,
    knot: Arc<Mutex<Knot>>,
}

impl Memory {
    /// Takes memory from two pools, and waits so long for either.
    #[must_use]
    pub fn new(buffers: BytePool, lists: BytePool, patience: Duration) -> Self {
        Self { buffers, lists, patience, knot: Arc::default() }
    }

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
                runtime.block_on(self.grow(reservation, bytes))
            }
            (grown, _) => grown,
        }
    }

    /// Charges memory to lists that is not the pool's, and waits for it if the budget does not allow it now.
    pub(crate) async fn grow(&self, reservation: &mut Reservation, bytes: usize) -> Result<(), PoolError> {
        let (holds, start) = (reservation.bytes(), Instant::now());
        {
            let mut growing = pin!(reservation.grow_timeout(bytes, self.patience));
            loop {
                match timeout(PAUSE, growing.as_mut()).await {
                    Ok(grown) => return grown,
                    Err(_) if self.is_tied(holds, start) => break,
                    Err(_) => {}
                }
            }
        }
        // It may have been the only one that waited. If not, this says how much there is.
        reservation.try_grow(bytes)
    }

    /// Whether nothing has moved for so long that one has to go, and this is the one.
    fn is_tied(&self, holds: usize, start: Instant) -> bool {
        let used_bytes = self.lists.snapshot().used_bytes;
        // Nothing panics under the lock.
        let mut knot = self.knot.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if knot.used_bytes != used_bytes {
            *knot = Knot { used_bytes, since: Some(now), ..*knot };
        }
        let is_being_untied = knot.untied.is_some_and(|untied| now.duration_since(untied) < 2 * STILL);
        let limit = if is_being_untied { 2 * PAUSE } else { STILL };
        let still = now.duration_since(knot.since.map_or(start, |since| since.max(start)));
        let is_tied = still >= if holds >= LARGE_BYTES { limit } else { 2 * limit };
        if is_tied {
            *knot = Knot { since: Some(now), untied: Some(now), ..*knot };
        }
        is_tied
    }
}

/// How often it is looked at whether something has moved.
const PAUSE: Duration = Duration::from_millis(250);
/// For how long nothing has to have moved: longer than a client may stall when others wait.
const STILL: Duration = Duration::from_secs(5);
/// Who holds so much goes before those that hold less.
const LARGE_BYTES: usize = 64 << 10;

/// What moves, and does not where all that hold memory wait for more.
#[derive(Debug, Clone, Copy, Default)]
struct Knot {
    used_bytes: usize,
    /// Since when that is as it is.
    since: Option<Instant>,
    /// When one was refused for it.
    untied: Option<Instant>,
}
