use std::collections::VecDeque;
use std::mem;
use std::task::Waker;

use smallvec::SmallVec;

use super::size_classes::SizeClasses;
use super::wake_all::wake_all;
use super::{Flow, PoolError, PoolSnapshot};
use crate::sync::MutexGuard;

/// What a pool keeps under its lock: the figures, the idle buffers and the queue.
///
/// What each lease and each return changes comes first, and is no more than has room in one cache line with the
/// lock: threads that take turns hand it over as one. What follows from the rest is not kept, but
/// [computed](Self::snapshot).
#[repr(C)]
pub(super) struct PoolState {
    used_bytes: usize,
    peak_bytes: usize,
    outstanding: usize,
    gets: Flow,
    /// By size class.
    idle: Box<[Idle]>,
    budget_bytes: usize,
    /// Who waits, in the order of arrival, which is the order of tickets.
    waiters: VecDeque<Waiter>,
    /// Those who have been let in and have not come for it, by their tickets.
    granted: SmallVec<[(u64, Grant); 4]>,
    next_ticket: u64,
    reserved_bytes: usize,
    refusals: Flow,
    waits: Flow,
    allocations: Flow,
}

struct Idle {
    /// The capacity of each buffer.
    bytes: usize,
    /// Empty ones.
    buffers: Vec<Vec<u8>>,
}

struct Waiter {
    ticket: u64,
    demand: Demand,
    waker: Waker,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Demand {
    Lease(Charge),
    /// So many bytes more for a reservation.
    Growth(usize),
}

impl Demand {
    const fn bytes(self) -> usize {
        match self {
            Self::Lease(Charge { bytes, .. }) | Self::Growth(bytes) => bytes,
        }
    }
}

/// What a waiter has been let in for. It is charged.
pub(super) enum Grant {
    /// The buffer is kept, if one was idle: left with the idle ones, it would be held beside what was charged
    /// for it.
    Lease(Charge, Option<Vec<u8>>),
    Growth(usize),
}

/// What a lease was charged: the class and capacity of its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) class: usize,
    pub(super) bytes: usize,
}

impl PoolState {
    pub(super) fn new(classes: &SizeClasses, budget: usize) -> Self {
        Self {
            used_bytes: 0,
            peak_bytes: 0,
            outstanding: 0,
            gets: Flow::default(),
            idle: classes.sizes().map(|bytes| Idle { bytes, buffers: Vec::new() }).collect(),
            budget_bytes: budget,
            waiters: VecDeque::new(),
            granted: SmallVec::new(),
            next_ticket: 0,
            reserved_bytes: 0,
            refusals: Flow::default(),
            waits: Flow::default(),
            allocations: Flow::default(),
        }
    }

    pub(super) fn snapshot(&self) -> PoolSnapshot {
        PoolSnapshot {
            budget_bytes: self.budget_bytes,
            used_bytes: self.used_bytes,
            reserved_bytes: self.reserved_bytes,
            peak_bytes: self.peak_bytes,
            idle_bytes: self.idle_bytes(),
            outstanding: self.outstanding,
            waiting: self.waiters.len(),
            gets: self.gets,
            puts: Flow {
                count: self.gets.count - self.outstanding as u64,
                bytes: self.gets.bytes - (self.used_bytes - self.reserved_bytes) as u64,
            },
            refusals: self.refusals,
            waits: self.waits,
            allocations: self.allocations,
        }
    }

    fn idle_bytes(&self) -> usize {
        self.idle.iter().map(|idle| idle.bytes * idle.buffers.len()).sum()
    }

    /// Whether so much can be charged now, with nobody in front.
    #[inline]
    pub(super) fn admits(&self, bytes: usize) -> bool {
        self.waiters.is_empty() && bytes <= self.available()
    }

    /// What is left of the budget. What is used has been admitted, so it is never more than the budget.
    const fn available(&self) -> usize {
        self.budget_bytes - self.used_bytes
    }

    /// Refuses to charge so much.
    #[cold]
    pub(super) fn refuse(&mut self, bytes: usize) -> PoolError {
        self.refusals.add(bytes);
        PoolError::Exhausted {
            charge_bytes: bytes,
            available_bytes: self.available(),
            budget_bytes: self.budget_bytes,
            waiting: self.waiters.len(),
        }
    }

    /// Charges a lease, and takes a buffer for it if one is idle.
    #[inline]
    pub(super) fn charge(&mut self, charge: Charge) -> Option<Vec<u8>> {
        self.gets.count += 1;
        self.outstanding += 1;
        self.charge_more(charge.bytes);
        self.idle[charge.class].buffers.pop()
    }

    /// Charges what a lease grows by.
    #[inline]
    pub(super) fn charge_more(&mut self, bytes: usize) {
        self.gets.bytes += bytes as u64;
        self.occupy(bytes);
    }

    /// Charges what a reservation grows by.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.reserved_bytes += bytes;
        self.occupy(bytes);
    }

    #[inline]
    fn occupy(&mut self, bytes: usize) {
        self.used_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
    }

    /// The charge is that of a lease or a grant, which has it only once: this cannot underflow.
    #[inline]
    pub(super) fn discharge(&mut self, charge: Charge, buffer: Option<Vec<u8>>) {
        self.outstanding -= 1;
        self.discharge_some(charge.bytes);
        if let Some(buffer) = buffer {
            self.idle[charge.class].buffers.push(buffer);
        }
    }

    /// Gives back what a lease has shrunk by.
    pub(super) const fn discharge_some(&mut self, bytes: usize) {
        self.used_bytes -= bytes;
    }

    /// Gives back what a reservation has, or was granted: this cannot underflow either.
    pub(super) const fn unreserve(&mut self, bytes: usize) {
        self.reserved_bytes -= bytes;
        self.used_bytes -= bytes;
    }

    /// Gives back what was granted.
    pub(super) fn take_back(&mut self, grant: Grant) {
        match grant {
            Grant::Lease(charge, buffer) => self.discharge(charge, buffer),
            Grant::Growth(bytes) => self.unreserve(bytes),
        }
    }

    pub(super) fn enqueue(&mut self, demand: Demand, waker: Waker) -> u64 {
        self.waits.add(demand.bytes());
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiters.push_back(Waiter { ticket, demand, waker });
        ticket
    }

    /// Has `waker` woken when the waiter is let in, and returns the one it replaces.
    pub(super) fn replace_waker(&mut self, ticket: u64, waker: &Waker) -> Option<Waker> {
        let place = self.place_of(ticket)?;
        let registered = &mut self.waiters.get_mut(place)?.waker;
        (!registered.will_wake(waker)).then(|| mem::replace(registered, waker.clone()))
    }

    /// Takes a waiter out of the queue, who has this waker.
    pub(super) fn dequeue(&mut self, ticket: u64) -> Option<Waker> {
        let place = self.place_of(ticket)?;
        self.waiters.remove(place).map(|waiter| waiter.waker)
    }

    fn place_of(&self, ticket: u64) -> Option<usize> {
        self.waiters.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }

    /// Takes what a waiter was granted, if it was.
    pub(super) fn take_grant(&mut self, ticket: u64) -> Option<Grant> {
        let place = self.granted.iter().position(|(granted, _)| *granted == ticket)?;
        Some(self.granted.swap_remove(place).1)
    }

    /// Charges those who wait, in order, for as long as the first of them fits. Releases the lock and wakes
    /// them.
    #[inline]
    pub(super) fn let_in(state: MutexGuard<'_, Self>) {
        if !state.waiters.is_empty() {
            Self::let_in_waiters(state);
        }
    }

    #[cold]
    fn let_in_waiters(mut state: MutexGuard<'_, Self>) {
        let mut woken: SmallVec<[Waker; 4]> = SmallVec::new();
        while state.waiters.front().is_some_and(|waiter| waiter.demand.bytes() <= state.available()) {
            let Some(Waiter { ticket, demand, waker }) = state.waiters.pop_front() else { break };
            let grant = match demand {
                Demand::Lease(charge) => Grant::Lease(charge, state.charge(charge)),
                Demand::Growth(bytes) => {
                    state.reserve(bytes);
                    Grant::Growth(bytes)
                }
            };
            state.granted.push((ticket, grant));
            woken.push(waker);
        }
        let trimmed = state.trim_to_budget();
        drop(state);
        drop(trimmed);
        wake_all(woken);
    }

    /// Allocates a buffer for what has been charged. Releases the lock.
    #[cold]
    pub(super) fn allocate(mut state: MutexGuard<'_, Self>, charge: Charge) -> Vec<u8> {
        state.allocations.add(charge.bytes);
        let trimmed = state.trim_to_budget();
        drop(state);
        // Before the allocation, which is to have its place.
        drop(trimmed);
        Vec::with_capacity(charge.bytes)
    }

    /// Takes out idle buffers, the largest first, until what is used and what is idle fit into the budget. The
    /// caller drops them without the lock.
    pub(super) fn trim_to_budget(&mut self) -> Vec<Vec<u8>> {
        let mut trimmed = Vec::new();
        let (mut held, most) = (self.idle_bytes(), self.available());
        for idle in self.idle.iter_mut().rev() {
            while held > most {
                let Some(buffer) = idle.buffers.pop() else { break };
                held -= idle.bytes;
                trimmed.push(buffer);
            }
        }
        trimmed
    }

    /// Takes out all idle buffers.
    pub(super) fn trim(&mut self) -> Vec<Vec<Vec<u8>>> {
        self.idle.iter_mut().map(|idle| mem::take(&mut idle.buffers)).collect()
    }
}
