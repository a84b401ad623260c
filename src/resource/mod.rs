//! Resources that give themselves back, and books that say what is open.
//!
//! [`LeakLedger`] keeps the books: every source that a merge owns is an [`LedgerEntry`] in it, from the
//! moment it is handed in until it is released, and the ledger can say at any time what is open, where it
//! was opened and how everything else ended.

mod ledger;
mod ledger_entry;
mod ledger_snapshot;

pub use ledger::{LeakLedger, LedgerLevel};
pub use ledger_entry::{Ending, LedgerEntry};
pub use ledger_snapshot::{LedgerSnapshot, OpenEntry};
