//! A source under another name, with other items, or with other errors.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use pin_project_lite::pin_project;

use super::counters::Counters;
use super::source::{PollClose, PollNext, Source};

pin_project! {
    /// A source with a name. Made by [`Source::named`].
    #[derive(Debug, Clone)]
    pub struct Named<S> {
        #[pin]
        source: S,
        name: Arc<str>,
    }
}

impl<S> Named<S> {
    pub(super) const fn new(source: S, name: Arc<str>) -> Self {
        Self { source, name }
    }

    /// Returns the source.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.source
    }
}

impl<S: Source> Source for Named<S> {
    type Item = S::Item;
    type Error = S::Error;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        self.project().source.poll_next(cx)
    }

    fn poll_progress(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.project().source.poll_progress(cx);
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.project().source.poll_close(cx)
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn counters(&self) -> Counters {
        self.source.counters()
    }

    fn is_partial(&self) -> bool {
        self.source.is_partial()
    }
}

pin_project! {
    /// A source whose items are changed by a function. Made by [`Source::map`].
    #[derive(Clone)]
    pub struct Map<S, F> {
        #[pin]
        source: S,
        change: F,
    }
}

impl<S, F> Map<S, F> {
    pub(super) const fn new(source: S, change: F) -> Self {
        Self { source, change }
    }

    /// Returns the source.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.source
    }
}

impl<S: Source, T, F: FnMut(S::Item) -> T> Source for Map<S, F> {
    type Item = T;
    type Error = S::Error;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let this = self.project();
        this.source.poll_next(cx).map_ok(this.change)
    }

    fn poll_progress(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.project().source.poll_progress(cx);
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.project().source.poll_close(cx)
    }

    fn name(&self) -> Option<&str> {
        self.source.name()
    }

    fn counters(&self) -> Counters {
        self.source.counters()
    }

    fn is_partial(&self) -> bool {
        self.source.is_partial()
    }
}

impl<S: fmt::Debug, F> fmt::Debug for Map<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("source", &self.source).finish_non_exhaustive()
    }
}

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

    fn counters(&self) -> Counters {
        self.source.counters()
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
