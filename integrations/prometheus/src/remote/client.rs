use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use losertree::resource::{PoolError, Reservation};
use losertree::response::{ResponseSetOptions, SeriesOrder, Store};
use losertree::series::LabelsError;
use losertree::{BoxSource, Chunk, Labels, LabelsBuilder, Response, Series, Source, unfold};
use prost::Message;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::proto::{
    self, ChunkedReadResponse, LabelMatcher, MatcherType, ReadRequest, ReadResponse, ResponseType,
};
use super::weight::{self, Shape};
use crate::block::cursor::Cursor;
use crate::block::xor::{Sample, XorEncoder};
use crate::block::{Memory, Replica, Selector};
use crate::gateway::StoreError;
use crate::matcher::{MatchOp, Matcher};
use crate::overlap::Place;
use crate::security::{DialerConfig, DialerSecurity, MAX_SECRET_BYTES, Protocol};

/// How much a server may send, and how long it may take.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RemoteLimits {
    /// How many bytes a frame may have. Default: 16 MiB.
    pub frame_bytes: usize,
    /// How many bytes a series may have, of all its frames, a frame when it is decoded, and an answer that is not streamed,
    /// decompressed or decoded. Default: 64 MiB.
    pub held_bytes: usize,
    /// How long it may take to connect, and until the answer begins. Default: 30 s.
    pub open_time: Duration,
    /// For how long the server may send nothing while something is wanted of it. Default: 30 s.
    pub frame_time: Duration,
}

impl Default for RemoteLimits {
    fn default() -> Self {
        let time = Duration::from_secs(30);
        Self { frame_bytes: 16 << 20, held_bytes: 64 << 20, open_time: time, frame_time: time }
    }
}

/// Why an address is none of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} cannot be asked by remote read: {problem}")]
#[non_exhaustive]
pub struct AddressError {
    /// The address.
    pub address: String,
    /// What is wrong with it, or with what is configured for it.
    pub problem: String,
}

/// Why a server has given no whole answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// There is no connection.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection has broken.
    #[error("the connection has broken: {}", causes(.0))]
    Connection(#[from] hyper::Error),
    /// The server refuses to answer.
    #[error("the server answers {status}: {text}")]
    Status {
        /// The status of HTTP.
        status: StatusCode,
        /// What it says to that, not more than 256 bytes of it.
        text: String,
    },
    /// The answer is of another type than those that were asked for.
    #[error("the answer is of type {0:?}")]
    ContentType(String),
    /// The answer ends in the middle of a frame.
    #[error("the answer ends {missing} bytes before the end of a frame")]
    Truncated {
        /// How much is missing.
        missing: usize,
    },
    /// A frame, a series or an answer is too long.
    #[error("{what} has more than {limit} bytes, which is the limit")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it may be.
        limit: usize,
    },
    /// A frame does not begin with a length.
    #[error("a frame begins with no length")]
    Length,
    /// A checksum is not that of the frame.
    #[error("the checksum of a frame is {found:#010x}, and not {computed:#010x}")]
    Checksum {
        /// The checksum that was sent.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// TLS is not agreed on: one of both has the certificate of another one, say.
    #[error("no TLS: {0}")]
    Tls(std::io::Error),
    /// A message is none.
    #[error("a message is malformed")]
    Malformed,
    /// A message cannot be decoded.
    #[error("a message cannot be decoded: {0}")]
    Message(#[from] prost::DecodeError),
    /// An answer of samples is not compressed as it should be.
    #[error("the answer is not compressed by snappy: {0}")]
    Snappy(#[from] snap::Error),
    /// Labels of a series are no set.
    #[error("{0}")]
    Labels(#[from] LabelsError),
    /// The chunks of a series are not in order, or of no range.
    #[error("the chunks of series {0} are not in order")]
    Chunks(String),
    /// A chunk has an encoding that cannot be one.
    #[error("a chunk has the encoding {0}, which is none")]
    Encoding(i32),
    /// There is no memory in the budget.
    #[error("{0}")]
    Pool(#[from] PoolError),
}

/// What went wrong, and why: hyper says the first only.
fn causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}

/// A server that is asked by remote read, whatever it is.
///
/// Streamed chunks are asked for, and samples where the server cannot stream. A server is read no faster than the answer is wanted: it
/// has to wait. Closing breaks the connection off.
#[derive(Debug, Clone)]
pub struct RemoteStore {
    name: Arc<str>,
    authority: Arc<str>,
    path: Arc<str>,
    host: Arc<str>,
    external: Arc<BTreeMap<String, String>>,
    limits: RemoteLimits,
    place: Place,
    security: Arc<DialerSecurity>,
}

impl RemoteStore {
    /// Creates a store of an address such as `http://prometheus:9090/api/v1/read`, where the path can be left out. Series get the
    /// external labels, which override what they have of their own.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if it is no address of HTTP.
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
    /// [`AddressError`] if it is no address of HTTP, or if the configuration cannot be used.
    pub fn secured(
        address: &str,
        external: BTreeMap<String, String>,
        limits: RemoteLimits,
        security: DialerConfig,
    ) -> Result<Self, AddressError> {
        let wrong = |problem: &str| AddressError { address: address.into(), problem: problem.into() };
        let Address { is_encrypted, host, port, path } = Address::parse(address)?;
        let security = DialerSecurity::new(security, is_encrypted, Protocol::Http1);
        Ok(Self {
            name: address.into(),
            authority: format!("{host}:{port}").into(),
            path: path.into(),
            host: host.into(),
            external: Arc::new(external),
            limits,
            place: Place(0),
            security: Arc::new(security.map_err(|error| wrong(&error.to_string()))?),
        })
    }

    /// Checks an address, and nothing else.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if it is no address of HTTP.
    pub fn check(address: &str) -> Result<(), AddressError> {
        Address::parse(address).map(drop)
    }

    /// Returns how the server is asked.
    #[must_use]
    pub const fn security(&self) -> &Arc<DialerSecurity> {
        &self.security
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

    /// Whether a query can find something here, by the external labels.
    pub(crate) fn can_match(&self, selector: &Selector) -> bool {
        let is_matched =
            |matcher: &Matcher| self.external.get(matcher.name()).is_none_or(|value| matcher.matches(value));
        selector.matchers.iter().all(is_matched)
    }

    /// Makes a store for a query, which connects when it is first asked.
    pub(crate) fn store(
        &self,
        selector: &Selector,
        memory: &Memory,
        options: &ResponseSetOptions,
    ) -> Store<BoxSource<'static, Response, StoreError>> {
        let (remote, request, memory) = (self.clone(), self.request(selector), memory.clone());
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
            let answer = remote.open(request, without, &memory).await.map_err(|error| remote.error(error))?;
            let next = async |answer: &mut Answer| {
                let series = answer.next().await.transpose()?;
                Some(series.map(Response::Series).map_err(|error| answer.remote.error(error)))
            };
            Ok(unfold(answer, next, async |answer: Answer| {
                answer.close().await;
                Ok(())
            })
            .boxed())
        };
        Store::new(Arc::clone(&self.name), opening).with_options(options)
    }

    fn error(&self, problem: RemoteError) -> StoreError {
        StoreError::Remote { address: Arc::clone(&self.name), problem }
    }

    fn request(&self, selector: &Selector) -> Bytes {
        let own = selector.matchers.iter().filter(|matcher| !self.external.contains_key(matcher.name()));
        let matchers = own.map(|matcher| {
            let kind = match matcher.op() {
                MatchOp::Equal => MatcherType::Eq,
                MatchOp::NotEqual => MatcherType::Neq,
                MatchOp::Regex => MatcherType::Re,
                MatchOp::NotRegex => MatcherType::Nre,
            };
            LabelMatcher { r#type: kind.into(), name: matcher.name().into(), value: matcher.value().into() }
        });
        let query = proto::Query {
            start_timestamp_ms: selector.range.min_ms,
            end_timestamp_ms: selector.range.max_ms,
            matchers: matchers.collect(),
        };
        let accepted = [ResponseType::StreamedXorChunks, ResponseType::Samples].map(i32::from);
        let request = ReadRequest { queries: vec![query], accepted_response_types: accepted.into() };
        // A request that came from outside fits; it is as long as one that did, at most.
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap_or_default().into()
    }

    async fn open(
        &self,
        request: Bytes,
        without: Arc<[String]>,
        memory: &Memory,
    ) -> Result<Answer, RemoteError> {
        let stream = TcpStream::connect(&*self.authority).await?;
        stream.set_nodelay(true)?;
        let stream = self.security.connect(stream, &self.host).await.map_err(RemoteError::Tls)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
        let mut posted = Request::new(Full::new(request));
        *posted.method_mut() = Method::POST;
        *posted.uri_mut() = self.path.parse().map_err(|_| RemoteError::Length)?;
        let header = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        let headers = posted.headers_mut();
        headers.insert(HOST, header(&self.authority));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("snappy"));
        if let Some(authorization) = self.security.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        headers.insert("x-prometheus-remote-read-version", HeaderValue::from_static("0.1.0"));
        let response = sender.send_request(posted).await?;
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE).map_or_else(String::new, |kind| {
            self.security.redact(&String::from_utf8_lossy(kind.as_bytes())).chars().take(128).collect()
        });
        let mut answer = Answer {
            body: response.into_body(),
            received: BytesMut::new(),
            rest: Vec::new().into_iter(),
            waiting: None,
            labels: LabelsBuilder::new(),
            without,
            has_ended: false,
            held: memory.lists.reservation(),
            remote: self.clone(),
            _sender: sender,
            connection,
        };
        if status != StatusCode::OK {
            // More than is said, so that a secret in it is seen as a whole.
            let text = answer.whole(TEXT_BYTES + MAX_SECRET_BYTES, true).await.unwrap_or_default();
            let text = self.security.redact(&String::from_utf8_lossy(&text));
            return Err(RemoteError::Status { status, text: text.trim().chars().take(TEXT_BYTES).collect() });
        }
        if kind.starts_with("application/x-streamed-protobuf") {
            return Ok(answer);
        }
        if kind.starts_with("application/x-protobuf") {
            answer.samples(memory).await?;
            return Ok(answer);
        }
        Err(RemoteError::ContentType(kind))
    }
}

/// An address of HTTP, taken apart.
struct Address {
    is_encrypted: bool,
    host: String,
    port: u16,
    path: String,
}

impl Address {
    fn parse(address: &str) -> Result<Self, AddressError> {
        let wrong = |problem: &str| AddressError { address: address.into(), problem: problem.into() };
        // First: also one that cannot be parsed may have a password.
        if address.contains('@') {
            let problem = "it has a user's name, and would be printed: there is basic_auth for that".into();
            return Err(AddressError { address: "…".into(), problem });
        }
        let uri: Uri = address.parse().map_err(|_| wrong("it cannot be parsed"))?;
        let (is_encrypted, port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(wrong("it does not begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        let path = match uri.path_and_query().map_or("/", |path| path.as_str()) {
            "/" => "/api/v1/read",
            path => path,
        };
        let (host, port) = (authority.host().into(), authority.port_u16().unwrap_or(port));
        Ok(Self { is_encrypted, host, port, path: path.into() })
    }
}

/// The task of a connection, which ends with this.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer that is being received.
struct Answer {
    body: Incoming,
    received: BytesMut,
    /// Series that are decoded and were not given yet.
    rest: std::vec::IntoIter<Series>,
    /// The last series, which may go on in the next frame.
    waiting: Option<Series>,
    labels: LabelsBuilder,
    /// The labels by which replicas differ.
    without: Arc<[String]>,
    has_ended: bool,
    /// What an answer of samples takes.
    held: Reservation,
    remote: RemoteStore,
    // Without it the connection would be closed.
    _sender: http1::SendRequest<Full<Bytes>>,
    connection: Connection,
}

/// How much is said of what a server says when it refuses.
const TEXT_BYTES: usize = 256;
/// How many samples a chunk has: as many as Prometheus puts into one.
const SAMPLES: usize = 120;
const XOR: u8 = 1;

impl Answer {
    async fn next(&mut self) -> Result<Option<Series>, RemoteError> {
        loop {
            if let Some(next) = self.rest.next() {
                match &mut self.waiting {
                    Some(waiting) if waiting.labels == next.labels => {
                        waiting.chunks.extend(next.chunks);
                        let limit = self.remote.limits.held_bytes;
                        if waiting.size_bytes() > limit {
                            return Err(RemoteError::TooLong { what: "a series", limit });
                        }
                    }
                    waiting => {
                        if let Some(whole) = waiting.replace(next) {
                            return Ok(Some(whole));
                        }
                    }
                }
            } else if self.has_ended {
                return Ok(self.waiting.take());
            } else if let Some(frame) = self.frame().await? {
                self.weigh("a frame, decoded,", &frame, &weight::CHUNKED_READ_RESPONSE)?;
                let frame = ChunkedReadResponse::decode(frame)?;
                let series = frame.chunked_series.into_iter().map(|series| self.series(series));
                self.rest = series.collect::<Result<Vec<_>, _>>()?.into_iter();
            } else {
                self.has_ended = true;
            }
        }
    }

    /// The next frame, if there is one.
    async fn frame(&mut self) -> Result<Option<Bytes>, RemoteError> {
        const HEAD_BYTES: usize = 14;
        let limit = self.remote.limits.frame_bytes;
        loop {
            let mut cursor = Cursor::new(&self.received);
            let head = cursor.uvarint("").and_then(|len| Ok((len, cursor.u32("")?)));
            let missing = match head {
                Ok((len, _)) if len > limit as u64 => {
                    return Err(RemoteError::TooLong { what: "a frame", limit });
                }
                Ok((len, found)) => {
                    let (start, len) = (cursor.position(), len as usize);
                    if self.received.len() >= start + len {
                        self.received.advance(start);
                        let frame = self.received.split_to(len).freeze();
                        let computed = crc32c::crc32c(&frame);
                        return if computed == found {
                            Ok(Some(frame))
                        } else {
                            Err(RemoteError::Checksum { found, computed })
                        };
                    }
                    start + len - self.received.len()
                }
                Err(_) if self.received.len() >= HEAD_BYTES => return Err(RemoteError::Length),
                Err(_) => 1,
            };
            match self.body.frame().await {
                None if self.received.is_empty() => return Ok(None),
                None => return Err(RemoteError::Truncated { missing }),
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.received.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// Returns how much memory a message takes when it is decoded.
    fn weigh(&self, what: &'static str, message: &[u8], shape: &Shape) -> Result<usize, RemoteError> {
        let limit = self.remote.limits.held_bytes;
        match weight::weight(message, shape) {
            None => Err(RemoteError::Malformed),
            Some(bytes) if bytes > limit => Err(RemoteError::TooLong { what, limit }),
            Some(bytes) => Ok(bytes),
        }
    }

    fn named(&mut self, labels: &[proto::Label]) -> Result<Labels, RemoteError> {
        self.labels.clear();
        for label in labels {
            self.labels.label(&label.name, &label.value);
        }
        for (name, value) in &*self.remote.external {
            self.labels.set(name, value);
        }
        Ok(self.labels.without_empty_values().build()?)
    }

    /// Which replica has these labels, and those that all series of the server have.
    fn replica(&self, labels: &[proto::Label]) -> Option<Replica> {
        Replica::of(self.without.iter().map(|name| {
            let own = || labels.iter().find(|label| label.name == *name).map(|label| &label.value);
            self.remote.external.get(name).or_else(own).map_or("", String::as_str)
        }))
    }

    fn series(&mut self, series: proto::ChunkedSeries) -> Result<Series, RemoteError> {
        let (labels, replica) = (self.named(&series.labels)?, self.replica(&series.labels));
        let chunk = |chunk: proto::Chunk| {
            // Numbers of encodings are small. One that is not known here may be to who asks.
            let encoding = u8::try_from(chunk.r#type).ok().filter(|encoding| (1..0x80).contains(encoding));
            let encoding = encoding.ok_or(RemoteError::Encoding(chunk.r#type))?;
            let data = self.remote.place.mark(replica, encoding, &chunk.data);
            Ok(Chunk::new(chunk.min_time_ms, chunk.max_time_ms, data))
        };
        let chunks = series.chunks.into_iter().map(chunk).collect::<Result<Vec<_>, RemoteError>>()?;
        if chunks.iter().any(|chunk| chunk.min_time_ms > chunk.max_time_ms) {
            return Err(RemoteError::Chunks(labels.to_string()));
        }
        Ok(Series::new(labels, chunks))
    }

    /// The whole body, or what comes first of it.
    async fn whole(&mut self, limit: usize, is_cut: bool) -> Result<Bytes, RemoteError> {
        let mut whole = mem::take(&mut self.received);
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                if whole.len() + data.len() > limit {
                    if is_cut {
                        whole.extend_from_slice(&data[..limit - whole.len()]);
                        break;
                    }
                    return Err(RemoteError::TooLong { what: "an answer", limit });
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(whole.freeze())
    }

    /// Receives an answer of samples, and makes chunks of them.
    async fn samples(&mut self, memory: &Memory) -> Result<(), RemoteError> {
        let limit = self.remote.limits.held_bytes;
        let compressed = self.whole(limit, false).await?;
        let len = snap::raw::decompress_len(&compressed)?;
        if len > limit {
            return Err(RemoteError::TooLong { what: "an answer", limit });
        }
        // The message, and what it is decoded to, which is not known before.
        memory.grow(&mut self.held, compressed.len() + len).await?;
        let message = snap::raw::Decoder::new().decompress_vec(&compressed)?;
        drop(compressed);
        let decoded = self.weigh("an answer, decoded,", &message, &weight::READ_RESPONSE)?;
        memory.grow(&mut self.held, decoded).await?;
        let response = ReadResponse::decode(message.as_slice())?;
        drop(message);
        let mut all = Vec::new();
        for series in response.results.into_iter().flat_map(|result| result.timeseries) {
            let labels = self.named(&series.labels)?;
            if !series.samples.is_sorted_by(|one, next| one.timestamp < next.timestamp) {
                return Err(RemoteError::Chunks(labels.to_string()));
            }
            let (place, replica) = (self.remote.place, self.replica(&series.labels));
            let chunks = series.samples.chunks(SAMPLES).map(|samples| chunk(samples, place, replica));
            all.push(Series::new(labels, chunks.collect()));
        }
        all.sort_by(|one, next| one.labels.cmp(&next.labels));
        self.rest = all.into_iter();
        self.has_ended = true;
        Ok(())
    }

    /// Breaks the connection off.
    async fn close(self) {
        let mut connection = self.connection;
        connection.0.abort();
        drop((&mut connection.0).await);
    }
}

/// A chunk of samples, of which there is one at least.
fn chunk(samples: &[proto::Sample], place: Place, replica: Option<Replica>) -> Chunk {
    let mut encoder = XorEncoder::new();
    for sample in samples {
        encoder.push(Sample { time_ms: sample.timestamp, value: sample.value });
    }
    let first = samples.first().map_or(0, |sample| sample.timestamp);
    let last = samples.last().map_or(0, |sample| sample.timestamp);
    Chunk::new(first, last, place.mark(replica, XOR, encoder.finish()))
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("remote", &self.remote.name).finish_non_exhaustive()
    }
}
