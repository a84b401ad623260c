//! Partitions of batches to merge, and the merges of both.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result};
use datafusion_execution::config::SessionConfig;
use datafusion_execution::memory_pool::MemoryPool;
use datafusion_execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion_execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{EquivalenceProperties, LexOrdering, Partitioning, PhysicalExpr};
use datafusion_physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType,
};
use datafusion_physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion_physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{Stream, StreamExt};
use losertree_datafusion::LoserTreeMergeExec;

/// What a partition does when it is polled.
#[derive(Clone, Debug)]
pub enum Step {
    Batch(RecordBatch),
    /// A copy, made when it is asked for, so that whoever holds it holds memory.
    Copy(RecordBatch),
    /// Wakes at once.
    Pending,
    Fail,
}

/// A plan whose partitions do what they are told, and that counts its open streams.
#[derive(Debug)]
pub struct Partitions {
    steps: Vec<Vec<Step>>,
    properties: Arc<PlanProperties>,
    pub open: Arc<AtomicUsize>,
}

impl Partitions {
    pub fn new(schema: SchemaRef, ordering: &LexOrdering, steps: Vec<Vec<Step>>) -> Arc<Self> {
        let mut equivalences = EquivalenceProperties::new(schema);
        equivalences.add_ordering(ordering.clone());
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(steps.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        Arc::new(Self { steps, properties: Arc::new(properties), open: Arc::default() })
    }

    pub fn of_batches(
        schema: SchemaRef,
        ordering: &LexOrdering,
        batches: Vec<Vec<RecordBatch>>,
    ) -> Arc<Self> {
        let steps = batches.into_iter().map(|batches| batches.into_iter().map(Step::Batch).collect());
        Self::new(schema, ordering, steps.collect())
    }
}

impl DisplayAs for Partitions {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Partitions")
    }
}

impl ExecutionPlan for Partitions {
    fn name(&self) -> &'static str {
        "Partitions"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.open.fetch_add(1, Ordering::SeqCst);
        Ok(Box::pin(Partition {
            schema: self.schema(),
            steps: self.steps[partition].clone().into(),
            open: Arc::clone(&self.open),
        }))
    }
}

struct Partition {
    schema: SchemaRef,
    steps: VecDeque<Step>,
    open: Arc<AtomicUsize>,
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Stream for Partition {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.steps.pop_front() {
            Some(Step::Batch(batch)) => Poll::Ready(Some(Ok(batch))),
            Some(Step::Copy(batch)) => Poll::Ready(Some(Ok(copy(&batch)))),
            Some(Step::Pending) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Fail) => Poll::Ready(Some(Err(DataFusionError::Execution("broken".to_owned())))),
            None => Poll::Ready(None),
        }
    }
}

/// The same rows in memory of their own.
pub fn copy(batch: &RecordBatch) -> RecordBatch {
    let rows = u32::try_from(batch.num_rows()).expect("few rows");
    take_record_batch(batch, &(0..rows).collect::<UInt32Array>()).expect("rows of the batch")
}

impl RecordBatchStream for Partition {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// DataFusion's merge, stable.
pub fn theirs(
    ordering: &LexOrdering,
    input: Arc<dyn ExecutionPlan>,
    fetch: Option<usize>,
) -> SortPreservingMergeExec {
    SortPreservingMergeExec::new(ordering.clone(), input)
        .with_fetch(fetch)
        .with_round_robin_repartition(false)
}

pub fn ours(
    ordering: &LexOrdering,
    input: Arc<dyn ExecutionPlan>,
    fetch: Option<usize>,
) -> LoserTreeMergeExec {
    LoserTreeMergeExec::new(ordering.clone(), input).with_fetch(fetch)
}

pub fn context(batch_size: usize, pool: Option<Arc<dyn MemoryPool>>) -> Arc<TaskContext> {
    let runtime = match pool {
        Some(pool) => RuntimeEnvBuilder::new().with_memory_pool(pool).build().expect("can be built"),
        None => RuntimeEnv::default(),
    };
    let config = SessionConfig::new().with_batch_size(batch_size);
    Arc::new(TaskContext::default().with_session_config(config).with_runtime(Arc::new(runtime)))
}

/// Everything that a plan gives: the batches, and the error that ended it.
pub async fn run(
    plan: &dyn ExecutionPlan,
    context: Arc<TaskContext>,
) -> (Vec<RecordBatch>, Option<DataFusionError>) {
    let mut stream = match plan.execute(0, context) {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(error)),
    };
    let mut batches = Vec::new();
    let mut failed = None;
    while let Some(batch) = stream.next().await {
        match batch {
            Ok(batch) => {
                assert!(failed.is_none(), "a batch behind an error");
                batches.push(batch);
            }
            Err(error) => {
                assert!(failed.is_none(), "two errors");
                failed = Some(error);
            }
        }
    }
    (batches, failed)
}

pub fn joined(schema: &SchemaRef, batches: &[RecordBatch]) -> RecordBatch {
    concat_batches(schema, batches).expect("have one schema")
}

/// Random numbers, the same for a seed.
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    #[allow(clippy::cast_possible_truncation)]
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
