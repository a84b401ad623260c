//! What queries and the block sync share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use losertree::LeakLedger;
use losertree::resource::BytePool;
use losertree::response::Store;
use tokio::sync::watch;

use crate::block::{Block, BlockName, BlockSeries, BlockSource};

/// The pools, the ledger and the blocks.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) pool: BytePool,
    /// In which each query reserves what it needs of the pool at most, before it takes anything: it has the same budget.
    pub(crate) admission: BytePool,
    pub(crate) ledger: LeakLedger,
    pub(crate) served: Served,
    /// How many different series the blocks have.
    pub(crate) series: u64,
    pub(crate) frame_timeout: Duration,
    /// Whether queries that stop early forget to close.
    pub(crate) leaks: bool,
    blocks: Mutex<Blocks>,
    is_stopped: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Blocks {
    current: Vec<Arc<Block>>,
    /// Those that were replaced and still have readers.
    replaced: Vec<Arc<Block>>,
}

/// How much was served, by all queries.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Series as the blocks have them, each with one chunk.
    pub(crate) items: AtomicU64,
    /// Series with their chunks of all blocks put together.
    pub(crate) series: AtomicU64,
    /// Bytes of chunks.
    pub(crate) bytes: AtomicU64,
}

impl Gateway {
    /// Creates a gateway without blocks.
    pub(crate) fn new(
        pool: BytePool,
        admission: BytePool,
        ledger: LeakLedger,
        series: u64,
        frame_timeout: Duration,
    ) -> Self {
        Self {
            pool,
            admission,
            ledger,
            served: Served::default(),
            series,
            frame_timeout,
            leaks: false,
            blocks: Mutex::default(),
            is_stopped: watch::Sender::new(false),
        }
    }

    /// Adds a block.
    pub(crate) fn add(&self, series: Arc<[BlockSeries]>) {
        let mut blocks = self.lock();
        let name = BlockName { block: blocks.current.len() as u64, generation: 1 };
        blocks.current.push(Arc::new(Block::new(name, series, &self.ledger)));
    }

    /// How many blocks there are.
    pub(crate) fn block_count(&self) -> usize {
        self.lock().current.len()
    }

    /// How many series the blocks have, one counted as often as it is in a block.
    pub(crate) fn item_count(&self) -> u64 {
        self.lock().current.iter().map(|block| block.series.len() as u64).sum()
    }

    /// All blocks as stores, for one query; one may be to fail after so many series. The ledger names the line of the
    /// caller.
    #[track_caller]
    pub(crate) fn stores(
        &self,
        query: &Arc<str>,
        failing: Option<(usize, usize)>,
    ) -> Vec<Store<BlockSource>> {
        let blocks = self.lock();
        let mut stores = Vec::with_capacity(blocks.current.len());
        // A closure would be the caller of what it calls.
        for (index, block) in blocks.current.iter().enumerate() {
            let fails_after = failing.filter(|(block, _)| *block == index).map(|(_, after)| after);
            // Under the lock no gate of a current block is closed: that comes after its replacement.
            stores.extend(block.read(Arc::clone(query), &self.pool, fails_after));
        }
        stores
    }

    /// Puts the next generation in the place of a block. New queries read that; the old one is returned, with
    /// whatever readers it has.
    pub(crate) fn replace(&self, index: usize) -> Option<Arc<Block>> {
        let mut blocks = self.lock();
        let current = blocks.current.get_mut(index)?;
        let next = Arc::new(current.next_generation(&self.ledger));
        let old = std::mem::replace(current, next);
        blocks.replaced.push(Arc::clone(&old));
        Some(old)
    }

    /// Removes a block that was replaced and has been read to the end by everybody.
    pub(crate) fn remove(&self, old: &Arc<Block>) {
        self.lock().replaced.retain(|block| !Arc::ptr_eq(block, old));
    }

    /// The blocks that were replaced and still have readers.
    pub(crate) fn replaced(&self) -> Vec<Arc<Block>> {
        self.lock().replaced.clone()
    }

    /// All blocks, with those that were replaced and still have readers.
    pub(crate) fn blocks(&self) -> Vec<Arc<Block>> {
        let blocks = self.lock();
        blocks.current.iter().chain(&blocks.replaced).cloned().collect()
    }

    /// Has all queries end where they are.
    pub(crate) fn stop(&self) {
        self.is_stopped.send_replace(true);
    }

    /// Waits until queries are to end.
    pub(crate) async fn stopped(&self) {
        // The sender is in `self`, so it is not gone.
        drop(self.is_stopped.subscribe().wait_for(|is_stopped| *is_stopped).await);
    }

    /// How long to wait for what ends by itself once nobody needs it any more. It is waited out only where something is
    /// left; where a close is forgotten that is known.
    pub(crate) const fn grace(&self) -> Duration {
        Duration::from_secs(if self.leaks { 1 } else { 10 })
    }

    /// How many readers are inside of blocks.
    pub(crate) fn pending(&self) -> usize {
        self.blocks().iter().map(|block| block.gate.pending()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Served {
    pub(crate) fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
