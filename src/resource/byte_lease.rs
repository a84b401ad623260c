use std::fmt;
use std::io::{self, Read, Write};
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::byte_pool::{BytePool, PoolError};
use super::ledger::LedgerEntry;
use super::ledger_snapshot::Ending;
use super::long_held::Holding;
use super::wait_queue::{Charge, Demand};

/// A buffer of a [`BytePool`], which returns itself when it is dropped.
///
/// Starts empty and can be filled up to its [`capacity`](Self::capacity); it derefs to the bytes that were
/// filled in. Its allocation is only changed by [`try_resize`](Self::try_resize), so what it holds is always
/// what the pool was charged.
///
/// # Closing
///
/// Dropping the lease, or the last clone of the [`Bytes`] that it was [frozen](Self::freeze) to, returns the
/// buffer and gives back what was charged, synchronously.
pub struct ByteLease {
    pool: BytePool,
    buffer: Vec<u8>,
    /// The size class of the buffer.
    class: usize,
    /// Its capacity.
    holding: Holding,
    entry: LedgerEntry,
}

impl ByteLease {
    pub(super) const fn new(
        pool: BytePool,
        buffer: Vec<u8>,
        class: usize,
        holding: Holding,
        entry: LedgerEntry,
    ) -> Self {
        Self { pool, buffer, class, holding, entry }
    }

    /// Returns how many bytes the lease holds at most: what the pool was charged.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.holding.bytes()
    }

    /// Returns how many bytes can be filled in.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.capacity() - self.buffer.len()
    }

    /// Fills in bytes after those that are there.
    ///
    /// # Errors
    ///
    /// [`LeaseFull`] if they do not fit; then none are filled in.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) -> Result<(), LeaseFull> {
        if bytes.len() > self.remaining() {
            return Err(LeaseFull { excess_bytes: bytes.len() - self.remaining() });
        }
        self.buffer.extend_from_slice(bytes);
        self.note_filled("filled up to byte");
        Ok(())
    }

    /// Reads `len` bytes into the lease, after those that are there.
    ///
    /// # Errors
    ///
    /// An error of the reader; [`io::ErrorKind::UnexpectedEof`] if it ends before; [`LeaseFull`] as
    /// [`io::ErrorKind::StorageFull`] if there is no room, and nothing is read then. What was read before an
    /// error is filled in.
    pub fn read_from(&mut self, reader: impl Read, len: usize) -> io::Result<()> {
        if len > self.remaining() {
            let error = LeaseFull { excess_bytes: len - self.remaining() };
            return Err(io::Error::new(io::ErrorKind::StorageFull, error));
        }
        // Cannot grow the buffer: it ends at what there is room for.
        let read = reader.take(len as u64).read_to_end(&mut self.buffer);
        self.note_filled("filled up to byte");
        let read = read?;
        if read < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Sets the length, within the capacity; new bytes are zero.
    ///
    /// # Errors
    ///
    /// [`LeaseFull`] if the length is above the capacity; nothing is changed then.
    pub fn set_len(&mut self, len: usize) -> Result<(), LeaseFull> {
        if len > self.capacity() {
            return Err(LeaseFull { excess_bytes: len - self.capacity() });
        }
        self.buffer.resize(len, 0);
        self.note_filled("filled up to byte");
        Ok(())
    }

    /// Removes all bytes. The capacity stays.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.note_filled("filled up to byte");
    }

    /// Changes the capacity to that of a lease of `len` bytes, and gives back or is charged the difference.
    ///
    /// What was filled in stays; shrinking to less than it cuts it off.
    ///
    /// # Errors
    ///
    /// As [`BytePool::try_lease`]. The lease is as it was then. Shrinking does not fail.
    pub fn try_resize(&mut self, len: usize) -> Result<(), PoolError> {
        let charge = self.pool.charge_for(len)?;
        if charge.bytes > self.capacity() {
            let mut growth = self.pool.charge_growth(charge.bytes - self.capacity())?;
            let charge_bytes = growth.bytes();
            if self.buffer.try_reserve_exact(charge.bytes - self.buffer.len()).is_err() {
                self.pool.discharge_some(&mut growth, charge_bytes);
                return Err(PoolError::OutOfMemory { charge_bytes });
            }
            self.holding.absorb(growth);
        } else if charge.bytes < self.capacity() {
            self.buffer.truncate(charge.bytes);
            self.buffer.shrink_to(charge.bytes);
            let excess = self.capacity() - charge.bytes;
            self.pool.discharge_some(&mut self.holding, excess);
        }
        self.class = charge.class;
        self.entry.note("resized to", Some(charge.bytes as u64));
        Ok(())
    }

    /// Makes the bytes shared and read-only. The buffer returns to the pool when the last clone is dropped.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        self.note_filled("frozen, filled up to byte");
        Bytes::from_owner(self)
    }

    /// Notes for the ledger what was done, and how many bytes are filled in.
    #[inline]
    fn note_filled(&self, doing: &'static str) {
        self.entry.note(doing, Some(self.buffer.len() as u64));
    }
}

impl Drop for ByteLease {
    #[inline]
    fn drop(&mut self) {
        // The ledger first: whoever is let in by the return may look at it.
        self.entry.record(Ending::Closed);
        self.pool.put(mem::take(&mut self.buffer), self.class, &mut self.holding);
    }
}

impl Deref for ByteLease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer
    }
}

impl DerefMut for ByteLease {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }
}

impl AsRef<[u8]> for ByteLease {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// Fills in as much as there is room for; writing to a full lease writes 0 bytes.
impl Write for ByteLease {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fitting = bytes.len().min(self.remaining());
        self.buffer.extend_from_slice(&bytes[..fitting]);
        self.note_filled("filled up to byte");
        Ok(fitting)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for ByteLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteLease")
            .field("len", &self.buffer.len())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// A lease has no room for what was to be filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{excess_bytes} bytes too many for the lease")]
#[non_exhaustive]
pub struct LeaseFull {
    /// How many bytes did not fit. None were filled in.
    pub excess_bytes: usize,
}

/// Waits for a lease. Returned by [`BytePool::lease`], which says what cancelling does.
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
        // The lease is in the ledger already, so it is not missing from there in between.
        if let Some(place) = this.place.take() {
            place.entry.end(Ending::Closed);
        }
        Poll::Ready(lease)
    }
}

impl Drop for LeaseWait {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            // The ledger first: whoever is let in by it may look at it.
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
