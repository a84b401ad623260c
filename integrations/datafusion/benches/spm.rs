//! Merges by windows against DataFusion's own: `cargo bench --bench spm -- [--quick] [--json FILE] [merges | workers | queries | sort]`.
//!
//! Both merge the same, in turn; every output is compared before. There are four parts, of which one can be chosen:
//!
//! - `merges` of batches that are there: the time of the thread, in nanoseconds a row.
//! - `workers`: the same where two threads run the inputs and the merge: wall time, in nanoseconds a row.
//! - `sort`: sorts of what is in no order, in memory and with a fourth of the memory that it takes: time of the thread and wall time as above.
//! - `queries`: TPC-H's ordered queries, and sorted Parquet files, with `losertree.enabled` on and off: wall time, in nanoseconds a query.
//!
//! All are medians of the rounds. A line of JSON a row goes to FILE.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
#![allow(clippy::cast_precision_loss)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "../tests/support/data.rs"]
mod data;

#[path = "../tests/support/tpch.rs"]
mod tpch;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{LexicographicalComparator, take_record_batch};
use cpu_time::ThreadTime;
use data::{BATCH, Keys, Sorted};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_execution::TaskContext;
use datafusion_execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::sorts::sort::SortExec;
use futures::StreamExt;
use losertree_datafusion::LoserTreeSortExec;
use support::{Partitions, Rng, Step, context, joined, ours, run, theirs};
use tokio::runtime::{Builder, Runtime};
use tpch::{PARTITIONS, SORTED_QUERIES, queries, register_sorted, session, set_enabled};

/// How large the merges are, how often each is timed, and the scale of TPC-H.
struct Size {
    rows: usize,
    rounds: usize,
    scale: f64,
}

const QUICK: Size = Size { rows: 400_000, rounds: 5, scale: 0.05 };
const WHOLE: Size = Size { rows: 4_000_000, rounds: 7, scale: 0.1 };

/// What was measured: times are in nanoseconds.
struct Row {
    keys: String,
    k: usize,
    payload: Option<usize>,
    fetch: Option<usize>,
    workers: usize,
    spm: f64,
    ours: f64,
    is_sort: bool,
}

/// Takes rows as they are measured.
struct Report {
    json: Option<File>,
    rows: Vec<Row>,
}

impl Report {
    fn add(&mut self, row: Row) {
        let Row { keys, k, payload, fetch, workers, spm, ours, .. } = &row;
        let number = |number: &Option<usize>, none: &str| number.map_or(none.to_owned(), |n| n.to_string());
        let (shown_payload, shown_fetch) = (number(payload, "-"), number(fetch, "-"));
        println!(
            "{keys:<29} {k:>3} {shown_payload:>7} {shown_fetch:>6} {workers:>7} {spm:>12.1} {ours:>12.1} {:>6.2}",
            spm / ours
        );
        if let Some(json) = &mut self.json {
            let (payload, fetch) = (number(payload, "null"), number(fetch, "null"));
            writeln!(
                json,
                r#"{{"keys":"{keys}","k":{k},"payload":{payload},"fetch":{fetch},"workers":{workers},"spm_ns":{spm:.2},"ours_ns":{ours:.2}}}"#
            )
            .expect("can be written");
        }
        self.rows.push(row);
    }

    fn mean(&self, name: &str, of: impl Fn(&Row) -> bool) {
        let ratios: Vec<f64> = self.rows.iter().filter(|row| of(row)).map(|row| row.spm / row.ours).collect();
        if ratios.is_empty() {
            return;
        }
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        println!("{name}: geometric mean {mean:.2}, least {least:.2}, {} rows", ratios.len());
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Merges, and drops batches as they come, as an engine drops them. Returns the time of the thread.
fn time(runtime: &Runtime, plan: &dyn ExecutionPlan, context: &Arc<TaskContext>) -> f64 {
    runtime.block_on(async {
        let begin = ThreadTime::now();
        drain(plan, context).await;
        begin.elapsed().as_nanos() as f64
    })
}

/// The same on a worker, with wall time.
fn time_on_worker(runtime: &Runtime, plan: Box<dyn ExecutionPlan>, context: &Arc<TaskContext>) -> f64 {
    let context = Arc::clone(context);
    let merge = runtime.spawn(async move {
        let begin = Instant::now();
        drain(plan.as_ref(), &context).await;
        begin.elapsed().as_nanos() as f64
    });
    runtime.block_on(merge).unwrap()
}

async fn drain(plan: &dyn ExecutionPlan, context: &Arc<TaskContext>) {
    let mut stream = plan.execute(0, Arc::clone(context)).unwrap();
    while let Some(batch) = stream.next().await {
        drop(batch.unwrap());
    }
}

fn check(runtime: &Runtime, sorted: &Sorted, fetch: Option<usize>, context: &Arc<TaskContext>) {
    let Sorted { schema, ordering, input, .. } = sorted;
    let all = |plan: Box<dyn ExecutionPlan>| {
        let (batches, error) = runtime.block_on(run(plan.as_ref(), Arc::clone(context)));
        assert!(error.is_none(), "{error:?}");
        joined(schema, &batches)
    };
    let expected = all(Box::new(theirs(ordering, Arc::clone(input), fetch)));
    assert_eq!(all(Box::new(ours(ordering, Arc::clone(input), fetch))), expected);
}

fn merges(size: &Size, report: &mut Report, workers: usize) {
    let runtime = runtime(workers);
    let context = context(BATCH, None);
    for (keys, name) in Keys::ALL {
        for k in [2, 4, 16, 64] {
            for payload in [1, 10] {
                let sorted = keys.sorted(k, payload, size.rows, Step::Batch);
                let fetches: &[_] =
                    if payload == 1 && workers == 1 { &[None, Some(10), Some(1_000)] } else { &[None] };
                for &fetch in fetches {
                    check(&runtime, &sorted, fetch, &context);
                    let (mut spm, mut own) = (Vec::new(), Vec::new());
                    let rounds = if fetch.is_some() { 20 * size.rounds } else { size.rounds };
                    let Sorted { ordering, input, rows, .. } = &sorted;
                    for _ in 0..rounds {
                        // Plans are used once: what they hold of metrics grows.
                        let their_plan = theirs(ordering, Arc::clone(input), fetch);
                        let our_plan = ours(ordering, Arc::clone(input), fetch);
                        if workers == 1 {
                            spm.push(time(&runtime, &their_plan, &context));
                            own.push(time(&runtime, &our_plan, &context));
                        } else {
                            spm.push(time_on_worker(&runtime, Box::new(their_plan), &context));
                            own.push(time_on_worker(&runtime, Box::new(our_plan), &context));
                        }
                    }
                    let per = fetch.unwrap_or(*rows) as f64;
                    report.add(Row {
                        keys: name.to_owned(),
                        k,
                        payload: Some(payload),
                        fetch,
                        workers,
                        spm: median(spm) / per,
                        ours: median(own) / per,
                        is_sort: false,
                    });
                }
            }
        }
    }
}

fn end_to_end(size: &Size, report: &mut Report) {
    let workers = 2;
    let runtime = Builder::new_multi_thread().worker_threads(workers).build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let context = session(size.scale);
    runtime.block_on(async {
        register_sorted(&context, directory.path(), size.scale).await;
        for query in &queries(&context).await {
            let name = format!("TPC-H {}", query.number);
            on_and_off(&context, size, report, name, async || query.run(&context).await).await;
        }
        for (number, sql) in SORTED_QUERIES.iter().enumerate() {
            let name = format!("Parquet {}", number + 1);
            on_and_off(&context, size, report, name, async || tpch::run(&context, sql).await).await;
        }
    });
}

/// Times a query with merges by windows and without.
async fn on_and_off(
    context: &SessionContext,
    size: &Size,
    report: &mut Report,
    keys: String,
    query: impl AsyncFn() -> RecordBatch,
) {
    let (mut on, mut off) = (Vec::new(), Vec::new());
    let mut answers = Vec::new();
    for round in 0..=size.rounds {
        for (is_enabled, times) in [(false, &mut off), (true, &mut on)] {
            set_enabled(context, is_enabled).await;
            let begin = Instant::now();
            let answer = query().await;
            // The first round warms up.
            if round > 0 {
                times.push(begin.elapsed().as_nanos() as f64);
            } else {
                answers.push(answer);
            }
        }
    }
    assert_eq!(answers[0], answers[1], "{keys}");
    let k = usize::try_from(PARTITIONS).unwrap();
    let (spm, ours) = (median(off), median(on));
    report.add(Row { keys, k, payload: None, fetch: None, workers: 2, spm, ours, is_sort: false });
}

/// Sorts in memory, and with a fourth of the memory, so that most is written to files and merged.
fn sort(size: &Size, report: &mut Report, workers: usize) {
    let runtime = runtime(workers);
    for (keys, name) in Keys::ALL {
        for payload in [1, 10] {
            let (sort, bytes) = shuffled(&runtime, keys, payload, size.rows);
            for is_limited in [false, true] {
                let context = sort_context(is_limited.then_some(bytes / 4));
                let (mut spm, mut own) = (Vec::new(), Vec::new());
                for round in 0..=size.rounds.min(3) {
                    // Plans are used once: what they hold of metrics grows.
                    let theirs = SortExec::new(sort.expr().clone(), Arc::clone(sort.input()));
                    let ours = LoserTreeSortExec::try_from_sort(&theirs).unwrap();
                    let plans: [Box<dyn ExecutionPlan>; 2] = [Box::new(theirs), Box::new(ours)];
                    for (plan, times) in plans.into_iter().zip([&mut spm, &mut own]) {
                        if round == 0 {
                            let sorted = runtime.block_on(run(plan.as_ref(), Arc::clone(&context)));
                            assert!(sorted.1.is_none(), "{:?}", sorted.1);
                            check_sorted(&sort, &sorted.0, size.rows);
                            let spills = plan.metrics().unwrap().spill_count().unwrap_or(0);
                            assert_eq!(spills > 0, is_limited, "{spills} files");
                            drop(sorted);
                        } else if workers == 1 {
                            times.push(time(&runtime, plan.as_ref(), &context));
                        } else {
                            times.push(time_on_worker(&runtime, plan, &context));
                        }
                    }
                }
                report.add(Row {
                    keys: format!("{name}, {}", if is_limited { "spilled" } else { "in memory" }),
                    k: 1,
                    payload: Some(payload),
                    fetch: None,
                    workers,
                    spm: median(spm) / size.rows as f64,
                    ours: median(own) / size.rows as f64,
                    is_sort: true,
                });
            }
        }
    }
}

/// A sort of rows that are in no order, and how many bytes these take.
fn shuffled(runtime: &Runtime, keys: Keys, payload: usize, rows: usize) -> (SortExec, usize) {
    let Sorted { schema, ordering, input, rows } = keys.sorted(1, payload, rows, Step::Batch);
    let batches = runtime.block_on(run(input.as_ref(), context(BATCH, None))).0;
    let all = joined(&schema, &batches);
    let mut rng = Rng::new(1);
    let mut order: Vec<u32> = (0..u32::try_from(rows).unwrap()).collect();
    for at in (1..rows).rev() {
        order.swap(at, rng.below(at + 1));
    }
    let batches: Vec<_> = order
        .chunks(BATCH)
        .map(|rows| take_record_batch(&all, &UInt32Array::from(rows.to_vec())).unwrap())
        .collect();
    let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    // What the partition says that it is ordered by.
    let last = format!("c{}", schema.fields().len() - 1);
    let other = PhysicalSortExpr::new_default(col(&last, &schema).unwrap());
    let input = Partitions::of_batches(schema, &LexOrdering::new([other]).unwrap(), vec![batches]);
    (SortExec::new(ordering, input), bytes)
}

fn sort_context(limit: Option<usize>) -> Arc<TaskContext> {
    let Some(limit) = limit else { return context(BATCH, None) };
    // Some is kept for merging, 10 MiB by default, which is more than all of it where little is sorted.
    let config = SessionConfig::new().with_batch_size(BATCH).with_sort_spill_reservation_bytes(limit / 8);
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limit));
    let runtime_env = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().unwrap();
    Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime_env))
}

fn check_sorted(sort: &SortExec, batches: &[RecordBatch], rows: usize) {
    let all = joined(&sort.schema(), batches);
    assert_eq!(all.num_rows(), rows);
    let columns = sort.expr().iter().map(|sort| sort.evaluate_to_sort_column(&all).unwrap());
    let comparator = LexicographicalComparator::try_new(&columns.collect::<Vec<_>>()).unwrap();
    assert!((1..rows).all(|row| comparator.compare(row - 1, row).is_le()));
}

fn runtime(workers: usize) -> Runtime {
    if workers == 1 {
        Builder::new_current_thread().enable_all().build().unwrap()
    } else {
        Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (mut is_quick, mut json, mut part) = (false, None, None);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--quick" => is_quick = true,
            "--json" => {
                json = Some(File::create(args.next().expect("--json FILE")).expect("a file to write to"));
            }
            "merges" | "workers" | "queries" | "sort" => part = Some(arg),
            // Cargo passes it.
            "--bench" => {}
            _ => panic!("not an argument: {arg}"),
        }
    }
    let size = if is_quick { QUICK } else { WHOLE };
    let is_wanted = |name: &str| part.as_ref().is_none_or(|part| part == name);
    let mut report = Report { json, rows: Vec::new() };
    println!(
        "{:<29} {:>3} {:>7} {:>6} {:>7} {:>12} {:>12} {:>6}",
        "keys", "k", "payload", "fetch", "workers", "spm ns", "ours ns", "ratio"
    );
    if is_wanted("merges") {
        merges(&size, &mut report, 1);
    }
    if is_wanted("workers") {
        merges(&size, &mut report, 2);
    }
    if is_wanted("queries") {
        end_to_end(&size, &mut report);
    }
    if is_wanted("sort") {
        sort(&size, &mut report, 1);
        sort(&size, &mut report, 2);
    }
    let is_whole = |row: &Row| row.workers == 1 && row.fetch.is_none() && !row.is_sort;
    report.mean("all rows", is_whole);
    report.mean("K >= 16, payload 1", |row| is_whole(row) && row.k >= 16 && row.payload == Some(1));
    report.mean("K >= 16, payload 10", |row| is_whole(row) && row.k >= 16 && row.payload == Some(10));
    report.mean("disjoint, K = 64", |row| is_whole(row) && row.k == 64 && row.keys == "i64 disjoint");
    report.mean("runs of 1000", |row| is_whole(row) && row.keys == "i64 runs of 1000");
    report.mean("limits", |row| row.fetch.is_some());
    report.mean("two workers", |row| row.workers == 2 && row.payload.is_some() && !row.is_sort);
    report.mean("queries", |row| row.payload.is_none());
    for workers in [1, 2] {
        for kind in ["in memory", "spilled"] {
            let name = format!("sorts {kind}, workers {workers}");
            report.mean(&name, |row| row.is_sort && row.workers == workers && row.keys.ends_with(kind));
        }
    }
}
