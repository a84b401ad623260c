//! A connection to a server of gRPC, for the clients that are made of the files in `proto`.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::rt::Executor;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::address::{Address, AddressError};
use crate::security::{DialerConfig, DialerSecurity, Protocol, Secured};

/// How much a server may send before it is read. There is one stream.
const WINDOW_BYTES: u32 = 256 << 10;
/// Half of this is what frames that wait to be read may lack of 256 bytes each, all together: h2 breaks a connection off that has more
/// (0.4.16). Servers send a frame for each message, and those that wait for a merge may be many and small: this lets them have 16 bytes
/// on average, and yet no more of them than some ten thousand.
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// How long the headers of an answer may be.
const HEADER_BYTES: u32 = 16 << 10;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is nobody.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// TLS is not agreed on: one of both has the certificate of another one, say.
    #[error("no TLS: {0}")]
    Tls(io::Error),
    /// Whoever is there does not speak HTTP/2.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// A server, and how it is asked.
#[derive(Debug)]
pub struct Target {
    is_encrypted: bool,
    host: String,
    port: u16,
    security: Arc<DialerSecurity>,
}

impl Target {
    /// A server by its address, such as `http://sidecar:10901`.
    ///
    /// # Errors
    ///
    /// [`AddressError`] if it is no such address, or if the configuration cannot be used.
    pub fn new(address: &str, security: DialerConfig) -> Result<Self, AddressError> {
        let address = Address::parse(address)?;
        let port = address.port.ok_or_else(|| address.wrong("it names no port"))?;
        if address.path != "/" {
            return Err(address.wrong("it has a path, and gRPC has paths of its own"));
        }
        let security = DialerSecurity::new(security, address.is_encrypted, Protocol::Http2);
        let security = security.map_err(|error| address.wrong(error.to_string()))?;
        let Address { is_encrypted, host, .. } = address;
        Ok(Self { is_encrypted, host, port, security: Arc::new(security) })
    }

    /// Returns how it is asked.
    #[must_use]
    pub const fn security(&self) -> &Arc<DialerSecurity> {
        &self.security
    }

    /// The origin that clients put before the paths of their requests.
    #[must_use]
    pub(super) fn origin(&self) -> Option<Uri> {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        let authority = format!("{}:{}", self.host, self.port);
        Uri::builder().scheme(scheme).authority(authority).path_and_query("/").build().ok()
    }

    /// Opens a connection. The one place that does.
    async fn dial(&self) -> Result<Secured<TcpStream>, ConnectError> {
        let stream = TcpStream::connect(format!("{}:{}", self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        self.security.connect(stream, &self.host).await.map_err(ConnectError::Tls)
    }
}

/// A connection of its own to a server, for a client such as [`StoreClient`](super::proto::store_client::StoreClient).
///
/// It is not shared: where one answer is not read, what else comes by the same connection waits sooner or later, and a merge reads
/// the answers of its stores as it wants them.
///
/// # Closing
///
/// [`Connection::close`] breaks it off, and so all that was asked by it, and waits until that is done. A drop does not wait.
#[derive(Clone)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
    /// What says who asks.
    authorization: Option<HeaderValue>,
}

impl Channel {
    /// Connects to a server.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if there is none.
    pub async fn connect(target: &Target) -> Result<(Self, Connection), ConnectError> {
        let stream = target.dial().await?;
        let connection = Connection { tasks: Tasks::default() };
        let (sender, driver) = http2::Builder::new(connection.tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_header_list_size(HEADER_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        // Its end is seen by who waits for an answer.
        connection.tasks.execute(driver.map(drop));
        Ok((Self { sender, authorization: target.security.authorization() }, connection))
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        self.sender.send_request(request).boxed()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

/// What keeps a connection alive: the tasks of it, which end with this.
#[derive(Debug)]
#[must_use = "the connection is broken off when this is dropped"]
pub struct Connection {
    tasks: Tasks,
}

impl Connection {
    /// Breaks the connection off, and waits until its socket is closed.
    pub async fn close(self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // What is spawned has this set, too: it would not be dropped by itself.
        self.tasks.lock().abort_all();
    }
}

/// Tasks that are spawned for one purpose, and end with it.
#[derive(Debug, Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    fn lock(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        // Nothing in here panics between two changes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, task: F) {
        let task: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(task.map(drop));
        self.lock().spawn(task);
    }
}
