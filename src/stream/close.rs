use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{ProxyResponseLoserTree, Source};
use crate::error::CloseError;
use crate::key::Order;

/// Closes a merge. Returned by [`ProxyResponseLoserTree::close`].
///
/// # Cancel safety
///
/// All progress is kept in the merge. If this future is dropped half-way, the next
/// [`close`](ProxyResponseLoserTree::close) goes on where it stopped, and so does polling the merge as a
/// stream.
#[must_use = "futures do nothing unless polled"]
pub struct Close<'a, S: Source, O> {
    pub(super) merge: &'a mut ProxyResponseLoserTree<S, O>,
}

impl<S, O> Future for Close<'_, S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Output = Result<(), CloseError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.merge.poll_close_all(cx)
    }
}

impl<S: Source, O> fmt::Debug for Close<'_, S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").field("merge", &self.merge).finish()
    }
}
