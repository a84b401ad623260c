//! Serves blocks of Prometheus by remote read and by the StoreAPI.

mod bounds;
mod demo;
mod stores;

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser};
use losertree::LeakLedger;
use losertree::response::PartialResponseStrategy;
use losertree::stream::Closer;
use losertree_prometheus::remote::RemoteLimits;
use losertree_prometheus::security::ListenerSecurity;
use losertree_prometheus::server::{Render, Server, ServerLimits};
use losertree_prometheus::{
    BlockStore, Gateway, GatewayPublisher, Limits, RemoteStore, StoreApiServer, StoreApiStore,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use bounds::Bounds;
use stores::{Configured, Dialers, Kind, label, once_each, open_all};

/// Serves blocks of Prometheus by remote read, and by the StoreAPI of Thanos if --grpc-listen is given.
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
    #[arg(long, value_name = "DIR")]
    blocks: Option<PathBuf>,
    /// A server that is asked by remote read, too: http://HOST:PORT or https://HOST:PORT, with /api/v1/read unless another path is
    /// given. Labels that all its series have can follow: http://HOST:PORT,cluster=eu,replica=a. Can be repeated; of two samples of one
    /// moment, that of the blocks is taken, and then that of the first server. In the configuration file it can be a table with
    /// address, labels, and `basic_auth`, `authorization` and `tls_config` by the names of Prometheus; no secret is given here.
    #[arg(long = "store", value_name = "ADDRESS[,NAME=VALUE]...")]
    stores: Vec<String>,
    /// A server that is asked by the StoreAPI of Thanos, by gRPC, too: http://HOST:PORT of another gateway, or of a part of Thanos
    /// that has one, or https://HOST:PORT. Labels can follow as for --store, and in the configuration file it can be a table, too. Can be
    /// repeated; these servers come after those of --store.
    #[arg(long = "store-api", value_name = "ADDRESS[,NAME=VALUE]...")]
    store_apis: Vec<String>,
    /// How long another server may take to connect, to begin its answer, and between two parts of it.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    store_seconds: u64,
    /// A label by which replicas differ. It is taken off, so that their series become one. Can be repeated.
    #[arg(long = "replica-label", value_name = "NAME")]
    replica_labels: Vec<String>,
    /// What becomes of a query when a store fails: it is refused, or the answer has what the others have, and the log a warning. Requests
    /// of the StoreAPI say it themselves.
    #[arg(long, value_name = "STRATEGY", value_parser = ["abort", "warn"], default_value = "abort")]
    partial_response: String,
    /// The address to listen on. One beyond the machine itself takes --allow-remote.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9095")]
    listen: SocketAddr,
    /// The address to serve the StoreAPI on, by gRPC. Not served without. For one beyond the machine itself as for --listen.
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<SocketAddr>,
    /// Listens beyond the machine itself. Everybody there can ask, unless --web-config-file says otherwise.
    #[arg(long)]
    allow_remote: bool,
    /// A file in the format of Prometheus' web configuration: TLS, certificates of clients, users and hashes of their passwords.
    #[arg(long, value_name = "FILE")]
    web_config_file: Option<PathBuf>,
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
    /// How often the directory is looked at, and whether certificates and files with secrets are others.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    sync_seconds: u64,
    /// How long running queries have when it is stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    grace_seconds: u64,
    /// A demonstration of a leak: forgets to close streamed queries whose client goes away. In no configuration file, and never
    /// beyond the machine itself.
    #[arg(long, hide = true)]
    leak: bool,
    #[command(flatten)]
    bounds: Bounds,
}

/// The arguments, with those of the configuration file before them.
fn arguments() -> Result<(Vec<OsString>, Vec<Configured>), String> {
    let mut given = std::env::args_os();
    let mut all: Vec<_> = given.next().into_iter().collect();
    let given: Vec<_> = given.collect();
    let path = given.iter().enumerate().find_map(|(at, argument)| match argument.to_str()? {
        "--config" => given.get(at + 1).map(PathBuf::from),
        other => other.strip_prefix("--config=").map(PathBuf::from),
    });
    let mut stores = Vec::new();
    if let Some(path) = path {
        let wrong = |problem| format!("--config {}: {problem}", path.display());
        let (arguments, configured) = configured(&path).map_err(wrong)?;
        all.extend(arguments);
        stores = configured;
    }
    all.extend(given);
    Ok((all, stores))
}

/// The option that shows a leak. It can be given on the command line only, so that nobody has it by accident.
const LEAK: &str = "leak";

/// The options of a configuration file as arguments, and the servers that it names, which may have secrets.
fn configured(path: &Path) -> Result<(Vec<OsString>, Vec<Configured>), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        // Not the line itself, which may have a secret.
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        format!("line {line}: {}", error.message())
    })?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let (mut arguments, mut stores) = (Vec::new(), Vec::new());
    for (name, value) in table {
        let command = Args::command();
        let is_option = |option: &clap::Arg| option.get_long() == Some(&name);
        if name == "config" || name == LEAK || !command.get_arguments().any(is_option) {
            return Err(format!("there is no option {name:?}"));
        }
        let values = match value {
            toml::Value::Array(values) => values,
            single => vec![single],
        };
        for value in values {
            if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.option() == name) {
                let store = match &value {
                    toml::Value::String(text) => Configured::read(kind, text),
                    toml::Value::Table(table) => Configured::read_table(kind, table, dir),
                    _ => Err("it is neither text nor a table".into()),
                };
                let number = 1 + stores.iter().filter(|store: &&Configured| store.kind == kind).count();
                stores.push(store.map_err(|problem| format!("{name} {number}: {problem}"))?);
                continue;
            }
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
    Ok((arguments, stores))
}

fn main() -> ExitCode {
    let (arguments, stores) = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let ended = if arguments.len() > 1 { run(Args::parse_from(arguments), stores) } else { demonstrate() };
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
            run(
                Args::parse_from([OsString::from("losertree-gateway"), "--blocks".into(), data.into()]),
                Vec::new(),
            )
        });
    std::fs::remove_dir_all(&dir)?;
    served
}

/// Whether all is closed in the end.
fn run(args: Args, mut configured: Vec<Configured>) -> Result<bool, Box<dyn Error>> {
    let is_asking = !args.stores.is_empty() || !args.store_apis.is_empty() || !configured.is_empty();
    if args.blocks.is_none() && !is_asking {
        return Err("there is nothing to serve: say --blocks, --store or --store-api".into());
    }
    for address in [Some(args.listen), args.grpc_listen].into_iter().flatten() {
        if address.ip().to_canonical().is_loopback() {
            continue;
        }
        if !args.allow_remote {
            let problem = "can be reached from other machines: say --allow-remote if that is wanted";
            return Err(format!("{address} {problem}").into());
        }
        if args.leak {
            let problem = "is a demonstration of a leak, and none for others: listen on the machine itself";
            return Err(format!("--leak {problem}").into());
        }
    }
    let external = once_each(args.external_labels.clone())
        .map_err(|name| format!("--external-label {name} is given twice"))?;
    let security = match &args.web_config_file {
        None => ListenerSecurity::none(),
        Some(path) => ListenerSecurity::load(path)
            .map_err(|error| format!("--web-config-file {}: {error}", path.display()))?,
    };
    let mut remote_limits = RemoteLimits::default();
    remote_limits.open_time = Duration::from_secs(args.store_seconds);
    remote_limits.frame_time = Duration::from_secs(args.store_seconds);
    args.bounds.limit_remotes(&mut remote_limits);
    let given = [(Kind::RemoteRead, &args.stores), (Kind::StoreApi, &args.store_apis)];
    for (kind, text) in given.into_iter().flat_map(|(kind, texts)| texts.iter().map(move |text| (kind, text)))
    {
        let read = Configured::read(kind, text);
        configured.push(read.map_err(|error| format!("--{}: {error}", kind.option()))?);
    }
    let (remotes, mut dialers) = open_all(Kind::RemoteRead, &mut configured, &remote_limits)?;
    let (store_apis, others) = open_all(Kind::StoreApi, &mut configured, &remote_limits)?;
    dialers.extend(others);
    let servers = Servers { remotes, store_apis, dialers };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args, external, security, servers))
}

/// The servers that are asked.
struct Servers {
    remotes: Vec<RemoteStore>,
    store_apis: Vec<StoreApiStore>,
    dialers: Dialers,
}

async fn serve(
    args: Args,
    external: BTreeMap<String, String>,
    security: ListenerSecurity,
    Servers { remotes, store_apis, dialers }: Servers,
) -> Result<bool, Box<dyn Error>> {
    // Before anybody is told that it serves: whoever stops it then wants it to end in order.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ledger = LeakLedger::sites();
    let closer = Closer::current()?;
    let store = Arc::new(BlockStore::new(args.blocks.clone(), external, &ledger));
    let mut limits = Limits::default();
    limits.budget_bytes = usize::try_from(args.budget_mib << 20)?;
    limits.concurrent_queries = args.concurrency.into();
    limits.series = args.max_series;
    limits.samples = args.max_samples;
    limits.query_time = Duration::from_secs(args.query_seconds);
    limits.patience = Duration::from_secs(args.patience_seconds);
    limits.replica_labels.clone_from(&args.replica_labels);
    args.bounds.limit_answers(&mut limits);
    if args.partial_response == "warn" {
        limits.partial_response = PartialResponseStrategy::Warn;
    }
    let security = Arc::new(security);
    let gateway = Gateway::new(Arc::clone(&store), limits, &ledger, &closer)?;
    let gateway = gateway.with_remotes(remotes).with_store_apis(store_apis);
    let gateway = Arc::new(if args.leak { gateway.forgetting_closes() } else { gateway });
    let render = render(&gateway)?;

    let synced = sync(&store).await;
    synced.map_err(|error| format!("--blocks {}: {error}", args.blocks.unwrap_or_default().display()))?;
    let blocks = store.blocks();
    let headers: usize = blocks.iter().map(|block| block.memory_bytes()).sum();
    let series: u64 = blocks.iter().map(|block| block.meta().stats.num_series).sum();
    eprintln!("{} blocks, {series} series in them, {headers} bytes of headers in memory", blocks.len());
    drop(blocks);

    if args.leak {
        eprintln!("warning: --leak is a demonstration: queries whose client goes away are never closed");
    }

    let mut server_limits = ServerLimits::default();
    server_limits.grace_time = Duration::from_secs(args.grace_seconds);
    args.bounds.limit_server(&mut server_limits);
    limit_by_files(&mut server_limits);
    // Those who wait for the last line can ask both.
    let grpc_listener = match args.grpc_listen {
        Some(address) => {
            let (listener, origin) = bind("--grpc-listen", address, &security).await?;
            eprintln!("StoreAPI on {origin}");
            Some(listener)
        }
        None => None,
    };
    let (listener, origin) = bind("--listen", args.listen, &security).await?;
    eprintln!("remote read on {origin}/api/v1/read, a page on {origin}/");

    let server =
        Server::new(Arc::clone(&gateway), server_limits, render).with_security(Arc::clone(&security));
    let store_api = StoreApiServer::beside(&server);
    let pause = Duration::from_secs(args.sync_seconds);
    let syncing = tokio::spawn(keep_synced(Arc::clone(&store), pause));
    let refreshing = tokio::spawn(keep_fresh(security, dialers, pause));
    let (stop, mut stopped) = watch::channel(false);
    let mut grpc_stopped = stopped.clone();
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("stopping");
        stop.send_replace(true);
    };
    let by_grpc = async {
        if let Some(listener) = grpc_listener {
            store_api.serve(listener, grpc_stopped.wait_for(|is_stopped| *is_stopped)).await;
        }
    };
    tokio::join!(signalled, server.serve(listener, stopped.wait_for(|is_stopped| *is_stopped)), by_grpc);
    for task in [syncing, refreshing] {
        task.abort();
        let _ = task.await;
    }

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

/// Listens, and says what everybody who reaches it has to know. Returns the origin of addresses there, too.
async fn bind(
    option: &str,
    address: SocketAddr,
    security: &ListenerSecurity,
) -> Result<(TcpListener, String), String> {
    let wrong = |error| format!("{option} {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(wrong)?;
    let address = listener.local_addr().map_err(wrong)?;
    if !address.ip().to_canonical().is_loopback() && !security.asks_who() {
        eprintln!("warning: whoever reaches {address} can ask: there is --web-config-file");
    }
    if !address.ip().to_canonical().is_loopback() && security.has_users() && !security.is_encrypted() {
        eprintln!("warning: passwords come to {address} in the clear: there is tls_server_config");
    }
    let scheme = if security.is_encrypted() { "https" } else { "http" };
    Ok((listener, format!("{scheme}://{address}")))
}

/// How long a query takes, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0];
const UPKEEP: Duration = Duration::from_secs(5);

fn render(gateway: &Arc<Gateway>) -> Result<Render, Box<dyn Error>> {
    let duration = Matcher::Full("losertree_merge_duration_seconds".into());
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(duration, &BUCKETS)?.install_recorder()?;
    // Durations are kept one by one until they are looked at, and perhaps nobody asks for metrics.
    let kept = recorder.clone();
    tokio::spawn(async move {
        loop {
            sleep(UPKEEP).await;
            kept.run_upkeep();
        }
    });
    let publisher = GatewayPublisher::new(gateway);
    Ok(Box::new(move || {
        publisher.publish();
        recorder.render()
    }))
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

/// Each connection takes a file descriptor, and so do files of blocks and other servers: a quarter of them is left for these.
fn limit_by_files(limits: &mut ServerLimits) {
    // As many as the system allows.
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(u64::MAX);
    let most = usize::try_from(files / 4 * 3).unwrap_or(usize::MAX);
    if most < limits.connections {
        eprintln!(
            "warning: not more than {most} connections: the system allows {files} open files (ulimit -n)"
        );
        limits.connections = most;
    }
}

/// Reads certificates and secrets again that are in files which have changed. Where that fails, what there was stays.
async fn keep_fresh(listener: Arc<ListenerSecurity>, dialers: Dialers, pause: Duration) {
    loop {
        sleep(pause).await;
        let (listener, dialers) = (Arc::clone(&listener), dialers.clone());
        let refreshing = tokio::task::spawn_blocking(move || {
            let own = std::iter::once(("--web-config-file", listener.refresh()));
            let others = dialers.iter().map(|(name, dialer)| (name.as_str(), dialer.refresh()));
            for (name, refreshed) in own.chain(others) {
                match refreshed {
                    Ok(false) => {}
                    Ok(true) => eprintln!("{name}: read again, since a file has changed"),
                    Err(error) => eprintln!("error: {name} stays as it was: {error}"),
                }
            }
        });
        // Nothing in it panics.
        let _ = refreshing.await;
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
