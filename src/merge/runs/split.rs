use super::samples::pass_samples;
use crate::key::Order;

/// Returns how many of the first `rank` items of the merge come from each run. They are `rank` in sum, whatever
/// the runs are like, if there are as many.
///
/// Up to the j-th smallest sample of stride s there are the j·s items that are passed with the samples, and at most s − 1
/// more of each other run. So with the greatest j for which these are `rank` at most, only items are passed that belong to
/// the first ones, and fewer than K·s + 1 are missing then. Those are found in the same way with half the stride,
/// down to single items.
///
/// For each stride that takes K − 1 comparisons and K + 1 replays at most: all in all `O(K·log K·log(rank / K))`,
/// whether the runs interleave or not.
pub(super) fn split_at_rank<T, O: Order<T>>(runs: &[&[T]], rank: usize, order: &mut O) -> Vec<usize> {
    let mut passed = vec![0; runs.len()];
    let mut stride = (rank / runs.len().max(1)).max(1).next_power_of_two();
    while stride > 0 {
        let missing = rank - passed.iter().sum::<usize>();
        let uncertain = runs.len().saturating_sub(1) * (stride - 1);
        let samples = missing.saturating_sub(uncertain) / stride;
        pass_samples(runs, &mut passed, stride, samples, order);
        stride /= 2;
    }
    passed
}
