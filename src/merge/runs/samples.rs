use crate::key::{ByRef, Order};
use crate::tree::LoserTree;

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
