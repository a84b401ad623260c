use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{EagerResponseSet, LazyResponseSet, ResponseSetError};
use crate::stream::Received;
use crate::{Response, Source};

/// The answer of one store, as a source for a merge. Made by
/// [`ResponseSetOptions::open`](super::ResponseSetOptions::open).
pub enum ResponseSet<S: Source> {
    /// Received while the merge goes on.
    Lazy(LazyResponseSet<S>),
    /// Received as a whole, then given.
    Eager(EagerResponseSet<S>),
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
    type Error = ResponseSetError<S::Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Response, Self::Error>>> {
        either!(&mut *self, poll_next(cx))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        either!(&mut *self, poll_close(cx))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Lazy(set) => set.name(),
            Self::Eager(set) => set.name(),
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
