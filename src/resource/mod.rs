//! Resources that give themselves back, and a ledger that says what is open.
//!
//! - [`BytePool`]: buffers with a budget. A [`ByteLease`] returns itself when it is dropped. An exhausted budget is an error
//!   ([`try_lease`](BytePool::try_lease)), or a fair wait ([`lease`](BytePool::lease)). A future that is not polled does not starve
//!   others. A [`Reservation`] charges memory that is not the pool's to the same budget.
//! - [`ReaderGate`]: counts the readers of something, and closes when the last of them has left.
//! - [`LeakLedger`]: records what is open, since when, opened by which line, and how and when it was last used. It also records
//!   how everything else has ended, and what was not closed. A merge records its sources in a ledger, a pool its leases, waits and
//!   reservations, a gate its readers.
//!
//! Nothing in here knows of merging. A source of a merge holds a guard and its leases as fields. When it is dropped, they are given
//! back.

mod byte_lease;
mod byte_pool;
mod ledger;
mod ledger_snapshot;
mod long_held;
mod pool_state;
mod reader_gate;
mod reservation;
mod wait_queue;
mod wake_all;

pub use byte_lease::{ByteLease, LeaseFull, LeaseWait};
pub use byte_pool::{BytePool, BytePoolBuilder, PoolConfigError, PoolError};
pub use ledger::{LeakLedger, LedgerEntry, LedgerLevel};
pub use ledger_snapshot::{Ending, LastUse, LedgerSnapshot, OpenEntry, OpenSite, UnclosedEntry};
pub use pool_state::{Flow, PoolSnapshot};
#[cfg(feature = "tokio")]
pub use reader_gate::CloseTimeout;
pub use reader_gate::{GateClose, GateClosed, PendingReader, ReaderGate, ReaderGuard};
pub use reservation::Reservation;
