//! Who is faster: all contenders on all workloads, for docs/benchmarks.md.
//!
//! ```text
//! cargo bench --bench scoreboard
//! cargo bench --bench scoreboard -- --quick
//! cargo bench --bench scoreboard -- --filter u64/runs/16
//! cargo bench --bench scoreboard -- --json scoreboard.jsonl --chart docs/scoreboard.svg
//! ```
//!
//! The contenders take turns, merge by merge, on the same inputs, so that whatever else the machine does
//! slows down all of them alike. Each is checked against the oracle before. Tables are Markdown, on the
//! standard output; progress is on the standard error. Without `--bench`, which cargo gives, it only checks.

#[path = "scoreboard/board.rs"]
mod board;
#[path = "scoreboard/chart.rs"]
mod chart;
mod common;
#[path = "scoreboard/report.rs"]
mod report;

use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use board::Board;
use clap::Parser;
use common::contender::{Contender, Part};
use common::workload::{
    CODED, DISJOINT, DUPS, FLOATS, IDENTIFIERS, Key, LABELS, MACHINES, MACHINES_TWICE, PAIRS, PATHS, PODS,
    RECORDS_64, RECORDS_256, REPLICAS, ROWS as TWO_FIELDS, RUNS, SCRAPES, SKEWED, STRINGS, UNIFORM, URLS,
    WIDE, WORDS,
};
use common::{asynchronous, sync};

#[derive(Parser)]
#[command(about = "Times all contenders in turns and prints tables of medians")]
struct Options {
    /// Time for a tenth as long: a few minutes in all.
    #[arg(long)]
    quick: bool,

    /// Only rows whose name contains this: for example `uniform`, `async/u64/uniform/16`.
    #[arg(long, default_value = "")]
    filter: String,

    /// Writes a JSON object for each figure to this file, one a line.
    #[arg(long)]
    json: Option<PathBuf>,

    /// Draws a chart of a dozen rows into this file, as SVG.
    #[arg(long)]
    chart: Option<PathBuf>,

    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    // For how long each contender of a row is timed.
    let time = Duration::from_millis(if options.quick { 30 } else { 300 });
    let mut board = Board::new(options.bench.then_some(time), options.filter);
    fill(&mut board);

    let mut out = io::stdout().lock();
    report::tables(&board.rows, &mut out)?;
    report::summary(&board.rows, &mut out)?;
    report::keys(&board.rows, &mut out)?;
    if let Some(path) = options.json {
        let mut file = BufWriter::new(File::create(from_root(&path))?);
        report::json(&board.rows, &mut file)?;
        file.flush()?;
    }
    if let Some(path) = options.chart {
        chart::draw(&chart::bars(&board.rows), &from_root(&path))?;
    }
    Ok(())
}

/// Cargo runs a benchmark in the folder of its package. Paths are relative to the workspace, in which cargo is called.
fn from_root(path: &Path) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The workloads, the fan-ins, and who takes part. The naive heap is the first of each list.
fn fill(board: &mut Board) {
    // Real label sets, then made-up keys of several shapes.
    let all = &[2, 3, 4, 8, 16, 64];
    board.keys("labels", &SCRAPES, &[13]);
    board.keys("labels", &MACHINES, all);
    board.keys("labels", &MACHINES_TWICE, all);
    let all = &[2, 3, 4, 8, 16, 64, 256];
    board.keys("labels", &PODS, all);
    board.keys("strings", &IDENTIFIERS, all);
    board.keys("strings", &URLS, all);
    board.keys("strings", &WORDS, all);
    board.keys("strings", &PATHS, all);

    let (few, fan_ins, label_fan_ins) = (&[4, 16, 64], &[2, 4, 16, 64], &[2, 4, 8, 16, 64]);
    board.merges("numbers", &WIDE, few, &sync::lazy());
    board.merges("numbers", &FLOATS, few, &sync::lazy());
    board.merges("rows", &TWO_FIELDS, few, &sync::lazy());
    board.merges("u64", &UNIFORM, &[2, 3, 4, 16, 64, 256, 1024], &sync::in_blocks());
    // Beyond the caches.
    for sources in [64, 256, 1024] {
        board.row("large/u64", &UNIFORM, sources, 1 << 21, Part::Whole, &sync::large());
    }
    board.merges("u64", &RUNS, few, &sync::all());
    board.merges("u64", &DUPS, few, &sync::all());
    board.merges("u64", &SKEWED, few, &sync::all());
    board.merges("u64", &DISJOINT, few, &sync::all());
    board.merges("bytes", &STRINGS, fan_ins, &sync::all());
    board.merges("labels", &LABELS, label_fan_ins, &sync::all());
    board.merges("labels", &REPLICAS, label_fan_ins, &sync::all());
    board.merges("labels", &PAIRS, fan_ins, &sync::packing());
    board.merges("labels", &CODED, few, &sync::handing_in());
    board.merges("records", &RECORDS_64, &[16], &sync::all());
    board.merges("records", &RECORDS_256, &[16], &sync::all());

    batches::<64>(board);
    batches::<1024>(board);
    batches::<8192>(board);

    board.merges("async/u64", &UNIFORM, few, &beside_sync());
    board.merges("async/u64", &RUNS, &[16], &beside_sync());
    board.merges("async/labels", &LABELS, &[16], &beside_sync());
    board.merges("async/records", &RECORDS_64, &[16], &beside_sync());
    board.merges("async/records", &RECORDS_256, &[16], &beside_sync());

    board.merges("async/blocks/u64", &UNIFORM, few, &asynchronous::in_blocks());
    board.merges("async/blocks/u64", &RUNS, &[16], &asynchronous::in_blocks());

    board.merges("async/batches/1024/u64", &UNIFORM, few, &asynchronous::batches::<_, 1024>());
    board.merges("async/batches/1024/u64", &RUNS, few, &asynchronous::batches::<_, 1024>());
    board.merges("async/batches/1024/labels", &LABELS, few, &asynchronous::batches::<_, 1024>());

    board.row("tiny", &LABELS, 1_000, 3_000, Part::Whole, &sync::all());
    board.row("first", &UNIFORM, 1_000, 4_000, Part::First, &sync::all());
    board.row("async/first", &UNIFORM, 1_000, 4_000, Part::First, &beside_sync());
    board.row("first", &UNIFORM, 1_000_000, 1_000_000, Part::First, &sync::all());
}

/// Merges of batches of so many rows.
fn batches<const ROWS: usize>(board: &mut Board) {
    let fan_ins = &[2, 4, 16, 64, 256];
    let kind = |keys: &str| format!("batches/{ROWS}/{keys}");
    for numbers in [&UNIFORM, &RUNS, &DUPS, &DISJOINT, &SKEWED] {
        board.merges(&kind("u64"), numbers, fan_ins, &sync::batches::<_, ROWS>());
    }
    board.merges(&kind("strings"), &URLS, fan_ins, &sync::batches::<_, ROWS>());
    board.merges_by_ref(&kind("strings"), &URLS, fan_ins, &sync::batches::<_, ROWS>());
    board.merges_by_ref(&kind("strings"), &IDENTIFIERS, fan_ins, &sync::batches::<_, ROWS>());
    board.merges(&kind("labels"), &LABELS, fan_ins, &sync::batches::<_, ROWS>());
    board.merges_by_ref(&kind("labels"), &PODS, fan_ins, &sync::batches::<_, ROWS>());
    board.merges(&kind("compound"), &TWO_FIELDS, fan_ins, &sync::batches::<_, ROWS>());
}

/// The async merges, and the sync one for comparison.
fn beside_sync<K: Key>() -> Vec<Contender<K>> {
    let mut all = asynchronous::all();
    all.push(Contender::of::<sync::Next>().for_reference());
    all
}
