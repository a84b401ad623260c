use std::any::Any;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::error::SourceError;
use crate::merge::window::{Coding, Items, RowOrder, Rows, Run, Window};
use crate::source_id::SourceId;

/// What a [`BatchMerge`](super::BatchMerge) gives.
#[derive(Debug)]
pub enum Merged<B, E> {
    /// The next rows.
    Window(BatchWindow<B>),
    /// A source has failed, and the others go on: see [`BatchMergeBuilder::warn`](super::BatchMergeBuilder::warn).
    Warning(SourceError<E>),
}

impl<B, E> Merged<B, E> {
    /// Returns the window, if it is one.
    #[must_use]
    pub fn into_window(self) -> Option<BatchWindow<B>> {
        match self {
            Self::Window(window) => Some(window),
            Self::Warning(_) => None,
        }
    }

    /// Returns the warning, if it is one.
    #[must_use]
    pub fn into_warning(self) -> Option<SourceError<E>> {
        match self {
            Self::Window(_) => None,
            Self::Warning(warning) => Some(warning),
        }
    }
}

/// The next rows of a [`BatchMerge`](super::BatchMerge), as runs, and the batches that they are in.
///
/// It shares the ownership of its batches. While it is there, so are they. Drop it before the merge is asked for more, and each source
/// is asked for its next batch when the last one is gone.
///
/// A run names its source by the place that it has in [`batches`](Self::batches). That is the index of the source, until the merge lets go of
/// places: see [`push`](super::BatchMerge::push). [`SharedBatch::source`] names the source for good.
pub struct BatchWindow<B> {
    runs: Vec<Run>,
    batches: Vec<Option<SharedBatch<B>>>,
}

impl<B> BatchWindow<B> {
    pub(super) const fn new(runs: Vec<Run>, batches: Vec<Option<SharedBatch<B>>>) -> Self {
        Self { runs, batches }
    }

    /// Returns the runs, in the order of the merge: at least one.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Returns the batch that a run is in, by the [source](Run::source) of the run.
    #[must_use]
    #[inline]
    pub fn batch(&self, source: usize) -> Option<&SharedBatch<B>> {
        self.batches.get(source)?.as_ref()
    }

    /// Returns the batches by source. Only those are there that have a run.
    #[must_use]
    pub fn batches(&self) -> &[Option<SharedBatch<B>>] {
        &self.batches
    }

    /// Returns how many rows there are, in `O(1)` for each run.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.as_window().rows()
    }

    /// Returns the window as one of a merge that is not async, for a [`Gather`](crate::merge::window::Gather).
    #[must_use]
    pub fn as_window(&self) -> Window<'_, SharedBatch<B>> {
        Window::new(&self.runs, &self.batches)
    }

    /// Iterates over the items, in the order of the merge, if batches are slices.
    pub fn items<'a, T: 'a>(&'a self) -> impl Iterator<Item = &'a T>
    where
        B: Deref<Target = [T]>,
    {
        Items::new(&self.runs, |source| self.batch(source).map(|batch| &**batch.get()))
    }
}

/// Shows the runs, without asking batches to be printed.
impl<B> fmt::Debug for BatchWindow<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchWindow").field("runs", &self.runs).finish_non_exhaustive()
    }
}

/// What is dropped when a batch is.
pub(super) type Charge = Box<dyn Any + Send + Sync>;

/// A batch that a [`BatchMerge`](super::BatchMerge) and its windows share. It is dropped with the last one that has it, and after it what it
/// was [charged](super::BatchMergeBuilder::charge_with) with.
pub struct SharedBatch<B> {
    held: Arc<Held<B>>,
}

struct Held<B> {
    // Dropped ahead of its charge.
    batch: B,
    source: SourceId,
    /// Only to be dropped.
    _charge: Option<Charge>,
}

impl<B> SharedBatch<B> {
    pub(super) fn new(batch: B, source: SourceId, charge: Option<Charge>) -> Self {
        Self { held: Arc::new(Held { batch, source, _charge: charge }) }
    }

    /// Returns the batch.
    #[must_use]
    #[inline]
    pub fn get(&self) -> &B {
        &self.held.batch
    }

    /// Returns which source has given it.
    #[must_use]
    pub fn source(&self) -> &SourceId {
        &self.held.source
    }
}

impl<B> Clone for SharedBatch<B> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held) }
    }
}

impl<B> Deref for SharedBatch<B> {
    type Target = B;

    #[inline]
    fn deref(&self) -> &B {
        self.get()
    }
}

impl<B> fmt::Debug for SharedBatch<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBatch").field("source", &self.held.source).finish_non_exhaustive()
    }
}

/// The order of shared batches, which is that of the batches.
#[derive(Debug)]
pub(super) struct OfShared<O>(pub(super) O);

impl<B, O: RowOrder<B>> RowOrder<SharedBatch<B>> for OfShared<O> {
    const CODES: Coding = O::CODES;

    #[inline]
    fn rows(&self, batch: &SharedBatch<B>) -> usize {
        self.0.rows(batch.get())
    }

    #[inline]
    fn compare(
        &mut self,
        (a, row_a): (&SharedBatch<B>, usize),
        (b, row_b): (&SharedBatch<B>, usize),
    ) -> Ordering {
        self.0.compare((a.get(), row_a), (b.get(), row_b))
    }

    #[inline]
    fn code(&mut self, (batch, row): (&SharedBatch<B>, usize)) -> u64 {
        self.0.code((batch.get(), row))
    }

    fn codes(
        &mut self,
        ranges: &[Rows<'_, SharedBatch<B>>],
        (low, low_row): (&SharedBatch<B>, usize),
        (high, high_row): (&SharedBatch<B>, usize),
        codes: &mut Vec<u64>,
    ) -> Coding {
        let ranges: Vec<_> = ranges.iter().map(|range| range.of(SharedBatch::get)).collect();
        self.0.codes(&ranges, (low.get(), low_row), (high.get(), high_row), codes)
    }

    #[inline]
    fn section(&mut self, (batch, row): (&SharedBatch<B>, usize)) -> u32 {
        self.0.section((batch.get(), row))
    }
}
