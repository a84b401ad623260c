//! What stands between the network and the merge costs: receiving in the background, making one series of its replicas,
//! packing series into batches.
//!
//! ```text
//! cargo bench --bench response
//! cargo bench --bench response -- ratios
//! cargo bench --bench response -- ratios lazy
//! ```
//!
//! The second command has the contenders take turns, and prints medians and their ratios: what else the machine
//! does slows down all of them alike. The third does so for the rows whose name contains a word. That all contenders of a
//! row give the same is checked before.

// Fails by panicking.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod lazy_sets;
mod replicas;
mod row;

use criterion::Criterion;
use row::Row;

fn rows() -> Vec<Row> {
    let mut rows = lazy_sets::rows();
    rows.extend(replicas::rows());
    rows
}

fn ratios(filter: &str) {
    const SAMPLES: usize = 101;
    println!("| | contender | ns per series | ratio to the first |");
    println!("|---|---|---|---|");
    for Row { name: row, series, contenders } in rows() {
        if !row.contains(filter) {
            continue;
        }
        let mut samples = vec![Vec::with_capacity(SAMPLES); contenders.len()];
        for round in 0..SAMPLES {
            for place in 0..contenders.len() {
                // Each contender goes first in its turn: nobody always finds the same caches.
                let index = (place + round) % contenders.len();
                samples[index].push((contenders[index].1)());
            }
        }
        let medians: Vec<_> = samples
            .iter_mut()
            .map(|samples| {
                samples.sort_unstable();
                samples[SAMPLES / 2].as_secs_f64()
            })
            .collect();
        for ((name, _), median) in contenders.iter().zip(&medians) {
            let each = median * 1e9 / f64::from(u32::try_from(series).unwrap());
            println!("| {row} | {name} | {each:.1} | {:.3} |", median / medians[0]);
        }
    }
}

fn groups() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    for Row { name: row, contenders, .. } in rows() {
        let mut group = criterion.benchmark_group(row);
        for (name, run) in contenders {
            group
                .bench_function(name, |bencher| bencher.iter_custom(|times| (0..times).map(|_| run()).sum()));
        }
        group.finish();
    }
    criterion.final_summary();
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "ratios").skip(1);
    if std::env::args().any(|argument| argument == "ratios") {
        let filter = arguments.find(|argument| !argument.starts_with("--"));
        ratios(&filter.unwrap_or_default());
    } else {
        groups();
    }
}
