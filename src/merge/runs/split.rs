use std::cmp::Ordering;

use super::entry::is_before;
use crate::key::{ByRef, Order};
use crate::tree::LoserTree;

/// Takes the first items of the merge of `runs` from them: at most `most` items, and about half as many at least,
/// unless there are no more. Of runs without items none are left.
///
/// `most` must be twice the number of runs or more, if there are more items than it.
///
/// Every s-th item of each run is a sample, with s = `most` / 2K, and the K-th smallest sample is the pivot.
/// Up to the pivot come K·s items with the samples passed, which is half of `most`; and as many again at
/// most: less than s in each run, between its last sample passed and its next one.
pub(super) fn cut<'a, T, O: Order<T>>(
    runs: &mut Vec<&'a [T]>,
    most: usize,
    order: &mut O,
    portion: &mut Vec<&'a [T]>,
) {
    portion.clear();
    if runs.iter().map(|run| run.len()).sum::<usize>() <= most {
        portion.append(runs);
        return;
    }
    let stride = (most / (2 * runs.len())).max(1);
    let mut passed = vec![0; runs.len()];
    let pivot = pass_samples(runs, &mut passed, stride, runs.len(), order);
    let Some((pivot_run, pivot)) = pivot else { return };

    for (index, (run, passed)) in runs.iter_mut().zip(passed).enumerate() {
        let end = run.len().min(passed + stride - 1);
        let more = before_pivot(&run[passed..end], index, (pivot_run, pivot), order);
        let taken;
        (taken, *run) = run.split_at(passed + more);
        if !taken.is_empty() {
            portion.push(taken);
        }
    }
    runs.retain(|run| !run.is_empty());
}

/// Returns how many items of a part of a run come before the pivot, which has been taken out of its own run.
fn before_pivot<T, O: Order<T>>(
    part: &[T],
    run: usize,
    (pivot_run, pivot): (usize, &T),
    order: &mut O,
) -> usize {
    match run.cmp(&pivot_run) {
        Ordering::Less => part.partition_point(|item| !is_before(pivot, item, order)),
        Ordering::Equal => 0,
        Ordering::Greater => part.partition_point(|item| is_before(item, pivot, order)),
    }
}

/// Passes the smallest samples of what is left of the runs, so many of them, or all if there are fewer, and the items
/// before them. Returns the greatest one with its run, if there is one.
///
/// The last of each `stride` items of a run is a sample.
pub(super) fn pass_samples<'a, T, O: Order<T>>(
    runs: &[&'a [T]],
    passed: &mut [usize],
    stride: usize,
    samples: usize,
    order: &mut O,
) -> Option<(usize, &'a T)> {
    let next = |run: usize, passed: usize| runs[run].get(passed + stride - 1);
    let heads = passed.iter().enumerate().map(|(run, passed)| next(run, *passed));
    let mut tree = LoserTree::new(ByRef(order), heads);
    let mut greatest = None;
    for _ in 0..samples {
        let Some((run, sample)) = tree.pop() else { break };
        greatest = Some((run, sample));
        passed[run] += stride;
        tree.set_head(run, next(run, passed[run]));
    }
    greatest
}

#[cfg(feature = "rayon")]
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
