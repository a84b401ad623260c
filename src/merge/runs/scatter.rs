//! Merging by place: see "Places" in the documentation of the [module](super).

use super::entry::Entry;
use crate::key::Order;

/// From how many runs on it is tried. With 16 the cascade takes nine tenths of the time, unless runs are short: that takes lanes which are
/// longer.
const FEWEST_RUNS: usize = 17;
const FEWEST_SHORT_RUNS: usize = 9;

/// How many entries short runs have at most, on average.
const SHORT: usize = 64;

/// How many entries share the part of an entry at most, on average, itself included. So there are at most half as many comparisons, and
/// fewer than the cascade may take.
const MOST_IN_A_PART: u64 = 8;

/// How many merges are left to the cascade at most before it is tried again.
const LONGEST_PATIENCE: u32 = 32;

/// What merges by place, and when.
#[derive(Debug, Default)]
pub(super) struct Scatter {
    /// By part: how many entries it has, and then where the next one goes.
    parts: Vec<u32>,
    /// By entry, run after run: its part.
    part_of: Vec<u32>,
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
        let shift = (u64::BITS - range.leading_zeros()).saturating_sub(to.len().ilog2() + 1);
        // There are at most twice as many parts as entries.
        #[allow(clippy::cast_possible_truncation)]
        let top = (range >> shift) as u32;
        self.parts.clear();
        self.parts.resize(top as usize + 1, 0);
        let parts = &mut self.parts[..=top as usize];
        self.part_of.clear();
        for run in runs {
            self.part_of.extend(run.iter().map(|entry| {
                // Runs that are not sorted have codes that are out of bounds.
                #[allow(clippy::cast_possible_truncation)]
                let part = (entry.code(order).saturating_sub(least) >> shift).min(u64::from(top)) as u32;
                parts[part as usize] += 1;
                part
            }));
        }
        let (mut begin, mut pairs) = (0, 0);
        for part in &mut *parts {
            let entries = std::mem::replace(part, begin);
            begin += entries;
            pairs += u64::from(entries) * u64::from(entries);
        }
        if pairs > MOST_IN_A_PART * to.len() as u64 {
            return false;
        }
        let mut part_of = &self.part_of[..];
        for run in runs {
            let parts_of_run;
            (parts_of_run, part_of) = part_of.split_at(run.len());
            for (entry, part) in run.iter().zip(parts_of_run) {
                let place = &mut parts[*part as usize];
                to[*place as usize] = entry.clone();
                *place += 1;
            }
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
