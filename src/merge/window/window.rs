use std::ops::Deref;

use super::Run;

/// The next rows of a merge, as runs, and the batches that they are in.
#[derive(Debug)]
pub struct Window<'a, B> {
    runs: &'a [Run],
    batches: &'a [Option<B>],
}

impl<'a, B> Window<'a, B> {
    pub(crate) const fn new(runs: &'a [Run], batches: &'a [Option<B>]) -> Self {
        Self { runs, batches }
    }

    /// Returns the runs, in the order of the merge.
    #[must_use]
    #[inline]
    pub const fn runs(&self) -> &'a [Run] {
        self.runs
    }

    /// Whether there are no rows.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Returns the batch of a source. Each source that has a run has one.
    #[must_use]
    #[inline]
    pub fn batch(&self, source: usize) -> Option<&'a B> {
        self.batches.get(source)?.as_ref()
    }

    /// Returns the batches by source, those of sources that have no run included.
    #[must_use]
    pub const fn batches(&self) -> &'a [Option<B>] {
        self.batches
    }

    /// Returns how many rows there are, in `O(1)` for each run.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.runs.iter().map(Run::len).sum()
    }
}

impl<B> Clone for Window<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Window<'_, B> {}

/// Windows of batches that are slices.
impl<'a, T: 'a, B: Deref<Target = [T]>> Window<'a, B> {
    /// Returns the items, in the order of the merge.
    pub fn items(&self) -> impl Iterator<Item = &'a T> + use<'a, T, B> {
        let batches = self.batches;
        self.runs.iter().flat_map(move |run| {
            let batch = batches.get(run.source()).and_then(Option::as_ref);
            batch.and_then(|batch| batch.get(run.rows())).unwrap_or_default()
        })
    }

    /// Appends clones of the items, in the order of the merge.
    pub fn append_to(&self, out: &mut Vec<T>)
    where
        T: Clone,
    {
        out.reserve(self.runs.len());
        for run in self.runs {
            append(out, self.batches, run);
        }
    }
}

/// Appends clones of the items of a run.
#[inline]
pub(super) fn append<T: Clone, B: Deref<Target = [T]>>(out: &mut Vec<T>, batches: &[Option<B>], run: &Run) {
    let Some(Some(batch)) = batches.get(run.source()) else { return };
    if run.len() == 1 {
        out.extend(batch.get(run.from()).cloned());
    } else {
        out.extend_from_slice(batch.get(run.rows()).unwrap_or_default());
    }
}
