use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{ProxyResponseLoserTree, Source, Yielded};
use crate::key::Order;

/// Waits for the next item and its source. Returned by [`ProxyResponseLoserTree::next_with_source`].
///
/// # Cancel safety
///
/// Nothing is lost when this future is dropped: the next one yields the same item.
#[must_use = "futures do nothing unless polled"]
pub struct NextWithSource<'a, S: Source, O> {
    pub(super) merge: &'a mut ProxyResponseLoserTree<S, O>,
}

impl<S, O> Future for NextWithSource<'_, S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Output = Option<Yielded<S::Item, S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.merge.poll_next_with_source(cx)
    }
}

impl<S: Source, O> fmt::Debug for NextWithSource<'_, S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextWithSource").field("merge", &self.merge).finish()
    }
}
