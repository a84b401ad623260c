//! The StoreAPI in tests: gateways that serve it in this process, clients of it, and servers that do what they are told to.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, stream};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use losertree::stream::Closer;
use losertree::{Labels, LeakLedger};
use losertree_prometheus::block::Interval;
use losertree_prometheus::block::xor::{Sample, XorEncoder};
use losertree_prometheus::remote::RemoteLimits;
use losertree_prometheus::security::DialerConfig;
use losertree_prometheus::server::ServerLimits;
use losertree_prometheus::store_api::channel::{Channel, Connection, Target};
use losertree_prometheus::store_api::proto::info::info_client::InfoClient;
use losertree_prometheus::store_api::proto::series_response::Result as Part;
use losertree_prometheus::store_api::proto::store_client::StoreClient;
use losertree_prometheus::store_api::proto::store_server::{Store, StoreServer};
use losertree_prometheus::store_api::proto::{
    self, AggrChunk, Label, LabelMatcher, LabelNamesRequest, LabelNamesResponse, LabelValuesRequest,
    LabelValuesResponse, SeriesRequest, SeriesResponse,
};
use losertree_prometheus::{BlockStore, Gateway, Limits, RemoteStore, StoreApiServer, StoreApiStore};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

use super::{Answer, bits, samples};

const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that serves the StoreAPI in this process.
pub struct Served {
    pub address: SocketAddr,
    pub gateway: Arc<Gateway>,
    pub ledger: LeakLedger,
    closer: Closer,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// What a gateway has.
#[derive(Default)]
pub struct Config<'a> {
    pub blocks: Option<&'a Path>,
    pub external: &'a [(&'a str, &'a str)],
    /// Servers that it asks.
    pub store_apis: Vec<String>,
    /// How long these may take, where it is waited for that.
    pub store_time: Option<Duration>,
    /// Servers that it asks by remote read.
    pub remotes: Vec<String>,
    pub limits: Limits,
    pub server_limits: ServerLimits,
}

pub async fn serve(config: Config<'_>) -> Served {
    let ledger = LeakLedger::sites();
    let closer = Closer::current().unwrap();
    let external = config.external.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let blocks = Arc::new(BlockStore::new(config.blocks.map(Into::into), external.collect(), &ledger));
    blocks.sync().unwrap();
    let mut limits = RemoteLimits::default();
    if let Some(time) = config.store_time {
        (limits.open_time, limits.frame_time) = (time, time);
    }
    let store = |address: &String| StoreApiStore::new(address, BTreeMap::new(), limits.clone()).unwrap();
    let stores = config.store_apis.iter().map(store).collect();
    let remote =
        |address: &String| RemoteStore::new(address, BTreeMap::new(), RemoteLimits::default()).unwrap();
    let gateway = Gateway::new(blocks, config.limits, &ledger, &closer).unwrap();
    let gateway = gateway.with_remotes(config.remotes.iter().map(remote).collect()).with_store_apis(stores);
    let gateway = Arc::new(gateway);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = StoreApiServer::new(Arc::clone(&gateway), config.server_limits);
    let serving = tokio::spawn(server.serve(listener, stopped));
    Served { address, gateway, ledger, closer, stop, serving }
}

impl Served {
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until nothing is open: soon, since nobody asks any more.
    pub async fn assert_all_closed(&self, what: &str) {
        let start = Instant::now();
        let used = || {
            let memory = self.gateway.memory();
            memory.buffers.snapshot().used_bytes + memory.lists.snapshot().used_bytes
        };
        while !self.ledger.snapshot().is_all_closed() || used() > 0 {
            assert!(start.elapsed() < PATIENCE, "{what}: {} bytes, {}", used(), self.ledger.snapshot());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many sources were ever opened.
    pub fn opened(&self) -> u64 {
        self.ledger.snapshot().opened
    }

    /// Stops it in order, and looks whether all is closed.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.serving.await.unwrap();
        self.closer.idle().await;
        self.gateway.store().close();
        assert!(self.ledger.snapshot().is_all_closed(), "{}", self.ledger.snapshot());
        let memory = self.gateway.memory();
        assert_eq!((memory.buffers.snapshot().used_bytes, memory.lists.snapshot().used_bytes), (0, 0));
    }
}

/// A server that is asked without a secret.
pub fn target(address: SocketAddr) -> Target {
    Target::new(&format!("http://{address}"), DialerConfig::default()).unwrap()
}

pub async fn client(address: SocketAddr) -> (StoreClient<Channel>, Connection) {
    let (channel, connection) = Channel::connect(&target(address)).await.unwrap();
    (StoreClient::with_origin(channel, format!("http://{address}").parse().unwrap()), connection)
}

pub async fn info_client(address: SocketAddr) -> (InfoClient<Channel>, Connection) {
    let (channel, connection) = Channel::connect(&target(address)).await.unwrap();
    (InfoClient::with_origin(channel, format!("http://{address}").parse().unwrap()), connection)
}

/// Matchers: 0 to 3 for `=`, `!=`, `=~`, `!~`.
pub fn matchers(matchers: &[(&str, i32, &str)]) -> Vec<LabelMatcher> {
    let matcher = |(name, kind, value): &(&str, i32, &str)| LabelMatcher {
        r#type: *kind,
        name: (*name).into(),
        value: (*value).into(),
    };
    matchers.iter().map(matcher).collect()
}

/// A request that aborts when a store fails.
pub fn request(matched: &[(&str, i32, &str)], range: Interval) -> SeriesRequest {
    SeriesRequest {
        min_time: range.min_ms,
        max_time: range.max_ms,
        matchers: matchers(matched),
        partial_response_disabled: true,
        ..SeriesRequest::default()
    }
}

pub fn labels(labels: &[Label]) -> Labels {
    assert!(labels.is_sorted_by(|one, next| one.name < next.name), "labels are sorted");
    Labels::from_pairs(labels.iter().map(|label| (&label.name, &label.value))).unwrap()
}

/// All that came before the end or a status.
#[derive(Debug, Default)]
pub struct Got {
    pub series: Vec<(Labels, Vec<AggrChunk>)>,
    pub warnings: Vec<String>,
    pub status: Option<Status>,
}

impl Got {
    /// The samples, which are whole.
    pub fn answer(&self) -> Answer {
        assert!(self.status.is_none(), "{:?}", self.status);
        self.some()
    }

    /// The samples that came.
    pub fn some(&self) -> Answer {
        let mut answer = Answer::new();
        for (labels, chunks) in &self.series {
            let all = answer.entry(labels.clone()).or_default();
            for chunk in chunks {
                let raw = chunk.raw.as_ref().unwrap();
                assert_eq!(raw.r#type, 0);
                let samples = samples(&[&[1], &*raw.data].concat());
                assert_eq!(samples.first().map(|sample| sample.time_ms), Some(chunk.min_time));
                assert_eq!(samples.last().map(|sample| sample.time_ms), Some(chunk.max_time));
                all.extend(samples.iter().map(|sample| (sample.time_ms, bits(sample.value))));
            }
        }
        answer
    }

    pub fn names(&self) -> Vec<&Labels> {
        self.series.iter().map(|(labels, _)| labels).collect()
    }
}

/// The answer to a query. Checks the order of series.
pub async fn ask(address: SocketAddr, request: SeriesRequest) -> Got {
    let (mut client, connection) = client(address).await;
    let mut got = Got::default();
    match client.series(request).await {
        Err(status) => got.status = Some(status),
        Ok(messages) => {
            let mut messages = messages.into_inner();
            loop {
                match messages.message().await {
                    Ok(None) => break,
                    Err(status) => {
                        got.status = Some(status);
                        break;
                    }
                    Ok(Some(message)) => match message.result.unwrap() {
                        Part::Series(series) => {
                            let labels = labels(&series.labels);
                            assert!(got.series.last().is_none_or(|(last, _)| *last <= labels), "sorted");
                            match got.series.last_mut() {
                                Some((last, chunks)) if *last == labels => chunks.extend(series.chunks),
                                _ => got.series.push((labels, series.chunks)),
                            }
                        }
                        Part::Warning(text) => got.warnings.push(text),
                        Part::Hints(_) => panic!("no hints were asked for"),
                    },
                }
            }
        }
    }
    connection.close().await;
    got
}

/// A series of one sample.
pub fn series(pairs: &[(&str, &str)], time_ms: i64, value: f64) -> SeriesResponse {
    let mut encoder = XorEncoder::new();
    encoder.push(Sample { time_ms, value });
    series_of(pairs, vec![chunk(time_ms, time_ms, 0, encoder.finish().to_vec())])
}

pub fn chunk(min_time: i64, max_time: i64, kind: i32, data: Vec<u8>) -> AggrChunk {
    let raw = Some(proto::Chunk { r#type: kind, data: data.into(), hash: None });
    AggrChunk { min_time, max_time, raw, ..AggrChunk::default() }
}

pub fn series_of(pairs: &[(&str, &str)], chunks: Vec<AggrChunk>) -> SeriesResponse {
    let label = |(name, value): &(&str, &str)| Label { name: (*name).into(), value: (*value).into() };
    let labels = pairs.iter().map(label).collect();
    SeriesResponse { result: Some(Part::Series(proto::Series { labels, chunks })) }
}

pub fn warning(text: &str) -> SeriesResponse {
    SeriesResponse { result: Some(Part::Warning(text.into())) }
}

/// What a server does when it is asked for series.
#[derive(Debug, Clone)]
pub enum Step {
    Send(SeriesResponse),
    /// Sends such series as long as somebody takes them.
    SendForEver,
    Fail(Status),
    Hang,
    /// Hangs until it has a permit to go on.
    Wait(Arc<Semaphore>),
}

/// A server that does what it is told to.
#[derive(Clone)]
pub struct Fake {
    pub steps: Vec<Step>,
    /// How many answers are under way.
    pub open: Arc<AtomicUsize>,
    /// What it was asked last.
    pub asked: Arc<std::sync::Mutex<Option<SeriesRequest>>>,
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Fake {
    /// Starts it.
    pub async fn start(steps: Vec<Step>) -> (String, Self) {
        let fake = Self { steps, open: Arc::default(), asked: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = StoreServer::new(fake.clone()).max_encoding_message_size(usize::MAX);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(client), service),
                );
            }
        });
        (format!("http://{address}"), fake)
    }

    /// Waits until it has no answer under way.
    pub async fn assert_closed(&self, what: &str) {
        let start = Instant::now();
        while self.open.load(Ordering::Relaxed) > 0 {
            assert!(start.elapsed() < PATIENCE, "{what}: the server is still asked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn for_ever() -> BoxStream<'static, Result<SeriesResponse, Status>> {
    // As small as messages are that are many.
    let message = |number| Ok(series_of(&[("n", &format!("{number:012}"))], Vec::new()));
    stream::iter(0_u64..).map(message).boxed()
}

#[tonic::async_trait]
impl Store for Fake {
    type SeriesStream = Pin<Box<dyn Stream<Item = Result<SeriesResponse, Status>> + Send>>;

    async fn series(&self, request: Request<SeriesRequest>) -> Result<Response<Self::SeriesStream>, Status> {
        *self.asked.lock().unwrap() = Some(request.into_inner());
        self.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(Arc::clone(&self.open));
        let steps = stream::iter(self.steps.clone()).flat_map(|step| match step {
            Step::Send(message) => stream::once(async { Ok(message) }).boxed(),
            Step::SendForEver => for_ever(),
            Step::Fail(status) => stream::once(async { Err(status) }).boxed(),
            Step::Hang => stream::pending().boxed(),
            Step::Wait(permits) => stream::once(async move { permits.acquire().await.unwrap().forget() })
                .filter_map(|()| async { None })
                .boxed(),
        });
        Ok(Response::new(Box::pin(steps.inspect(move |_| {
            let _ = &open;
        }))))
    }

    async fn label_names(
        &self,
        _: Request<LabelNamesRequest>,
    ) -> Result<Response<LabelNamesResponse>, Status> {
        match self.steps.first() {
            Some(Step::Fail(status)) => Err(status.clone()),
            Some(Step::Hang) => std::future::pending().await,
            _ => Ok(Response::new(LabelNamesResponse {
                names: vec!["fake".into()],
                warnings: vec!["something is missing".into()],
                hints: None,
            })),
        }
    }

    async fn label_values(
        &self,
        _: Request<LabelValuesRequest>,
    ) -> Result<Response<LabelValuesResponse>, Status> {
        Err(Status::unimplemented("it has no values"))
    }
}
