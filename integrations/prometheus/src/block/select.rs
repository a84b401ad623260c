//! Which series of a block a query selects: sets of references, from the postings of its matchers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use losertree::resource::Reservation;

use super::cursor::Cursor;
use super::index::Index;
use super::memory::Memory;
use super::window::Window;
use super::{BlockError, Problem};
use crate::Matcher;

/// How many bytes of postings are looked at at a time.
const PIECE_BYTES: usize = 4 << 10;
const REFERENCE_BYTES: usize = size_of::<u32>();

/// Chooses series, and charges what it keeps.
pub(crate) struct Selection<'a> {
    pub(crate) index: &'a Index,
    pub(crate) window: &'a mut Window,
    pub(crate) memory: &'a Memory,
    pub(crate) held: &'a mut Reservation,
    /// Whether nobody wants it any more.
    pub(crate) stop: &'a AtomicBool,
}

impl Selection<'_> {
    /// Returns the series that all matchers match, in order. The external labels are those of all series, whatever their
    /// own are.
    pub(crate) fn select(
        &mut self,
        matchers: &[Matcher],
        external: &BTreeMap<String, String>,
    ) -> Result<Vec<u32>, BlockError> {
        let mut own = Vec::with_capacity(matchers.len());
        for matcher in matchers {
            match external.get(matcher.name()) {
                Some(value) if matcher.matches(value) => {}
                Some(_) => return Ok(Vec::new()),
                None => own.push(matcher),
            }
        }
        // What does not match a missing label selects, and all else takes away. The few that one value selects come first.
        let (mut takes, gives): (Vec<_>, Vec<_>) = own.into_iter().partition(|matcher| matcher.matches(""));
        takes.sort_by_key(|matcher| matcher.only_other_value().is_none());
        let mut gives = gives;
        gives.sort_by_key(|matcher| matcher.only_value().is_none());
        let mut selected: Option<Vec<u32>> = None;
        for matcher in gives {
            let series = self.of_values(matcher, |value| matcher.matches(value))?;
            selected = Some(match selected {
                None => series,
                Some(before) => self.keep(before, &series, true),
            });
            if selected.as_ref().is_some_and(Vec::is_empty) {
                return Ok(Vec::new());
            }
        }
        let mut selected = match (selected, self.index.all_postings()) {
            (Some(selected), _) => selected,
            (None, Some(all)) => self.union(&[all])?,
            (None, None) => Vec::new(),
        };
        for matcher in takes {
            if selected.is_empty() {
                break;
            }
            let series = self.of_values(matcher, |value| !matcher.matches(value))?;
            selected = self.keep(selected, &series, false);
        }
        Ok(selected)
    }

    /// The series with a value of the matcher's label that is chosen.
    fn of_values(
        &mut self,
        matcher: &Matcher,
        is_chosen: impl Fn(&str) -> bool,
    ) -> Result<Vec<u32>, BlockError> {
        let name = matcher.name();
        if let Some(value) =
            matcher.only_value().or(matcher.only_other_value()).filter(|value| !value.is_empty())
        {
            let lists: Vec<_> = self.index.postings(name, value).into_iter().collect();
            return self.union(&lists);
        }
        let mut lists = Vec::new();
        for (value, list) in self.index.values(name) {
            // There may be millions of them, and an expression that takes its time with each.
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.index.file.error(0, Problem::Stopped));
            }
            if is_chosen(value) {
                lists.push(list);
            }
        }
        self.union(&lists)
    }

    /// The series of some lists, in order, each once.
    fn union(&mut self, lists: &[u64]) -> Result<Vec<u32>, BlockError> {
        let mut series = Vec::new();
        for list in lists {
            self.append(*list, &mut series)?;
        }
        if !series.is_sorted_by(|one, next| one < next) {
            series.sort_unstable();
            series.dedup();
        }
        Ok(series)
    }

    /// Appends a list of postings: its length, how many there are, these in ascending order, a checksum.
    fn append(&mut self, offset: u64, series: &mut Vec<u32>) -> Result<(), BlockError> {
        let file = &self.index.file;
        let error = |problem: Problem| file.error(offset, problem);
        let header = self.window.get(file, offset, 8, u64::MAX)?;
        let mut cursor = Cursor::new(header);
        let len = u64::from(cursor.u32("postings").map_err(error)?);
        let count = u64::from(cursor.u32("postings").map_err(error)?);
        if len != 4 + count * REFERENCE_BYTES as u64 {
            return Err(error(Problem::Invalid(
                "a list of postings has another length than its number says",
            )));
        }
        let mut crc = crc32c::crc32c(&(count as u32).to_be_bytes());
        file.check(offset + 8, count * REFERENCE_BYTES as u64 + 4, "postings")?;
        let capacity = series.capacity();
        if series.len() + count as usize > capacity {
            // At least twice of what there was, so that many short lists are not copied again and again.
            let wanted = (series.len() + count as usize).max(capacity * 2);
            let charged = self.memory.charge(self.held, (wanted - capacity) * REFERENCE_BYTES);
            charged.map_err(|refused| error(refused.into()))?;
            series.reserve_exact(wanted - series.len());
        }
        let mut at = offset + 8;
        let end = at + count * REFERENCE_BYTES as u64;
        let mut before = None;
        while at < end {
            let bytes = self.window.get(file, at, PIECE_BYTES, end)?;
            let bytes = &bytes[..bytes.len() & !(REFERENCE_BYTES - 1)];
            if bytes.is_empty() {
                return Err(error(Problem::Invalid("postings end early")));
            }
            crc = crc32c::crc32c_append(crc, bytes);
            for reference in bytes.as_chunks::<REFERENCE_BYTES>().0 {
                let reference = u32::from_be_bytes(*reference);
                if before.is_some_and(|before| before >= reference) {
                    return Err(error(Problem::Invalid("postings are not sorted")));
                }
                before = Some(reference);
                series.push(reference);
            }
            at += bytes.len() as u64;
        }
        let found = Cursor::new(self.window.get(file, end, 4, u64::MAX)?).u32("postings").map_err(error)?;
        if crc == found {
            Ok(())
        } else {
            Err(error(Problem::Checksum { what: "postings", found, computed: crc }))
        }
    }

    /// Keeps of the first set what is in the second one as well, or what is not. The second one is no longer charged: it is not
    /// needed any more.
    #[allow(clippy::ptr_arg)] // Its capacity is what was charged.
    fn keep(&mut self, mut first: Vec<u32>, second: &Vec<u32>, common: bool) -> Vec<u32> {
        let mut rest = second.as_slice();
        first.retain(|series| {
            rest = skip(rest, *series);
            (rest.first() == Some(series)) == common
        });
        self.held.shrink(second.capacity() * REFERENCE_BYTES);
        first
    }
}

/// The part of a sorted list from a number on. Looked for in steps that double: mostly it is near.
fn skip(list: &[u32], number: u32) -> &[u32] {
    if list.first().is_none_or(|first| *first >= number) {
        return list;
    }
    let mut step = 1;
    while list.get(step).is_some_and(|other| *other < number) {
        step *= 2;
    }
    let low = step / 2;
    let high = (step + 1).min(list.len());
    let at = low + list[low..high].partition_point(|other| *other < number);
    &list[at..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_finds_the_first_that_is_not_smaller() {
        let list: Vec<u32> = (0..100).map(|number| number * 3).collect();
        for from in [0, 1, 50, 99, 100] {
            for number in 0..310 {
                let wanted: Vec<_> = list[from..].iter().copied().filter(|other| *other >= number).collect();
                assert_eq!(skip(&list[from..], number), wanted, "{number} from {from}");
            }
        }
    }
}
