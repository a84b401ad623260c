//! What the engine makes of the stages that a scheduler sends, without one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ballista_core::JobId;
use ballista_core::execution_plans::sort_shuffle::SortShuffleConfig;
use ballista_core::execution_plans::{
    RangeShuffleWriterExec, ShuffleReaderExec, ShuffleWriterExec, SortShuffleWriterExec,
};
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::ShuffleWritePartition;
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::arrow::array::{Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::test::exec::{BlockingExec, MockExec};
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use datafusion::prelude::{SessionConfig, SessionContext};
use losertree::LeakLedger;
use losertree_ballista::LoserTreeEngine;
use losertree_datafusion::LoserTreeOptions;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

/// How a stage writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Passthrough,
    Range,
    Sort,
}

const WRITERS: [Writer; 3] = [Writer::Passthrough, Writer::Range, Writer::Sort];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, true)]))
}

fn batch(keys: impl IntoIterator<Item = i64>) -> RecordBatch {
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(keys))]).unwrap()
}

/// Three sorted partitions of 600 rows in all.
fn sorted() -> Arc<dyn ExecutionPlan> {
    let partition = |first: i64| {
        let begin = move |index: i64| index * 150 + first;
        (0..4).map(|index| batch((0..50).map(|row| begin(index) + row * 3))).collect()
    };
    let partitions: [Vec<_>; 3] = [partition(0), partition(1), partition(2)];
    MemorySourceConfig::try_new_exec(&partitions, schema(), None).unwrap()
}

fn merge(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let key = PhysicalSortExpr::new_default(col("key", &schema()).unwrap());
    Arc::new(SortPreservingMergeExec::new(LexOrdering::new([key]).unwrap(), input))
}

fn projected(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let key = col("key", &schema()).unwrap();
    Arc::new(ProjectionExec::try_new([(key, "key".to_owned())], input).unwrap())
}

/// A stage as it comes from the scheduler.
fn stage(writer: Writer, plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let (job, stage, work_dir) = (JobId::from("job"), 2, String::new());
    match writer {
        Writer::Passthrough => Arc::new(ShuffleWriterExec::try_new(job, stage, plan, work_dir).unwrap()),
        Writer::Range => Arc::new(RangeShuffleWriterExec::try_new(job, stage, plan, work_dir).unwrap()),
        Writer::Sort => {
            let partitioning = Partitioning::Hash(vec![col("key", &schema()).unwrap()], 4);
            let config = SortShuffleConfig::new(true, 100);
            Arc::new(
                SortShuffleWriterExec::try_new(job, stage, plan, work_dir, partitioning, config).unwrap(),
            )
        }
    }
}

fn config() -> SessionConfig {
    SessionConfig::new_with_ballista().with_batch_size(64)
}

fn with_executor_options(mut config: SessionConfig) -> SessionConfig {
    config.options_mut().extensions.insert(LoserTreeOptions::default());
    config
}

fn ballista() -> Arc<dyn ExecutionEngine> {
    Arc::new(DefaultExecutionEngine::new())
}

fn created(
    engine: &dyn ExecutionEngine,
    plan: Arc<dyn ExecutionPlan>,
    work_dir: &Path,
    config: &SessionConfig,
) -> Arc<dyn QueryStageExecutor> {
    let partitions = (0..plan.children()[0].properties().output_partitioning().partition_count()).collect();
    let work_dir = work_dir.to_str().unwrap();
    engine.create_query_stage_exec(JobId::from("job"), 2, 7, partitions, plan, work_dir, config).unwrap()
}

async fn execute(
    stage: &dyn QueryStageExecutor,
    config: SessionConfig,
) -> Result<Vec<ShuffleWritePartition>, DataFusionError> {
    stage.execute_query_stage(7, SessionContext::new_with_config(config).task_ctx()).await
}

/// The files below a directory, by their paths in it.
fn files(dir: &Path) -> Vec<String> {
    fn walk(dir: &Path, root: &Path, files: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                walk(&entry.path(), root, files);
            } else {
                files.push(entry.path().strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    let mut found = Vec::new();
    walk(dir, dir, &mut found);
    found.sort();
    found
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_mins(1), "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

type Shape = fn() -> Arc<dyn ExecutionPlan>;

#[tokio::test]
async fn writes_the_files_that_ballistas_engine_writes() {
    for writer in WRITERS {
        let shapes: [(&str, Shape); 4] = [
            ("merge", || merge(sorted())),
            ("projected", || projected(merge(sorted()))),
            ("merged projection", || merge(projected(sorted()))),
            ("no merge", || projected(sorted())),
        ];
        for (shape, plan) in shapes {
            if writer == Writer::Range && shape == "no merge" {
                // Has no order to write by.
                continue;
            }
            let (expected_dir, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            let expected = created(&*ballista(), stage(writer, plan()), expected_dir.path(), &config());
            let ledger = LeakLedger::sites();
            let engine = LoserTreeEngine::new(ballista()).with_ledger(ledger.clone());
            let ours = created(&engine, stage(writer, plan()), dir.path(), &config());

            let key = |partition: &ShuffleWritePartition| {
                (partition.partition_id, partition.num_rows, partition.file_id, partition.is_sort_shuffle)
            };
            let expected_partitions = execute(&*expected, config()).await.unwrap();
            let partitions = execute(&*ours, config()).await.unwrap();
            assert_eq!(
                partitions.iter().map(key).collect::<Vec<_>>(),
                expected_partitions.iter().map(key).collect::<Vec<_>>(),
                "{writer:?}, {shape}"
            );
            assert_eq!(partitions.iter().map(|partition| partition.num_rows).sum::<u64>(), 600);
            assert_eq!(files(dir.path()), files(expected_dir.path()), "{writer:?}, {shape}");

            // The scheduler tells operators by their places.
            let (metrics, expected_metrics) = (ours.collect_plan_metrics(), expected.collect_plan_metrics());
            let rows = |sets: &[datafusion::physical_plan::metrics::MetricsSet]| -> Vec<_> {
                sets.iter().map(datafusion::physical_plan::metrics::MetricsSet::output_rows).collect()
            };
            assert_eq!(rows(&metrics), rows(&expected_metrics), "{writer:?}, {shape}");
            let windows: usize = metrics
                .iter()
                .filter_map(|set| set.sum_by_name("windows"))
                .map(|windows| windows.as_usize())
                .sum();
            let has_merge = shape != "no merge";
            assert_eq!(windows > 0, has_merge, "{writer:?}, {shape}");
            assert_eq!(ours.to_string().contains("LoserTreeMergeExec"), has_merge, "{ours}");
            assert!(!ours.to_string().contains("SortPreservingMergeExec"), "{ours}");

            ledger.assert_all_closed();
            let outputs = if has_merge { 1 } else { 3 };
            assert_eq!(ledger.snapshot().closed, outputs + if has_merge { 3 } else { 0 });
        }
    }
}

#[tokio::test]
async fn leaves_merges_alone_where_the_session_says_so() {
    let mut off = with_executor_options(config());
    off.options_mut().set("losertree.enabled", "false").unwrap();
    let dir = TempDir::new().unwrap();
    let engine = LoserTreeEngine::new(ballista());
    let stage = || stage(Writer::Passthrough, merge(sorted()));
    let left = created(&engine, stage(), dir.path(), &off);
    assert!(left.to_string().contains("SortPreservingMergeExec"), "{left}");
    execute(&*left, off).await.unwrap();
    assert!(left.collect_plan_metrics().iter().all(|set| set.sum_by_name("windows").is_none()));

    let replaced = created(&engine, stage(), dir.path(), &with_executor_options(config()));
    assert!(replaced.to_string().contains("LoserTreeMergeExec"), "{replaced}");
}

/// A stage that never ends, and what tells whether its source is still there.
fn endless(writer: Writer, has_merge: bool) -> (Arc<dyn ExecutionPlan>, Weak<()>) {
    let source = BlockingExec::new(schema(), 3);
    let refs = source.refs();
    let source: Arc<dyn ExecutionPlan> = Arc::new(source);
    (stage(writer, if has_merge { merge(source) } else { source }), refs)
}

#[tokio::test]
async fn a_task_that_is_cancelled_drops_all_that_it_has_open() {
    for writer in WRITERS {
        for has_merge in [true, false] {
            if writer == Writer::Range && !has_merge {
                continue;
            }
            let what = format!("{writer:?}, merge: {has_merge}");
            let dir = TempDir::new().unwrap();
            let ledger = LeakLedger::sites();
            let engine = LoserTreeEngine::new(ballista()).with_ledger(ledger.clone());
            let (plan, refs) = endless(writer, has_merge);
            let stage = created(&engine, plan, dir.path(), &config());
            let task = tokio::spawn({
                let stage = Arc::clone(&stage);
                async move { execute(&*stage, config()).await }
            });
            let all = if has_merge { 4 } else { 3 };
            eventually(&what, || ledger.snapshot().open == all).await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            eventually(&what, || ledger.snapshot().open == 0).await;
            ledger.assert_balanced();
            assert_eq!(ledger.snapshot().dropped_unclosed, all, "{what}");
            // The plan has the last one.
            drop(stage);
            eventually(&what, || refs.strong_count() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_task_that_is_cancelled_before_it_begins_opens_nothing_for_long() {
    let dir = TempDir::new().unwrap();
    let ledger = LeakLedger::sites();
    let engine = LoserTreeEngine::new(ballista()).with_ledger(ledger.clone());
    let (plan, refs) = endless(Writer::Passthrough, true);
    let stage = created(&engine, plan, dir.path(), &config());
    // Spawns what writes, which has not run yet on this one thread.
    let context = SessionContext::new_with_config(config()).task_ctx();
    let mut run = Box::pin(stage.execute_query_stage(7, context));
    assert!(futures::poll!(&mut run).is_pending());
    drop(run);
    drop(stage);
    eventually("cancelled at once", || refs.strong_count() == 0).await;
    ledger.assert_balanced();
    assert_eq!(ledger.snapshot().closed, 0);
}

#[tokio::test]
async fn a_task_that_fails_closes_all_that_it_has_open() {
    for writer in WRITERS {
        let failure = Err(DataFusionError::Execution("the disk is gone".to_owned()));
        let source = UnionExec::try_new(vec![
            Arc::new(MockExec::new(vec![failure], schema())),
            Arc::new(MockExec::new(vec![Ok(batch(0..50))], schema())),
            Arc::new(BlockingExec::new(schema(), 1)),
        ]);
        let dir = TempDir::new().unwrap();
        let ledger = LeakLedger::sites();
        let engine = LoserTreeEngine::new(ballista()).with_ledger(ledger.clone());
        let stage = created(&engine, stage(writer, merge(source.unwrap())), dir.path(), &config());
        // The third input gives nothing, ever: the error comes for all that.
        let failed = timeout(Duration::from_mins(1), execute(&*stage, config())).await;
        let error = failed.expect("hangs").unwrap_err();
        assert!(error.to_string().contains("the disk is gone"), "{error}");
        eventually("failed", || ledger.snapshot().open == 0).await;
        ledger.assert_balanced();
        let snapshot = ledger.snapshot();
        assert_eq!((snapshot.opened, snapshot.failed), (4, 2), "{snapshot}");
    }
}

/// Ballista puts another reader in the place of each: the output around one must stay.
#[tokio::test]
async fn the_output_is_booked_also_where_it_is_a_reader_of_shuffle_files() {
    let reader =
        ShuffleReaderExec::try_new(1, vec![vec![], vec![]], schema(), Partitioning::UnknownPartitioning(2));
    let dir = TempDir::new().unwrap();
    let ledger = LeakLedger::sites();
    let engine = LoserTreeEngine::new(ballista()).with_ledger(ledger.clone());
    let plan = stage(Writer::Passthrough, Arc::new(reader.unwrap()));
    let ours = created(&engine, Arc::clone(&plan), dir.path(), &config());
    let expected = created(&*ballista(), plan, dir.path(), &config());
    execute(&*ours, config()).await.unwrap();
    ledger.assert_all_closed();
    assert_eq!(ledger.snapshot().closed, 2);
    assert_eq!(ours.collect_plan_metrics().len(), expected.collect_plan_metrics().len());
}
