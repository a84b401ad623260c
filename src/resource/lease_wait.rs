use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::wait_queue::{Charge, Demand};
use super::{ByteLease, BytePool, Ending, LedgerEntry, PoolError};

/// Waits for a lease. Returned by [`BytePool::lease_wait`], which says what cancelling does.
///
/// Owns a handle to the pool, so it can be moved and spawned. It takes its place in the queue when it is polled
/// first, and is in the ledger of the pool from then on: `waiting for 4096 bytes`.
#[must_use = "futures do nothing unless polled"]
pub struct LeaseWait {
    pool: BytePool,
    len: usize,
    site: &'static Location<'static>,
    place: Option<Place>,
}

/// The place in the queue.
struct Place {
    ticket: u64,
    entry: LedgerEntry,
}

impl LeaseWait {
    pub(super) const fn new(pool: BytePool, len: usize, site: &'static Location<'static>) -> Self {
        Self { pool, len, site, place: None }
    }

    /// Takes the lease at once, or a place in the queue.
    fn start(&mut self, charge: Charge, cx: &Context<'_>) -> Poll<Result<ByteLease, PoolError>> {
        let demand = Demand::Lease(charge);
        if let Some(grant) = self.pool.grant(demand) {
            return Poll::Ready(self.pool.hand_out(charge, grant, self.site));
        }
        // Without the lock: neither the waker nor the allocations of the ledger are to hold up others.
        let waker = cx.waker().clone();
        let entry = self.pool.ledger().open_at(format_args!("waiting for {} bytes", charge.bytes), self.site);
        match self.pool.grant_or_join(demand, waker, entry.noter()) {
            Ok(grant) => {
                let lease = self.pool.hand_out(charge, grant, self.site);
                entry.end(Ending::Closed);
                Poll::Ready(lease)
            }
            Err(ticket) => {
                self.place = Some(Place { ticket, entry });
                Poll::Pending
            }
        }
    }
}

impl Future for LeaseWait {
    type Output = Result<ByteLease, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let charge = this.pool.charge_for(this.len)?;
        let Some(place) = &this.place else { return this.start(charge, cx) };
        let Some(grant) = this.pool.collect(place.ticket, cx.waker()) else { return Poll::Pending };
        let lease = this.pool.hand_out(charge, grant, this.site);
        // The lease is in the books already, so it is not missing from them in between.
        if let Some(place) = this.place.take() {
            place.entry.end(Ending::Closed);
        }
        Poll::Ready(lease)
    }
}

impl Drop for LeaseWait {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            // The books first: whoever is let in by it may look at them.
            place.entry.end(Ending::Closed);
            self.pool.leave(place.ticket);
        }
    }
}

impl fmt::Debug for LeaseWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseWait")
            .field("len", &self.len)
            .field("is_queued", &self.place.is_some())
            .finish_non_exhaustive()
    }
}
