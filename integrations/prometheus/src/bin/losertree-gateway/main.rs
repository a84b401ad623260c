//! Serves blocks of Prometheus by remote read.

mod demo;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser};
use losertree::LeakLedger;
use losertree::observe::Publisher;
use losertree::response::PartialResponseStrategy;
use losertree::stream::Closer;
use losertree_prometheus::remote::{RemoteLimits, RemoteStore};
use losertree_prometheus::server::{Render, Server, ServerLimits};
use losertree_prometheus::{BlockStore, Gateway, Limits};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// Serves blocks of Prometheus by remote read.
///
/// Without arguments, it has promtool make blocks of the scrapes that the repository ships, and serves them until it is stopped.
///
/// Ends with SIGTERM or SIGINT: takes no new queries, lets those that run go on for the grace time, closes all, and prints the
/// ledger. Ends with 0 only if nothing is open then.
#[derive(Parser)]
#[command(name = "losertree-gateway", version, args_override_self = true)]
struct Args {
    /// A file in TOML that has options by the same names, without the dashes; what is given here overrides it, lists are added to.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory that has the blocks: the data directory of a Prometheus, say.
    #[arg(long, value_name = "DIR", required_unless_present = "stores")]
    blocks: Option<PathBuf>,
    /// A server that is asked by remote read, too: http://HOST:PORT, with /api/v1/read unless another path is given. Labels that all
    /// its series have can follow: http://HOST:PORT,cluster=eu,replica=a. Can be repeated; of two samples of one moment, that of the
    /// blocks is taken, and then that of the first server.
    #[arg(long = "store", value_name = "ADDRESS[,NAME=VALUE]...")]
    stores: Vec<String>,
    /// How long another server may take to connect, to begin its answer, and between two parts of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    store_seconds: u64,
    /// A label by which replicas differ. It is taken off, so that their series become one. Can be repeated.
    #[arg(long = "replica-label", value_name = "NAME")]
    replica_labels: Vec<String>,
    /// What becomes of a query when a store fails: it is refused, or the answer has what the others have, and the log a warning.
    #[arg(long, value_name = "STRATEGY", value_parser = ["abort", "warn"], default_value = "abort")]
    partial_response: String,
    /// The address to listen on. One beyond the machine itself takes --allow-remote, since nobody is asked who they are.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9095")]
    listen: SocketAddr,
    /// Listens beyond the machine itself, without any authentication.
    #[arg(long)]
    allow_remote: bool,
    /// A label that all series have; overrides `thanos.labels` of meta.json and what series have of their own. Can be repeated.
    #[arg(long = "external-label", value_name = "NAME=VALUE", value_parser = label)]
    external_labels: Vec<(String, String)>,
    /// How much memory all queries may hold together, in MiB, headers of blocks not included.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(4..=1 << 20))]
    budget_mib: u64,
    /// How many requests are answered at once.
    #[arg(long, value_name = "NUMBER", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// How many series an answer may have.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000_000)]
    max_series: u64,
    /// How many samples an answer may have, those of whole chunks.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000_000_000)]
    max_samples: u64,
    /// How long a query may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    query_seconds: u64,
    /// How long a request waits for its turn and for memory.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    patience_seconds: u64,
    /// Within which time a client has to take 64 KiB of its answer, from when it does not take what there is.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    stall_seconds: u64,
    /// How often the directory is looked at.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    sync_seconds: u64,
    /// How long running queries have when it is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    grace_seconds: u64,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if is_name(name) {
        Ok((name.into(), value.into()))
    } else {
        Err(format!("{name:?} is no name of a label"))
    }
}

/// A server, with the labels that all its series have.
fn remote(text: &str, limits: &RemoteLimits) -> Result<RemoteStore, String> {
    let mut parts = text.split(',');
    let address = parts.next().unwrap_or_default();
    // First, since the address may have to be kept from being printed.
    RemoteStore::new(address, BTreeMap::new(), limits.clone()).map_err(|error| error.to_string())?;
    let wrong = |problem: String| format!("{address}: {problem}");
    let labels = parts.map(label).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    let labels = once_each(labels).map_err(|name| wrong(format!("the label {name} is given twice")))?;
    RemoteStore::new(address, labels, limits.clone()).map_err(|error| error.to_string())
}

/// Labels as a set, or the name that is given twice.
fn once_each(labels: Vec<(String, String)>) -> Result<BTreeMap<String, String>, String> {
    let mut set = BTreeMap::new();
    for (name, value) in labels {
        if set.insert(name.clone(), value).is_some() {
            return Err(name);
        }
    }
    Ok(set)
}

/// The arguments, with those of the configuration file before them.
fn arguments() -> Result<Vec<OsString>, String> {
    let mut given = std::env::args_os();
    let mut all: Vec<_> = given.next().into_iter().collect();
    let given: Vec<_> = given.collect();
    let path = given.iter().enumerate().find_map(|(at, argument)| match argument.to_str()? {
        "--config" => given.get(at + 1).map(PathBuf::from),
        other => other.strip_prefix("--config=").map(PathBuf::from),
    });
    if let Some(path) = path {
        all.extend(configured(&path).map_err(|problem| format!("--config {}: {problem}", path.display()))?);
    }
    all.extend(given);
    Ok(all)
}

fn configured(path: &Path) -> Result<Vec<OsString>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut arguments = Vec::new();
    for (name, value) in table {
        let command = Args::command();
        let is_option = |option: &clap::Arg| option.get_long() == Some(&name);
        if name == "config" || !command.get_arguments().any(is_option) {
            return Err(format!("there is no option {name:?}"));
        }
        let values = match value {
            toml::Value::Array(values) => values,
            single => vec![single],
        };
        for value in values {
            arguments.extend(match value {
                toml::Value::String(text) => Some(format!("--{name}={text}").into()),
                toml::Value::Integer(number) => Some(format!("--{name}={number}").into()),
                toml::Value::Boolean(is_set) => is_set.then(|| format!("--{name}").into()),
                other => {
                    return Err(format!(
                        "{name} is a {}, and neither text nor a number nor true",
                        other.type_str()
                    ));
                }
            });
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let ended = if arguments.len() > 1 { run(Args::parse_from(arguments)) } else { demonstrate() };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Makes blocks, and serves them.
fn demonstrate() -> Result<bool, Box<dyn Error>> {
    const SERIES: usize = 5_000;
    const MINUTES: i64 = 360;
    demo::remove_left()?;
    let dir = demo::directory(std::process::id());
    std::fs::create_dir(&dir)?;
    eprintln!("making blocks in {} (for others, say --blocks DIR)", dir.display());
    let now_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let served = demo::scraped(SERIES)
        .map_err(Into::into)
        .and_then(|series| {
            demo::make_blocks(&dir, &demo::open_metrics(&series, now_ms - MINUTES * 60_000, MINUTES))
        })
        .and_then(|data| {
            eprintln!("try, with a Prometheus that has in its configuration:\n");
            eprintln!("  remote_read:\n  - url: http://127.0.0.1:9095/api/v1/read\n    read_recent: true\n");
            eprintln!("  count by (from) ({{from!=\"\"}})");
            eprintln!("  sum by (from) (rate(process_cpu_seconds_total[10m]))\n");
            run(Args::parse_from([OsString::from("losertree-gateway"), "--blocks".into(), data.into()]))
        });
    std::fs::remove_dir_all(&dir)?;
    served
}

/// Whether all is closed in the end.
fn run(args: Args) -> Result<bool, Box<dyn Error>> {
    if !args.listen.ip().to_canonical().is_loopback() && !args.allow_remote {
        return Err(format!(
            "{} can be reached from other machines: say --allow-remote if that is wanted",
            args.listen
        )
        .into());
    }
    let external = once_each(args.external_labels.clone())
        .map_err(|name| format!("--external-label {name} is given twice"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args, external))
}

async fn serve(args: Args, external: BTreeMap<String, String>) -> Result<bool, Box<dyn Error>> {
    // Before anybody is told that it serves: whoever stops it then wants it to end in order.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ledger = LeakLedger::sites();
    let closer = Closer::current()?;
    let mut remote_limits = RemoteLimits::default();
    remote_limits.open_time = Duration::from_secs(args.store_seconds);
    remote_limits.frame_time = Duration::from_secs(args.store_seconds);
    let remotes = args.stores.iter().map(|text| remote(text, &remote_limits)).collect::<Result<Vec<_>, _>>();
    let remotes = remotes.map_err(|error| format!("--store: {error}"))?;
    let store = Arc::new(BlockStore::new(args.blocks.clone(), external, &ledger));
    let mut limits = Limits::default();
    limits.budget_bytes = usize::try_from(args.budget_mib << 20)?;
    limits.concurrent_queries = args.concurrency.into();
    limits.series = args.max_series;
    limits.samples = args.max_samples;
    limits.query_time = Duration::from_secs(args.query_seconds);
    limits.patience = Duration::from_secs(args.patience_seconds);
    limits.replica_labels.clone_from(&args.replica_labels);
    if args.partial_response == "warn" {
        limits.partial_response = PartialResponseStrategy::Warn;
    }
    let gateway = Gateway::new(Arc::clone(&store), limits, &ledger, &closer)?.with_remotes(remotes);
    let gateway = Arc::new(gateway);
    let render = render(&gateway)?;

    let synced = sync(&store).await;
    synced.map_err(|error| format!("--blocks {}: {error}", args.blocks.unwrap_or_default().display()))?;
    let blocks = store.blocks();
    let headers: usize = blocks.iter().map(|block| block.memory_bytes()).sum();
    let series: u64 = blocks.iter().map(|block| block.meta().stats.num_series).sum();
    eprintln!("{} blocks, {series} series in them, {headers} bytes of headers in memory", blocks.len());
    drop(blocks);

    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.map_err(|error| format!("--listen {}: {error}", args.listen))?;
    let address = listener.local_addr()?;
    eprintln!("remote read on http://{}:{}/api/v1/read", host(address.ip()), address.port());

    let mut server_limits = ServerLimits::default();
    server_limits.grace_time = Duration::from_secs(args.grace_seconds);
    server_limits.stall_time = Duration::from_secs(args.stall_seconds);
    let server = Server::new(Arc::clone(&gateway), server_limits, render);
    let syncing = tokio::spawn(keep_synced(Arc::clone(&store), Duration::from_secs(args.sync_seconds)));
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("stopping");
    };
    server.serve(listener, stop).await;
    syncing.abort();
    let _ = syncing.await;

    // What was broken off is closed now, within the time limit of the closer.
    closer.idle().await;
    store.close();
    let limit = Instant::now() + Duration::from_secs(10);
    while !store.held().is_empty() && Instant::now() < limit {
        sleep(Duration::from_millis(10)).await;
    }
    for held in store.held() {
        report_held(&held);
    }
    let record = ledger.snapshot();
    println!("ledger: {record}");
    let buffers = gateway.memory().buffers.snapshot().used_bytes;
    let pools = [&gateway.memory().lists, gateway.answer_pool()];
    let lists: usize = pools.iter().map(|pool| pool.snapshot().used_bytes).sum();
    println!("memory: {buffers} bytes of buffers and {lists} bytes of lists are out");
    Ok(record.is_all_closed() && buffers == 0 && lists == 0)
}

fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(ip) => format!("[{ip}]"),
        IpAddr::V4(ip) => ip.to_string(),
    }
}

fn render(gateway: &Arc<Gateway>) -> Result<Render, Box<dyn Error>> {
    let recorder = PrometheusBuilder::new().install_recorder()?;
    let gateway = Arc::clone(gateway);
    let publisher = Publisher::new();
    publisher
        .pool("buffers", &gateway.memory().buffers)
        .pool("lists", &gateway.memory().lists)
        .pool("answers", gateway.answer_pool())
        .pool("admission", gateway.admission())
        .ledger("gateway", gateway.ledger());
    Ok(Box::new(move || {
        publisher.publish();
        // Blocks come and go.
        let gates = Publisher::new();
        let blocks = gateway.store().blocks();
        for block in &blocks {
            gates.gate("blocks", block.gate());
        }
        gates.publish();
        metrics::gauge!("losertree_gateway_blocks").set(figure(blocks.len()));
        metrics::gauge!("losertree_gateway_blocks_held").set(figure(gateway.store().held().len()));
        metrics::gauge!("losertree_gateway_header_bytes")
            .set(figure(blocks.iter().map(|block| block.memory_bytes()).sum()));
        recorder.render()
    }))
}

/// A number for a gauge. It is exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
const fn figure(number: usize) -> f64 {
    number as f64
}

async fn sync(store: &Arc<BlockStore>) -> Result<(), Box<dyn Error>> {
    let store = Arc::clone(store);
    let report = tokio::task::spawn_blocking(move || store.sync()).await??;
    for error in &report.errors {
        eprintln!("error: a block is left out: {error}");
    }
    metrics::counter!("losertree_gateway_block_errors_total").increment(report.errors.len() as u64);
    if !report.is_quiet() {
        let (added, replaced, removed) = (report.added.len(), report.replaced.len(), report.removed.len());
        eprintln!(
            "blocks: {added} added, {replaced} replaced, {removed} removed, {} wrong",
            report.errors.len()
        );
    }
    Ok(())
}

/// For how long a removed block may have readers before they are named.
const PATIENCE: Duration = Duration::from_secs(60);

async fn keep_synced(store: Arc<BlockStore>, pause: Duration) {
    loop {
        sleep(pause).await;
        // A directory on a file system that hangs is no reason to wait without a word.
        match timeout(Duration::from_secs(300), sync(&store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => eprintln!("error: the blocks cannot be looked at: {error}"),
            Err(_) => eprintln!("error: looking at the blocks takes longer than five minutes"),
        }
        for held in store.held().iter().filter(|held| held.closing_for >= PATIENCE) {
            report_held(held);
        }
    }
}

fn report_held(held: &losertree_prometheus::Held) {
    eprintln!(
        "block {} was removed {:.0?} ago and still has {} readers",
        held.name,
        held.closing_for,
        held.readers.len()
    );
    for reader in held.readers.iter().take(16) {
        eprintln!("  {reader}");
    }
}
