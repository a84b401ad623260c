use super::Sink;
use super::entry::is_before;
use super::stretches::gallop;
use crate::key::Order;

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
