use std::mem;
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use super::ledger::Noter;
use super::long_held::{Holding, LongHeld};
use super::wait_queue::{Charge, Demand, Grant, WaitQueue};
use super::wake_all::wake_all;

/// The metrics of a [`BytePool`](super::BytePool) at one moment, taken under one lock: they fit together.
///
/// `gets.bytes - puts.bytes` is `used_bytes - reserved_bytes`, `gets.count - puts.count` is `outstanding`, and
/// `used_bytes + idle_bytes` is at most `budget_bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// What the pool may hold.
    pub budget_bytes: usize,
    /// What is charged: the capacity of all buffers that are leased, and all reservations; what was granted to
    /// a waiter who has not collected it yet is among both.
    pub used_bytes: usize,
    /// What part of it is reservations.
    pub reserved_bytes: usize,
    /// What of `used_bytes` is [held for long](super::BytePool#what-is-held-for-long).
    pub long_held_bytes: usize,
    /// The most that was ever charged.
    pub peak_bytes: usize,
    /// What is kept for the next lease: the capacity of all idle buffers.
    pub idle_bytes: usize,
    /// How many leases are out, or granted to a waiter who has not collected it yet.
    pub outstanding: usize,
    /// How many leases and growths of a reservation are being waited for.
    pub waiting: usize,
    /// How many leases and growths were granted to a waiter who has not collected them yet. Where this does not go back
    /// to 0, the future that waits is not polled.
    pub uncollected: usize,
    /// What these are charged.
    pub uncollected_bytes: usize,
    /// How many waiters had their grant [passed on](super::BytePool#fairness) and were not polled since.
    pub absent: usize,
    /// How many leases were granted, and what they were charged in bytes, growth included.
    pub gets: Flow,
    /// How many leases came back, or were granted and not taken, and what was given back in bytes.
    pub puts: Flow,
    /// How many leases, and growths of a lease or reservation, were refused, because the budget did not allow them or
    /// because somebody was waiting, and what they would have been charged in bytes. Each was an error that somebody
    /// got: [`PoolError::Exhausted`](super::PoolError::Exhausted). Those too large for the pool are not among them.
    pub refusals: Flow,
    /// How many leases and growths of a reservation had to wait, and what they were or would have been charged
    /// in bytes.
    pub waits: Flow,
    /// How many leases and growths were [passed on](super::BytePool#fairness) because their waiter did not collect them
    /// in time, and what they were charged in bytes. They were granted, and have come back.
    pub passed_on: Flow,
    /// How many buffers were allocated for a lease because none was idle, and their capacity in bytes.
    pub allocations: Flow,
}

/// How often something has happened, and how many bytes it came to: at most [`u64::MAX`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flow {
    /// How often.
    pub count: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Flow {
    pub(super) const ZERO: Self = Self { count: 0, bytes: 0 };

    /// Counts so many bytes. What is too much for the sum leaves it at the largest number: what was asked for in vain
    /// may be any number of bytes.
    pub(super) const fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// Takes back what [`add`](Self::add) has counted.
    pub(super) const fn undo(&mut self, bytes: usize) {
        self.count -= 1;
        self.bytes -= bytes as u64;
    }

    /// Adds the flow of another pool.
    #[cfg(feature = "metrics")]
    pub(crate) const fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What a pool keeps under its lock: the metrics, the idle buffers and the queue.
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
    /// Changes rarely, and is read with the budget.
    long_held: LongHeld,
    queue: WaitQueue,
    reserved_bytes: usize,
    refusals: Flow,
    waits: Flow,
    passed_on: Flow,
    allocations: Flow,
}

struct Idle {
    /// The capacity of each buffer.
    bytes: usize,
    /// Empty ones.
    buffers: Vec<Vec<u8>>,
}

/// What is to be done without the lock after waiters were let in: see [`finish`](Self::finish).
#[derive(Default)]
#[must_use = "who was let in is to be woken"]
pub(super) struct LetIn {
    woken: SmallVec<[(u64, Waker); 4]>,
    trimmed: Vec<Vec<u8>>,
}

impl LetIn {
    /// Whether nothing is to be done.
    pub(super) fn is_empty(&self) -> bool {
        self.woken.is_empty() && self.trimmed.is_empty()
    }

    /// Frees idle buffers that made room, and wakes those who were let in.
    pub(super) fn finish(self) {
        drop(self.trimmed);
        wake_all(self.woken.into_iter().map(|(_, waker)| waker));
    }

    /// Takes out the waker of somebody who knows already.
    pub(super) fn take_waker(&mut self, ticket: u64) -> Option<Waker> {
        let place = self.woken.iter().position(|(woken, _)| *woken == ticket)?;
        Some(self.woken.remove(place).1)
    }
}

impl PoolState {
    pub(super) fn new(
        classes: &SizeClasses,
        budget: usize,
        collect_within: Duration,
        long_held_after: Duration,
    ) -> Self {
        Self {
            used_bytes: 0,
            peak_bytes: 0,
            outstanding: 0,
            gets: Flow::ZERO,
            idle: classes.sizes().map(|bytes| Idle { bytes, buffers: Vec::new() }).collect(),
            budget_bytes: budget,
            long_held: LongHeld::new(long_held_after),
            queue: WaitQueue::new(collect_within),
            reserved_bytes: 0,
            refusals: Flow::ZERO,
            waits: Flow::ZERO,
            passed_on: Flow::ZERO,
            allocations: Flow::ZERO,
        }
    }

    pub(super) fn snapshot(&self) -> PoolSnapshot {
        PoolSnapshot {
            budget_bytes: self.budget_bytes,
            used_bytes: self.used_bytes,
            reserved_bytes: self.reserved_bytes,
            long_held_bytes: self.long_held.bytes(),
            peak_bytes: self.peak_bytes,
            idle_bytes: self.idle_bytes(),
            outstanding: self.outstanding,
            waiting: self.queue.waiting(),
            uncollected: self.queue.uncollected(),
            uncollected_bytes: self.queue.uncollected_bytes(),
            absent: self.queue.absent(),
            gets: self.gets,
            puts: Flow {
                count: self.gets.count - self.outstanding as u64,
                bytes: self.gets.bytes.wrapping_sub((self.used_bytes - self.reserved_bytes) as u64),
            },
            refusals: self.refusals,
            waits: self.waits,
            passed_on: self.passed_on,
            allocations: self.allocations,
        }
    }

    /// Sees what is held for long, if it is time to.
    pub(super) fn look(&mut self) {
        self.long_held.look(self.used_bytes);
    }

    fn idle_bytes(&self) -> usize {
        self.idle.iter().map(|idle| idle.bytes * idle.buffers.len()).sum()
    }

    /// Whether so much can be charged now, with nobody in front.
    #[inline]
    pub(super) fn admits(&self, bytes: usize) -> bool {
        self.queue.waiting() == 0 && bytes <= self.available()
    }

    /// What is left of the budget. What is used has been admitted, so it is never more than the budget.
    pub(super) const fn available(&self) -> usize {
        self.budget_bytes - self.used_bytes
    }

    /// How many wait.
    #[inline]
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Whether somebody waits.
    #[inline]
    pub(super) fn has_waiters(&self) -> bool {
        self.waiting() > 0
    }

    /// Whether a grant was not collected yet.
    pub(super) fn has_grants(&self) -> bool {
        self.queue.uncollected() > 0
    }

    /// Counts that so much was not charged, which somebody gets as an error.
    pub(super) const fn count_refusal(&mut self, bytes: usize) {
        self.refusals.add(bytes);
    }

    /// Charges a lease, and takes a buffer for it if one is idle.
    #[inline]
    pub(super) fn charge(&mut self, charge: Charge) -> (Holding, Option<Vec<u8>>) {
        self.gets.count += 1;
        self.outstanding += 1;
        (self.charge_more(charge.bytes), self.idle[charge.class].buffers.pop())
    }

    /// Charges what a lease grows by.
    #[inline]
    pub(super) fn charge_more(&mut self, bytes: usize) -> Holding {
        // What has come back is computed from it, so it must not stand still at the largest number.
        self.gets.bytes = self.gets.bytes.wrapping_add(bytes as u64);
        self.occupy(bytes)
    }

    /// Charges what a reservation grows by.
    pub(super) fn reserve(&mut self, bytes: usize) -> Holding {
        self.reserved_bytes += bytes;
        self.occupy(bytes)
    }

    #[inline]
    fn occupy(&mut self, bytes: usize) -> Holding {
        self.used_bytes += bytes;
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
        self.long_held.hold(bytes)
    }

    /// What is held is that of a lease or a grant, which has it only once: this cannot underflow.
    #[inline]
    pub(super) fn discharge(&mut self, class: usize, holding: &mut Holding, buffer: Option<Vec<u8>>) {
        self.outstanding -= 1;
        self.discharge_some(holding, holding.bytes());
        if let Some(buffer) = buffer {
            self.idle[class].buffers.push(buffer);
        }
    }

    /// Gives back what a lease has shrunk by.
    #[inline]
    pub(super) fn discharge_some(&mut self, holding: &mut Holding, bytes: usize) {
        self.used_bytes -= bytes;
        self.long_held.give_back(holding, bytes);
    }

    /// Gives back what a reservation has, or was granted: this cannot underflow either.
    pub(super) fn unreserve(&mut self, holding: &mut Holding, bytes: usize) {
        self.reserved_bytes -= bytes;
        self.discharge_some(holding, bytes);
    }

    /// Charges what somebody asks for. It has been admitted.
    pub(super) fn grant(&mut self, demand: Demand) -> Grant {
        match demand {
            Demand::Lease(charge) => {
                let (holding, buffer) = self.charge(charge);
                Grant::Lease { class: charge.class, holding, buffer }
            }
            Demand::Growth(bytes) => Grant::Growth(self.reserve(bytes)),
        }
    }

    /// Gives back what was granted.
    fn undo(&mut self, grant: Grant) {
        match grant {
            Grant::Lease { class, mut holding, buffer } => self.discharge(class, &mut holding, buffer),
            Grant::Growth(mut holding) => {
                let bytes = holding.bytes();
                self.unreserve(&mut holding, bytes);
            }
        }
    }

    /// Takes a place in the queue. Returns its ticket.
    pub(super) fn join(&mut self, demand: Demand, waker: Waker, noter: Noter) -> u64 {
        self.waits.add(demand.bytes());
        self.queue.join(demand, waker, noter)
    }

    /// Whether a place in the queue waits on this waker.
    pub(super) fn waits_on(&self, ticket: u64, waker: &Waker) -> bool {
        self.queue.waits_on(ticket, waker)
    }

    /// Has a place in the queue wait on another waker. Returns the one that is not needed.
    pub(super) fn wait_on(&mut self, ticket: u64, waker: Waker) -> Option<Waker> {
        self.queue.wait_on(ticket, waker)
    }

    /// Collects what was granted, if it was.
    pub(super) fn collect(&mut self, ticket: u64) -> Option<Grant> {
        self.queue.collect(ticket)
    }

    /// Gives up a place in the queue, and what was granted. Returns the waker that it waited on.
    pub(super) fn leave(&mut self, ticket: u64) -> Option<Waker> {
        let (grant, waker) = self.queue.leave(ticket);
        if let Some(grant) = grant {
            self.undo(grant);
        }
        waker
    }

    /// Charges those who wait, in order, for as long as the first of them fits. Where it does not, grants that were not
    /// collected in time are passed on to it, the oldest first.
    #[cold]
    pub(super) fn let_in(&mut self) -> LetIn {
        // What is granted here is not taken back here.
        self.let_in_before(self.queue.next_grant())
    }

    fn let_in_before(&mut self, before: u64) -> LetIn {
        let mut let_in = LetIn::default();
        while let Some(demand) = self.queue.first() {
            if demand.bytes() <= self.available() {
                let grant = self.grant(demand);
                let_in.woken.extend(self.queue.grant(grant));
            } else if !self.take_back(before) {
                break;
            }
        }
        let_in.trimmed = self.trim_to_budget();
        let_in
    }

    /// As [`let_in`](Self::let_in); and then, if nobody waits, takes back grants that were not collected in time until
    /// there is room for so much.
    #[cold]
    pub(super) fn make_way(&mut self, bytes: usize) -> LetIn {
        let before = self.queue.next_grant();
        let let_in = self.let_in_before(before);
        while self.queue.waiting() == 0 && bytes > self.available() && self.take_back(before) {}
        let_in
    }

    fn take_back(&mut self, before: u64) -> bool {
        let Some(grant) = self.queue.take_back(before) else { return false };
        self.passed_on.add(grant.bytes());
        self.undo(grant);
        true
    }

    /// Counts that a buffer is about to be allocated for what has been charged. Returns idle buffers, which the caller
    /// drops without the lock and before.
    #[cold]
    pub(super) fn count_allocation(&mut self, charge: Charge) -> Vec<Vec<u8>> {
        self.allocations.add(charge.bytes);
        self.trim_to_budget()
    }

    /// Gives back what has been charged for a buffer that could not be allocated.
    pub(super) fn undo_allocation(&mut self, charge: Charge, holding: &mut Holding) {
        self.allocations.undo(charge.bytes);
        self.discharge(charge.class, holding, None);
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

/// The capacities that buffers of a pool have: each a factor larger than the one before.
#[derive(Debug)]
pub(super) struct SizeClasses {
    sizes: Vec<usize>,
    /// By the number of bits of a length: the smallest of the buffers that hold the shortest of such lengths. With
    /// each size at least double the one before, the right class is that or the next one.
    first: [Charge; usize::BITS as usize + 1],
}

impl SizeClasses {
    /// Lists the sizes from `smallest` up; the last one is `largest`, whether that is a full step or not.
    ///
    /// `smallest` is at least 1, `largest` no less, and `factor` at least 2.
    pub(super) fn new(smallest: usize, largest: usize, factor: usize) -> Self {
        let steps = std::iter::successors(Some(smallest), |size| size.checked_mul(factor));
        let mut sizes: Vec<_> = steps.take_while(|size| *size < largest).collect();
        sizes.push(largest);
        let mut class = 0;
        let first = std::array::from_fn(|bits| {
            let shortest = if bits == 0 { 0 } else { 1 << (bits - 1) };
            while sizes.get(class).is_some_and(|size| *size < shortest) {
                class += 1;
            }
            // Where there is none, one that holds nothing, and has no next.
            Charge { class, bytes: sizes.get(class).copied().unwrap_or(0) }
        });
        Self { sizes, first }
    }

    /// Returns what a lease of `len` bytes is charged: the smallest buffers that hold so much.
    #[inline]
    pub(super) fn charge_for(&self, len: usize) -> Option<Charge> {
        let bits = usize::BITS - len.leading_zeros();
        let first = self.first[bits as usize];
        if len <= first.bytes {
            return Some(first);
        }
        let class = first.class + 1;
        let bytes = self.sizes.get(class).copied().filter(|size| *size >= len)?;
        Some(Charge { class, bytes })
    }

    pub(super) fn sizes(&self) -> impl Iterator<Item = usize> {
        self.sizes.iter().copied()
    }

    /// Returns the capacity of the largest buffers.
    pub(super) fn largest(&self) -> usize {
        self.sizes.last().copied().unwrap_or(0)
    }
}
