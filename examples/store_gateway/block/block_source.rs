use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use losertree::resource::{BytePool, GateClosed, LeakLedger, LeaseWait, ReaderGate, ReaderGuard};
use losertree::stream::Received;
use losertree::{Chunk, Labels, Series, Source};

use super::format::{CRC_BYTES, Entry, WINDOW_BYTES, sealed};
use super::index_reader::IndexReader;
use super::{BlockError, BlockFiles, Problem};

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

    /// Lets a query read the block. Nothing is read and no memory is leased before the source is polled.
    ///
    /// The books name the line of the caller.
    #[track_caller]
    pub(crate) fn read(
        self: &Arc<Self>,
        query: Arc<str>,
        pool: &BytePool,
    ) -> Result<BlockSource, GateClosed> {
        let guard = self.gate.enter_as(query)?;
        let open = Open { index: Index::Window(pool.lease_wait(WINDOW_BYTES)), awaited: None, _guard: guard };
        Ok(BlockSource {
            name: self.files.name.to_string(),
            block: Arc::clone(self),
            pool: pool.clone(),
            open: Some(open),
            fails_after: None,
            bytes_read: 0,
        })
    }
}

/// Gives the series of one block to one query.
///
/// The reads are small and block; each time the window on the index is used up the source lets others run, as
/// it would have to if the read were asynchronous.
///
/// # Closing
///
/// Gives back the window and any lease it waits for, then leaves the gate. Chunks that were given out give
/// themselves back. Dropping does the same.
#[derive(Debug)]
pub(crate) struct BlockSource {
    name: String,
    block: Arc<Block>,
    pool: BytePool,
    /// `None` once it is closed.
    open: Option<Open>,
    fails_after: Option<u64>,
    bytes_read: u64,
}

/// What is held while a block is read. The guard is last: who has left the gate holds nothing.
#[derive(Debug)]
struct Open {
    index: Index,
    /// A series whose chunk waits for memory.
    awaited: Option<(Entry, Labels, LeaseWait)>,
    _guard: ReaderGuard,
}

#[derive(Debug)]
enum Index {
    Window(LeaseWait),
    Reader(Box<IndexReader>),
}

impl BlockSource {
    /// Has reading fail after this many series.
    pub(crate) const fn fail_after(&mut self, series: u64) {
        self.fails_after = Some(series);
    }

    fn poll_series(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Series>, BlockError>> {
        let Some(open) = &mut self.open else { return Poll::Ready(Ok(None)) };
        let files = &self.block.files;
        if let Index::Window(wait) = &mut open.index {
            let window = ready!(Pin::new(wait).poll(cx)).map_err(|error| files.index.error(0, error))?;
            open.index = Index::Reader(Box::new(IndexReader::new(files, window)));
        }
        if let (None, Index::Reader(index)) = (&open.awaited, &mut open.index) {
            if let Some(left) = &mut self.fails_after {
                let Some(less) = left.checked_sub(1) else {
                    return Poll::Ready(Err(files.index.error(0, Problem::Injected)));
                };
                *left = less;
            }
            let before = index.fills;
            let Some((entry, labels)) = index.next(files)? else { return Poll::Ready(Ok(None)) };
            let wait = self.pool.lease_wait(entry.chunk_len as usize + CRC_BYTES);
            open.awaited = Some((entry, labels, wait));
            if index.fills != before {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        let Some((entry, labels, wait)) = &mut open.awaited else { return Poll::Ready(Ok(None)) };
        let error = |problem| files.chunks.error(entry.chunk_offset, problem);
        let mut lease = ready!(Pin::new(wait).poll(cx)).map_err(|refused| error(refused.into()))?;
        let frame_len = entry.chunk_len as usize + CRC_BYTES;
        let read = lease.read_from(files.chunks.at(entry.chunk_offset), frame_len);
        read.map_err(|failed| error(failed.into()))?;
        sealed(&lease).ok_or_else(|| error(Problem::Checksum))?;
        self.bytes_read += (labels.packed().len() + frame_len) as u64;
        let data = lease.freeze().slice(..entry.chunk_len as usize);
        let chunk = Chunk::new(entry.min_time_ms, entry.max_time_ms, data);
        let series = Series::new(labels.clone(), vec![chunk]);
        open.awaited = None;
        Poll::Ready(Ok(Some(series)))
    }
}

impl Source for BlockSource {
    type Item = Series;
    type Error = BlockError;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Series, BlockError>>> {
        self.poll_series(cx).map(Result::transpose)
    }

    fn poll_close(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), BlockError>> {
        self.open = None;
        Poll::Ready(Ok(()))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn received(&self) -> Option<Received> {
        Some(Received { bytes: self.bytes_read, ..Received::default() })
    }
}
