//! Whole merges of async sources that are always ready, next to the sync merge of the same data. Throughput
//! is items.

use criterion::Criterion;

use crate::common::asynchronous;
use crate::common::workload::{label_sets, numbers};
use crate::sync_merge::merges;

pub(crate) fn bench(criterion: &mut Criterion) {
    let [uniform, ..] = numbers();
    merges(criterion, "async_ready", &uniform, &asynchronous::all());
    let [labels, ..] = label_sets();
    merges(criterion, "async_ready", &labels, &asynchronous::all());
}
