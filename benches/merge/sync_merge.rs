//! Whole merges of iterators, construction included. Throughput is items.

use criterion::{BenchmarkId, Criterion, Throughput};

use crate::common::contender::{Contender, check};
use crate::common::sync;
use crate::common::workload::{Key, SOURCES, Workload, label_sets, numbers};

pub(crate) fn bench(criterion: &mut Criterion) {
    for workload in numbers() {
        merges(criterion, "sync_merge", &workload, &sync::all());
    }
    for workload in label_sets() {
        merges(criterion, "sync_merge", &workload, &sync::all());
    }
}

/// Times merges of one workload, for each number of sources.
pub(crate) fn merges<K: Key>(
    criterion: &mut Criterion,
    name: &str,
    workload: &Workload<K>,
    contenders: &[Contender<K>],
) {
    let mut group = criterion.benchmark_group(format!("{name}/{}", workload.name));
    for sources in SOURCES {
        let runs = workload.runs(sources);
        check(contenders, &runs);
        group.throughput(Throughput::Elements(workload.items as u64));
        for contender in contenders {
            let id = BenchmarkId::new(contender.name, sources);
            group.bench_with_input(id, &runs, |bencher, runs| bencher.iter(|| (contender.merge)(runs)));
        }
    }
    group.finish();
}
