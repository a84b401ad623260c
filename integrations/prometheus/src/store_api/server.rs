//! Serving by gRPC, to clients that may be slow, wrong, hostile or gone.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
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
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;

use super::proto::info::info_server::InfoServer;
use super::proto::store_server::StoreServer;
use super::service::{Peer, Service};
use crate::gateway::Gateway;
use crate::security::{AuthError, ListenerSecurity};
use crate::server::ServerLimits;

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
/// | connections, and calls that are under way | [`connections`](ServerLimits::connections) |
/// | calls of one connection | 64 |
/// | a request | [`request_bytes`](ServerLimits::request_bytes), within [`body_time`](ServerLimits::body_time) |
/// | matchers, labels to be taken off, labels of a shard | [`matchers`](ServerLimits::matchers) each |
/// | the first bytes of a connection | [`head_time`](ServerLimits::head_time) |
/// | a connection without a call | 5 minutes |
/// | a client that does not answer a ping | 20 s |
/// | a client that takes nothing of its answer while others wait for a turn or for memory | the shorter of [`stall_time`](ServerLimits::stall_time) and [`busy_stall_time`](ServerLimits::busy_stall_time), then its connection is broken off |
///
/// All else is limited as it is for remote read: how many queries are answered at once, how long one may take, what it may hold.
pub struct StoreApiServer {
    gateway: Arc<Gateway>,
    limits: ServerLimits,
    security: Arc<ListenerSecurity>,
}

impl StoreApiServer {
    /// Creates a server.
    #[must_use]
    pub fn new(gateway: Arc<Gateway>, limits: ServerLimits) -> Self {
        Self { gateway, limits, security: Arc::new(ListenerSecurity::none()) }
    }

    /// Speaks TLS, and asks who asks, as the file says that it was read from. Default: neither.
    #[must_use]
    pub fn with_security(self, security: Arc<ListenerSecurity>) -> Self {
        Self { security, ..self }
    }

    /// Serves until `stop`; then takes no new calls, lets those that run go on for the grace time, and breaks the rest off.
    ///
    /// What was broken off is closed in the background: wait for the closer of the gateway.
    pub async fn serve(self, listener: TcpListener, stop: impl Future) {
        let mut stop = pin!(stop);
        let (stopping, stops) = watch::channel(false);
        let (abandon, given_up) = watch::channel(false);
        let (running, mut none_runs) = mpsc::channel(1);
        let server = Arc::new(Server {
            service: Arc::new(Service {
                gateway: self.gateway,
                limits: self.limits.clone(),
                stopping: stops,
                given_up,
                running: running.clone(),
            }),
            calls: Arc::new(Semaphore::new(self.limits.connections)),
            running,
            security: self.security,
            limits: self.limits,
        });
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
                        let connection = accepted_from(Arc::clone(&server), client, stopping.subscribe());
                        connections.spawn(connection.map(move |()| drop(permit)));
                    }
                    // Out of file descriptors, most likely: some will be free again.
                    (Err(_), _) => sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next() => {}
                _ = &mut stop => break,
            }
        }
        drop(listener);
        stopping.send_replace(true);
        let grace_time = server.limits.grace_time;
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
            .field("gateway", &self.gateway)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

struct Server {
    service: Arc<Service>,
    limits: ServerLimits,
    security: Arc<ListenerSecurity>,
    /// For calls that are under way.
    calls: Arc<Semaphore>,
    running: mpsc::Sender<Infallible>,
}

/// A connection that was accepted. The one place that knows how bytes come.
async fn accepted_from(server: Arc<Server>, client: TcpStream, stopping: watch::Receiver<bool>) {
    let peer = client.peer_addr();
    let address = peer.as_ref().map_or(Ipv4Addr::UNSPECIFIED.into(), SocketAddr::ip);
    let name = peer.map_or_else(|_| "a client".into(), |peer| peer.to_string());
    // Small messages are sent at once. If that cannot be had, they are sent later.
    let _ = client.set_nodelay(true);
    let peer = Peer { name: name.into(), address, broken: Arc::default() };
    // A client that does not speak TLS, or is not let in, is its own affair.
    let accepted = timeout(server.limits.head_time, server.security.accept(client)).await;
    if let Ok(Ok(client)) = accepted {
        connection(server, client, peer, stopping).await;
    }
}

async fn connection<C>(server: Arc<Server>, client: C, peer: Peer, mut stopping: watch::Receiver<bool>)
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ServerLimits { head_time, .. } = server.limits;
    let broken: Arc<Notify> = Arc::clone(&peer.broken);
    let calls = Arc::new(Calls::default());
    let tasks = Tasks { running: server.running.clone() };
    let respond = {
        let calls = Arc::clone(&calls);
        service_fn(move |request: Request<Incoming>| {
            respond(Arc::clone(&server), request, peer.clone(), Arc::clone(&calls)).map(Ok::<_, Infallible>)
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
        // A client that goes away, or is wrong, is its own affair.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = broken.notified() => return,
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
struct Call {
    calls: Arc<Calls>,
    _permit: OwnedSemaphorePermit,
}

impl Call {
    fn new(calls: &Arc<Calls>, permit: OwnedSemaphorePermit) -> Self {
        calls.all.fetch_add(1, Ordering::Relaxed);
        calls.open.fetch_add(1, Ordering::Relaxed);
        Self { calls: Arc::clone(calls), _permit: permit }
    }
}

impl Drop for Call {
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
    calls: Arc<Calls>,
) -> Response<Body> {
    let refuse = |status: Status| status.into_http();
    let path = request.uri().path();
    let is_store = path.starts_with("/thanos.Store/");
    if !is_store && !path.starts_with("/thanos.info.Info/") {
        return refuse(Status::unimplemented("only thanos.Store and thanos.info.Info are served"));
    }
    let Ok(permit) = Arc::clone(&server.calls).try_acquire_owned() else {
        let limit = server.limits.connections;
        return refuse(Status::resource_exhausted(format!(
            "{limit} calls are under way, which is the limit"
        )));
    };
    let call = Call::new(&calls, permit);
    match server.security.authenticate(request.headers(), peer.address).await {
        Ok(()) => {}
        Err(error @ AuthError::Busy) => return refuse(Status::unavailable(error.to_string())),
        Err(error) => return refuse(Status::unauthenticated(error.to_string())),
    }
    let (parts, body) = request.into_parts();
    let ServerLimits { request_bytes: limit, body_time, .. } = server.limits;
    let message = match timeout(body_time, Limited::new(body, limit).collect()).await {
        Ok(Ok(message)) => message.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refuse(Status::resource_exhausted(format!(
                "the request has more than {limit} bytes, which is the limit"
            )));
        }
        Ok(Err(error)) => {
            return refuse(Status::unavailable(format!("the request cannot be received: {error}")));
        }
        Err(_) => {
            return refuse(Status::deadline_exceeded(format!(
                "the request did not come within {body_time:?}"
            )));
        }
    };
    let mut request = Request::from_parts(parts, Full::new(message));
    request.extensions_mut().insert(peer);
    let service = Arc::clone(&server.service);
    let answered = if is_store {
        StoreServer::from_arc(service).max_decoding_message_size(limit).call(request).await
    } else {
        InfoServer::from_arc(service).max_decoding_message_size(limit).call(request).await
    };
    let answer = answered.unwrap_or_else(|never| match never {});
    // It is under way until it is sent.
    answer.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &call;
            frame
        }))
    })
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
