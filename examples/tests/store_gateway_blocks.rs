//! The block source of the example `store_gateway`, in a merge that ends everywhere it can.

use std::sync::Arc;

use futures::TryStreamExt;
use futures::executor::block_on;
use losertree::resource::BytePool;
use losertree::response::{ProxyQuery, ResponseSet, ResponseSetOptions, Store};
use losertree::{Labels, LeakLedger, ProxyResponseLoserTree, Response, Series};

use crate::block::{Block, BlockError, BlockName, BlockSeries, BlockSource, CHUNK_BYTES};

const BLOCKS: usize = 5;
const SERIES: u64 = 24;

struct Gateway {
    blocks: Vec<Arc<Block>>,
    pool: BytePool,
    ledger: LeakLedger,
}

impl Gateway {
    /// Blocks of which each has every series that its number does not divide.
    fn new() -> Self {
        let ledger = LeakLedger::sites();
        let pool = BytePool::builder()
            .smallest_bytes(64)
            .largest_bytes(CHUNK_BYTES)
            .ledger(&ledger)
            .build()
            .unwrap();
        let names = (0..BLOCKS as u64).map(|block| BlockName { block, generation: 1 });
        let blocks = names.map(|name| Arc::new(Block::new(name, series(name.block), &ledger))).collect();
        Self { blocks, pool, ledger }
    }

    fn stores(&self, failing: Option<(usize, usize)>) -> impl Iterator<Item = Store<BlockSource>> {
        self.blocks.iter().enumerate().map(move |(index, block)| {
            let fails_after = failing.filter(|(block, _)| *block == index).map(|(_, after)| after);
            block.read("query".into(), &self.pool, fails_after).unwrap()
        })
    }

    /// Of single series of blocks, as the merge inside of a query.
    fn merge(&self, failing: Option<(usize, usize)>) -> ProxyResponseLoserTree<ResponseSet<BlockSource>> {
        let sources = self.stores(failing).map(|store| ResponseSet::new(store, &sets()));
        ProxyResponseLoserTree::builder().sources(sources).ledger(&self.ledger).build()
    }

    fn query(&self) -> ProxyQuery<BlockSource> {
        ProxyQuery::builder().stores(self.stores(None)).response_sets(sets()).ledger(&self.ledger).build()
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

/// Without a runtime each set receives when it is asked.
fn sets() -> ResponseSetOptions {
    ResponseSetOptions::new().buffer_frames(3)
}

fn series(block: u64) -> Arc<[BlockSeries]> {
    let labels = |series| Labels::from_pairs([("series", format!("{series:03}"))]).unwrap();
    let start_ms = block.cast_signed();
    let series = |series| BlockSeries { labels: labels(series), start_ms, samples: 1, value: 0.5 };
    (0..SERIES).filter(|series| !series.is_multiple_of(block + 2)).map(series).collect()
}

fn count() -> u64 {
    (2..BLOCKS as u64 + 2)
        .map(|number| (0..SERIES).filter(|series| !series.is_multiple_of(number)).count() as u64)
        .sum()
}

#[test]
fn the_ledger_is_balanced_wherever_a_query_stops() {
    let gateway = Gateway::new();
    for stop in 0..=count() {
        for closes in [true, false] {
            let mut merge = gateway.merge(None);
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
    let mut merge = gateway.merge(None);
    let all: Vec<_> = block_on(async { (&mut merge).try_collect().await.unwrap() });
    drop(merge);
    assert_eq!(all.len() as u64, count());
    let labels = |response: &Response| response.as_series().unwrap().labels.clone();
    assert!(all.is_sorted_by_key(labels));
    assert_eq!(gateway.pool.snapshot().outstanding, all.len());
    assert!(gateway.blocks.iter().all(|block| block.gate.pending() == 0));
    drop(all);
    gateway.assert_balanced();
}

#[test]
fn series_of_a_query_have_the_chunks_of_all_blocks() {
    let gateway = Gateway::new();
    let mut query = gateway.query();
    let all: Vec<_> = block_on(async { (&mut query).try_collect().await.unwrap() });
    assert_eq!(query.merged_series(), count() - all.len() as u64);
    drop(query);
    let expected = |series: u64| {
        let has = |block: &usize| !series.is_multiple_of(*block as u64 + 2);
        let times: Vec<_> = (0..BLOCKS).filter(has).map(|block| i64::try_from(block).unwrap()).collect();
        let labels = Labels::from_pairs([("series", format!("{series:03}"))]).unwrap();
        (!times.is_empty()).then_some((labels, times))
    };
    let answered = all.iter().map(|response| {
        let Series { labels, chunks } = response.as_series().unwrap();
        (labels.clone(), chunks.iter().map(|chunk| chunk.min_time_ms).collect())
    });
    assert!(answered.eq((0..SERIES).filter_map(expected)));
    assert_eq!(gateway.pool.snapshot().outstanding as u64, count());
    drop(all);
    gateway.assert_balanced();
}

#[test]
fn the_ledger_is_balanced_wherever_a_query_is_cancelled() {
    let gateway = Gateway::new();
    for stop in 0..=usize::try_from(SERIES).unwrap() {
        for closes in [true, false] {
            let mut query = gateway.query();
            block_on(async {
                for _ in 0..stop {
                    query.try_next().await.unwrap();
                }
                if closes {
                    query.close().await.unwrap();
                    gateway.assert_balanced();
                }
            });
            drop(query);
            gateway.assert_balanced();
        }
    }
}

#[test]
fn the_ledger_is_balanced_wherever_a_block_fails() {
    let gateway = Gateway::new();
    for block in 0..BLOCKS {
        for after in 0..6 {
            let mut merge = gateway.merge(Some((block, after)));
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
            assert_eq!(failed.path().index(), Some(block));
            let Some(error) = failed.source_error() else { panic!("{failed}") };
            assert!(matches!(error, BlockError::Injected));
        }
    }
}

#[test]
fn block_is_replaced_as_soon_as_its_readers_have_left() {
    let gateway = Gateway::new();
    let old = &gateway.blocks[3];
    for stop in 0..=count() {
        let mut merge = gateway.merge(None);
        block_on(async {
            for _ in 0..stop {
                merge.try_next().await.unwrap().unwrap();
            }
            merge.close().await.unwrap();
        });
    }
    let next = old.next_generation(&gateway.ledger);
    assert_eq!((next.name.to_string(), next.series.len()), ("block-03.g2".into(), old.series.len()));
    let mut merge = gateway.merge(None);
    let mut closed = old.gate.close();
    block_on(async {
        merge.try_next().await.unwrap().unwrap();
        assert!(futures::poll!(&mut closed).is_pending());
        assert!(old.read("late".into(), &gateway.pool, None).is_err());
        merge.close().await.unwrap();
        closed.await;
    });
    gateway.assert_balanced();
}
