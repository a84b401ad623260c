//! A server that streams queries of slow stores to its clients, and closes every store also when a client goes away half-way.
//!
//! `cargo run --release --features tokio --example http_fan_in` serves two clients of its own, one that reads to the end and one
//! that disconnects, and shows the ledger. With `-- --addr 127.0.0.1:8080` it serves until Ctrl-C; try `curl -s localhost:8080 | head`.
//!
//! hyper drops the body of a response when its client has disconnected, where nothing can be awaited. So what the [`Answer`]
//! holds is a [`CloseOnDrop`]: dropped early, it is closed on the runtime.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use clap::Parser;
use futures::{FutureExt, Stream, StreamExt, stream};
use hyper::Uri;
use hyper::body::{Body, Bytes, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use losertree::response::{ProxyQuery, Store};
use losertree::stream::{CloseOnDrop, Closer};
use losertree::{BoxSource, Labels, LeakLedger, Response, Series, Source, SourceError, closing};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const STORES: [&str; 4] = ["store-a", "store-b", "store-c", "store-d"];
const SERIES_OF_EACH: u32 = 100_000;

/// Streams what slow stores answer, to clients that may go away.
#[derive(Parser)]
struct Args {
    /// The address to serve on, until Ctrl-C. Without, two clients of its own are served.
    #[arg(long)]
    addr: Option<SocketAddr>,
}

/// What all requests share.
struct Service {
    closer: Closer,
    ledger: LeakLedger,
    /// How many stores have been told that nobody reads them any more.
    told: Arc<AtomicU64>,
}

type Query = ProxyQuery<BoxSource<'static, Response, io::Error>>;

impl Service {
    /// Asks all stores. `?limit=40` is how many series are wanted.
    fn ask(&self, uri: &Uri) -> Answer {
        let limit = uri.query().and_then(|query| query.strip_prefix("limit=")?.parse().ok());
        let query = ProxyQuery::builder()
            .stores(STORES.map(|name| self.store(name)))
            .limit(limit.unwrap_or(u64::MAX))
            .ledger(&self.ledger)
            .build();
        let query = CloseOnDrop::new(query, &self.closer)
            .on_error(|error| eprintln!("error: a query was not closed in order: {error}"));
        Answer { query }
    }

    /// A store that takes its time, and must be told when it can stop.
    fn store(&self, name: &'static str) -> Store<BoxSource<'static, Response, io::Error>> {
        let series = stream::iter(0..SERIES_OF_EACH).then(move |number| async move {
            sleep(Duration::from_millis(1)).await;
            let labels = [("__name__", "up"), ("instance", &format!("{number:06}")), ("store", name)];
            let labels = Labels::from_pairs(labels).map_err(io::Error::other)?;
            Ok(Series::new(labels, vec![]).into())
        });
        let told = Arc::clone(&self.told);
        let close = move |_series| async move {
            sleep(Duration::from_millis(5)).await; // there and back
            told.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        Store::opened(name, closing(series.boxed(), close).boxed())
    }
}

/// The answer to a request: a line for each series.
struct Answer {
    query: CloseOnDrop<Query>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = SourceError<io::Error>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let next = Pin::new(&mut self.query).poll_next(cx);
        next.map_ok(|response| {
            let line = match response {
                Response::Series(series) => format!("{}\n", series.labels),
                other => format!("# {other:?}\n"),
            };
            Frame::data(line.into())
        })
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    let service = Arc::new(Service {
        closer: Closer::current()?.time_limit(Duration::from_secs(5)),
        ledger: LeakLedger::sites(),
        told: Arc::default(),
    });
    let listener = TcpListener::bind(args.addr.unwrap_or((Ipv4Addr::LOCALHOST, 0).into())).await?;
    let address = listener.local_addr()?;
    if args.addr.is_some() {
        eprintln!("serving on http://{address}/ until Ctrl-C");
        serve(listener, &service, tokio::signal::ctrl_c().map(drop)).await;
    } else {
        serve(listener, &service, clients(address)).await;
    }
    // Before the runtime goes, what clients have left behind is closed.
    service.closer.idle().await;
    let record = service.ledger.snapshot();
    println!("{} of {} stores were told", service.told.load(Ordering::Relaxed), record.opened);
    println!("ledger: {record}");
    Ok(if record.is_all_closed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Serves until `end`, and then those who are being served for a second more.
async fn serve(listener: TcpListener, service: &Arc<Service>, end: impl Future) {
    let mut end = pin!(end);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => drop(connections.spawn(connection(client, Arc::clone(service)))),
                // Out of file descriptors, most likely: some will be free again.
                Err(_) => sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = &mut end => break,
        }
    }
    drop(listener);
    let served = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(Duration::from_secs(1), served).await;
    connections.shutdown().await;
}

async fn connection(client: TcpStream, service: Arc<Service>) {
    let answer = service_fn(|request| {
        let answer = service.ask(request.uri());
        async { Ok::<_, Infallible>(hyper::Response::new(answer)) }
    });
    // A client that goes away in the middle is no error of ours. Its answer is dropped, and so closed.
    let _ = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(client), answer).await;
}

/// Two clients, one after the other.
async fn clients(address: SocketAddr) {
    for (path, lines) in [("/?limit=40", usize::MAX), ("/", 10)] {
        match client(address, path, lines).await {
            Ok(read) if read < lines => println!("a client has read to the end: {read} lines"),
            Ok(read) => println!("a client has disconnected after {read} lines"),
            Err(error) => eprintln!("error: a client has failed: {error}"),
        }
    }
}

/// Reads so many lines of an answer, or to its end, and disconnects.
async fn client(address: SocketAddr, path: &str, lines: usize) -> io::Result<usize> {
    let mut server = TcpStream::connect(address).await?;
    server.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = BufReader::new(server).lines();
    // The head ends with an empty line.
    while answer.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let mut read = 0;
    while read < lines && answer.next_line().await?.is_some() {
        read += 1;
    }
    Ok(read)
}
