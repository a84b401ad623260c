use super::Sink;
use super::cascade::Run;
use crate::key::Order;

/// What the cascade moves in the place of an item of type `T`.
pub(super) trait Entry<'a, T, O>: Clone {
    /// How many bytes of entries are merged at a time.
    const PORTION_BYTES: usize;

    /// Makes the entry of an item.
    fn of(item: &'a T, order: &mut O) -> Self;

    /// Returns the entries of runs, made in `room`, one run after the other, if they are not there already.
    fn of_runs(runs: &[&'a [T]], room: &mut [Self], order: &mut O) -> Vec<Run<'a, Self>>;

    /// Whether this entry comes before another one, where both are the next of the sides of a merge. If they are equal
    /// the other one is put out.
    fn is_next(&self, other: &Self, order: &mut O) -> bool;

    /// Whether this entry comes before another one, whichever they are.
    #[inline]
    fn is_before(&self, other: &Self, order: &mut O) -> bool {
        self.is_next(other, order)
    }

    /// Is told that the entry will be the next of a side of a merge that has put out `last`, of the other side.
    fn follow(&self, _last: &Self, _order: &mut O) {}

    /// Hands on the items of entries.
    fn give<S: Sink<T>>(entries: &[Self], sink: S) -> S;
}

/// An item itself, where it can be copied without further ado.
impl<'a, T: Clone, O: Order<T>> Entry<'a, T, O> for T {
    /// With a quarter of it a merge takes 1.2 times as long at K = 16 and 1.3 times at K = 64, as more time goes
    /// into cutting; with twice as much 2.5 times at K = 16, since glibc then maps and unmaps the rooms for every
    /// merge (`cargo bench --bench runs -- --filter concat_sort/uniform`).
    const PORTION_BYTES: usize = 1 << 18;

    fn of(item: &'a T, _order: &mut O) -> Self {
        item.clone()
    }

    fn of_runs(runs: &[&'a [T]], _room: &mut [T], _order: &mut O) -> Vec<Run<'a, T>> {
        runs.iter().map(|run| Run { len: run.len(), unmoved: Some(*run) }).collect()
    }

    #[inline]
    fn is_next(&self, other: &T, order: &mut O) -> bool {
        is_before(self, other, order)
    }

    fn give<S: Sink<T>>(entries: &[T], sink: S) -> S {
        sink.take(entries.iter().cloned())
    }
}

/// The code of an item and where the item is: for items that are long, or must be cloned.
#[derive(Debug)]
pub(super) struct PrefixEntry<'a, T> {
    code: u64,
    item: &'a T,
}

impl<T> Clone for PrefixEntry<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for PrefixEntry<'_, T> {}

impl<'a, T: Clone, O: Order<T>> Entry<'a, T, O> for PrefixEntry<'a, T> {
    /// Less than for items themselves: what the entries refer to should be in a cache as well. With four times as
    /// much, two threads take 1.2 times as much processor time for label sets at K = 16
    /// (`cargo bench --bench runs --features rayon -- --filter merge_runs/labels`).
    const PORTION_BYTES: usize = 1 << 16;

    #[inline]
    fn of(item: &'a T, order: &mut O) -> Self {
        Self { code: order.code(item), item }
    }

    fn of_runs(runs: &[&'a [T]], room: &mut [Self], order: &mut O) -> Vec<Run<'a, Self>> {
        for (entry, item) in room.iter_mut().zip(runs.iter().copied().flatten()) {
            *entry = Self::of(item, order);
        }
        runs.iter().map(|run| Run { len: run.len(), unmoved: None }).collect()
    }

    #[inline]
    fn is_next(&self, other: &Self, order: &mut O) -> bool {
        if O::EXACT || O::HAS_CODES && self.code != other.code {
            self.code < other.code
        } else {
            order.compare(self.item, other.item).is_lt()
        }
    }

    fn give<S: Sink<T>>(entries: &[Self], sink: S) -> S {
        sink.take(entries.iter().map(|entry| entry.item.clone()))
    }
}

/// Whether one item comes before another.
#[inline]
pub(super) fn is_before<T, O: Order<T>>(a: &T, b: &T, order: &mut O) -> bool {
    if O::EXACT { order.code(a) < order.code(b) } else { order.compare(a, b).is_lt() }
}
