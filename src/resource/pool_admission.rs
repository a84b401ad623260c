//! Who is charged now, who waits, and who is let in: between the users of a pool and its state. No code that is not ours
//! runs under the lock; wakers are cloned before it is taken, and dropped and woken after it was released.

use std::task::Waker;

use super::ledger_entry::Noter;
use super::long_held::Holding;
use super::pool_state::PoolState;
use super::wait_queue::{Demand, Grant};
use super::{BytePool, PoolError};
use crate::contain_panic::contain_panic;
use crate::sync::MutexGuard;

type Locked<'a> = MutexGuard<'a, PoolState>;

impl BytePool {
    /// Whether so many bytes can be charged now: under the lock that is returned, in either case.
    #[inline]
    pub(super) fn admit(&self, bytes: usize) -> Result<Locked<'_>, Locked<'_>> {
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
    pub(super) fn release(state: Locked<'_>) {
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
    pub(super) fn timed_out(&self, charge_bytes: usize, limit: std::time::Duration) -> PoolError {
        let figures = self.snapshot();
        PoolError::TimedOut {
            charge_bytes,
            limit,
            available_bytes: figures.budget_bytes - figures.used_bytes,
            budget_bytes: figures.budget_bytes,
            waiting: figures.waiting,
        }
    }

    /// Charges what a lease grows by.
    pub(super) fn charge_growth(&self, bytes: usize) -> Result<Holding, PoolError> {
        let mut state = self.admit(bytes).map_err(|mut state| state.refuse(bytes))?;
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
        let mut state = self.admit(bytes).map_err(|mut state| state.refuse(bytes))?;
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
