use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;

use super::batches::{Batches, batches};
use super::proxy_query_builder::ProxyQueryBuilder;
use super::{ResponseDeduplicator, ResponseLimit, ResponseSet, Store};
use crate::error::{CloseError, SourceError};
use crate::stream::{Closable, Close, MergeSource, MergeStats, Nested, Received};
use crate::{ProxyResponseLoserTree, Response, Source};

/// The merge inside of a query.
type Merge<S> = ProxyResponseLoserTree<ResponseSet<S>>;

/// A query to many stores: one ordered, deduplicated, limited stream of their series, which closes everything.
///
/// ```text
///  store ──► response set ──┐
///  store ──► response set ──┼──► merge ──► deduplicate ──► limit ──► batches
///  store ──► response set ──┘
/// ```
///
/// A [`Stream`] of `Result`s. What you bring is the [stores](super::Store), that is the transport; the rest is
/// [options](ProxyQueryBuilder).
///
/// # Ordering
///
/// Series by their labels, each once, with the chunks that any store has of it. Warnings and hints come as soon as they
/// are met, ahead of series that wait for other stores.
///
/// # Complexity
///
/// That of the merge, and at most one comparison of labels for each series to find duplicates. The memory is that of
/// the [sets](super::ResponseSetOptions), one series of each store, one that is held back, and one batch.
///
/// # Errors
///
/// With [`PartialResponseStrategy::Abort`](super::PartialResponseStrategy::Abort) the first error of a store ends the
/// query: it is yielded, all stores are closed, then comes `None`. A warning that a store sends is such an error, for something is
/// missing in its answer, unless [the options say otherwise](super::ResponseSetOptions::warnings). With
/// [`Warn`](super::PartialResponseStrategy::Warn) an error is yielded as a [`Warning`](crate::Warning) that names the store,
/// the others go on, and [`stats`](Self::stats) say that the answer is partial; but for stores that are
/// [required](super::Store::required). A store that panics has failed, with
/// [`Cause::Panicked`](crate::error::Cause::Panicked), however it is received. Where a store is a query itself, the path of an
/// error or a warning leads to where it happened.
///
/// # Cancel safety
///
/// Dropping a future that waits for the next response loses nothing.
///
/// # Closing
///
/// The stream ends, with `None`, only when every store is closed; the last series does not wait for that.
/// [`close`](Self::close) ends it early. Dropping it
/// drops everything, synchronously; its background tasks end by themselves soon after. Where nothing can be awaited, as in an HTTP body
/// that is dropped when its client disconnects, put it into a [`CloseOnDrop`](crate::stream::CloseOnDrop): dropped early, it is closed in
/// the background, within a time limit.
///
/// # Examples
///
/// ```
/// use futures::{TryStreamExt, stream};
/// use losertree::response::{PartialResponseStrategy, ProxyQuery, Store};
/// use losertree::{Chunk, Labels, Response, Series, from_stream};
/// # use std::io;
///
/// # futures::executor::block_on(async {
/// let up = |job| Labels::from_pairs([("__name__", "up"), ("job", job)]).unwrap();
/// let store = |name: &'static str, job: &'static str| {
///     let series = Series::new(up(job), vec![Chunk::new(0, 59_999, "…")]);
///     Store::new(name, async { Ok(from_stream(stream::iter([Ok::<_, io::Error>(Response::from(series))]))) })
/// };
/// let broken = Store::new("c", async { Err(io::ErrorKind::ConnectionRefused.into()) });
///
/// let mut query = ProxyQuery::builder()
///     .stores([store("a", "db"), store("b", "api"), broken])
///     .partial_response(PartialResponseStrategy::Warn)
///     .limit(1000)
///     .build();
/// let answer: Vec<_> = query.by_ref().try_collect().await?;
/// assert!(matches!(&answer[0], Response::Warning(warning) if warning.origin().name().as_deref() == Some("c")));
/// assert_eq!(answer[1].as_series().unwrap().labels, up("api"));
/// assert_eq!(answer[2].as_series().unwrap().labels, up("db"));
/// assert!(query.stats().is_partial);
/// # use futures::StreamExt;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Sources
///
/// `ProxyStore.Series` in `pkg/store/proxy.go` of thanos-io/thanos.
#[must_use = "streams do nothing unless polled"]
pub struct ProxyQuery<S: Source<Item = Response> + Unpin> {
    answer: Answer<S>,
    has_ended: bool,
}

/// The stages of a query, without batches.
type Limited<S> = ResponseLimit<ResponseDeduplicator<Merge<S>>>;

enum Answer<S: Source<Item = Response> + Unpin> {
    Singly(Limited<S>),
    InBatches(Batches<Limited<S>>),
}

// Nothing in here is ever pinned.
impl<S: Source<Item = Response> + Unpin> Unpin for ProxyQuery<S> {}

impl<S> ProxyQuery<S>
where
    S: Source<Item = Response> + Unpin + Send + 'static,
    S::Error: Error + Send + 'static,
{
    /// Returns a builder, to add stores and to set options.
    pub fn builder() -> ProxyQueryBuilder<S> {
        ProxyQueryBuilder::default()
    }
}

impl<S: Source<Item = Response> + Unpin> ProxyQuery<S> {
    pub(super) fn new(answer: Limited<S>, batch: Option<(usize, usize)>, is_prompt: bool) -> Self {
        let answer = match batch {
            Some((max_series, max_bytes)) => {
                let batches = batches(answer, max_series, max_bytes);
                Answer::InBatches(if is_prompt { batches.prompt() } else { batches })
            }
            None => Answer::Singly(answer),
        };
        Self { answer, has_ended: false }
    }

    /// Ends the query early: closes all stores that are left, concurrently, and waits until each is closed. Series that
    /// were not yielded are dropped before, so that their memory is given back.
    ///
    /// Closing twice is the same as closing once, and a query that was never polled can be closed.
    ///
    /// # Errors
    ///
    /// All errors: those of closing, and those that were met and not yielded. A warning behind the last batch is one of these, with
    /// [`Cause::Incomplete`](crate::error::Cause::Incomplete).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped half-way, the next call resumes. No store is closed twice.
    pub const fn close(&mut self) -> Close<'_, Self> {
        Close::of(self)
    }

    /// Attempts to close, as [`close`](Self::close) does.
    ///
    /// # Errors
    ///
    /// As for [`close`](Self::close).
    pub fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        match &mut self.answer {
            Answer::Singly(answer) => answer.poll_close_all(cx),
            Answer::InBatches(answer) => answer.poll_close_all(cx),
        }
    }

    pub(super) const fn merge_mut(&mut self) -> &mut Merge<S> {
        match &mut self.answer {
            Answer::Singly(answer) => answer,
            Answer::InBatches(answer) => answer.get_mut(),
        }
        .get_mut()
        .get_mut()
    }

    pub(super) const fn merge(&self) -> &Merge<S> {
        self.answer().get_ref().get_ref()
    }

    /// Returns what the merge and each store have done so far; a store's
    /// [`received`](crate::stream::SourceStats::received) has its frames, series, chunks and samples.
    ///
    /// # Complexity
    ///
    /// `O(K)` for K stores, with one allocation.
    #[must_use]
    pub fn stats(&self) -> MergeStats {
        self.merge().stats()
    }

    /// Returns how many series were merged into another one with the same labels, so far.
    #[must_use]
    pub const fn merged_series(&self) -> u64 {
        self.answer().get_ref().merged_series()
    }

    /// Returns how many chunks were dropped because another store had given them already, so far.
    #[must_use]
    pub const fn dropped_chunks(&self) -> u64 {
        self.answer().get_ref().dropped_chunks()
    }

    const fn answer(&self) -> &Limited<S> {
        match &self.answer {
            Answer::Singly(answer) => answer,
            Answer::InBatches(answer) => answer.get_ref(),
        }
    }
}

impl<S: Source<Item = Response> + Unpin> ProxyQuery<S> {
    /// Makes a source of the query, for a merge above: closing goes through all levels and is awaited. As a store of another
    /// query: [`into_store`](Self::into_store).
    pub const fn into_source(self) -> MergeSource<Self> {
        MergeSource::new(self)
    }

    /// Makes a store of the query, for a query above.
    ///
    /// Closing goes through all levels. A warning or an error of a store here is told above with its path, such as `eu/store-a`; and
    /// the query above is partial if this one is.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{TryStreamExt, stream};
    /// use losertree::response::{PartialResponseStrategy, ProxyQuery, Store};
    /// use losertree::{Labels, LeakLedger, Response, Series, from_stream};
    /// # use std::io;
    ///
    /// # futures::executor::block_on(async {
    /// let ledger = LeakLedger::sites();
    /// let store = |name: &'static str, job: &'static str| {
    ///     let up = Labels::from_pairs([("__name__", "up"), ("job", job)]).unwrap();
    ///     let answer = [Ok::<_, io::Error>(Response::from(Series::new(up, vec![])))];
    ///     Store::new(name, async { Ok(from_stream(stream::iter(answer))) })
    /// };
    /// let broken = Store::new("store-c", async { Err(io::ErrorKind::ConnectionRefused.into()) });
    /// let eu = ProxyQuery::builder()
    ///     .stores([store("store-a", "api"), broken])
    ///     .partial_response(PartialResponseStrategy::Warn)
    ///     .ledger(&ledger)
    ///     .build();
    /// let us = ProxyQuery::builder().store(store("store-b", "db")).ledger(&ledger).build();
    ///
    /// let mut query = ProxyQuery::builder()
    ///     .stores([eu.into_store("eu"), us.into_store("us")])
    ///     .partial_response(PartialResponseStrategy::Warn)
    ///     .ledger(&ledger)
    ///     .build();
    /// let answer: Vec<_> = query.by_ref().try_collect().await?;
    /// let Response::Warning(warning) = &answer[0] else { panic!("the warning comes first") };
    /// assert_eq!(warning.origin().name().as_deref(), Some("eu/store-c"));
    /// assert!(query.stats().is_partial);
    /// ledger.assert_all_closed();
    /// # use futures::StreamExt;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn into_store(self, name: impl Into<Arc<str>>) -> Store<MergeSource<Self>> {
        Store::opened(name, self.into_source())
    }
}

impl<S: Source<Item = Response> + Unpin> Closable for ProxyQuery<S> {
    type Error = S::Error;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        self.poll_close_all(cx)
    }
}

impl<S: Source<Item = Response> + Unpin> Nested for ProxyQuery<S> {
    type Yielded = Response;

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.merge_mut().poll_progress(cx);
    }

    fn received(&self) -> Option<Received> {
        self.merge().received()
    }

    fn is_partial(&self) -> bool {
        self.merge().is_partial()
    }
}

impl<S: Source<Item = Response> + Unpin> Stream for ProxyQuery<S> {
    type Item = Result<Response, SourceError<S::Error>>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = match &mut self.answer {
            Answer::Singly(answer) => Pin::new(answer).poll_next(cx),
            Answer::InBatches(answer) => Pin::new(answer).poll_next(cx),
        };
        self.has_ended = matches!(next, Poll::Ready(None));
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.answer {
            Answer::Singly(answer) => answer.size_hint(),
            Answer::InBatches(answer) => answer.size_hint(),
        }
    }
}

impl<S: Source<Item = Response> + Unpin> FusedStream for ProxyQuery<S> {
    fn is_terminated(&self) -> bool {
        self.has_ended
    }
}

impl<S: Source<Item = Response> + Unpin> fmt::Debug for ProxyQuery<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyQuery").field("merge", self.merge()).finish_non_exhaustive()
    }
}
