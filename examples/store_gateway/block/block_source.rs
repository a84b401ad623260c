use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, try_unfold};
use losertree::resource::{BytePool, GateClosed, LeakLedger, ReaderGate, ReaderGuard};
use losertree::response::Store;
use losertree::stream::FromStream;
use losertree::{Chunk, Response, Series, from_stream};

use super::format::{CRC_BYTES, WINDOW_BYTES, sealed};
use super::index_reader::IndexReader;
use super::{BlockError, BlockFiles, Problem};

/// Gives the series of one block to one query, one by one.
pub(crate) type BlockSource = FromStream<BoxStream<'static, Result<Response, BlockError>>>;

/// A generation of a block, and the gate that its readers pass.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) files: BlockFiles,
    pub(crate) gate: ReaderGate,
}

impl Block {
    /// Creates a block that nobody reads yet.
    pub(crate) fn new(files: BlockFiles, ledger: &LeakLedger) -> Self {
        let gate = ReaderGate::with_ledger(files.name.to_string(), ledger);
        Self { files, gate }
    }

    /// Lets a query read the block, or have that fail after so many series. The gate is entered at once; nothing is
    /// read and no memory is leased before the store is opened.
    ///
    /// The ledger names the line of the caller.
    ///
    /// # Closing
    ///
    /// Once the store is closed or dropped, its window and any lease it waits for have been given back and the gate
    /// has been left. Chunks that were given out give themselves back.
    #[track_caller]
    pub(crate) fn read(
        self: &Arc<Self>,
        query: Arc<str>,
        pool: &BytePool,
        fails_after: Option<u64>,
    ) -> Result<Store<BlockSource>, GateClosed> {
        let guard = self.gate.enter_as(query)?;
        let (block, pool) = (Arc::clone(self), pool.clone());
        Ok(Store::new(self.files.name.to_string(), async move {
            let window = pool.lease(WINDOW_BYTES).await;
            let window = window.map_err(|error| block.files.index.error(0, error))?;
            let index = IndexReader::new(&block.files, window);
            let reader = Reader { index, pool, fails_after, block, _guard: guard };
            Ok(from_stream(try_unfold(reader, Reader::next).boxed()))
        }))
    }
}

/// What is held while a block is read. The guard is last: who has left the gate holds nothing.
#[derive(Debug)]
struct Reader {
    index: IndexReader,
    pool: BytePool,
    fails_after: Option<u64>,
    block: Arc<Block>,
    _guard: ReaderGuard,
}

impl Reader {
    /// Reads the next series. The reads are small, and block.
    async fn next(mut self) -> Result<Option<(Response, Self)>, BlockError> {
        let BlockFiles { index, chunks, .. } = &self.block.files;
        if let Some(left) = &mut self.fails_after {
            *left = left.checked_sub(1).ok_or_else(|| index.error(0, Problem::Injected))?;
        }
        let Some((entry, labels)) = self.index.next(&self.block.files)? else { return Ok(None) };
        let error = |problem| chunks.error(entry.chunk_offset, problem);
        let chunk_len = entry.chunk_len as usize;
        let frame_len = chunk_len + CRC_BYTES;
        let mut lease = self.pool.lease(frame_len).await.map_err(|refused| error(refused.into()))?;
        let read = lease.read_from(chunks.at(entry.chunk_offset), frame_len);
        read.map_err(|failed| error(failed.into()))?;
        sealed(&lease).ok_or_else(|| error(Problem::Checksum))?;
        let data = lease.freeze().slice(..chunk_len);
        let chunk = Chunk::new(entry.min_time_ms, entry.max_time_ms, data);
        Ok(Some((Series::new(labels, vec![chunk]).into(), self)))
    }
}
