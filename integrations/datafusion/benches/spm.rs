//! Merges by windows against DataFusion's own: `cargo bench --bench spm -- [--quick] [--json FILE]`.
//!
//! Both merge the same batches, in turn; every output is compared before. The time is that of the thread, in nanoseconds a row, the median
//! of the rounds. A line of JSON a row goes to FILE.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::SortOptions;
use cpu_time::ThreadTime;
use datafusion_execution::TaskContext;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion_physical_plan::ExecutionPlan;
use futures::StreamExt;
use support::{Partitions, Rng, context, joined, ours, run, theirs};
use tokio::runtime::Runtime;

const BATCH: usize = 8_192;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Keys {
    Uniform,
    Few,
    Runs,
    Disjoint,
    Short,
    Urls,
    Three,
    Nullable,
}

impl Keys {
    const ALL: [(Self, &str); 8] = [
        (Self::Uniform, "i64 uniform"),
        (Self::Few, "i64 16 distinct"),
        (Self::Runs, "i64 runs of 1000"),
        (Self::Disjoint, "i64 disjoint"),
        (Self::Short, "utf8 4-12"),
        (Self::Urls, "urls"),
        (Self::Three, "utf8 i64 utf8"),
        (Self::Nullable, "i64 nullable desc"),
    ];

    /// The keys of a partition, sorted.
    fn columns(self, rng: &mut Rng, k: usize, partition: usize, rows: usize) -> Vec<ArrayRef> {
        let mut numbers = |value: &mut dyn FnMut(&mut Rng, usize) -> i64| {
            let mut numbers: Vec<i64> = (0..rows).map(|row| value(rng, row)).collect();
            numbers.sort_unstable();
            numbers
        };
        let short = |rng: &mut Rng| {
            let len = 4 + rng.below(9);
            (0..len).map(|_| char::from(b'a' + rng.below(26) as u8)).collect::<String>()
        };
        let number = |numbers: Vec<i64>| vec![Arc::new(Int64Array::from(numbers)) as ArrayRef];
        match self {
            Self::Uniform => number(numbers(&mut |rng, _| rng.next() as i64)),
            Self::Few => number(numbers(&mut |rng, _| rng.below(16) as i64)),
            Self::Runs => {
                number(numbers(&mut |_, row| (((row / 1_000) * k + partition) * 1_000 + row % 1_000) as i64))
            }
            Self::Disjoint => number(numbers(&mut |_, row| (partition * rows + row) as i64)),
            Self::Short => {
                let mut strings: Vec<_> = (0..rows).map(|_| short(rng)).collect();
                strings.sort_unstable();
                vec![Arc::new(StringArray::from(strings))]
            }
            Self::Urls => {
                let url = |rng: &mut Rng| {
                    format!(
                        "https://www.example.org/shop/{}/item/{}?ref={}",
                        rng.below(40),
                        rng.below(100_000),
                        short(rng)
                    )
                };
                let mut strings: Vec<_> = (0..rows).map(|_| url(rng)).collect();
                strings.sort_unstable();
                vec![Arc::new(StringArray::from(strings))]
            }
            Self::Three => {
                let mut tuples: Vec<_> = (0..rows)
                    .map(|_| (format!("city {}", rng.below(100)), rng.below(1_000) as i64, short(rng)))
                    .collect();
                tuples.sort_unstable();
                vec![
                    Arc::new(tuples.iter().map(|(a, ..)| Some(a)).collect::<StringArray>()),
                    Arc::new(tuples.iter().map(|(_, b, _)| Some(*b)).collect::<Int64Array>()),
                    Arc::new(tuples.iter().map(|(.., c)| Some(c)).collect::<StringArray>()),
                ]
            }
            Self::Nullable => {
                let mut numbers: Vec<_> =
                    (0..rows).map(|_| (!rng.one_in(10)).then(|| rng.next() as i64)).collect();
                numbers.sort_unstable_by(|a, b| b.cmp(a));
                vec![Arc::new(Int64Array::from(numbers))]
            }
        }
    }

    fn options(self) -> SortOptions {
        SortOptions { descending: self == Self::Nullable, nulls_first: false }
    }
}

fn partition(
    rng: &mut Rng,
    keys: Keys,
    payload: usize,
    k: usize,
    index: usize,
    rows: usize,
) -> Vec<RecordBatch> {
    let mut columns = keys.columns(rng, k, index, rows);
    for column in 0..payload {
        columns.push(match column % 3 {
            0 => Arc::new((0..rows).map(|row| Some((index * rows + row) as i64)).collect::<Int64Array>()),
            1 => Arc::new((0..rows).map(|_| Some(rng.next() as f64)).collect::<Float64Array>()),
            _ => Arc::new(
                (0..rows).map(|_| Some(format!("value {}", rng.below(100_000)))).collect::<StringArray>(),
            ),
        });
    }
    let columns = columns.into_iter().enumerate().map(|(index, array)| (format!("c{index}"), array, true));
    let all = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    (0..rows).step_by(BATCH).map(|at| all.slice(at, BATCH.min(rows - at))).collect()
}

/// The time that a merge takes whose batches are dropped as they come, as an engine drops them.
fn time(runtime: &Runtime, plan: &dyn ExecutionPlan, context: &Arc<TaskContext>) -> f64 {
    runtime.block_on(async {
        let begin = ThreadTime::now();
        let mut stream = plan.execute(0, Arc::clone(context)).unwrap();
        while let Some(batch) = stream.next().await {
            drop(batch.unwrap());
        }
        drop(stream);
        begin.elapsed().as_nanos() as f64
    })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

struct Row {
    keys: &'static str,
    k: usize,
    payload: usize,
    fetch: Option<usize>,
    spm: f64,
    ours: f64,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut is_quick, mut json) = (false, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => is_quick = true,
            "--json" => {
                json = Some(File::create(args.next().expect("--json FILE")).expect("a file to write to"));
            }
            _ => {}
        }
    }
    let (total, rounds) = if is_quick { (400_000, 5) } else { (4_000_000, 7) };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = context(BATCH, None);
    let mut rows = Vec::new();
    println!(
        "{:<18} {:>3} {:>7} {:>6} {:>9} {:>9} {:>6}",
        "keys", "k", "payload", "fetch", "spm ns", "ours ns", "ratio"
    );
    for (keys, name) in Keys::ALL {
        for k in [2, 4, 16, 64] {
            for payload in [1, 10] {
                let rng = &mut Rng::new(1);
                let batches: Vec<_> =
                    (0..k).map(|index| partition(rng, keys, payload, k, index, total / k)).collect();
                let schema = batches[0][0].schema();
                let key_columns = if keys == Keys::Three { 3 } else { 1 };
                let sort = (0..key_columns).map(|index| {
                    PhysicalSortExpr::new(col(&format!("c{index}"), &schema).unwrap(), keys.options())
                });
                let ordering = LexOrdering::new(sort).unwrap();
                let input: Arc<dyn ExecutionPlan> =
                    Partitions::of_batches(Arc::clone(&schema), &ordering, batches);
                let fetches: &[Option<usize>] =
                    if payload == 1 { &[None, Some(10), Some(1_000)] } else { &[None] };
                for &fetch in fetches {
                    let (mut spm, mut own) = (Vec::new(), Vec::new());
                    let rounds = if fetch.is_some() { 5 * rounds } else { rounds };
                    // Plans are used once: what they hold of metrics grows.
                    let their_plan = || theirs(&ordering, Arc::clone(&input), fetch);
                    let our_plan = || ours(&ordering, Arc::clone(&input), fetch);
                    let (expected, error) = runtime.block_on(run(&their_plan(), Arc::clone(&context)));
                    assert!(error.is_none(), "{error:?}");
                    let (actual, error) = runtime.block_on(run(&our_plan(), Arc::clone(&context)));
                    assert!(error.is_none(), "{error:?}");
                    assert_eq!(joined(&schema, &actual), joined(&schema, &expected), "{name} {k}");
                    drop((actual, expected));
                    for _ in 0..rounds {
                        spm.push(time(&runtime, &their_plan(), &context));
                        own.push(time(&runtime, &our_plan(), &context));
                    }
                    let per = fetch.unwrap_or(total / k * k) as f64;
                    let row = Row {
                        keys: name,
                        k,
                        payload,
                        fetch,
                        spm: median(spm) / per,
                        ours: median(own) / per,
                    };
                    let Row { spm, ours, .. } = row;
                    let limit = fetch.map_or_else(|| "-".to_owned(), |fetch| fetch.to_string());
                    println!(
                        "{name:<18} {k:>3} {payload:>7} {limit:>6} {spm:>9.1} {ours:>9.1} {:>6.2}",
                        spm / ours
                    );
                    if let Some(json) = &mut json {
                        let limit = fetch.map_or_else(|| "null".to_owned(), |fetch| fetch.to_string());
                        writeln!(
                            json,
                            r#"{{"keys":"{name}","k":{k},"payload":{payload},"fetch":{limit},"spm_ns":{spm:.2},"ours_ns":{ours:.2}}}"#
                        )
                        .expect("can be written");
                    }
                    rows.push(row);
                }
            }
        }
    }
    let mean = |name: &str, of: &dyn Fn(&Row) -> bool| {
        let ratios: Vec<f64> = rows.iter().filter(|row| of(row)).map(|row| row.spm / row.ours).collect();
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{name}: geometric mean {mean:.2}, least {least:.2}, {} rows", ratios.len());
    };
    mean("all rows", &|row| row.fetch.is_none());
    mean("K >= 16, payload 1", &|row| row.fetch.is_none() && row.k >= 16 && row.payload == 1);
    mean("K >= 16, payload 10", &|row| row.fetch.is_none() && row.k >= 16 && row.payload == 10);
    mean("disjoint, K = 64", &|row| row.fetch.is_none() && row.k == 64 && row.keys == "i64 disjoint");
    mean("runs of 1000", &|row| row.fetch.is_none() && row.keys == "i64 runs of 1000");
    mean("limits", &|row| row.fetch.is_some());
}
