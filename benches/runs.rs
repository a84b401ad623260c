//! Merging of whole runs in memory: tables of medians.
//!
//! ```text
//! cargo bench --bench runs --features rayon
//! cargo bench --bench runs -- --quick --filter uniform/16
//! ```
//!
//! The contenders take turns on the same input, after each has been checked against the first of them. All
//! of them merge into one vector that has the capacity, so that none is timed for the page faults of another.
//! Tables are Markdown, on the standard output; progress is on the standard error. Without `--bench`, which
//! cargo gives, it only checks.
//!
//! `--features rayon -- --filter merge_runs/` says what threads are worth: this library on all of them beside itself on
//! one, for 16 million numbers and for label sets.

mod common;

use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use clap::Parser;
use common::bulk::{self, Bulk};
use common::workload::{Key, label_sets, numbers};
use losertree_testkit::inputs;

#[derive(Parser)]
#[command(about = "Times merges of runs in memory in turns and prints tables of medians")]
struct Options {
    /// Time for a tenth as long, and less data where it is much.
    #[arg(long)]
    quick: bool,

    /// Only inputs whose name contains this: for example `uniform`, `runs/16`.
    #[arg(long, default_value = "")]
    filter: String,

    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// For how long each contender of a row is timed.
    const fn time(&self) -> Duration {
        Duration::from_millis(if self.quick { 50 } else { 500 })
    }
}

/// What is timed, and against what the others are to be compared: the first of them.
type Contenders<K> = [(&'static str, Bulk<K>)];

fn main() -> io::Result<()> {
    let options = Options::parse();
    let mut out = io::stdout().lock();
    let all = [2, 4, 16, 64, 256, 1024];
    for workload in numbers() {
        table(
            &options,
            &mut out,
            &Input { name: workload.name, make: &|k, n| workload.of(k, n) },
            workload.items,
            &all,
            &sequential(),
        )?;
    }
    let skewed = Input { name: "skewed", make: &skewed };
    table(&options, &mut out, &skewed, 1 << 16, &all, &sequential())?;
    for workload in label_sets() {
        table(
            &options,
            &mut out,
            &Input { name: workload.name, make: &|k, n| workload.of(k, n) },
            workload.items,
            &all[1..4],
            &sequential(),
        )?;
    }
    #[cfg(feature = "rayon")]
    parallel(&options, &mut out)?;
    Ok(())
}

/// This library on all threads against itself on one.
#[cfg(feature = "rayon")]
fn parallel(options: &Options, out: &mut impl Write) -> io::Result<()> {
    fn both<K: Key>() -> [(&'static str, Bulk<K>); 2] {
        [("merge_runs", bulk::merge_runs), ("par_merge_runs", bulk::par_merge_runs)]
    }
    let smaller = if options.quick { 3 } else { 0 };
    writeln!(out, "\nOn {} threads, beside one:", rayon::current_num_threads())?;
    for workload in numbers() {
        table(
            options,
            out,
            &Input { name: workload.name, make: &|k, n| workload.of(k, n) },
            1 << (24 - smaller),
            &[4, 16, 64],
            &both(),
        )?;
    }
    for workload in label_sets() {
        table(
            options,
            out,
            &Input { name: workload.name, make: &|k, n| workload.of(k, n) },
            1 << (18 - smaller),
            &[4, 16, 64],
            &both(),
        )?;
    }
    Ok(())
}

fn sequential<K: Key>() -> [(&'static str, Bulk<K>); 4] {
    [
        ("concat_sort", bulk::concat_sort),
        ("merge_fold", bulk::merge_fold),
        ("merge_runs", bulk::merge_runs),
        ("merge_runs_by", bulk::merge_runs_by),
    ]
}

/// What is merged.
struct Input<'a, K> {
    name: &'static str,
    make: &'a dyn Fn(usize, usize) -> Vec<Vec<K>>,
}

/// Numbers of which one run has nine in ten.
fn skewed(fan_in: usize, items: usize) -> Vec<Vec<u64>> {
    let mut runs = inputs::uniform(6, fan_in, items / 10);
    runs[fan_in / 3].extend(inputs::uniform(7, 1, items - items / 10).concat());
    runs[fan_in / 3].sort_unstable();
    runs
}

fn table<K: Key>(
    options: &Options,
    out: &mut impl Write,
    input: &Input<'_, K>,
    items: usize,
    fan_ins: &[usize],
    contenders: &Contenders<K>,
) -> io::Result<()> {
    let mut has_title = false;
    for &fan_in in fan_ins {
        let name = format!("{}/{}/{fan_in}", contenders[0].0, input.name);
        if !name.contains(&options.filter) {
            continue;
        }
        let runs = (input.make)(fan_in, items);
        let mut merged = Vec::with_capacity(items);
        let mut expected = Vec::with_capacity(items);
        contenders[0].1(&runs, &mut expected);
        for (name, merge) in contenders {
            merged.clear();
            merge(&runs, &mut merged);
            assert!(merged == expected, "{name} merges {fan_in} runs wrongly");
        }
        drop(expected);
        if !options.bench {
            continue;
        }
        if !has_title {
            let names: Vec<_> = contenders.iter().map(|(name, _)| *name).collect();
            let ratios: Vec<_> = names[1..].iter().map(|name| format!("{} ÷ {name}", names[0])).collect();
            writeln!(out, "\n{}, {items} items, ns per item\n", input.name)?;
            writeln!(out, "| K | {} | {} |", names.join(" | "), ratios.join(" | "))?;
            writeln!(out, "|---|{}", "---|".repeat(names.len() + ratios.len()))?;
            has_title = true;
        }
        let medians = medians(options.time(), &name, &runs, contenders, &mut merged);
        write!(out, "| {fan_in} |")?;
        for median in &medians {
            // Far below 2^52.
            #[allow(clippy::cast_precision_loss)]
            let per_item = median.as_secs_f64() * 1e9 / items as f64;
            write!(out, " {per_item:.2} |")?;
        }
        for median in &medians[1..] {
            write!(out, " {:.2} |", medians[0].as_secs_f64() / median.as_secs_f64())?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

fn medians<K>(
    time: Duration,
    name: &str,
    runs: &[Vec<K>],
    contenders: &Contenders<K>,
    merged: &mut Vec<K>,
) -> Vec<Duration> {
    let mut turn = |merge: Bulk<K>| {
        merged.clear();
        let begin = Instant::now();
        merge(black_box(runs), merged);
        black_box(&merged);
        begin.elapsed()
    };
    let warm_up: Duration = contenders.iter().map(|(_, merge)| turn(*merge)).sum();
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
            times[index].push(turn(contenders[index].1));
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_unstable();
            times[rounds / 2]
        })
        .collect()
}
