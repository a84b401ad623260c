//! What it costs to release a merge that has given one item, with all of its sources open: by closing it and
//! by dropping it, for each level of the ledger. Throughput is sources.

use std::pin::pin;
use std::vec;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use losertree::resource::LedgerLevel;
use losertree::{LeakLedger, ProxyResponseLoserTree};

use crate::common::asynchronous::{Ready, wait};
use crate::common::workload::SOURCES;

type Merge = ProxyResponseLoserTree<Ready<vec::IntoIter<u64>>>;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("close");
    let levels = [("off", LedgerLevel::Off), ("counts", LedgerLevel::Counts), ("sites", LedgerLevel::Sites)];
    for (name, level) in levels {
        let ledger = LeakLedger::new(level);
        for sources in SOURCES {
            check(sources, level);
            group.throughput(Throughput::Elements(sources as u64));
            group.bench_function(BenchmarkId::new(format!("close/{name}"), sources), |bencher| {
                // The merge is returned, so that its drop is not timed.
                bencher.iter_batched(|| open(sources, &ledger), close, BatchSize::SmallInput);
            });
            group.bench_function(BenchmarkId::new(format!("drop/{name}"), sources), |bencher| {
                bencher.iter_batched(|| open(sources, &ledger), drop, BatchSize::SmallInput);
            });
        }
    }
    group.finish();
}

/// A merge in the middle of its work.
fn open(sources: usize, ledger: &LeakLedger) -> Merge {
    let source = |index: usize| Ready(vec![index as u64; 4].into_iter());
    let mut merge =
        ProxyResponseLoserTree::builder().sources((0..sources).map(source)).ledger(ledger).build();
    let first = wait(|cx| merge.poll_next_with_source(cx));
    assert!(matches!(first, Some(Ok((0, 0)))), "the merge to be closed has begun with {first:?}");
    merge
}

fn close(mut merge: Merge) -> Merge {
    {
        let mut close = pin!(merge.close());
        let Ok(()) = wait(|cx| close.as_mut().poll(cx)) else { unreachable!("no source can fail") };
    }
    merge
}

/// Checks that what is timed does what it is to do.
fn check(sources: usize, level: LedgerLevel) {
    let is_kept = u64::from(level != LedgerLevel::Off);
    let ledger = LeakLedger::new(level);
    drop(close(open(sources, &ledger)));
    drop(open(sources, &ledger));
    let record = ledger.snapshot();
    let expected = is_kept * sources as u64;
    assert_eq!(record.closed, expected, "close at {level:?}");
    assert_eq!(record.dropped_unclosed, expected, "drop at {level:?}");
    assert!(record.is_balanced(), "{record}");
}
