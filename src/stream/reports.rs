use std::collections::VecDeque;

use super::{ErrorPolicy, Yielded};
use crate::SourceError;

/// The errors that a merge has met, and which way they go: yielded, as errors or as warnings, or returned by
/// `close`.
pub(super) struct Reports<T, E> {
    policy: ErrorPolicy<T, E>,
    /// What is to be yielded before anything more from the tournament.
    met: VecDeque<SourceError<E>>,
    /// What `close` is to return.
    kept: Vec<SourceError<E>>,
    /// Whether errors are kept from now on: the one that ends the merge has been met, or `close` was called.
    keeps: bool,
    /// After how many items of the tournament the last one was yielded.
    pub(super) last_after: Option<u64>,
    /// Whether a source was replaced by a warning.
    pub(super) is_partial: bool,
}

impl<T, E> Reports<T, E> {
    pub(super) const fn new(policy: ErrorPolicy<T, E>) -> Self {
        Self {
            policy,
            met: VecDeque::new(),
            kept: Vec::new(),
            keeps: false,
            last_after: None,
            is_partial: false,
        }
    }

    /// Does with an error what the policy says. Returns whether it ends the merge.
    pub(super) fn report(&mut self, error: SourceError<E>) -> bool {
        if self.keeps {
            self.kept.push(error);
            return false;
        }
        self.met.push_back(error);
        match self.policy {
            ErrorPolicy::Abort => self.keeps = true,
            ErrorPolicy::PartialResponse(_) => self.is_partial = true,
        }
        self.keeps
    }

    pub(super) fn is_empty(&self) -> bool {
        self.met.is_empty()
    }

    /// Returns what is to be yielded next. Warnings are made here and not before, so that errors which are
    /// not yielded any more are still errors.
    pub(super) fn pop(&mut self) -> Option<Yielded<T, E>> {
        let error = self.met.pop_front()?;
        Some(match &mut self.policy {
            ErrorPolicy::Abort => Err(error),
            ErrorPolicy::PartialResponse(warning) => {
                Ok((error.path().index().unwrap_or_default(), warning(error)))
            }
        })
    }

    /// Has all errors kept for `close` from now on, those that have not been yielded included.
    pub(super) fn keep_errors(&mut self) {
        self.keeps = true;
        // Those have been met before the ones that are kept.
        self.kept.splice(0..0, self.met.drain(..));
    }

    /// Returns the errors that were kept.
    pub(super) fn take_errors(&mut self) -> Vec<SourceError<E>> {
        std::mem::take(&mut self.kept)
    }
}
