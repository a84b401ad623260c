use std::hint::select_unpredictable;
use std::ops::Deref;
use std::slice;

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
        Items::new(self.runs, move |source| {
            batches.get(source).and_then(Option::as_ref).map(|batch| &**batch)
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

/// The items of runs.
pub(crate) struct Items<'a, T, F> {
    runs: &'a [Run],
    /// Whether it cannot be predicted where runs end, which are short, but not all of one item.
    are_mixed: bool,
    /// How many items of the first run have been given, in that case.
    given: usize,
    /// What is left of the run before the first one, in the other.
    rest: slice::Iter<'a, T>,
    batch: F,
}

impl<'a, T, F: Fn(usize) -> Option<&'a [T]>> Items<'a, T, F> {
    /// Of the batches by source.
    pub(crate) fn new(runs: &'a [Run], batch: F) -> Self {
        let items: usize = runs.iter().map(Run::len).sum();
        // From one and an eighth to four for each run. Beyond that, branches take less time.
        let repeated = items.saturating_sub(runs.len());
        let are_mixed = repeated > runs.len() / 8 && items < 4 * runs.len();
        Self { runs, are_mixed, given: 0, rest: [].iter(), batch }
    }

    /// Where a run may end with this item. Nothing depends on whether it does but what is moved.
    #[inline]
    fn next_of_mixed(&mut self) -> Option<&'a T> {
        let (run, behind) = self.runs.split_first()?;
        let item = (self.batch)(run.source())?.get(run.from() + self.given);
        self.given += 1;
        let is_last = self.given == run.len();
        self.runs = select_unpredictable(is_last, behind, self.runs);
        self.given = select_unpredictable(is_last, 0, self.given);
        item
    }
}

impl<'a, T, F: Fn(usize) -> Option<&'a [T]>> Iterator for Items<'a, T, F> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        if self.are_mixed {
            return self.next_of_mixed();
        }
        loop {
            if let Some(item) = self.rest.next() {
                return Some(item);
            }
            let run = self.runs.split_off_first()?;
            self.rest = (self.batch)(run.source())?.get(run.rows())?.iter();
        }
    }

    /// Of runs that are long, each is a loop of its own.
    #[inline]
    fn fold<A, G: FnMut(A, Self::Item) -> A>(mut self, init: A, mut f: G) -> A {
        let mut folded = init;
        if self.are_mixed {
            while let Some(item) = self.next_of_mixed() {
                folded = f(folded, item);
            }
            return folded;
        }
        folded = self.rest.fold(folded, &mut f);
        for run in self.runs {
            let items = (self.batch)(run.source()).and_then(|batch| batch.get(run.rows()));
            folded = items.unwrap_or_default().iter().fold(folded, &mut f);
        }
        folded
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
