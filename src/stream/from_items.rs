use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use pin_project_lite::pin_project;

use super::{FromStream, PollClose, PollNext, Source, from_stream};

pin_project! {
    /// A stream of items that are no `Result`s, as a source that cannot fail. Made by [`from_items`].
    #[derive(Clone)]
    pub struct FromItems<St>
    where
        St: Stream,
    {
        #[pin]
        source: FromStream<Succeed<St>>,
    }
}

pin_project! {
    /// A stream that wraps each item in `Ok`.
    #[derive(Clone)]
    struct Succeed<St> {
        #[pin]
        stream: St,
    }
}

/// Makes a source of any [`Stream`], which cannot fail. For a stream of `Result`s there is [`from_stream`].
///
/// To merge it with sources that can, change its error: `from_items(stream).map_err(|never| match never {})`.
///
/// # Closing
///
/// As for [`from_stream`].
///
/// # Examples
///
/// ```
/// use futures::{TryStreamExt, stream};
/// use losertree::{ProxyResponseLoserTree, from_items};
///
/// # futures::executor::block_on(async {
/// let merge = ProxyResponseLoserTree::new([vec![1, 3], vec![2]].map(|items| from_items(stream::iter(items))));
/// assert_eq!(merge.try_collect::<Vec<_>>().await?, [1, 2, 3]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub const fn from_items<St: Stream>(stream: St) -> FromItems<St> {
    FromItems { source: from_stream(Succeed { stream }) }
}

impl<St: Stream> FromItems<St> {
    /// Returns the stream.
    #[must_use]
    pub fn into_inner(self) -> St {
        self.source.into_inner().stream
    }
}

impl<St: Stream> Stream for Succeed<St> {
    type Item = Result<St::Item, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().stream.poll_next(cx).map(|item| item.map(Ok))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

impl<St: Stream> Source for FromItems<St> {
    type Item = St::Item;
    type Error = Infallible;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        self.project().source.poll_next(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.project().source.poll_close(cx)
    }
}

impl<St: Stream + fmt::Debug> fmt::Debug for FromItems<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromItems").field("stream", &self.source.get_ref().stream).finish()
    }
}
