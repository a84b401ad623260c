use std::fmt;
use std::pin::Pin;
use std::task::Context;

use super::arranger::Arranger;
use super::receiver::Receiver;
use super::{EagerResponseSet, LazyResponseSet, ResponseSetOptions, RetrievalStrategy, Store};
use crate::stream::{PollClose, PollNext, Received};
use crate::{Response, Source};

/// The answer of one store, as a source for a merge.
pub enum ResponseSet<S: Source> {
    /// Received while the merge goes on.
    Lazy(LazyResponseSet<S>),
    /// Received as a whole, then given.
    Eager(EagerResponseSet<S>),
}

impl<S> ResponseSet<S>
where
    S: Source<Item = Response> + Unpin + Send + 'static,
    S::Error: Send + 'static,
{
    /// Creates the response set of a store, with these options unless the store has [its own](Store::with_options).
    /// Nothing happens before it is polled.
    #[must_use = "a set does nothing unless it is merged"]
    pub fn new(store: Store<S>, options: &ResponseSetOptions) -> Self {
        let Store { name, state, shards, removes_labels, options: own, is_required: _ } = store;
        let options = own.as_deref().unwrap_or(options);
        let rules = options.rules_for(shards, removes_labels);
        let pool = rules.pool.clone();
        let receiver = Receiver::new(state, options);
        let arranger = Arranger::new(receiver, rules);
        match options.retrieval {
            RetrievalStrategy::Lazy => {
                let spawner = options.spawner.clone();
                let is_timed = options.timeouts.is_any();
                Self::Lazy(LazyResponseSet::new(name, arranger, options.capacity, pool, spawner, is_timed))
            }
            RetrievalStrategy::Eager => Self::Eager(EagerResponseSet::new(name, arranger)),
        }
    }
}

macro_rules! either {
    ($set:expr, $method:ident($($argument:expr)?)) => {
        match $set {
            Self::Lazy(set) => Pin::new(set).$method($($argument)?),
            Self::Eager(set) => Pin::new(set).$method($($argument)?),
        }
    };
}

impl<S: Source<Item = Response> + Unpin> Source for ResponseSet<S> {
    type Item = Response;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        either!(&mut *self, poll_next(cx))
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        either!(&mut *self, poll_progress(cx));
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        either!(&mut *self, poll_close(cx))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Lazy(set) => set.name(),
            Self::Eager(set) => set.name(),
        }
    }

    fn is_partial(&self) -> bool {
        match self {
            Self::Lazy(set) => set.is_partial(),
            Self::Eager(set) => set.is_partial(),
        }
    }

    fn received(&self) -> Option<Received> {
        match self {
            Self::Lazy(set) => set.received(),
            Self::Eager(set) => set.received(),
        }
    }
}

impl<S: Source> fmt::Debug for ResponseSet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lazy(set) => set.fmt(f),
            Self::Eager(set) => set.fmt(f),
        }
    }
}
