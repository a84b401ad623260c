//! Merges of whole runs that are in memory, at the end of a vector.

use losertree::key::By;

use super::workload::Key;

/// Merges runs.
pub(crate) type Bulk<K> = fn(&[Vec<K>], &mut Vec<K>);

/// The peer: what one writes who has no merge at hand.
pub(crate) fn concat_sort<K: Key>(runs: &[Vec<K>], out: &mut Vec<K>) {
    let begin = out.len();
    for run in runs {
        out.extend_from_slice(run);
    }
    out[begin..].sort();
}

/// The iterator merge of this library over the same runs.
pub(crate) fn merge_fold<K: Key>(runs: &[Vec<K>], out: &mut Vec<K>) {
    losertree::merge(runs).for_each(|item| out.push(item.clone()));
}

pub(crate) fn merge_runs<K: Key>(runs: &[Vec<K>], out: &mut Vec<K>) {
    losertree::merge_runs(runs, out);
}

/// On all threads of rayon.
#[cfg(feature = "rayon")]
pub(crate) fn par_merge_runs<K: Key>(runs: &[Vec<K>], out: &mut Vec<K>) {
    losertree::par_merge_runs(runs, out);
}

/// With a comparator.
pub(crate) fn merge_runs_by<K: Key>(runs: &[Vec<K>], out: &mut Vec<K>) {
    losertree::merge_runs_with(runs, out, By::new(K::cmp));
}
