use std::fmt;
use std::panic::Location;
use std::sync::PoisonError;
use std::task::Waker;

use super::pool_state::{Charge, Demand, Grant, PoolState};
use super::size_classes::SizeClasses;
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
/// # Complexity
///
/// A lease and its return are one lock and one reference count each, and an allocation where no buffer of that
/// size is idle: 1.0 to 1.1 times what a pool with sizes, budget and figures takes that is written plainly under a
/// mutex, and 1.2 to 1.4 times a bare list of buffers under one, be it one thread or two that contend
/// (`cargo bench --bench resource -- ratios`). Nothing is allocated or freed under the lock, save that the lists
/// of idle buffers and of waiters grow. Waiting costs O(log n) for each poll with n waiters.
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

    pub(super) fn new(classes: SizeClasses, budget: usize, ledger: LeakLedger) -> Self {
        let state = Apart(Mutex::new(PoolState::new(&classes, budget)));
        Self { shared: Arc::new(Shared { classes, budget, ledger, state }) }
    }

    /// Leases an empty buffer that holds at least `len` bytes, now or not at all.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`] if the budget does not allow it, or somebody waits for a lease.
    /// [`PoolError::TooLarge`] if the pool has no such buffers.
    #[track_caller]
    #[inline]
    pub fn lease(&self, len: usize) -> Result<ByteLease, PoolError> {
        let charge = self.charge_for(len)?;
        let mut state = self.lock();
        if !state.admits(charge.bytes) {
            return Err(state.refuse(charge.bytes));
        }
        let buffer = state.charge(charge);
        Ok(self.hand_out(state, charge, buffer, Location::caller()))
    }

    /// Waits for an empty buffer that holds at least `len` bytes.
    ///
    /// # Errors
    ///
    /// [`PoolError::TooLarge`] if the pool has no such buffers. Nothing else is an error: the budget is enough
    /// for each size, so every wait is served once what is leased has come back. It does not come back if
    /// everybody who holds a lease waits for another one: cap how many do both at once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue, or the lease if it had been granted; nobody behind
    /// it misses a wake-up.
    #[track_caller]
    pub fn lease_wait(&self, len: usize) -> LeaseWait {
        LeaseWait::new(self.clone(), len, Location::caller())
    }

    /// Makes an empty [`Reservation`], which charges memory that is not the pool's.
    #[track_caller]
    pub fn reservation(&self) -> Reservation {
        let entry = self.shared.ledger.open_at("reservation", Location::caller());
        Reservation::new(self.clone(), entry)
    }

    /// Returns the figures.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        self.lock().snapshot()
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

    /// Makes a lease of what has been charged, and releases the lock.
    #[inline]
    fn hand_out(
        &self,
        state: MutexGuard<'_, PoolState>,
        charge: Charge,
        buffer: Option<Vec<u8>>,
        site: &'static Location<'static>,
    ) -> ByteLease {
        let buffer = if let Some(buffer) = buffer {
            drop(state);
            buffer
        } else {
            PoolState::allocate(state, charge)
        };
        let entry = self.shared.ledger.open_at(format_args!("lease of {} bytes", charge.bytes), site);
        ByteLease::new(self.clone(), buffer, charge, entry)
    }

    /// Takes a buffer back.
    #[inline]
    pub(super) fn put(&self, mut buffer: Vec<u8>, charge: Charge) {
        // Nothing that was in the buffer can be seen by the next holder.
        buffer.clear();
        let mut state = self.lock();
        state.discharge(charge, Some(buffer));
        PoolState::let_in(state);
    }

    /// Takes a place in the queue, or a lease at once if nobody is in it.
    pub(super) fn enqueue(
        &self,
        charge: Charge,
        waker: &Waker,
        site: &'static Location<'static>,
    ) -> Result<ByteLease, u64> {
        let mut state = self.lock();
        if !state.admits(charge.bytes) {
            return Err(state.enqueue(Demand::Lease(charge), waker.clone()));
        }
        let buffer = state.charge(charge);
        Ok(self.hand_out(state, charge, buffer, site))
    }

    /// Takes the lease that a waiter was granted, or has `waker` woken when it is.
    pub(super) fn redeem(
        &self,
        ticket: u64,
        waker: &Waker,
        site: &'static Location<'static>,
    ) -> Option<ByteLease> {
        let mut state = self.lock();
        if let Some(Grant::Lease(charge, buffer)) = state.take_grant(ticket) {
            return Some(self.hand_out(state, charge, buffer, site));
        }
        Self::go_on_waiting(state, ticket, waker);
        None
    }

    fn go_on_waiting(mut state: MutexGuard<'_, PoolState>, ticket: u64, waker: &Waker) {
        let replaced = state.replace_waker(ticket, waker);
        // The old waker is dropped after the lock is released: it is not ours.
        drop(state);
        drop(replaced);
    }

    /// Leaves the queue.
    pub(super) fn cancel(&self, ticket: u64) {
        let mut state = self.lock();
        let mut left = None;
        match state.take_grant(ticket) {
            Some(grant) => state.take_back(grant),
            None => left = state.dequeue(ticket),
        }
        // Who was behind may fit where this one did not.
        PoolState::let_in(state);
        drop(left);
    }

    /// Charges the difference between two sizes, for a lease that grows.
    pub(super) fn charge_growth(&self, old: Charge, new: Charge) -> Result<(), PoolError> {
        let growth = new.bytes - old.bytes;
        let mut state = self.lock();
        if !state.admits(growth) {
            return Err(state.refuse(growth));
        }
        state.charge_more(growth);
        Self::make_room(state);
        Ok(())
    }

    /// Drops idle buffers for what has been charged.
    fn make_room(mut state: MutexGuard<'_, PoolState>) {
        let trimmed = state.trim_to_budget();
        drop(state);
        drop(trimmed);
    }

    /// Gives back the difference between two sizes, of a lease that has shrunk.
    pub(super) fn discharge_rest(&self, old: Charge, new: Charge) {
        let mut state = self.lock();
        state.discharge_some(old.bytes - new.bytes);
        PoolState::let_in(state);
    }

    /// Charges what a reservation grows by.
    pub(super) fn reserve(&self, bytes: usize) -> Result<(), PoolError> {
        let mut state = self.lock();
        if !state.admits(bytes) {
            return Err(state.refuse(bytes));
        }
        state.reserve(bytes);
        Self::make_room(state);
        Ok(())
    }

    /// Charges what a reservation grows by, if that is admitted, and returns whether it is. Nothing is refused.
    pub(super) fn reserve_if_free(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let is_admitted = state.admits(bytes);
        if is_admitted {
            state.reserve(bytes);
            Self::make_room(state);
        }
        is_admitted
    }

    /// Charges what a reservation grows by, or takes a place in the queue.
    pub(super) fn reserve_or_enqueue(&self, bytes: usize, waker: &Waker) -> Result<(), u64> {
        let mut state = self.lock();
        if !state.admits(bytes) {
            return Err(state.enqueue(Demand::Growth(bytes), waker.clone()));
        }
        state.reserve(bytes);
        Self::make_room(state);
        Ok(())
    }

    /// Whether a reservation has been granted what it waits for; if not, has `waker` woken when it is.
    pub(super) fn redeem_growth(&self, ticket: u64, waker: &Waker) -> bool {
        let mut state = self.lock();
        let is_granted = state.take_grant(ticket).is_some();
        if !is_granted {
            Self::go_on_waiting(state, ticket, waker);
        }
        is_granted
    }

    /// Gives back what a reservation has shrunk by.
    pub(super) fn unreserve(&self, bytes: usize) {
        let mut state = self.lock();
        state.unreserve(bytes);
        PoolState::let_in(state);
    }

    /// Returns what a lease of `len` bytes is charged.
    #[inline]
    pub(super) fn charge_for(&self, len: usize) -> Result<Charge, PoolError> {
        self.shared.classes.charge_for(len).ok_or_else(|| PoolError::TooLarge {
            requested_bytes: len,
            largest_bytes: self.shared.classes.largest(),
        })
    }

    #[inline]
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        // What may panic under the lock is the cloning of a waker, before anything is changed.
        self.shared.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for BytePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BytePool").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}
