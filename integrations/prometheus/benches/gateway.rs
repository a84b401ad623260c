//! The gateway beside Prometheus as servers of the same block, in turns, each a fresh process:
//! `cargo bench --bench gateway -- --data DIR --rounds 3 --json FILE --case NAME`.
//!
//! With `--case`, only those whose names contain this. Without `--data`, promtool makes a block of 107,360 series with two hours of samples, one a minute.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use losertree_prometheus::remote::proto::ResponseType::{self, Samples, StreamedXorChunks};
use support::process::{Gateway, Prometheus, copy_dir, cpu_time, peak_bytes, query, read, sampled, streamed};
use support::{MINUTE_MS, START_MS, make_blocks, open_metrics, scraped};

/// What is asked: its name, a matcher, the type of the answer, how many clients ask at once, and how often each.
struct Case {
    name: &'static str,
    matchers: Vec<(&'static str, i32, &'static str)>,
    kind: ResponseType,
    clients: usize,
    times: u32,
}

struct Figures {
    wall: Duration,
    cpu: Duration,
    peak: u64,
    bytes: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    let rounds: usize = option("--rounds").map_or(3, |rounds| rounds.parse().unwrap());
    let mut json = option("--json").map(|path| fs::File::create(path).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let data = option("--data").map_or_else(|| make(dir.path()), PathBuf::from);
    let theirs = copy_dir(&data, &dir.path().join("theirs"));

    let case = |name, matchers: &[_], kind, clients, times| Case {
        name,
        matchers: matchers.to_vec(),
        kind,
        clients,
        times,
    };
    let everything = &[("__name__", 2, ".+")];
    let percent = &[("from", 0, "prometheus"), ("zz", 2, "[1-5]")];
    let one = &[("__name__", 0, "go_goroutines"), ("from", 0, "prometheus"), ("zz", 0, "7")];
    let cases = [
        case("streamed, all", everything, StreamedXorChunks, 1, 1),
        case("streamed, 1 %", percent, StreamedXorChunks, 1, 20),
        case("streamed, one", one, StreamedXorChunks, 1, 2_000),
        case("samples, all", everything, Samples, 1, 1),
        case("samples, 1 %", percent, Samples, 1, 20),
        case("streamed, all, 16 clients", everything, StreamedXorChunks, 16, 1),
        case("streamed, 1 %, 16 clients", percent, StreamedXorChunks, 16, 20),
    ];
    println!(
        "{:<28} {:<11} {:>9} {:>9} {:>10} {:>10}",
        "case", "server", "wall s", "cpu s", "peak MiB", "MiB sent"
    );
    let wanted = option("--case").unwrap_or_default();
    for case in cases.iter().filter(|case| case.name.contains(&wanted)) {
        // An answer of samples is kept, compressed, until it is sent.
        let budget = if case.kind == Samples { "512" } else { "32" };
        let mut all = [Vec::new(), Vec::new()];
        let mut answers = Vec::new();
        for round in 0..rounds {
            for (server, figures) in all.iter_mut().enumerate() {
                let (measured, body) = if server == 0 {
                    let gateway = Gateway::start(&data, &["--budget-mib", budget]);
                    let measured = measure(case, gateway.address, gateway.pid());
                    gateway.assert_stops_balanced();
                    measured
                } else {
                    let prometheus = Prometheus::start(&theirs, None);
                    measure(case, prometheus.address, prometheus.pid())
                };
                figures.push(measured);
                if round == 0 {
                    answers.push(if case.kind == Samples { sampled(&body) } else { streamed(&body, 1) });
                }
            }
        }
        assert!(answers[0] == answers[1], "{}: the answers are equal", case.name);
        let series = answers[0][0].len();
        for (server, mut figures) in ["gateway", "prometheus"].into_iter().zip(all) {
            // The median, by time of processors.
            figures.sort_by_key(|figures| figures.cpu);
            let Figures { wall, cpu, peak, bytes } = &figures[figures.len() / 2];
            let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            let (peak_mib, sent) = (mib(*peak as f64), mib(*bytes as f64));
            println!("{:<28} {server:<11} {wall:>9.3} {cpu:>9.4} {peak_mib:>10.1} {sent:>10.2}", case.name);
            if let Some(json) = &mut json {
                let line = serde_json::json!({
                    "case": case.name, "server": server, "wall_s": wall, "cpu_s": cpu, "peak_bytes": peak, "series": series,
                });
                writeln!(json, "{line}").unwrap();
            }
        }
    }
}

/// Asks, and returns what one answer took, and an answer.
fn measure(case: &Case, address: SocketAddr, pid: u32) -> (Figures, Vec<u8>) {
    // Whatever is done at the start is over.
    thread::sleep(Duration::from_millis(500));
    let range = losertree_prometheus::block::Interval::new(START_MS - 1, START_MS + 1000 * MINUTE_MS);
    let ask = || {
        let (status, body) = read(address, vec![query(&case.matchers, range)], case.kind).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        body
    };
    let (start, before) = (Instant::now(), cpu_time(pid));
    let body = thread::scope(|scope| {
        let client = || {
            (1..case.times).for_each(|_| drop(ask()));
            ask()
        };
        let clients: Vec<_> = (0..case.clients).map(|_| scope.spawn(client)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).fold(Vec::new(), |_, body| body)
    });
    let answers = case.times * u32::try_from(case.clients).unwrap();
    let (wall, cpu) = (start.elapsed() / answers, cpu_time(pid).saturating_sub(before) / answers);
    (Figures { wall, cpu, peak: peak_bytes(pid), bytes: body.len() }, body)
}

fn make(dir: &Path) -> PathBuf {
    let mut series = Vec::new();
    for (name, labels, value) in scraped(usize::MAX) {
        series.extend((0..23).map(|number| (name.clone(), format!("{labels}zz=\"{number}\","), value)));
    }
    series.truncate(107_360);
    make_blocks(dir, &open_metrics(&series, START_MS, 120))
}
