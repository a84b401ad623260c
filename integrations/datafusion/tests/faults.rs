//! What becomes of inputs, memory and rows when a merge is dropped, fails or is refused memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_wrap)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, DictionaryArray, Int64Array, LargeStringArray,
    ListArray, RecordBatch, StringArray, StringViewArray, StructArray,
};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Int8Type, Int64Type, Schema, SchemaRef};
use datafusion_common::DataFusionError;
use datafusion_common::config::ConfigOptions;
use datafusion_common::utils::memory::get_record_batch_memory_size;
use datafusion_execution::memory_pool::{
    GreedyMemoryPool, MemoryPool, PeakRecordingPool, UnboundedMemoryPool,
};
use datafusion_physical_expr::expressions::col;
use datafusion_physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion_physical_optimizer::PhysicalOptimizerRule;
use datafusion_physical_plan::displayable;
use datafusion_physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion_physical_plan::metrics::MetricValue;
use datafusion_physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion_physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion_physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use losertree::LeakLedger;
use losertree_datafusion::{LoserTreeMergeExec, LoserTreeOptions, MergeByWindows};
use support::{Partitions, Step, context, joined, ours, run, theirs};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
    ]))
}

fn ordering() -> LexOrdering {
    let key = col("key", &schema()).unwrap();
    LexOrdering::new([PhysicalSortExpr::new(key, SortOptions::default())]).unwrap()
}

fn batch(keys: impl IntoIterator<Item = i64>) -> RecordBatch {
    let keys = Int64Array::from_iter_values(keys);
    let text: StringArray = keys.values().iter().map(|key| Some(format!("text {key}"))).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(keys) as ArrayRef, Arc::new(text)]).unwrap()
}

/// Three partitions of batches of different sizes, in which every batch comes late.
fn late() -> Vec<Vec<Step>> {
    let partition = |first: i64, len: i64| {
        let batches = (0..6).flat_map(move |index| {
            let begin = first + index * 40;
            [Step::Pending, Step::Batch(batch((begin..begin + 40).step_by(usize::try_from(len).unwrap())))]
        });
        batches.chain([Step::Pending]).collect()
    };
    vec![partition(0, 1), partition(1, 3), partition(2, 7)]
}

fn keys(batches: &[RecordBatch]) -> Vec<i64> {
    let keys = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
    batches.iter().flat_map(keys).collect()
}

fn dropped(ledger: &LeakLedger) -> u64 {
    ledger.snapshot().dropped_unclosed
}

#[tokio::test]
async fn ends_in_order() {
    let input = Partitions::new(schema(), &ordering(), late());
    let ledger = LeakLedger::sites();
    let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
    let merge = ours(&ordering(), input.clone(), None).with_ledger(ledger.clone());
    let (batches, error) = run(&merge, context(64, Some(Arc::clone(&pool)))).await;
    assert!(error.is_none() && keys(&batches).is_sorted());
    ledger.assert_all_closed();
    assert_eq!(ledger.snapshot().closed, 3);
    assert_eq!(input.open.load(Ordering::SeqCst), 0);
    assert_eq!(pool.reserved(), 0);
}

#[tokio::test]
async fn is_dropped_at_every_await() {
    for polls in 0.. {
        let input = Partitions::new(schema(), &ordering(), late());
        let ledger = LeakLedger::sites();
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let merge = Arc::new(ours(&ordering(), input.clone(), None).with_ledger(ledger.clone()));
        let mut stream = merge.execute(0, context(16, Some(Arc::clone(&pool)))).unwrap();
        let mut is_done = false;
        for _ in 0..polls {
            is_done = matches!(futures::poll!(stream.next()), std::task::Poll::Ready(None));
            if is_done {
                break;
            }
        }
        drop(stream);
        ledger.assert_balanced();
        assert_eq!(input.open.load(Ordering::SeqCst), 0);
        assert_eq!(pool.reserved(), 0);
        if is_done {
            assert!(polls > 15, "{polls}");
            ledger.assert_all_closed();
            return;
        }
        assert!(polls > 0 || dropped(&ledger) == 3);
    }
}

#[tokio::test]
async fn inputs_are_dropped_at_the_limit_before_the_last_rows_come() {
    for fetch in [1, 15, 16, 17, 100] {
        let input = Partitions::new(schema(), &ordering(), late());
        let ledger = LeakLedger::sites();
        let merge = ours(&ordering(), input.clone(), Some(fetch)).with_ledger(ledger.clone());
        let mut stream = merge.execute(0, context(16, None)).unwrap();
        let mut rows = 0;
        while rows < fetch {
            assert!(ledger.snapshot().open > 0);
            rows += stream.next().await.unwrap().unwrap().num_rows();
        }
        assert_eq!(rows, fetch);
        assert_eq!(input.open.load(Ordering::SeqCst), 0);
        ledger.assert_balanced();
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn an_error_in_any_input_comes_behind_the_rows_before_it() {
    let (all, _) =
        run(&ours(&ordering(), Partitions::new(schema(), &ordering(), late()), None), context(16, None))
            .await;
    let all = keys(&all);
    for partition in 0..3 {
        for at in 0..=late()[partition].len() {
            let mut steps = late();
            steps[partition].insert(at, Step::Fail);
            // The rows that come before any that the input has not given.
            let given = steps[partition][..at].iter().filter_map(|step| match step {
                Step::Batch(batch) => Some(batch.clone()),
                _ => None,
            });
            let last = keys(&given.collect::<Vec<_>>()).last().copied();
            let input = Partitions::new(schema(), &ordering(), steps);
            let ledger = LeakLedger::sites();
            let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
            let merge = ours(&ordering(), input.clone(), None).with_ledger(ledger.clone());
            let (batches, error) = run(&merge, context(16, Some(Arc::clone(&pool)))).await;
            assert!(matches!(error, Some(DataFusionError::Execution(_))), "{error:?}");
            let came = keys(&batches);
            let decided = last.map_or(0, |last| all.iter().filter(|key| **key < last).count());
            assert!(came.len() >= decided, "{} of {decided}", came.len());
            assert_eq!(came, all[..came.len()]);
            assert_eq!(ledger.snapshot().failed, 1);
            ledger.assert_balanced();
            assert_eq!(input.open.load(Ordering::SeqCst), 0);
            assert_eq!(pool.reserved(), 0);
        }
    }
}

#[tokio::test]
async fn a_refusal_of_memory_ends_the_merge() {
    let (all, _) =
        run(&ours(&ordering(), Partitions::new(schema(), &ordering(), late()), None), context(16, None))
            .await;
    let (mut refused, mut granted) = (0, 0);
    for bytes in (0..12_000).step_by(97) {
        let input = Partitions::new(schema(), &ordering(), late());
        let ledger = LeakLedger::sites();
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
        let merge = ours(&ordering(), input.clone(), None).with_ledger(ledger.clone());
        let (batches, error) = run(&merge, context(16, Some(Arc::clone(&pool)))).await;
        match error {
            None => {
                granted += 1;
                assert_eq!(keys(&batches), keys(&all));
            }
            Some(error) => {
                refused += 1;
                assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
                let came = keys(&batches);
                assert_eq!(came, keys(&all)[..came.len()]);
            }
        }
        ledger.assert_balanced();
        assert_eq!(input.open.load(Ordering::SeqCst), 0);
        assert_eq!(pool.reserved(), 0);
    }
    assert!(refused > 5 && granted > 5, "{refused} {granted}");
}

#[test]
fn inputs_in_parallel_are_dropped_too() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let input = Partitions::new(schema(), &ordering(), late());
        let merge = ours(&ordering(), input.clone(), None);
        let mut stream = merge.execute(0, context(16, None)).unwrap();
        assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 16);
        assert!(input.open.load(Ordering::SeqCst) > 0);
        drop(stream);
        // Their tasks are aborted, which the runtime does as soon as it gets to them.
        while input.open.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    });
}

#[tokio::test]
async fn whole_batches_are_passed_through() {
    let partitions = (0..8).map(|partition| {
        (0..4).map(|index| batch((0..100).map(|row| partition * 1_000 + index * 100 + row))).collect()
    });
    let input = Partitions::of_batches(schema(), &ordering(), partitions.collect());
    let merge = ours(&ordering(), input, None);
    let (batches, _) = run(&merge, context(100, None)).await;
    assert!(batches.iter().all(|batch| batch.num_rows() == 100) && keys(&batches).is_sorted());
    let sliced = merge.metrics().unwrap().sum_by_name("sliced_rows").map(|sum| sum.as_usize());
    assert_eq!(sliced, Some(3_200));
    let metrics = merge.metrics().unwrap();
    assert_eq!(metrics.output_rows(), Some(3_200));
    assert!(metrics.elapsed_compute().is_some_and(|nanos| nanos > 0));
    assert!(
        metrics
            .iter()
            .any(|metric| matches!(metric.value(), MetricValue::Gauge { gauge, .. } if gauge.value() > 0))
    );
}

#[tokio::test]
async fn long_runs_come_as_slices_of_their_own() {
    // Fewer rows than a batch has, so that no slice would be a whole one; and some rows that are spread between them.
    let mut partitions: Vec<_> =
        (0..8).map(|partition| vec![batch(partition * 10_000..partition * 10_000 + 6_000)]).collect();
    partitions.push(vec![batch((0..8).map(|partition| partition * 10_000 + 7_000))]);
    let input = Partitions::of_batches(schema(), &ordering(), partitions);
    let merge = ours(&ordering(), input, None);
    let (batches, _) = run(&merge, context(8_192, None)).await;
    let sizes: Vec<_> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes, [6_000, 1].repeat(8));
    assert!(keys(&batches).is_sorted());
    let sliced = merge.metrics().unwrap().sum_by_name("sliced_rows").map(|sum| sum.as_usize());
    assert_eq!(sliced, Some(8 * 6_001));
}

/// Partitions of equal keys, whose batches have as many rows each, and texts that say which partition and row it is.
fn equal_keys(partitions: usize, batches: usize, rows: usize) -> Vec<Vec<RecordBatch>> {
    let batch = |partition: usize, index: usize| {
        let text: StringArray =
            (0..rows).map(|row| Some(format!("{partition} {}", index * rows + row))).collect();
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![7; rows]));
        RecordBatch::try_new(schema(), vec![keys, Arc::new(text)]).unwrap()
    };
    (0..partitions).map(|partition| (0..batches).map(|index| batch(partition, index)).collect()).collect()
}

#[tokio::test]
async fn round_robin_ties_take_turns_and_read_evenly() {
    let input = Partitions::of_batches(schema(), &ordering(), equal_keys(3, 4, 10));
    let texts = |batches: &[RecordBatch]| {
        let text = |batch: &RecordBatch| {
            batch.column(1).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        };
        batches.iter().flat_map(text).collect::<Vec<_>>()
    };
    let turns: Vec<_> =
        (0..40).flat_map(|row| (0..3).map(move |partition| format!("{partition} {row}"))).collect();
    let merge = ours(&ordering(), input.clone(), None).with_round_robin_ties(true);
    assert_eq!(texts(&run(&merge, context(16, None)).await.0), turns);
    // After half of the rows, half of each partition has been read, and of the last one everything if ties go by partition.
    for (has_turns, open) in [(true, 3), (false, 2)] {
        let merge = ours(&ordering(), input.clone(), None).with_round_robin_ties(has_turns);
        let mut stream = merge.execute(0, context(60, None)).unwrap();
        stream.next().await.unwrap().unwrap();
        assert_eq!(input.open.load(Ordering::SeqCst), open);
    }
    // Of two partitions, DataFusion takes the same turns.
    let input = Partitions::of_batches(schema(), &ordering(), equal_keys(2, 4, 10));
    let spm = SortPreservingMergeExec::new(ordering(), input.clone());
    let merge = ours(&ordering(), input, None).with_round_robin_ties(true);
    assert_eq!(texts(&run(&merge, context(16, None)).await.0), texts(&run(&spm, context(16, None)).await.0));
}

#[test]
fn round_robin_ties_are_an_option_that_no_replanning_loses() {
    // F65.
    let input = Partitions::new(schema(), &ordering(), late());
    let plan: Arc<dyn ExecutionPlan> = Arc::new(theirs(&ordering(), input, Some(5)));
    let mut config = ConfigOptions::default();
    config.extensions.insert(LoserTreeOptions::default());
    config.set("losertree.round_robin_ties", "true").unwrap();
    let plan = MergeByWindows::new().optimize(plan, &config).unwrap();
    let has_turns = |plan: &Arc<dyn ExecutionPlan>| {
        plan.downcast_ref::<LoserTreeMergeExec>().unwrap().has_round_robin_ties()
    };
    let text = displayable(plan.as_ref()).indent(true).to_string();
    assert!(text.starts_with("LoserTreeMergeExec: [key@0 ASC], fetch=5, ties=round robin\n"), "{text}");
    let children = || plan.children().into_iter().cloned().collect();
    assert!(has_turns(&plan.with_fetch(Some(3)).unwrap()));
    for mode in [ChildrenPropertiesMode::Keep, ChildrenPropertiesMode::Recompute] {
        let options = ReplaceChildrenOptions::new(mode);
        assert!(has_turns(&Arc::clone(&plan).replace_children(children(), options).unwrap()));
    }
    let narrow = ProjectionExec::try_new(
        [ProjectionExpr { expr: col("key", &schema()).unwrap(), alias: "key".to_owned() }],
        Arc::clone(&plan),
    );
    let swapped = plan.try_swapping_with_projection(&narrow.unwrap()).unwrap().unwrap();
    assert!(has_turns(&swapped) && swapped.fetch() == Some(5));
}

#[test]
fn the_rule_is_idempotent_and_can_be_off() {
    let input = Partitions::new(schema(), &ordering(), late());
    let plan: Arc<dyn ExecutionPlan> = Arc::new(theirs(&ordering(), input, Some(5)));
    let mut config = ConfigOptions::default();
    let rule = MergeByWindows::new();
    let once = rule.optimize(Arc::clone(&plan), &config).unwrap();
    let text = displayable(once.as_ref()).indent(true).to_string();
    assert!(text.starts_with("LoserTreeMergeExec: [key@0 ASC], fetch=5\n"), "{text}");
    let twice = rule.optimize(Arc::clone(&once), &config).unwrap();
    assert!(Arc::ptr_eq(&once, &twice));
    config.extensions.insert(LoserTreeOptions::default());
    config.set("losertree.enabled", "false").unwrap();
    let off = rule.optimize(Arc::clone(&plan), &config).unwrap();
    assert!(Arc::ptr_eq(&off, &plan));
}

#[tokio::test]
async fn replacing_children_keeps_all_else() {
    let ledger = LeakLedger::sites();
    let input = Partitions::new(schema(), &ordering(), late());
    let merge: Arc<dyn ExecutionPlan> = Arc::new(
        LoserTreeMergeExec::new(ordering(), input.clone()).with_fetch(Some(7)).with_ledger(ledger.clone()),
    );
    let other = Partitions::new(schema(), &ordering(), late());
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let merge = merge.replace_children(vec![other], options).unwrap();
    let batches: Vec<_> = execute_stream(merge, context(16, None)).unwrap().collect().await;
    let batches: Vec<_> = batches.into_iter().map(Result::unwrap).collect();
    assert_eq!(joined(&schema(), &batches).column(0).len(), 7);
    assert_eq!(dropped(&ledger), 3);
}

#[tokio::test]
async fn strings_that_offsets_have_no_room_for_are_split() {
    // All of them share one buffer, which nobody touches.
    let huge = arrow::buffer::Buffer::from_vec(vec![0_u8; 1_200_000_000]);
    let schema = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Int64, true),
        Field::new("bytes", DataType::Binary, true),
    ]));
    let batch = |key: i64| {
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([1_200_000_000]);
        let bytes: ArrayRef = Arc::new(BinaryArray::new(offsets, huge.clone(), None));
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![key])), bytes]).unwrap()
    };
    let batches = vec![vec![batch(3)], vec![batch(1), batch(4)], vec![batch(2)]];
    let input = Partitions::of_batches(Arc::clone(&schema), &ordering(), batches);
    let (batches, error) = run(&ours(&ordering(), input, None), context(100, None)).await;
    assert!(error.is_none(), "{error:?}");
    let sizes: Vec<_> = batches.iter().map(RecordBatch::num_rows).collect();
    assert_eq!((sizes, keys(&batches)), (vec![1; 4], vec![1, 2, 3, 4]));
    assert!(batches.iter().all(|batch| batch.column(1).as_binary::<i32>().value(0).len() == 1_200_000_000));
}

/// The smallest pool that a plan has enough of.
async fn needed(plan: impl Fn() -> Arc<dyn ExecutionPlan>) -> usize {
    let (mut too_small, mut enough) = (0, 1 << 30);
    while too_small + 1 < enough {
        let bytes = usize::midpoint(too_small, enough);
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
        match run(plan().as_ref(), context(1_000, Some(pool))).await.1 {
            Some(_) => too_small = bytes,
            None => enough = bytes,
        }
    }
    enough
}

#[tokio::test]
async fn no_more_memory_is_reserved_than_datafusion_reserves() {
    let partitions: Vec<Vec<_>> = (0..16)
        .map(|partition| {
            let batches = (0..8).map(|index| {
                let begin = index * 1_000;
                batch((begin..begin + 1_000).map(|row| row * 16 + partition))
            });
            batches.collect()
        })
        .collect();
    let input: Arc<dyn ExecutionPlan> = Partitions::of_batches(schema(), &ordering(), partitions);
    let their_need = needed(|| Arc::new(theirs(&ordering(), Arc::clone(&input), None))).await;
    let our_need = needed(|| Arc::new(ours(&ordering(), Arc::clone(&input), None))).await;
    assert!(our_need <= their_need, "{our_need} of {their_need}");
}

/// Columns of many types, with and without nulls, some of which share their buffers.
fn batch_of_many_types() -> RecordBatch {
    let text = || (0..100).map(|row| (row % 3 > 0).then(|| format!("a value of many bytes: {row}")));
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let texts: ArrayRef = Arc::new(text().collect::<StringArray>());
    let columns: Vec<ArrayRef> = vec![
        Arc::clone(&keys),
        Arc::clone(&keys),
        Arc::new((0..100).map(|row| (row % 7 > 0).then_some(row)).collect::<Int64Array>()),
        Arc::new((0..100).map(|row| Some(row % 2 == 0)).collect::<BooleanArray>()),
        Arc::clone(&texts),
        Arc::new(text().collect::<LargeStringArray>()),
        Arc::new(text().map(|text| text.map(String::into_bytes)).collect::<BinaryArray>()),
        Arc::new(text().collect::<StringViewArray>()),
        Arc::new((0..100).map(|row| ["x", "y"][row % 2]).collect::<DictionaryArray<Int8Type>>()),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..100).map(|row| Some([Some(row)])))),
        Arc::new(StructArray::from(vec![(Arc::new(Field::new("text", DataType::Utf8, true)), texts)])),
    ];
    let columns = columns.into_iter().enumerate().map(|(index, array)| (format!("c{index}"), array, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

#[tokio::test]
async fn what_datafusion_counts_is_reserved() {
    let whole = batch_of_many_types();
    let schema = whole.schema();
    let ordering = LexOrdering::new([PhysicalSortExpr::new_default(col("c0", &schema).unwrap())]).unwrap();
    for batch in [whole.slice(30, 50), whole] {
        let input = Partitions::of_batches(Arc::clone(&schema), &ordering, vec![vec![batch.clone()]; 2]);
        let pool = Arc::new(PeakRecordingPool::new(Arc::new(UnboundedMemoryPool::default())));
        let context = context(1_000, Some(Arc::clone(&pool) as Arc<dyn MemoryPool>));
        let (batches, error) = run(&ours(&ordering, input, None), context).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(joined(&schema, &batches).num_rows(), 2 * batch.num_rows());
        assert_eq!(pool.peak_reserved(), 2 * get_record_batch_memory_size(&batch));
    }
}
