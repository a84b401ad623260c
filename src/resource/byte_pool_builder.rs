use std::time::Duration;

use super::size_classes::SizeClasses;
use super::{BytePool, LeakLedger, PoolConfigError};

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

    /// Books every lease in `ledger` until it comes back, every wait for one from its first poll, and every reservation.
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
        let classes = SizeClasses::new(self.smallest, self.largest, self.factor)?;
        if self.budget < self.largest {
            return Err(PoolConfigError::Budget { budget: self.budget, largest: self.largest });
        }
        Ok(BytePool::new(classes, self.budget, self.collect_within, self.long_held_after, self.ledger))
    }
}
