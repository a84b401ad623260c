use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use pin_project_lite::pin_project;

use super::{PollClose, PollNext, Received, Source};

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

    fn received(&self) -> Option<Received> {
        self.source.received()
    }

    fn is_partial(&self) -> bool {
        self.source.is_partial()
    }
}
