use std::mem;

use super::Sink;
use super::cut::cut;
use super::entry::Entry;
use super::lane::{Lane, merge_lanes};
use super::stretches::merge_stretches;
use super::sweep::merge_sweeps;
use crate::key::{Natural, Order};

/// How many entries of each run are merged at a time, on average and at least.
const PORTION_PER_RUN: usize = 64;

/// For how many portions it is not asked at most whether there are long stretches.
const LONGEST_PATIENCE: usize = 32;

/// Merges runs, none of which is empty: stretch by stretch while these are long, else portion by portion.
pub(super) fn merge<'a, T, O, E, S>(mut runs: Vec<&'a [T]>, order: &mut O, mut sink: S) -> S
where
    T: Clone,
    O: Order<T>,
    E: Entry<'a, T, O> + 'a,
    S: Sink<T>,
{
    let items = runs.iter().map(|run| run.len()).sum();
    let most = (E::PORTION_BYTES / size_of::<E>().max(1)).max(PORTION_PER_RUN * runs.len()).min(items);
    let (mut merged, mut spare) = (Vec::new(), Vec::new());
    let mut portion = Vec::with_capacity(runs.len());
    let mut patience = 1;
    loop {
        let (in_sweeps, in_stretches);
        (in_sweeps, sink) = merge_sweeps(&mut runs, order, sink);
        (in_stretches, sink) = merge_stretches(&mut runs, order, sink);
        patience = if in_sweeps + in_stretches > most { 1 } else { LONGEST_PATIENCE.min(2 * patience) };
        for _ in 0..patience {
            let Some(first) = runs.first().and_then(|run| run.first()) else { return sink };
            if merged.is_empty() {
                merged = vec![E::of(first, order); most];
                spare.clone_from(&merged);
            }
            cut(&mut runs, most, order, &mut portion);
            let entries = portion.iter().map(|run| run.len()).sum();
            sink = E::give(cascade(&portion, &mut merged[..entries], &mut spare[..entries], order), sink);
        }
    }
}

/// Rooms for the merge of numbers, which are used again.
#[derive(Debug, Default)]
pub(in crate::merge) struct Rooms {
    merged: Vec<u64>,
    spare: Vec<u64>,
}

impl Rooms {
    /// Merges runs of numbers, all at once. None of them is empty, and there is one at least.
    pub(in crate::merge) fn merge<'r>(&'r mut self, runs: &[&'r [u64]]) -> &'r [u64] {
        let numbers = runs.iter().map(|run| run.len()).sum();
        for room in [&mut self.merged, &mut self.spare] {
            if room.len() < numbers {
                room.resize(numbers, 0);
            }
        }
        cascade(runs, &mut self.merged[..numbers], &mut self.spare[..numbers], &mut Natural)
    }
}

/// Merges neighbouring runs until one is left, to and fro between two rooms. In both of them the entries of a
/// run are where they would be if all runs were put one after the other.
fn cascade<'a: 'r, 'r, T, O, E>(
    runs: &[&'a [T]],
    mut to: &'r mut [E],
    mut from: &'r mut [E],
    order: &mut O,
) -> &'r [E]
where
    O: Order<T>,
    E: Entry<'a, T, O> + 'a,
{
    let may_wait = may_wait(runs.iter().map(|run| run.len()).collect());
    let mut runs = E::of_runs(runs, from, order);
    loop {
        if let [Run { unmoved: Some(run), .. }] = *runs {
            return run;
        }
        if runs.len() < 2 {
            return from;
        }
        // Runs that are long for this level wait for the next one; there is always a pair that is not. Where one
        // run has nine items in ten, a merge takes 1.5 times as long without at K = 16, and 2.3 times at K = 64
        // (`cargo bench --bench runs -- --filter concat_sort/skewed`).
        let most = if may_wait { longest(from.len(), runs.len()) } else { usize::MAX };
        let (mut merges, mut next) = (Vec::new(), Vec::new());
        let (mut entries, mut room) = (&*from, &mut *to);
        let mut waiting = runs.into_iter().peekable();
        while let Some(left) = waiting.next() {
            let right = waiting.next_if(|right| left.len + right.len <= most);
            let len = left.len + right.as_ref().map_or(0, |right| right.len);
            let out = room.split_off_mut(..len).unwrap_or_default();
            if let (Some(_), None) = (left.unmoved, &right) {
                let _ = entries.split_off(..len);
                next.push(left);
                continue;
            }
            let left = left.take(&mut entries);
            let right = right.map_or(&[][..], |right| right.take(&mut entries));
            merges.push(Lane::new(left, right, out));
            next.push(Run { len, unmoved: None });
        }
        merge_lanes(merges, order);
        runs = next;
        mem::swap(&mut from, &mut to);
    }
}

/// How long two runs of a level may be together, to be merged there.
const fn longest(entries: usize, runs: usize) -> usize {
    3 * entries / runs
}

/// Whether a cascade of runs of these lengths, where long ones wait, takes no more steps than are allowed if none does:
/// one for each entry and level. Where most are about as long as may just be merged it can take nearly one more.
fn may_wait(mut lens: Vec<usize>) -> bool {
    let entries = lens.iter().sum::<usize>();
    let mut steps = entries * lens.len().next_power_of_two().ilog2() as usize;
    while lens.len() > 1 {
        let most = longest(entries, lens.len());
        let (mut from, mut to) = (0, 0);
        while let Some(&left) = lens.get(from) {
            from += 1;
            lens[to] = left;
            if let Some(right) = lens.get(from).copied().filter(|right| left + right <= most) {
                lens[to] += right;
                from += 1;
                let Some(rest) = steps.checked_sub(lens[to]) else { return false };
                steps = rest;
            }
            to += 1;
        }
        lens.truncate(to);
    }
    true
}

/// A run of the cascade.
pub(super) struct Run<'a, E> {
    pub(super) len: usize,
    /// Its entries, if they are in neither of the rooms.
    pub(super) unmoved: Option<&'a [E]>,
}

impl<'a, E> Run<'a, E> {
    /// Takes what is at the place of the run in a room, and returns the entries of the run.
    fn take<'e>(self, room: &mut &'e [E]) -> &'e [E]
    where
        'a: 'e,
    {
        let entries = room.split_off(..self.len).unwrap_or_default();
        self.unmoved.unwrap_or(entries)
    }
}
