use super::entry::{Sink, is_before};
use crate::key::{ByRef, Order};
use crate::tree::LoserTree;

/// How many stretches are merged at most before it is asked again whether they are long.
const LOOK: usize = 32;

/// After how many it is given up already if they are not even half as long. A merge of 32 numbers in two runs takes
/// 1.4 times as long without.
const GLANCE: usize = 4;

/// How many items there are at least for each stretch of a look and each level.
///
/// A stretch of one item takes at most 2·L comparisons at L levels, for the runner-up, its end and the
/// replay. That is L − 1 more than are promised for the item, and the cascade takes one less for each of its
/// items. So a look at s stretches is made up for by s·L items; twice as many pay for what the cascade
/// splits, too.
const ITEMS_PER_STEP: usize = 2;

/// What a stretch costs, in steps of a lane: so many, and so many for each level of the tournament.
const STEPS: usize = 40;
const STEPS_PER_LEVEL: usize = 13;

/// Merges for as long as a winner wins many times in a row: searches for the end of its stretch and takes
/// that at once. Returns how many items those were.
///
/// Without it a merge of runs that win 64 times in a row takes 2.4 times as long at K = 16 and 3.3 times at
/// K = 64 (`cargo bench --bench runs -- --filter concat_sort/runs`).
pub(super) fn merge_stretches<T, O, S>(runs: &mut Vec<&[T]>, order: &mut O, mut sink: S) -> (usize, S)
where
    T: Clone,
    O: Order<T>,
    S: Sink<T>,
{
    let levels = runs.len().next_power_of_two().ilog2() as usize;
    let items: usize = runs.iter().map(|run| run.len()).sum();
    let look = LOOK.min(items / (ITEMS_PER_STEP * levels).max(1));
    // The cascade would take as many steps as there are levels, for each item.
    let is_worth =
        |items: usize, stretches: usize| items * levels > stretches * (STEPS + STEPS_PER_LEVEL * levels);
    let mut merged = 0;
    let mut tree = LoserTree::new(ByRef(order), runs.iter().map(|run| run.first()));
    'long: loop {
        let before = merged;
        for stretches in 0..look {
            if stretches == GLANCE && !is_worth(2 * (merged - before), GLANCE) {
                break 'long;
            }
            let Some((winner, _)) = tree.winner() else { break 'long };
            let next = tree.runner_up().map(|(run, head)| (run, *head));
            let run = runs[winner];
            let stretch = next.map_or(run.len(), |(other, head)| {
                let order = &mut *tree.order_mut().0;
                gallop(run, |item| {
                    if winner < other { !is_before(head, item, order) } else { is_before(item, head, order) }
                })
            });
            let (stretch, rest) = run.split_at(stretch);
            sink = sink.take(stretch.iter().cloned());
            merged += stretch.len();
            runs[winner] = rest;
            tree.set_head(winner, rest.first());
        }
        if !is_worth(merged - before, look) {
            break;
        }
    }
    drop(tree);
    runs.retain(|run| !run.is_empty());
    (merged, sink)
}

/// Returns how many items at the beginning of `run` come before something. The first is known to.
#[inline]
pub(super) fn gallop<T>(run: &[T], mut is_before: impl FnMut(&T) -> bool) -> usize {
    let mut known = 1;
    let mut stride = 1;
    while run.get(known + stride - 1).is_some_and(&mut is_before) {
        known += stride;
        stride *= 2;
    }
    let end = run.len().min(known + stride - 1);
    known + run[known..end].partition_point(is_before)
}

/// From how many runs on it is swept.
const FEWEST_RUNS: usize = 8;

/// How many items there are for each run at least, so that one sweep in vain is made up for.
const ITEMS_PER_RUN: usize = 8;

/// What a sweep costs for each run, in steps of a lane.
const STEPS_PER_RUN: usize = 20;

/// Merges for as long as there are many items that are equal to the smallest: takes them from all runs, one run after the
/// other. Returns how many items those were.
///
/// Where there are 16 distinct numbers, a merge takes 2.2 times as long without at K = 1024, and 6 times at
/// K = 256
/// (`cargo bench --bench runs -- --filter concat_sort/dups`).
pub(super) fn merge_sweeps<T, O, S>(runs: &mut Vec<&[T]>, order: &mut O, mut sink: S) -> (usize, S)
where
    T: Clone,
    O: Order<T>,
    S: Sink<T>,
{
    let items: usize = runs.iter().map(|run| run.len()).sum();
    if runs.len() < FEWEST_RUNS || items < ITEMS_PER_RUN * runs.len() {
        return (0, sink);
    }
    let levels = runs.len().next_power_of_two().ilog2() as usize;
    let mut merged = 0;
    loop {
        let heads = runs.iter().enumerate().filter_map(|(index, run)| Some((index, run.first()?)));
        let smallest = heads.reduce(|a, b| if is_before(b.1, a.1, order) { b } else { a });
        let Some((first, smallest)) = smallest else { break };
        let mut taken = 0;
        for run in &mut runs[first..] {
            let equal;
            (equal, *run) = run.split_at(count_equal(run, smallest, order));
            sink = sink.take(equal.iter().cloned());
            taken += equal.len();
        }
        merged += taken;
        // The cascade would take as many steps as there are levels, for each item.
        if taken * levels < runs.len() * STEPS_PER_RUN {
            break;
        }
    }
    runs.retain(|run| !run.is_empty());
    (merged, sink)
}

/// Returns how many items at the beginning of `run` are equal to `value`, if none is smaller.
#[inline]
fn count_equal<T, O: Order<T>>(run: &[T], value: &T, order: &mut O) -> usize {
    let mut is_equal = |item: &T| !is_before(value, item, order);
    if !run.first().is_some_and(&mut is_equal) {
        return 0;
    }
    // Without branches, which cannot be predicted.
    let equal = match run.first_chunk::<8>() {
        Some(first) if O::EXACT => first.iter().map(|item| usize::from(is_equal(item))).sum(),
        _ => 8,
    };
    if equal < 8 { equal } else { gallop(run, is_equal) }
}
