use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::counters::Counters;
use super::source::{PollClose, PollNext, Source};

/// P12: how many empty blocks one poll takes at most. Enough that the cost of being scheduled again is small beside it.
const POLL_BUDGET: usize = 32;

/// A source whose items are blocks of sorted items: what is read from a disk or a network comes so.
///
/// Any [`Source`] of a collection is one, and the contract of a source holds for it, with blocks for items. So all that
/// makes a source makes one of blocks too: `from_stream(frames)` of a stream of `Result<Vec<T>, E>`, or
/// [`closing`](super::closing). [`flatten`](Self::flatten) makes a source of its items for a merge, which polls the
/// block source once for each block, and otherwise takes items out of the block at hand.
///
/// # What a block source must do besides
///
/// - **Order.** Items are in the order of the merge within a block and from one block to the next: all blocks,
///   strung together, are one sorted series.
/// - **Blocks.** They may be of any size, and of different ones. An empty block is neither an end nor an error. It costs a
///   poll.
///
/// # What a block source may rely on
///
/// It is polled for a block at first, and then when the last item of the block before is yielded. By then that block has been
/// dropped, so a source that lends its blocks out of one buffer can use the buffer again. Nothing is read ahead but the
/// items of the block at hand: a source that is to fetch the next block while this one is merged does so by itself.
///
/// # Complexity
///
/// What a call through `dyn` costs is paid once for each block if the block source is what is boxed,
/// `source.boxed().flatten()`, and for each item in `source.flatten().boxed()`.
///
/// # Examples
///
/// ```
/// use futures::{TryStreamExt, stream};
/// use losertree::{BlockSource, ProxyResponseLoserTree, from_stream};
///
/// # futures::executor::block_on(async {
/// let store = |frames: Vec<Vec<u64>>| {
///     from_stream(stream::iter(frames.into_iter().map(Ok::<_, std::io::Error>))).flatten()
/// };
/// let frames = [vec![vec![1, 4], vec![], vec![6]], vec![vec![2, 3, 5]]];
/// let merge = ProxyResponseLoserTree::new(frames.map(store));
/// assert_eq!(merge.try_collect::<Vec<_>>().await?, [1, 2, 3, 4, 5, 6]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub trait BlockSource: Source<Item: IntoIterator> {
    /// Makes a source of the items.
    fn flatten(self) -> Flatten<Self>
    where
        Self: Sized,
    {
        Flatten::new(self)
    }
}

impl<S: Source<Item: IntoIterator> + ?Sized> BlockSource for S {}

/// The items of a block.
type Items<S> = <<S as Source>::Item as IntoIterator>::IntoIter;

pin_project! {
    /// The items of a [`BlockSource`] as a source. Made by [`BlockSource::flatten`].
    ///
    /// Its errors, name and counters are those of the block source. An error comes after the items of all blocks
    /// before it.
    ///
    /// # Complexity
    ///
    /// One poll takes at most 32 empty blocks in a row. After that it yields to the executor and has itself woken.
    ///
    /// # Closing
    ///
    /// Drops what is left of the block at hand, then closes the block source.
    pub struct Flatten<S>
    where
        S: BlockSource,
    {
        // Dropped ahead of the source, which may have lent it.
        block: Option<Items<S>>,
        #[pin]
        source: S,
    }
}

impl<S: BlockSource> Flatten<S> {
    pub(super) const fn new(source: S) -> Self {
        Self { block: None, source }
    }

    /// Returns what is left of the block at hand, if there is one, and the block source.
    #[must_use]
    pub fn into_parts(self) -> (Option<<S::Item as IntoIterator>::IntoIter>, S) {
        (self.block, self.source)
    }

    /// Polls for a block that is not empty, and takes its first item.
    // Apart from the way of an item within a block, which is inlined into the merge.
    #[inline(never)]
    fn poll_block(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let mut this = self.project();
        for _ in 0..POLL_BUDGET {
            // Given back before the next one is asked for: there may be room for only one.
            *this.block = None;
            match ready!(this.source.as_mut().poll_next(cx)) {
                Some(Ok(block)) => {
                    if let Some(item) = this.block.insert(block.into_iter()).next() {
                        return Poll::Ready(Some(Ok(item)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: BlockSource> Source for Flatten<S> {
    type Item = <Items<S> as Iterator>::Item;
    type Error = S::Error;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        match self.as_mut().project().block.as_mut().and_then(Iterator::next) {
            Some(item) => Poll::Ready(Some(Ok(item))),
            None => self.poll_block(cx),
        }
    }

    fn poll_progress(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.project().source.poll_progress(cx);
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        let this = self.project();
        *this.block = None;
        this.source.poll_close(cx)
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

impl<S: BlockSource + fmt::Debug> fmt::Debug for Flatten<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flatten").field("source", &self.source).finish_non_exhaustive()
    }
}
