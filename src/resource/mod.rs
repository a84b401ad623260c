//! Resources that give themselves back, and books that say what is open.
//!
//! - [`BytePool`]: buffers with a budget. A [`ByteLease`] returns itself when it is dropped; an exhausted budget
//!   is an error, or a fair wait, in which a future that is not polled does not starve others. A [`Reservation`]
//!   charges memory that is not the pool's to the same budget.
//! - [`ReaderGate`]: counts the readers of something, and closes when the last of them has left.
//! - [`LeakLedger`]: what is open, since when, opened by which line, last used when and how, how everything else
//!   has ended, and what of it was not closed. A merge books its sources in one, a pool its leases, waits and
//!   reservations, a gate its readers.
//!
//! Nothing in here knows of merging. A source of a merge holds a guard and its leases as fields, and gives them
//! back by being dropped.

mod books;
mod byte_lease;
mod byte_pool;
mod byte_pool_builder;
mod ending;
mod gate_error;
mod last_use;
mod lease_wait;
mod ledger;
mod ledger_entry;
mod ledger_record;
mod ledger_snapshot;
mod long_held;
mod open_site;
mod pool_admission;
mod pool_error;
mod pool_snapshot;
mod pool_state;
mod reader_gate;
mod reservation;
mod size_classes;
mod wait_queue;
mod wake_all;

pub use byte_lease::{ByteLease, LeaseFull};
pub use byte_pool::BytePool;
pub use byte_pool_builder::BytePoolBuilder;
pub use ending::Ending;
#[cfg(feature = "tokio")]
pub use gate_error::CloseTimeout;
pub use gate_error::GateClosed;
pub use last_use::LastUse;
pub use lease_wait::LeaseWait;
pub use ledger::{LeakLedger, LedgerLevel};
pub use ledger_entry::LedgerEntry;
pub use ledger_snapshot::{LedgerSnapshot, OpenEntry, UnclosedEntry};
pub use open_site::OpenSite;
pub use pool_error::{PoolConfigError, PoolError};
pub use pool_snapshot::{Flow, PoolSnapshot};
pub use reader_gate::{GateClose, PendingReader, ReaderGate, ReaderGuard};
pub use reservation::Reservation;
