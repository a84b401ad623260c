use rayon::iter::plumbing::{Consumer, Folder, Producer, ProducerCallback, UnindexedConsumer, bridge};
use rayon::prelude::*;

use super::entry::Sink;
use super::merge_runs::{merge_slices, slices};
use super::split::split_at_rank;
use crate::key::{Natural, Order, SortKey};

/// How many items a part has at least: what takes some ten microseconds.
const SHORTEST_PART: usize = 1 << 14;

/// How many items of each run a part has at least, on average, so that finding where to split is cheap.
const SHORTEST_PART_PER_RUN: usize = 1 << 8;

/// Merges runs as [`merge_runs`](super::merge_runs()) does, on the threads of rayon's current pool.
///
/// The result for sorted runs is the same, whatever the number of threads; of runs that are not sorted each
/// comes out once and in its own order. Merges of less than twice 16,384 items, or twice 256 for each run,
/// are done by the calling thread.
///
/// # Complexity
///
/// The comparisons of [`merge_runs`](super::merge_runs()), and for each part of the merge those that find where it
/// begins: at most (K + 1)·(⌈log2 K⌉ + 1)·(⌈log2 (N / K)⌉ + 2), however the runs interleave. There are a few parts
/// for each thread, each with its own room for entries.
///
/// # Panics
///
/// Only where the order or the clone of an item panics, as told by rayon. `out` is as it was then.
///
/// # Examples
///
/// ```
/// let runs: Vec<Vec<u32>> = (0..4).map(|run| (run..100_000).step_by(4).collect()).collect();
/// let mut out = Vec::new();
/// losertree::par_merge_runs(&runs, &mut out);
/// assert!(out.into_iter().eq(0..100_000));
/// ```
pub fn par_merge_runs<T, R>(runs: &[R], out: &mut Vec<T>)
where
    T: SortKey + Clone + Send + Sync,
    R: AsRef<[T]>,
{
    par_merge_runs_with(runs, out, Natural);
}

/// Merges runs as [`merge_runs_with`](super::merge_runs_with) does, in parallel: see [`par_merge_runs`]. Each thread has a clone of the order.
pub fn par_merge_runs_with<T, R, O>(runs: &[R], out: &mut Vec<T>, order: O)
where
    T: Clone + Send + Sync,
    R: AsRef<[T]>,
    O: Order<T> + Clone + Send,
{
    let part = Part { runs: slices(runs), order };
    out.par_extend(part);
}

/// A part of a merge: the runs that it merges, none of which is empty.
struct Part<'a, T, O> {
    runs: Vec<&'a [T]>,
    order: O,
}

impl<T, O> Part<'_, T, O> {
    fn items(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
    }
}

impl<T, O> ParallelIterator for Part<'_, T, O>
where
    T: Clone + Send + Sync,
    O: Order<T> + Clone + Send,
{
    type Item = T;

    fn drive_unindexed<C: UnindexedConsumer<T>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn opt_len(&self) -> Option<usize> {
        Some(self.items())
    }
}

impl<T, O> IndexedParallelIterator for Part<'_, T, O>
where
    T: Clone + Send + Sync,
    O: Order<T> + Clone + Send,
{
    fn len(&self) -> usize {
        self.items()
    }

    fn drive<C: Consumer<T>>(self, consumer: C) -> C::Result {
        bridge(self, consumer)
    }

    fn with_producer<CB: ProducerCallback<T>>(self, callback: CB) -> CB::Output {
        callback.callback(self)
    }
}

impl<T, O> Producer for Part<'_, T, O>
where
    T: Clone + Send + Sync,
    O: Order<T> + Clone + Send,
{
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(mut self) -> Self::IntoIter {
        let mut merged = Vec::with_capacity(self.items());
        merge_slices(self.runs, &mut self.order, &mut merged);
        merged.into_iter()
    }

    fn min_len(&self) -> usize {
        SHORTEST_PART.max(SHORTEST_PART_PER_RUN * self.runs.len())
    }

    fn split_at(mut self, rank: usize) -> (Self, Self) {
        let places = split_at_rank(&self.runs, rank, &mut self.order);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (run, place) in self.runs.into_iter().zip(places) {
            let (first, second) = run.split_at(place);
            before.extend((!first.is_empty()).then_some(first));
            after.extend((!second.is_empty()).then_some(second));
        }
        (Self { runs: before, order: self.order.clone() }, Self { runs: after, order: self.order })
    }

    fn fold_with<F: Folder<T>>(mut self, folder: F) -> F {
        merge_slices(self.runs, &mut self.order, Folding(folder)).0
    }
}

/// The way of rayon to take items.
struct Folding<F>(F);

impl<T, F: Folder<T>> Sink<T> for Folding<F> {
    fn take(self, items: impl ExactSizeIterator<Item = T>) -> Self {
        Self(self.0.consume_iter(items))
    }
}
