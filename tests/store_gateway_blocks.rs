//! The block source of the example `store_gateway`, in a merge that ends everywhere it can.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should panic")]

use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use futures::executor::block_on;
use losertree::resource::BytePool;
use losertree::{Labels, LeakLedger, ProxyResponseLoserTree};
use tempfile::TempDir;

#[path = "../examples/store_gateway/block/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a test needs a part of it")]
mod block;

use block::{Block, BlockError, BlockFiles, BlockSource, BlockWriter, FileName, Problem};

const BLOCKS: usize = 5;
const SERIES: u64 = 24;

struct Gateway {
    blocks: Vec<Arc<Block>>,
    pool: BytePool,
    ledger: LeakLedger,
    dir: TempDir,
}

impl Gateway {
    /// Blocks of which each has every series that its number does not divide.
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let ledger = LeakLedger::sites();
        let pool =
            BytePool::builder().smallest_bytes(64).largest_bytes(8 << 10).ledger(&ledger).build().unwrap();
        let names = (0..BLOCKS).map(|block| FileName { block, generation: 1 });
        let blocks = names.map(|name| Arc::new(Block::new(write(dir.path(), name), &ledger))).collect();
        Self { blocks, pool, ledger, dir }
    }

    fn merge(&self, prepare: impl Fn(usize, &mut BlockSource)) -> ProxyResponseLoserTree<BlockSource> {
        let source = |(index, block): (usize, &Arc<Block>)| {
            let mut source = block.read("query".into(), &self.pool).unwrap();
            prepare(index, &mut source);
            source
        };
        let sources = self.blocks.iter().enumerate().map(source);
        ProxyResponseLoserTree::builder().sources(sources).ledger(&self.ledger).build()
    }

    #[track_caller]
    fn assert_balanced(&self) {
        let pool = self.pool.snapshot();
        assert_eq!((pool.used_bytes, pool.outstanding), (0, 0));
        assert_eq!(pool.gets, pool.puts);
        assert!(self.blocks.iter().all(|block| block.gate.pending() == 0));
        self.ledger.assert_balanced();
    }
}

fn write(dir: &Path, name: FileName) -> BlockFiles {
    let mut writer = BlockWriter::create(dir, name).unwrap();
    let has = |series: &u64| !series.is_multiple_of(name.block as u64 + 2);
    for series in (0..SERIES).filter(has) {
        let labels = Labels::from_pairs([("series", format!("{series:03}"))]).unwrap();
        let time = i64::try_from(name.block).unwrap();
        writer.series(&labels, &[(time, 0.5)]).unwrap();
    }
    writer.finish().unwrap();
    BlockFiles::open(dir, name).unwrap()
}

fn count() -> u64 {
    (2..BLOCKS as u64 + 2)
        .map(|number| (0..SERIES).filter(|series| !series.is_multiple_of(number)).count() as u64)
        .sum()
}

#[test]
fn books_are_balanced_wherever_a_query_stops() {
    let gateway = Gateway::new();
    for stop in 0..=count() {
        for closes in [true, false] {
            let mut merge = gateway.merge(|_, _| ());
            block_on(async {
                for _ in 0..stop {
                    merge.try_next().await.unwrap().unwrap();
                }
                if closes {
                    merge.close().await.unwrap();
                    // Before the merge is gone.
                    gateway.assert_balanced();
                }
            });
            drop(merge);
            gateway.assert_balanced();
        }
    }
}

#[test]
fn chunks_keep_their_leases_and_nothing_else() {
    let gateway = Gateway::new();
    let mut merge = gateway.merge(|_, _| ());
    let all: Vec<_> = block_on(async { (&mut merge).try_collect().await.unwrap() });
    drop(merge);
    assert_eq!(all.len() as u64, count());
    assert!(all.is_sorted_by(|a, b| a.labels <= b.labels));
    assert_eq!(gateway.pool.snapshot().outstanding, all.len());
    assert!(gateway.blocks.iter().all(|block| block.gate.pending() == 0));
    drop(all);
    gateway.assert_balanced();
}

#[test]
fn books_are_balanced_wherever_a_block_fails() {
    let gateway = Gateway::new();
    for block in 0..BLOCKS {
        for after in 0..6 {
            let mut merge = gateway.merge(|index, source| {
                if index == block {
                    source.fail_after(after);
                }
            });
            let failed = block_on(async {
                let failed = loop {
                    if let Err(error) = merge.try_next().await {
                        break error;
                    }
                };
                assert!(merge.try_next().await.unwrap().is_none());
                failed
            });
            gateway.assert_balanced();
            assert_eq!(failed.origin().index(), block);
            let is_injected = |error: &BlockError| matches!(error.problem, Problem::Injected);
            assert!(failed.source_error().is_some_and(is_injected));
        }
    }
}

#[test]
fn block_is_replaced_as_soon_as_its_readers_have_left() {
    let gateway = Gateway::new();
    let old = &gateway.blocks[3];
    for stop in 0..=count() {
        let mut merge = gateway.merge(|_, _| ());
        block_on(async {
            for _ in 0..stop {
                merge.try_next().await.unwrap().unwrap();
            }
            merge.close().await.unwrap();
        });
    }
    let next = BlockWriter::next_generation(gateway.dir.path(), &old.files).unwrap();
    assert_eq!(next.index.header().series, old.files.index.header().series);
    let mut merge = gateway.merge(|_, _| ());
    let mut closed = old.gate.close();
    block_on(async {
        merge.try_next().await.unwrap().unwrap();
        assert!(futures::poll!(&mut closed).is_pending());
        assert!(old.read("late".into(), &gateway.pool).is_err());
        merge.close().await.unwrap();
        closed.await;
    });
    old.files.remove(gateway.dir.path()).unwrap();
    gateway.assert_balanced();
}
