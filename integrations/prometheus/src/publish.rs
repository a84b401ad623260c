//! The metrics of a gateway, besides those that [`losertree`] has of its own.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use losertree::observe::Publisher;
use losertree::resource::ReaderGate;
use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::gateway::Gateway;

/// Publishes the metrics of a gateway to the recorder of the [`metrics`] facade.
#[derive(Debug)]
pub struct GatewayPublisher {
    gateway: Arc<Gateway>,
    resources: Publisher,
    /// Published with the gates of blocks: where there are none, their metrics would stay as they were.
    no_block: ReaderGate,
}

impl GatewayPublisher {
    /// Makes a publisher for a gateway.
    #[must_use]
    pub fn new(gateway: &Arc<Gateway>) -> Self {
        let resources = Publisher::new();
        for (name, pool) in gateway.pools() {
            resources.pool(name, pool);
        }
        resources.ledger("gateway", gateway.ledger());
        describe();
        Self { gateway: Arc::clone(gateway), resources, no_block: ReaderGate::new("no block") }
    }

    /// Publishes the metrics of this moment.
    pub fn publish(&self) {
        self.resources.publish();
        let store = self.gateway.store();
        let (blocks, closing) = (store.blocks(), store.closing());
        // Blocks come and go. Those that were removed and still have readers are what there are alerts for.
        let gates = Publisher::new();
        gates.gate("blocks", &self.no_block);
        for gate in blocks.iter().map(|block| block.gate()).chain(closing.iter().map(|(_, gate)| gate)) {
            gates.gate("blocks", gate);
        }
        gates.publish();
        gauge!("losertree_gateway_blocks").set(figure(blocks.len() as u64));
        gauge!("losertree_gateway_blocks_held").set(figure(closing.len() as u64));
        let headers = blocks.iter().map(|block| block.memory_bytes() as u64).sum();
        gauge!("losertree_gateway_header_bytes").set(figure(headers));
        let syncs = store.syncs();
        gauge!("losertree_gateway_wrong_blocks").set(figure(syncs.wrong_blocks as u64));
        counter!("losertree_gateway_syncs_total").absolute(syncs.count);
        counter!("losertree_gateway_failed_syncs_total").absolute(syncs.failed);
        let last = syncs.last_success.and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
        if let Some(last) = last {
            gauge!("losertree_gateway_last_sync_timestamp_seconds").set(last.as_secs_f64());
        }
        let queries = self.gateway.queries().counts();
        gauge!("losertree_gateway_running_queries").set(figure(queries.running as u64));
        gauge!("losertree_gateway_waiting_requests").set(figure(self.gateway.waiting_requests() as u64));
        gauge!("losertree_gateway_concurrent_requests_limit")
            .set(figure(self.gateway.limits().concurrent_queries as u64));
        counter!("losertree_gateway_queries_total").absolute(queries.begun);
        counter!("losertree_gateway_failed_queries_total").absolute(queries.failed);
        // Without the first one, its rate cannot be seen.
        counter!("losertree_gateway_warnings_total").increment(0);
        counter!("losertree_gateway_block_errors_total").increment(0);
        counter!("losertree_gateway_requests_total", "code" => "200").increment(0);
        counter!("losertree_gateway_rpcs_total", "method" => "Series", "code" => "OK").increment(0);
        counter!("losertree_gateway_refused_total", "code" => "401").increment(0);
        for reason in ["connections", "head_time", "head_bytes", "receiving", "stall_time", "tls"] {
            counter!("losertree_gateway_connections_closed_total", "reason" => reason).increment(0);
        }
    }
}

fn describe() {
    describe_gauge!("losertree_gateway_blocks", "Blocks that are read.");
    describe_gauge!("losertree_gateway_blocks_held", "Blocks that were removed and still have readers.");
    describe_gauge!("losertree_gateway_header_bytes", "What is kept of blocks in memory.");
    describe_gauge!(
        "losertree_gateway_wrong_blocks",
        "Blocks that are left out, or not read anew, as of the last sync."
    );
    describe_gauge!(
        "losertree_gateway_last_sync_timestamp_seconds",
        "When blocks were looked at last, with success."
    );
    describe_gauge!("losertree_gateway_running_queries", "Queries that run.");
    describe_gauge!("losertree_gateway_waiting_requests", "Requests that wait for their turn.");
    describe_gauge!("losertree_gateway_concurrent_requests_limit", "How many requests are answered at once.");
    describe_counter!("losertree_gateway_syncs_total", "How often blocks were looked at.");
    describe_counter!(
        "losertree_gateway_failed_syncs_total",
        "How often the directory of blocks could not be listed."
    );
    describe_counter!("losertree_gateway_queries_total", "Queries that were begun.");
    describe_counter!("losertree_gateway_failed_queries_total", "Queries that failed, or could not begin.");
    describe_counter!("losertree_gateway_warnings_total", "Warnings that an answer is partial.");
    describe_counter!(
        "losertree_gateway_block_errors_total",
        "Blocks that were found wrong, counted at each sync."
    );
    describe_counter!(
        "losertree_gateway_requests_total",
        "Requests for samples that were answered, by status of HTTP."
    );
    describe_counter!("losertree_gateway_rpcs_total", "Calls by gRPC that have ended, by method and status.");
    describe_counter!(
        "losertree_gateway_refused_total",
        "Requests that were refused by their head, or since nobody knows who asks."
    );
    describe_counter!(
        "losertree_gateway_connections_closed_total",
        "Connections that were closed without an answer."
    );
}

/// A number for a gauge. It is exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
const fn figure(number: u64) -> f64 {
    number as f64
}
