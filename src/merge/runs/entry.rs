use std::cell::Cell;
use std::hint::black_box;

use super::cascade::{Run, Runs};
use crate::key::{OffsetCode, Order, SharedPrefix};

/// What the cascade moves in the place of an item of type `T`.
pub(in crate::merge) trait Entry<'a, T, O>: Clone {
    /// How many bytes of entries are merged at a time.
    const PORTION_BYTES: usize;

    /// Whether [`code`](Self::code) tells something.
    const HAS_CODES: bool = false;

    /// Returns a code of the entry: a smaller one means that the entry comes before. Default: 0.
    #[inline]
    fn code(&self, _order: &mut O) -> u64 {
        0
    }

    /// Makes the entry of an item.
    fn of(item: &'a T, order: &mut O) -> Self;

    /// Returns the entries of runs, made in `room`, one run after the other, if they are not there already. Codes are those behind the
    /// prefix, if there is one.
    fn of_runs(
        runs: &[&'a [T]],
        room: &mut [Self],
        prefix: Option<SharedPrefix>,
        order: &mut O,
    ) -> Runs<'a, Self>;

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
    /// With four times as much a merge of numbers takes 1.1 times as long at K = 16 and at K = 64
    /// (`cargo bench --bench runs -- --filter concat_sort/uniform`).
    const PORTION_BYTES: usize = 1 << 16;

    const HAS_CODES: bool = O::HAS_CODES;

    #[inline]
    fn code(&self, order: &mut O) -> u64 {
        order.code(self)
    }

    fn of(item: &'a T, _order: &mut O) -> Self {
        item.clone()
    }

    fn of_runs(
        runs: &[&'a [T]],
        _room: &mut [T],
        _prefix: Option<SharedPrefix>,
        _order: &mut O,
    ) -> Runs<'a, T> {
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

    const HAS_CODES: bool = O::HAS_CODES;

    #[inline]
    fn code(&self, _order: &mut O) -> u64 {
        self.code
    }

    #[inline]
    fn of(item: &'a T, order: &mut O) -> Self {
        Self { code: order.code(item), item }
    }

    fn of_runs(
        runs: &[&'a [T]],
        room: &mut [Self],
        prefix: Option<SharedPrefix>,
        order: &mut O,
    ) -> Runs<'a, Self> {
        let entries = room.iter_mut().zip(runs.iter().copied().flatten());
        match prefix {
            Some(prefix) => entries
                .for_each(|(entry, item)| *entry = Self { code: order.code_behind(prefix, item), item }),
            None => entries.for_each(|(entry, item)| *entry = Self::of(item, order)),
        }
        runs.iter().map(|run| Run { len: run.len(), unmoved: None }).collect()
    }

    #[inline]
    fn is_next(&self, other: &Self, order: &mut O) -> bool {
        if O::EXACT || O::HAS_CODES && self.code != other.code {
            self.code < other.code
        } else {
            // The compiler must not know that this comes late. It would make a branch of the move that waits for it, which a processor
            // could not predict. So rows by two fields are merged in 0.7 to 0.85 of the time (bench `scoreboard`,
            // `batches/1024/compound/rows`).
            black_box(order.compare(self.item, other.item).is_lt())
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

/// The code of an item against the one before it in the run that it is in by now, and where the item is.
///
/// The next items of both sides of a merge have codes against what was put out last, so mostly the codes say which one
/// comes first; and that one has its code in the output already. Only where codes are equal the items are compared, from
/// there on, and the later one gets its code against the other. So what items have in common is read once, from run to
/// run in the order in which it is in memory, and not at all levels.
#[derive(Debug)]
pub(super) struct OffsetEntry<'a, T> {
    code: Cell<OffsetCode>,
    item: &'a T,
}

impl<T> Clone for OffsetEntry<'_, T> {
    #[inline]
    fn clone(&self) -> Self {
        Self { code: Cell::new(self.code.get()), item: self.item }
    }
}

impl<T> OffsetEntry<'_, T> {
    /// Compares the items.
    #[cold]
    #[inline(never)]
    fn compare<O: Order<T>>(&self, other: &Self, order: &mut O) -> bool {
        let (ordering, code) = order.compare_coded(self.code.get(), self.item, other.item);
        let later = if ordering.is_lt() { other } else { self };
        later.code.set(code);
        ordering.is_lt()
    }
}

impl<'a, T: Clone, O: Order<T>> Entry<'a, T, O> for OffsetEntry<'a, T> {
    /// With half as much 16 runs of 200,000 label sets in all take 1.2 times as long, with twice as much no less. There is
    /// less to gain by what is in a cache, as most items are read when their codes are made and when they are cloned.
    const PORTION_BYTES: usize = 1 << 17;

    fn of(item: &'a T, order: &mut O) -> Self {
        Self { code: Cell::new(order.first_code(item)), item }
    }

    fn of_runs(
        runs: &[&'a [T]],
        room: &mut [Self],
        _prefix: Option<SharedPrefix>,
        order: &mut O,
    ) -> Runs<'a, Self> {
        let mut room = room.iter_mut();
        for run in runs {
            let mut before = None;
            for (item, entry) in run.iter().zip(&mut room) {
                let code = before.and_then(|before| order.code_between(before, item));
                *entry = Self { code: Cell::new(code.unwrap_or_else(|| order.first_code(item))), item };
                before = Some(item);
            }
        }
        runs.iter().map(|run| Run { len: run.len(), unmoved: None }).collect()
    }

    #[inline]
    fn is_next(&self, other: &Self, order: &mut O) -> bool {
        let (code, other_code) = (self.code.get(), other.code.get());
        if code == other_code { self.compare(other, order) } else { code < other_code }
    }

    fn is_before(&self, other: &Self, order: &mut O) -> bool {
        order.compare(self.item, other.item).is_lt()
    }

    fn follow(&self, last: &Self, order: &mut O) {
        let code = order.code_between(last.item, self.item);
        self.code.set(code.unwrap_or_else(|| order.first_code(self.item)));
    }

    fn give<S: Sink<T>>(entries: &[Self], sink: S) -> S {
        sink.take(entries.iter().map(|entry| entry.item.clone()))
    }
}

/// Where merged items go.
pub(in crate::merge) trait Sink<T>: Sized {
    /// Takes the next items.
    fn take(self, items: impl ExactSizeIterator<Item = T>) -> Self;
}

impl<T> Sink<T> for &mut Vec<T> {
    #[inline]
    fn take(self, items: impl ExactSizeIterator<Item = T>) -> Self {
        self.extend(items);
        self
    }
}
