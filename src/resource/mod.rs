//! Resources that give themselves back, and books that say what is open.
//!
//! [`LeakLedger`] keeps the books: every source that a merge owns is an [`LedgerEntry`] in it, from the
//! moment it is handed in until it is released, and the ledger can say at any time what is open, where it
//! was opened and how everything else ended.
//!
//! [`BytePool`] leases buffers within a budget, and [`ReaderGate`] lets something be closed when its last
//! reader has left. What they give out returns or leaves when it is dropped, on every path, and can be booked
//! in a ledger too.

mod byte_lease;
mod byte_pool;
mod byte_pool_builder;
mod gate_error;
mod lease_wait;
mod ledger;
mod ledger_entry;
mod ledger_snapshot;
mod pool_error;
mod pool_snapshot;
mod pool_state;
mod reader_gate;
mod size_classes;
mod wake_all;

pub use byte_lease::{ByteLease, LeaseFull};
pub use byte_pool::BytePool;
pub use byte_pool_builder::BytePoolBuilder;
#[cfg(feature = "tokio")]
pub use gate_error::CloseTimeout;
pub use gate_error::GateClosed;
pub use lease_wait::LeaseWait;
pub use ledger::{LeakLedger, LedgerLevel};
pub use ledger_entry::{Ending, LedgerEntry};
pub use ledger_snapshot::{LedgerSnapshot, OpenEntry};
pub use pool_error::{PoolConfigError, PoolError};
pub use pool_snapshot::{Flow, PoolSnapshot};
pub use reader_gate::{GateClose, PendingReader, ReaderGate, ReaderGuard};
