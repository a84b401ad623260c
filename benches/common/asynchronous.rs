//! Merges of async sources that are always ready.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{Stream, stream};
use losertree::{ProxyResponseLoserTree, Source, from_stream};

use super::contender::{Contender, Merger, sources};
use super::sync;
use super::workload::Key;

/// The sync merge, and the async ones of the same data.
pub(crate) fn all<K: Key>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<sync::Next>(),
        Contender::of::<Concrete>(),
        Contender::of::<OfStreams>(),
        Contender::of::<Boxed>(),
    ]
}

/// A source that is always ready, and has nothing to close.
pub(crate) struct Ready<I>(pub(crate) I);

impl<I: Iterator + Unpin> Source for Ready<I> {
    type Item = I::Item;
    type Error = Infallible;

    #[inline]
    fn poll_next(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<I::Item, Infallible>>> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

/// Polls until it is ready, without an executor. A merge of ready sources is pending only to yield.
#[inline]
pub(crate) fn wait<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(ready) = poll(&mut cx) {
            return ready;
        }
    }
}

/// A stream, driven as an iterator.
struct Driven<S>(S);

impl<T, E: std::fmt::Debug, S: Stream<Item = Result<T, E>> + Unpin> Iterator for Driven<S> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match wait(|cx| Pin::new(&mut self.0).poll_next(cx))? {
            Ok(item) => Some(item),
            Err(error) => panic!("a source that cannot fail has failed: {error:?}"),
        }
    }
}

struct Concrete;

impl Merger for Concrete {
    const NAME: &'static str = "async_concrete";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        Driven(ProxyResponseLoserTree::new(sources(runs).map(Ready)))
    }
}

struct OfStreams;

impl Merger for OfStreams {
    const NAME: &'static str = "async_from_stream";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        let streams = sources(runs).map(|source| stream::iter(source.map(Ok::<_, Infallible>)));
        Driven(ProxyResponseLoserTree::new(streams.map(from_stream)))
    }
}

struct Boxed;

impl Merger for Boxed {
    const NAME: &'static str = "async_boxed";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        Driven(ProxyResponseLoserTree::new(sources(runs).map(|source| Ready(source).boxed())))
    }
}
