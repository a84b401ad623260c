use std::fmt;
use std::panic::Location;
use std::sync::PoisonError;
use std::time::Duration;

use super::long_held::Holding;
use super::pool_state::PoolState;
use super::size_classes::SizeClasses;
use super::wait_queue::{Charge, Grant};
use super::{ByteLease, BytePoolBuilder, LeakLedger, LeaseWait, PoolError, PoolSnapshot, Reservation};
use crate::sync::{Arc, Mutex, MutexGuard};

/// A pool of byte buffers with a budget, whose buffers give themselves back.
///
/// A [`ByteLease`] is a buffer of one of the pool's sizes. Dropping it returns the buffer, on every path; there
/// is no other way to return one, and so no way to return one twice or not at all.
///
/// Cloning gives another handle to the same pool.
///
/// # Budget
///
/// A lease is admitted for what it is charged, and charged for what it holds: the capacity of its buffer, not
/// the length that was asked for. Memory that is not the pool's can be charged too: a [`Reservation`] is so many
/// bytes without a buffer. What is charged never exceeds the budget. Idle buffers are kept for the next lease, and
/// dropped, the largest first, when something is charged that would not fit into the budget beside them. So what is
/// held does not exceed it either, save for two moments: buffers that make room are freed right after the lock is
/// released, when it is charged already what they make room for (a lease that is allocated comes after that); and the
/// allocator may move a lease that [grows](ByteLease::try_resize), and then has both places.
///
/// # Fairness
///
/// [`lease_wait`](Self::lease_wait) serves in the order of arrival. While somebody waits nobody overtakes,
/// neither another waiter who would need less nor a [`lease`](Self::lease), which is refused. So a large lease
/// is not starved by small ones.
///
/// A waiter that is let in is woken, and is charged for what it was granted until it is polled and collects it. A future
/// that is not polled, say one that stands by in a loop around `select!`, would keep that from everybody for as long as it
/// lives. So what was not collected within a [time](BytePoolBuilder::collect_within), 1 s unless said otherwise, is
/// *passed on* as soon as others need it, the oldest grant first: to those who wait, or where nobody does to a lease or a
/// growth that would be refused. The waiter that did not come is *absent*, and holds up nobody. When it is polled again
/// it waits again, in its old place, which is in front of all who came later.
///
/// - Nothing that was granted is lost, and who has collected keeps it.
/// - A future that is not polled does not starve others, provided that somebody uses the pool: leases, returns, polls a
///   wait, or takes a [`snapshot`](Self::snapshot). There is no clock that would do it. A pool that has no users but
///   futures that wait, and a task that waits for a second lease while the future of its first one is not polled, need
///   such a user: a publisher of figures is one, and so is a [`lease_wait_timeout`](Self::lease_wait_timeout).
/// - A waiter is not starved by being passed over if it is polled within that time after it was woken. One that is
///   always polled later may be passed over each time.
///
/// How many have not collected or are absent is among the figures, and which is in the ledger.
///
/// # What is held for long
///
/// A pool knows how much of what is charged is held for long, which no load changes: leases that do not come back, and of each
/// reservation what it never went below. That is [`PoolSnapshot::long_held_bytes`]. Long is a
/// [time](BytePoolBuilder::long_held_after), 15 min unless said otherwise. No lease reads a clock for it and no ledger is needed,
/// but somebody has to look now and then, that is to take a [`snapshot`](Self::snapshot), as a publisher of figures does. What is
/// held counts after that time at the earliest, and after twice that time and the pause between two looks at the latest.
/// What is given back is taken off at once.
///
/// # Complexity
///
/// A lease and its return are one lock and one reference count each, and an allocation where no buffer of that
/// size is idle: 1.0 to 1.1 times what a pool with sizes, budget and figures takes that is written plainly under a
/// mutex, and 1.2 to 1.4 times a bare list of buffers under one, be it one thread or two that contend
/// (`cargo bench --bench resource -- ratios`). Nothing is allocated or freed under the lock, save that the lists
/// of idle buffers and of waiters grow and shrink, and no waker is cloned, dropped or woken. With n waiters each poll of
/// a wait, its end and giving it up cost O(log n).
///
/// # Examples
///
/// ```
/// use losertree::resource::BytePool;
///
/// let pool = BytePool::builder().smallest_bytes(1 << 10).largest_bytes(1 << 20).budget_bytes(4 << 20).build()?;
/// let mut lease = pool.lease(1500)?;
/// assert_eq!(lease.capacity(), 2048);
/// lease.extend_from_slice(b"chunk")?;
/// let bytes = lease.freeze(); // shared, read-only; the last clone gives the buffer back
/// assert_eq!(pool.snapshot().used_bytes, 2048);
/// drop(bytes);
/// assert_eq!(pool.snapshot().used_bytes, 0);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// The design follows `pkg/pool` of thanos-io/thanos (a bucketed pool with a maximum total), save that it has
/// no `Put`. Waiting is modelled on the semaphore of tokio.
#[derive(Clone)]
pub struct BytePool {
    shared: Arc<Shared>,
}

struct Shared {
    classes: SizeClasses,
    budget: usize,
    ledger: LeakLedger,
    state: Apart<Mutex<PoolState>>,
}

/// Begins a cache line.
#[repr(align(64))]
struct Apart<T>(T);

impl BytePool {
    /// Returns a builder, which has the options and their defaults.
    pub fn builder() -> BytePoolBuilder {
        BytePoolBuilder::default()
    }

    pub(super) fn new(
        classes: SizeClasses,
        budget: usize,
        collect_within: Duration,
        long_held_after: Duration,
        ledger: LeakLedger,
    ) -> Self {
        let state = PoolState::new(&classes, budget, collect_within, long_held_after);
        let state = Apart(Mutex::new(state));
        Self { shared: Arc::new(Shared { classes, budget, ledger, state }) }
    }

    /// Leases an empty buffer that holds at least `len` bytes, now or not at all.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`] if the budget does not allow it, or somebody waits for a lease.
    /// [`PoolError::TooLarge`] if the pool has no such buffers. [`PoolError::OutOfMemory`] if the allocator has not.
    #[track_caller]
    #[inline]
    pub fn lease(&self, len: usize) -> Result<ByteLease, PoolError> {
        let charge = self.charge_for(len)?;
        let mut state = self.admit(charge.bytes).map_err(|mut state| state.refuse(charge.bytes))?;
        let (holding, buffer) = match state.charge(charge) {
            (holding, Some(buffer)) => (holding, buffer),
            (holding, None) => self.allocate(state, charge, holding)?,
        };
        Ok(self.lease_of(charge, holding, buffer, Location::caller()))
    }

    /// Waits for an empty buffer that holds at least `len` bytes.
    ///
    /// # Errors
    ///
    /// [`PoolError::TooLarge`] if the pool has no such buffers. [`PoolError::OutOfMemory`] if the allocator has not.
    /// Nothing else is an error: the budget is enough for each size, so every wait is served once what is leased has
    /// come back. It does not come back if everybody who holds a lease waits for another one: cap how many do both at
    /// once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue, or the lease if it had been granted; nobody behind
    /// it misses a wake-up.
    #[track_caller]
    pub fn lease_wait(&self, len: usize) -> LeaseWait {
        LeaseWait::new(self.clone(), len, Location::caller())
    }

    /// Waits for an empty buffer that holds at least `len` bytes, for a limited time from the first poll on.
    ///
    /// # Errors
    ///
    /// [`PoolError::TimedOut`] if it was not granted in time. Else as [`lease_wait`](Self::lease_wait).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock, which none has on `wasm32-unknown-unknown`.
    ///
    /// # Cancel safety
    ///
    /// As [`lease_wait`](Self::lease_wait).
    #[cfg(feature = "tokio")]
    #[track_caller]
    pub fn lease_wait_timeout(
        &self,
        len: usize,
        limit: Duration,
    ) -> impl Future<Output = Result<ByteLease, PoolError>> + Send + use<> {
        let wait = self.lease_wait(len);
        let pool = self.clone();
        async move {
            let waited = tokio::time::timeout(limit, wait).await;
            waited.unwrap_or_else(|_| Err(pool.timed_out(pool.charge_for(len)?.bytes, limit)))
        }
    }

    /// Makes an empty [`Reservation`], which charges memory that is not the pool's.
    #[track_caller]
    pub fn reservation(&self) -> Reservation {
        let entry = self.shared.ledger.open_at("reservation", Location::caller());
        Reservation::new(self.clone(), entry)
    }

    /// Returns the figures. What was not collected in time is [passed on](Self#fairness) before, and it is a look at
    /// [what is held for long](Self#what-is-held-for-long).
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        let mut state = self.lock();
        let let_in = (state.has_waiters() && state.has_grants()).then(|| state.let_in());
        state.look();
        let figures = state.snapshot();
        drop(state);
        if let Some(let_in) = let_in {
            let_in.finish();
        }
        figures
    }

    /// Returns the budget in bytes.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.shared.budget
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether there is no other handle and no lease, so that the figures will not change any more.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_last_handle(&mut self) -> bool {
        Arc::get_mut(&mut self.shared).is_some()
    }

    /// Drops all idle buffers.
    pub fn trim(&self) {
        let idle = self.lock().trim();
        // Without the lock, which was released at the end of the line.
        drop(idle);
    }

    /// Makes a lease of what was granted.
    pub(super) fn hand_out(
        &self,
        charge: Charge,
        grant: Grant,
        site: &'static Location<'static>,
    ) -> Result<ByteLease, PoolError> {
        let (holding, buffer) = match grant.into_parts() {
            (holding, Some(buffer)) => (holding, buffer),
            (holding, None) => self.allocate(self.lock(), charge, holding)?,
        };
        Ok(self.lease_of(charge, holding, buffer, site))
    }

    #[inline]
    fn lease_of(
        &self,
        charge: Charge,
        holding: Holding,
        buffer: Vec<u8>,
        site: &'static Location<'static>,
    ) -> ByteLease {
        let entry = self.shared.ledger.open_at(format_args!("lease of {} bytes", charge.bytes), site);
        ByteLease::new(self.clone(), buffer, charge.class, holding, entry)
    }

    /// Allocates a buffer for what has been charged, which is given back if there is no memory. Releases the lock.
    #[cold]
    fn allocate(
        &self,
        mut state: MutexGuard<'_, PoolState>,
        charge: Charge,
        mut holding: Holding,
    ) -> Result<(Holding, Vec<u8>), PoolError> {
        let trimmed = state.count_allocation(charge);
        drop(state);
        // Before the allocation, which is to have its place.
        drop(trimmed);
        let mut buffer = Vec::new();
        if buffer.try_reserve_exact(charge.bytes).is_err() {
            let mut state = self.lock();
            state.undo_allocation(charge, &mut holding);
            Self::release(state);
            return Err(PoolError::OutOfMemory { charge_bytes: charge.bytes });
        }
        Ok((holding, buffer))
    }

    /// Takes a buffer back.
    #[inline]
    pub(super) fn put(&self, mut buffer: Vec<u8>, class: usize, holding: &mut Holding) {
        // Nothing that was in the buffer can be seen by the next holder.
        buffer.clear();
        let mut state = self.lock();
        state.discharge(class, holding, Some(buffer));
        Self::release(state);
    }

    /// Returns what a lease of `len` bytes is charged.
    #[inline]
    pub(super) fn charge_for(&self, len: usize) -> Result<Charge, PoolError> {
        self.shared.classes.charge_for(len).ok_or_else(|| PoolError::TooLarge {
            requested_bytes: len,
            largest_bytes: self.shared.classes.largest(),
        })
    }

    pub(super) fn ledger(&self) -> &LeakLedger {
        &self.shared.ledger
    }

    #[inline]
    pub(super) fn lock(&self) -> MutexGuard<'_, PoolState> {
        // Nothing in here panics between two changes, so a poisoned lock has a whole state.
        self.shared.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BytePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Printing passes nothing on, and is no look.
        let figures = self.lock().snapshot();
        f.debug_struct("BytePool").field("snapshot", &figures).finish_non_exhaustive()
    }
}
