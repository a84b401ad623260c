//! Sorts by windows: where they are put, and what becomes of memory, files and the input when they end, fail or are dropped.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_common::config::ConfigOptions;
use datafusion_execution::TaskContext;
use datafusion_execution::config::SessionConfig;
use datafusion_execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion_execution::memory_pool::GreedyMemoryPool;
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion_physical_optimizer::PhysicalOptimizerRule;
use datafusion_physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::{ExecutionPlan, displayable};
use futures::StreamExt;
use losertree_datafusion::{LoserTreeOptions, LoserTreeSortExec, MergeByWindows};
use support::{Partitions, Rng, Step, context, run};

const ROWS: usize = 200;

fn schema() -> SchemaRef {
    let fields = [("key", DataType::Int64), ("text", DataType::Utf8)];
    Arc::new(Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec()))
}

fn by(column: &str) -> LexOrdering {
    LexOrdering::new([PhysicalSortExpr::new_default(col(column, &schema()).unwrap())]).unwrap()
}

/// Batches of random keys, which come late.
fn input(batches: usize) -> Vec<Step> {
    let rng = &mut Rng::new(5);
    let mut batch = || {
        let keys = Int64Array::from_iter_values((0..ROWS).map(|_| (rng.next() >> 40).cast_signed()));
        let text: StringArray = keys.values().iter().map(|key| Some(format!("text {key}"))).collect();
        RecordBatch::try_new(schema(), vec![Arc::new(keys) as ArrayRef, Arc::new(text)]).unwrap()
    };
    (0..batches).flat_map(|_| [Step::Pending, Step::Batch(batch())]).collect()
}

fn sort(input: Arc<Partitions>) -> SortExec {
    SortExec::new(by("key"), input)
}

fn by_windows(input: Arc<Partitions>) -> LoserTreeSortExec {
    LoserTreeSortExec::try_from_sort(&sort(input)).unwrap()
}

/// So little memory that some tens of batches have to be written to files.
fn little_memory(mode: DiskManagerMode) -> Arc<TaskContext> {
    let config = SessionConfig::new()
        .with_batch_size(ROWS)
        .with_sort_in_place_threshold_bytes(0)
        .with_sort_spill_reservation_bytes(4_000);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(100_000)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode));
    let context = TaskContext::default().with_session_config(config);
    Arc::new(context.with_runtime(runtime.build_arc().unwrap()))
}

/// What is open, reserved, and on the disk.
fn left(input: &Partitions, context: &TaskContext) -> (usize, usize, u64) {
    let runtime = context.runtime_env();
    (input.open.load(SeqCst), runtime.memory_pool.reserved(), runtime.disk_manager.used_disk_space())
}

fn optimized(plan: &Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Arc<dyn ExecutionPlan> {
    MergeByWindows::new().optimize(Arc::clone(plan), config).unwrap()
}

#[test]
fn the_rule_replaces_sorts_that_have_no_limit() {
    let input = Partitions::new(schema(), &by("text"), vec![input(1), input(1)]);
    let plan: Arc<dyn ExecutionPlan> = Arc::new(sort(input).with_preserve_partitioning(true));
    let mut config = ConfigOptions::default();
    let once = optimized(&plan, &config);
    let text = displayable(once.as_ref()).indent(true).to_string();
    assert!(
        text.starts_with("LoserTreeSortExec: expr=[key@0 ASC], preserve_partitioning=[true]\n"),
        "{text}"
    );
    assert!(Arc::ptr_eq(&once, &optimized(&once, &config)));
    // With a limit it is DataFusion's again, and without it by windows.
    let limited = once.with_fetch(Some(7)).unwrap();
    assert_eq!((limited.name(), limited.fetch()), ("SortExec(TopK)", Some(7)));
    assert!(Arc::ptr_eq(&limited, &optimized(&limited, &config)));
    assert_eq!(once.with_fetch(None).unwrap().name(), "LoserTreeSortExec");
    config.extensions.insert(LoserTreeOptions::default());
    config.set("losertree.sort", "false").unwrap();
    assert!(Arc::ptr_eq(&plan, &optimized(&plan, &config)));
}

#[test]
fn it_passes_as_a_sort_and_stays_one_by_windows() {
    let input = Partitions::new(schema(), &by("text"), vec![input(1), input(1)]);
    let theirs = sort(Arc::clone(&input)).with_preserve_partitioning(true);
    let plan: Arc<dyn ExecutionPlan> = Arc::new(LoserTreeSortExec::try_from_sort(&theirs).unwrap());
    assert_eq!(plan.downcast_ref::<SortExec>().unwrap().expr(), &by("key"));
    assert_eq!(format!("{:?}", plan.properties()), format!("{:?}", theirs.properties()));
    for mode in [ChildrenPropertiesMode::Keep, ChildrenPropertiesMode::Recompute] {
        let options = ReplaceChildrenOptions::new(mode);
        let replaced = Arc::clone(&plan).replace_children(vec![Arc::clone(&input) as _], options).unwrap();
        assert_eq!(replaced.name(), "LoserTreeSortExec");
        assert_eq!(replaced.properties().partitioning.partition_count(), 2);
    }
    assert_eq!(Arc::clone(&plan).reset_state().unwrap().name(), "LoserTreeSortExec");
}

#[tokio::test]
async fn what_is_sorted_is_passed_on() {
    let input = Partitions::new(schema(), &by("key"), vec![input(3)]);
    let context = context(7, None);
    let (batches, error) = run(&by_windows(input), context).await;
    assert!(error.is_none());
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [ROWS; 3]);
}

#[test]
fn files_are_removed_at_the_end_and_when_it_is_dropped() {
    for workers in [1, 2] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).build().unwrap();
        runtime.block_on(async {
            for dropped in [false, true] {
                let input = Partitions::new(schema(), &by("text"), vec![input(60)]);
                let context = little_memory(DiskManagerMode::OsTmpDirectory);
                let plan = by_windows(Arc::clone(&input));
                let mut stream = plan.execute(0, Arc::clone(&context)).unwrap();
                let first = stream.next().await.unwrap().unwrap();
                assert_eq!(input.open.load(SeqCst), 0);
                assert!(left(&input, &context).2 > 0);
                if !dropped {
                    let mut keys = first.column(0).as_primitive::<Int64Type>().values().to_vec();
                    while let Some(batch) = stream.next().await {
                        keys.extend(batch.unwrap().column(0).as_primitive::<Int64Type>().values());
                    }
                    assert!(keys.len() == 60 * ROWS && keys.is_sorted());
                    let metrics = plan.metrics().unwrap();
                    assert_eq!(metrics.output_rows(), Some(60 * ROWS));
                    assert!(metrics.spill_count() > Some(1) && metrics.spilled_rows() >= Some(50 * ROWS));
                    assert!(metrics.elapsed_compute() > Some(0));
                }
                drop(stream);
                // The last task that reads a file ends by itself.
                while left(&input, &context) != (0, 0, 0) {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
}

#[tokio::test]
async fn a_refusal_without_files_is_an_error() {
    let input = Partitions::new(schema(), &by("text"), vec![input(60)]);
    let context = little_memory(DiskManagerMode::Disabled);
    let (batches, error) = run(&by_windows(Arc::clone(&input)), Arc::clone(&context)).await;
    assert!(matches!(error.unwrap().find_root(), DataFusionError::ResourcesExhausted(_)));
    assert!(batches.is_empty());
    assert_eq!(left(&input, &context), (0, 0, 0));
}

#[tokio::test]
async fn an_error_of_the_input_ends_it() {
    let mut steps = input(60);
    steps.push(Step::Fail);
    let input = Partitions::new(schema(), &by("text"), vec![steps]);
    let context = little_memory(DiskManagerMode::OsTmpDirectory);
    let (batches, error) = run(&by_windows(Arc::clone(&input)), Arc::clone(&context)).await;
    assert!(matches!(error, Some(DataFusionError::Execution(_))), "{error:?}");
    assert!(batches.is_empty());
    assert_eq!(left(&input, &context), (0, 0, 0));
}
