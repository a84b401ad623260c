//! Merging by place: see "Places" in the documentation of the [module](super).

use super::entry::Entry;
use crate::key::Order;

/// From how many runs on it is tried. With 16 the cascade takes nine tenths of the time, unless runs are short: that takes lanes which are
/// longer.
const FEWEST_RUNS: usize = 17;
const FEWEST_SHORT_RUNS: usize = 9;

/// How many entries short runs have at most, on average.
const SHORT: usize = 64;

/// How many entries that come before an entry share its part at most, on average. So many comparisons are taken at most, and one more:
/// fewer than the cascade may take.
const MOST_BEFORE: u64 = 3;

/// How many parts there are for each entry, about, as a power of two.
const PARTS_PER_ENTRY_LOG2: u32 = 2;

/// How many merges are left to the cascade at most before it is tried again.
const LONGEST_PATIENCE: u32 = 32;

/// What merges by place, and when.
#[derive(Debug, Default)]
pub(super) struct Scatter {
    /// By part: how many entries it has, and then where the next one goes.
    places: Vec<u32>,
    /// By entry: its part.
    parts: Vec<u32>,
    /// How many merges are left to the cascade before it is tried again, and after the next time that it is in vain.
    waiting: u32,
    patience: u32,
}

impl Scatter {
    /// Merges runs, none of which is empty, into a room that is as long as all of them. Returns whether it has: not if they are few, have no
    /// codes, or the codes are not spread evenly. Equal entries stay in the order of their runs.
    pub(super) fn merge<'a, T, O, E>(&mut self, runs: &[&[E]], to: &mut [E], order: &mut O) -> bool
    where
        O: Order<T>,
        E: Entry<'a, T, O>,
    {
        let fewest = if to.len() <= SHORT * runs.len() { FEWEST_SHORT_RUNS } else { FEWEST_RUNS };
        if !E::HAS_CODES || runs.len() < fewest {
            return false;
        }
        if self.waiting > 0 {
            self.waiting -= 1;
            return false;
        }
        let is_even = self.merge_if_even(runs, to, order);
        self.patience = if is_even { 1 } else { (2 * self.patience).clamp(1, LONGEST_PATIENCE) };
        self.waiting = if is_even { 0 } else { self.patience };
        is_even
    }

    fn merge_if_even<'a, T, O, E>(&mut self, runs: &[&[E]], to: &mut [E], order: &mut O) -> bool
    where
        O: Order<T>,
        E: Entry<'a, T, O>,
    {
        let (mut least, mut greatest) = (u64::MAX, 0);
        for run in runs {
            if let (Some(first), Some(end)) = (run.first(), run.last()) {
                least = least.min(first.code(order));
                greatest = greatest.max(end.code(order));
            }
        }
        let Some(range) = greatest.checked_sub(least) else { return false };
        let shift =
            (u64::BITS - range.leading_zeros()).saturating_sub(to.len().ilog2() + PARTS_PER_ENTRY_LOG2);
        // There are a few parts for each entry at most.
        #[allow(clippy::cast_possible_truncation)]
        let top = (range >> shift) as u32;
        self.places.clear();
        self.places.resize(top as usize + 1, 0);
        self.parts.clear();
        let mut before = 0;
        for run in runs {
            // Noted once: codes that change must not cost an entry.
            self.parts.extend(run.iter().map(|entry| {
                // Runs that are not sorted have codes that are out of bounds.
                #[allow(clippy::cast_possible_truncation)]
                let part = (entry.code(order).saturating_sub(least) >> shift).min(u64::from(top)) as u32;
                let entries = &mut self.places[part as usize];
                before += u64::from(*entries);
                *entries += 1;
                part
            }));
        }
        if before > MOST_BEFORE * to.len() as u64 {
            return false;
        }
        let mut begin = 0;
        for place in &mut self.places {
            begin += std::mem::replace(place, begin);
        }
        for (entry, part) in runs.iter().copied().flatten().zip(&self.parts) {
            let place = &mut self.places[*part as usize];
            to[*place as usize] = entry.clone();
            *place += 1;
        }
        for next in 1..to.len() {
            let mut place = next;
            while place > 0 && to[place].is_before(&to[place - 1], order) {
                to.swap(place, place - 1);
                place -= 1;
            }
        }
        true
    }
}
