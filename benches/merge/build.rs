//! What comes before the second item: construction, the first head of each source, the first item.
//! Throughput is sources.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use losertree::key::Natural;
use losertree::tree::LoserTree;

use crate::common::contender::check;
use crate::common::workload::{Key, SOURCES, Workload, label_sets, numbers};
use crate::common::{asynchronous, sync};

/// How many items each source has.
const ITEMS: usize = 4;

pub(crate) fn bench(criterion: &mut Criterion) {
    let [uniform, ..] = numbers();
    starts(criterion, &uniform);
    let [labels, ..] = label_sets();
    starts(criterion, &labels);
}

fn starts<K: Key>(criterion: &mut Criterion, workload: &Workload<K>) {
    // Through `fold` a merge starts as through `next`.
    let mut contenders = sync::all();
    contenders.retain(|contender| contender.name != "losertree_fold");
    contenders.extend(asynchronous::all());

    let mut group = criterion.benchmark_group(format!("build/{}", workload.name));
    for sources in SOURCES {
        let runs = workload.of(sources, sources * ITEMS);
        check(&contenders, &runs);
        group.throughput(Throughput::Elements(sources as u64));
        for contender in &contenders {
            let id = BenchmarkId::new(contender.name, sources);
            group.bench_with_input(id, &runs, |bencher, runs| bencher.iter(|| (contender.first)(runs)));
        }
        let id = BenchmarkId::new("tree", sources);
        group.bench_with_input(id, &runs, |bencher, runs| bencher.iter(|| tree(black_box(runs))));
    }
    group.finish();
}

/// The tournament alone, over heads that are there.
fn tree<K: Key>(runs: &[Vec<K>]) -> u64 {
    let mut tree = LoserTree::new(Natural, runs.iter().map(|run| run.first().cloned()));
    tree.winner().map_or(0, |(_, head)| head.digest())
}
