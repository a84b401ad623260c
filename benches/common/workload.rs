//! Keys and inputs.

use std::fmt::Debug;

use losertree::{Labels, SortKey};
use losertree_testkit::inputs;

/// How many sources are merged.
pub(crate) const SOURCES: [usize; 6] = [2, 4, 16, 64, 256, 1024];

/// How many items are merged, so that one merge takes a few milliseconds.
const NUMBERS: usize = 1 << 16;

/// Four megabytes of label sets do not fit into a second-level cache, nor would they in a service. So their
/// figures vary more than those of numbers, with whatever else uses the memory.
const LABEL_SETS: usize = 1 << 14;

/// A key that each contender can merge.
///
/// Sources give clones of keys out of a slice. For [`Labels`] that counts a reference up, and dropping the
/// clone counts it down again: the same for each contender, and no less than what a service would do.
pub(crate) trait Key: SortKey + Ord + Clone + Debug + Send + Sync + 'static {
    /// Returns something of the key to be summed up, so that no merge is optimised away.
    fn digest(&self) -> u64;
}

impl Key for u64 {
    fn digest(&self) -> u64 {
        *self
    }
}

impl Key for Labels {
    fn digest(&self) -> u64 {
        self.packed().len() as u64
    }
}

/// A kind of input.
pub(crate) struct Workload<K> {
    pub(crate) name: &'static str,
    pub(crate) items: usize,
    make: fn(sources: usize, items: usize) -> Vec<Vec<K>>,
}

impl<K> Workload<K> {
    /// Makes the runs that so many sources give: the same each time.
    pub(crate) fn runs(&self, sources: usize) -> Vec<Vec<K>> {
        self.of(sources, self.items)
    }

    /// Makes runs of so many items in total.
    pub(crate) fn of(&self, sources: usize, items: usize) -> Vec<Vec<K>> {
        (self.make)(sources, items)
    }
}

/// Numbers: uniform, in runs of 64 from one source, and 16 distinct ones.
pub(crate) fn numbers() -> [Workload<u64>; 3] {
    [
        Workload { name: "uniform", items: NUMBERS, make: |k, n| inputs::uniform(1, k, n) },
        Workload { name: "runs", items: NUMBERS, make: |k, n| inputs::long_runs(2, k, n) },
        Workload { name: "dups", items: NUMBERS, make: |k, n| inputs::duplicates(3, k, n) },
    ]
}

/// Label sets: each of one source, and each of two.
pub(crate) fn label_sets() -> [Workload<Labels>; 2] {
    [
        Workload { name: "labels", items: LABEL_SETS, make: |k, n| packed(inputs::labels(4, k, n, 1)) },
        Workload { name: "replicas", items: LABEL_SETS, make: |k, n| packed(inputs::labels(5, k, n, 2)) },
    ]
}

fn packed(runs: Vec<Vec<String>>) -> Vec<Vec<Labels>> {
    runs.into_iter()
        .map(|run| {
            let mut run: Vec<_> = run.iter().map(|text| parse(text)).collect();
            run.sort_unstable();
            run
        })
        .collect()
}

/// Reads `name=value`, each ended by a NUL.
fn parse(text: &str) -> Labels {
    match Labels::from_pairs(text.split_terminator('\0').filter_map(|pair| pair.split_once('='))) {
        Ok(labels) => labels,
        Err(error) => panic!("{text:?} is no label set: {error}"),
    }
}
