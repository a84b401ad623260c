use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use super::{PollClose, PollNext, ProxyResponseLoserTree, Received, Source};
use crate::key::Order;

/// A merge as a source of another merge. Made by [`ProxyResponseLoserTree::into_source`].
///
/// # Ordering
///
/// That of the merge, which must be that of the merge above.
///
/// # Errors
///
/// Those of the merge, with the [path](crate::SourceError::path) to the source in it. The merge above adds its own place in
/// front.
///
/// # Closing
///
/// Closes all sources of the merge, concurrently, and completes when each is closed. All errors come up. The source has ended as
/// soon as the merge has only closing left, so nobody above waits for that before it is asked to close.
pub struct MergeSource<S: Source, O> {
    merge: ProxyResponseLoserTree<S, O>,
}

impl<S: Source, O> ProxyResponseLoserTree<S, O> {
    /// Makes a source of the merge, for a merge of merges: closing goes through all levels and is awaited.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{TryStreamExt, stream};
    /// use losertree::{LeakLedger, ProxyResponseLoserTree, Source, closing};
    ///
    /// # futures::executor::block_on(async {
    /// let ledger = LeakLedger::sites();
    /// let region = |name: &'static str, first: u64| {
    ///     let store = |first: u64| {
    ///         let items = stream::iter([first, first + 2].map(Ok::<_, std::io::Error>));
    ///         closing(items, |_| async { Ok(()) }).named(format!("store-{first}"))
    ///     };
    ///     let merge = ProxyResponseLoserTree::builder().sources([store(first), store(first + 1)]).ledger(&ledger);
    ///     merge.build().into_source().named(name)
    /// };
    /// let mut merge = ProxyResponseLoserTree::builder()
    ///     .sources([region("eu", 0), region("us", 10)])
    ///     .ledger(&ledger)
    ///     .limit(3)
    ///     .build();
    /// assert_eq!(merge.by_ref().try_collect::<Vec<_>>().await?, [0, 1, 2]);
    /// assert_eq!(ledger.snapshot().closed, 6); // two regions, four stores
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # use futures::StreamExt;
    /// ```
    pub const fn into_source(self) -> MergeSource<S, O> {
        MergeSource { merge: self }
    }
}

impl<S: Source, O> MergeSource<S, O> {
    /// Returns the merge.
    pub const fn get_ref(&self) -> &ProxyResponseLoserTree<S, O> {
        &self.merge
    }

    /// Returns the merge.
    pub fn into_inner(self) -> ProxyResponseLoserTree<S, O> {
        self.merge
    }
}

// Nothing in here is ever pinned.
impl<S: Source, O> Unpin for MergeSource<S, O> {}

impl<S, O> Source for MergeSource<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Item = S::Item;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        match Pin::new(&mut self.merge).poll_next(cx) {
            Poll::Pending if self.merge.is_closing() => Poll::Ready(None),
            polled => polled,
        }
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.merge.poll_progress(cx);
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.merge.poll_close_all(cx)
    }

    fn received(&self) -> Option<Received> {
        self.merge.received()
    }

    fn is_partial(&self) -> bool {
        self.merge.is_partial()
    }
}

impl<S: Source, O> fmt::Debug for MergeSource<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergeSource").field("merge", &self.merge).finish()
    }
}
