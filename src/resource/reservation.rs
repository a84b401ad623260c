use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll};
#[cfg(feature = "tokio")]
use std::time::Duration;

use super::byte_pool::{BytePool, PoolError};
use super::ledger::LedgerEntry;
use super::ledger_snapshot::Ending;
use super::long_held::Holding;
use super::wait_queue::{Demand, Grant};

/// Charges memory that a [`BytePool`] does not own against its budget. Made by [`BytePool::reservation`].
///
/// What a transport has received lies in buffers of its own. A reservation makes it count: it holds a number of
/// bytes, without a buffer, and competes for the budget with leases and other reservations as its equals. What is
/// admitted is what is charged, to the byte. Idle buffers are dropped to make room for it.
///
/// # Closing
///
/// Dropping the reservation gives back all it holds and leaves the queue, synchronously.
///
/// # Examples
///
/// ```
/// use losertree::resource::BytePool;
///
/// let pool = BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(100).build()?;
/// let mut received = pool.reservation();
/// received.try_grow(90)?;
/// assert!(pool.try_lease(16).is_err());
/// received.shrink(50); // a frame was consumed
/// assert!(pool.try_lease(16).is_ok());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// The model is `MemoryReservation` of apache/datafusion (`execution/src/memory_pool`), which cannot wait.
#[must_use = "a reservation that is dropped gives back what it holds"]
pub struct Reservation {
    pool: BytePool,
    holding: Holding,
    growth: Option<Growth>,
    entry: LedgerEntry,
}

/// A growth that is waited for, or granted and not come for.
struct Growth {
    ticket: u64,
    bytes: usize,
}

impl Reservation {
    pub(super) fn new(pool: BytePool, entry: LedgerEntry) -> Self {
        Self { pool, holding: Holding::default(), growth: None, entry }
    }

    /// Returns how many bytes it holds.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.holding.bytes()
    }

    /// Holds so many bytes more, now or not at all.
    ///
    /// Growing by 0 bytes always succeeds.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`] if the budget does not allow it, or if somebody waits, also if that is this reservation.
    /// [`PoolError::TooLarge`] if it would come to more than the whole budget. It is as it was then.
    pub fn try_grow(&mut self, bytes: usize) -> Result<(), PoolError> {
        self.check(bytes)?;
        if bytes > 0 {
            let growth = self.pool.reserve(bytes)?;
            self.grown(growth);
        }
        Ok(())
    }

    /// Holds so many bytes more if [`try_grow`](Self::try_grow) would allow it, and returns whether it does. Where it does
    /// not, that is no refusal in the metrics of the pool.
    pub(crate) fn grow_if_free(&mut self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        let grant = self.pool.grant(Demand::Growth(bytes));
        grant.map(|grant| self.collected(grant)).is_some()
    }

    /// Waits until it holds so many bytes more.
    ///
    /// It takes its place in the [queue](BytePool#fairness) of the pool when it is polled first, or goes on from the one that
    /// [`poll_grow`](Self::poll_grow) has taken for the same number. Who waits while holding
    /// something may wait for others who do the same: cap how many there are.
    ///
    /// # Errors
    ///
    /// [`PoolError::TooLarge`] if it would come to more than the whole budget: no wait would help. The reservation is as
    /// it was then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the place in the queue, or the growth if it had been granted; nobody behind it misses
    /// a wake-up. [`poll_grow`](Self::poll_grow) keeps the place.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), PoolError> {
        let growing = Growing(self);
        poll_fn(|cx| growing.0.poll_grow(cx, bytes)).await
    }

    /// Waits until it holds so many bytes more, for a limited time from the first poll on.
    ///
    /// # Errors
    ///
    /// [`PoolError::TimedOut`] if it was not granted in time: the reservation is as it was. Else as [`grow`](Self::grow).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock, which none has on `wasm32-unknown-unknown`.
    ///
    /// # Cancel safety
    ///
    /// As [`grow`](Self::grow).
    #[cfg(feature = "tokio")]
    pub async fn grow_timeout(&mut self, bytes: usize, limit: Duration) -> Result<(), PoolError> {
        let grown = tokio::time::timeout(limit, self.grow(bytes)).await;
        grown.unwrap_or_else(|_| Err(self.pool.timed_out(bytes, limit)))
    }

    /// Waits until it holds so many bytes more, as [`grow`](Self::grow) does, but keeps its place when it is not called for
    /// a while.
    ///
    /// It takes its place in the [queue](BytePool#fairness) of the pool at the first call. Call again with the
    /// same number to go on waiting; another number leaves the queue, or gives back what was granted, and starts
    /// anew. Who waits while holding something may wait for others who do the same: cap how many there are.
    ///
    /// # Errors
    ///
    /// [`PoolError::TooLarge`] if it would come to more than the whole budget: no wait would help. It is not in the
    /// queue any more then.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost between two calls: the place in the queue is kept, and so is a growth that was granted, unless
    /// it is [passed on](BytePool#fairness) because this is not called in time. It is charged from then on, while
    /// [`bytes`](Self::bytes) counts it only once this has returned. Who does not call again should call
    /// [`cancel_grow`](Self::cancel_grow) or drop the reservation: until then those behind it wait too.
    pub fn poll_grow(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<Result<(), PoolError>> {
        let is_new = self.growth.as_ref().is_none_or(|growth| growth.bytes != bytes);
        if is_new {
            self.cancel_grow();
        }
        // Also while it waits: it may have grown meanwhile.
        if let Err(too_large) = self.check(bytes) {
            self.cancel_grow();
            return Poll::Ready(Err(too_large));
        }
        let Some(growth) = &self.growth else {
            return if self.grow_if_free(bytes) { Poll::Ready(Ok(())) } else { self.wait_to_grow(cx, bytes) };
        };
        let Some(grant) = self.pool.collect(growth.ticket, cx.waker()) else { return Poll::Pending };
        self.growth = None;
        self.collected(grant);
        Poll::Ready(Ok(()))
    }

    /// Takes a place in the queue.
    #[cold]
    fn wait_to_grow(&mut self, cx: &Context<'_>, bytes: usize) -> Poll<Result<(), PoolError>> {
        let waker = cx.waker().clone();
        // Before it can be granted, which is noted too.
        self.entry.note("waiting to grow by", Some(bytes as u64));
        match self.pool.grant_or_join(Demand::Growth(bytes), waker, self.entry.noter()) {
            Ok(grant) => {
                self.collected(grant);
                Poll::Ready(Ok(()))
            }
            Err(ticket) => {
                self.growth = Some(Growth { ticket, bytes });
                Poll::Pending
            }
        }
    }

    /// Leaves the queue, or gives back the growth that was granted. Without one, nothing happens.
    pub fn cancel_grow(&mut self) {
        if let Some(Growth { ticket, .. }) = self.growth.take() {
            self.pool.leave(ticket);
        }
    }

    /// Gives back so many bytes, or all if it holds fewer. Those who wait are let in.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes());
        if bytes > 0 {
            self.entry.note("shrunk to", Some((self.bytes() - bytes) as u64));
            self.pool.unreserve(&mut self.holding, bytes);
        }
    }

    /// Holds what another reservation of the same pool has held. Nothing is given back or charged between.
    pub(crate) fn absorb(&mut self, mut other: Self) {
        debug_assert!(self.pool.is_same(&other.pool));
        other.cancel_grow();
        self.grown(mem::take(&mut other.holding));
    }

    fn collected(&mut self, grant: Grant) {
        self.grown(grant.into_parts().0);
    }

    fn grown(&mut self, growth: Holding) {
        self.holding.absorb(growth);
        self.entry.note("grown to", Some(self.bytes() as u64));
    }

    /// Whether the budget would ever allow it.
    fn check(&self, growth: usize) -> Result<(), PoolError> {
        let largest_bytes = self.pool.budget_bytes();
        match self.bytes().checked_add(growth) {
            Some(requested_bytes) if requested_bytes <= largest_bytes => Ok(()),
            // Be the budget as large as numbers are: this would be larger.
            requested_bytes => Err(PoolError::TooLarge {
                requested_bytes: requested_bytes.unwrap_or(usize::MAX),
                largest_bytes,
            }),
        }
    }
}

/// Leaves the queue when it is dropped.
struct Growing<'a>(&'a mut Reservation);

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        self.0.cancel_grow();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // The ledger first: whoever is let in by the return may look at it.
        self.entry.record(Ending::Closed);
        self.cancel_grow();
        self.shrink(self.bytes());
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation")
            .field("bytes", &self.bytes())
            .field("waits_for", &self.growth.as_ref().map(|growth| growth.bytes))
            .finish_non_exhaustive()
    }
}
