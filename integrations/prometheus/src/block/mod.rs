//! Blocks of Prometheus' TSDB: reading `meta.json`, `index`, `chunks` and `tombstones`.
//!
//! The formats are those of `tsdb/docs/format` of prometheus/prometheus. Every byte is taken for possibly wrong: what is read is
//! checked before it is used, lengths before memory is allocated for them, and an error names the file and the byte.

#[allow(clippy::module_inception)]
mod block;
pub(crate) mod cursor;
mod error;
mod file;
mod index;
mod interval;
mod memory;
mod meta;
mod reader;
mod replica;
mod segments;
mod select;
mod series_entry;
mod source;
mod tombstones;
mod window;
pub mod xor;

pub use block::{Block, Selector};
pub use error::{BlockError, Problem};
pub use interval::Interval;
pub use memory::Memory;
pub use meta::{Compaction, Downsample, Meta, Parent, Stats, Thanos};
pub use reader::BlockReader;
pub(crate) use reader::WINDOW_BYTES;
pub(crate) use replica::Replica;
pub use source::BlockSource;
