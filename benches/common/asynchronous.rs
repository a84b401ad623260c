//! Merges of async sources that are always ready.

use losertree::stream::{PollClose, PollNext};
use std::cmp::Reverse;
use std::convert::Infallible;
use std::fmt::Debug;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures::{Stream, StreamExt, stream};
use losertree::{BatchMerge, BlockSource, ProxyResponseLoserTree, Source, from_stream};

use super::contender::{Contender, Merged, Merger, Role, Visit, sources};
use super::heaps::Heap;
use super::sync::AHEAD;
use super::workload::Key;

/// All of them.
pub(crate) fn all<K: Key>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<Naive>(),
        Contender::of::<Kmerge>(),
        Contender::of::<BoxedKmerge>(),
        Contender::of::<Concrete>(),
        Contender::of::<OfStreams>(),
        Contender::of::<Boxed>(),
    ]
}

/// Merges of sources that give blocks or of which blocks are taken, and what they are compared with.
pub(crate) fn in_blocks<K: Key>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<Naive>(),
        Contender::of::<Kmerge>(),
        Contender::of::<Concrete>(),
        Contender::of::<Boxed>(),
        Contender::of::<NextBlock>(),
        Contender::of::<Blocks>(),
        Contender::of::<BoxedBlocks>(),
        Contender::of::<BlocksNextBlock>(),
    ]
}

/// Merges of sources that give batches of so many rows, item by item and by windows.
pub(crate) fn batches<K: Key, const ROWS: usize>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<Naive>(),
        Contender::of::<Kmerge>(),
        Contender::of::<Concrete>(),
        Contender::of::<NextBlock>(),
        Contender::of::<Windows<ROWS>>(),
    ]
}

/// A source that is always ready, and has nothing to close.
pub(crate) struct Ready<I>(pub(crate) I);

impl<I: Iterator + Unpin> Source for Ready<I> {
    type Item = I::Item;
    type Error = Infallible;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
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

impl<T, E: Debug, S: Stream<Item = Result<T, E>> + Unpin> Iterator for Driven<S> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match wait(|cx| Pin::new(&mut self.0).poll_next(cx))? {
            Ok(item) => Some(item),
            Err(error) => panic!("a source that cannot fail has failed: {error:?}"),
        }
    }
}

/// Declares a merge by how its stream is opened.
macro_rules! contender {
    ($type:ident, $name:literal, $role:expr, $runs:ident => $open:expr) => {
        struct $type;

        impl<K: Key> Merger<K> for $type {
            const NAME: &'static str = $name;
            const ROLE: Role = $role;

            #[inline]
            fn open($runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
                Driven($open)
            }

            // Not by `open`: what makes an iterator of a stream would move each item once more.
            #[inline]
            fn each<V: Visit<K>>($runs: &[Vec<K>], visit: &mut V) {
                let mut stream = $open;
                loop {
                    match wait(|cx| Pin::new(&mut stream).poll_next(cx)) {
                        Some(Ok(item)) => visit.visit(item),
                        Some(Err(_)) => unreachable!("no source can fail"),
                        None => return,
                    }
                }
            }
        }
    };
}

contender!(Naive, "async_naive_heap", Role::Peer, runs => NaiveStream::new(streams(runs)));
contender!(Kmerge, "stream_kmerge", Role::Peer, runs => kmerge(streams(runs)));
contender!(BoxedKmerge, "stream_kmerge_boxed", Role::Peer, runs => kmerge(streams(runs).map(StreamExt::boxed)));
contender!(Concrete, "async_concrete", Role::Ours, runs => {
    ProxyResponseLoserTree::new(sources(runs).map(Ready))
});
contender!(OfStreams, "async_from_stream", Role::Ours, runs => {
    ProxyResponseLoserTree::new(streams(runs).map(from_stream))
});
contender!(Boxed, "async_boxed", Role::Ours, runs => {
    ProxyResponseLoserTree::new(sources(runs).map(|source| Ready(source).boxed()))
});

contender!(Blocks, "async_blocks", Role::Ours, runs => {
    ProxyResponseLoserTree::new(blocks(runs).map(|blocks| Ready(blocks).flatten()))
});
contender!(BoxedBlocks, "async_blocks_boxed", Role::Ours, runs => {
    ProxyResponseLoserTree::new(blocks(runs).map(|blocks| Ready(blocks).boxed().flatten()))
});

/// The items of each source in blocks, each of which is allocated.
fn blocks<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = impl Iterator<Item = Vec<K>> + Send + Unpin> {
    runs.iter().map(|run| run.chunks(AHEAD).map(<[K]>::to_vec))
}

/// Declares a merge of which blocks are taken.
macro_rules! taken_in_blocks {
    ($type:ident, $name:literal, $runs:ident => $open:expr) => {
        struct $type;

        impl<K: Key> Merger<K> for $type {
            const NAME: &'static str = $name;
            const ROLE: Role = Role::Ours;

            fn open($runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
                Driven($open)
            }

            #[inline]
            fn each<V: Visit<K>>($runs: &[Vec<K>], visit: &mut V) {
                let mut stream = $open;
                let mut block = Vec::with_capacity(AHEAD);
                while let Ok(1..) = wait(|cx| stream.poll_next_ready(cx, &mut block, AHEAD)) {
                    for item in block.drain(..) {
                        visit.visit(item);
                    }
                }
            }
        }
    };
}

taken_in_blocks!(NextBlock, "async_next_block", runs => ProxyResponseLoserTree::new(sources(runs).map(Ready)));
taken_in_blocks!(BlocksNextBlock, "async_blocks_next_block", runs => {
    ProxyResponseLoserTree::new(blocks(runs).map(|blocks| Ready(blocks).flatten()))
});

/// The async merge of batches of so many rows.
struct Windows<const ROWS: usize>;

impl<K: Key, const ROWS: usize> Merger<K> for Windows<ROWS> {
    const NAME: &'static str = "async window";
    const ROLE: Role = Role::Ours;

    fn open(runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
        let mut merge = BatchMerge::new(runs.iter().map(|run| Ready(run.chunks(ROWS))));
        let windows = std::iter::from_fn(move || wait(|cx| merge.poll_next_window(cx)));
        windows.flat_map(|window| {
            let window = window.ok().and_then(losertree::stream::Merged::into_window);
            window.map(|window| window.items().cloned().collect::<Vec<_>>()).unwrap_or_default()
        })
    }

    #[inline]
    fn each<V: Visit<K>>(runs: &[Vec<K>], visit: &mut V) {
        let mut merge = BatchMerge::new(runs.iter().map(|run| Ready(run.chunks(ROWS))));
        while let Some(window) = wait(|cx| merge.poll_next_window(cx)) {
            let window = window.ok().and_then(losertree::stream::Merged::into_window);
            let Some(window) = window else { continue };
            for item in window.items() {
                visit.visit(item.clone());
            }
        }
    }
}

type Failing<K> = Result<K, Infallible>;

fn streams<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = impl Stream<Item = Failing<K>> + Unpin + Send> {
    sources(runs).map(|source| stream::iter(source.map(Ok)))
}

/// Merges by `stream-kmerge`, whose heap has the greatest on top.
fn kmerge<K: Key>(
    streams: impl Iterator<Item = impl Stream<Item = Failing<K>> + Unpin>,
) -> impl Stream<Item = Failing<K>> + Unpin {
    stream_kmerge::kmerge_by(streams, |a: &Failing<K>, b: &Failing<K>| b.cmp(a))
}

/// The naive heap over streams: what one writes down first.
struct NaiveStream<S: Stream> {
    streams: Vec<S>,
    heap: Heap<S::Item>,
    /// The streams from which a head is awaited.
    awaited: Vec<usize>,
}

impl<S: Stream<Item: Ord> + Unpin> NaiveStream<S> {
    fn new(streams: impl Iterator<Item = S>) -> Self {
        let streams: Vec<_> = streams.collect();
        Self { heap: Heap::with_capacity(streams.len()), awaited: (0..streams.len()).collect(), streams }
    }
}

impl<S: Stream<Item: Ord> + Unpin> Unpin for NaiveStream<S> {}

impl<S: Stream<Item: Ord> + Unpin> Stream for NaiveStream<S> {
    type Item = S::Item;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = &mut *self;
        while let Some(&index) = this.awaited.last() {
            match Pin::new(&mut this.streams[index]).poll_next(cx) {
                Poll::Ready(Some(head)) => this.heap.push(Reverse((head, index))),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
            this.awaited.pop();
        }
        let Some(Reverse((item, index))) = this.heap.pop() else { return Poll::Ready(None) };
        this.awaited.push(index);
        Poll::Ready(Some(item))
    }
}
