//! What stands for the exporter where the library is built without the feature `metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::gateway::Gateway;

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve metrics on {0}: this is built without the feature `metrics`; try \
     `cargo run --release --features metrics --example store_gateway -- --metrics {0}`"
)]
pub(crate) struct ExporterError(SocketAddr);

pub(crate) enum Exporter {}

impl Exporter {
    pub(crate) const fn bind(address: SocketAddr) -> Result<Self, ExporterError> {
        Err(ExporterError(address))
    }

    pub(crate) const fn start(self, _: &Arc<Gateway>, _: &mut JoinSet<()>) -> Result<(), ExporterError> {
        match self {}
    }
}
