//! A merge that is driven by hand, and checks of what is promised at each step.

use losertree::merge::window::{RowOrder, WindowMerge};
use losertree_testkit::{Item, Random};

/// How large the batches of a source are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sizes {
    Same(usize),
    /// Up to so many rows, none included.
    Mixed(usize),
    /// One batch for all.
    Huge,
}

impl Sizes {
    pub(crate) const ALL: [Self; 6] =
        [Self::Same(1), Self::Same(7), Self::Same(64), Self::Mixed(5), Self::Mixed(300), Self::Huge];

    /// Cuts a run into batches.
    pub(crate) fn cut<T: Clone>(self, run: &[T], random: &mut Random) -> Vec<Vec<T>> {
        let mut batches = Vec::new();
        let mut rest = run;
        while !rest.is_empty() {
            let rows = match self {
                Self::Same(rows) => rows,
                Self::Mixed(most) => random.below(most + 1),
                Self::Huge => rest.len(),
            };
            let (batch, behind) = rest.split_at(rows.min(rest.len()));
            batches.push(batch.to_vec());
            rest = behind;
        }
        if random.chance(0.2) {
            batches.push(Vec::new());
        }
        batches
    }
}

/// Supplies sources in random order, takes windows of random sizes, and returns where each row of the output comes from: source,
/// batch, row.
///
/// At each step it checks that no batch is asked for before it is needed, and that no more are held than may be.
pub(crate) fn merge_by_hand<B, O: RowOrder<B>>(
    sources: Vec<Vec<B>>,
    order: O,
    most: impl Fn(&mut Random) -> usize,
    random: &mut Random,
) -> Vec<(usize, usize, usize)> {
    let mut merge = WindowMerge::new(order, sources.len());
    let mut sources: Vec<_> = sources.into_iter().map(Vec::into_iter).collect();
    let mut rows = Vec::new();
    while !merge.is_done() {
        while !merge.needs().is_empty() {
            let source = *random.pick(merge.needs()).unwrap();
            if random.chance(0.5) {
                merge.release(source);
            }
            match sources[source].next() {
                Some(batch) => merge.supply(source, batch).unwrap(),
                None => merge.end(source),
            }
        }
        let most = most(random);
        let window = merge.next_window(most);
        assert!(window.rows() <= most);
        for run in window.runs() {
            assert!(window.batch(run.source()).is_some());
            rows.extend(run.rows().map(|row| (run.source(), run.batch(), row)));
        }
    }
    assert!(merge.next_window(usize::MAX).is_empty());
    rows
}

/// Returns the items of an output.
pub(crate) fn items_of<K: Clone>(
    sources: &[Vec<Vec<Item<K>>>],
    rows: &[(usize, usize, usize)],
) -> Vec<Item<K>> {
    rows.iter().map(|(source, batch, row)| sources[*source][*batch][*row].clone()).collect()
}
