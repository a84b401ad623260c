use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use smallvec::SmallVec;

use super::size_classes::SizeClasses;
use super::{ByteLease, BytePoolBuilder, LeakLedger, LeaseWait, PoolError, PoolSnapshot};

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
/// the length that was asked for. What is leased never exceeds the budget. Neither does what is held: idle
/// buffers are kept for the next lease, and dropped, the largest first, when a buffer must be allocated and
/// would not fit into the budget beside them.
///
/// # Fairness
///
/// [`lease_wait`](Self::lease_wait) serves in the order of arrival. While somebody waits nobody overtakes,
/// neither another waiter who would need less nor a [`lease`](Self::lease), which is refused. So a large lease
/// is not starved by small ones.
///
/// # Complexity
///
/// A lease and its return are one lock each, and an allocation where no buffer of that size is idle. Nothing is
/// allocated or freed under the lock, save that the list of idle buffers grows.
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

pub(super) struct Shared {
    classes: SizeClasses,
    budget: usize,
    ledger: LeakLedger,
    state: Mutex<State>,
}

struct State {
    figures: PoolSnapshot,
    /// Idle buffers, empty, by size class.
    idle: Vec<Vec<Vec<u8>>>,
    /// Who waits, in the order of arrival.
    waiters: VecDeque<Waiter>,
    /// Tickets of waiters who have been charged and have not come for their buffer.
    granted: SmallVec<[u64; 4]>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    charge: Charge,
    waker: Waker,
}

/// What a lease was charged: the class and capacity of its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) class: usize,
    pub(super) bytes: usize,
}

impl BytePool {
    /// Returns a builder, which has the options and their defaults.
    pub fn builder() -> BytePoolBuilder {
        BytePoolBuilder::default()
    }

    pub(super) fn new(classes: SizeClasses, budget: usize, ledger: LeakLedger) -> Self {
        let state = State {
            figures: PoolSnapshot { budget_bytes: budget, ..PoolSnapshot::default() },
            idle: (0..classes.count()).map(|_| Vec::new()).collect(),
            waiters: VecDeque::new(),
            granted: SmallVec::new(),
            next_ticket: 0,
        };
        Self { shared: Arc::new(Shared { classes, budget, ledger, state: Mutex::new(state) }) }
    }

    /// Leases an empty buffer that holds at least `len` bytes, now or not at all.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`] if the budget does not allow it, or somebody waits for a lease.
    /// [`PoolError::TooLarge`] if the pool has no such buffers.
    #[track_caller]
    pub fn lease(&self, len: usize) -> Result<ByteLease, PoolError> {
        let charge = self.charge_for(len)?;
        let mut state = self.lock();
        if !state.admits(charge) {
            state.figures.refusals.add(charge.bytes);
            return Err(state.exhausted(charge));
        }
        state.charge(charge);
        Ok(self.hand_out(state, charge, Location::caller()))
    }

    /// Waits for an empty buffer that holds at least `len` bytes.
    ///
    /// # Errors
    ///
    /// [`PoolError::TooLarge`] if the pool has no such buffers. Nothing else is an error: the budget is enough
    /// for each size, so every wait is served once what is leased has come back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up its place in the queue, or the lease if it had been granted; nobody behind
    /// it misses a wake-up.
    #[track_caller]
    pub fn lease_wait(&self, len: usize) -> LeaseWait {
        LeaseWait::new(self.clone(), len, Location::caller())
    }

    /// Returns the figures.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        let state = self.lock();
        PoolSnapshot { waiting: state.waiters.len(), ..state.figures }
    }

    /// Returns the budget in bytes.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.shared.budget
    }

    /// Whether there is no other handle and no lease, so that the figures will not change any more.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_last_handle(&mut self) -> bool {
        Arc::get_mut(&mut self.shared).is_some()
    }

    /// Drops all idle buffers.
    pub fn trim(&self) {
        let mut state = self.lock();
        state.figures.idle_bytes = 0;
        let idle: Vec<_> = state.idle.iter_mut().map(mem::take).collect();
        drop(state);
        drop(idle);
    }

    /// Makes a lease of what has been charged, and releases the lock.
    fn hand_out(
        &self,
        mut state: MutexGuard<'_, State>,
        charge: Charge,
        site: &'static Location<'static>,
    ) -> ByteLease {
        let idle = state.take_idle(charge);
        let trimmed = state.trim_to_budget();
        drop(state);
        // Before the allocation, so that what is held is within the budget at every moment.
        drop(trimmed);
        let buffer = idle.unwrap_or_else(|| Vec::with_capacity(charge.bytes));
        let entry = self.shared.ledger.open_at(format_args!("lease of {} bytes", charge.bytes), site);
        ByteLease::new(self.clone(), buffer, charge, entry)
    }

    /// Takes a buffer back.
    pub(super) fn put(&self, mut buffer: Vec<u8>, charge: Charge) {
        // Nothing that was in the buffer can be seen by the next holder.
        buffer.clear();
        let mut state = self.lock();
        state.figures.idle_bytes += charge.bytes;
        state.idle[charge.class].push(buffer);
        state.discharge(charge);
        State::let_in(state);
    }

    /// Takes a place in the queue, or a lease at once if nobody is in it.
    pub(super) fn enqueue(
        &self,
        charge: Charge,
        waker: &Waker,
        site: &'static Location<'static>,
    ) -> Result<ByteLease, u64> {
        let mut state = self.lock();
        if state.admits(charge) {
            state.charge(charge);
            return Ok(self.hand_out(state, charge, site));
        }
        state.figures.waits.add(charge.bytes);
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiters.push_back(Waiter { ticket, charge, waker: waker.clone() });
        Err(ticket)
    }

    /// Takes the lease that a waiter was granted, or has `waker` woken when it is.
    pub(super) fn redeem(
        &self,
        ticket: u64,
        charge: Charge,
        waker: &Waker,
        site: &'static Location<'static>,
    ) -> Option<ByteLease> {
        let mut state = self.lock();
        if state.take_grant(ticket) {
            return Some(self.hand_out(state, charge, site));
        }
        let waiter = state.waiters.iter_mut().find(|waiter| waiter.ticket == ticket)?;
        // The old waker is dropped after the lock is released: it is not ours.
        let replaced =
            (!waiter.waker.will_wake(waker)).then(|| mem::replace(&mut waiter.waker, waker.clone()));
        drop(state);
        drop(replaced);
        None
    }

    /// Leaves the queue.
    pub(super) fn cancel(&self, ticket: u64, charge: Charge) {
        let mut state = self.lock();
        if state.take_grant(ticket) {
            state.discharge(charge);
            return State::let_in(state);
        }
        let place = state.waiters.iter().position(|waiter| waiter.ticket == ticket);
        let left = place.and_then(|place| state.waiters.remove(place));
        // Who was behind may fit where this one did not.
        State::let_in(state);
        drop(left);
    }

    /// Charges the difference between two sizes, for a lease that grows.
    pub(super) fn charge_growth(&self, old: Charge, new: Charge) -> Result<(), PoolError> {
        let growth = Charge { bytes: new.bytes - old.bytes, ..new };
        let mut state = self.lock();
        if !state.admits(growth) {
            state.figures.refusals.add(growth.bytes);
            return Err(state.exhausted(growth));
        }
        state.figures.gets.bytes += growth.bytes as u64;
        state.use_more(growth.bytes);
        let trimmed = state.trim_to_budget();
        drop(state);
        drop(trimmed);
        Ok(())
    }

    /// Gives back the difference between two sizes, of a lease that has shrunk.
    pub(super) fn discharge_rest(&self, old: Charge, new: Charge) {
        let rest = old.bytes - new.bytes;
        let mut state = self.lock();
        state.figures.puts.bytes += rest as u64;
        state.figures.used_bytes -= rest;
        State::let_in(state);
    }

    /// Returns what a lease of `len` bytes is charged.
    pub(super) fn charge_for(&self, len: usize) -> Result<Charge, PoolError> {
        let class = self.shared.classes.class_of(len);
        class.map(|(class, bytes)| Charge { class, bytes }).ok_or_else(|| PoolError::TooLarge {
            requested_bytes: len,
            largest_bytes: self.shared.classes.largest(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What may panic under the lock is the cloning of a waker, before anything is changed.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether a lease can be charged now, with nobody in front of it.
    fn admits(&self, charge: Charge) -> bool {
        self.waiters.is_empty() && self.fits(charge)
    }

    fn fits(&self, charge: Charge) -> bool {
        charge.bytes <= self.available()
    }

    /// What is left of the budget. What is used has been admitted, so it is never more than the budget.
    const fn available(&self) -> usize {
        self.figures.budget_bytes - self.figures.used_bytes
    }

    fn charge(&mut self, charge: Charge) {
        self.figures.gets.add(charge.bytes);
        self.figures.outstanding += 1;
        self.use_more(charge.bytes);
    }

    fn use_more(&mut self, bytes: usize) {
        self.figures.used_bytes += bytes;
        self.figures.peak_bytes = self.figures.peak_bytes.max(self.figures.used_bytes);
    }

    /// The charge is that of a lease or a grant, which has it only once: this cannot underflow.
    const fn discharge(&mut self, charge: Charge) {
        self.figures.puts.add(charge.bytes);
        self.figures.outstanding -= 1;
        self.figures.used_bytes -= charge.bytes;
    }

    /// Charges those who wait, in order, for as long as the first of them fits. Releases the lock and wakes
    /// them.
    fn let_in(mut state: MutexGuard<'_, Self>) {
        let mut woken: SmallVec<[Waker; 4]> = SmallVec::new();
        while state.waiters.front().is_some_and(|waiter| state.fits(waiter.charge)) {
            let Some(waiter) = state.waiters.pop_front() else { break };
            state.charge(waiter.charge);
            state.granted.push(waiter.ticket);
            woken.push(waiter.waker);
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    fn take_grant(&mut self, ticket: u64) -> bool {
        let place = self.granted.iter().position(|granted| *granted == ticket);
        place.map(|place| self.granted.swap_remove(place)).is_some()
    }

    fn take_idle(&mut self, charge: Charge) -> Option<Vec<u8>> {
        let buffer = self.idle[charge.class].pop();
        match &buffer {
            Some(_) => self.figures.idle_bytes -= charge.bytes,
            None => self.figures.allocations.add(charge.bytes),
        }
        buffer
    }

    /// Takes out idle buffers, the largest first, until what is used and what is idle fit into the budget. The
    /// caller drops them without the lock.
    fn trim_to_budget(&mut self) -> Vec<Vec<u8>> {
        let mut trimmed = Vec::new();
        for idle in self.idle.iter_mut().rev() {
            while self.figures.idle_bytes > self.figures.budget_bytes - self.figures.used_bytes {
                let Some(buffer) = idle.pop() else { break };
                self.figures.idle_bytes -= buffer.capacity();
                trimmed.push(buffer);
            }
        }
        trimmed
    }

    fn exhausted(&self, charge: Charge) -> PoolError {
        PoolError::Exhausted {
            charge_bytes: charge.bytes,
            available_bytes: self.available(),
            budget_bytes: self.figures.budget_bytes,
            waiting: self.waiters.len(),
        }
    }
}

impl fmt::Debug for BytePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BytePool").field("snapshot", &self.snapshot()).finish_non_exhaustive()
    }
}
