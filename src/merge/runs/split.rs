use super::cut::before_pivot;
use crate::key::Order;

/// Returns how many of the first `rank` items of the merge come from each run. They are `rank` in sum, whatever
/// the runs are like.
///
/// An item in the middle of what is still open in some run is the pivot. All runs are searched for the place
/// where the merge would have it; the places are a lower bound of the result, or an upper one, by whether as
/// many items come before it. That halves what was open in the run, and much of the others.
pub(super) fn split_at_rank<T, O: Order<T>>(runs: &[&[T]], rank: usize, order: &mut O) -> Vec<usize> {
    let mut least = vec![0; runs.len()];
    let mut most: Vec<_> = runs.iter().map(|run| run.len().min(rank)).collect();
    let mut places = vec![0; runs.len()];
    loop {
        let widest = (0..runs.len()).max_by_key(|run| most[*run] - least[*run]);
        let Some(pivot_run) = widest.filter(|run| most[*run] > least[*run]) else { return least };
        let middle = least[pivot_run].midpoint(most[pivot_run]);
        let pivot = &runs[pivot_run][middle];
        for (index, run) in runs.iter().enumerate() {
            let open = &run[least[index]..most[index]];
            places[index] = least[index] + before_pivot(open, index, (pivot_run, pivot), order);
        }
        places[pivot_run] = middle;
        if places.iter().sum::<usize>() < rank {
            places[pivot_run] += 1;
            least.clone_from_slice(&places);
        } else {
            most.clone_from_slice(&places);
        }
    }
}
