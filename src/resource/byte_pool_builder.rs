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
/// | [`ledger`](Self::ledger) | none kept |
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BytePoolBuilder {
    smallest: usize,
    largest: usize,
    factor: usize,
    budget: usize,
    ledger: LeakLedger,
}

impl Default for BytePoolBuilder {
    fn default() -> Self {
        Self { smallest: 1 << 10, largest: 1 << 20, factor: 2, budget: 64 << 20, ledger: LeakLedger::off() }
    }
}

impl BytePoolBuilder {
    /// Sets the capacity of the smallest buffers, at least 1. Shorter leases get one of these.
    pub const fn smallest_bytes(mut self, bytes: usize) -> Self {
        self.smallest = bytes;
        self
    }

    /// Sets the capacity of the largest buffers. A longer lease is an error.
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

    /// Books every lease in `ledger` until it comes back.
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
        Ok(BytePool::new(classes, self.budget, self.ledger))
    }
}
