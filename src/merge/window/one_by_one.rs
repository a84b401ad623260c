use std::mem;
use std::ops::Deref;

use super::engine::{SAMPLE, Stretches};
use crate::key::Order;
use crate::merge::engine::{Engine, pull};

/// Appends clones of the next items of batches that are slices, so many or fewer at the end: item by item, by the tournament of a
/// [`Merge`](crate::Merge). Then it asks whether to go on with as many more, up to `most`. They are taken off the limit, also if the order
/// panics. Returns how long the stretches are.
///
/// It is for batches that have few rows for each source, where neither a window pays nor the tournament that names rows, and for
/// the first items. A source is asked for its next batch when its next item is needed.
pub(super) fn merge<I, T, O>(
    cursors: &mut Vec<Option<Cursor<I>>>,
    order: &mut O,
    limit: &mut u64,
    out: &mut Vec<T>,
    (items, most): (usize, usize),
    goes_on: impl Fn(&[Option<Cursor<I>>]) -> bool,
) -> Stretches
where
    I: Iterator<Item: Deref<Target = [T]>>,
    T: Clone,
    O: Order<T>,
{
    let end = out.len() + most;
    let out = Noted { begin: out.len(), out, limit };
    let engine = Engine::of(mem::take(cursors), order);
    let mut tournament = Tournament { engine, cursors };
    let mut stretches = Stretches::default();
    while stretches.rows < items.min(SAMPLE)
        && let Ok(Some((source, item))) = tournament.engine.next(pull)
    {
        stretches.note(source, 1);
        out.out.push(item);
    }
    let mut next = items - stretches.rows;
    loop {
        let before = out.out.len();
        let Ok(()) = tournament.engine.next_block(out.out, next, pull);
        let has_ended = out.out.len() - before < next;
        next = items.min(end - out.out.len());
        if has_ended || next == 0 || !goes_on(tournament.engine.sources_left()) {
            return stretches;
        }
    }
}

/// Takes off the limit what has been merged.
struct Noted<'a, T> {
    out: &'a mut Vec<T>,
    /// Where the items begin in it.
    begin: usize,
    limit: &'a mut u64,
}

impl<T> Drop for Noted<'_, T> {
    fn drop(&mut self) {
        *self.limit -= (self.out.len() - self.begin) as u64;
    }
}

/// The tournament of the next items. Those that are in it when it is dropped have not been merged.
struct Tournament<'a, I: Iterator, T, O: Order<T>>
where
    Cursor<I>: Iterator<Item = T>,
{
    engine: Engine<Cursor<I>, T, &'a mut O>,
    /// Where the cursors belong.
    cursors: &'a mut Vec<Option<Cursor<I>>>,
}

impl<I: Iterator, T, O: Order<T>> Drop for Tournament<'_, I, T, O>
where
    Cursor<I>: Iterator<Item = T>,
{
    fn drop(&mut self) {
        *self.cursors = self.engine.take_sources(|cursor| cursor.row -= 1);
    }
}

/// A source, and the rows of its batch that are left, where items are merged one by one.
pub(super) struct Cursor<I: Iterator> {
    pub(super) source: I,
    pub(super) batch: Option<I::Item>,
    /// The next row of the batch, and how many it has.
    pub(super) row: usize,
    pub(super) rows: usize,
    /// How many batches have come.
    pub(super) batches: usize,
}

impl<I: Iterator> Cursor<I> {
    #[inline]
    pub(super) const fn new(source: I) -> Self {
        Self { source, batch: None, row: 0, rows: 0, batches: 0 }
    }

    /// Asks the source for its next batch, after the last one has been dropped.
    #[inline]
    pub(super) fn fetch(&mut self, rows: impl Fn(&I::Item) -> usize) -> Option<()> {
        (self.row, self.rows) = (0, 0);
        self.batch = None;
        let batch = self.source.next()?;
        self.batches += 1;
        self.rows = rows(&batch);
        self.batch = Some(batch);
        Some(())
    }
}

impl<I, T> Iterator for Cursor<I>
where
    I: Iterator<Item: Deref<Target = [T]>>,
    T: Clone,
{
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(batch) = &self.batch
                && let Some(item) = batch.get(self.row)
            {
                let item = item.clone();
                self.row += 1;
                return Some(item);
            }
            self.fetch(|batch| batch.len())?;
        }
    }
}
