use super::order_check::OrderCheck;
use crate::merge::window::RowOrder;

/// Makes a batch of one row.
pub(super) type CopyRow<B> = Box<dyn FnMut(&B, usize) -> B + Send + Sync>;

/// Compares each row of a source with the one ahead of it.
///
/// The batch before is gone when the next one comes, so a copy of its last row is kept, until the source has come to its end.
pub(super) struct RowChecker<B> {
    pub(super) check: OrderCheck,
    copy: CopyRow<B>,
    /// The last row of each source, and how many it has given, by its place.
    last: Vec<(Option<B>, u64)>,
}

impl<B> RowChecker<B> {
    pub(super) const fn new(check: OrderCheck, copy: CopyRow<B>) -> Self {
        Self { check, copy, last: Vec::new() }
    }

    /// Compares the rows of the next batch of a source, and returns which of the source's rows come before the one ahead of them: the
    /// first one, and how many. If the check has a source fail, it stops at the first.
    pub(super) fn check(
        &mut self,
        place: usize,
        batch: &B,
        rows: usize,
        order: &mut impl RowOrder<B>,
    ) -> Option<(u64, u64)> {
        if rows == 0 {
            return None;
        }
        if self.last.len() <= place {
            self.last.resize_with(place + 1, || (None, 0));
        }
        let (last, before) = &mut self.last[place];
        let mut found = None;
        for row in 0..rows {
            let is_before = match row.checked_sub(1) {
                Some(ahead) => order.compare((batch, row), (batch, ahead)).is_lt(),
                None => last.as_ref().is_some_and(|last| order.compare((batch, 0), (last, 0)).is_lt()),
            };
            if is_before {
                let (_, count) = found.get_or_insert((*before + row as u64, 0));
                *count += 1;
                if self.check == OrderCheck::Fail {
                    return found;
                }
            }
        }
        *before += rows as u64;
        *last = Some((self.copy)(batch, rows - 1));
        found
    }

    /// Lets go of the places of sources that are gone; the others move up.
    pub(super) fn retain(&mut self, mut keeps: impl FnMut(usize) -> bool) {
        let mut place = 0;
        self.last.retain(|_| {
            place += 1;
            keeps(place - 1)
        });
        self.last.shrink_to(2 * self.last.len());
    }

    /// Drops the row of a source that has come to its end.
    pub(super) fn forget(&mut self, place: usize) {
        if let Some((last, _)) = self.last.get_mut(place) {
            *last = None;
        }
    }

    /// Returns the rows that are kept.
    pub(super) fn into_rows(self) -> impl Iterator<Item = Option<B>> {
        self.last.into_iter().map(|(row, _)| row)
    }
}
