use super::{Flatten, Source};

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
