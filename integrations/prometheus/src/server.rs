//! Serving remote read by HTTP, to clients that may be slow, wrong, hostile or gone.
//!
//! | path | |
//! |---|---|
//! | `POST /api/v1/read` | remote read, as samples or as streamed chunks |
//! | `GET /metrics` | figures for Prometheus |
//! | `GET /` | a page that shows what the gateway does |
//! | `GET /api/v1/status/gateway` | the same as JSON: a [`Status`] |
//! | `GET /-/healthy` | 200 as long as it runs |
//! | `GET /-/ready` | 200 as long as queries are taken |
//!
//! What a client has left behind is closed: hyper drops what it was sent then, and a query that is dropped is closed in the
//! background. An error that comes after the first byte breaks the connection off: a body that ends in order is whole.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::mem;
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
use http_body_util::{BodyExt, Full, LengthLimitError, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use crate::block::{Interval, Selector};
use crate::gateway::{Gateway, Query, QueryError, Turn};
use crate::matcher::{MatchOp, Matcher, MatcherError};
use crate::page;
use crate::remote::frames::{self, FrameWriter};
use crate::remote::proto::{self, MatcherType, ReadRequest, ResponseType};
use crate::remote::samples::SamplesWriter;
use crate::status::Status;

/// What a client may send, and how slow it may be.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerLimits {
    /// How many connections may be open at once; others wait to be accepted. Default: 1024.
    pub connections: usize,
    /// How many bytes a request may have, compressed. Default: 1 MiB.
    pub request_bytes: usize,
    /// How many bytes it may have decompressed. Default: 8 MiB.
    pub decompressed_bytes: usize,
    /// How many queries it may have. Default: 64.
    pub queries: usize,
    /// How many matchers a query may have. Default: 128.
    pub matchers: usize,
    /// How long the head of a request may take, from the connection or the answer before. Default: 30 s.
    pub head_time: Duration,
    /// How long the body of a request may take. Default: 15 s.
    pub body_time: Duration,
    /// Within which time a client has to take 64 KiB of its answer, from when it does not take what there is. Default: 30 s.
    pub stall_time: Duration,
    /// How long running queries have when the server is stopped. Default: 10 s.
    pub grace_time: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            request_bytes: 1 << 20,
            decompressed_bytes: 8 << 20,
            queries: 64,
            matchers: 128,
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(15),
            stall_time: Duration::from_secs(30),
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
    #[error("the request is no ReadRequest: {0}")]
    Message(#[from] prost::DecodeError),
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
            Self::Query(error) => {
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

type Body = UnsyncBoxBody<Bytes, QueryError>;

/// Renders figures in the text format of Prometheus.
pub type Render = Box<dyn Fn() -> String + Send + Sync>;

/// Serves a gateway.
pub struct Server {
    gateway: Arc<Gateway>,
    limits: ServerLimits,
    render: Render,
    without: Arc<[String]>,
    is_stopping: AtomicBool,
}

impl Server {
    /// Creates a server. `render` is what `/metrics` gives.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, limits: ServerLimits, render: Render) -> Self {
        let without = gateway.limits().replica_labels.clone().into();
        Self { gateway, limits, render, without, is_stopping: AtomicBool::new(false) }
    }

    /// Serves until `stop`; then takes no new queries, lets those that run go on for the grace time, and breaks the rest off.
    ///
    /// What was broken off is closed in the background: wait for the closer of the gateway.
    pub async fn serve(self, listener: TcpListener, stop: impl Future) {
        let server = Arc::new(self);
        let mut stop = pin!(stop);
        let (stopping, _) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(server.limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (listener.accept().await, permit)
            };
            tokio::select! {
                accepted = accept => match accepted {
                    (Ok((client, _)), permit) => {
                        let connection = connection(Arc::clone(&server), client, stopping.subscribe());
                        connections.spawn(connection.map(move |()| drop(permit)));
                    }
                    // Out of file descriptors, most likely: some will be free again.
                    (Err(_), _) => sleep(Duration::from_millis(100)).await,
                },
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

    async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let text = |status, text: String| {
            let mut response = Response::new(full(text));
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            response
        };
        let is_read = request.method() == Method::GET || request.method() == Method::HEAD;
        Ok(match (request.uri().path(), is_read) {
            ("/api/v1/read", _) if request.method() == Method::POST => {
                let answered = self.read(request).await;
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
            // Not on the threads for what blocks: where those wait for memory, it is time to look at the page.
            (path, true) if page::PATHS.contains(&path) => {
                let found =
                    page::get(path, || Status::of(&self.gateway, self.is_stopping.load(Ordering::Relaxed)));
                found.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync())
            }
            (path, _) if SERVED.contains(&path) || page::PATHS.contains(&path) => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".into());
                let allowed = if request.uri().path() == "/api/v1/read" { "POST" } else { "GET, HEAD" };
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
                response
            }
            _ => text(StatusCode::NOT_FOUND, "not found\n".into()),
        })
    }

    async fn read(&self, request: Request<Incoming>) -> Result<Response<Body>, RequestError> {
        if self.is_stopping.load(Ordering::Relaxed) {
            return Err(RequestError::Stopping);
        }
        let client = request.extensions().get::<Client>().map_or_else(String::new, |client| client.0.clone());
        let compressed = self.receive(request.into_body()).await?;
        let turn = self.gateway.turn().await?;
        let (selectors, kind) = self.parse(&compressed)?;
        drop(compressed);
        let mut response = match kind {
            ResponseType::Samples => {
                let body = self.samples(turn, &client, &selectors).await;
                // All else is a failure of a query, which has seen it.
                let body = body.inspect_err(|error| {
                    if let QueryError::Samples(error) = error {
                        self.gateway.queries().failed(client.as_str(), error);
                    }
                })?;
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
        Ok(response)
    }

    async fn receive(&self, body: Incoming) -> Result<Bytes, RequestError> {
        let ServerLimits { request_bytes: limit, body_time, .. } = self.limits;
        let received = timeout(body_time, Limited::new(body, limit).collect()).await;
        match received {
            Err(_) => Err(RequestError::TooSlow { limit: body_time }),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(RequestError::TooLong { limit }),
            Ok(Err(error)) => Err(RequestError::Body(error.to_string())),
            Ok(Ok(body)) => Ok(body.to_bytes()),
        }
    }

    fn parse(&self, compressed: &[u8]) -> Result<(Vec<Selector>, ResponseType), RequestError> {
        let ServerLimits { decompressed_bytes: limit, queries, matchers, .. } = self.limits;
        // What it says of its length is looked at before memory is allocated for it.
        if snap::raw::decompress_len(compressed)? > limit {
            return Err(RequestError::TooLong { limit });
        }
        let message = snap::raw::Decoder::new().decompress_vec(compressed)?;
        let request = ReadRequest::decode(message.as_slice())?;
        let at_most = |what, count, limit| {
            if count > limit { Err(RequestError::TooMany { what, count, limit }) } else { Ok(()) }
        };
        at_most("queries", request.queries.len(), queries)?;
        let mut selectors = Vec::with_capacity(request.queries.len());
        for query in &request.queries {
            at_most("matchers in a query", query.matchers.len(), matchers)?;
            selectors.push(selector(query, &self.without)?);
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
        let mut writer = SamplesWriter::new(self.gateway.memory());
        for selector in selectors {
            let mut query = self.gateway.query(client, selector, turn.deadline).await?;
            writer.begin();
            while let Some(series) = query.next().await {
                writer.put(&series?, selector.range)?;
                writer.charge().await?;
            }
            writer.end()?;
            writer.charge().await?;
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

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("gateway", &self.gateway)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What is served besides the page.
const SERVED: [&str; 4] = ["/api/v1/read", "/metrics", "/-/healthy", "/-/ready"];

fn full(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

fn selector(query: &proto::Query, without: &Arc<[String]>) -> Result<Selector, RequestError> {
    let mut matchers = Vec::with_capacity(query.matchers.len());
    for matcher in &query.matchers {
        let op = match MatcherType::try_from(matcher.r#type) {
            Ok(MatcherType::Eq) => MatchOp::Equal,
            Ok(MatcherType::Neq) => MatchOp::NotEqual,
            Ok(MatcherType::Re) => MatchOp::Regex,
            Ok(MatcherType::Nre) => MatchOp::NotRegex,
            Err(_) => return Err(RequestError::MatcherType(matcher.r#type)),
        };
        matchers.push(Matcher::new(&matcher.name, op, &matcher.value)?);
    }
    let range = Interval::new(query.start_timestamp_ms, query.end_timestamp_ms);
    Ok(Selector { matchers: matchers.into(), range, without: Arc::clone(without) })
}

/// Who asks, for the ledger.
#[derive(Debug, Clone)]
struct Client(String);

async fn connection(server: Arc<Server>, client: TcpStream, mut stopping: watch::Receiver<bool>) {
    let name = Client(client.peer_addr().map_or_else(|_| "a client".into(), |address| address.to_string()));
    let ServerLimits { head_time, stall_time, .. } = server.limits;
    let respond = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(name.clone());
        Arc::clone(&server).respond(request)
    });
    let client = TokioIo::new(Impatient { client, limit: stall_time, window: None });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_time)
            .max_buf_size(256 << 10)
            .serve_connection(client, respond)
    );
    // A client that goes away, or is wrong, is its own affair.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|is_stopping| *is_stopping) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
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

impl Drop for Frames {
    /// Where a leak is to be shown, the query of a client that has gone away is forgotten: the one close that is lost.
    fn drop(&mut self) {
        if self.gateway.forgets_closes()
            && let State::Reading(query) = mem::replace(&mut self.state, State::Ended)
        {
            mem::forget(query);
        }
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

/// A connection that fails if the client is too slow: from when it does not take what there is for it, it has to take
/// [`MIN_TAKEN_BYTES`] within the time limit.
struct Impatient {
    client: TcpStream,
    limit: Duration,
    /// Runs from when there was something that it did not take, with how much it has taken since.
    window: Option<(Pin<Box<Sleep>>, usize)>,
}

/// How much a client has to take within the time limit, unless it waits for us.
const MIN_TAKEN_BYTES: usize = 64 << 10;

impl Impatient {
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&written, &mut self.window) {
            (Poll::Ready(Err(_)), _) | (Poll::Ready(_), None) => return written,
            (Poll::Ready(Ok(taken)), Some((_, all))) => *all += taken,
            (Poll::Pending, window) => {
                window.get_or_insert_with(|| (Box::pin(sleep(self.limit)), 0));
            }
        }
        if let Some((timer, taken)) = &mut self.window {
            if *taken >= MIN_TAKEN_BYTES {
                self.window = None;
            } else if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        written
    }
}

impl AsyncRead for Impatient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Impatient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.client).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.client).poll_write_vectored(cx, bytes);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.client.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when all is written: the client waits for us now, and not we for it.
        self.window = None;
        Pin::new(&mut self.client).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_shutdown(cx)
    }
}
