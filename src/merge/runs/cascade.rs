use std::hint::select_unpredictable;
use std::mem;

use smallvec::SmallVec;

use super::entry::{Entry, Sink};
use super::scatter::Scatter;
use super::split::cut;
use super::stretches::{merge_stretches, merge_sweeps};
use crate::key::{Order, SharedPrefix};

/// How many entries of each run are merged at a time, on average and at least.
const PORTION_PER_RUN: usize = 32;

/// For how many portions it is not asked at most whether there are long stretches.
const LONGEST_PATIENCE: usize = 32;

/// Merges runs, none of which is empty: stretch by stretch while these are long, else portion by portion.
pub(super) fn merge<'a, T, O, P, S>(mut runs: Vec<&'a [T]>, order: &mut O, portions: &mut P, mut sink: S) -> S
where
    T: Clone,
    O: Order<T>,
    P: Portions<'a, T, O>,
    S: Sink<T>,
{
    let items = runs.iter().map(|run| run.len()).sum();
    let fewest = PORTION_PER_RUN * runs.len();
    let mut portion = Vec::with_capacity(runs.len());
    while !runs.is_empty() {
        let most = portions.entries().max(fewest).min(items);
        let trial = portions.trial();
        if trial.waiting == 0 {
            let (in_sweeps, in_stretches);
            (in_sweeps, sink) = merge_sweeps(&mut runs, order, sink);
            (in_stretches, sink) = merge_stretches(&mut runs, order, sink);
            let is_worth = in_sweeps + in_stretches > most;
            trial.patience = if is_worth { 1 } else { (2 * trial.patience).clamp(2, LONGEST_PATIENCE) };
            trial.waiting = trial.patience;
        } else {
            trial.waiting -= 1;
            cut(&mut runs, most, order, &mut portion);
            sink = portions.merge(&portion, most, order, sink);
        }
    }
    sink
}

/// What merges runs portion by portion.
pub(super) trait Portions<'a, T, O> {
    /// How many entries a portion has at most, where runs are few.
    fn entries(&self) -> usize;

    fn trial(&mut self) -> &mut Trial;

    /// Merges a portion, which has `most` entries at most.
    fn merge<S: Sink<T>>(&mut self, runs: &[&'a [T]], most: usize, order: &mut O, sink: S) -> S;
}

impl<'a, T, O, E> Portions<'a, T, O> for Rooms<E>
where
    T: Clone + 'a,
    O: Order<T>,
    E: Entry<'a, T, O> + 'a,
{
    fn entries(&self) -> usize {
        E::PORTION_BYTES / size_of::<E>().max(1)
    }

    fn trial(&mut self) -> &mut Trial {
        &mut self.trial
    }

    fn merge<S: Sink<T>>(&mut self, runs: &[&'a [T]], most: usize, order: &mut O, sink: S) -> S {
        E::give(Self::merge(self, runs, most, order), sink)
    }
}

/// When it is tried whether there are long stretches.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// How many portions are merged before that, and after the next time that there are none.
    waiting: usize,
    patience: usize,
}

/// Rooms for the merge of entries, which are used again.
#[derive(Debug)]
pub(in crate::merge) struct Rooms<E> {
    merged: Vec<E>,
    spare: Vec<E>,
    scatter: Scatter,
    pub(super) trial: Trial,
    /// What all items of the next runs begin with, if their codes are to be those behind that.
    pub(super) prefix: Option<SharedPrefix>,
}

impl<E> Default for Rooms<E> {
    fn default() -> Self {
        Self {
            merged: Vec::new(),
            spare: Vec::new(),
            scatter: Scatter::default(),
            trial: Trial::default(),
            prefix: None,
        }
    }
}

impl<E> Rooms<E> {
    /// Merges runs, all at once. None of them is empty, and there are never more than `most` entries.
    pub(in crate::merge) fn merge<'a: 'r, 'r, T, O>(
        &'r mut self,
        runs: &[&'a [T]],
        most: usize,
        order: &mut O,
    ) -> &'r [E]
    where
        O: Order<T>,
        E: Entry<'a, T, O> + 'a,
    {
        let entries = runs.iter().map(|run| run.len()).sum();
        for room in [&mut self.merged, &mut self.spare] {
            if let Some(first) = runs.first().and_then(|run| run.first())
                && room.len() < entries
            {
                // The smaller one goes before, and nothing is copied from it.
                *room = Vec::new();
                *room = vec![E::of(first, order); entries.next_power_of_two().min(most).max(entries)];
            }
        }
        let (to, from) = (&mut self.merged[..entries], &mut self.spare[..entries]);
        let may_wait = runs.len() > 2 && may_wait(runs.iter().map(|run| run.len()).collect());
        let runs = E::of_runs(runs, from, self.prefix, order);
        cascade(runs, may_wait, to, from, &mut self.scatter, order)
    }
}

/// How many runs a cascade has room for, and merges of a level, before it allocates.
const FEW: usize = 16;

/// Merges neighbouring runs until one is left, to and fro between two rooms, if the entries have [no place](Scatter). In both of the rooms
/// the entries of a run are where they would be if all runs were put one after the other.
fn cascade<'a: 'r, 'r, T, O, E>(
    mut runs: Runs<'a, E>,
    may_wait: bool,
    mut to: &'r mut [E],
    mut from: &'r mut [E],
    scatter: &mut Scatter,
    order: &mut O,
) -> &'r [E]
where
    O: Order<T>,
    E: Entry<'a, T, O> + 'a,
{
    if runs.len() > 1 && E::HAS_CODES {
        let mut room = &*from;
        let entries: SmallVec<[_; FEW]> = runs.iter().map(|run| run.clone().take(&mut room)).collect();
        if scatter.merge(&entries, to, order) {
            return to;
        }
    }
    loop {
        if let [Run { unmoved: Some(run), .. }] = *runs {
            return run;
        }
        if runs.len() < 2 {
            return from;
        }
        // Runs that are long for this level wait for the next one; there is always a pair that is not. Where one
        // run has nine items in ten, a merge takes 1.5 times as long without at K = 16, and 2.3 times at K = 64
        // (`cargo bench --bench runs -- --filter concat_sort/skewed`).
        let most = if may_wait { longest(from.len(), runs.len()) } else { usize::MAX };
        let mut merges = SmallVec::<[_; FEW / 2]>::new();
        let mut next = Runs::new();
        let (mut entries, mut room) = (&*from, &mut *to);
        let mut waiting = runs.into_iter().peekable();
        while let Some(left) = waiting.next() {
            let right = waiting.next_if(|right| left.len + right.len <= most);
            let len = left.len + right.as_ref().map_or(0, |right| right.len);
            let out = room.split_off_mut(..len).unwrap_or_default();
            if let (Some(_), None) = (left.unmoved, &right) {
                let _ = entries.split_off(..len);
                next.push(left);
                continue;
            }
            let left = left.take(&mut entries);
            let right = right.map_or(&[][..], |right| right.take(&mut entries));
            merges.push(Lane::new(left, right, out));
            next.push(Run { len, unmoved: None });
        }
        merge_lanes(merges, order);
        runs = next;
        mem::swap(&mut from, &mut to);
    }
}

/// How long two runs of a level may be together, to be merged there.
const fn longest(entries: usize, runs: usize) -> usize {
    3 * entries / runs
}

/// Whether a cascade of runs of these lengths, where long ones wait, takes no more steps than are allowed if none does:
/// one for each entry and level. Where most are about as long as may just be merged it can take nearly one more.
fn may_wait(mut lens: SmallVec<[usize; FEW]>) -> bool {
    let entries = lens.iter().sum::<usize>();
    let mut steps = entries * lens.len().next_power_of_two().ilog2() as usize;
    while lens.len() > 1 {
        let most = longest(entries, lens.len());
        let (mut from, mut to) = (0, 0);
        while let Some(&left) = lens.get(from) {
            from += 1;
            lens[to] = left;
            if let Some(right) = lens.get(from).copied().filter(|right| left + right <= most) {
                lens[to] += right;
                from += 1;
                let Some(rest) = steps.checked_sub(lens[to]) else { return false };
                steps = rest;
            }
            to += 1;
        }
        lens.truncate(to);
    }
    true
}

/// A run of the cascade.
#[derive(Clone)]
pub(in crate::merge) struct Run<'a, E> {
    pub(super) len: usize,
    /// Its entries, if they are in neither of the rooms.
    pub(super) unmoved: Option<&'a [E]>,
}

/// The runs of a level.
pub(in crate::merge) type Runs<'a, E> = SmallVec<[Run<'a, E>; FEW]>;

impl<'a, E> Run<'a, E> {
    /// Takes what is at the place of the run in a room, and returns the entries of the run.
    fn take<'e>(self, room: &mut &'e [E]) -> &'e [E]
    where
        'a: 'e,
    {
        let entries = room.split_off(..self.len).unwrap_or_default();
        self.unmoved.unwrap_or(entries)
    }
}

/// How many lanes advance side by side.
///
/// With one lane a merge takes 2.6 times as long, with two 1.4 times
/// (`cargo bench --bench runs -- --filter concat_sort/uniform/16`).
const LANES: usize = 4;

/// The shortest lane that is split off a merge.
const SHORTEST: usize = 64;

/// How many entries both sides of a lane must have for it to advance with others.
const ENOUGH: usize = 8;

/// A merge of two sorted sides into a room that is as long as both together, or a part of one. Of equal
/// entries the left come first.
pub(super) struct Lane<'a, E> {
    left: &'a [E],
    right: &'a [E],
    out: &'a mut [E],
}

impl<E> Default for Lane<'_, E> {
    fn default() -> Self {
        Self::new(&[], &[], &mut [])
    }
}

impl<'a, E> Lane<'a, E> {
    pub(super) const fn new(left: &'a [E], right: &'a [E], out: &'a mut [E]) -> Self {
        Self { left, right, out }
    }

    /// How many steps the lane can take before a side is at its end.
    #[inline]
    fn steps(&self) -> usize {
        self.left.len().min(self.right.len())
    }

    /// Splits off a lane for the first `items` of the output.
    fn split_off<'i, T, O>(&mut self, items: usize, order: &mut O) -> Self
    where
        O: Order<T>,
        E: Entry<'i, T, O>,
    {
        let from_left = self.share_of_left(items, order);
        let (left, right, out);
        (left, self.left) = self.left.split_at(from_left);
        (right, self.right) = self.right.split_at(items - from_left);
        (out, self.out) = mem::take(&mut self.out).split_at_mut(items);
        // What is put out last is of one side, and what follows it on the other side has not met it.
        let ends = match (left.last(), right.last()) {
            (Some(end), right) if right.is_none_or(|right| right.is_before(end, order)) => {
                (end, self.right.first())
            }
            (_, Some(end)) => (end, self.left.first()),
            _ => return Self::new(left, right, out),
        };
        if let (end, Some(next)) = ends {
            E::follow(next, end, order);
        }
        Self::new(left, right, out)
    }

    /// Returns how many of the first `items` of the output come from the left.
    fn share_of_left<'i, T, O>(&self, items: usize, order: &mut O) -> usize
    where
        O: Order<T>,
        E: Entry<'i, T, O>,
    {
        let mut least = items.saturating_sub(self.right.len());
        let mut most = items.min(self.left.len());
        while least < most {
            let middle = least.midpoint(most);
            if self.right[items - middle - 1].is_before(&self.left[middle], order) {
                most = middle;
            } else {
                least = middle + 1;
            }
        }
        least
    }

    /// Merges what is left.
    fn finish<'i, T, O>(self, order: &mut O)
    where
        O: Order<T>,
        E: Entry<'i, T, O>,
    {
        let (mut from_left, mut from_right) = (0, 0);
        while let (Some(a), Some(b)) = (self.left.get(from_left), self.right.get(from_right)) {
            let is_right = E::is_next(b, a, order);
            self.out[from_left + from_right] = select_unpredictable(is_right, b, a).clone();
            from_left += usize::from(!is_right);
            from_right += usize::from(is_right);
        }
        let rest = &mut self.out[from_left + from_right..];
        let (rest_of_left, rest_of_right) = rest.split_at_mut(self.left.len() - from_left);
        rest_of_left.clone_from_slice(&self.left[from_left..]);
        rest_of_right.clone_from_slice(&self.right[from_right..]);
    }
}

/// Merges lanes, all of a level, several of them side by side.
pub(super) fn merge_lanes<'e, 'i, T, O, E>(merges: SmallVec<[Lane<'e, E>; FEW / 2]>, order: &mut O)
where
    O: Order<T>,
    E: Entry<'i, T, O> + 'e,
{
    let share = merges.iter().map(|merge| merge.out.len()).sum::<usize>() / LANES;
    let mut waiting =
        Waiting { merges: merges.into_iter(), rest: Lane::default(), share: share.max(SHORTEST) };
    let mut lanes: [_; LANES] = std::array::from_fn(|_| waiting.next(order).unwrap_or_default());
    'all: loop {
        let mut steps = usize::MAX;
        for lane in &mut lanes {
            while lane.steps() < ENOUGH {
                mem::take(lane).finish(order);
                match waiting.next(order) {
                    Some(next) => *lane = next,
                    None => break 'all,
                }
            }
            steps = steps.min(lane.steps());
        }
        advance(&mut lanes, steps, order);
    }
    for lane in lanes {
        lane.finish(order);
    }
}

/// The lanes that have not begun.
struct Waiting<'a, E> {
    merges: smallvec::IntoIter<[Lane<'a, E>; FEW / 2]>,
    /// What is left of the merge at hand.
    rest: Lane<'a, E>,
    /// How long a lane is.
    share: usize,
}

impl<'a, E> Waiting<'a, E> {
    fn next<'i, T, O>(&mut self, order: &mut O) -> Option<Lane<'a, E>>
    where
        O: Order<T>,
        E: Entry<'i, T, O>,
    {
        if self.rest.out.is_empty() {
            self.rest = self.merges.next()?;
        }
        if self.rest.out.len() < self.share + self.share / 2 {
            return Some(mem::take(&mut self.rest));
        }
        Some(self.rest.split_off(self.share, order))
    }
}

/// Lets each lane take so many steps. Each step puts out the smaller of two heads. Both sides of each lane
/// must have as many entries.
///
/// Which one is smaller cannot be predicted, so it is selected by a conditional move. The next step of a lane
/// waits for that; the steps of the others do not.
#[inline]
fn advance<'i, T, O, E>(lanes: &mut [Lane<'_, E>; LANES], steps: usize, order: &mut O)
where
    O: Order<T>,
    E: Entry<'i, T, O>,
{
    let mut from_left = [0; LANES];
    let mut from_right = [0; LANES];
    // Slices of one length, and known to be: a merge takes 1.15 times as long without them
    // (`cargo bench --bench runs -- --filter concat_sort/uniform/16`).
    let left = lanes.each_ref().map(|lane| &lane.left[..steps]);
    let right = lanes.each_ref().map(|lane| &lane.right[..steps]);
    let out = lanes.each_mut().map(|lane| &mut lane.out[..steps]);
    #[allow(clippy::needless_range_loop)] // Of all lanes at once.
    for step in 0..steps {
        for lane in 0..LANES {
            let (a, b) = (&left[lane][from_left[lane]], &right[lane][from_right[lane]]);
            let is_right = E::is_next(b, a, order);
            out[lane][step] = select_unpredictable(is_right, b, a).clone();
            from_left[lane] += usize::from(!is_right);
            from_right[lane] += usize::from(is_right);
        }
    }
    for (lane, (from_left, from_right)) in lanes.iter_mut().zip(from_left.into_iter().zip(from_right)) {
        lane.left = &lane.left[from_left..];
        lane.right = &lane.right[from_right..];
        lane.out = &mut mem::take(&mut lane.out)[steps..];
    }
}
