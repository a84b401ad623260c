use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;

use super::batches::{Batches, batches};
use super::deduplicator::{Deduplicate, ResponseDeduplicator};
use super::limit::{ResponseLimit, limit};
use super::response::Response;
use super::response_set::{ResponseSet, ResponseSetOptions};
use super::store::Store;
use crate::error::{CloseError, SourceError};
use crate::resource::LeakLedger;
use crate::stream::{
    Closable, Close, Counters, MergeSource, MergeStats, Nested, ProxyResponseLoserTree, Source,
};

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
    pub(super) fn new(answer: Limited<S>, batch: Option<(usize, usize)>, is_ready_only: bool) -> Self {
        let answer = match batch {
            Some((max_series, max_bytes)) => {
                let batches = batches(answer, max_series, max_bytes);
                Answer::InBatches(if is_ready_only { batches.ready_only() } else { batches })
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
    /// [`received`](super::ResponseStats::received) has its frames, series, chunks and samples.
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

    fn counters(&self) -> Counters {
        self.merge().counters()
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

/// Sets up a [`ProxyQuery`]. Made by [`ProxyQuery::builder`].
///
/// | option | default |
/// |---|---|
/// | [`response_sets`](Self::response_sets) | [the default ones](ResponseSetOptions) |
/// | [`partial_response`](Self::partial_response) | [`PartialResponseStrategy::Abort`] |
/// | [`limit`](Self::limit) | none |
/// | [`batches`](Self::batches) | none: single series |
/// | [`ready_batches`](Self::ready_batches) | a batch is yielded when it is full, or nothing more comes |
/// | [`times`](Self::times) | not taken |
/// | [`ledger`](Self::ledger) | none kept |
/// | [`name`](Self::name) | none |
#[must_use = "a builder does nothing until `build` is called"]
pub struct ProxyQueryBuilder<S: Source> {
    stores: Vec<Store<S>>,
    options: ResponseSetOptions,
    strategy: PartialResponseStrategy,
    limit: u64,
    batch: Option<(usize, usize)>,
    is_ready_only: bool,
    is_timed: bool,
    ledger: LeakLedger,
    name: Option<Arc<str>>,
}

impl<S: Source> Default for ProxyQueryBuilder<S> {
    fn default() -> Self {
        Self {
            stores: Vec::new(),
            options: ResponseSetOptions::new(),
            strategy: PartialResponseStrategy::Abort,
            limit: u64::MAX,
            batch: None,
            is_ready_only: false,
            is_timed: false,
            ledger: LeakLedger::off(),
            name: None,
        }
    }
}

impl<S> ProxyQueryBuilder<S>
where
    S: Source<Item = Response> + Unpin + Send + 'static,
    S::Error: Error + Send + 'static,
{
    /// Adds a store.
    pub fn store(mut self, store: Store<S>) -> Self {
        self.stores.push(store);
        self
    }

    /// Adds stores, in order.
    pub fn stores(mut self, stores: impl IntoIterator<Item = Store<S>>) -> Self {
        self.stores.extend(stores);
        self
    }

    /// Sets how the answers of the stores are received, and what is done to their series; save of stores that have
    /// [options of their own](Store::with_options).
    ///
    /// # Runtime
    ///
    /// Lazy sets are received on the tokio runtime that is current where the query is polled, if there is one and the options name no
    /// other. That runtime has to run. A current-thread runtime that is only entered, by `Runtime::enter`, while another executor
    /// polls the query, runs neither tasks nor clocks, and the query waits for ever. Poll the query on the runtime, by its `block_on`
    /// or in a task, or do not enter it: without one, sets need no task.
    pub fn response_sets(mut self, options: ResponseSetOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets what happens when a store fails.
    pub const fn partial_response(mut self, strategy: PartialResponseStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Ends the query after this many series; duplicates count once, warnings and hints do not. With 0, no store is
    /// polled but to be closed.
    pub const fn limit(mut self, series: u64) -> Self {
        self.limit = series;
        self
    }

    /// Has series yielded in [`batches`](super::batches()) of at most so many series and bytes.
    pub const fn batches(mut self, max_series: usize, max_bytes: usize) -> Self {
        self.batch = Some((max_series, max_bytes));
        self
    }

    /// Has a batch yielded that is not full rather than wait: see [`Batches::ready_only`](super::Batches::ready_only).
    pub const fn ready_batches(mut self) -> Self {
        self.is_ready_only = true;
        self
    }

    /// Has the [statistics](ProxyQuery::stats) of each store tell its times, as [those of a merge](crate::stream::Builder::times) do.
    /// Default: they are not taken, and the query reads no clock but for timeouts.
    pub const fn times(mut self) -> Self {
        self.is_timed = true;
        self
    }

    /// Records every store in a ledger, from [`build`](Self::build) until it is released.
    pub fn ledger(mut self, ledger: &LeakLedger) -> Self {
        self.ledger = ledger.clone();
        self
    }

    /// Names the query in metrics and spans: [what kind it is](crate::stream::Builder::name), not which one.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Creates the query. Nothing happens before it is polled.
    #[track_caller]
    pub fn build(self) -> ProxyQuery<S> {
        let Self { stores, options, strategy, .. } = self;
        let required: Vec<_> = stores
            .iter()
            .map(|store| store.is_required || strategy == PartialResponseStrategy::Abort)
            .collect();
        let sets = stores.into_iter().zip(&required).map(|(mut store, is_required)| {
            let own = store.options.take().map_or_else(|| options.clone(), |options| *options);
            ResponseSet::new(store, &if *is_required { own.failing_on_warnings() } else { own })
        });
        let mut merge = ProxyResponseLoserTree::builder().sources(sets).ledger(&self.ledger);
        if let Some(name) = self.name {
            merge = merge.name(name);
        }
        if self.is_timed {
            merge = merge.times();
        }
        merge = merge.attribute(Response::from_source).unyielded(Response::into_failure);
        if strategy == PartialResponseStrategy::Warn {
            merge = merge.warn_with(Response::from);
            merge = merge.required(move |store| required.get(store.index()).copied().unwrap_or_default());
        }
        ProxyQuery::new(limit(merge.build().deduplicate(), self.limit), self.batch, self.is_ready_only)
    }
}

impl<S: Source> fmt::Debug for ProxyQueryBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyQueryBuilder")
            .field("stores", &self.stores)
            .field("response_sets", &self.options)
            .field("partial_response", &self.strategy)
            .field("limit", &self.limit)
            .field("batches", &self.batch)
            .field("ready_batches", &self.is_ready_only)
            .field("times", &self.is_timed)
            .field("ledger", &self.ledger)
            .field("name", &self.name)
            .finish()
    }
}

/// What a query does when a store fails: when it does not open or close, gives an error, is late, is out of order or panics. A warning
/// that something is missing in its answer counts too, unless [warnings are passed on](super::ResponseSetOptions::warnings).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PartialResponseStrategy {
    /// The first error or warning of a store ends the query, so that an answer is complete or there is none.
    #[default]
    Abort,
    /// The error becomes a warning that names the store, and the others go on, but for stores that are
    /// [required](super::Store::required).
    Warn,
}
