use std::ops::Deref;

use super::sources::{Progress, Sources};
use super::{RowOrder, WindowMerge};
use crate::key::Order;
use crate::merge::engine::{Engine, pull};

/// Appends clones of the next items of batches that are slices, so many or fewer at the end, and returns how many: item by item, by
/// the tournament of a [`Merge`](crate::Merge).
///
/// It is for batches that have few rows for each source, where neither a window pays nor the tournament that names rows. A source is
/// asked for its next batch when its next item is needed.
pub(super) fn merge<I, T, O>(
    merge: &mut WindowMerge<I::Item, O>,
    sources: &mut [Option<I>],
    out: &mut Vec<T>,
    items: usize,
) -> usize
where
    I: Iterator<Item: Deref<Target = [T]>>,
    T: Clone,
    O: Order<T>,
{
    let mut noted = Noted { begin: out.len(), merge, out, stretches: 0 };
    let Noted { merge, out, .. } = &mut noted;
    let Sources { order, progress, batches, .. } = merge.sources_mut();
    let homes = progress.iter_mut().zip(batches).zip(sources);
    let cursors = homes.map(|((progress, batch), source)| Cursor::new(progress, batch, source));
    let mut tournament = Tournament(Engine::new(cursors, order));
    let (mut last, mut stretches) = (usize::MAX, 0);
    let end = out.len() + items;
    while out.len() < end
        && let Ok(Some((source, item))) = tournament.0.next(pull)
    {
        stretches += usize::from(source != last);
        last = source;
        out.push(item);
    }
    drop(tournament);
    noted.stretches = stretches;
    noted.items()
}

/// Tells the merge what has been merged, also if the order panics.
struct Noted<'m, T, B, O: RowOrder<B>> {
    merge: &'m mut WindowMerge<B, O>,
    out: &'m mut Vec<T>,
    /// Where the items begin in it.
    begin: usize,
    stretches: usize,
}

impl<T, B, O: RowOrder<B>> Noted<'_, T, B, O> {
    const fn items(&self) -> usize {
        self.out.len() - self.begin
    }
}

impl<T, B, O: RowOrder<B>> Drop for Noted<'_, T, B, O> {
    fn drop(&mut self) {
        self.merge.note_one_by_one(self.items(), self.stretches);
    }
}

/// The tournament of the next items. Those that are in it when it is dropped have not been merged.
struct Tournament<'a, I: Iterator, T, O: Order<T>>(Engine<Cursor<'a, I>, T, &'a mut O>)
where
    Cursor<'a, I>: Iterator<Item = T>;

impl<'a, I: Iterator, T, O: Order<T>> Drop for Tournament<'a, I, T, O>
where
    Cursor<'a, I>: Iterator<Item = T>,
{
    fn drop(&mut self) {
        self.0.with_heads(|cursor| cursor.row -= 1);
    }
}

/// The items of a source, from the row on that is next. It has the batch, and gives it back.
struct Cursor<'a, I: Iterator> {
    batch: Option<I::Item>,
    row: usize,
    home: (&'a mut Progress, &'a mut Option<I::Item>),
    source: &'a mut Option<I>,
}

impl<'a, I: Iterator> Cursor<'a, I> {
    fn new(progress: &'a mut Progress, batch: &'a mut Option<I::Item>, source: &'a mut Option<I>) -> Self {
        Self { batch: batch.take(), row: progress.row, home: (progress, batch), source }
    }
}

impl<I: Iterator> Drop for Cursor<'_, I> {
    fn drop(&mut self) {
        self.home.0.row = self.row;
        *self.home.1 = self.batch.take();
    }
}

impl<I, T> Iterator for Cursor<'_, I>
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
            self.fetch()?;
        }
    }
}

impl<I, T> Cursor<'_, I>
where
    I: Iterator<Item: Deref<Target = [T]>>,
{
    /// Asks the source for its next batch, after the last one has been dropped.
    #[inline(never)]
    fn fetch(&mut self) -> Option<()> {
        let progress = &mut *self.home.0;
        (self.row, progress.rows) = (0, 0);
        self.batch = None;
        let next = self.source.as_mut().and_then(Iterator::next);
        if let Some(batch) = next {
            progress.batches += 1;
            progress.rows = batch.len();
            self.batch = Some(batch);
            return Some(());
        }
        progress.has_ended = true;
        *self.source = None;
        None
    }
}
