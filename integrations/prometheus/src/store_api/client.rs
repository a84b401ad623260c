//! Asking other servers.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use losertree::resource::PoolError;
use losertree::response::{PartialResponseStrategy, ResponseSetOptions, SeriesOrder, Store};
use losertree::series::LabelsError;
use losertree::{BoxSource, LabelsBuilder, Response, Series, Source, Warning, unfold};
use tokio::time::{Instant, timeout};
use tonic::{Code, Status, Streaming};

use super::channel::{Channel, ConnectError, Connection, Target};
use super::codec::DecodeError;
use super::messages;
use super::proto::info::info_client::InfoClient;
use super::proto::info::{InfoRequest, InfoResponse};
use super::proto::label_matcher::Type;
use super::proto::series_response::Result as Answered;
use super::proto::store_client::StoreClient;
use super::proto::{self, Label, LabelMatcher, SeriesRequest, SeriesResponse};
use crate::address::AddressError;
use crate::block::{Memory, Problem, Replica, Selector};
use crate::gateway::{Ask, StoreError};
use crate::matcher::{MatchOp, Matcher};
use crate::overlap::{Merging, Place};
use crate::remote::RemoteLimits;
use crate::security::{DialerConfig, DialerSecurity};

/// Why a server has given no whole answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreApiError {
    /// There is no connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] ConnectError),
    /// The connection has broken.
    #[error("the connection has broken: {0}")]
    Connection(String),
    /// The server has ended the answer with a status.
    #[error("the server answers {}: {text}", name_of(*code))]
    Status {
        /// The status.
        code: Code,
        /// What it says to that, not more than 1024 bytes of it.
        text: String,
    },
    /// It has not answered in time.
    #[error("the server has not answered within {0:?}")]
    TooSlow(Duration),
    /// A message has nothing in it that is known here. What it has would be missing.
    #[error("a message is neither a series nor a warning nor hints")]
    Message,
    /// Labels of a series are no set.
    #[error("{0}")]
    Labels(#[from] LabelsError),
    /// A chunk ends before it begins.
    #[error("a chunk of series {0} ends before it begins")]
    Chunks(String),
    /// A chunk has only aggregates, and no samples.
    #[error("a chunk of series {0} is downsampled, and only samples can be merged")]
    NotRaw(String),
    /// A chunk of samples cannot be decoded. It would be an error of whoever decodes it, who does not know where it has come from.
    #[error("a chunk of series {labels} cannot be decoded: {problem}")]
    Chunk {
        /// The series.
        labels: String,
        /// Why.
        problem: Problem,
    },
    /// A chunk has an encoding that is none.
    #[error("a chunk has the encoding {0}, which is none")]
    Encoding(i32),
    /// A series is too long.
    #[error("a series has more than {limit} bytes, which is the limit")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
    /// A message takes too much memory when it is decoded.
    #[error("a message, decoded, has more than {limit} bytes, which is the limit")]
    Decoded {
        /// How much it may take.
        limit: usize,
    },
    /// A message is none.
    #[error("a message is malformed")]
    Malformed,
    /// There is no memory in the budget.
    #[error("{0}")]
    Pool(#[from] PoolError),
}

/// An error and its causes.
fn report(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// How much of a text that a server sends is repeated.
const TEXT_BYTES: usize = 1 << 10;

/// As much of a text as is repeated.
pub(super) fn cut_text(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The name of a status, as those who speak gRPC know it.
pub(super) const fn name_of(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// How long what a server says of itself is believed.
const KNOWN_TIME: Duration = Duration::from_secs(30);
/// How long it may take to say it.
pub(super) const INFO_TIME: Duration = Duration::from_secs(5);

/// What a server does by itself, so that it need not be done here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Abilities {
    sharding: bool,
    without_replica_labels: bool,
}

impl Abilities {
    /// What of it a query can use. Who merges replicas has to know them by their labels, and shards are of what is left without these.
    fn for_query(self, selector: &Selector, ask: &Ask) -> Self {
        let without_replica_labels = self.without_replica_labels && ask.merging == Merging::None;
        let sharding = self.sharding && (without_replica_labels || selector.without.is_empty());
        Self { sharding, without_replica_labels }
    }
}

/// A server that is asked by the StoreAPI: another gateway, or any part of Thanos that has one.
///
/// Each query has a connection of its own. A server is read no faster than the answer is wanted: it has to wait. Closing breaks the
/// connection off, which cancels what was asked, and waits until it is.
#[derive(Debug, Clone)]
pub struct StoreApiStore {
    name: Arc<str>,
    target: Arc<Target>,
    external: Arc<BTreeMap<String, String>>,
    limits: RemoteLimits,
    place: Place,
    known: Arc<Mutex<Option<(Instant, Abilities)>>>,
}

impl StoreApiStore {
    /// Creates a store of an address such as `http://sidecar:10901`. Series get the external labels, which override what they have of
    /// their own.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if it is no such address.
    pub fn new(
        address: &str,
        external: BTreeMap<String, String>,
        limits: RemoteLimits,
    ) -> Result<Self, AddressError> {
        Self::secured(address, external, limits, DialerConfig::default())
    }

    /// As [`new`](Self::new), for a server that has to be shown who asks, or to show who it is. With an address that begins with
    /// `https://`, TLS is spoken. Reads the files that are named, and blocks the thread.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if it is no such address, or if the configuration cannot be used.
    pub fn secured(
        address: &str,
        external: BTreeMap<String, String>,
        limits: RemoteLimits,
        security: DialerConfig,
    ) -> Result<Self, AddressError> {
        let target = Arc::new(Target::new(address, security)?);
        let external = Arc::new(external);
        Ok(Self { name: address.into(), target, external, limits, place: Place(0), known: Arc::default() })
    }

    /// Checks an address, and nothing else.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if it is no such address.
    pub fn check(address: &str) -> Result<(), AddressError> {
        Target::new(address, DialerConfig::default()).map(drop)
    }

    /// Returns how the server is asked.
    #[must_use]
    pub fn security(&self) -> &Arc<DialerSecurity> {
        self.target.security()
    }

    /// At a place among all stores.
    pub(crate) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// Returns the address.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the labels that all its series have.
    pub(crate) fn external_labels(&self) -> &BTreeMap<String, String> {
        &self.external
    }

    /// Whether a query can find something here, by the external labels.
    pub(crate) fn can_match(&self, selector: &Selector) -> bool {
        let is_matched =
            |matcher: &Matcher| self.external.get(matcher.name()).is_none_or(|value| matcher.matches(value));
        selector.matchers.iter().all(is_matched)
    }

    /// What the server does by itself of what a query wants. It is asked only where that matters; one that does not answer is taken
    /// for one that can nothing.
    pub(crate) async fn abilities(&self, selector: &Selector, ask: &Ask) -> Abilities {
        // It does not know these labels, so it cannot sort or divide series by them.
        if !self.external.is_empty() || (selector.without.is_empty() && ask.shard.is_none()) {
            return Abilities::default();
        }
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, abilities)) = *known()
            && since.elapsed() < KNOWN_TIME
        {
            return abilities.for_query(selector, ask);
        }
        let info = self.info().await.ok().and_then(|info| info.store);
        let abilities = info.map_or_else(Abilities::default, |store| Abilities {
            sharding: store.supports_sharding,
            without_replica_labels: store.supports_without_replica_labels,
        });
        *known() = Some((Instant::now(), abilities));
        abilities.for_query(selector, ask)
    }

    /// Makes a store for a query, which connects when it is first asked.
    pub(crate) fn store(
        &self,
        selector: &Selector,
        ask: &Ask,
        known: Abilities,
        memory: &Memory,
        options: &ResponseSetOptions,
    ) -> Store<BoxSource<'static, Response, StoreError>> {
        let (remote, request) = (self.clone(), self.request(selector, ask, known));
        let without = Arc::clone(&selector.without);
        let RemoteLimits { frame_bytes, held_bytes, open_time, frame_time } = self.limits;
        let mut options = options.clone();
        if !self.external.is_empty() {
            options = options.series_order(SeriesOrder::Sorted);
        }
        options = options
            .buffer_bytes(frame_bytes)
            .sort_buffer_bytes(held_bytes)
            .pool(&memory.lists)
            .open_timeout(open_time)
            .frame_timeout(frame_time);
        let opening = async move {
            let answer = remote.open(request, without).await.map_err(|error| remote.error(error))?;
            let next = async |answer: &mut Answer| {
                let next = answer.next().await.transpose()?;
                Some(next.map_err(|error| answer.remote.error(error)))
            };
            Ok(unfold(answer, next, async |answer: Answer| {
                answer.close().await;
                Ok(())
            })
            .boxed())
        };
        let mut store = Store::new(Arc::clone(&self.name), opening).with_options(options);
        if known.sharding {
            store = store.supports_sharding();
        }
        if known.without_replica_labels {
            store = store.supports_without_replica_labels();
        }
        store
    }

    /// What went wrong with a call, without the secret that the server was sent, should it say that.
    fn failed(&self, status: &Status) -> StoreApiError {
        let said = |text: &str| cut_text(&self.target.security().redact(text)).to_owned();
        // What no server has sent has another error behind it.
        let mut behind = status.source();
        while let Some(error) = behind {
            if error.is::<hyper::Error>() {
                return StoreApiError::Connection(said(&report(error)));
            }
            match error.downcast_ref() {
                Some(DecodeError::TooLong { limit }) => return StoreApiError::Decoded { limit: *limit },
                Some(DecodeError::Malformed) => return StoreApiError::Malformed,
                None => {}
            }
            behind = error.source();
        }
        StoreApiError::Status { code: status.code(), text: said(status.message()) }
    }

    /// A warning of the server, as it can be printed.
    pub(super) fn warning(&self, text: &str) -> String {
        cut_text(&self.target.security().redact(text)).into()
    }

    pub(super) fn error(&self, problem: StoreApiError) -> StoreError {
        StoreError::StoreApi { address: Arc::clone(&self.name), problem }
    }

    /// The matchers of labels that the server knows of.
    pub(super) fn matchers(&self, selector: &Selector) -> Vec<LabelMatcher> {
        let own = selector.matchers.iter().filter(|matcher| !self.external.contains_key(matcher.name()));
        let matchers = own.map(|matcher| {
            let kind = match matcher.op() {
                MatchOp::Equal => Type::Eq,
                MatchOp::NotEqual => Type::Neq,
                MatchOp::Regex => Type::Re,
                MatchOp::NotRegex => Type::Nre,
            };
            LabelMatcher { r#type: kind.into(), name: matcher.name().into(), value: matcher.value().into() }
        });
        matchers.collect()
    }

    fn request(&self, selector: &Selector, ask: &Ask, known: Abilities) -> SeriesRequest {
        let shard = ask.shard.as_ref().filter(|_| known.sharding);
        let without = known.without_replica_labels.then(|| selector.without.to_vec());
        SeriesRequest {
            min_time: selector.range.min_ms,
            max_time: selector.range.max_ms,
            matchers: self.matchers(selector),
            aggregates: vec![proto::Aggr::Raw.into()],
            partial_response_disabled: ask.partial_response == PartialResponseStrategy::Abort,
            partial_response_strategy: strategy(ask.partial_response).into(),
            skip_chunks: ask.skip_chunks,
            shard_info: shard.map(|shard| shard.asked.clone()),
            without_replica_labels: without.unwrap_or_default(),
            // A limit is one of what is left when all is merged: a series may be in several stores.
            ..SeriesRequest::default()
        }
    }

    pub(super) async fn connect(&self) -> Result<(StoreClient<Channel>, Connection), StoreApiError> {
        let (channel, connection) = Channel::connect(&self.target).await?;
        let client = match self.target.origin() {
            Some(origin) => StoreClient::with_origin(channel, origin),
            None => StoreClient::new(channel),
        };
        Ok((client.max_decoding_message_size(self.limits.frame_bytes), connection))
    }

    async fn open(&self, request: SeriesRequest, without: Arc<[String]>) -> Result<Answer, StoreApiError> {
        let (mut client, connection) = self.connect().await?;
        let messages = client.series(request).await.map_err(|status| self.failed(&status))?.into_inner();
        Ok(Answer {
            messages,
            waiting: None,
            ahead: None,
            labels: LabelsBuilder::new(),
            without,
            has_ended: false,
            remote: self.clone(),
            connection,
        })
    }

    /// What the server says of itself.
    pub(super) async fn info(&self) -> Result<InfoResponse, StoreApiError> {
        let asked = async {
            let (channel, connection) = Channel::connect(&self.target).await?;
            let mut client = match self.target.origin() {
                Some(origin) => InfoClient::with_origin(channel, origin),
                None => InfoClient::new(channel),
            }
            .max_decoding_message_size(self.limits.frame_bytes);
            let answer = client.info(InfoRequest {}).await;
            connection.close().await;
            Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
        };
        let limit = self.limits.open_time.min(INFO_TIME);
        timeout(limit, asked).await.map_err(|_| StoreApiError::TooSlow(limit))?
    }

    /// Asks for something that comes in one message, and waits for it as long as for the beginning of an answer.
    pub(super) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(&mut StoreClient<Channel>) -> Result<tonic::Response<T>, Status>,
    ) -> Result<T, StoreApiError> {
        let asked = async {
            let (mut client, connection) = self.connect().await?;
            let answer = call(&mut client).await;
            connection.close().await;
            Ok(answer.map_err(|status| self.failed(&status))?.into_inner())
        };
        let limit = self.limits.open_time;
        timeout(limit, asked).await.map_err(|_| StoreApiError::TooSlow(limit))?
    }
}

/// What becomes of an answer when a store fails, as the StoreAPI has it.
pub(super) const fn strategy(strategy: PartialResponseStrategy) -> proto::PartialResponseStrategy {
    match strategy {
        PartialResponseStrategy::Warn => proto::PartialResponseStrategy::Warn,
        _ => proto::PartialResponseStrategy::Abort,
    }
}

/// An answer that is being received.
struct Answer {
    messages: Streaming<SeriesResponse>,
    /// The last series, which may go on in the next message.
    waiting: Option<Series>,
    /// What goes ahead of it, or has come after it.
    ahead: Option<Warning>,
    labels: LabelsBuilder,
    /// The labels by which replicas differ.
    without: Arc<[String]>,
    has_ended: bool,
    remote: StoreApiStore,
    connection: Connection,
}

impl Answer {
    async fn next(&mut self) -> Result<Option<Response>, StoreApiError> {
        loop {
            if let Some(warning) = self.ahead.take() {
                return Ok(Some(Response::Warning(warning)));
            }
            if self.has_ended {
                return Ok(self.waiting.take().map(sorted).map(Response::Series));
            }
            let Some(message) =
                self.messages.message().await.map_err(|status| self.remote.failed(&status))?
            else {
                self.has_ended = true;
                continue;
            };
            match message.result {
                Some(Answered::Series(series)) => {
                    if let Some(whole) = self.append(series)? {
                        return Ok(Some(Response::Series(whole)));
                    }
                }
                Some(Answered::Warning(text)) => self.ahead = Some(Warning::new(self.remote.warning(&text))),
                // They are for who knows the server; nothing is missing without them.
                Some(Answered::Hints(_)) => {}
                None => return Err(StoreApiError::Message),
            }
        }
    }

    /// Which replica has these labels, and those that all series of the server have.
    fn replica(&self, labels: &[Label]) -> Option<Replica> {
        Replica::of(self.without.iter().map(|name| {
            let own = || labels.iter().find(|label| label.name == *name).map(|label| &label.value);
            self.remote.external.get(name).or_else(own).map_or("", String::as_str)
        }))
    }

    /// Takes a series, or a part of the last one. Returns the one before, if that is whole now.
    fn append(&mut self, series: proto::Series) -> Result<Option<Series>, StoreApiError> {
        let labels = messages::set(&mut self.labels, &series.labels, &*self.remote.external)?;
        let of = (self.remote.place, self.replica(&series.labels));
        let chunks = messages::chunks(&labels, series.chunks, of)?;
        match &mut self.waiting {
            Some(waiting) if waiting.labels == labels => {
                waiting.chunks.extend(chunks);
                let limit = self.remote.limits.held_bytes;
                if waiting.size_bytes() > limit { Err(StoreApiError::TooLong { limit }) } else { Ok(None) }
            }
            waiting => Ok(waiting.replace(Series::new(labels, chunks)).map(sorted)),
        }
    }

    /// Breaks the connection off.
    async fn close(self) {
        self.connection.close().await;
    }
}

/// A server need not send chunks in order.
fn sorted(mut series: Series) -> Series {
    if !series.chunks.is_sorted() {
        series.chunks.sort();
    }
    series
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("remote", &self.remote.name).finish_non_exhaustive()
    }
}
