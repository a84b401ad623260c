use std::fmt;

use crate::key::Order;

/// Which items form a run, and what becomes of it. Not nameable outside of this crate, so sealed.
pub trait Rule<T, O> {
    /// Returns whether the next item belongs to the run of `held`. `is_equal` is whether the order has it for equal to the one
    /// before it, if that is known.
    fn is_same(&mut self, order: &mut O, is_equal: Option<bool>, held: &T, next: &T) -> bool;

    /// Takes `next` into the run.
    fn absorb(&mut self, held: &mut T, next: T);
}

/// The rule of `dedup`: equal items form a run, and the first of it stays.
#[derive(Debug, Clone, Copy)]
pub struct KeepFirst;

impl<T, O: Order<T>> Rule<T, O> for KeepFirst {
    fn is_same(&mut self, order: &mut O, is_equal: Option<bool>, held: &T, next: &T) -> bool {
        is_equal.unwrap_or_else(|| order.compare(held, next).is_eq())
    }

    fn absorb(&mut self, _held: &mut T, next: T) {
        drop(next);
    }
}

/// The rule of `dedup_by`: a function says which items form a run, and the first of it stays.
#[derive(Clone, Copy)]
pub struct KeepFirstBy<F>(pub(crate) F);

impl<T, O, F: FnMut(&T, &T) -> bool> Rule<T, O> for KeepFirstBy<F> {
    fn is_same(&mut self, _order: &mut O, _is_equal: Option<bool>, held: &T, next: &T) -> bool {
        (self.0)(held, next)
    }

    fn absorb(&mut self, _held: &mut T, next: T) {
        drop(next);
    }
}

impl<F> fmt::Debug for KeepFirstBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepFirstBy").finish_non_exhaustive()
    }
}

/// The rule of `coalesce`: equal items form a run, and a function makes one of them.
#[derive(Clone, Copy)]
pub struct Combine<F>(pub(crate) F);

impl<T, O: Order<T>, F: FnMut(&mut T, T)> Rule<T, O> for Combine<F> {
    fn is_same(&mut self, order: &mut O, is_equal: Option<bool>, held: &T, next: &T) -> bool {
        KeepFirst.is_same(order, is_equal, held, next)
    }

    fn absorb(&mut self, held: &mut T, next: T) {
        (self.0)(held, next);
    }
}

impl<F> fmt::Debug for Combine<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Combine").finish_non_exhaustive()
    }
}
