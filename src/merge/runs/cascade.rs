use std::mem;

use super::Sink;
use super::cut::cut;
use super::entry::Entry;
use super::level::merge_pairs;
use crate::key::Order;

/// How many bytes of entries are merged at a time.
const PORTION_BYTES: usize = 1 << 18;

/// How many entries of each run are merged at a time, on average and at least.
const PORTION_PER_RUN: usize = 64;

/// Merges runs, none of which is empty, portion by portion.
pub(super) fn merge<'a, T, O, E, S>(mut runs: Vec<&'a [T]>, order: &mut O, mut sink: S) -> S
where
    T: Clone,
    O: Order<T>,
    E: Entry<'a, T, O>,
    S: Sink<T>,
{
    let items = runs.iter().map(|run| run.len()).sum();
    let most = (PORTION_BYTES / size_of::<E>().max(1)).max(PORTION_PER_RUN * runs.len()).min(items);
    let (mut merged, mut spare) = (Vec::new(), Vec::new());
    let mut portion = Vec::with_capacity(runs.len());
    while runs.len() > 1 {
        cut(&mut runs, most, order, &mut portion);
        if let [run] = *portion {
            sink = sink.take(run.iter().cloned());
            continue;
        }
        if let (true, Some(first)) = (merged.is_empty(), runs_first(&portion)) {
            merged = vec![E::of(first, order); most];
            spare = merged.clone();
        }
        let entries = portion.iter().map(|run| run.len()).sum();
        let merged = cascade(&portion, &mut merged[..entries], &mut spare[..entries], order);
        sink = E::give(merged, sink);
    }
    match *runs {
        [run] => sink.take(run.iter().cloned()),
        _ => sink,
    }
}

fn runs_first<'a, T>(runs: &[&'a [T]]) -> Option<&'a T> {
    runs.first()?.first()
}

/// Merges neighbouring runs until one is left, from one half of the room into the other and back.
fn cascade<'a, 'r, T, O, E>(
    runs: &[&'a [T]],
    merged: &'r mut [E],
    spare: &'r mut [E],
    order: &mut O,
) -> &'r [E]
where
    E: Entry<'a, T, O>,
{
    let mut lens: Vec<_> = runs.iter().map(|run| run.len()).collect();
    let (mut from, mut to) = (spare, merged);
    let leaves = E::of_runs(runs, from, order);
    merge_pairs(&leaves, to, &mut |a, b| a.is_before(b, order));
    drop(leaves);
    loop {
        lens = lens.chunks(2).map(|pair| pair.iter().sum()).collect();
        mem::swap(&mut from, &mut to);
        if lens.len() == 1 {
            return from;
        }
        let mut rest = &*from;
        let runs: Vec<_> = lens.iter().map(|len| rest.split_off(..*len).unwrap_or_default()).collect();
        merge_pairs(&runs, to, &mut |a, b| a.is_before(b, order));
    }
}
