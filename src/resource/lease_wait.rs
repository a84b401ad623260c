use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::byte_pool::Charge;
use super::{ByteLease, BytePool, PoolError};

/// Waits for a lease. Returned by [`BytePool::lease_wait`], which says what cancelling does.
///
/// Owns a handle to the pool, so it can be moved and spawned. It takes its place in the queue when it is polled
/// first.
#[must_use = "futures do nothing unless polled"]
pub struct LeaseWait {
    pool: BytePool,
    len: usize,
    site: &'static Location<'static>,
    /// The place in the queue.
    ticket: Option<(u64, Charge)>,
}

impl LeaseWait {
    pub(super) const fn new(pool: BytePool, len: usize, site: &'static Location<'static>) -> Self {
        Self { pool, len, site, ticket: None }
    }
}

impl Future for LeaseWait {
    type Output = Result<ByteLease, PoolError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some((ticket, charge)) = self.ticket {
            let lease = self.pool.redeem(ticket, charge, cx.waker(), self.site);
            if lease.is_some() {
                self.ticket = None;
            }
            return lease.map_or(Poll::Pending, |lease| Poll::Ready(Ok(lease)));
        }
        let charge = self.pool.charge_for(self.len)?;
        match self.pool.enqueue(charge, cx.waker(), self.site) {
            Ok(lease) => Poll::Ready(Ok(lease)),
            Err(ticket) => {
                self.ticket = Some((ticket, charge));
                Poll::Pending
            }
        }
    }
}

impl Drop for LeaseWait {
    fn drop(&mut self) {
        if let Some((ticket, charge)) = self.ticket.take() {
            self.pool.cancel(ticket, charge);
        }
    }
}

impl fmt::Debug for LeaseWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseWait")
            .field("len", &self.len)
            .field("is_queued", &self.ticket.is_some())
            .finish_non_exhaustive()
    }
}
