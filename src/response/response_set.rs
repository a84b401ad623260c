use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
#[cfg(feature = "tokio")]
use std::time::Duration;

use futures::future::BoxFuture;

use super::buffer::Capacity;
use super::client::SeriesClient;
use super::eager_response_set::EagerResponseSet;
use super::lazy_response_set::LazyResponseSet;
use super::lazy_response_set::Spawner;
use super::received::Received;
use super::response::Response;
use super::shard_matcher::ShardMatcher;
use super::sorted_client::{Rules, SortedClient};
use super::store::Store;
use super::timers::Timeouts;
use crate::resource::BytePool;
use crate::series::Chunk;
use crate::stream::{Counters, PollClose, PollNext, Source};

/// The answer of one store, as a source for a merge.
pub enum ResponseSet<S: Source> {
    /// Received while the merge goes on.
    Lazy(LazyResponseSet<S>),
    /// Received as a whole, then given.
    Eager(EagerResponseSet<S>),
}

impl<S> ResponseSet<S>
where
    S: Source<Item = Response> + Unpin + Send + 'static,
    S::Error: Send + 'static,
{
    /// Creates the response set of a store, with these options unless the store has [its own](Store::with_options).
    /// Nothing happens before it is polled.
    #[must_use = "a set does nothing unless it is merged"]
    pub fn new(store: Store<S>, options: &ResponseSetOptions) -> Self {
        let Store { name, state, shards, removes_labels, options: own, is_required: _ } = store;
        let options = own.as_deref().unwrap_or(options);
        let rules = options.rules_for(shards, removes_labels);
        let pool = rules.pool.clone();
        let client = SeriesClient::new(state, options);
        let client = SortedClient::new(client, rules);
        match options.retrieval {
            RetrievalStrategy::Lazy => {
                let spawner = options.spawner.clone();
                let is_timed = options.timeouts.is_any();
                Self::Lazy(LazyResponseSet::new(name, client, options.capacity, pool, spawner, is_timed))
            }
            RetrievalStrategy::Eager => Self::Eager(EagerResponseSet::new(name, client)),
        }
    }
}

impl<S: Source<Item = Response> + Unpin> ResponseSet<S> {
    /// Returns what was received so far.
    #[must_use]
    pub fn received(&self) -> Received {
        match self {
            Self::Lazy(set) => set.received(),
            Self::Eager(set) => set.received(),
        }
    }
}

macro_rules! either {
    ($set:expr, $method:ident($($argument:expr)?)) => {
        match $set {
            Self::Lazy(set) => Pin::new(set).$method($($argument)?),
            Self::Eager(set) => Pin::new(set).$method($($argument)?),
        }
    };
}

impl<S: Source<Item = Response> + Unpin> Source for ResponseSet<S> {
    type Item = Response;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        either!(&mut *self, poll_next(cx))
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        either!(&mut *self, poll_progress(cx));
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        either!(&mut *self, poll_close(cx))
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Lazy(set) => set.name(),
            Self::Eager(set) => set.name(),
        }
    }

    fn is_partial(&self) -> bool {
        match self {
            Self::Lazy(set) => set.is_partial(),
            Self::Eager(set) => set.is_partial(),
        }
    }

    fn counters(&self) -> Counters {
        self.received().into()
    }
}

impl<S: Source> fmt::Debug for ResponseSet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lazy(set) => set.fmt(f),
            Self::Eager(set) => set.fmt(f),
        }
    }
}

/// How response sets receive, and what they do to the series.
///
/// They are those of a [query](super::ProxyQueryBuilder::response_sets), or of [one store](super::Store::with_options) of
/// it that needs others.
///
/// | option | default |
/// |---|---|
/// | [`retrieval`](Self::retrieval) | [`RetrievalStrategy::Lazy`] |
/// | [`buffer_frames`](Self::buffer_frames) | 64 |
/// | [`buffer_bytes`](Self::buffer_bytes) | 4 MiB |
/// | [`frame_limit_bytes`](Self::frame_limit_bytes) | 256 MiB |
/// | [`sort_buffer_bytes`](Self::sort_buffer_bytes) | 256 MiB |
/// | [`pool`](Self::pool) | none |
/// | [`series_order`](Self::series_order) | [`SeriesOrder::Checked`], or `Sorted` where labels are removed |
/// | [`without_replica_labels`](Self::without_replica_labels) | none |
/// | [`shard`](Self::shard) | none: all series |
/// | [`count_samples`](Self::count_samples) | not counted |
/// | [`warnings`](Self::warnings) | [`StoreWarnings::Partial`]; with [`PartialResponseStrategy::Abort`](super::PartialResponseStrategy::Abort) they fail |
/// | [`spawn_with`](Self::spawn_with) | the tokio runtime that polls the set, if there is one |
/// | `open_timeout`, `frame_timeout`, `total_timeout`, `close_timeout` (feature `tokio`) | none |
///
/// # Timeouts
///
/// They take a clock, that of the tokio runtime where the store is waited for: of the task of a lazy set, of whoever polls
/// another. There is [an error](crate::error::Cause::NoTimer) where there is no runtime. One that is entered and not run has a clock that stands still, and
/// nothing ever times out: see [`ProxyQueryBuilder::response_sets`](super::ProxyQueryBuilder::response_sets).
///
/// # Examples
///
/// ```
/// use futures::stream;
/// use losertree::response::{ResponseSet, ResponseSetOptions, RetrievalStrategy, Store};
/// use losertree::{ProxyResponseLoserTree, Response, from_stream};
/// use std::convert::Infallible;
///
/// # futures::executor::block_on(async {
/// let options = ResponseSetOptions::new().retrieval(RetrievalStrategy::Eager).without_replica_labels(["replica"]);
/// let store = |name| {
///     Store::new(name, async { Ok(from_stream(stream::empty::<Result<Response, Infallible>>())) })
/// };
/// let mut merge = ProxyResponseLoserTree::new(["a", "b"].map(|name| ResponseSet::new(store(name), &options)));
/// merge.close().await?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
#[must_use]
pub struct ResponseSetOptions {
    pub(super) retrieval: RetrievalStrategy,
    pub(super) capacity: Capacity,
    pub(super) frame_limit_bytes: usize,
    pub(super) rules: Rules,
    /// `None` is the default, which depends on whether labels are removed.
    order: Option<SeriesOrder>,
    pub(super) timeouts: Timeouts,
    pub(super) samples: Option<fn(&Chunk) -> u64>,
    pub(super) warnings: StoreWarnings,
    pub(super) spawner: Spawner,
}

impl Default for ResponseSetOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseSetOptions {
    /// Creates the default options.
    pub fn new() -> Self {
        let rules = Rules {
            shard: None,
            removed_labels: Vec::new(),
            order: SeriesOrder::Checked,
            is_eager: false,
            sort_buffer_bytes: 256 << 20,
            pool: None,
        };
        Self {
            retrieval: RetrievalStrategy::Lazy,
            capacity: Capacity { frames: 64, bytes: 4 << 20 },
            frame_limit_bytes: 256 << 20,
            rules,
            order: None,
            timeouts: Timeouts::default(),
            samples: None,
            warnings: StoreWarnings::Partial,
            spawner: Spawner::default(),
        }
    }

    /// Sets how answers are received.
    pub const fn retrieval(mut self, strategy: RetrievalStrategy) -> Self {
        self.retrieval = strategy;
        self
    }

    /// Sets how many frames a lazy set buffers; 0 counts as 1.
    pub const fn buffer_frames(mut self, frames: usize) -> Self {
        self.capacity.frames = if frames == 0 { 1 } else { frames };
        self
    }

    /// Sets how many bytes a lazy set buffers, by [`Response::size_bytes`](crate::Response::size_bytes). A larger frame is buffered alone.
    pub const fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.capacity.bytes = bytes;
        self
    }

    /// Sets how many bytes one frame of a store has at most, by [`Response::size_bytes`](crate::Response::size_bytes). A larger one is
    /// [a failure](crate::error::Cause::FrameTooLarge) of the store, and is dropped. `usize::MAX` is no limit.
    ///
    /// A frame is let in though the buffer is smaller, and though a pool has no memory for it, so this bounds what each set takes
    /// beyond these. Set it to what your transport lets in, if that is less.
    pub const fn frame_limit_bytes(mut self, bytes: usize) -> Self {
        self.frame_limit_bytes = bytes;
        self
    }

    /// Sets how many bytes of series each set holds back at most, by [`Series::size_bytes`](crate::Series::size_bytes).
    /// More are [an error](crate::error::Cause::TooLarge).
    ///
    /// Held back is everything by eager sets, and by lazy ones what [the order](Self::series_order) asks for.
    pub const fn sort_buffer_bytes(mut self, bytes: usize) -> Self {
        self.rules.sort_buffer_bytes = bytes;
        self
    }

    /// Charges what is buffered or held back to the budget of a pool.
    ///
    /// A set never waits for memory in turn with others: a [lazy](super::LazyResponseSet#buffer) one goes on with frame
    /// after frame while there is none, uncharged, so that all sets with the pool hold no more than its budget and one frame
    /// each. For series that are held back it is [an error](crate::error::Cause::Pool) if there is none, or if others
    /// wait for some; only that counts as a [refusal](crate::resource::PoolSnapshot::refusals). They stay charged until they are used up, those of an eager set until it is closed or dropped.
    pub fn pool(mut self, pool: &BytePool) -> Self {
        self.rules.pool = Some(pool.clone());
        self
    }

    /// Sets what is done to have the series in order.
    pub const fn series_order(mut self, order: SeriesOrder) -> Self {
        self.order = Some(order);
        self
    }

    /// Removes the labels with these names from all series of stores that do not do it themselves.
    pub fn without_replica_labels<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.rules.removed_labels = names.into_iter().map(Into::into).collect();
        self
    }

    /// Leaves out the series of other shards, from stores that do not do it themselves. Series in batches are matched
    /// one by one, after labels were removed.
    pub fn shard(mut self, shard: ShardMatcher) -> Self {
        self.rules.shard = Some(shard);
        self
    }

    /// Counts samples, by a function that knows how many there are in a chunk.
    pub const fn count_samples(mut self, samples: fn(&Chunk) -> u64) -> Self {
        self.samples = Some(samples);
        self
    }

    /// Says what it means when a store sends a warning. In a query that aborts, and of a [required](super::Store::required) store,
    /// `Partial` becomes `Fail`.
    pub const fn warnings(mut self, warnings: StoreWarnings) -> Self {
        self.warnings = warnings;
        self
    }

    /// Sets how the task of a lazy set is spawned. Default: on the tokio runtime that is current where the set is polled, which has to
    /// run: see [`ProxyQueryBuilder::response_sets`](super::ProxyQueryBuilder::response_sets).
    ///
    /// A task that nobody polls receives nothing. With timeouts, [the set finds out](super::LazyResponseSet#background); without, it
    /// waits for ever.
    ///
    /// The future completes when the store is closed, or soon after the set was dropped. It does not panic: a store that does has
    /// failed, with [`Cause::Panicked`](crate::error::Cause::Panicked).
    pub fn spawn_with(mut self, spawn: impl Fn(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Self {
        self.spawner = Spawner(Some(Arc::new(spawn)));
        self
    }

    /// Sets how long opening a store may take.
    #[cfg(feature = "tokio")]
    pub const fn open_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.open = Some(timeout);
        self
    }

    /// Sets for how long a store may send nothing.
    ///
    /// Counted is the time in which the set waits for a frame. Time in which it does not want one, because its buffer
    /// is full or nobody asks it, does not count. For a set without a task, that is an eager one or where there is no
    /// runtime, the time runs on from when it was asked until it is asked again.
    #[cfg(feature = "tokio")]
    pub const fn frame_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.frame = Some(timeout);
        self
    }

    /// Sets how long it may take from the first poll to the last frame, time in which nobody asks included.
    ///
    /// It does not bound the closing that comes after: set [`close_timeout`](Self::close_timeout) too.
    #[cfg(feature = "tokio")]
    pub const fn total_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.total = Some(timeout);
        self
    }

    /// Sets how long closing a store may take. One that takes longer is dropped unclosed, which is the error; so is one
    /// that is not closed at once where there is no clock to time it.
    ///
    /// A set begins to close its store while it still gives its series; the time counts from when the set itself is closed.
    #[cfg(feature = "tokio")]
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.timeouts.close = Some(timeout);
        self
    }
}

impl ResponseSetOptions {
    /// With warnings that say that something is missing, these are errors.
    pub(super) const fn failing_on_warnings(mut self) -> Self {
        if matches!(self.warnings, StoreWarnings::Partial) {
            self.warnings = StoreWarnings::Fail;
        }
        self
    }

    /// Returns what is to be done to the series of a store that shards or removes labels by itself, or does not.
    pub(super) fn rules_for(&self, shards: bool, removes_labels: bool) -> Rules {
        let mut rules = self.rules.clone();
        if shards {
            rules.shard = None;
        }
        if removes_labels {
            rules.removed_labels.clear();
        }
        let is_cut = !rules.removed_labels.is_empty();
        let default = if is_cut { SeriesOrder::Sorted } else { SeriesOrder::Checked };
        rules.order = self.order.unwrap_or(default);
        rules.is_eager = self.retrieval == RetrievalStrategy::Eager;
        rules
    }
}

impl fmt::Debug for ResponseSetOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseSetOptions")
            .field("retrieval", &self.retrieval)
            .field("buffer", &self.capacity)
            .field("frame_limit_bytes", &self.frame_limit_bytes)
            .field("rules", &self.rules)
            .field("order", &self.order)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// How the answers of stores are received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RetrievalStrategy {
    /// While the merge goes on, into a buffer that is bounded: see [`LazyResponseSet`](super::LazyResponseSet).
    #[default]
    Lazy,
    /// As a whole, before anything is merged: see [`EagerResponseSet`](super::EagerResponseSet).
    Eager,
}

/// What a response set does to give series in order.
///
/// | | gives | holds back | out of order |
/// |---|---|---|---|
/// | [`Trusted`](Self::Trusted) | as they come | nothing | passed on |
/// | [`Checked`](Self::Checked) | as they come | nothing | an error |
/// | [`Restored`](Self::Restored) | as they come, as long as that is in order | the rest | sorted, or an error |
/// | [`Sorted`](Self::Sorted) | after the last has come | everything | sorted |
///
/// The default is `Checked`, and `Sorted` where the set removes labels: what was sorted with them need not be
/// without, since a label that is removed may have decided.
///
/// With `Restored` the set goes on giving series while the labels that it removes come last in each: mostly their
/// order is then that of the labels before. It stops at the first series whose removed labels do not come last, or that comes
/// before the one ahead of it. From there on it holds back everything and sorts it. If one of those belongs before a series
/// that it has given already, that is the error [`OutOfOrder`](crate::error::Cause::OutOfOrder). It can happen
/// where the labels of one series are those of another and one more: `{a, replica}` comes after `{a, b, replica}`,
/// but `{a}` before `{a, b}`. So use it for stores whose series have all the same names of labels.
///
/// [`Received::is_held_back`](super::Received::is_held_back) says whether series were held back, and
/// [`is_resorted`](super::Received::is_resorted) whether those were out of order. An [`EagerResponseSet`](super::EagerResponseSet) holds back everything anyway, and sorts what has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SeriesOrder {
    /// The store is trusted.
    Trusted,
    /// The store is checked, with one comparison for each series.
    Checked,
    /// The order is restored where it is lost.
    Restored,
    /// Everything is read and sorted.
    Sorted,
}

/// What it means when a store sends a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StoreWarnings {
    /// Something is missing in what the store gives. The warning is passed on, and the answer is
    /// [partial](crate::Source::is_partial).
    #[default]
    Partial,
    /// Something is missing, and so the store has failed, with [`Cause::Incomplete`](crate::error::Cause::Incomplete).
    Fail,
    /// Nothing is missing. The warning is passed on, and stands for [no failure](crate::Warning::is_failure).
    Pass,
}
