//! The services, as gRPC calls them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec;

use futures::Stream;
use futures::future::join_all;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{Code, Request, Response, Status};

use super::client::{StoreApiStore, name_of};
use super::labels::labels;
use super::messages;
use super::proto::info::info_server::Info;
use super::proto::info::{InfoRequest, InfoResponse, StoreInfo};
use super::proto::series_response::Result as Part;
use super::proto::store_server::Store;
use super::proto::{
    Label, LabelNamesRequest, LabelNamesResponse, LabelSet, LabelValuesRequest, LabelValuesResponse,
    SeriesRequest, SeriesResponse,
};
use super::request::{Checker, LabelsAsked, Refused};
use crate::block::Selector;
use crate::gateway::{Answered, Ask, Gateway, Query, QueryError, Turn};
use crate::overlap::Merging;
use crate::server::ServerLimits;

/// How much is collected before it is sent, unless nothing more comes at the moment.
const SENT_BYTES: usize = 64 << 10;
/// How often it is looked at whether others wait for a client that takes nothing.
const LOOK_TIME: Duration = Duration::from_millis(250);

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// By what the ledger knows it.
    pub(super) name: Arc<str>,
    /// By what it has its turn.
    pub(super) address: IpAddr,
    /// Told when the connection is to be broken off.
    pub(super) broken: Arc<Notify>,
}

/// A gateway as a server of the StoreAPI.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) gateway: Arc<Gateway>,
    pub(super) limits: ServerLimits,
    /// Whether nothing new is taken any more.
    pub(super) stopping: watch::Receiver<bool>,
    /// Whether what runs is to be given up.
    pub(super) given_up: watch::Receiver<bool>,
    /// Held by all that runs.
    pub(super) running: mpsc::Sender<Infallible>,
}

impl Service {
    fn checker(&self) -> Checker<'_> {
        Checker { limits: &self.limits, without: &self.gateway.limits().replica_labels }
    }

    async fn turn(&self, peer: &Peer) -> Result<Turn, Refused> {
        if *self.stopping.borrow() {
            return Err(Refused::Stopping);
        }
        Ok(self.gateway.turn_of(peer.address).await?)
    }

    async fn open(&self, peer: &Peer, request: SeriesRequest) -> Result<(Query, Turn), Refused> {
        let turn = self.turn(peer).await?;
        let (selector, mut ask) = self.checker().series(request)?;
        if !self.gateway.limits().replica_labels.is_empty() {
            ask.merging = Some(Merging::Replicas);
        }
        let query = self.ask(peer, &selector, turn.deadline, ask).await?;
        Ok((query, turn))
    }

    async fn ask(
        &self,
        peer: &Peer,
        selector: &Selector,
        deadline: Instant,
        ask: Ask,
    ) -> Result<Query, QueryError> {
        self.gateway.ask(&peer.name, selector, deadline, ask).await
    }

    async fn labels(
        &self,
        peer: &Peer,
        check: impl FnOnce(&Checker<'_>) -> Result<LabelsAsked, Refused>,
    ) -> Result<(Vec<String>, Vec<String>), Refused> {
        let turn = self.turn(peer).await?;
        let asked = check(&self.checker())?;
        let limit = self.gateway.limits().query_time;
        let answered = labels(&self.gateway, &peer.name, &turn, &asked);
        let answer = timeout_at(turn.deadline, answered).await;
        let answer = answer.map_err(|_| QueryError::TooLong { limit })??;
        // It is given back here: the message is a copy that is sent at once.
        Ok((answer.texts, answer.warnings))
    }

    /// Which labels all series of something have, and at which times it has some.
    async fn told(&self) -> InfoResponse {
        let mut told = Told::default();
        for block in self.gateway.store().blocks() {
            let meta = block.meta();
            told.add(block.external_labels().clone(), meta.min_time_ms, meta.max_time_ms);
        }
        for remote in self.gateway.remotes() {
            told.add(remote.external().clone(), i64::MIN, i64::MAX);
        }
        let servers = self.gateway.store_apis();
        let infos = join_all(servers.iter().map(StoreApiStore::info)).await;
        for (server, info) in servers.iter().zip(infos) {
            // One that does not answer may have anything.
            let info = info.unwrap_or_default();
            let (min_ms, max_ms) =
                info.store.map_or((i64::MIN, i64::MAX), |store| (store.min_time, store.max_time));
            let sets = if info.label_sets.is_empty() { vec![LabelSet::default()] } else { info.label_sets };
            for set in sets {
                let mut labels: BTreeMap<_, _> =
                    set.labels.into_iter().map(|label| (label.name, label.value)).collect();
                labels.extend(server.external().clone());
                told.add(labels, min_ms, max_ms);
            }
        }
        told.response(&self.gateway.limits().replica_labels)
    }
}

/// What is told of all that there is.
struct Told {
    sets: Vec<BTreeMap<String, String>>,
    min_ms: i64,
    max_ms: i64,
}

impl Default for Told {
    fn default() -> Self {
        // As Thanos says that there is nothing.
        Self { sets: Vec::new(), min_ms: i64::MAX, max_ms: i64::MIN }
    }
}

impl Told {
    fn add(&mut self, labels: BTreeMap<String, String>, min_ms: i64, max_ms: i64) {
        self.min_ms = self.min_ms.min(min_ms);
        self.max_ms = self.max_ms.max(max_ms);
        self.sets.push(labels);
    }

    fn response(mut self, without: &[String]) -> InfoResponse {
        for set in &mut self.sets {
            set.retain(|name, value| !value.is_empty() && !without.contains(name));
        }
        self.sets.sort();
        self.sets.dedup();
        // Who asks takes sets for all that there is: with one that is not known, none can be told.
        if self.sets.first().is_some_and(BTreeMap::is_empty) {
            self.sets.clear();
        }
        let label = |(name, value)| Label { name, value };
        let set = |set: BTreeMap<_, _>| LabelSet { labels: set.into_iter().map(label).collect() };
        InfoResponse {
            label_sets: self.sets.into_iter().map(set).collect(),
            component_type: "store".into(),
            store: Some(StoreInfo {
                min_time: self.min_ms,
                max_time: self.max_ms,
                supports_sharding: true,
                supports_without_replica_labels: true,
                tsdb_infos: Vec::new(),
            }),
            ..InfoResponse::default()
        }
    }
}

fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    // The server has put it there.
    request.extensions().get().cloned().ok_or_else(|| Status::internal("the client is not known"))
}

fn count(method: &'static str, code: Code) {
    metrics::counter!("losertree_gateway_rpcs_total", "method" => method, "code" => name_of(code))
        .increment(1);
}

fn counted<T>(method: &'static str, answer: Result<T, Refused>) -> Result<Response<T>, Status> {
    count(method, answer.as_ref().map_or_else(Refused::code, |_| Code::Ok));
    answer.map(Response::new).map_err(|refused| refused.status())
}

#[tonic::async_trait]
impl Store for Service {
    type SeriesStream = Messages;

    async fn series(&self, request: Request<SeriesRequest>) -> Result<Response<Messages>, Status> {
        let peer = peer(&request)?;
        let (query, turn) = match self.open(&peer, request.into_inner()).await {
            Ok(opened) => opened,
            Err(refused) => return counted("Series", Err(refused)),
        };
        let (sender, batches) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let sending = Sending {
            gateway: Arc::clone(&self.gateway),
            sender,
            stall_time: self.limits.stall_time.min(self.limits.busy_stall_time),
            given_up: self.given_up.clone(),
            peer,
        };
        let running = self.running.clone();
        tokio::spawn(async move {
            let answered = sending.answer(query, turn).await;
            count("Series", answered.as_ref().map_or_else(Refused::code, |()| Code::Ok));
            // If nobody is there any more, nobody wants to know.
            let _ = end.send(answered.map_err(|refused| refused.status()));
            drop(running);
        });
        Ok(Response::new(Messages { batches, batch: Vec::new().into_iter(), ended: Some(ended) }))
    }

    async fn label_names(
        &self,
        request: Request<LabelNamesRequest>,
    ) -> Result<Response<LabelNamesResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let answer = self.labels(&peer, |checker| checker.label_names(request)).await;
        let response = |(names, warnings)| LabelNamesResponse { names, warnings, hints: None };
        counted("LabelNames", answer.map(response))
    }

    async fn label_values(
        &self,
        request: Request<LabelValuesRequest>,
    ) -> Result<Response<LabelValuesResponse>, Status> {
        let peer = peer(&request)?;
        let request = request.into_inner();
        let answer = self.labels(&peer, |checker| checker.label_values(request)).await;
        let response = |(values, warnings)| LabelValuesResponse { values, warnings, hints: None };
        counted("LabelValues", answer.map(response))
    }
}

#[tonic::async_trait]
impl Info for Service {
    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        counted("Info", Ok(self.told().await))
    }
}

/// What it takes to send the answer to a query.
struct Sending {
    gateway: Arc<Gateway>,
    sender: mpsc::Sender<Vec<SeriesResponse>>,
    stall_time: Duration,
    given_up: watch::Receiver<bool>,
    peer: Peer,
}

impl Sending {
    /// Sends the answer, as long as somebody takes it. The query is closed when this is done, or soon after.
    async fn answer(self, mut query: Query, turn: Turn) -> Result<(), Refused> {
        let mut given_up = self.given_up.clone();
        let limit = self.gateway.limits().query_time;
        tokio::select! {
            // The client has cancelled it, or is gone.
            () = self.sender.closed() => Err(Refused::Closed("the client has cancelled the call")),
            _ = given_up.wait_for(|is_given_up| *is_given_up) => Err(Refused::Stopping),
            sent = timeout_at(turn.deadline, self.send_all(&mut query)) => sent.unwrap_or_else(|_| {
                // It waits for the client, and not for a store: that the query would have said.
                self.peer.broken.notify_one();
                Err(QueryError::TooLong { limit }.into())
            }),
        }
    }

    async fn send_all(&self, query: &mut Query) -> Result<(), Refused> {
        let mut batcher = Batcher::default();
        while let Some(batch) = std::future::poll_fn(|cx| batcher.poll_next(query, cx)).await {
            self.send(batch?).await?;
        }
        Ok(())
    }

    /// Waits for the client. One that takes nothing may do so as long as nobody else waits for what it holds: it may be a merge
    /// that has other things to read before this.
    async fn send(&self, batch: Vec<SeriesResponse>) -> Result<(), Refused> {
        let since = Instant::now();
        loop {
            tokio::select! {
                room = self.sender.reserve() => {
                    // If there is none, nobody receives, which ends the answer elsewhere.
                    if let Ok(room) = room {
                        room.send(batch);
                    }
                    return Ok(());
                }
                () = sleep(LOOK_TIME.min(self.stall_time)) => {
                    if since.elapsed() >= self.stall_time && self.gateway.is_contended() {
                        // It would not learn of a status either, which comes behind what it does not take.
                        self.peer.broken.notify_one();
                        return Err(Refused::Stalled(self.stall_time));
                    }
                }
            }
        }
    }
}

/// Collects messages, as many as are worth sending at once.
#[derive(Default)]
struct Batcher {
    batch: Vec<SeriesResponse>,
    bytes: usize,
    failed: Option<Refused>,
    has_ended: bool,
}

impl Batcher {
    fn poll_next(
        &mut self,
        query: &mut Query,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Vec<SeriesResponse>, Refused>>> {
        while self.failed.is_none() && !self.has_ended && self.bytes < SENT_BYTES {
            match query.poll_answered(cx) {
                Poll::Ready(Some(Ok(Answered::Series(series)))) => {
                    match messages::put_series(&series, &mut self.batch) {
                        Ok(bytes) => self.bytes += bytes,
                        Err(error) => self.failed = Some(error.into()),
                    }
                }
                Poll::Ready(Some(Ok(Answered::Warning(warning)))) => {
                    let text = warning.to_string();
                    self.bytes += text.len();
                    self.batch.push(SeriesResponse { result: Some(Part::Warning(text)) });
                }
                Poll::Ready(Some(Err(error))) => self.failed = Some(error.into()),
                Poll::Ready(None) => self.has_ended = true,
                Poll::Pending if self.batch.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        // What came before an error is good, and warnings may say more than the error.
        if !self.batch.is_empty() {
            self.bytes = 0;
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.batch))));
        }
        self.has_ended = true;
        Poll::Ready(self.failed.take().map(Err))
    }
}

/// The messages of an answer. It ends in order only if it is whole.
#[derive(Debug)]
pub(super) struct Messages {
    batches: mpsc::Receiver<Vec<SeriesResponse>>,
    batch: vec::IntoIter<SeriesResponse>,
    ended: Option<oneshot::Receiver<Result<(), Status>>>,
}

impl Stream for Messages {
    type Item = Result<SeriesResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(message) = self.batch.next() {
                return Poll::Ready(Some(Ok(message)));
            }
            if let Some(batch) = ready!(self.batches.poll_recv(cx)) {
                self.batch = batch.into_iter();
                continue;
            }
            let Some(ended) = &mut self.ended else { return Poll::Ready(None) };
            let ended = ready!(Pin::new(ended).poll(cx));
            self.ended = None;
            let broken = || Err(Status::unavailable("the answer was broken off"));
            return Poll::Ready(ended.unwrap_or_else(|_| broken()).err().map(Err));
        }
    }
}
