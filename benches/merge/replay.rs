//! The tournament alone: takes the smallest head and brings its successor, without sources. Throughput is
//! items.

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use losertree::key::Natural;
use losertree::tree::LoserTree;
use losertree_testkit::{Runs, merged};
use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::mem;

use crate::common::heaps::{Heap, heap};
use crate::common::workload::{Key, SOURCES, Workload, label_sets, numbers};

pub(crate) fn bench(criterion: &mut Criterion) {
    for workload in numbers() {
        replays(criterion, &workload);
    }
    let [labels, ..] = label_sets();
    replays(criterion, &labels);
}

fn replays<K: Key>(criterion: &mut Criterion, workload: &Workload<K>) {
    let mut group = criterion.benchmark_group(format!("replay/{}", workload.name));
    group.throughput(Throughput::Elements(workload.items as u64));
    for sources in SOURCES {
        let runs = workload.runs(sources);
        let script = Script::of(&runs);
        let heads = || runs.iter().map(|run| run.first().cloned());
        let mut tree = LoserTree::new(Natural, heads());
        tree.settle();
        let heap = heap(heads());
        script.bench(&mut group, "naive_heap", &heap, pop_and_push);
        script.bench(&mut group, "tuned_heap", &heap, replace_top);
        script.bench(&mut group, "losertree", &tree, pop_and_set);
        script.bench(&mut group, "losertree_replace", &tree, set_winner);
    }
    group.finish();
}

/// A merge written down: its items, and the successor of each in its source.
///
/// Since equal items come in source order for each contender, all of them can follow one script.
struct Script<K> {
    sources: usize,
    items: Vec<K>,
    successors: Vec<Option<K>>,
}

impl<K: Key> Script<K> {
    fn of(runs: &[Vec<K>]) -> Self {
        let items = merged(Runs::from_keys(runs.to_vec()).as_slice());
        let successors = items.iter().map(|item| runs[item.source].get(item.sequence + 1).cloned()).collect();
        Self { sources: runs.len(), items: items.into_iter().map(|item| item.key).collect(), successors }
    }

    /// Checks a contender and times it. `step` replaces the smallest item of the tournament.
    fn bench<T: Clone>(
        &self,
        group: &mut BenchmarkGroup<'_, WallTime>,
        name: &str,
        tournament: &T,
        step: impl Fn(&mut T, Option<K>) -> Option<K>,
    ) {
        let mut checked = tournament.clone();
        for (index, (item, successor)) in self.items.iter().zip(&self.successors).enumerate() {
            let actual = step(&mut checked, successor.clone());
            assert_eq!(actual.as_ref(), Some(item), "{name} is wrong in replay {index} of {}", self.sources);
        }
        group.bench_function(BenchmarkId::new(name, self.sources), |bencher| {
            bencher.iter_batched_ref(
                || tournament.clone(),
                |tournament| {
                    let mut sum = 0_u64;
                    for successor in &self.successors {
                        if let Some(item) = step(tournament, successor.clone()) {
                            sum = sum.wrapping_add(item.digest());
                        }
                    }
                    sum
                },
                BatchSize::SmallInput,
            );
        });
    }
}

fn pop_and_push<K: Ord>(heap: &mut Heap<K>, successor: Option<K>) -> Option<K> {
    let Reverse((item, source)) = heap.pop()?;
    if let Some(successor) = successor {
        heap.push(Reverse((successor, source)));
    }
    Some(item)
}

fn replace_top<K: Ord>(heap: &mut Heap<K>, successor: Option<K>) -> Option<K> {
    let mut top = heap.peek_mut()?;
    match successor {
        Some(successor) => Some(mem::replace(&mut top.0.0, successor)),
        None => Some(PeekMut::pop(top).0.0),
    }
}

fn pop_and_set<K: Key>(tree: &mut LoserTree<K, Natural>, successor: Option<K>) -> Option<K> {
    let (source, item) = tree.pop()?;
    tree.set_head(source, successor);
    Some(item)
}

fn set_winner<K: Key>(tree: &mut LoserTree<K, Natural>, successor: Option<K>) -> Option<K> {
    let (source, _) = tree.winner()?;
    tree.set_head(source, successor)
}
