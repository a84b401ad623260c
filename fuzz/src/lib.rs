//! What the fuzz targets have in common. They are described in `README.md`.

pub mod batches;
mod keys;
mod panics;
pub mod schedule;
pub mod sets;
mod unfused;

pub use keys::{Counted, Key, Kind, stretched};
pub use panics::{let_scripted_panics_unwind, scripted_panic, unless_it_panics};
pub use unfused::Unfused;
