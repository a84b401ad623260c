use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::{FutureExt, Stream, StreamExt};
use losertree::LeakLedger;
use losertree::resource::{Ending, LedgerEntry};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The output of a stage, which can be cancelled.
///
/// It passes for the node that it is around, with that one's children and metrics. Ballista walks the nodes below the one that
/// writes, for what they report, and it sends their metrics to the scheduler, which knows them by their place.
/// Only around a leaf it is a node of its own, without metrics: Ballista replaces readers of shuffle files, and would replace it too.
#[derive(Debug)]
pub(crate) struct OutputExec {
    plan: Arc<dyn ExecutionPlan>,
    /// Of which task, for the ledger.
    what: Arc<str>,
    cancelled: CancellationToken,
    ledger: LeakLedger,
}

impl OutputExec {
    pub(crate) fn new(
        plan: Arc<dyn ExecutionPlan>,
        what: String,
        cancelled: CancellationToken,
        ledger: LeakLedger,
    ) -> Self {
        Self { plan, what: what.into(), cancelled, ledger }
    }

    fn is_around_leaf(&self) -> bool {
        self.plan.children().is_empty()
    }
}

impl DisplayAs for OutputExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_around_leaf() { f.write_str("OutputExec") } else { self.plan.fmt_as(format, f) }
    }
}

impl ExecutionPlan for OutputExec {
    fn name(&self) -> &str {
        if self.is_around_leaf() { "OutputExec" } else { self.plan.name() }
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        (!self.is_around_leaf()).then_some(self.plan.as_ref())
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.plan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        if self.is_around_leaf() { vec![&self.plan] } else { self.plan.children() }
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        if self.is_around_leaf() { Ok(TreeNodeRecursion::Continue) } else { self.plan.apply_expressions(f) }
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = if self.is_around_leaf() {
            match (children.pop(), children.is_empty()) {
                (Some(plan), true) => plan,
                _ => return internal_err!("OutputExec has one child"),
            }
        } else {
            Arc::clone(&self.plan).replace_children(children, options)?
        };
        let (cancelled, ledger) = (self.cancelled.clone(), self.ledger.clone());
        Ok(Arc::new(Self { plan, what: Arc::clone(&self.what), cancelled, ledger }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let stream = self.plan.execute(partition, context)?;
        let entry = self.ledger.open(format_args!("partition {partition} of {}", self.what));
        Ok(Box::pin(OutputStream {
            schema: stream.schema(),
            open: Some((stream, entry)),
            cancelled: Box::pin(self.cancelled.clone().cancelled_owned()),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        if self.is_around_leaf() { None } else { self.plan.metrics() }
    }
}

/// A partition of the output of a stage.
struct OutputStream {
    schema: SchemaRef,
    /// `None` once it has ended.
    open: Option<(SendableRecordBatchStream, LedgerEntry)>,
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl OutputStream {
    /// Drops the stream, and only then says that it has ended.
    fn end(&mut self, ending: Ending) {
        if let Some((stream, entry)) = self.open.take() {
            drop(stream);
            entry.end(ending);
        }
    }
}

impl Stream for OutputStream {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some((stream, _)) = &mut this.open else { return Poll::Ready(None) };
        if this.cancelled.poll_unpin(cx).is_ready() {
            this.end(Ending::DroppedUnclosed);
            let error = DataFusionError::Execution("the task was cancelled".to_owned());
            return Poll::Ready(Some(Err(error)));
        }
        let next = stream.poll_next_unpin(cx);
        match &next {
            Poll::Ready(None) => this.end(Ending::Closed),
            Poll::Ready(Some(Err(_))) => this.end(Ending::Failed),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        next
    }
}

impl RecordBatchStream for OutputStream {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}
