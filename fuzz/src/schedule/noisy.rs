use losertree::stream::{PollClose, PollNext};
use std::pin::Pin;
use std::task::{Context, Poll};

use losertree::Source;

/// A source that wakes the merge with each item too, if it is noisy: it may wake more often than it must.
#[derive(Debug)]
pub(crate) struct Noisy<S> {
    source: S,
    is_noisy: bool,
}

impl<S> Noisy<S> {
    pub(crate) const fn new(source: S, is_noisy: bool) -> Self {
        Self { source, is_noisy }
    }
}

impl<S: Source + Unpin> Source for Noisy<S> {
    type Item = S::Item;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let polled = Pin::new(&mut self.source).poll_next(cx);
        if self.is_noisy && matches!(polled, Poll::Ready(Some(Ok(_)))) {
            cx.waker().wake_by_ref();
        }
        polled
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        Pin::new(&mut self.source).poll_close(cx)
    }

    fn name(&self) -> Option<&str> {
        self.source.name()
    }
}
