//! What tests need: real blocks, made by promtool of the shipped scrapes, and what promtool says is in them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::missing_panics_doc
)]

pub mod browser;
#[path = "../../src/bin/losertree-gateway/demo.rs"]
mod demo;
pub mod grpc;
pub mod native;
pub mod process;
pub mod promql;
pub mod python;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use losertree::resource::BytePool;
use losertree::{Labels, LeakLedger, Series};
use losertree_prometheus::block::xor::{self, Sample};
use losertree_prometheus::block::{Block, BlockError, Interval, Memory, Selector};
use losertree_prometheus::{MatchOp, Matcher};

/// A moment in the past at which a block of two hours begins.
pub const START_MS: i64 = 1_700_006_400_000;
pub const MINUTE_MS: i64 = 60_000;

/// The answer: samples by labels.
pub type Answer = BTreeMap<Labels, Vec<(i64, u64)>>;

/// Whether promtool and Prometheus are installed. If not, says loudly that a test does nothing; in CI that is a failure.
pub fn has_prometheus() -> bool {
    let has = |program: &str| {
        Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    let all = has("promtool") && has("prometheus");
    if !all {
        assert!(std::env::var_os("CI").is_none(), "promtool and prometheus are not installed");
        eprintln!(
            "NOT TESTED: promtool and prometheus are not installed; on Debian: apt-get install prometheus"
        );
    }
    all
}

/// The series of the shipped scrapes, not more than so many.
pub fn scraped(limit: usize) -> Vec<(String, String, f64)> {
    let series = demo::scraped(limit).unwrap().into_iter();
    series.map(|series| (series.name, series.labels, series.value)).collect()
}

/// So many series: those of the shipped scrapes, and if there are not enough, more of the same with another label.
pub fn replicated(count: usize) -> Vec<(String, String, f64)> {
    let all = scraped(count);
    let copies = (0..count.div_ceil(all.len().max(1))).flat_map(|copy| {
        all.iter().map(move |(name, labels, value)| {
            let labels = if copy == 0 { labels.clone() } else { format!("{labels}copy=\"{copy}\",") };
            (name.clone(), labels, *value)
        })
    });
    copies.take(count).collect()
}

/// Text for promtool, of one sample a minute.
pub fn open_metrics(series: &[(String, String, f64)], start_ms: i64, minutes: i64) -> String {
    let series = series.iter().cloned();
    let series: Vec<_> = series.map(|(name, labels, value)| demo::Scraped { name, labels, value }).collect();
    demo::open_metrics(&series, start_ms, minutes)
}

/// Has promtool make blocks.
pub fn make_blocks(dir: &Path, open_metrics: &str) -> PathBuf {
    demo::make_blocks(dir, open_metrics).unwrap()
}

/// What promtool says is in blocks. `None` are all labels; it takes one selector.
pub fn dump(data: &Path, selector: &str, range: Interval) -> Answer {
    let mut command = Command::new("promtool");
    command.args(["tsdb", "dump", "--match", selector]);
    command.args([format!("--min-time={}", range.min_ms), format!("--max-time={}", range.max_ms)]);
    let output = command.arg(data).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut answer = Answer::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (labels, rest) = line.split_at(line.rfind('}').unwrap() + 1);
        let mut rest = rest.split_whitespace();
        let value: f64 = rest.next().unwrap().parse().unwrap();
        let time_ms = rest.next().unwrap().parse().unwrap();
        answer.entry(labels.parse().unwrap()).or_default().push((time_ms, bits(value)));
    }
    answer
}

/// Text has one name for all values that are no numbers.
pub fn bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

pub fn memory() -> Memory {
    let pool = |largest| BytePool::builder().largest_bytes(largest).budget_bytes(64 << 20).build().unwrap();
    Memory::new(pool(16 << 20), pool(1 << 20), std::time::Duration::from_secs(10))
}

pub fn selector(matchers: &[(&str, MatchOp, &str)], range: Interval) -> Selector {
    let matchers = matchers.iter().map(|(name, op, value)| Matcher::new(name, *op, value).unwrap());
    Selector { matchers: matchers.collect(), range, without: Arc::new([]) }
}

pub fn always() -> Interval {
    Interval::new(i64::MIN, i64::MAX)
}

pub fn block_dirs(data: &Path) -> Vec<PathBuf> {
    let mut dirs: Vec<_> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|dir| dir.join("meta.json").exists());
    dirs.sort();
    dirs
}

/// All that a block has for a selector, as the reader gives it.
pub fn read_series(
    dir: &Path,
    external: &BTreeMap<String, String>,
    selector: &Selector,
    memory: &Memory,
    buffer: usize,
) -> Result<Vec<Series>, BlockError> {
    let block = Arc::new(Block::open(dir, external, &LeakLedger::off())?);
    let mut reader = block.read(block.enter("test")?, selector.clone(), memory, buffer);
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        assert!(!batch.is_empty());
        // Not the buffer: copies, so that the budget need not be as large as the block.
        all.extend(batch.into_iter().map(|mut series| {
            for chunk in &mut series.chunks {
                chunk.data = chunk.data.to_vec().into();
            }
            series
        }));
    }
    assert!(reader.next_batch()?.is_none());
    Ok(all)
}

/// The samples of a chunk as a reader gives it.
pub fn samples(data: &[u8]) -> Vec<Sample> {
    assert_eq!(data[0], 1, "XOR");
    xor::decode(&data[1..]).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Adds the samples of series, which must be sorted, to an answer.
pub fn add(answer: &mut Answer, series: &[Series]) {
    assert!(series.is_sorted_by(|one, next| one.labels <= next.labels), "series are sorted");
    for Series { labels, chunks, .. } in series {
        assert!(!chunks.is_empty());
        let all = answer.entry(labels.clone()).or_default();
        for chunk in chunks {
            let samples = samples(&chunk.data);
            assert_eq!(samples.first().map(|sample| sample.time_ms), Some(chunk.min_time_ms));
            assert_eq!(samples.last().map(|sample| sample.time_ms), Some(chunk.max_time_ms));
            all.extend(samples.iter().map(|sample| (sample.time_ms, bits(sample.value))));
        }
    }
}

/// What of an answer is in a range of time.
pub fn clip(answer: Answer, range: Interval) -> Answer {
    let mut answer = answer;
    for samples in answer.values_mut() {
        samples.retain(|(time_ms, _)| range.contains(*time_ms));
    }
    answer.retain(|_, samples| !samples.is_empty());
    answer
}

/// Tells threads to stop when it is dropped, also if a test fails while they run, which would otherwise wait for them for ever.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
