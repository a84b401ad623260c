use std::fmt;
use std::iter::FusedIterator;

use super::Merge;
use crate::key::Order;

/// A merge in which runs of items become one item each.
///
/// Made by [`Merge::dedup`], [`Merge::dedup_by`] and [`Merge::coalesce`]. Holds one item back, until the
/// merge shows that its run has ended.
///
/// # Complexity
///
/// That of the merge, and one comparison for each item more.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Coalesce<I: Iterator, O, R> {
    merge: Merge<I, O>,
    /// What the run at hand has become so far.
    held: Option<I::Item>,
    rule: R,
}

impl<I: Iterator, O, R> Coalesce<I, O, R> {
    pub(super) const fn new(merge: Merge<I, O>, rule: R) -> Self {
        Self { merge, held: None, rule }
    }
}

impl<I, O, R> Iterator for Coalesce<I, O, R>
where
    I: Iterator,
    O: Order<I::Item>,
    R: Rule<I::Item, O>,
{
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        loop {
            let Some(item) = self.merge.next() else {
                return self.held.take();
            };
            let Some(held) = &mut self.held else {
                self.held = Some(item);
                continue;
            };
            if let Some(next) = self.rule.absorb(self.merge.order_mut(), held, item) {
                return self.held.replace(next);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (low, high) = self.merge.size_hint();
        let held = usize::from(self.held.is_some());
        ((low + held).min(1), high.and_then(|high| high.checked_add(held)))
    }
}

impl<I, O, R> FusedIterator for Coalesce<I, O, R>
where
    I: Iterator,
    O: Order<I::Item>,
    R: Rule<I::Item, O>,
{
}

impl<I: Iterator + fmt::Debug, O: fmt::Debug, R> fmt::Debug for Coalesce<I, O, R>
where
    I::Item: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce")
            .field("merge", &self.merge)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

/// What becomes of an item and its successor. Not nameable outside of this crate, so sealed.
pub trait Rule<T, O> {
    /// Takes `item` into the run of `held`, or gives it back if it starts a run of its own.
    fn absorb(&mut self, order: &mut O, held: &mut T, item: T) -> Option<T>;
}

/// The rule of [`Merge::dedup`].
#[derive(Debug, Clone, Copy)]
pub struct KeepFirst;

impl<T, O: Order<T>> Rule<T, O> for KeepFirst {
    fn absorb(&mut self, order: &mut O, held: &mut T, item: T) -> Option<T> {
        order.compare(held, &item).is_ne().then_some(item)
    }
}

/// The rule of [`Merge::dedup_by`].
pub struct KeepFirstBy<F>(pub(super) F);

impl<T, O, F: FnMut(&T, &T) -> bool> Rule<T, O> for KeepFirstBy<F> {
    fn absorb(&mut self, _order: &mut O, held: &mut T, item: T) -> Option<T> {
        (!(self.0)(held, &item)).then_some(item)
    }
}

impl<F> fmt::Debug for KeepFirstBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepFirstBy").finish_non_exhaustive()
    }
}

/// The rule of [`Merge::coalesce`].
pub struct Combine<F>(pub(super) F);

impl<T, O: Order<T>, F: FnMut(&mut T, T)> Rule<T, O> for Combine<F> {
    fn absorb(&mut self, order: &mut O, held: &mut T, item: T) -> Option<T> {
        if order.compare(held, &item).is_ne() {
            return Some(item);
        }
        (self.0)(held, item);
        None
    }
}

impl<F> fmt::Debug for Combine<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combine").finish_non_exhaustive()
    }
}
