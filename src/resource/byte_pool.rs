use std::fmt;
use std::panic::Location;
use std::sync::PoisonError;
use std::task::Waker;
use std::time::Duration;

use super::byte_lease::{ByteLease, LeaseWait};
use super::ledger::{LeakLedger, Noter};
use super::long_held::Holding;
use super::pool_state::{PoolSnapshot, PoolState, SizeClasses};
use super::reservation::Reservation;
use super::wait_queue::{Charge, Demand, Grant};
use crate::contain_panic::contain_panic;
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
/// [`lease`](Self::lease) serves in the order of arrival. While somebody waits nobody overtakes,
/// neither another waiter who would need less nor a [`try_lease`](Self::try_lease), which is refused. So a large lease
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
///   such a user: a publisher of metrics is one, and so is a [`lease_timeout`](Self::lease_timeout).
/// - A waiter is not starved by being passed over if it is polled within that time after it was woken. One that is
///   always polled later may be passed over each time.
///
/// How many have not collected or are absent is among the metrics, and which is in the ledger.
///
/// # What is held for long
///
/// A pool knows how much of what is charged is held for long, which no load changes: leases that do not come back, and of each
/// reservation what it never went below. That is [`PoolSnapshot::long_held_bytes`]. Long is a
/// [time](BytePoolBuilder::long_held_after), 15 min unless said otherwise. No lease reads a clock for it and no ledger is needed,
/// but somebody has to look now and then, that is to take a [`snapshot`](Self::snapshot), as a publisher of metrics does. What is
/// held counts after that time at the earliest, and after twice that time and the pause between two looks at the latest.
/// What is given back is taken off at once.
///
/// # Complexity
///
/// A lease and its return are one lock and one reference count each, and an allocation where no buffer of that
/// size is idle: 1.0 to 1.1 times what a pool with sizes, budget and metrics takes that is written plainly under a
/// mutex, and 1.2 to 1.4 times a bare list of buffers under one, for one thread and for two that contend
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
/// let mut lease = pool.try_lease(1500)?;
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

impl BytePool {
    /// Returns a builder, which has the options and their defaults.
    pub fn builder() -> BytePoolBuilder {
        BytePoolBuilder::default()
    }

    /// Leases an empty buffer that holds at least `len` bytes, now or not at all.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`] if the budget does not allow it, or somebody waits for a lease.
    /// [`PoolError::TooLarge`] if the pool has no such buffers. [`PoolError::OutOfMemory`] if the allocator has not.
    #[track_caller]
    #[inline]
    pub fn try_lease(&self, len: usize) -> Result<ByteLease, PoolError> {
        let charge = self.charge_for(len)?;
        let mut state = self.admit(charge.bytes).map_err(|state| self.refuse(state, charge.bytes))?;
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
    pub fn lease(&self, len: usize) -> LeaseWait {
        LeaseWait::new(self.clone(), len, Location::caller())
    }

    /// Waits for an empty buffer that holds at least `len` bytes, for a limited time from the first poll on.
    ///
    /// # Errors
    ///
    /// [`PoolError::TimedOut`] if it was not granted in time. Else as [`lease`](Self::lease).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with a clock, which none has on `wasm32-unknown-unknown`.
    ///
    /// # Cancel safety
    ///
    /// As [`lease`](Self::lease).
    #[cfg(feature = "tokio")]
    #[track_caller]
    pub fn lease_timeout(
        &self,
        len: usize,
        limit: Duration,
    ) -> impl Future<Output = Result<ByteLease, PoolError>> + Send + use<> {
        let wait = self.lease(len);
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

    /// Returns the metrics. What was not collected in time is [passed on](Self#fairness) before, and it is a look at
    /// [what is held for long](Self#what-is-held-for-long).
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        let mut state = self.lock();
        let let_in = (state.has_waiters() && state.has_grants()).then(|| state.let_in());
        state.look();
        let snapshot = state.snapshot();
        drop(state);
        if let Some(let_in) = let_in {
            let_in.finish();
        }
        snapshot
    }

    /// Returns the budget in bytes.
    #[must_use]
    pub fn budget_bytes(&self) -> usize {
        self.shared.budget
    }

    /// Drops all idle buffers.
    pub fn trim(&self) {
        let idle = self.lock().trim();
        // Without the lock, which was released at the end of the line.
        drop(idle);
    }
}

impl fmt::Debug for BytePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Printing passes nothing on, and is no look.
        let snapshot = self.lock().snapshot();
        f.debug_struct("BytePool").field("snapshot", &snapshot).finish_non_exhaustive()
    }
}

/// Sets up a [`BytePool`]. Made by [`BytePool::builder`].
///
/// | option | default |
/// |---|---|
/// | [`smallest_bytes`](Self::smallest_bytes) | 1 KiB |
/// | [`largest_bytes`](Self::largest_bytes) | 1 MiB |
/// | [`growth_factor`](Self::growth_factor) | 2 |
/// | [`budget_bytes`](Self::budget_bytes) | 64 MiB |
/// | [`collect_within`](Self::collect_within) | 1 s |
/// | [`long_held_after`](Self::long_held_after) | 15 min |
/// | [`ledger`](Self::ledger) | none kept |
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BytePoolBuilder {
    smallest: usize,
    largest: usize,
    factor: usize,
    budget: usize,
    collect_within: Duration,
    long_held_after: Duration,
    ledger: LeakLedger,
}

impl Default for BytePoolBuilder {
    fn default() -> Self {
        Self {
            smallest: 1 << 10,
            largest: 1 << 20,
            factor: 2,
            budget: 64 << 20,
            collect_within: Duration::from_secs(1),
            long_held_after: Duration::from_secs(15 * 60),
            ledger: LeakLedger::off(),
        }
    }
}

impl BytePoolBuilder {
    /// The most that [`largest_bytes`](Self::largest_bytes) can be: 64 PiB, which is more than any processor can address,
    /// or what an allocation can have where addresses are shorter.
    pub const LARGEST_BYTES: usize = if usize::BITS < 64 { usize::MAX / 2 } else { 1 << (usize::BITS - 8) };

    /// Sets the capacity of the smallest buffers, at least 1. Shorter leases get one of these.
    pub const fn smallest_bytes(mut self, bytes: usize) -> Self {
        self.smallest = bytes;
        self
    }

    /// Sets the capacity of the largest buffers, at most [`LARGEST_BYTES`](Self::LARGEST_BYTES). A longer lease is an
    /// error, and so is one that the allocator has no memory for.
    pub const fn largest_bytes(mut self, bytes: usize) -> Self {
        self.largest = bytes;
        self
    }

    /// Sets by how much each size is larger than the one below it, at least 2.
    ///
    /// A buffer is at most this many times as large as what was asked for, and at least `smallest_bytes`.
    pub const fn growth_factor(mut self, factor: usize) -> Self {
        self.factor = factor;
        self
    }

    /// Sets how many bytes the pool may hold, leased and idle together; at least one of the largest buffers.
    pub const fn budget_bytes(mut self, bytes: usize) -> Self {
        self.budget = bytes;
        self
    }

    /// Sets how soon a waiter that was let in is to collect what it was granted. If it does not, that can be
    /// [passed on](BytePool#fairness) to others.
    ///
    /// Longer than a task that was woken may take to be run. With [`Duration::MAX`] nothing is passed on: a future that
    /// is not polled then keeps what it was granted for as long as it lives. So it is [where there is no
    /// clock](crate#without-a-clock), unless this is zero.
    pub const fn collect_within(mut self, time: Duration) -> Self {
        self.collect_within = time;
        self
    }

    /// Sets after which time what is leased or reserved counts as [held for long](BytePool#what-is-held-for-long).
    ///
    /// Longer than a query may take, so that all that counts is what a query has left behind. With [`Duration::MAX`] nothing
    /// ever counts; with zero, what two looks in a row have seen.
    pub const fn long_held_after(mut self, time: Duration) -> Self {
        self.long_held_after = time;
        self
    }

    /// Records every lease in `ledger` until it comes back, every wait for one from its first poll, and every reservation.
    pub fn ledger(mut self, ledger: &LeakLedger) -> Self {
        self.ledger = ledger.clone();
        self
    }

    /// Creates the pool, which allocates nothing yet.
    ///
    /// # Errors
    ///
    /// [`PoolConfigError`] if the options contradict each other.
    pub fn build(self) -> Result<BytePool, PoolConfigError> {
        let Self { smallest, largest, factor, budget, .. } = self;
        if smallest == 0 || largest < smallest || largest > Self::LARGEST_BYTES {
            return Err(PoolConfigError::Sizes { smallest, largest });
        }
        if factor < 2 {
            return Err(PoolConfigError::GrowthFactor { factor });
        }
        if budget < largest {
            return Err(PoolConfigError::Budget { budget, largest });
        }
        let classes = SizeClasses::new(smallest, largest, factor);
        Ok(BytePool::new(classes, budget, self.collect_within, self.long_held_after, self.ledger))
    }
}

/// Why a [`BytePool`] does not lease a buffer, or a reservation does not grow.
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
    /// The budget allows it, but the allocator has no memory for the buffer. Nothing is charged.
    #[error("the allocator has no {charge_bytes} bytes for a buffer")]
    OutOfMemory {
        /// What would have been charged: the capacity of the buffer, or what a lease was to grow by.
        charge_bytes: usize,
    },
    /// The lease or growth that was waited for was not granted in time.
    #[cfg(feature = "tokio")]
    #[error(
        "the pool has not given {charge_bytes} bytes within {limit:?}: {available_bytes} of {budget_bytes} are left, and \
         {waiting} others wait"
    )]
    TimedOut {
        /// What would have been charged: the capacity of the buffer, or what a reservation was to grow by.
        charge_bytes: usize,
        /// The time it had.
        limit: Duration,
        /// What the budget had left in the end.
        available_bytes: usize,
        /// The budget.
        budget_bytes: usize,
        /// How many others were waiting in the end.
        waiting: usize,
    },
}

/// Why a [`BytePool`] cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolConfigError {
    /// The smallest size is 0 or above the largest, or the largest is above
    /// [`BytePoolBuilder::LARGEST_BYTES`](BytePoolBuilder::LARGEST_BYTES).
    #[error(
        "buffers of {smallest} to {largest} bytes: the smallest must be at least 1 and not above the largest, \
         the largest at most {}",
        BytePoolBuilder::LARGEST_BYTES
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

struct Shared {
    classes: SizeClasses,
    budget: usize,
    ledger: LeakLedger,
    state: Apart<Mutex<PoolState>>,
}

/// Begins a cache line.
#[repr(align(64))]
struct Apart<T>(T);

type Locked<'a> = MutexGuard<'a, PoolState>;

/// Who is charged now, who waits, and who is let in: between the users of a pool and its state. No code that is not ours
/// runs under the lock; wakers are cloned before it is taken, and dropped and woken after it was released.
impl BytePool {
    fn new(
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

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Whether there is no other handle and no lease, so that nothing will change any more.
    #[cfg(feature = "metrics")]
    pub(crate) fn is_last_handle(&mut self) -> bool {
        Arc::get_mut(&mut self.shared).is_some()
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
        mut state: Locked<'_>,
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
    fn lock(&self) -> Locked<'_> {
        // Nothing in here panics between two changes, so a poisoned lock has a whole state.
        self.shared.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so many bytes can be charged now: under the lock that is returned, in either case.
    #[inline]
    fn admit(&self, bytes: usize) -> Result<Locked<'_>, Locked<'_>> {
        let state = self.lock();
        if state.admits(bytes) { Ok(state) } else { self.admit_after_all(state, bytes) }
    }

    /// As [`admit`](Self::admit), after what was not collected in time has been taken back.
    #[cold]
    fn admit_after_all<'a>(&'a self, mut state: Locked<'a>, bytes: usize) -> Result<Locked<'a>, Locked<'a>> {
        if state.has_grants() {
            let let_in = state.make_way(bytes);
            if !let_in.is_empty() {
                drop(state);
                let_in.finish();
                state = self.lock();
            }
        }
        if state.admits(bytes) { Ok(state) } else { Err(state) }
    }

    /// Refuses to charge so much.
    #[cold]
    fn refuse(&self, mut state: Locked<'_>, bytes: usize) -> PoolError {
        state.count_refusal(bytes);
        PoolError::Exhausted {
            charge_bytes: bytes,
            available_bytes: state.available(),
            budget_bytes: self.shared.budget,
            waiting: state.waiting(),
        }
    }

    /// Charges what somebody asks for if that is admitted. Else nothing is refused.
    pub(super) fn grant(&self, demand: Demand) -> Option<Grant> {
        self.admit(demand.bytes()).ok().map(|state| Self::grant_admitted(state, demand))
    }

    fn grant_admitted(mut state: Locked<'_>, demand: Demand) -> Grant {
        let grant = state.grant(demand);
        let trimmed = state.trim_to_budget();
        drop(state);
        drop(trimmed);
        grant
    }

    /// Charges what somebody asks for if that is admitted by now; else takes a place in the queue, and returns its
    /// ticket.
    pub(super) fn grant_or_join(&self, demand: Demand, waker: Waker, noter: Noter) -> Result<Grant, u64> {
        let mut state = self.lock();
        if !state.admits(demand.bytes()) {
            return Err(state.join(demand, waker, noter));
        }
        let grant = Self::grant_admitted(state, demand);
        contain_panic(|| drop(waker));
        Ok(grant)
    }

    /// Collects what was granted; if it was not yet, has `waker` woken when it is.
    pub(super) fn collect(&self, ticket: u64, waker: &Waker) -> Option<Grant> {
        let mut state = self.lock();
        if let Some(grant) = state.collect(ticket) {
            return Some(grant);
        }
        let mut unneeded = None;
        if !state.waits_on(ticket, waker) {
            drop(state);
            let waker = waker.clone();
            state = self.lock();
            unneeded = state.wait_on(ticket, waker);
        }
        // It may have been granted while the lock was released: then it must not be taken back by what follows.
        let mut grant = state.collect(ticket);
        if grant.is_none() {
            // It may have been absent, and fit; or others are absent.
            let mut let_in = state.let_in();
            grant = state.collect(ticket);
            let own = grant.as_ref().and_then(|_| let_in.take_waker(ticket));
            drop(state);
            let_in.finish();
            contain_panic(|| drop(own));
        } else {
            drop(state);
        }
        contain_panic(|| drop(unneeded));
        grant
    }

    /// Leaves the queue, and gives back what was granted and not collected.
    pub(super) fn leave(&self, ticket: u64) {
        let mut state = self.lock();
        let left = state.leave(ticket);
        // Who was behind may fit where this one did not.
        Self::release(state);
        contain_panic(|| drop(left));
    }

    /// Lets in who waits, and releases the lock.
    #[inline]
    fn release(state: Locked<'_>) {
        if state.has_waiters() {
            Self::let_in(state);
        }
    }

    #[cold]
    fn let_in(mut state: Locked<'_>) {
        let let_in = state.let_in();
        drop(state);
        let_in.finish();
    }

    /// Why a wait has ended that was limited.
    #[cfg(feature = "tokio")]
    pub(super) fn timed_out(&self, charge_bytes: usize, limit: Duration) -> PoolError {
        let pool = self.snapshot();
        PoolError::TimedOut {
            charge_bytes,
            limit,
            available_bytes: pool.budget_bytes - pool.used_bytes,
            budget_bytes: pool.budget_bytes,
            waiting: pool.waiting,
        }
    }

    /// Charges what a lease grows by.
    pub(super) fn charge_growth(&self, bytes: usize) -> Result<Holding, PoolError> {
        let mut state = self.admit(bytes).map_err(|state| self.refuse(state, bytes))?;
        let growth = state.charge_more(bytes);
        Self::make_room(state);
        Ok(growth)
    }

    /// Gives back what a lease has shrunk by.
    pub(super) fn discharge_some(&self, holding: &mut Holding, bytes: usize) {
        let mut state = self.lock();
        state.discharge_some(holding, bytes);
        Self::release(state);
    }

    /// Charges what a reservation grows by.
    pub(super) fn reserve(&self, bytes: usize) -> Result<Holding, PoolError> {
        let mut state = self.admit(bytes).map_err(|state| self.refuse(state, bytes))?;
        let growth = state.reserve(bytes);
        Self::make_room(state);
        Ok(growth)
    }

    /// Gives back what a reservation has shrunk by.
    pub(super) fn unreserve(&self, holding: &mut Holding, bytes: usize) {
        let mut state = self.lock();
        state.unreserve(holding, bytes);
        Self::release(state);
    }

    /// Drops idle buffers for what has been charged.
    fn make_room(mut state: Locked<'_>) {
        let trimmed = state.trim_to_budget();
        drop(state);
        drop(trimmed);
    }
}
