//! Serving by gRPC, to clients that may be slow, wrong, hostile or gone.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tonic::body::Body;
use tonic::codegen::Service as _;

use super::proto::info::info_server::InfoServer;
use super::proto::store_server::StoreServer;
use super::request::{Refused, weigh};
use super::service::{Call, Called, Peer, Service, count};
use crate::connections::{Acceptor, Connection, Received, Receiving};
use crate::gateway::Gateway;
use crate::security::{ListenerSecurity, Protocol};
use crate::server::{self, ServerLimits, Shared};

/// How many calls of one connection are answered at once. Clients keep more to themselves, until there is room.
const STREAMS: u32 = 64;
/// How much of a request may come before it is read.
const WINDOW_BYTES: u32 = 64 << 10;
/// How long the headers of a request may be.
const HEADER_BYTES: u32 = 16 << 10;
/// How much of an answer waits to be sent.
const SEND_BYTES: usize = 64 << 10;
/// How often a client is asked whether it is still there, and how long it may take to say so.
const PING_TIMES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How long a connection may be open without a call.
const IDLE_TIME: Duration = Duration::from_secs(300);

/// Serves a gateway by the StoreAPI.
///
/// | | limit |
/// |---|---|
/// | connections | [`connections`](ServerLimits::connections), with those of other listeners; as many calls are under way |
/// | calls of one connection | 64 |
/// | headers of a call | 16 KiB |
/// | a request | [`request_bytes`](ServerLimits::request_bytes), within [`body_time`](ServerLimits::body_time); decoded [`decompressed_bytes`](ServerLimits::decompressed_bytes) |
/// | all requests that are coming | [`receiving_bytes`](ServerLimits::receiving_bytes), with those of other listeners |
/// | matchers, labels to be taken off, labels of a shard | [`matchers`](ServerLimits::matchers) each |
/// | regular expressions | [`pattern_bytes`](ServerLimits::pattern_bytes), [`compiled_bytes`](ServerLimits::compiled_bytes) |
/// | the first bytes of a connection | [`head_time`](ServerLimits::head_time) |
/// | a connection without a call | 5 minutes; less if there is no room for others |
/// | a client that does not answer a ping | 20 s |
/// | a client that takes nothing of its answer while others wait for a turn or for memory | [`busy_stall_time`](ServerLimits::busy_stall_time), then its connection is broken off |
///
/// All else is limited as it is for remote read: how many queries are answered at once, how long one may take, what it may hold.
pub struct StoreApiServer {
    shared: Shared,
}

impl StoreApiServer {
    /// Creates a server.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, limits: ServerLimits) -> Self {
        Self { shared: Shared::new(gateway, limits) }
    }

    /// Creates a server of the same gateway, with the same security and the same limits as one of HTTP, which are for both together.
    #[must_use]
    pub fn beside(server: &server::Server) -> Self {
        Self { shared: server.shared().clone() }
    }

    /// Asks those who connect for what a web configuration says.
    #[must_use]
    pub fn with_security(mut self, security: Arc<ListenerSecurity>) -> Self {
        self.shared.security = security;
        self
    }

    /// Serves until `stop`; then takes no new calls, lets those that run go on for the grace time, and breaks the rest off.
    ///
    /// What was broken off is closed in the background: wait for the closer of the gateway.
    pub async fn serve(self, listener: TcpListener, stop: impl Future) {
        let mut stop = pin!(stop);
        let (stopping, stops) = watch::channel(false);
        let (abandon, given_up) = watch::channel(false);
        let (running, mut none_runs) = mpsc::channel(1);
        let Shared { gateway, limits, .. } = self.shared.clone();
        let calls = Arc::new(Semaphore::new(limits.connections));
        let service = Service { gateway, limits, stopping: stops, given_up, running: running.clone() };
        let server = Arc::new(Server { service: Arc::new(service), calls, running, shared: self.shared });
        let mut clients = Acceptor::new(listener, Arc::clone(&server.shared.connections));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                (client, address, permit) = clients.next() => {
                    let connection = connection(Arc::clone(&server), client, address, stopping.subscribe());
                    connections.spawn(connection.map(move |()| drop(permit)));
                }
                Some(_) = connections.join_next() => {}
                _ = &mut stop => break,
            }
        }
        drop(clients);
        stopping.send_replace(true);
        let grace_time = server.shared.limits.grace_time;
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(grace_time, ended).await.is_err() {
            // Those who still read are told why.
            abandon.send_replace(true);
            let told = async { while connections.join_next().await.is_some() {} };
            let _ = timeout(LAST_TIME, told).await;
            connections.shutdown().await;
        }
        // Calls run in tasks of their own, which end with their connection: soon.
        abandon.send_replace(true);
        drop(server);
        let _ = timeout(LAST_TIME * 4, none_runs.recv()).await;
    }
}

/// How long clients have to be told that they are given up.
const LAST_TIME: Duration = Duration::from_millis(500);

impl fmt::Debug for StoreApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreApiServer")
            .field("gateway", &self.shared.gateway)
            .field("limits", &self.shared.limits)
            .finish_non_exhaustive()
    }
}

struct Server {
    service: Arc<Service>,
    shared: Shared,
    /// For calls that are under way.
    calls: Arc<Semaphore>,
    running: mpsc::Sender<Infallible>,
}

/// Serves a client until it has gone, has to go, or is stopped.
async fn connection(
    server: Arc<Server>,
    client: TcpStream,
    address: SocketAddr,
    stopping: watch::Receiver<bool>,
) {
    let connections = Arc::clone(&server.shared.connections);
    let connection = connections.enter(address.ip());
    tokio::select! {
        // It was noted why.
        () = connection.closed() => {}
        ended = serve_client(server, client, address, &connection, stopping) => {
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
    address: SocketAddr,
    connection: &Arc<Connection>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), (&'static str, String)> {
    // Small messages are sent at once. If that cannot be had, they are sent later.
    let _ = client.set_nodelay(true);
    let client = server.shared.security.accept(client, Protocol::Http2).await;
    let client = client.map_err(|error| ("tls", format!("no TLS: {error}")))?;
    let peer = Peer { name: address.to_string().into(), address: address.ip(), broken: Arc::default() };
    let broken: Arc<Notify> = Arc::clone(&peer.broken);
    let calls = Arc::new(Calls::default());
    let tasks = Tasks { running: server.running.clone() };
    let ServerLimits { head_time, .. } = server.shared.limits;
    let respond = {
        let (calls, connection) = (Arc::clone(&calls), Arc::clone(connection));
        service_fn(move |request: Request<Incoming>| {
            let server = Arc::clone(&server);
            respond(server, request, peer.clone(), Arc::clone(&connection), Arc::clone(&calls))
        })
    };
    let client = Prefaced { client, left: PREFACE_BYTES, limit: Box::pin(sleep(head_time)) };
    let (ping, answer) = PING_TIMES;
    let mut connection = pin!(
        http2::Builder::new(tasks)
            .timer(TokioTimer::new())
            .keep_alive_interval(ping)
            .keep_alive_timeout(answer)
            .max_concurrent_streams(STREAMS)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES * 4)
            .max_header_list_size(HEADER_BYTES)
            .max_send_buf_size(SEND_BYTES)
            .serve_connection(TokioIo::new(client), respond)
    );
    let mut idle = pin!(calls.idle());
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                let error = ended.err().filter(is_late);
                return error.map_or(Ok(()), |_| {
                    let text = format!("it has not begun to speak HTTP/2 within {head_time:?}, which is the limit");
                    Err(("head_time", text))
                });
            }
            () = broken.notified() => {
                let text = "a client has not taken its answer, and others waited, or its time was over";
                return Err(("stall_time", text.into()));
            }
            _ = stopping.wait_for(|is_stopping| *is_stopping), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            () = idle.as_mut(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Whether the first bytes of a connection did not come in time.
fn is_late(error: &hyper::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What a connection has had of calls.
#[derive(Debug, Default)]
struct Calls {
    all: AtomicUsize,
    open: AtomicUsize,
}

impl Calls {
    /// Waits until there has been no call for some time.
    async fn idle(&self) {
        loop {
            let before = self.all.load(Ordering::Relaxed);
            sleep(IDLE_TIME).await;
            if self.open.load(Ordering::Relaxed) == 0 && self.all.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }
}

/// A call that is under way, until its answer is sent.
struct UnderWay {
    calls: Arc<Calls>,
    _permit: OwnedSemaphorePermit,
}

impl UnderWay {
    fn new(calls: &Arc<Calls>, permit: OwnedSemaphorePermit) -> Self {
        calls.all.fetch_add(1, Ordering::Relaxed);
        calls.open.fetch_add(1, Ordering::Relaxed);
        Self { calls: Arc::clone(calls), _permit: permit }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.calls.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Spawns what the answers of a connection take, and says that it runs.
#[derive(Clone)]
struct Tasks {
    running: mpsc::Sender<Infallible>,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let running = self.running.clone();
        tokio::spawn(async move {
            task.await;
            drop(running);
        });
    }
}

async fn respond(
    server: Arc<Server>,
    request: Request<Incoming>,
    peer: Peer,
    connection: Arc<Connection>,
    calls: Arc<Calls>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let method = METHODS.into_iter().find(|method| path == path_of(method));
    let answered = server.answer(request, method, peer, &connection, &calls).await;
    let mut response = answered.unwrap_or_else(|refused| {
        count(method.unwrap_or("none"), refused.code());
        refused.status().into_http()
    });
    server.shared.security.put_headers(response.headers_mut());
    Ok(response)
}

/// What is served, by its name.
const METHODS: [&str; 4] = ["Series", "LabelNames", "LabelValues", INFO];
const INFO: &str = "Info";

fn path_of(method: &str) -> String {
    format!("/{}/{method}", if method == INFO { "thanos.info.Info" } else { "thanos.Store" })
}

impl Server {
    /// Answers a call, or says why it does not come to that.
    async fn answer(
        &self,
        request: Request<Incoming>,
        method: Option<&'static str>,
        peer: Peer,
        connection: &Arc<Connection>,
        calls: &Arc<Calls>,
    ) -> Result<Response<Body>, Refused> {
        let Shared { limits, security, connections, .. } = &self.shared;
        security.authenticate(request.headers(), peer.address).await?;
        let method = method.ok_or(Refused::NoMethod)?;
        let permit = Arc::clone(&self.calls).try_acquire_owned();
        let permit = permit.map_err(|_| Refused::Calls { limit: limits.connections })?;
        let call = UnderWay::new(calls, permit);
        let (parts, body) = request.into_parts();
        let ServerLimits { request_bytes: bytes, body_time: time, .. } = *limits;
        let receiving = Receiving { bytes, drained_bytes: bytes, time };
        let Received { bytes: message, room } =
            connections.receive(body, &receiving, Some(connection.as_ref())).await?;
        // From here on it is not closed to make room for others.
        let working = connection.work();
        let service = Arc::clone(&self.service);
        let answered = if method == INFO {
            let request = Request::from_parts(parts, Full::new(Bytes::from(message)));
            InfoServer::from_arc(service).max_decoding_message_size(bytes).call(request).await
        } else {
            weigh(method, &message, limits.decompressed_bytes)?;
            let turn = service.turn(&peer).await?;
            let mut request = Request::from_parts(parts, Full::new(Bytes::from(message)));
            request.extensions_mut().insert(Call::new(Called { peer, turn, room }));
            StoreServer::from_arc(service).max_decoding_message_size(bytes).call(request).await
        };
        let answer = answered.unwrap_or_else(|never| match never {});
        // It is under way until it is sent.
        Ok(answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _ = (&call, &working);
                frame
            }))
        }))
    }
}

/// What every client of HTTP/2 sends first.
const PREFACE_BYTES: usize = 24;

/// A connection that fails if the client does not begin in time.
struct Prefaced<C> {
    client: C,
    /// How much of the beginning has not come.
    left: usize,
    limit: Pin<Box<Sleep>>,
}

impl<C: AsyncRead + Unpin> AsyncRead for Prefaced<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.client).poll_read(cx, buffer);
        if self.left > 0 {
            self.left = self.left.saturating_sub(buffer.filled().len() - before);
            if read.is_pending() && self.limit.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Prefaced<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.client).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.client).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.client.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_shutdown(cx)
    }
}
