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
    /// a waiter who has not come for it yet is among both.
    pub used_bytes: usize,
    /// What part of it is reservations.
    pub reserved_bytes: usize,
    /// The most that was ever charged.
    pub peak_bytes: usize,
    /// What is kept for the next lease: the capacity of all idle buffers.
    pub idle_bytes: usize,
    /// How many leases are out, or granted to a waiter who has not come for it yet.
    pub outstanding: usize,
    /// How many leases and growths of a reservation are being waited for.
    pub waiting: usize,
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
    /// How many buffers were allocated for a lease because none was idle, and their capacity in bytes.
    pub allocations: Flow,
}

/// How often something has happened, and how many bytes it came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Flow {
    /// How often.
    pub count: u64,
    /// How many bytes in all.
    pub bytes: u64,
}

impl Flow {
    pub(super) const fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}
