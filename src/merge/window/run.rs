use std::ops::Range;

/// Neighbouring rows of one batch that come next in the merge.
///
/// It names rows, and has none: [`WindowMerge::batch`](super::WindowMerge::batch) has the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    pub(super) from: usize,
    pub(super) batch: usize,
    pub(super) len: u32,
    pub(super) source: u32,
}

impl Run {
    /// Makes a run. There are fewer sources, and fewer rows in a window, than a `u32` can count.
    #[allow(clippy::cast_possible_truncation)]
    #[inline]
    pub(super) const fn new(source: usize, batch: usize, from: usize, len: usize) -> Self {
        Self { from, batch, len: len as u32, source: source as u32 }
    }

    /// Returns the source of the rows.
    #[must_use]
    #[inline]
    pub const fn source(&self) -> usize {
        self.source as usize
    }

    /// Returns how many batches the source has given before the one with these rows. In one window, all runs of a source are of the
    /// same batch.
    #[must_use]
    #[inline]
    pub const fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the first row.
    #[must_use]
    #[inline]
    pub const fn from(&self) -> usize {
        self.from
    }

    /// Returns how many rows there are: at least one.
    #[must_use]
    #[inline]
    #[allow(clippy::len_without_is_empty)] // Never empty.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Returns the rows.
    #[must_use]
    #[inline]
    pub const fn rows(&self) -> Range<usize> {
        self.from..self.from + self.len as usize
    }

    /// Cuts off the first rows, fewer than there are, and returns them.
    pub(super) fn split_off_first(&mut self, rows: usize) -> Self {
        let first = Self::new(self.source(), self.batch, self.from, rows);
        *self = Self::new(self.source(), self.batch, self.from + rows, self.len() - rows);
        first
    }
}

/// Appends a run, to the last one if it goes on with that.
#[inline]
pub(super) fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.source == run.source && last.rows().end == run.from => last.len += run.len,
        _ => runs.push(run),
    }
}
