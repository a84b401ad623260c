//! Blocks in memory, and the store that reads one of them for a query.
//!
//! A [`BlockSource`] gives the series of a block in order. It holds a guard of the block's [`ReaderGate`], and each chunk that it has
//! given holds a lease of the pool: as if it had been read from a disk.

use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use losertree::resource::{BytePool, GateClosed, LeakLedger, LeaseFull, PoolError, ReaderGate, ReaderGuard};
use losertree::response::Store;
use losertree::stream::FromStream;
use losertree::{Chunk, Labels, Response, Series, from_stream};

/// Gives the series of one block to one query, one by one.
pub(crate) type BlockSource = FromStream<BoxStream<'static, Result<Response, BlockError>>>;

/// The most samples of a chunk.
pub(crate) const MAX_SAMPLES: i64 = 32;
/// What is leased for a chunk: the times of its samples in milliseconds and their values, of 8 bytes each.
pub(crate) const CHUNK_BYTES: usize = 32 * (8 + 8);
/// The time between two samples of a series.
const STEP_MS: i64 = 15_000;

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BlockError {
    #[error("no buffer: {0}")]
    Pool(#[from] PoolError),
    #[error("a chunk is too long: {0}")]
    Full(#[from] LeaseFull),
    /// Nothing is wrong with the block: a query has asked for it.
    #[error("the read failed, as was asked for")]
    Injected,
}

/// Which generation of which block, as in `block-07.g3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockName {
    pub(crate) block: u64,
    pub(crate) generation: u64,
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block-{:02}.g{}", self.block, self.generation)
    }
}

/// A series of a block: samples of one value, a step apart.
#[derive(Debug)]
pub(crate) struct BlockSeries {
    pub(crate) labels: Labels,
    pub(crate) start_ms: i64,
    /// At least one, and not more than [`MAX_SAMPLES`].
    pub(crate) samples: i64,
    pub(crate) value: f64,
}

/// A generation of a block, and the gate that its readers pass.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) name: BlockName,
    /// Strictly ascending by their labels.
    pub(crate) series: Arc<[BlockSeries]>,
    pub(crate) gate: ReaderGate,
}

impl Block {
    /// Creates a block that nobody reads yet.
    pub(crate) fn new(name: BlockName, series: Arc<[BlockSeries]>, ledger: &LeakLedger) -> Self {
        let gate = ReaderGate::with_ledger(name.to_string(), ledger);
        Self { name, series, gate }
    }

    /// The block that takes the place of this one: the same series, and nobody reads it yet.
    pub(crate) fn next_generation(&self, ledger: &LeakLedger) -> Self {
        let BlockName { block, generation } = self.name;
        Self::new(BlockName { block, generation: generation + 1 }, Arc::clone(&self.series), ledger)
    }

    /// Lets a query read the block, or have that fail after so many series. The gate is entered at once.
    ///
    /// The ledger names the line of the caller.
    ///
    /// # Closing
    ///
    /// Once the store is closed or dropped, any lease that it waits for has been given up and the gate has been left. Chunks that
    /// were given out give themselves back.
    #[track_caller]
    pub(crate) fn read(
        self: &Arc<Self>,
        query: Arc<str>,
        pool: &BytePool,
        fails_after: Option<usize>,
    ) -> Result<Store<BlockSource>, GateClosed> {
        let guard = self.gate.enter_as(query)?;
        let reader =
            Reader { pool: pool.clone(), fails_after, next: 0, block: Arc::clone(self), _guard: guard };
        let source = from_stream(try_unfold(reader, Reader::next).boxed());
        Ok(Store::opened(self.name.to_string(), source))
    }
}

/// What is held while a block is read. The guard is last: who has left the gate holds nothing.
#[derive(Debug)]
struct Reader {
    pool: BytePool,
    fails_after: Option<usize>,
    next: usize,
    block: Arc<Block>,
    _guard: ReaderGuard,
}

impl Reader {
    /// Reads the next series.
    async fn next(mut self) -> Result<Option<(Response, Self)>, BlockError> {
        if self.fails_after == Some(self.next) {
            return Err(BlockError::Injected);
        }
        let Some(series) = self.block.series.get(self.next) else { return Ok(None) };
        let mut lease = self.pool.lease(CHUNK_BYTES).await?;
        let mut last_ms = series.start_ms;
        for step in 0..series.samples {
            last_ms = series.start_ms + step * STEP_MS;
            lease.extend_from_slice(&last_ms.to_le_bytes())?;
            lease.extend_from_slice(&series.value.to_le_bytes())?;
        }
        let chunk = Chunk::new(series.start_ms, last_ms, lease.freeze());
        let response = Series::new(series.labels.clone(), vec![chunk]).into();
        self.next += 1;
        Ok(Some((response, self)))
    }
}
