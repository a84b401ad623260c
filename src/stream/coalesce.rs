use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;

use super::children::POLL_BUDGET;
use super::close::{Closable, Close};
use super::counters::Counters;
use super::merge_source::{MergeSource, Nested};
use super::proxy_response_loser_tree::ProxyResponseLoserTree;
use super::source::Source;
use super::stats::MergeStats;
use crate::error::{CloseError, SourceError};
use crate::key::Order;
use crate::merge::{Combine, KeepFirst, KeepFirstBy, Rule};

/// An async merge in which runs of items become one item each. A [`Stream`] of `Result`s, as the merge.
///
/// Made by [`dedup`](ProxyResponseLoserTree::dedup), [`dedup_by`](ProxyResponseLoserTree::dedup_by) and
/// [`coalesce`](ProxyResponseLoserTree::coalesce). For [`Response`](crate::Response)s there is
/// [`deduplicate`](crate::response::Deduplicate::deduplicate), which merges their chunks.
///
/// # Ordering
///
/// That of the merge. What takes [no part in the order](crate::SortKey::is_ordered), and warnings of the merge's own, are passed
/// on at once, and so overtake the item that is held.
///
/// # Complexity
///
/// That of the merge, and one comparison for each item more, unless the tournament knows: it does where keys are
/// [strings of bytes](crate::SortKey::PARTS) and sources are many, but of an item that follows one of its own source.
///
/// One item is held until another one or the end comes; nothing is allocated. A [limit](super::Builder::limit) counts items of
/// sources, not runs. One poll takes at most 128 items without yielding one; then it has itself woken and is pending.
///
/// # Errors
///
/// Those of the merge. The run at hand may lack what would have come later, and is dropped; the error comes in its place.
///
/// # Panics
///
/// Where the merge panics, upon which what is held stays, or where the rule does, upon which the item that was to be taken into
/// the run is lost. It can be polled and closed then.
///
/// # Cancel safety
///
/// Everything is kept from one poll to the next.
///
/// # Closing
///
/// As for the merge: each source is closed when it ends, all that are left by [`close`](Self::close), and after the end each has
/// been. What is held is dropped by `close` before any source is asked to close. At the end of the data it is yielded as soon as
/// only closing is left, and is not kept until the sources are closed.
#[must_use = "streams do nothing unless polled"]
pub struct Coalesce<S: Source, O, R> {
    held: Option<S::Item>,
    /// The number of the merge's item that was taken last and is part of what is held.
    last: Option<u64>,
    merge: ProxyResponseLoserTree<S, O>,
    rule: R,
}

impl<S: Source + Unpin, O: Order<S::Item>> ProxyResponseLoserTree<S, O> {
    /// Keeps the first of each run of equal items: that of the source that has joined first.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use losertree::{ProxyResponseLoserTree, from_iter};
    ///
    /// # futures::executor::block_on(async {
    /// let merge = ProxyResponseLoserTree::new([vec![1, 1, 2], vec![1, 3]].map(from_iter));
    /// assert_eq!(merge.dedup().try_collect::<Vec<_>>().await?, [1, 2, 3]);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn dedup(self) -> Coalesce<S, O, KeepFirst> {
        Coalesce::new(self, KeepFirst)
    }

    /// Keeps the first of each run of items that are the same as it by `same`.
    pub fn dedup_by<F>(self, same: F) -> Coalesce<S, O, KeepFirstBy<F>>
    where
        F: FnMut(&S::Item, &S::Item) -> bool,
    {
        Coalesce::new(self, KeepFirstBy(same))
    }

    /// Combines each run of equal items into one: `combine` adds an item to the first of its run.
    ///
    /// It must not change what the first is ordered by, since the next item is compared with the result.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use losertree::key::ByKey;
    /// use losertree::{ProxyResponseLoserTree, from_iter};
    ///
    /// # futures::executor::block_on(async {
    /// let merge = ProxyResponseLoserTree::builder()
    ///     .sources([from_iter(vec![("a", 1), ("b", 2)]), from_iter(vec![("a", 10)])])
    ///     .order(ByKey::new(|pair: &(&'static str, i32)| pair.0))
    ///     .build();
    /// let mut sums = merge.coalesce(|sum, next| sum.1 += next.1);
    /// assert_eq!(sums.try_next().await?, Some(("a", 11)));
    /// sums.close().await?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn coalesce<F>(self, combine: F) -> Coalesce<S, O, Combine<F>>
    where
        F: FnMut(&mut S::Item, S::Item),
    {
        Coalesce::new(self, Combine(combine))
    }
}

impl<S: Source, O, R> Coalesce<S, O, R> {
    const fn new(merge: ProxyResponseLoserTree<S, O>, rule: R) -> Self {
        Self { held: None, last: None, merge, rule }
    }

    /// Returns the merge.
    pub const fn get_ref(&self) -> &ProxyResponseLoserTree<S, O> {
        &self.merge
    }

    /// Returns the merge, for example to [push](ProxyResponseLoserTree::push) a source. Items that are taken out of it are not seen
    /// from here.
    pub const fn get_mut(&mut self) -> &mut ProxyResponseLoserTree<S, O> {
        // It may be another one afterwards.
        self.last = None;
        &mut self.merge
    }

    /// Returns the merge, and drops what is held.
    pub fn into_inner(self) -> ProxyResponseLoserTree<S, O> {
        self.merge
    }

    /// Returns what the merge and each of its sources have done so far. Items are those before they are combined.
    #[must_use]
    pub fn stats(&self) -> MergeStats {
        self.merge.stats()
    }

    /// Makes a source of it, for a merge of merges: closing goes through all levels and is awaited, and errors come up with
    /// their [path](SourceError::path).
    pub const fn into_source(self) -> MergeSource<Self> {
        MergeSource::new(self)
    }
}

impl<S, O, R> Coalesce<S, O, R>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    /// Drops what is held, closes all sources that are left, concurrently, and waits until each is closed.
    ///
    /// # Errors, panics, cancel safety
    ///
    /// As for [`ProxyResponseLoserTree::close`].
    pub const fn close(&mut self) -> Close<'_, Self> {
        Close::of(self)
    }

    /// Returns whether nothing more is yielded but what goes wrong in closing.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.held.is_none() && self.merge.is_closing()
    }
}

impl<S, O, R> Coalesce<S, O, R>
where
    S: Source + Unpin,
    O: Order<S::Item>,
    R: Rule<S::Item, O>,
{
    /// Takes an item of the tournament, with its number. Returns the run before, if this is of another one.
    fn take(&mut self, item: S::Item, number: u64, is_repeat: Option<bool>) -> Option<S::Item> {
        let is_equal = is_repeat.filter(|_| self.last.is_some_and(|last| last + 1 == number));
        // Until it is part of what is held, which a panic may prevent.
        self.last = None;
        let run = match &mut self.held {
            Some(held) if self.rule.is_same(self.merge.order_mut(), is_equal, held, &item) => {
                self.rule.absorb(held, item);
                None
            }
            held => held.replace(item),
        };
        self.last = Some(number);
        run
    }

    /// Drops what is held.
    fn clear(&mut self) {
        self.last = None;
        self.held = None;
    }
}

// Nothing in here is ever pinned.
impl<S: Source, O, R> Unpin for Coalesce<S, O, R> {}

impl<S, O, R> Stream for Coalesce<S, O, R>
where
    S: Source + Unpin,
    O: Order<S::Item>,
    R: Rule<S::Item, O>,
{
    type Item = Result<S::Item, SourceError<S::Error>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        for _ in 0..POLL_BUDGET {
            match Pin::new(&mut this.merge).poll_next(cx) {
                Poll::Ready(Some(Ok(item))) => {
                    // What is no item of the tournament is not held up.
                    let Some((number, is_repeat)) = this.merge.last_item() else {
                        return Poll::Ready(Some(Ok(item)));
                    };
                    if let Some(run) = this.take(item, number, is_repeat) {
                        return Poll::Ready(Some(Ok(run)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    this.clear();
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => return Poll::Ready(this.held.take().map(Ok)),
                // What a source waits for to be closed may be just this item.
                Poll::Pending if this.held.is_some() && this.merge.is_closing() => {
                    return Poll::Ready(this.held.take().map(Ok));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Nothing is known but by those who ask: see [`is_closing`](super::is_closing).
    fn size_hint(&self) -> (usize, Option<usize>) {
        let held = usize::from(self.held.is_some());
        (held, self.merge.size_hint().1.map(|high| high + held))
    }
}

impl<S, O, R> FusedStream for Coalesce<S, O, R>
where
    S: Source + Unpin,
    O: Order<S::Item>,
    R: Rule<S::Item, O>,
{
    fn is_terminated(&self) -> bool {
        self.held.is_none() && self.merge.is_terminated()
    }
}

impl<S, O, R> Closable for Coalesce<S, O, R>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Error = S::Error;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        self.last = None;
        drop(self.held.take());
        self.merge.poll_close_all(cx)
    }
}

impl<S, O, R> Nested for Coalesce<S, O, R>
where
    S: Source + Unpin,
    O: Order<S::Item>,
    R: Rule<S::Item, O>,
{
    type Yielded = S::Item;

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.merge.poll_progress(cx);
    }

    fn counters(&self) -> Counters {
        self.merge.counters()
    }

    fn is_partial(&self) -> bool {
        self.merge.is_partial()
    }
}

/// Shows the merge, without asking items to be printed.
impl<S: Source, O, R> fmt::Debug for Coalesce<S, O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coalesce")
            .field("merge", &self.merge)
            .field("is_holding", &self.held.is_some())
            .finish_non_exhaustive()
    }
}
