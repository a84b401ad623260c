use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{PollClose, PollNext, Source};

/// An iterator as a source that is always ready, cannot fail and has nothing to close. Made by [`from_iter`].
#[derive(Debug, Clone)]
pub struct FromIter<I> {
    iter: I,
}

/// Makes a source of anything that can be iterated over: what is in memory already, among sources that are not.
///
/// It cannot fail. To merge it with sources that can, change its error: `from_iter(items).map_err(|never| match never {})`.
/// An iterator of `Result`s becomes a source by `from_stream(futures::stream::iter(results))`.
///
/// Where all sources are iterators, [`merge`](crate::merge()) does the same faster and without a future.
///
/// # Closing
///
/// There is nothing to close. The iterator is dropped with the source.
///
/// # Examples
///
/// ```
/// use futures::{TryStreamExt, stream};
/// use losertree::{ProxyResponseLoserTree, Source, from_iter, from_stream};
///
/// # futures::executor::block_on(async {
/// let file = from_stream(stream::iter([Ok(2), Ok(3), Err("disk on fire")]));
/// let memory = from_iter([1, 4]).map_err(|never| match never {});
/// let mut merge = ProxyResponseLoserTree::new([file.boxed(), memory.boxed()]);
/// assert_eq!(merge.try_next().await?, Some(1));
/// # Ok::<_, losertree::SourceError<&str>>(())
/// # }).unwrap();
/// ```
pub fn from_iter<I: IntoIterator>(items: I) -> FromIter<I::IntoIter> {
    FromIter { iter: items.into_iter() }
}

impl<I> FromIter<I> {
    /// Returns the iterator.
    #[must_use]
    pub fn into_inner(self) -> I {
        self.iter
    }
}

// The iterator is never pinned.
impl<I> Unpin for FromIter<I> {}

impl<I: Iterator> Source for FromIter<I> {
    type Item = I::Item;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(self.iter.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
        Poll::Ready(Ok(()))
    }
}
