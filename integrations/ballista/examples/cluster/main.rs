//! Ballista on this machine, with executors that merge by windows.
//!
//! `cargo run --release --example cluster` runs a scheduler and two executors, each a process, and asks them ordered queries. Each answer is compared
//! with that of a single process. Then it cancels a job, and kills an executor half-way. `-- --help` has the options.
//!
//! [`executor`] is what a user of Ballista writes, [`scheduler`] is Ballista's, and [`client`] asks. [`process`] has executors be processes,
//! which answer what their ledgers say.

mod args;
mod client;
mod executor;
mod process;
mod queries;
mod scheduler;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ballista_core::serde::protobuf::JobStageMetrics;
use datafusion::arrow::array::RecordBatch;
use datafusion::prelude::SessionContext;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use args::{Args, Command};
use client::{Asked, alone, ask, client, compare};
use process::{Books, Process, ROLE, be_executor};
use queries::{LONG, LONG_BATCH_ROWS, QUERIES, SORT_MERGE_JOIN};
use scheduler::{Scheduler, merges, operators, sum};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// How long a query may take, or whatever else is waited for. A busy machine needs much less.
const LIMIT: Duration = Duration::from_mins(3);

/// How long a query may take of which an executor was killed. It takes some seconds.
const KILLED_LIMIT: Duration = Duration::from_mins(1);

/// How long what was cancelled may stay open.
const CLOSING_LIMIT: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((ROLE, arguments)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return be_executor(arguments);
    }
    let args = match Args::parse(&arguments) {
        Ok(Command::Run(args)) => args,
        Ok(Command::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let run = async {
        let dir = TempDir::new()?;
        queries::write_tables(dir.path(), args.rows).await?;
        if args.table { table(args, dir.path()).await } else { run(args, dir.path()).await }
    };
    let done = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(run),
        Err(error) => Err(format!("cannot start the runtime: {error}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A scheduler and its executors.
struct Cluster {
    scheduler: Scheduler,
    executors: Vec<Process>,
}

impl Cluster {
    async fn start(args: Args, executors: usize, dir: &Path) -> Outcome<Self> {
        let scheduler = Scheduler::start().await?;
        let work_dir = |index| -> PathBuf { dir.join(format!("cluster of {executors}, executor {index}")) };
        let executors: Vec<_> = (0..executors)
            .map(|index| Process::start(scheduler.port(), work_dir(index), args.vcores))
            .collect::<Result<_, _>>()?;
        scheduler.wait_for_executors(executors.len(), LIMIT).await?;
        Ok(Self { scheduler, executors })
    }

    async fn books(&mut self) -> Outcome<Vec<Books>> {
        let mut all = Vec::new();
        for executor in &mut self.executors {
            all.push(executor.books().await?);
        }
        Ok(all)
    }

    /// The books of all executors once they balance.
    async fn settled(&mut self, what: &str) -> Outcome<Books> {
        let mut all = Vec::new();
        for executor in &mut self.executors {
            let books = executor.settled(CLOSING_LIMIT).await?;
            if !books.balance() {
                return Err(format!("{what}: the books of an executor do not balance: {books}").into());
            }
            all.push(books);
        }
        Ok(Books::sum(&all))
    }

    /// Waits until a merge of a query is at work. Returns whether there was one before the query ended.
    async fn wait_for_merge(&mut self, query: &JoinHandle<Answer>) -> Outcome<bool> {
        let begin = Instant::now();
        while Books::sum(&self.books().await?).open_inputs == 0 {
            if query.is_finished() {
                return Ok(false);
            }
            if begin.elapsed() > LIMIT {
                return Err("no merge has begun".into());
            }
            sleep(Duration::from_millis(2)).await;
        }
        Ok(true)
    }

    async fn stop(self) -> Outcome {
        for executor in self.executors {
            if !executor.stop().await? {
                return Err("an executor has ended with an error".into());
            }
        }
        Ok(())
    }
}

type Answer = datafusion::error::Result<RecordBatch>;

/// Asks, and waits for the answer, not for ever.
async fn rows(asked: &Asked, what: &str) -> Outcome<RecordBatch> {
    let rows = timeout(LIMIT, asked.rows()).await;
    Ok(rows.map_err(|_| format!("{what}: no answer within {LIMIT:?}"))??)
}

async fn run(args: Args, dir: &Path) -> Outcome {
    let mut cluster = Cluster::start(args, args.executors, dir).await?;
    let (context, alone) = (client(&cluster.scheduler.url(), dir).await?, alone(dir).await?);
    println!("{} rows, {} executors of {} tasks\n", args.rows, args.executors, args.vcores);
    check_queries(&mut cluster, &context, &alone).await?;
    cancel(&mut cluster, &context).await?;
    kill(&mut cluster, &context, &alone).await?;
    cluster.stop().await
}

/// Each query gives what a single process gives, and its merges go by windows, unless the session wants otherwise.
async fn check_queries(cluster: &mut Cluster, context: &SessionContext, alone: &SessionContext) -> Outcome {
    println!(
        "{:<24} {:>7} {:>7} {:>7} {:>8} {:>8} {:>7}",
        "query", "rows", "stages", "merges", "windows", "runs", "ms"
    );
    for query in &QUERIES {
        // The adaptive planner of Ballista takes a hash join where the tables are small, whatever the session prefers.
        let adaptive = query.name != SORT_MERGE_JOIN;
        context.sql(&format!("SET ballista.planner.adaptive.enabled = {adaptive}")).await?.collect().await?;
        let expected = rows(&ask(alone, query.sql).await?, query.name).await?;
        let asked = ask(context, query.sql).await?;
        let begin = Instant::now();
        let answer = rows(&asked, query.name).await?;
        let ms = begin.elapsed().as_millis();
        compare(query.name, &answer, &expected)?;
        let job = asked.job().ok_or("the query has no job")?;
        let stages = cluster.scheduler.stages(&job).await?;
        let merges = merges(&stages);
        let by_windows: Vec<_> = merges.iter().filter(|merge| merge.by_windows).collect();
        if by_windows.is_empty() {
            return Err(format!("{}: no executor has merged by windows: {merges:?}", query.name).into());
        }
        if !adaptive && stages.iter().all(|stage| operators(stage, "SortMergeJoinExec").is_empty()) {
            return Err(format!("{}: there is none in its stages", query.name).into());
        }
        let windows: usize = by_windows.iter().map(|merge| merge.windows).sum();
        let runs: usize = by_windows.iter().map(|merge| merge.runs).sum();
        let (name, count) = (query.name, answer.num_rows());
        println!(
            "{name:<24} {count:>7} {:>7} {:>7} {windows:>8} {runs:>8} {ms:>7}",
            stages.len(),
            by_windows.len()
        );
    }
    let books = cluster.settled("queries").await?;
    println!("\nall answers are those of a single process; ledgers: {books}");

    context.sql("SET losertree.enabled = false").await?.collect().await?;
    let asked = ask(context, QUERIES[0].sql).await?;
    let answer = rows(&asked, "disabled").await?;
    compare("disabled", &answer, &rows(&ask(alone, QUERIES[0].sql).await?, "disabled").await?)?;
    let job = asked.job().ok_or("the query has no job")?;
    let merges = merges(&cluster.scheduler.stages(&job).await?);
    if merges.is_empty() || merges.iter().any(|merge| merge.by_windows) {
        return Err(format!("the session has switched windows off, and the merges were {merges:?}").into());
    }
    context.sql("SET losertree.enabled = true").await?.collect().await?;
    println!("with losertree.enabled = false: the same answer, and no merge by windows\n");
    Ok(())
}

/// Begins the long query, and returns once a merge of it is at work.
async fn begin_long(cluster: &mut Cluster, context: &SessionContext) -> Outcome<(Asked, JoinHandle<Answer>)> {
    let set = format!("SET datafusion.execution.batch_size = {LONG_BATCH_ROWS}");
    context.sql(&set).await?.collect().await?;
    let asked = ask(context, LONG.sql).await?;
    let running = asked.run();
    if !cluster.wait_for_merge(&running).await? {
        return Err("the long query had ended before a merge of it was seen".into());
    }
    context.sql("SET datafusion.execution.batch_size = 8192").await?.collect().await?;
    Ok((asked, running))
}

/// A job is cancelled while its last stage merges: all that is open is dropped.
async fn cancel(cluster: &mut Cluster, context: &SessionContext) -> Outcome {
    let before = Books::sum(&cluster.books().await?);
    let (asked, running) = begin_long(cluster, context).await?;
    let during = Books::sum(&cluster.books().await?);
    let files = open_files(cluster);
    let job = asked.job().ok_or("the query has no job")?;
    let begin = Instant::now();
    cluster.scheduler.cancel(&job).await?;
    let books = cluster.settled("cancel").await?;
    let took = begin.elapsed();
    let ended = timeout(LIMIT, running).await.map_err(|_| "the client of a cancelled job hangs")??;
    let Err(error) = ended else {
        return Err("a cancelled job has given an answer".into());
    };
    println!("cancelled while {} inputs of merges and {files:?} shuffle files were open", during.open_inputs);
    println!("  the client: {}", first_line(&error.to_string()));
    println!("  after {took:.1?}: {} more dropped, {books}", books.dropped - before.dropped);
    if books.dropped == before.dropped {
        return Err("nothing was dropped: the merge has gone on to its end".into());
    }
    let begin = Instant::now();
    while open_files(cluster).is_some_and(|files| files > 0) {
        if begin.elapsed() > CLOSING_LIMIT {
            return Err(format!("{:?} shuffle files are still open", open_files(cluster)).into());
        }
        sleep(Duration::from_millis(10)).await;
    }
    println!("  after {:.1?} more: {:?} shuffle files are open\n", begin.elapsed(), open_files(cluster));
    Ok(())
}

fn open_files(cluster: &Cluster) -> Option<usize> {
    cluster.executors.iter().map(Process::open_shuffle_files).sum()
}

/// An executor is killed while a query merges: the query gives the right answer or an error, and what is left goes on.
async fn kill(cluster: &mut Cluster, context: &SessionContext, alone: &SessionContext) -> Outcome {
    let (asked, mut running) = begin_long(cluster, context).await?;
    // The one that does not merge, if there is one: its shuffle files are being read.
    let books = cluster.books().await?;
    let victim = books.iter().position(|books| books.open_inputs == 0).unwrap_or(0);
    cluster.executors.remove(victim).kill().await?;
    println!(
        "killed executor {victim} while the others had {} inputs of merges open",
        Books::sum(&books).open_inputs
    );
    let begin = Instant::now();
    let ended = if let Ok(ended) = timeout(KILLED_LIMIT, &mut running).await {
        ended?
    } else {
        println!("  Ballista has not ended the job after {KILLED_LIMIT:?}: it is cancelled");
        cluster.scheduler.cancel(&asked.job().ok_or("the query has no job")?).await?;
        timeout(LIMIT, running).await.map_err(|_| "the client of a cancelled job hangs")??
    };
    match ended {
        Ok(answer) => {
            compare("killed", &answer, &rows(&ask(alone, LONG.sql).await?, "killed").await?)?;
            println!(
                "  the query has succeeded after {:.1?} more: {} rows",
                begin.elapsed(),
                answer.num_rows()
            );
        }
        Err(error) => {
            println!(
                "  the query has failed after {:.1?}: {}",
                begin.elapsed(),
                first_line(&error.to_string())
            );
        }
    }
    println!("  the survivors: {}", cluster.settled("kill").await?);

    let begin = Instant::now();
    while cluster.scheduler.executors().await > cluster.executors.len() {
        if begin.elapsed() > LIMIT {
            return Err("the scheduler does not miss the executor that was killed".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let query = &QUERIES[0];
    let answer = rows(&ask(context, query.sql).await?, query.name).await?;
    compare(query.name, &answer, &rows(&ask(alone, query.sql).await?, query.name).await?)?;
    println!("  they answer the next query alone: {}", cluster.settled("after the kill").await?);
    Ok(())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The queries of the table: a sort, a wide one, a limit, a window function with and without partitions.
const IN_TABLE: [&str; 5] = ["order by number", "three columns", "limit 10", "row number", "running sum"];

/// What grows with the executors, and what does not.
async fn table(args: Args, dir: &Path) -> Outcome {
    println!("{} rows, executors of {} tasks; all of them on this machine\n", args.rows, args.vcores);
    println!("| query | executors | merges by stage | rows written by stage | kB read by stage | ms |");
    println!("|---|---|---|---|---|---|");
    let mut clusters = Vec::new();
    for executors in 1..=3 {
        let cluster = Cluster::start(args, executors, dir).await?;
        let context = client(&cluster.scheduler.url(), dir).await?;
        clusters.push((cluster, context));
    }
    for query in QUERIES.iter().filter(|query| IN_TABLE.contains(&query.name)) {
        let mut times = [const { Vec::new() }; 3];
        let mut jobs = [const { None }; 3];
        // In turns, so that a busy machine is busy for all of them.
        for _ in 0..TABLE_ROUNDS {
            for (at, (_, context)) in clusters.iter().enumerate() {
                let asked = ask(context, query.sql).await?;
                let begin = Instant::now();
                rows(&asked, query.name).await?;
                times[at].push(begin.elapsed().as_millis());
                jobs[at] = asked.job();
            }
        }
        for (at, (cluster, _)) in clusters.iter_mut().enumerate() {
            times[at].sort_unstable();
            let job = jobs[at].take().ok_or("the query has no job")?;
            let stages = cluster.scheduler.stages(&job).await?;
            cluster.settled(query.name).await?;
            println!(
                "| {} | {} | {} | {} |",
                query.name,
                at + 1,
                shuffled(&stages),
                times[at][TABLE_ROUNDS / 2]
            );
        }
    }
    for (cluster, _) in clusters {
        cluster.stop().await?;
    }
    Ok(())
}

/// How often each query of the table is asked; the median counts.
const TABLE_ROUNDS: usize = 3;

/// What the stages of a job have merged, written and read, stage by stage.
fn shuffled(stages: &[JobStageMetrics]) -> String {
    let merges = merges(stages);
    let total = |stage: &JobStageMetrics, names: &[&str], metric: &str| -> usize {
        let operators = names.iter().flat_map(|name| operators(stage, name));
        operators.filter_map(|metrics| sum(&metrics, metric)).sum()
    };
    let writers = ["ShuffleWriterExec", "SortShuffleWriterExec", "RangeShuffleWriterExec"];
    let readers = ["ShuffleReaderExec", "RangeShuffleReaderExec"];
    let count = |stage: &JobStageMetrics| {
        merges.iter().filter(|merge| merge.stage == stage.stage_id && merge.by_windows).count()
    };
    let by_stage = |figure: &dyn Fn(&JobStageMetrics) -> usize| -> String {
        stages.iter().map(|stage| figure(stage).to_string()).collect::<Vec<_>>().join(" ")
    };
    let written = by_stage(&|stage| total(stage, &writers, "output_rows"));
    let read = by_stage(&|stage| total(stage, &readers, "output_bytes") / 1000);
    format!("{} | {written} | {read}", by_stage(&count))
}
