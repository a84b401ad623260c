//! Blocks that a Prometheus writes itself, served while it goes on: native histograms, and compactions of its own.

#![allow(clippy::unwrap_used, clippy::format_push_string)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::ResponseType::{Samples, StreamedXorChunks};
use support::process::{
    Gateway, Prometheus, StreamedChunk, copy_dir, query, read, sampled, streamed, streamed_chunks,
};
use support::*;

const XOR: i32 = 1;
const HISTOGRAM: i32 = 2;
const FLOAT_HISTOGRAM: i32 = 3;

fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < Duration::from_secs(240), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn configuration(target: std::net::SocketAddr, interval_ms: u64) -> String {
    format!(
        "global:\n  scrape_interval: {interval_ms}ms\n  scrape_timeout: {interval_ms}ms\n\
         scrape_configs:\n- job_name: live\n  static_configs:\n  - targets: ['{target}']\n"
    )
}

fn everything() -> Vec<losertree_prometheus::remote::proto::Query> {
    vec![query(&[("__name__", 2, ".+")], Interval::new(0, i64::MAX / 2))]
}

/// The encodings of the chunks of a series.
fn encodings(chunks: &[StreamedChunk]) -> Vec<i32> {
    chunks.iter().map(|chunk| chunk.2).collect()
}

#[test]
fn native_histograms_pass_as_they_are_in_the_block() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("scraping");
    fs::create_dir(&data).unwrap();
    let (target, scrapes) = native::exporter();
    let flags = ["--enable-feature=native-histograms"];
    // A scrape that is not answered in its interval ends the chunks, of which so many are expected.
    let scraping = Prometheus::with_flags(&data, &configuration(target, 2_000), &flags);
    let has_asked = |count: u64| scrapes.load(Ordering::Relaxed) >= count;
    wait_for("scrapes", || has_asked(7));
    let first = scraping.snapshot(&data);
    wait_for("scrapes", || has_asked(9));
    let second = scraping.snapshot(&data);
    drop(scraping);

    // What Prometheus streams of these blocks.
    let prometheus = Prometheus::start(&copy_dir(&first, &dir.path().join("theirs")), None);
    let (status, body) = read(prometheus.address, everything(), StreamedXorChunks).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let wanted = streamed_chunks(&body);
    for (name, encoding, series) in
        [("native", HISTOGRAM, 2), ("native_float", FLOAT_HISTOGRAM, 1), ("plain_total", XOR, 1)]
    {
        let found = wanted.iter().filter(|(labels, _)| labels.get("__name__").is_some_and(|of| *of == *name));
        let found: Vec<_> = found.map(|(_, chunks)| encodings(chunks)).collect();
        assert_eq!(found.len(), series, "{name}");
        // The buckets have changed once.
        let chunks = if encoding == XOR { 1 } else { 2 };
        assert!(found.iter().all(|found| *found == vec![encoding; chunks]), "{name}: {found:?}");
    }
    // Byte by byte: of the blocks alone, and of blocks and a server that has copies of the chunks.
    let store = format!("http://{}", prometheus.address);
    for arguments in [&[][..], &["--store", &store]] {
        let gateway = Gateway::start(&first, arguments);
        let (status, body) = read(gateway.address, everything(), StreamedXorChunks).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        assert!(streamed_chunks(&body) == wanted, "{arguments:?}");
        refuses(&gateway, Samples, &["encoding 2", "only streamed"]);
        // What has no histograms is answered.
        let plain = || vec![query(&[("__name__", 0, "plain_total")], Interval::new(0, i64::MAX / 2))];
        let (status, body) = read(gateway.address, plain(), Samples).unwrap();
        assert_eq!((status, sampled(&body)[0].len()), (200, 1));
        gateway.assert_stops_balanced();
    }

    // The later snapshot has the same chunks with more in them: they overlap, and cannot be merged.
    let both = dir.path().join("both");
    copy_dir(&first, &both);
    for block in block_dirs(&second) {
        copy_dir(&block, &both.join(block.file_name().unwrap()));
    }
    let gateway = Gateway::start(&both, &[]);
    refuses(&gateway, StreamedXorChunks, &["native", "overlap", "encoding"]);
    refuses(&gateway, Samples, &["overlap"]);
    gateway.assert_stops_balanced();

    // Deleted in the middle of a chunk: that would have to be decoded. Whole chunks can be taken away.
    let chunk =
        &wanted.iter().find(|(labels, _)| labels.get("code").is_some_and(|code| *code == *"404")).unwrap().1
            [0];
    let middle = Interval::new(chunk.0 + 1_000, i64::MAX / 2);
    assert!(middle.min_ms < chunk.1, "{chunk:?}");
    prometheus.delete("native{code='404'}", Interval::new(middle.min_ms, chunk.1 + 3_600_000));
    let cut = copy_dir(&dir.path().join("theirs"), &dir.path().join("cut"));
    let gateway = Gateway::start(&cut, &[]);
    refuses(&gateway, StreamedXorChunks, &["chunks/000001: byte", "encoding 2", "cut"]);
    gateway.assert_stops_balanced();
    prometheus.delete("native{code='404'}", Interval::new(chunk.0 - 3_600_000, chunk.1 + 3_600_000));
    let gone = copy_dir(&dir.path().join("theirs"), &dir.path().join("gone"));
    let gateway = Gateway::start(&gone, &[]);
    let (status, body) = read(gateway.address, everything(), StreamedXorChunks).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let (_, theirs) = read(prometheus.address, everything(), StreamedXorChunks).unwrap();
    let left = streamed_chunks(&body);
    assert_eq!(left.len(), wanted.len() - 1);
    assert!(left == streamed_chunks(&theirs));
    gateway.assert_stops_balanced();
}

/// Asserts that there is no whole answer, and that what is said of it has all parts.
#[track_caller]
fn refuses(gateway: &Gateway, kind: losertree_prometheus::remote::proto::ResponseType, parts: &[&str]) {
    match read(gateway.address, everything(), kind) {
        Ok((status, body)) => {
            let text = String::from_utf8_lossy(&body);
            assert!(status == 500 && parts.iter().all(|part| text.contains(part)), "{status}: {text}");
        }
        // Something was sent before.
        Err(_) => assert_eq!(kind, StreamedXorChunks),
    }
}

/// An exporter of so many counters, each of which is different at each scrape.
fn counters(series: u64) -> std::net::SocketAddr {
    let scrapes = AtomicU64::new(0);
    process::listen(move |_, client| {
        let scrape = scrapes.fetch_add(1, Ordering::Relaxed) + 1;
        let mut body = String::new();
        for number in 0..series {
            body.push_str(&format!("counted_total{{number=\"{number}\"}} {}\n", scrape * (number + 1)));
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
        let _ = client.write_all(&[head.as_bytes(), body.as_bytes()].concat());
    })
}

/// The levels of compaction of the blocks of a directory. One may go while it is looked at.
fn levels(data: &Path) -> Vec<u64> {
    let level = |dir: std::path::PathBuf| {
        let text = fs::read(dir.join("meta.json")).ok()?;
        serde_json::from_slice::<serde_json::Value>(&text).ok()?["compaction"]["level"].as_u64()
    };
    let dirs = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    dirs.filter_map(level).collect()
}

/// The time of the last sample.
fn end_of(answer: &Answer) -> i64 {
    let last = answer.values().filter_map(|samples| samples.last());
    last.map(|sample| sample.0).max().unwrap_or(0)
}

#[test]
fn a_prometheus_compacts_its_blocks_while_they_are_served() {
    const CLIENTS: usize = 24;
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("live");
    fs::create_dir(&data).unwrap();
    // Blocks of a second, compacted to three and to nine; by default they are of hours.
    let flags = ["--storage.tsdb.min-block-duration=1s", "--storage.tsdb.max-block-duration=9s"];
    let prometheus = Prometheus::with_flags(&data, &configuration(counters(100), 100), &flags);
    let gateway =
        Gateway::start(&data, &["--sync-seconds", "1", "--budget-mib", "16", "--concurrency", "200"]);
    let address = gateway.address;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut log = Vec::new();
    let ends = Mutex::new(BTreeSet::new());
    let answers: Vec<Answer> = thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let ask = |kind| {
            let mut answers: Vec<Answer> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (status, body) = read(address, everything(), kind).unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                let answer = if kind == Samples { sampled(&body) } else { streamed(&body, 1) }.remove(0);
                if answers.last() != Some(&answer) {
                    ends.lock().unwrap().insert(end_of(&answer));
                    answers.push(answer);
                }
            }
            answers
        };
        let kinds = (0..CLIENTS).map(|number| if number % 2 == 0 { Samples } else { StreamedXorChunks });
        let clients: Vec<_> = kinds.map(|kind| scope.spawn(move || ask(kind))).collect();
        // Three blocks are made one, and these again, and what they were made of goes.
        wait_for("compaction", || levels(&data).iter().any(|level| *level >= 3));
        // The gateway sees it, too: twice at least, blocks were compacted.
        wait_for("a gateway that sees it", || {
            log.extend(gateway.log());
            log.iter().filter(|line| line.starts_with("blocks: ") && !line.contains(" 0 removed")).count()
                >= 2
        });
        wait_for("answers of blocks that have come meanwhile", || ends.lock().unwrap().len() >= 4);
        drop(stopping);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    // All that Prometheus has seen up to a moment, at which a block ends: no hole, no double, and nothing of a later block.
    let (status, body) = read(prometheus.address, everything(), Samples).unwrap();
    assert_eq!(status, 200);
    let truth = sampled(&body).remove(0);
    for answer in &answers {
        let end = end_of(answer);
        assert!(*answer == clip(truth.clone(), Interval::new(0, end)), "all of it, up to {end}");
    }
    log.extend(gateway.log());
    assert!(!log.iter().any(|line| line.starts_with("error")), "{log:?}");
    gateway.wait_for_metric("losertree_gateway_blocks_held 0");
    gateway.assert_stops_balanced();
}
