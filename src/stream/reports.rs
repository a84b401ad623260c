use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use crate::error::SourceError;
use crate::source_id::SourceId;

/// What a merge yields with the source named: the source's index and the item, or an error.
pub type Yielded<T, E> = Result<(usize, T), SourceError<E>>;

/// Makes the item that stands for the failure of a source.
pub(super) type MakeWarning<T, E> = Box<dyn FnMut(SourceError<E>) -> T + Send + Sync>;

/// Returns the failure that an item stands for, if it does.
pub(super) type AsFailure<T, E> = fn(T) -> Option<SourceError<E>>;

/// Says which sources must not fail.
pub(super) type IsRequired = Box<dyn Fn(&SourceId) -> bool + Send + Sync>;

/// What a merge does when a source fails.
pub(super) struct ErrorPolicy<T, E> {
    /// Makes a warning of the error, after which the others go on. Without it, the first error ends the merge.
    pub(super) warning: Option<MakeWarning<T, E>>,
    /// The sources whose errors end the merge all the same.
    pub(super) required: Option<IsRequired>,
    /// Finds the failures among items that are dropped.
    pub(super) unyielded: Option<AsFailure<T, E>>,
}

impl<T, E> ErrorPolicy<T, E> {
    fn failure(&self, item: T) -> Option<SourceError<E>> {
        self.unyielded.and_then(|as_failure| as_failure(item))
    }

    fn tolerates(&self, error: &SourceError<E>) -> bool {
        let is_required = |source| self.required.as_ref().is_some_and(|required| required(source));
        self.warning.is_some() && !error.path().places().first().is_some_and(is_required)
    }
}

impl<T, E> Default for ErrorPolicy<T, E> {
    fn default() -> Self {
        Self { warning: None, required: None, unyielded: None }
    }
}

impl<T, E> fmt::Debug for ErrorPolicy<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.warning, &self.required) {
            (None, _) => "abort",
            (Some(_), None) => "warn",
            (Some(_), Some(_)) => "warn, but for the required ones",
        })
    }
}

/// What a merge yields ahead of all that waits in the tournament: items that take no part in the order, and errors, as errors
/// or as warnings. Errors that are not yielded any more are returned by `close`.
pub(super) struct Reports<T, E> {
    policy: ErrorPolicy<T, E>,
    /// What is to be yielded before anything more from the tournament.
    met: VecDeque<Met<T, E>>,
    /// What `close` is to return.
    kept: VecDeque<SourceError<E>>,
    /// Whether errors are kept from now on: the one that ends the merge has been met, or `close` was called.
    keeps: bool,
    /// After how many items of the tournament the last one was yielded.
    pub(super) last_after: Option<u64>,
    /// Whether a source was replaced by a warning.
    pub(super) is_partial: bool,
}

enum Met<T, E> {
    /// An item that takes no part in the order, and the number of its source, which is not polled while it waits.
    Item(usize, T),
    /// An error that becomes a warning.
    Tolerated(SourceError<E>),
    Error(SourceError<E>),
}

impl<T, E> Reports<T, E> {
    pub(super) const fn new(policy: ErrorPolicy<T, E>) -> Self {
        Self {
            policy,
            met: VecDeque::new(),
            kept: VecDeque::new(),
            keeps: false,
            last_after: None,
            is_partial: false,
        }
    }

    /// P8: does with an error what the policy says. Returns whether it ends the merge.
    pub(super) fn report(&mut self, error: SourceError<E>) -> bool {
        if self.keeps {
            self.kept.push_back(error);
            return false;
        }
        if self.policy.tolerates(&error) {
            self.met.push_back(Met::Tolerated(error));
            self.is_partial = true;
            return false;
        }
        self.report_fatal(error)
    }

    /// P8: as [`report`](Self::report), for an error that the policy does not tolerate, whatever it is.
    pub(super) fn report_fatal(&mut self, error: SourceError<E>) -> bool {
        if self.keeps {
            self.kept.push_back(error);
            return false;
        }
        self.met.push_back(Met::Error(error));
        self.keeps = true;
        true
    }

    /// Has an item yielded that takes no part in the order.
    pub(super) fn pass_on(&mut self, source: usize, item: T) {
        self.met.push_back(Met::Item(source, item));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.met.is_empty()
    }

    /// Returns what is to be yielded next, and the source that is to be polled again for it. Warnings are made here and not
    /// before, so that errors which are not yielded any more are still errors.
    pub(super) fn pop(&mut self) -> Option<(Yielded<T, E>, Option<usize>)> {
        Some(match self.met.pop_front()? {
            Met::Item(source, item) => (Ok((source, item)), Some(source)),
            Met::Tolerated(error) => match &mut self.policy.warning {
                Some(warning) => (Ok((error.path().index().unwrap_or_default(), warning(error))), None),
                None => (Err(error), None),
            },
            Met::Error(error) => (Err(error), None),
        })
    }

    /// Takes out the items, each by the number of its source, which has one at most.
    pub(super) fn take_items(&mut self) -> BTreeMap<usize, T> {
        let item = |met| match met {
            Met::Item(source, item) => Some((source, item)),
            Met::Tolerated(_) | Met::Error(_) => None,
        };
        std::mem::take(&mut self.met).into_iter().filter_map(item).collect()
    }

    /// Drops the items: their sources are going to be closed. The failures that they stand for are kept.
    pub(super) fn drop_items(&mut self) {
        for met in std::mem::take(&mut self.met) {
            match met {
                Met::Item(_, item) => self.kept.extend(self.policy.failure(item)),
                error => self.met.push_back(error),
            }
        }
    }

    /// Has all errors kept for `close` from now on, those that have not been yielded included.
    pub(super) fn keep_errors(&mut self) {
        self.keeps = true;
        // Those have been met before the ones that are kept.
        let met = self.met.drain(..).filter_map(|met| match met {
            Met::Item(_, item) => self.policy.failure(item),
            Met::Tolerated(error) | Met::Error(error) => Some(error),
        });
        let later = std::mem::take(&mut self.kept);
        self.kept = met.chain(later).collect();
    }

    /// Returns the next error that was kept.
    pub(super) fn pop_kept(&mut self) -> Option<SourceError<E>> {
        self.kept.pop_front()
    }

    /// Returns the errors that were kept.
    pub(super) fn take_errors(&mut self) -> Vec<SourceError<E>> {
        std::mem::take(&mut self.kept).into()
    }
}
