use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use losertree::resource::{GateClosed, PoolError};
use losertree::series::LabelsError;

/// Why a block cannot be read: in which file, at which byte, and what is wrong there.
#[derive(Debug, thiserror::Error)]
#[error("{}: byte {offset}: {problem}", .path.display())]
#[non_exhaustive]
pub struct BlockError {
    /// The file, or the directory of the block.
    pub path: Arc<Path>,
    /// The byte of the file at which the part begins that is wrong.
    pub offset: u64,
    /// What is wrong.
    pub problem: Problem,
}

impl BlockError {
    /// Creates an error.
    pub(crate) fn new(path: &Arc<Path>, offset: u64, problem: impl Into<Problem>) -> Self {
        Self { path: Arc::clone(path), offset, problem: problem.into() }
    }

    /// Whether the bytes of the block are wrong, and not the request, the machine or its memory.
    #[must_use]
    pub const fn is_corrupt(&self) -> bool {
        !matches!(
            self.problem,
            Problem::Io(_)
                | Problem::Pool(_)
                | Problem::Closed(_)
                | Problem::Stopped
                | Problem::TooMany { .. }
        )
    }
}

/// What is wrong with a block.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file does not begin as files of its kind do.
    #[error("the magic number is {found:#010x}, and not {expected:#010x}")]
    Magic {
        /// The number that is there.
        found: u32,
        /// The number that files of this kind have.
        expected: u32,
    },
    /// The version is one that this library does not know.
    #[error("version {0} is not supported")]
    Version(u64),
    /// A part does not lie within the file, or the bytes end in the middle of one.
    #[error("{what} of {len} bytes does not fit into the {available} bytes that there are")]
    Truncated {
        /// The part.
        what: &'static str,
        /// How long it says that it is.
        len: u64,
        /// How much there is.
        available: u64,
    },
    /// A checksum is not that of the bytes.
    #[error("the checksum of {what} is {found:#010x}, and not {computed:#010x}")]
    Checksum {
        /// The part.
        what: &'static str,
        /// The checksum in the file.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// A number has more digits than its type.
    #[error("a number has more than 64 bits")]
    Number,
    /// Something is not as the format says.
    #[error("{0}")]
    Invalid(&'static str),
    /// A reference leads to something that is not there.
    #[error("there is no {what} {reference}")]
    Reference {
        /// What it should lead to.
        what: &'static str,
        /// The reference.
        reference: u64,
    },
    /// A part is longer than the library is prepared to read.
    #[error("{what} of {len} bytes is longer than the limit, {limit} bytes")]
    TooLong {
        /// The part.
        what: &'static str,
        /// How long it is.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// A query asks for more than a limit allows.
    #[error("the query selects {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// `meta.json` cannot be understood.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// Labels are no set.
    #[error("{0}")]
    Labels(#[from] LabelsError),
    /// A chunk would have to be decoded, and its encoding is not XOR.
    #[error("a chunk of encoding {encoding} would have to be cut, and only XOR chunks can be")]
    Encoding {
        /// The number of the encoding.
        encoding: u8,
    },
    /// There is no memory in the budget.
    #[error("{0}")]
    Pool(#[from] PoolError),
    /// The block is being closed.
    #[error("{0}")]
    Closed(#[from] GateClosed),
    /// The runtime was stopped while the block was read, or nobody wants what is read any more.
    #[error("the reading was stopped")]
    Stopped,
}

/// Makes a path for errors.
pub(crate) fn shared(path: PathBuf) -> Arc<Path> {
    path.into()
}
