//! What a query of the example `store_gateway` leases at most, when chunks are as long as they can be.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use losertree::resource::BytePool;
use losertree::{Labels, LeakLedger};
use tempfile::TempDir;

use crate::block::format::{CRC_BYTES, FRAME_BYTES, WINDOW_BYTES};
use crate::block::{BlockWriter, FileName};
use crate::gateway::Gateway;
use crate::query::{Kind, Outcome, Query};

const BLOCKS: usize = 4;
const SERIES: u64 = 300;
/// On a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A block that has every series, each with a chunk that fills its lease.
fn write(dir: &Path, name: FileName) {
    let samples = i64::try_from((FRAME_BYTES - CRC_BYTES) / 16).unwrap();
    let start = i64::try_from(name.block).unwrap() * samples;
    let samples: Vec<_> = (start..start + samples).map(|time_ms| (time_ms, 0.5)).collect();
    let mut writer = BlockWriter::create(dir, name).unwrap();
    for series in 0..SERIES {
        writer.series(&Labels::from_pairs([("series", format!("{series:03}"))]).unwrap(), &samples).unwrap();
    }
    writer.finish().unwrap();
}

/// A pool that has room for what so many queries need at most, and no more.
fn gateway(dir: &Path, queries: usize) -> Arc<Gateway> {
    let ledger = LeakLedger::sites();
    let budget = queries * Query::need_bytes(BLOCKS);
    let pool = || {
        let sizes = BytePool::builder().smallest_bytes(64).largest_bytes(WINDOW_BYTES);
        sizes.budget_bytes(budget).ledger(&ledger).build().unwrap()
    };
    let (pool, admission) = (pool(), pool());
    let gateway = Gateway::new(pool, admission, ledger, dir.to_owned(), SERIES, PATIENCE);
    for block in 0..BLOCKS {
        gateway.open(FileName { block, generation: 1 }).unwrap();
    }
    Arc::new(gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_never_wait_for_memory() {
    let dir = TempDir::new().unwrap();
    for block in 0..BLOCKS {
        write(dir.path(), FileName { block, generation: 1 });
    }
    for queries in [1, 1, 1, 3] {
        let gateway = gateway(dir.path(), queries);
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
    let dir = TempDir::new().unwrap();
    for block in 0..BLOCKS {
        write(dir.path(), FileName { block, generation: 1 });
    }
    let gateway = gateway(dir.path(), 2);
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
