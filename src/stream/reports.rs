use std::collections::VecDeque;

use super::{ErrorPolicy, MergeError, Yielded};

/// What is to be told to the caller besides the merged items: warnings and errors, and which way they go.
pub(super) struct Reports<T, E> {
    policy: ErrorPolicy<T, E>,
    /// What is to be yielded before anything from the tournament.
    outbox: VecDeque<Yielded<T, E>>,
    /// The errors that `close` is to return.
    kept: Vec<MergeError<E>>,
    /// Whether errors are kept from now on: the one that ends the merge has been met, or `close` was called.
    keeps: bool,
    /// Whether a source was replaced by a warning.
    pub(super) is_partial: bool,
}

impl<T, E> Reports<T, E> {
    pub(super) const fn new(policy: ErrorPolicy<T, E>) -> Self {
        Self { policy, outbox: VecDeque::new(), kept: Vec::new(), keeps: false, is_partial: false }
    }

    /// Does with an error what the policy says. Returns whether it ends the merge.
    pub(super) fn report(&mut self, error: MergeError<E>) -> bool {
        if self.keeps {
            self.kept.push(error);
            return false;
        }
        match &mut self.policy {
            ErrorPolicy::Abort => {
                self.keeps = true;
                self.outbox.push_back(Err(error));
                true
            }
            ErrorPolicy::PartialResponse(warning) => {
                self.is_partial = true;
                let source = error.origin().index();
                self.outbox.push_back(Ok((source, warning(error))));
                false
            }
        }
    }

    /// Puts an item in the outbox, to keep it while code runs that may panic.
    pub(super) fn put(&mut self, source: usize, item: T) {
        self.outbox.push_back(Ok((source, item)));
    }

    /// Returns what is to be yielded next.
    pub(super) fn pop(&mut self) -> Option<Yielded<T, E>> {
        self.outbox.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Has all errors kept for `close` from now on, those that have not been yielded yet included.
    pub(super) fn keep_errors(&mut self) {
        self.keeps = true;
        // The one that was to be yielded has been met before those that are kept.
        self.kept.splice(0..0, self.outbox.drain(..).filter_map(Result::err));
    }

    /// Returns the errors that were kept.
    pub(super) fn take_errors(&mut self) -> Vec<MergeError<E>> {
        std::mem::take(&mut self.kept)
    }
}
