/// The figures of a [`BytePool`](super::BytePool) at one moment, taken under one lock: they fit together.
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
