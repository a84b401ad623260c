//! Portions of items that are not moved: see "What is moved" in the documentation of the [module](super).

use super::cascade::{Portions, Rooms, Trial};
use super::entry::{OffsetEntry, PrefixEntry, Sink};
use crate::key::{MOST_PARTS, Order, SharedPrefix};

/// Up to how many runs items that begin alike are compared by all of their bytes.
const FEW_RUNS: usize = 8;

/// Of how many runs it is asked whether items begin alike.
const SAMPLES: usize = 8;

/// How many items there are in a part that is merged by itself: so many, and for each run.
const PART: usize = 256;
const PART_PER_RUN: usize = 8;

/// Rooms for items that are not moved: for their codes, and for their offset-value codes.
#[derive(Debug)]
pub(super) struct ByReference<'a, T> {
    coded: Rooms<PrefixEntry<'a, T>>,
    offset_coded: Rooms<OffsetEntry<'a, T>>,
    /// Whether the last portion was merged by offset-value codes, and whether one was by all bytes of its items.
    is_by_offset: bool,
    pub(super) is_by_bytes: bool,
}

impl<T> Default for ByReference<'_, T> {
    fn default() -> Self {
        Self {
            coded: Rooms::default(),
            offset_coded: Rooms::default(),
            is_by_offset: false,
            is_by_bytes: false,
        }
    }
}

impl<'a, T: Clone, O: Order<T>> Portions<'a, T, O> for ByReference<'a, T> {
    fn entries(&self) -> usize {
        if self.is_by_offset {
            Portions::<T, O>::entries(&self.offset_coded)
        } else {
            Portions::<T, O>::entries(&self.coded)
        }
    }

    fn trial(&mut self) -> &mut Trial {
        &mut self.coded.trial
    }

    fn merge<S: Sink<T>>(&mut self, runs: &[&'a [T]], most: usize, order: &mut O, mut sink: S) -> S {
        let way = way(runs, order);
        self.is_by_offset = matches!(way, Way::OffsetCodes);
        self.is_by_bytes |= matches!(way, Way::Bytes);
        match way {
            Way::Codes(prefix) => {
                self.coded.prefix = prefix;
                Portions::merge(&mut self.coded, runs, most, order, sink)
            }
            Way::Bytes => {
                self.coded.prefix = None;
                Portions::merge(&mut self.coded, runs, most, order, sink)
            }
            Way::OffsetCodes => Portions::merge(&mut self.offset_coded, runs, most, order, sink),
            Way::Parts(parts) => {
                for part in parts.iter().filter(|part| !part.is_empty()) {
                    sink = self.merge(part, most, order, sink);
                }
                sink
            }
        }
    }
}

/// How a portion is merged.
enum Way<'a, T> {
    /// By codes, which tell most items apart, or by those behind what all of them begin with.
    Codes(Option<SharedPrefix>),
    /// By offset-value codes, as many items begin alike.
    OffsetCodes,
    /// By all bytes of items, as many begin alike, and there are few runs.
    Bytes,
    /// Part by part. The middle one has the items of one code, which are many, and codes behind what these begin with tell them apart.
    Parts([Vec<&'a [T]>; 3]),
}

fn way<'a, T, O: Order<T>>(runs: &[&'a [T]], order: &mut O) -> Way<'a, T> {
    if O::PARTS == 0 || O::PARTS > MOST_PARTS || runs.len() < 2 {
        return Way::Codes(None);
    }
    let mut sample: Vec<_> = runs.iter().copied().step_by(runs.len().div_ceil(SAMPLES)).collect();
    if !are_alike(&sample, None, order) {
        return Way::Codes(None);
    }
    // The first item whose code many share.
    let mut shared = None;
    loop {
        let prefix = shared_by_all(&sample, order);
        if !are_alike(&sample, prefix, order) {
            break;
        }
        let run = sample[sample.len() / 2];
        let item = &run[run.len() / 2];
        let equal = prefix.map_or_else(Vec::new, |prefix| {
            let [_, equal, _] = split(&sample, prefix, item, order);
            equal
        });
        let items = equal.iter().map(|run| run.len()).sum::<usize>();
        if items < PART_PER_RUN * sample.len()
            || items * runs.len() < PART * sample.len()
            || items == sample.iter().map(|run| run.len()).sum()
        {
            return if runs.len() > FEW_RUNS { Way::OffsetCodes } else { Way::Bytes };
        }
        shared.get_or_insert(item);
        sample = equal;
    }
    let prefix = shared_by_all(runs, order);
    if let (Some(item), Some(prefix)) = (shared, prefix) {
        let parts = split(runs, prefix, item, order);
        if parts.iter().filter(|part| !part.is_empty()).count() > 1 {
            return Way::Parts(parts);
        }
    }
    Way::Codes(prefix)
}

/// Returns what all items of sorted runs begin with, where their keys are strings of bytes that differ.
fn shared_by_all<T, O: Order<T>>(runs: &[&[T]], order: &mut O) -> Option<SharedPrefix> {
    let any = runs.first()?.first()?;
    let ends = runs.iter().flat_map(|run| [run.first(), run.last()]).flatten();
    ends.filter_map(|end| order.shared_prefix(any, end)).min()
}

fn code_of<T, O: Order<T>>(item: &T, prefix: Option<SharedPrefix>, order: &mut O) -> u64 {
    match prefix {
        Some(prefix) => order.code_behind(prefix, item),
        None => order.code(item),
    }
}

/// Returns whether many items have the code of another one that they are not equal to, so that bytes would decide. Asks about an item of
/// each run: its neighbour there, and the next run.
fn are_alike<T, O: Order<T>>(runs: &[&[T]], prefix: Option<SharedPrefix>, order: &mut O) -> bool {
    let mut alike = 0;
    for (run, other) in runs.iter().zip(runs.iter().cycle().skip(1)) {
        let [item, neighbour, ..] = &run[(run.len() - 1) / 2..] else { continue };
        let code = code_of(item, prefix, order);
        let place = other.partition_point(|item| code_of(item, prefix, order) < code);
        for other in [Some(neighbour), other.get(place)].into_iter().flatten() {
            let shares_code = code_of(other, prefix, order) == code;
            alike += usize::from(shares_code && order.shared_prefix(item, other).is_some());
        }
    }
    2 * alike > runs.len()
}

/// Splits runs by the code of an item: into what is before, what shares the code, and what is behind.
fn split<'a, T, O: Order<T>>(
    runs: &[&'a [T]],
    prefix: SharedPrefix,
    item: &T,
    order: &mut O,
) -> [Vec<&'a [T]>; 3] {
    let code = order.code_behind(prefix, item);
    let mut parts = [const { Vec::new() }; 3];
    for run in runs {
        let (before, rest) = run.split_at(run.partition_point(|item| order.code_behind(prefix, item) < code));
        let (equal, behind) =
            rest.split_at(rest.partition_point(|item| order.code_behind(prefix, item) == code));
        for (part, run) in parts.iter_mut().zip([before, equal, behind]) {
            part.extend((!run.is_empty()).then_some(run));
        }
    }
    parts
}
