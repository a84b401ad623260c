//! Serves the metrics of the gateway, in the text format of Prometheus, for as long as the run lasts.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use losertree::observe::Publisher;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::gateway::Gateway;
use crate::report::say;

/// The bounds of the buckets of histograms, all of which are of seconds.
const BUCKETS: [f64; 7] = [0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExporterError {
    #[error("cannot serve metrics on {address}: {problem}")]
    Address { address: SocketAddr, problem: io::Error },
    #[error("cannot record metrics: {0}")]
    Recorder(#[from] BuildError),
}

/// Records what merges publish, and has an address to be scraped on.
pub(crate) struct Exporter {
    address: SocketAddr,
    listener: TcpListener,
    recorder: PrometheusHandle,
}

impl Exporter {
    /// Takes the address, before any work is done: it may be a bad one. With port 0 it is any that is free; which
    /// one goes to standard error.
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, ExporterError> {
        let listener = TcpListener::bind(address).map_err(|problem| at(address, problem))?;
        let address = listener.local_addr().map_err(|problem| at(address, problem))?;
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
        say(format_args!("metrics on http://{address}/metrics"));
        Ok(Self { address, listener, recorder })
    }

    /// Answers scrapes from now on, in a task of its own and one for each connection, which end with it.
    pub(crate) fn start(self, gateway: &Arc<Gateway>, tasks: &mut JoinSet<()>) -> Result<(), ExporterError> {
        let listener = self.listener.set_nonblocking(true);
        let listener = listener.and_then(|()| tokio::net::TcpListener::from_std(self.listener));
        let listener = listener.map_err(|problem| at(self.address, problem))?;
        let (gateway, recorder) = (Arc::clone(gateway), self.recorder);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        connections.spawn(answer(stream, Arc::clone(&gateway), recorder.clone()));
                        while connections.try_join_next().is_some() {}
                    }
                    // Out of file descriptors, most likely: some will be free again.
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            }
        });
        Ok(())
    }
}

/// Answers the requests of one connection.
async fn answer(stream: tokio::net::TcpStream, gateway: Arc<Gateway>, recorder: PrometheusHandle) {
    let respond = service_fn(|request| {
        let mut response = Response::new(String::new());
        if request.uri().path() == "/metrics" {
            publish(&gateway);
            *response.body_mut() = recorder.render();
            let text = HeaderValue::from_static("text/plain; version=0.0.4");
            response.headers_mut().insert(CONTENT_TYPE, text);
        } else {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), respond);
    // A peer that goes away in the middle is its own affair.
    drop(connection.await);
}

/// Publishes the figures of this moment. Those of merges are published by the merges.
fn publish(gateway: &Gateway) {
    // A new one each time, since blocks come and go; pool and ledger stay, and so do their counters.
    let publisher = Publisher::new();
    publisher
        .pool("chunks", &gateway.pool)
        .pool("admission", &gateway.admission)
        .ledger("gateway", &gateway.ledger);
    for block in gateway.blocks() {
        publisher.gate("blocks", &block.gate);
    }
    publisher.publish();
}

const fn at(address: SocketAddr, problem: io::Error) -> ExporterError {
    ExporterError::Address { address, problem }
}
