//! How many times faster: tables of medians, for the README.
//!
//! ```text
//! cargo bench --bench ratios
//! cargo bench --bench ratios -- --quick
//! cargo bench --bench ratios -- --filter labels/16
//! ```
//!
//! The contenders take turns, merge by merge, on the same inputs, so that whatever else the machine does
//! slows down all of them alike. Each is checked against the oracle before. Tables are Markdown, on the
//! standard output; progress is on the standard error. Without `--bench`, which cargo gives, it only checks.

mod common;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Parser;
use common::contender::{Contender, check};
use common::workload::{Key, SOURCES, Workload, label_sets, numbers};
use common::{asynchronous, sync};

/// How many items each source has where starting is timed.
const FEW: usize = 4;

/// Sources of the tables that have not all of [`SOURCES`].
const SOME: [usize; 3] = [4, 16, 64];

/// The peers against this library: above 1 where it wins.
const TO_PEERS: &[Ratio] = &[
    ("naive_heap", "losertree"),
    ("itertools", "losertree"),
    ("naive_heap", "losertree_fold"),
    ("itertools", "losertree_fold"),
];

/// The async merges against the sync one: above 1 where they take longer.
const TO_SYNC: &[Ratio] =
    &[("async_concrete", "losertree"), ("async_from_stream", "losertree"), ("async_boxed", "losertree")];

#[derive(Parser)]
#[command(about = "Times all contenders in turns and prints tables of medians")]
struct Options {
    /// Time for a tenth as long.
    #[arg(long)]
    quick: bool,

    /// Only inputs whose name contains this: for example `uniform`, `async/uniform/16`.
    #[arg(long, default_value = "")]
    filter: String,

    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// For how long each contender of a row is timed.
    const fn time(&self) -> Duration {
        Duration::from_millis(if self.quick { 30 } else { 300 })
    }
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut out = io::stdout().lock();
    for workload in numbers() {
        compare(&options, "merge", &workload, &SOURCES, &sync::all(), TO_PEERS).print(&mut out)?;
    }
    for workload in label_sets() {
        compare(&options, "merge", &workload, &SOME, &sync::all(), TO_PEERS).print(&mut out)?;
    }
    let ([uniform, ..], [labels, ..]) = (numbers(), label_sets());
    compare(&options, "async", &uniform, &SOME, &asynchronous::all(), TO_SYNC).print(&mut out)?;
    compare(&options, "async", &labels, &SOME, &asynchronous::all(), TO_SYNC).print(&mut out)?;

    let mut starters = sync::all();
    starters.extend(asynchronous::all().into_iter().skip(1));
    start(&options, &uniform, &starters).print(&mut out)
}

/// Whole merges, in time per item.
fn compare<K: Key>(
    options: &Options,
    kind: &str,
    workload: &Workload<K>,
    sources: &[usize],
    contenders: &[Contender<K>],
    ratios: &'static [Ratio],
) -> Table {
    let mut table = Table::new(format!("{kind}/{}, ns per item", workload.name), contenders, ratios);
    for &sources in sources {
        let name = format!("{kind}/{}/{sources}", workload.name);
        if !name.contains(&options.filter) {
            continue;
        }
        let runs = workload.runs(sources);
        check(contenders, &runs);
        if options.bench {
            let turns = contenders.iter().map(|contender| contender.merge);
            table.rows.push((sources, medians(&name, options.time(), &runs, turns, 1, workload.items)));
        }
    }
    table
}

/// Merges of few items up to the first one, in time per source.
fn start<K: Key>(options: &Options, workload: &Workload<K>, contenders: &[Contender<K>]) -> Table {
    let title = format!("start/{}, up to the first item, ns per source", workload.name);
    let mut table = Table::new(title, contenders, TO_PEERS);
    for sources in SOURCES {
        let name = format!("start/{}/{sources}", workload.name);
        if !name.contains(&options.filter) {
            continue;
        }
        let runs = workload.of(sources, sources * FEW);
        check(contenders, &runs);
        if options.bench {
            let turns = contenders.iter().map(|contender| contender.first);
            // A turn long enough for the clock.
            let repeats = (1 << 12) / sources;
            table.rows.push((sources, medians(&name, options.time() / 4, &runs, turns, repeats, sources)));
        }
    }
    table
}

/// Times the contenders in turns, for `time` each, and returns the median of each in nanoseconds per unit.
fn medians<K>(
    name: &str,
    time: Duration,
    runs: &[Vec<K>],
    contenders: impl Iterator<Item = fn(&[Vec<K>]) -> u64>,
    repeats: usize,
    units: usize,
) -> Vec<f64> {
    let contenders: Vec<_> = contenders.collect();
    let turn = |contender: fn(&[Vec<K>]) -> u64| {
        let begin = Instant::now();
        for _ in 0..repeats {
            contender(runs);
        }
        begin.elapsed()
    };
    let warm_up: Duration = contenders.iter().map(|&contender| turn(contender)).sum();
    let all = time * u32::try_from(contenders.len()).unwrap_or(u32::MAX);
    // An odd number has a median of its own.
    let rounds = usize::try_from(all.as_nanos() / warm_up.as_nanos().max(1))
        .map_or(1001, |rounds| rounds.clamp(5, 1001))
        | 1;
    eprintln!("{name}: {rounds} rounds");

    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        for place in 0..contenders.len() {
            // Each contender goes first in its turn: nobody always finds the same caches.
            let index = (place + round) % contenders.len();
            times[index].push(turn(contenders[index]));
        }
    }
    // Far below 2^52.
    #[allow(clippy::cast_precision_loss)]
    let units = (repeats * units) as f64;
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[rounds / 2].as_secs_f64() * 1e9 / units
    };
    times.into_iter().map(median).collect()
}

/// Two contenders by name: how many times the time of the second the first one takes.
type Ratio = (&'static str, &'static str);

/// A table: a row for each number of sources, a column for each contender and each ratio.
struct Table {
    title: String,
    names: Vec<&'static str>,
    ratios: &'static [Ratio],
    rows: Vec<(usize, Vec<f64>)>,
}

impl Table {
    fn new<K>(title: String, contenders: &[Contender<K>], ratios: &'static [Ratio]) -> Self {
        let names = contenders.iter().map(|contender| contender.name).collect();
        Self { title, names, ratios, rows: Vec::new() }
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        writeln!(out, "\n{}\n", self.title)?;
        write!(out, "| K | {} |", self.names.join(" | "))?;
        for (slow, fast) in self.ratios {
            write!(out, " {slow} ÷ {fast} |")?;
        }
        writeln!(out, "\n|---|{}", "---|".repeat(self.names.len() + self.ratios.len()))?;
        for (sources, medians) in &self.rows {
            write!(out, "| {sources} |")?;
            for median in medians {
                write!(out, " {median:.1} |")?;
            }
            for (slow, fast) in self.ratios {
                write!(out, " {:.2} |", self.median(medians, slow) / self.median(medians, fast))?;
            }
            writeln!(out)?;
        }
        out.flush()
    }

    /// The figure of a contender in a row.
    fn median(&self, row: &[f64], name: &str) -> f64 {
        match self.names.iter().position(|&other| other == name) {
            Some(column) => row[column],
            None => panic!("no contender is called {name}"),
        }
    }
}
