use std::io;

use losertree::resource::PoolError;
use losertree::series::LabelsError;

/// Why a block cannot be read or written, and where.
#[derive(Debug, thiserror::Error)]
#[error("{file}: byte {offset}: {problem}")]
pub(crate) struct BlockError {
    /// The path of the file.
    pub(crate) file: String,
    /// Where in the file.
    pub(crate) offset: u64,
    pub(crate) problem: Problem,
}

/// What is wrong there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the file ends here, before the {expected_bytes} bytes that it should have")]
    Truncated { expected_bytes: u64 },
    #[error("{excess_bytes} bytes more than the file should have")]
    Excess { excess_bytes: u64 },
    #[error("not a file of this format")]
    Magic,
    #[error("the checksum is wrong")]
    Checksum,
    #[error("{what} of {len} bytes, where at most {limit} are possible")]
    Length { what: &'static str, len: u64, limit: u64 },
    #[error("bad labels: {0}")]
    Labels(#[from] LabelsError),
    #[error("{labels} does not come after {before}, the series before it")]
    Order { before: String, labels: String },
    #[error(
        "samples that are not in the order of their times: {time_ms} ms does not come after {before_ms} ms"
    )]
    SampleOrder { before_ms: i64, time_ms: i64 },
    #[error("a series without samples")]
    NoSamples,
    #[error("there is no generation after this one")]
    LastGeneration,
    #[error("the chunk should begin at byte {expected} of its file, not at {found}")]
    ChunkOffset { expected: u64, found: u64 },
    #[error("{what} {found}, where the index says {expected}")]
    Mismatch { what: &'static str, expected: u64, found: u64 },
    #[error("no buffer: {0}")]
    Pool(#[from] PoolError),
    /// Not a problem of the file: a query has asked for it.
    #[error("the read failed, as was asked for")]
    Injected,
}
