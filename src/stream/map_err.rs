use std::fmt;
use std::pin::Pin;
use std::task::Context;

use pin_project_lite::pin_project;

use super::{PollClose, PollNext, Received, Source};

pin_project! {
    /// A source whose errors are changed by a function. Made by [`Source::map_err`].
    #[derive(Clone)]
    pub struct MapErr<S, F> {
        #[pin]
        source: S,
        change: F,
    }
}

impl<S, F> MapErr<S, F> {
    pub(super) const fn new(source: S, change: F) -> Self {
        Self { source, change }
    }

    /// Returns the source.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.source
    }
}

impl<S: Source, E, F: FnMut(S::Error) -> E> Source for MapErr<S, F> {
    type Item = S::Item;
    type Error = E;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let this = self.project();
        this.source.poll_next(cx).map_err(|error| error.map(this.change))
    }

    fn poll_progress(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.project().source.poll_progress(cx);
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        let this = self.project();
        this.source.poll_close(cx).map_err(|error| error.map(this.change))
    }

    fn name(&self) -> Option<&str> {
        self.source.name()
    }

    fn received(&self) -> Option<Received> {
        self.source.received()
    }

    fn is_partial(&self) -> bool {
        self.source.is_partial()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for MapErr<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapErr").field("source", &self.source).finish_non_exhaustive()
    }
}
