use std::fmt;
use std::iter::FusedIterator;

use super::Merge;
use crate::key::Order;

/// A merge in which runs of items become one item each.
///
/// Made by [`Merge::dedup`], [`Merge::dedup_by`] and [`Merge::coalesce`]. To know that a run has ended it
/// looks at the next item, which stays in the merge.
///
/// # Complexity
///
/// That of the merge, and one comparison for each item more, unless the tournament knows: it does where keys are
/// [strings of bytes](crate::key::SortKey::PARTS) and sources are many.
///
/// # Panics
///
/// Only where the merge or the rule panics. An item is compared before it is taken, so none is lost then.
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Coalesce<I: Iterator, O, R> {
    merge: Merge<I, O>,
    /// What the run at hand has become so far. Kept from one call to the next only if something panicked.
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
    R: Rule<I, O>,
{
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if self.held.is_none() {
            self.held = self.merge.next();
        }
        while let Some(held) = &mut self.held {
            if self.rule.is_same(&mut self.merge, held) != Some(true) {
                break;
            }
            if let Some(next) = self.merge.next() {
                self.rule.absorb(held, next);
            }
        }
        self.held.take()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (low, high) = self.merge.size_hint();
        let held = usize::from(self.held.is_some());
        (low.max(held).min(1), high.and_then(|high| high.checked_add(held)))
    }
}

impl<I, O, R> FusedIterator for Coalesce<I, O, R>
where
    I: Iterator,
    O: Order<I::Item>,
    R: Rule<I, O>,
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

/// Which items form a run, and what becomes of it. Not nameable outside of this crate, so sealed.
pub trait Rule<I: Iterator, O> {
    /// Returns whether the next item of the merge belongs to the run of `held`; `None` if there is none.
    fn is_same(&mut self, merge: &mut Merge<I, O>, held: &I::Item) -> Option<bool>;

    /// Takes `next` into the run.
    fn absorb(&mut self, held: &mut I::Item, next: I::Item);
}

/// The rule of [`Merge::dedup`].
#[derive(Debug, Clone, Copy)]
pub struct KeepFirst;

impl<I: Iterator, O: Order<I::Item>> Rule<I, O> for KeepFirst {
    fn is_same(&mut self, merge: &mut Merge<I, O>, held: &I::Item) -> Option<bool> {
        merge.is_next_equal(held)
    }

    fn absorb(&mut self, _held: &mut I::Item, next: I::Item) {
        drop(next);
    }
}

/// The rule of [`Merge::dedup_by`].
pub struct KeepFirstBy<F>(pub(super) F);

impl<I: Iterator, O: Order<I::Item>, F: FnMut(&I::Item, &I::Item) -> bool> Rule<I, O> for KeepFirstBy<F> {
    fn is_same(&mut self, merge: &mut Merge<I, O>, held: &I::Item) -> Option<bool> {
        merge.with_next(|_, next| (self.0)(held, next))
    }

    fn absorb(&mut self, _held: &mut I::Item, next: I::Item) {
        drop(next);
    }
}

impl<F> fmt::Debug for KeepFirstBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepFirstBy").finish_non_exhaustive()
    }
}

/// The rule of [`Merge::coalesce`].
pub struct Combine<F>(pub(super) F);

impl<I: Iterator, O: Order<I::Item>, F: FnMut(&mut I::Item, I::Item)> Rule<I, O> for Combine<F> {
    fn is_same(&mut self, merge: &mut Merge<I, O>, held: &I::Item) -> Option<bool> {
        merge.is_next_equal(held)
    }

    fn absorb(&mut self, held: &mut I::Item, next: I::Item) {
        (self.0)(held, next);
    }
}

impl<F> fmt::Debug for Combine<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combine").finish_non_exhaustive()
    }
}
