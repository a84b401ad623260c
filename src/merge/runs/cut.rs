use std::cmp::Ordering;

use super::entry::is_before;
use super::samples::pass_samples;
use crate::key::Order;

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
