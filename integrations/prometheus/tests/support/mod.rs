//! What tests need: real blocks, made by promtool of the shipped scrapes, and what promtool says is in them.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::missing_panics_doc
)]

pub mod process;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

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

/// The series of the shipped scrapes: name, labels with a comma behind each, value.
pub fn scraped(limit: usize) -> Vec<(String, String, f64)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/data");
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "prom"));
    files.sort();
    let mut all = Vec::new();
    for path in &files {
        let job = path.file_stem().unwrap().to_str().unwrap();
        for line in fs::read_to_string(path).unwrap().lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (series, rest) = match line.rfind('}') {
                Some(end) => line.split_at(end + 1),
                None => line.split_once(' ').unwrap(),
            };
            let value = rest.split_whitespace().next().unwrap().parse().unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.trim_end_matches('}').trim_end_matches(',');
            let comma = if labels.is_empty() { "" } else { "," };
            all.push((name.to_owned(), format!("{labels}{comma}from=\"{job}\","), value));
        }
    }
    // Some of every file.
    let step = (all.len() / limit.max(1)).max(1);
    all.into_iter().step_by(step).take(limit).collect()
}

/// Numbers that look random, of a seed.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Text for `promtool tsdb create-blocks-from openmetrics`: one sample a minute of each series, from the start on, with counters that are reset and gaps.
pub fn open_metrics(
    series: &[(String, String, f64)],
    start_ms: i64,
    minutes: i64,
    extra_labels: &str,
) -> String {
    let mut text = String::new();
    let mut names: Vec<_> = series.iter().collect();
    names.sort_by_key(|(name, ..)| name.clone());
    for (index, (name, labels, first)) in names.into_iter().enumerate() {
        let mut state = index as u64;
        let mut value = *first;
        let grows = !random(&mut state).is_multiple_of(3);
        let mut is_gone = 0;
        for minute in 0..minutes {
            if is_gone > 0 {
                is_gone -= 1;
                continue;
            }
            match random(&mut state) % 400 {
                0 => is_gone = random(&mut state) % 30,
                1 if grows => value = 0.0,
                2..=99 => {}
                step if grows => value += step as f64 / 4.0,
                step => value += (step as f64 - 250.0) / 16.0,
            }
            let seconds = start_ms / 1000 + minute * 60;
            writeln!(
                text,
                "{name}{{{}}} {value} {seconds}",
                format!("{labels}{extra_labels}").trim_end_matches(',')
            )
            .unwrap();
        }
    }
    text.push_str("# EOF\n");
    text
}

/// Has promtool make blocks.
pub fn make_blocks(dir: &Path, open_metrics: &str) -> PathBuf {
    let text = dir.join("metrics.txt");
    fs::write(&text, open_metrics).unwrap();
    let data = dir.join("data");
    let output = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .arg(&text)
        .arg(&data)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::create_dir_all(data.join("wal")).unwrap();
    data
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
    Memory { buffers: pool(16 << 20), lists: pool(1 << 20), patience: std::time::Duration::from_secs(10) }
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
