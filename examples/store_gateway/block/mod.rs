//! Blocks: files of sorted series, and the store that reads one of them for a query.
//!
//! [`format`] has the picture of the two files. A [`BlockSource`] reads them in order, and holds a guard of the
//! block's [`ReaderGate`](losertree::resource::ReaderGate) and the leases of what it has read.

pub(crate) mod format;

mod block_error;
mod block_file;
mod block_files;
mod block_source;
mod block_writer;
mod index_reader;

pub(crate) use block_error::{BlockError, Problem};
pub(crate) use block_file::BlockFile;
pub(crate) use block_files::{BlockFiles, FileName};
pub(crate) use block_source::{Block, BlockSource};
pub(crate) use block_writer::BlockWriter;
