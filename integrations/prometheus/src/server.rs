//! Serving remote read by HTTP, to clients that may be slow, wrong, hostile or gone.
//!
//! | path | |
//! |---|---|
//! | `POST /api/v1/read` | remote read, as samples or as streamed chunks |
//! | `GET /metrics` | figures for Prometheus |
//! | `GET /-/healthy` | 200 as long as it runs |
//! | `GET /-/ready` | 200 as long as queries are taken |
//!
//! What a client has left behind is closed: hyper drops what it was sent then, and a query that is dropped is closed in the
//! background. An error that comes after the first byte breaks the connection off: a body that ends in order is whole.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use std::vec;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::block::{Interval, Selector};
use crate::connections::{Connection, Connections};
use crate::gateway::{Gateway, Query, QueryError, Turn};
use crate::go_regex::{MAX_COMPILED_BYTES, MAX_PATTERN_BYTES, RegexBudget};
use crate::impatient::Impatient;
use crate::matcher::{MatchOp, Matcher, MatcherError};
use crate::remote::frames::{self, FrameWriter};
use crate::remote::proto::{self, MatcherType, ReadRequest, ResponseType};
use crate::remote::samples::SamplesWriter;
use crate::remote::weight::{READ_REQUEST, weight};
use crate::security::{AuthError, ListenerSecurity};

/// What a client may send, and how slow it may be. `docs/limits.md` has all limits in one table.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerLimits {
    /// How many connections may be open at once. For another one, one is closed on which no whole request has come for a moment: the
    /// one that has waited for longest, of the address that has most of them. Where all are being answered, it waits. Default: 1024.
    pub connections: usize,
    /// How many bytes the head of a request may have: its path and headers. Default: 32 KiB.
    pub head_bytes: usize,
    /// How many headers a request may have. Default: 64.
    pub headers: usize,
    /// How many bytes the path of a request may have. Default: 2 KiB.
    pub path_bytes: usize,
    /// How many bytes a request may have, compressed. Default: 1 MiB.
    pub request_bytes: usize,
    /// How many bytes it may have decompressed, and decoded. Default: 2 MiB.
    pub decompressed_bytes: usize,
    /// How many bytes of all requests may be there that were not decompressed yet. For more, the one that has been coming for longest
    /// is broken off. Default: 16 MiB.
    pub receiving_bytes: usize,
    /// How many queries it may have. Default: 64.
    pub queries: usize,
    /// How many matchers a query may have. Default: 128.
    pub matchers: usize,
    /// How many bytes a regular expression may have. Default: 64 KiB.
    pub pattern_bytes: usize,
    /// How many bytes all regular expressions of a request may take when they are compiled. Default: 4 MiB.
    pub compiled_bytes: usize,
    /// How long the head of a request may take, from the connection or the answer before. Default: 30 s.
    pub head_time: Duration,
    /// How long the body of a request may take. Default: 15 s.
    pub body_time: Duration,
    /// Within which time a client has to take 64 KiB of its answer, from when it does not take what there is. Default: 30 s.
    pub stall_time: Duration,
    /// The same, as long as others wait for their turn or for memory. Default: 3 s.
    pub busy_stall_time: Duration,
    /// How long running queries have when the server is stopped. Default: 10 s.
    pub grace_time: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_bytes: 32 << 10,
            headers: 64,
            path_bytes: 2 << 10,
            request_bytes: 1 << 20,
            decompressed_bytes: 2 << 20,
            receiving_bytes: 16 << 20,
            queries: 64,
            matchers: 128,
            pattern_bytes: MAX_PATTERN_BYTES,
            compiled_bytes: MAX_COMPILED_BYTES,
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(15),
            stall_time: Duration::from_secs(30),
            busy_stall_time: Duration::from_secs(3),
            grace_time: Duration::from_secs(10),
        }
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is longer than it may be.
    #[error("the request has more than {limit} bytes, which is the limit")]
    TooLong {
        /// How long it may be.
        limit: usize,
    },
    /// Its body did not come in time.
    #[error("the request did not come within {limit:?}")]
    TooSlow {
        /// How long it may take.
        limit: Duration,
    },
    /// Its body cannot be received.
    #[error("the request cannot be received: {0}")]
    Body(String),
    /// It is not compressed by snappy.
    #[error("the request is not compressed by snappy: {0}")]
    Snappy(#[from] snap::Error),
    /// It is no message of remote read.
    #[error("the request is no ReadRequest: it is malformed")]
    Malformed,
    /// As above.
    #[error("the request is no ReadRequest: {0}")]
    Message(#[from] prost::DecodeError),
    /// Its head is longer than it may be, or has too many headers, or its path is too long.
    #[error("the head of the request has more than {limit} {what}, which is the limit")]
    Head {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
        /// Which status says so.
        status: StatusCode,
    },
    /// Nobody knows who asks.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// It has too many of something.
    #[error("the request has {count} {what}, more than the limit of {limit}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// It has a matcher of a type that there is not.
    #[error("there is no matcher of type {0}")]
    MatcherType(i32),
    /// It has a matcher that is wrong.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// It accepts only answers of types that there are not.
    #[error("none of the accepted response types is supported: {0:?}")]
    ResponseTypes(Vec<i32>),
    /// It cannot be answered.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The server is being stopped.
    #[error("the gateway is being stopped")]
    Stopping,
}

impl RequestError {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Head { status, .. } => *status,
            Self::Stopping | Self::Auth(AuthError::Busy) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Auth(_) => StatusCode::UNAUTHORIZED,
            Self::Query(error) => {
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

type Body = UnsyncBoxBody<Bytes, QueryError>;

/// Renders figures in the text format of Prometheus.
pub type Render = Box<dyn Fn() -> String + Send + Sync>;

/// How often it is looked for a connection that can be closed, where there was none.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves a gateway.
pub struct Server {
    gateway: Arc<Gateway>,
    limits: ServerLimits,
    render: Render,
    without: Arc<[String]>,
    security: Arc<ListenerSecurity>,
    connections: Arc<Connections>,
    /// Bytes of requests that may still come.
    receiving: Arc<Semaphore>,
    is_stopping: AtomicBool,
}

impl Server {
    /// Creates a server. `render` is what `/metrics` gives.
    pub fn new(gateway: Arc<Gateway>, limits: ServerLimits, render: Render) -> Self {
        let without = gateway.limits().replica_labels.clone().into();
        let receiving = limits.receiving_bytes.max(limits.request_bytes).min(Semaphore::MAX_PERMITS);
        Self {
            gateway,
            limits,
            render,
            without,
            security: Arc::new(ListenerSecurity::none()),
            connections: Arc::default(),
            receiving: Arc::new(Semaphore::new(receiving)),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// Asks those who connect for what a web configuration says.
    #[must_use]
    pub fn with_security(self, security: Arc<ListenerSecurity>) -> Self {
        Self { security, ..self }
    }

    /// Serves until `stop`; then takes no new queries, lets those that run go on for the grace time, and breaks the rest off.
    ///
    /// What was broken off is closed in the background: wait for the closer of the gateway.
    pub async fn serve(self, listener: TcpListener, stop: impl Future) {
        let server = Arc::new(self);
        let limit = server.limits.connections;
        let mut stop = pin!(stop);
        let (stopping, _) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(limit));
        let mut connections = JoinSet::new();
        // One that has come and has no room yet, and whether one was closed for it.
        let mut arrived: Option<(TcpStream, SocketAddr)> = None;
        let mut is_expected = false;
        loop {
            if arrived.is_some() && !is_expected && permits.available_permits() == 0 {
                is_expected = server.connections.make_room();
                if is_expected {
                    let text =
                        format!("{limit} are open, which is the limit, and it had sent no request for long");
                    server.connections.closed("connections", &text);
                }
            }
            tokio::select! {
                accepted = listener.accept(), if arrived.is_none() => match accepted {
                    Ok(client) => arrived = Some(client),
                    // Out of file descriptors, most likely.
                    Err(error) => {
                        if server.connections.make_room() {
                            let text = format!("no other one could be accepted: {error}");
                            server.connections.closed("connections", &text);
                        }
                        sleep(PAUSE).await;
                    }
                },
                permit = Arc::clone(&permits).acquire_owned(), if arrived.is_some() => {
                    if let Some((client, address)) = arrived.take() {
                        is_expected = false;
                        let connection = connection(Arc::clone(&server), client, address, stopping.subscribe());
                        connections.spawn(connection.map(move |()| drop(permit)));
                    }
                }
                () = sleep(PAUSE), if arrived.is_some() && !is_expected => {}
                Some(_) = connections.join_next() => {}
                _ = &mut stop => break,
            }
        }
        server.is_stopping.store(true, Ordering::Relaxed);
        drop(listener);
        stopping.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(server.limits.grace_time, ended).await.is_err() {
            connections.shutdown().await;
        }
    }

    /// Checks what comes before the body of a request: its size, and who asks.
    async fn admit(&self, request: &Request<Incoming>) -> Result<Client, RequestError> {
        let ServerLimits { head_bytes, headers: count, path_bytes, .. } = self.limits;
        let client = request.extensions().get::<Client>().cloned().unwrap_or_default();
        let path = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
        let headers = request.headers();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        for (what, has, limit, status) in [
            ("bytes of a path", path, path_bytes, StatusCode::URI_TOO_LONG),
            ("headers", headers.len(), count, large),
            ("bytes", path + bytes, head_bytes, large),
        ] {
            if has > limit {
                return Err(RequestError::Head { what, limit, status });
            }
        }
        self.security.authenticate(headers, client.address).await?;
        Ok(client)
    }

    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let text = |status, text: String| {
            let mut response = Response::new(full(text));
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            response
        };
        let client = match self.admit(&request).await {
            Ok(client) => client,
            Err(error) => {
                let code = error.status().as_u16().to_string();
                metrics::counter!("losertree_gateway_refused_total", "code" => code).increment(1);
                let mut response = text(error.status(), format!("{error}\n"));
                if error.status() == StatusCode::UNAUTHORIZED {
                    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
                }
                self.security.put_headers(response.headers_mut());
                return Ok(response);
            }
        };
        let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
        let mut response = match (request.uri().path(), is_read) {
            ("/api/v1/read", _) if request.method() == Method::POST => {
                let answered = Arc::clone(&self).read(request, client).await;
                let status = answered.as_ref().map_or_else(RequestError::status, Response::status);
                metrics::counter!("losertree_gateway_requests_total", "code" => status.as_u16().to_string())
                    .increment(1);
                answered.unwrap_or_else(|error| text(status, format!("{error}\n")))
            }
            ("/metrics", true) => {
                let mut response = text(StatusCode::OK, (self.render)());
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            ("/-/healthy", true) => text(StatusCode::OK, "healthy\n".into()),
            ("/-/ready", true) if self.is_stopping.load(Ordering::Relaxed) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into())
            }
            ("/-/ready", true) => text(StatusCode::OK, "ready\n".into()),
            ("/api/v1/read" | "/metrics" | "/-/healthy" | "/-/ready", _) => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".into());
                let allowed = if request.uri().path() == "/api/v1/read" { "POST" } else { "GET, HEAD" };
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
                response
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n".into()),
        };
        self.security.put_headers(response.headers_mut());
        Ok(response)
    }

    async fn read(
        self: Arc<Self>,
        request: Request<Incoming>,
        client: Client,
    ) -> Result<Response<Body>, RequestError> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(RequestError::Stopping);
        }
        let Client { name: client, address, connection } = client;
        let received = self.receive(request.into_body(), connection.as_deref()).await?;
        // From here on it is not closed to make room for others.
        let working = connection.as_ref().map(Connection::work);
        let turn = self.gateway.turn_of(address).await?;
        // Off the threads that serve others: expressions take time to compile.
        let server = Arc::clone(&self);
        let parsing = spawn_blocking(move || server.parse(&received.bytes));
        let (selectors, kind) = parsing.await.map_err(|_| RequestError::Stopping)??;
        let mut response = match kind {
            ResponseType::Samples => {
                let body = self.samples(turn, &client, &selectors).await?;
                let mut response = Response::new(body);
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
                response
            }
            ResponseType::StreamedXorChunks => {
                let mut frames = Frames::new(Arc::clone(&self.gateway), turn, client, selectors);
                // What goes wrong before the first byte has a status of its own.
                let first = frames.next().await.transpose()?;
                let body = stream::iter(first.map(Ok)).chain(frames).map(|frame| frame.map(Frame::data));
                let mut response = Response::new(StreamBody::new(body).boxed_unsync());
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(frames::CONTENT_TYPE));
                response
            }
        };
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        Ok(response.map(|body| {
            let kept = body.map_frame(move |frame| {
                let _ = &working;
                frame
            });
            kept.boxed_unsync()
        }))
    }

    async fn receive(
        &self,
        body: Incoming,
        connection: Option<&Connection>,
    ) -> Result<Received, RequestError> {
        let ServerLimits { request_bytes: limit, body_time, .. } = self.limits;
        let receiving = async {
            let mut body = body;
            let mut received = Received::default();
            let (mut is_too_long, mut rest) = (false, limit.saturating_mul(DRAINED));
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| RequestError::Body(error.to_string()))?;
                let Ok(data) = frame.into_data() else { continue };
                rest = rest.saturating_sub(data.len());
                if rest == 0 {
                    return Err(RequestError::TooLong { limit });
                }
                if is_too_long || received.bytes.len() + data.len() > limit {
                    // Whoever sends more than a little too much would not read why it is refused, but have its connection reset.
                    is_too_long = true;
                    received = Received::default();
                    continue;
                }
                let permit = self.room(data.len(), connection).await;
                match (&mut received.permit, permit) {
                    (Some(all), Some(more)) => all.merge(more),
                    (all, more) => *all = more,
                }
                received.bytes.extend_from_slice(&data);
            }
            if is_too_long { Err(RequestError::TooLong { limit }) } else { Ok(received) }
        };
        match timeout(body_time, receiving).await {
            Err(_) => Err(RequestError::TooSlow { limit: body_time }),
            Ok(received) => received,
        }
    }

    /// Waits until there is room for a part of a request, and breaks off others that have been coming for longer.
    async fn room(&self, bytes: usize, connection: Option<&Connection>) -> Option<OwnedSemaphorePermit> {
        // Not more than the limit of a request, which there is room for.
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let receiving = || Arc::clone(&self.receiving);
        let mut room = receiving().try_acquire_many_owned(count).ok();
        while room.is_none() {
            if connection.is_some_and(|own| self.connections.make_room_of_requests(own)) {
                let limit = self.limits.receiving_bytes;
                let text = format!(
                    "requests take {limit} bytes, which is the limit, and its own had come for longest"
                );
                self.connections.closed("receiving", &text);
            }
            // One that is closed may not be enough.
            room = timeout(PAUSE, receiving().acquire_many_owned(count)).await.ok().and_then(Result::ok);
        }
        if let Some(connection) = connection {
            connection.receive(bytes);
        }
        room
    }

    /// Reads the body of a request: what its queries select, and the type of the answer, which is the first one it accepts of those
    /// that there are.
    ///
    /// # Errors
    ///
    /// [`RequestError`] if it is no request of remote read, or beyond the limits.
    pub fn parse(&self, compressed: &[u8]) -> Result<(Vec<Selector>, ResponseType), RequestError> {
        let ServerLimits { decompressed_bytes: limit, queries, matchers, .. } = self.limits;
        // What it says of its length is looked at before memory is allocated for it.
        if snap::raw::decompress_len(compressed)? > limit {
            return Err(RequestError::TooLong { limit });
        }
        let message = snap::raw::Decoder::new().decompress_vec(compressed)?;
        // Two bytes can become a matcher.
        match weight(&message, &READ_REQUEST) {
            None => return Err(RequestError::Malformed),
            Some(bytes) if bytes > limit => return Err(RequestError::TooLong { limit }),
            Some(_) => {}
        }
        let request = ReadRequest::decode(message.as_slice())?;
        let at_most = |what, count, limit| {
            if count > limit { Err(RequestError::TooMany { what, count, limit }) } else { Ok(()) }
        };
        at_most("queries", request.queries.len(), queries)?;
        let mut budget = RegexBudget::new(self.limits.pattern_bytes, self.limits.compiled_bytes);
        let mut selectors = Vec::with_capacity(request.queries.len());
        for query in &request.queries {
            at_most("matchers in a query", query.matchers.len(), matchers)?;
            selectors.push(selector(query, &self.without, &mut budget)?);
        }
        let accepted = &request.accepted_response_types;
        let kind = if accepted.is_empty() {
            Some(ResponseType::Samples)
        } else {
            accepted.iter().find_map(|kind| ResponseType::try_from(*kind).ok())
        };
        let kind =
            kind.ok_or_else(|| RequestError::ResponseTypes(accepted.iter().copied().take(16).collect()))?;
        Ok((selectors, kind))
    }

    /// Answers all queries by one message.
    async fn samples(&self, turn: Turn, client: &str, selectors: &[Selector]) -> Result<Body, QueryError> {
        let mut writer = SamplesWriter::new(self.gateway.answers());
        while !self.write(&mut writer, &turn, client, selectors).await? {
            writer = writer.again().await?;
        }
        let (pieces, held) = writer.finish();
        // They are charged, and it is its turn, until they are sent.
        let sent = pieces.into_iter().map(move |piece| {
            let _ = (&held, &turn);
            Ok(Frame::data(piece))
        });
        Ok(StreamBody::new(stream::iter(sent)).boxed_unsync())
    }
}

impl Server {
    /// Writes the answers to all queries. Returns `false` if that has to be done anew.
    async fn write(
        &self,
        writer: &mut SamplesWriter,
        turn: &Turn,
        client: &str,
        selectors: &[Selector],
    ) -> Result<bool, QueryError> {
        for selector in selectors {
            let mut query = self.gateway.query(client, selector, turn.deadline).await?;
            writer.begin();
            while let Some(series) = query.next().await {
                writer.put(&series?, selector.range)?;
                if !writer.charge().await? {
                    // What goes wrong in closing is of no interest: it is asked again.
                    let _ = query.close().await;
                    return Ok(false);
                }
            }
            writer.end()?;
            if !writer.charge().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("gateway", &self.gateway)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

fn selector(
    query: &proto::Query,
    without: &Arc<[String]>,
    budget: &mut RegexBudget,
) -> Result<Selector, RequestError> {
    let mut matchers = Vec::with_capacity(query.matchers.len());
    for matcher in &query.matchers {
        let op = match MatcherType::try_from(matcher.r#type) {
            Ok(MatcherType::Eq) => MatchOp::Equal,
            Ok(MatcherType::Neq) => MatchOp::NotEqual,
            Ok(MatcherType::Re) => MatchOp::Regex,
            Ok(MatcherType::Nre) => MatchOp::NotRegex,
            Err(_) => return Err(RequestError::MatcherType(matcher.r#type)),
        };
        matchers.push(Matcher::within(&matcher.name, op, &matcher.value, budget)?);
    }
    let range = Interval::new(query.start_timestamp_ms, query.end_timestamp_ms);
    Ok(Selector { matchers: matchers.into(), range, without: Arc::clone(without) })
}

/// How many times the limit is read of a request that is longer, and thrown away.
const DRAINED: usize = 16;

/// A request that has come, and the room that it takes.
#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Who asks.
#[derive(Debug, Clone)]
struct Client {
    /// For the ledger.
    name: String,
    address: IpAddr,
    connection: Option<Arc<Connection>>,
}

impl Default for Client {
    fn default() -> Self {
        Self { name: "a client".into(), address: Ipv4Addr::UNSPECIFIED.into(), connection: None }
    }
}

/// Serves a client until it has gone, has to go, or is stopped.
async fn connection(
    server: Arc<Server>,
    client: TcpStream,
    address: SocketAddr,
    stopping: watch::Receiver<bool>,
) {
    let connection = server.connections.enter(address.ip());
    let name = Client {
        name: address.to_string(),
        address: address.ip(),
        connection: Some(Arc::clone(&connection)),
    };
    let connections = Arc::clone(&server.connections);
    tokio::select! {
        // It was noted why.
        () = connection.closed() => {}
        ended = serve_client(server, client, name, stopping) => {
            if let Err((reason, text)) = ended {
                connections.closed(reason, &text);
            }
        }
    }
}

/// Serves a client until it has gone. What is an affair of its own is no error.
async fn serve_client(
    server: Arc<Server>,
    client: TcpStream,
    name: Client,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), (&'static str, String)> {
    let ServerLimits { head_time, stall_time, busy_stall_time, headers, head_bytes, .. } = server.limits;
    let client = Impatient::new(client, stall_time, busy_stall_time, Arc::clone(&server.gateway));
    let client = server.security.accept(client).await.map_err(|error| ("tls", format!("no TLS: {error}")))?;
    let respond = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(name.clone());
        Arc::clone(&server).respond(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_time)
            // Beyond the limits, so that there is an answer that names them.
            .max_headers(headers.saturating_mul(2))
            .max_buf_size((head_bytes * 2).max(16 << 10))
            .serve_connection(TokioIo::new(client), respond)
    );
    // A client that goes away, or is wrong, is its own affair.
    let mut ended = None;
    tokio::select! {
        by_itself = connection.as_mut() => ended = Some(by_itself),
        _ = stopping.wait_for(|is_stopping| *is_stopping) => {}
    }
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        ended = Some(connection.await);
    }
    let Some(Err(error)) = ended else { return Ok(()) };
    let is_stalled = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .filter(|error| error.kind() == io::ErrorKind::TimedOut);
    if let Some(stalled) = is_stalled {
        return Err(("stall_time", stalled.to_string()));
    }
    if error.is_parse_too_large() {
        let text = format!(
            "the head of a request has more than {head_bytes} bytes or {headers} headers, which are the limits"
        );
        return Err(("head_bytes", text));
    }
    if error.is_timeout() {
        let text = format!("the head of a request did not come within {head_time:?}, which is the limit");
        return Err(("head_time", text));
    }
    Ok(())
}

/// How much is collected before it is sent, unless nothing more comes at the moment.
const SENT_BYTES: usize = 64 << 10;

/// The frames of a streamed answer, several at a time.
struct Frames {
    gateway: Arc<Gateway>,
    client: String,
    selectors: vec::IntoIter<Selector>,
    turn: Turn,
    /// The number of the query that is answered, or the next one.
    index: i64,
    state: State,
    writer: FrameWriter,
    out: Vec<u8>,
}

enum State {
    Next,
    Opening(BoxFuture<'static, Result<Query, QueryError>>),
    Reading(Box<Query>),
    Ended,
}

impl Frames {
    fn new(gateway: Arc<Gateway>, turn: Turn, client: String, selectors: Vec<Selector>) -> Self {
        let (writer, out) = (FrameWriter::default(), Vec::new());
        Self {
            gateway,
            client,
            selectors: selectors.into_iter(),
            turn,
            index: 0,
            state: State::Next,
            writer,
            out,
        }
    }

    fn open(&mut self) -> State {
        let Some(selector) = self.selectors.next() else { return State::Ended };
        let (gateway, client, deadline) =
            (Arc::clone(&self.gateway), self.client.clone(), self.turn.deadline);
        State::Opening(async move { gateway.query(&client, &selector, deadline).await }.boxed())
    }

    fn take(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| mem::replace(&mut self.out, Vec::with_capacity(SENT_BYTES)).into())
    }
}

impl Stream for Frames {
    type Item = Result<Bytes, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let polled = match &mut this.state {
                State::Next => {
                    this.state = this.open();
                    continue;
                }
                State::Opening(opening) => {
                    opening.as_mut().poll(cx).map_ok(|query| this.state = State::Reading(Box::new(query)))
                }
                State::Reading(query) => match Pin::new(&mut **query).poll_next(cx) {
                    Poll::Ready(Some(Ok(series))) => {
                        this.writer.put(&series, this.index, &mut this.out);
                        if this.out.len() >= SENT_BYTES {
                            return Poll::Ready(this.take().map(Ok));
                        }
                        continue;
                    }
                    Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
                    Poll::Ready(None) => {
                        this.index += 1;
                        this.state = State::Next;
                        continue;
                    }
                    Poll::Pending => Poll::Pending,
                },
                State::Ended => return Poll::Ready(this.take().map(Ok)),
            };
            match polled {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    this.state = State::Ended;
                    // It is not whole: what was not sent yet is not either.
                    this.out.clear();
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Pending => {
                    return this.take().map_or(Poll::Pending, |bytes| Poll::Ready(Some(Ok(bytes))));
                }
            }
        }
    }
}
