//! What a query of the example `store_gateway` leases at most, when chunks are as long as they can be.

use std::sync::Arc;
use std::time::Duration;

use losertree::resource::BytePool;
use losertree::{Labels, LeakLedger};

use crate::block::{BlockSeries, CHUNK_BYTES, MAX_SAMPLES};
use crate::gateway::Gateway;
use crate::query::{Kind, Outcome, Query};

const BLOCKS: usize = 4;
const SERIES: u64 = 300;
/// On a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a block has: every series, each with a chunk that fills its lease.
fn series(block: usize) -> Arc<[BlockSeries]> {
    let start_ms = i64::try_from(block).unwrap() * 24 * 60 * 60 * 1000;
    let labels = |series| Labels::from_pairs([("series", format!("{series:03}"))]).unwrap();
    let series = |series| BlockSeries { labels: labels(series), start_ms, samples: MAX_SAMPLES, value: 0.5 };
    (0..SERIES).map(series).collect()
}

/// A pool that has room for what so many queries need at most, and no more.
fn gateway(queries: usize) -> Arc<Gateway> {
    let ledger = LeakLedger::sites();
    let budget = queries * Query::need_bytes(BLOCKS);
    let pool = || {
        let sizes = BytePool::builder().smallest_bytes(64).largest_bytes(CHUNK_BYTES);
        sizes.budget_bytes(budget).ledger(&ledger).build().unwrap()
    };
    let (pool, admission) = (pool(), pool());
    let gateway = Gateway::new(pool, admission, ledger, SERIES, PATIENCE);
    for block in 0..BLOCKS {
        gateway.add(series(block));
    }
    Arc::new(gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_never_wait_for_memory() {
    for queries in [1, 1, 1, 3] {
        let gateway = gateway(queries);
        let tasks: Vec<_> = (0_u64..)
            .take(queries)
            .map(|number| {
                let gateway = Arc::clone(&gateway);
                tokio::spawn(async move { Query::new(number, Kind::Complete).run(&gateway).await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), Outcome::Complete);
        }
        let pool = gateway.pool.snapshot();
        assert_eq!(
            (pool.waits.count, pool.used_bytes),
            (0, 0),
            "peak {} of {}",
            pool.peak_bytes,
            pool.budget_bytes
        );
        gateway.ledger.assert_balanced();
    }
}

/// Who has no room waits with nothing in its hands, so that all end, and none waits later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_beyond_the_budget_wait_before_they_take_anything() {
    const QUERIES: usize = 7;
    let gateway = gateway(2);
    // There is room for one, but for a byte.
    let mut taken = gateway.admission.reservation();
    taken.try_grow(Query::need_bytes(BLOCKS) + 1).unwrap();
    let tasks: Vec<_> = (0_u64..)
        .take(QUERIES)
        .map(|number| {
            let gateway = Arc::clone(&gateway);
            tokio::spawn(async move { Query::new(number, Kind::Complete).run(&gateway).await })
        })
        .collect();
    while gateway.admission.snapshot().waiting < QUERIES {
        tokio::task::yield_now().await;
    }
    assert_eq!((gateway.pool.snapshot().gets.count, gateway.pending()), (0, 0));
    drop(taken);
    for task in tasks {
        assert_eq!(task.await.unwrap(), Outcome::Complete);
    }
    let (pool, admission) = (gateway.pool.snapshot(), gateway.admission.snapshot());
    assert_eq!((pool.waits.count, pool.used_bytes), (0, 0));
    assert_eq!((admission.waits.count, admission.used_bytes), (QUERIES as u64, 0));
    assert!(admission.peak_bytes <= admission.budget_bytes);
    gateway.ledger.assert_balanced();
}
