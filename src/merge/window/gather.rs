use std::mem;
use std::ops::{Deref, Range};

use super::{ByteColumn, Offset, Run, Window};

/// Puts the rows of a window into columns of an output.
///
/// It is made once for a window and serves for all columns. Where runs are long, they are copied as a whole. Where they are short and of many sources, values are
/// put into their places source by source: the rows that a source has in a window are neighbours, so its memory is read in one go.
///
/// # Examples
///
/// ```
/// use losertree::merge::window::Gather;
/// use losertree::merge_batches;
///
/// let mut merge = merge_batches([[vec![1, 4]], [vec![2, 3]]]);
/// let mut out = Vec::new();
/// loop {
///     let window = merge.next_window(usize::MAX);
///     if window.is_empty() {
///         break;
///     }
///     Gather::new(&window).values(|batch| batch.as_slice(), &mut out);
/// }
/// assert_eq!(out, [1, 2, 3, 4]);
/// ```
#[derive(Debug)]
pub struct Gather<'a, B> {
    window: Window<'a, B>,
    rows: usize,
    /// For each source with rows in the window: itself, its first row, and where its places begin. Empty where runs are copied.
    sources: Vec<(usize, usize, usize)>,
    /// The places of the rows in the output, source by source.
    places: Vec<u32>,
}

/// From how many sources on short runs are put into place source by source.
const MANY_SOURCES: usize = 32;

/// How long runs are on average that are copied.
const LONG: usize = 4;

/// Something that rows of batches can be appended to: a builder of a column, or of several.
pub trait AppendRows<B> {
    /// Appends rows of a batch.
    fn append_rows(&mut self, batch: &B, rows: Range<usize>);
}

impl<B, F: FnMut(&B, Range<usize>)> AppendRows<B> for F {
    fn append_rows(&mut self, batch: &B, rows: Range<usize>) {
        self(batch, rows);
    }
}

impl<'a, B> Gather<'a, B> {
    /// Plans how the rows of a window are put into columns.
    ///
    /// # Complexity
    ///
    /// `O(1)` for each run and each row of a short one, and each source.
    #[must_use]
    pub fn new(window: &Window<'a, B>) -> Self {
        let (window, runs) = (*window, window.runs());
        let rows = window.rows();
        let mut seen = vec![(0_usize, 0_usize); window.batches().len()];
        for run in runs {
            let (first, count) = &mut seen[run.source()];
            if *count == 0 {
                *first = run.from();
            }
            *count += run.len();
        }
        let of_window = seen.iter().filter(|(_, count)| *count > 0).count();
        if rows >= LONG * runs.len() || of_window < MANY_SOURCES || u32::try_from(rows).is_err() {
            return Self { window, rows, sources: Vec::new(), places: Vec::new() };
        }
        let mut sources = Vec::with_capacity(of_window);
        let mut begin = 0;
        let mut next = vec![0; seen.len()];
        for (source, (first, count)) in seen.into_iter().enumerate().filter(|(_, (_, count))| *count > 0) {
            sources.push((source, first, begin));
            next[source] = begin;
            begin += count;
        }
        let mut places = vec![0; rows];
        let mut at = 0..;
        for run in runs {
            let next = &mut next[run.source()];
            for place in &mut places[*next..*next + run.len()] {
                *place = at.next().unwrap_or(0);
            }
            *next += run.len();
        }
        Self { window, rows, sources, places }
    }

    /// Returns how many rows there are.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Appends the rows to a builder, run by run.
    pub fn append_to(&self, out: &mut impl AppendRows<B>) {
        for run in self.window.runs() {
            if let Some(batch) = self.window.batch(run.source()) {
                out.append_rows(batch, run.rows());
            }
        }
    }

    /// Appends the values of a column. Rows that a column does not have are default values.
    pub fn values<T: Copy + Default + 'a>(&self, column: impl Fn(&'a B) -> &'a [T], out: &mut Vec<T>) {
        let begin = out.len();
        if self.sources.is_empty() {
            out.reserve(self.rows);
            for run in self.window.runs() {
                let values = self.window.batch(run.source()).map_or(&[][..], &column);
                match values.get(run.rows()) {
                    Some([value]) => out.push(*value),
                    Some(values) => out.extend_from_slice(values),
                    None => out.resize(out.len() + run.len(), T::default()),
                }
            }
            return;
        }
        out.resize(begin + self.rows, T::default());
        let room = &mut out[begin..];
        for (places, source, first) in self.by_source() {
            let values = self.window.batch(source).map_or(&[][..], &column);
            for (place, value) in places.iter().zip(values.get(first..).unwrap_or_default()) {
                room[*place as usize] = *value;
            }
        }
    }

    /// Appends the strings of a column: their bytes to `data`, and where each ends there to `offsets`. If there are no offsets, the
    /// first one is 0.
    ///
    /// # Errors
    ///
    /// If an offset does not fit into its type: nothing has been appended then.
    pub fn bytes<O, F, D>(
        &self,
        column: impl Fn(&'a B) -> &'a ByteColumn<F, D>,
        offsets: &mut Vec<O>,
        data: &mut Vec<u8>,
    ) -> Result<(), O::Error>
    where
        O: Offset + TryFrom<usize> + 'a,
        F: Deref<Target = [O]> + 'a,
        D: Deref<Target = [u8]> + 'a,
    {
        let value = |run: &Run| self.window.batch(run.source()).map(&column);
        // In two passes: the lengths first.
        let mut lens = vec![0_usize; self.rows];
        if self.sources.is_empty() {
            let mut room = lens.as_mut_slice();
            for run in self.window.runs() {
                let Some(here) = room.split_off_mut(..run.len()) else { break };
                if let Some(column) = value(run) {
                    for (len, row) in here.iter_mut().zip(run.rows()) {
                        *len = column.value(row).len();
                    }
                }
            }
        } else {
            for (places, source, first) in self.by_source() {
                let Some(column) = self.window.batch(source).map(&column) else { continue };
                for (place, row) in places.iter().zip(first..) {
                    lens[*place as usize] = column.value(row).len();
                }
            }
        }
        let (offsets_before, begin) = (offsets.len(), data.len());
        if offsets.is_empty() {
            offsets.push(O::try_from(0)?);
        }
        let mut end = begin;
        for len in &mut lens {
            let at = end;
            end += mem::replace(len, at);
            match O::try_from(end) {
                Ok(offset) => offsets.push(offset),
                Err(error) => {
                    offsets.truncate(offsets_before);
                    return Err(error);
                }
            }
        }
        if self.sources.is_empty() {
            data.reserve(end - begin);
            for run in self.window.runs() {
                if let Some(column) = value(run) {
                    column.append_to(run.rows(), data);
                }
            }
            return Ok(());
        }
        data.resize(end, 0);
        for (places, source, first) in self.by_source() {
            let Some(column) = self.window.batch(source).map(&column) else { continue };
            for (place, row) in places.iter().zip(first..) {
                let value = column.value(row);
                let at = lens[*place as usize];
                data[at..at + value.len()].copy_from_slice(value);
            }
        }
        Ok(())
    }

    /// The places of the rows of each source, the source, and its first row.
    fn by_source(&self) -> impl Iterator<Item = (&[u32], usize, usize)> {
        let ends = self.sources.iter().skip(1).map(|(_, _, begin)| *begin).chain([self.rows]);
        self.sources
            .iter()
            .zip(ends)
            .map(|((source, first, begin), end)| (&self.places[*begin..end], *source, *first))
    }
}
