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
use hyper::rt::Executor;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::Service;

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
    /// Whoever is there does not speak HTTP/2.
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Opens a connection to a server. The one place that does.
async fn dial(authority: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
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
}

impl Channel {
    /// Connects to a server, by a host and a port.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] if there is none.
    pub async fn connect(authority: &str) -> Result<(Self, Connection), ConnectError> {
        let stream = dial(authority).await?;
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
        Ok((Self { sender }, connection))
    }

    /// The origin that clients put before the paths of their requests.
    #[must_use]
    pub(super) fn origin(authority: &str) -> Option<Uri> {
        Uri::builder().scheme("http").authority(authority).path_and_query("/").build().ok()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
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
