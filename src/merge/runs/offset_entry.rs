use std::cell::Cell;

use super::Sink;
use super::cascade::Run;
use super::entry::Entry;
use crate::key::{MOST_PARTS, OffsetCode, Order};

/// Up to how many runs bytes are compared right away. With eight, label sets are merged as fast either way; with 16 in
/// 0.81 of the time by offset-value codes, with 64 in 0.61
/// (`cargo bench --bench runs -- --filter concat_sort/labels`).
const FEW_RUNS: usize = 8;

/// Of how many runs it is asked whether neighbours begin alike.
const SAMPLES: usize = 16;

/// Returns whether offset-value codes spare more than they cost: there are many runs, and mostly the codes of neighbours
/// are equal, so that matches would be decided by bytes.
///
/// Strings of random digits are merged in 0.77 of the time by their first bytes.
pub(super) fn spare_more<T, O: Order<T>>(runs: &[&[T]], order: &mut O) -> bool {
    if O::EXACT || O::PARTS == 0 || O::PARTS > MOST_PARTS || runs.len() <= FEW_RUNS {
        return false;
    }
    let (mut alike, mut different) = (0, 0);
    for run in runs.iter().take(SAMPLES) {
        let Some([a, b]) = run[run.len() / 2..].first_chunk() else { continue };
        *if order.code(a) == order.code(b) { &mut alike } else { &mut different } += 1;
    }
    alike > different
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

    fn of_runs(runs: &[&'a [T]], room: &mut [Self], order: &mut O) -> Vec<Run<'a, Self>> {
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
