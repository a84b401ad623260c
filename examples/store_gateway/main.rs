//! A store gateway over blocks in memory, which are replaced beneath its queries, and a ledger that must balance.
//!
//! `cargo run --release --example store_gateway` serves 200 queries; add `-- --help` for more, and `-- --leak` for what
//! the ledger says when a close is forgotten. One that serves blocks of Prometheus is in `integrations/prometheus`.
//!
//! It replays a failure of a real one (thanos-io/thanos #7883), where a refactoring had lost one `Close()`: the
//! pool for chunks ran full, and the blocks that had been read could never be removed. [`block`] has the store,
//! which owns its guard and its leases; [`query`] asks all of them by a
//! [`ProxyQuery`](losertree::response::ProxyQuery) and closes it on every path; [`block_sync`] waits for readers;
//! [`report`] audits.
//!
//! # Memory
//!
//! The chunks that queries read are in the pool, so the budget bounds them. Only where a close is forgotten there is more: the
//! queries, and what the ledger says of them.
//!
//! The blocks are received in the background, each by a task and up to a few series ahead of the merge. Each series
//! has a lease, and waits for more to come while it holds it. So a query begins when there is room for all that it may take, and
//! waits for that with nothing in its hands: [`Query::need_bytes`] says why it cannot deadlock.

mod answer;
mod args;
mod block;
mod block_sync;
mod dataset;
#[cfg(feature = "metrics")]
mod exporter;
#[cfg(not(feature = "metrics"))]
#[path = "no_exporter.rs"]
mod exporter;
#[path = "../fan_in/exposition/mod.rs"]
#[allow(dead_code, unused_imports, reason = "here it is only read")]
mod exposition;
mod gateway;
#[path = "../fan_in/interrupt.rs"]
mod interrupt;
mod progress;
mod query;
mod report;
mod rng;

use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use losertree::LeakLedger;
use losertree::resource::{BytePool, PoolConfigError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use args::Args;
use block::CHUNK_BYTES;
use dataset::DatasetError;
use exporter::{Exporter, ExporterError};
use gateway::Gateway;
use interrupt::interrupted;
use progress::{Progress, show_figures};
use query::{Outcome, Query};
use report::{Outcomes, Report, say};
use rng::Rng;

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Pool(#[from] PoolConfigError),
    #[error("the budget of {budget} bytes is too small: a query needs up to {need} bytes")]
    Budget { budget: usize, need: usize },
    #[error(transparent)]
    Exporter(#[from] ExporterError),
    #[error("cannot start the runtime: {0}")]
    Runtime(#[from] std::io::Error),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (report, interrupt) = match run(&args) {
        Ok(ended) => ended,
        Err(error) => {
            say(format_args!("error: {error}"));
            return ExitCode::FAILURE;
        }
    };
    print(&report);
    let alerts = report.alerts();
    for alert in &alerts {
        say(format_args!("error: {alert}"));
    }
    match interrupt {
        _ if !alerts.is_empty() => ExitCode::FAILURE,
        Some(code) => ExitCode::from(code),
        None => ExitCode::SUCCESS,
    }
}

/// Prints the table. A reader who has gone does not want it.
fn print(report: &Report) {
    use std::io::Write;
    drop(writeln!(std::io::stdout(), "{report}"));
}

/// Runs the gateway. With the report comes the exit code, if it was asked to end before it had.
fn run(args: &Args) -> Result<(Report, Option<u8>), StartError> {
    let exporter = args.metrics.map(Exporter::bind).transpose()?;
    let progress = Progress::new(args.no_progress);
    let ledger = LeakLedger::sites();
    let budget = args.budget_bytes();
    let pool = || {
        let sizes = BytePool::builder().smallest_bytes(64).largest_bytes(CHUNK_BYTES);
        let sizes = sizes.long_held_after(args.long_held_after());
        sizes.budget_bytes(budget).ledger(&ledger).build()
    };
    let (pool, admission) = (pool()?, pool()?);
    let mut gateway = Gateway::new(pool, admission, ledger, args.series, args.frame_timeout());
    gateway.leaks = args.leak;
    for series in dataset::blocks(args.blocks, args.series)? {
        gateway.add(series);
    }
    let need = Query::need_bytes(gateway.block_count());
    if need > budget {
        return Err(StartError::Budget { budget, need });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let gateway = Arc::new(gateway);
    runtime.block_on(async {
        let mut helpers = JoinSet::new();
        exporter.map_or(Ok(()), |exporter| exporter.start(&gateway, &mut helpers))?;
        Ok(serve(gateway, args, &progress, helpers).await)
    })
}

/// Runs all queries until they or the program is asked to end, and the block sync and `helpers` beside them.
async fn serve(
    gateway: Arc<Gateway>,
    args: &Args,
    progress: &Progress,
    mut helpers: JoinSet<()>,
) -> (Report, Option<u8>) {
    let start = Instant::now();
    let mut rng = Rng::new(args.seed);
    let (stop, stopped) = oneshot::channel();
    let sync = tokio::spawn(block_sync::run(Arc::clone(&gateway), rng.clone(), stopped));
    let bar = progress.bar("queries", args.queries);
    helpers.spawn({
        let (gateway, bar) = (Arc::clone(&gateway), bar.clone());
        async move { show_figures(&gateway, &bar).await }
    });

    let mut interrupted = pin!(interrupted());
    let mut interrupt = None;
    let mut outcomes = Outcomes::default();
    let mut queries = JoinSet::new();
    let mut planned = 0;
    loop {
        while queries.len() < args.concurrency() && planned < args.queries && interrupt.is_none() {
            let query = Query::plan(planned, &gateway, &mut rng);
            let gateway = Arc::clone(&gateway);
            queries.spawn(async move { query.run(&gateway).await });
            planned += 1;
        }
        tokio::select! {
            ended = queries.join_next() => match ended {
                Some(Ok(outcome)) => outcomes.add(outcome),
                Some(Err(panic)) => outcomes.add(Outcome::Unexpected(panic.to_string())),
                None => break,
            },
            code = &mut interrupted, if interrupt.is_none() => {
                interrupt = Some(code);
                gateway.stop();
            }
        }
        bar.set_position(planned - queries.len() as u64);
    }
    outcomes.not_run = args.queries - planned;
    let time = start.elapsed();

    // A sync that has ended by itself has failed, and says so in its report.
    let _ = stop.send(());
    let mut failed = block_sync::SyncReport::default();
    let sync = sync.await.unwrap_or_else(|panic| {
        failed.errors.push(panic.to_string());
        failed
    });
    helpers.shutdown().await;
    bar.finish_and_clear();
    let tasks = tasks_left(gateway.grace()).await;
    (Report::new(&gateway, outcomes, sync, tasks, time), interrupt)
}

/// How many tasks are left of a run that is over. Those of cancelled queries end soon after them, not with them.
async fn tasks_left(grace: Duration) -> usize {
    let runtime = Handle::current().metrics();
    let ended = async {
        while runtime.num_alive_tasks() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    drop(timeout(grace, ended).await);
    runtime.num_alive_tasks()
}
