use super::Sink;
use super::entry::is_before;
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

/// Returns how many items at the beginning of `run`, of which the first is known to, come before something.
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
