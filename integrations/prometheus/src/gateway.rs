use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures::{Stream, ready};
use losertree::error::{Cause, CloseError, SourceError};
use losertree::resource::{BytePool, PoolConfigError, PoolError, Reservation};
use losertree::response::{PartialResponseStrategy, ProxyQuery, ResponseSetOptions};
use losertree::stream::{CloseOnDrop, Closer};
use losertree::{BoxSource, Labels, LeakLedger, Response, Series, Warning};
use tokio::time::Instant;

use crate::block::{BlockError, Memory, Problem, Selector, WINDOW_BYTES, xor};
use crate::fair_queue::FairQueue;
use crate::overlap::{Merging, OverlapError, Overlapping, Place};
use crate::remote::samples::Answers;
use crate::remote::{RemoteError, RemoteStore};
use crate::running::{Queries, Running};
use crate::store_api::{Shard, StoreApiError, StoreApiStore};
use crate::{BlockStore, SamplesError};

/// What a store answers.
type Answer = BoxSource<'static, Response, StoreError>;

/// What a gateway may take, and for how long.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// How many bytes all queries may hold together, headers of blocks not included. Default: 64 MiB.
    pub budget_bytes: usize,
    /// How many queries are answered at once; others wait. Default: 32.
    pub concurrent_queries: usize,
    /// How many requests of one address may wait for their turn. Default: 256.
    pub waiting_requests: usize,
    /// How many series an answer may have. Default: 10 million.
    pub series: u64,
    /// How many samples an answer may have, in whole chunks. Default: 10 billion.
    pub samples: u64,
    /// How many bytes of chunks an answer may have. Default: 16 GiB.
    pub chunk_bytes: u64,
    /// How long a query may take from its first to its last byte. Default: 5 minutes.
    pub query_time: Duration,
    /// Labels by which replicas differ, and which are taken off. Default: none.
    pub replica_labels: Vec<String>,
    /// What becomes of a query when a store fails. Default: it fails, since remote read carries no warnings. A request of the
    /// StoreAPI says it itself.
    pub partial_response: PartialResponseStrategy,
    /// How long a query waits for memory, or for its turn. Default: 120 s.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            budget_bytes: 64 << 20,
            concurrent_queries: 32,
            waiting_requests: 256,
            series: 10_000_000,
            samples: 10_000_000_000,
            chunk_bytes: 16 << 30,
            query_time: Duration::from_secs(300),
            replica_labels: Vec::new(),
            partial_response: PartialResponseStrategy::Abort,
            patience: Duration::from_secs(120),
        }
    }
}

/// The least that a gateway works with.
pub const MIN_BUDGET_BYTES: usize = 4 << 20;

/// Why a store has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A block.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// Another server.
    #[error("{address}: {problem}")]
    Remote {
        /// Its address.
        address: Arc<str>,
        /// What is wrong.
        problem: RemoteError,
    },
    /// Another server, by the StoreAPI.
    #[error("{address}: {problem}")]
    StoreApi {
        /// Its address.
        address: Arc<str>,
        /// What is wrong.
        problem: StoreApiError,
    },
}

impl StoreError {
    const fn pool_error(&self) -> Option<&PoolError> {
        match self {
            Self::Block(BlockError { problem: Problem::Pool(error), .. })
            | Self::Remote { problem: RemoteError::Pool(error), .. }
            | Self::StoreApi { problem: StoreApiError::Pool(error), .. } => Some(error),
            _ => None,
        }
    }
}

/// Why a query has no whole answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// A store has failed: a block, or another server.
    #[error("{}", .0.report())]
    Store(SourceError<StoreError>),
    /// A block cannot be entered.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// Chunks of a series overlap and cannot be merged.
    #[error("series {labels}: {problem}")]
    Overlap {
        /// The series.
        labels: String,
        /// Why.
        problem: OverlapError,
    },
    /// The answer cannot be given as samples.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// There was no memory in time.
    #[error("too many queries are waiting for memory: {0}")]
    Memory(#[from] PoolError),
    /// There was no memory in time to merge the chunks of a series.
    #[error("there were not {bytes} bytes of memory to merge chunks that overlap within {patience:?}")]
    NoMemory {
        /// How many it takes.
        bytes: usize,
        /// For how long it has waited.
        patience: Duration,
    },
    /// Too many other queries were answered.
    #[error("the limit of {limit} concurrent queries was reached for {patience:?}")]
    Busy {
        /// How many may be answered at once.
        limit: usize,
        /// For how long it has waited.
        patience: Duration,
    },
    /// Too many others of the same address wait.
    #[error("{limit} requests of this address wait for their turn, which is the limit")]
    Crowded {
        /// How many may wait.
        limit: usize,
    },
    /// The answer has too many series or bytes.
    #[error("the answer has more than {limit} {what}, which is the limit")]
    TooLarge {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
    /// It took too long.
    #[error("the query took longer than {limit:?}, which is the limit")]
    TooLong {
        /// How long it may take.
        limit: Duration,
    },
}

impl QueryError {
    /// Whether the block, the memory or the time failed it, and not the query itself.
    fn pool_error(&self) -> Option<&PoolError> {
        match self {
            Self::Memory(error)
            | Self::Samples(SamplesError::Budget(error))
            | Self::Block(BlockError { problem: Problem::Pool(error), .. }) => Some(error),
            Self::Store(error) => match error.cause() {
                Cause::Source(error) => error.pool_error(),
                Cause::Pool(error) => Some(error),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the status of HTTP for it: 413 if the answer is too large, 503 if it may be given later, else 500.
    #[must_use]
    pub fn status(&self) -> u16 {
        match (self, self.pool_error()) {
            (Self::TooLarge { .. } | Self::Samples(SamplesError::TooLong), _)
            | (_, Some(PoolError::TooLarge { .. })) => 413,
            (
                Self::Busy { .. }
                | Self::Crowded { .. }
                | Self::NoMemory { .. }
                | Self::Samples(SamplesError::Turn { .. }),
                _,
            )
            | (_, Some(_)) => 503,
            (Self::TooLong { .. }, _) => 504,
            _ => 500,
        }
    }
}

/// Answers queries from blocks, within a budget, and closes them all.
///
/// # Memory
///
/// Half of the budget is buffers for chunks and parts of indexes, a quarter is what queries hold besides, and a quarter is answers of
/// samples, which are kept until they are sent. A query reserves what
/// buffers it can need before it takes the first, and waits until others have given theirs back. So none that was begun
/// waits for buffers of one that waits too.
#[derive(Debug)]
pub struct Gateway {
    store: Arc<BlockStore>,
    remotes: Vec<RemoteStore>,
    store_apis: Vec<StoreApiStore>,
    memory: Memory,
    /// In which queries reserve buffers before they take them.
    admission: BytePool,
    turns: FairQueue,
    answers: Answers,
    ledger: LeakLedger,
    closer: Closer,
    limits: Limits,
    queries: Arc<Queries>,
    started: SystemTime,
    forgets_closes: bool,
}

/// The longest buffer, which is that of the longest chunk, in parts of the budget.
const LARGEST_PART: usize = 4;
/// How many buffers of a block a query can have at once: the index, the batch that is read, two that wait in the response set, the one
/// that is taken apart, and the one whose last series is held back.
const BUFFERS: usize = 6;
const BUFFER_BYTES: std::ops::RangeInclusive<usize> = (4 << 10)..=(64 << 10);
/// How many batches of each block are read ahead.
const READ_AHEAD: usize = 1;

impl Gateway {
    /// Creates a gateway for a store. What is dropped unclosed is closed by `closer`.
    ///
    /// # Errors
    ///
    /// [`PoolConfigError`] if the budget is less than [`MIN_BUDGET_BYTES`].
    pub fn new(
        store: Arc<BlockStore>,
        limits: Limits,
        ledger: &LeakLedger,
        closer: &Closer,
    ) -> Result<Self, PoolConfigError> {
        let budget = limits.budget_bytes;
        if budget < MIN_BUDGET_BYTES {
            return Err(PoolConfigError::Budget { budget, largest: MIN_BUDGET_BYTES });
        }
        let buffers = budget / 2;
        let rest = budget / 4;
        let largest = (buffers / LARGEST_PART + 1).next_power_of_two() / 2;
        let pool = |budget| {
            BytePool::builder()
                .largest_bytes(largest)
                .budget_bytes(budget)
                .long_held_after(limits.query_time * 2)
        };
        let memory = Memory::new(
            pool(buffers).ledger(ledger).build()?,
            pool(rest.max(largest)).ledger(ledger).build()?,
            limits.patience,
        );
        Ok(Self {
            store,
            remotes: Vec::new(),
            store_apis: Vec::new(),
            memory,
            admission: pool(buffers).build()?,
            turns: FairQueue::new(limits.concurrent_queries, limits.waiting_requests),
            answers: Answers::new(pool(rest).ledger(ledger).build()?, limits.patience),
            ledger: ledger.clone(),
            closer: closer.clone(),
            limits,
            queries: Arc::default(),
            started: SystemTime::now(),
            forgets_closes: false,
        })
    }

    /// Asks other servers, too, in this order and after the blocks. Of two samples of one moment, the first store's is taken.
    #[must_use]
    pub fn with_remotes(mut self, remotes: Vec<RemoteStore>) -> Self {
        let places = (1..=u16::MAX).chain(std::iter::repeat(u16::MAX));
        self.remotes =
            remotes.into_iter().zip(places).map(|(remote, place)| remote.at(Place(place))).collect();
        self
    }

    /// Asks other servers by the StoreAPI, too, in this order and after those of [`with_remotes`](Self::with_remotes), which
    /// come first.
    #[must_use]
    pub fn with_store_apis(mut self, stores: Vec<StoreApiStore>) -> Self {
        let places = (1..=u16::MAX).skip(self.remotes.len()).chain(std::iter::repeat(u16::MAX));
        self.store_apis =
            stores.into_iter().zip(places).map(|(store, place)| store.at(Place(place))).collect();
        self
    }

    /// Returns the blocks.
    #[must_use]
    pub const fn store(&self) -> &Arc<BlockStore> {
        &self.store
    }

    /// Returns the servers that are asked by remote read.
    pub(crate) fn remotes(&self) -> &[RemoteStore] {
        &self.remotes
    }

    /// Returns the servers that are asked by the StoreAPI.
    pub(crate) fn store_apis(&self) -> &[StoreApiStore] {
        &self.store_apis
    }

    /// Returns the memory that queries take.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Returns the pool in which queries reserve buffers before they take them.
    #[must_use]
    pub const fn admission(&self) -> &BytePool {
        &self.admission
    }

    /// Returns the pool that answers are charged to which are kept until they are sent: those of samples.
    #[must_use]
    pub const fn answer_pool(&self) -> &BytePool {
        &self.answers.pool
    }

    pub(crate) const fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Returns the limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the ledger.
    #[must_use]
    pub const fn ledger(&self) -> &LeakLedger {
        &self.ledger
    }

    /// Has the gateway forget to close queries whose client goes away, so that a leak can be seen. For demonstrations only.
    #[doc(hidden)]
    #[must_use]
    pub const fn forgetting_closes(mut self) -> Self {
        self.forgets_closes = true;
        self
    }

    /// Whether it forgets to close queries whose client goes away.
    pub(crate) const fn forgets_closes(&self) -> bool {
        self.forgets_closes
    }

    /// Returns when it was created.
    pub(crate) const fn started(&self) -> SystemTime {
        self.started
    }

    /// Returns the pools, by the names that they have in metrics.
    #[must_use]
    pub const fn pools(&self) -> [(&'static str, &BytePool); 4] {
        [
            ("buffers", &self.memory.buffers),
            ("lists", &self.memory.lists),
            ("answers", &self.answers.pool),
            ("admission", &self.admission),
        ]
    }

    /// Returns the queries that run.
    pub(crate) const fn queries(&self) -> &Arc<Queries> {
        &self.queries
    }

    /// Returns how many requests wait for their turn.
    pub(crate) fn waiting_requests(&self) -> usize {
        self.turns.waiting()
    }

    /// Waits for a turn, for somebody of whom no address is known. As [`turn_of`](Self::turn_of).
    ///
    /// # Errors
    ///
    /// [`QueryError::Busy`] if it has no turn in time.
    pub async fn turn(&self) -> Result<Turn, QueryError> {
        self.turn_of(Ipv4Addr::UNSPECIFIED.into()).await
    }

    /// Waits for a turn: one for each request. The addresses of those who ask take turns, so that one that asks for much does not keep
    /// others waiting; those of one have theirs in the order in which they came.
    ///
    /// # Errors
    ///
    /// [`QueryError::Busy`] if it has no turn in time, [`QueryError::Crowded`] if too many of the address wait.
    pub async fn turn_of(&self, address: IpAddr) -> Result<Turn, QueryError> {
        let Limits { patience, concurrent_queries: limit, .. } = self.limits;
        let error = match tokio::time::timeout(patience, self.turns.turn(address)).await {
            Ok(Some(permit)) => {
                return Ok(Turn { _permit: permit, deadline: Instant::now() + self.limits.query_time });
            }
            Ok(None) => QueryError::Crowded { limit: self.limits.waiting_requests },
            Err(_) => QueryError::Busy { limit, patience },
        };
        self.queries.failed(format!("a request of {address}"), &error);
        Err(error)
    }

    /// Whether somebody waits for a turn or for memory. Who does not take what there is for it has less time then.
    #[must_use]
    pub fn is_contended(&self) -> bool {
        let pools = [&self.memory.buffers, &self.memory.lists, &self.answers.pool, &self.admission];
        self.turns.waiting() > 0 || pools.iter().any(|pool| pool.snapshot().waiting > 0)
    }

    /// Asks all blocks that can have something for a query. The reader is what the ledger and those who wait for a block call it.
    ///
    /// # Errors
    ///
    /// [`QueryError::Memory`] if there is not enough in time.
    pub async fn query(
        &self,
        reader: &str,
        selector: &Selector,
        deadline: Instant,
    ) -> Result<Query, QueryError> {
        let merging = if self.limits.replica_labels.is_empty() { Merging::All } else { Merging::Replicas };
        let ask = Ask { partial_response: self.limits.partial_response, merging, ..Ask::new("remote read") };
        self.ask(reader, selector, deadline, ask).await
    }

    /// As [`query`](Self::query), asked in some other way. What the selector takes off is what is taken off.
    pub(crate) async fn ask(
        &self,
        reader: &str,
        selector: &Selector,
        deadline: Instant,
        ask: Ask,
    ) -> Result<Query, QueryError> {
        let running =
            self.queries.begin(ask.name, selector, |number| format!("query {number} of {reader}").into());
        let mut store_apis: Vec<_> =
            self.store_apis.iter().filter(|store| store.can_match(selector)).collect();
        if ask.without_store_apis {
            store_apis.clear();
        }
        // What they can do by themselves, which may take some time where it is not known: before anything is held.
        let known = store_apis.iter().map(|store| store.abilities(selector, &ask));
        let known = futures::future::join_all(known).await;
        let entered =
            if ask.without_blocks { Ok(Vec::new()) } else { self.store.enter(running.reader(), selector) };
        let entered = entered.inspect_err(|error| running.failed(error))?;
        let budget = self.admission.budget_bytes();
        let share = budget / self.limits.concurrent_queries.clamp(1, 64) / (entered.len().max(1) * BUFFERS);
        let buffer = share.clamp(*BUFFER_BYTES.start(), *BUFFER_BYTES.end());
        // Buffers are of powers of two.
        let each = buffer.next_power_of_two();
        let need = (entered.len() * ((BUFFERS - 1) * each + each.max(WINDOW_BYTES))).min(budget);
        let mut admitted = self.admission.reservation();
        let granted = admitted.grow_timeout(need, self.limits.patience).await;
        granted.inspect_err(|error| running.failed(error))?;
        let mut options = ResponseSetOptions::new()
            .buffer_frames(READ_AHEAD)
            .without_replica_labels(selector.without.iter().cloned())
            .sort_buffer_bytes(self.memory.lists.budget_bytes())
            .pool(&self.memory.lists);
        let entered_blocks = entered.len();
        if let Some(shard) = &ask.shard {
            options = options.shard(shard.matcher.clone());
        }
        let blocks = entered.into_iter().map(|(block, guard)| {
            block.store(guard, selector.clone(), &self.memory, buffer, ask.skip_chunks)
        });
        let asked = self.remotes.iter().filter(|remote| remote.can_match(selector));
        let remotes = asked.map(|remote| remote.store(selector, &self.memory, &options));
        let mut stores: Vec<_> = blocks.chain(remotes).collect();
        let asked = store_apis.into_iter().zip(known);
        stores.extend(asked.map(|(store, known)| store.store(selector, &ask, known, &self.memory, &options)));
        running.admit(entered_blocks, stores.len() - entered_blocks);
        let query = ProxyQuery::builder()
            .name(ask.name)
            .stores(stores)
            .response_sets(options)
            .partial_response(ask.partial_response)
            .limit(ask.limit)
            .ledger(&self.ledger)
            .build();
        let query = CloseOnDrop::new(query, &self.closer)
            .on_error(|error| eprintln!("error: a query was not closed in order: {error}"));
        let Limits { series, samples, chunk_bytes, query_time, .. } = self.limits;
        Ok(Query {
            merged: query,
            deadline: Box::pin(tokio::time::sleep_until(deadline)),
            limits: (series, samples, chunk_bytes, query_time),
            merging: ask.merging,
            skip_chunks: ask.skip_chunks,
            series: 0,
            samples: 0,
            chunk_bytes: 0,
            waiting: None,
            merged_bytes: 0,
            merging_memory: self.memory.lists.reservation(),
            patience: self.limits.patience,
            running,
            _admitted: admitted,
        })
    }
}

/// How a query is asked, besides what it selects.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// What kind of query it is.
    pub(crate) name: &'static str,
    /// What becomes of it when a store fails.
    pub(crate) partial_response: PartialResponseStrategy,
    /// How samples of chunks that overlap are merged.
    pub(crate) merging: Merging,
    /// Which part of the series is wanted.
    pub(crate) shard: Option<Shard>,
    /// How many series are wanted.
    pub(crate) limit: u64,
    /// Only labels are wanted.
    pub(crate) skip_chunks: bool,
    /// Blocks are not asked.
    pub(crate) without_blocks: bool,
    /// Servers that speak the StoreAPI are not asked.
    pub(crate) without_store_apis: bool,
}

impl Ask {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self {
            name,
            partial_response: PartialResponseStrategy::Abort,
            merging: Merging::None,
            shard: None,
            limit: u64::MAX,
            skip_chunks: false,
            without_blocks: false,
            without_store_apis: false,
        }
    }
}

/// The turn of a request.
#[derive(Debug)]
pub struct Turn {
    _permit: tokio::sync::OwnedSemaphorePermit,
    /// When it has to be done.
    pub deadline: Instant,
}

/// The answer to a query: series in order, each once, with chunks that do not overlap.
///
/// # Closing
///
/// The end means that all blocks are closed. Dropped before, it is closed in the background.
pub struct Query {
    merged: CloseOnDrop<ProxyQuery<Answer>>,
    deadline: Pin<Box<tokio::time::Sleep>>,
    /// Of series, of samples, of bytes of chunks, of time.
    limits: (u64, u64, u64, Duration),
    merging: Merging,
    skip_chunks: bool,
    series: u64,
    samples: u64,
    chunk_bytes: u64,
    /// A series with chunks to be merged, until there is memory for that; and for how long it waits.
    waiting: Option<Waiting>,
    /// What it takes to merge chunks of the last series.
    merged_bytes: usize,
    merging_memory: Reservation,
    patience: Duration,
    running: Running,
    /// The last one, so that nothing is taken by others that is still held.
    _admitted: Reservation,
}

struct Waiting {
    labels: Labels,
    chunks: Overlapping,
    bytes: usize,
    limit: Pin<Box<tokio::time::Sleep>>,
}

impl Query {
    /// Closes all blocks, and waits until they are.
    ///
    /// # Errors
    ///
    /// What went wrong in closing.
    pub async fn close(&mut self) -> Result<(), CloseError<StoreError>> {
        self.merged.close().await
    }

    /// Merges the chunks of a series.
    fn merge(&mut self, labels: Labels, chunks: Overlapping) -> Result<Series, QueryError> {
        let chunks = chunks
            .resolve()
            .map_err(|problem| QueryError::Overlap { labels: labels.to_string(), problem })?;
        let series = Series::new(labels, chunks);
        self.check(&series).map(|()| series)
    }

    /// Merges the series that waits, when there is memory.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Series, QueryError>>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(None) };
        let bytes = waiting.bytes;
        match self.merging_memory.poll_grow(cx, bytes) {
            Poll::Ready(Ok(())) => self.merged_bytes = bytes,
            Poll::Ready(Err(error)) => {
                self.waiting = None;
                return Poll::Ready(Some(Err(error.into())));
            }
            Poll::Pending => {
                ready!(waiting.limit.as_mut().poll(cx));
                self.merging_memory.cancel_grow();
                self.waiting = None;
                let error = QueryError::NoMemory { bytes, patience: self.patience };
                return Poll::Ready(Some(Err(error)));
            }
        }
        let waiting = self.waiting.take();
        Poll::Ready(waiting.map(|Waiting { labels, chunks, .. }| self.merge(labels, chunks)))
    }

    fn check(&mut self, series: &Series) -> Result<(), QueryError> {
        self.series += 1;
        self.chunk_bytes += series.chunks.iter().map(|chunk| chunk.data.len() as u64).sum::<u64>();
        self.running.given(self.series, self.chunk_bytes);
        let data = series.chunks.iter().map(|chunk| chunk.data.get(1..).unwrap_or_default());
        self.samples += data.map(|data| xor::count(data) as u64).sum::<u64>();
        let (most_series, most_samples, most_bytes, _) = self.limits;
        for (what, count, limit) in [
            ("series", self.series, most_series),
            ("samples", self.samples, most_samples),
            ("bytes of chunks", self.chunk_bytes, most_bytes),
        ] {
            if count > limit {
                return Err(QueryError::TooLarge { what, limit });
            }
        }
        Ok(())
    }

    /// The next series or warning.
    pub(crate) fn poll_answered(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Answered, QueryError>>> {
        let polled = self.poll_part(cx);
        if let Poll::Ready(Some(Err(error))) = &polled {
            self.running.failed(error);
        }
        polled
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Answered, QueryError>>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            let (.., limit) = self.limits;
            return Poll::Ready(Some(Err(QueryError::TooLong { limit })));
        }
        // What was given before is sent.
        let bytes = std::mem::take(&mut self.merged_bytes);
        self.merging_memory.shrink(bytes);
        loop {
            if let Some(merged) = ready!(self.poll_waiting(cx)) {
                return Poll::Ready(Some(merged.map(Answered::Series)));
            }
            match ready!(Pin::new(&mut self.merged).poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(QueryError::Store(error)))),
                Some(Ok(Response::Series(Series { labels, chunks, .. }))) => {
                    // Who was asked for labels alone may have sent them all the same.
                    let chunks = if self.skip_chunks { Vec::new() } else { chunks };
                    let chunks = Overlapping::new(chunks, self.merging);
                    let bytes = chunks.merging_bytes();
                    if bytes == 0 {
                        return Poll::Ready(Some(self.merge(labels, chunks).map(Answered::Series)));
                    }
                    let limit = Box::pin(tokio::time::sleep(self.patience));
                    self.waiting = Some(Waiting { labels, chunks, bytes, limit });
                }
                Some(Ok(Response::Warning(warning))) => {
                    metrics::counter!("losertree_gateway_warnings_total").increment(1);
                    self.running.partial(&warning);
                    return Poll::Ready(Some(Ok(Answered::Warning(warning))));
                }
                Some(Ok(_)) => {}
            }
        }
    }
}

/// A part of an answer.
#[derive(Debug)]
pub(crate) enum Answered {
    Series(Series),
    /// Something is missing in the answer.
    Warning(Warning),
}

/// The series. Warnings are written to the log: there is no place for them in remote read.
impl Stream for Query {
    type Item = Result<Series, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(self.poll_answered(cx)).transpose()? {
                None => return Poll::Ready(None),
                Some(Answered::Series(series)) => return Poll::Ready(Some(Ok(series))),
                Some(Answered::Warning(warning)) => eprintln!("warning: an answer is partial: {warning}"),
            }
        }
    }
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query").field("series", &self.series).finish_non_exhaustive()
    }
}
