use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{Result, Statistics};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions,
};
use datafusion_physical_plan::metrics::{ExecutionPlanMetricsSet, MetricsSet};
use datafusion_physical_plan::projection::ProjectionExec;
use datafusion_physical_plan::sorts::sort::SortExec;
use datafusion_physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties,
    InputDistributionRequirements, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::keys::SortKeys;
use crate::sorter::Sorter;

/// Sorts as a [`SortExec`] without a limit does, and merges its runs by windows.
///
/// For other rules and for whoever sends plans it passes as that [`SortExec`]: it differs in how it runs only. So it is sent as a [`SortExec`], and
/// `downcast_ref` gives that and does not find it; its [name](ExecutionPlan::name) tells.
///
/// # Ordering
///
/// Equal rows come in any order, as from a [`SortExec`].
///
/// # Memory
///
/// Batches are sorted as they come. Where the memory pool refuses the memory of one, those in memory are merged into a run that is written to a file. The
/// options of [`SortExec`] hold: `sort_spill_reservation_bytes` are reserved for merging, and as many small batches are sorted at once as
/// have `sort_in_place_threshold_bytes`. All files are merged at once, if there is memory for it, and in several steps if not. Where there is not
/// memory for two of them, DataFusion merges them.
///
/// # Errors
///
/// What the input fails with, the resources error where memory is refused and nothing can be written to a file, and errors of files.
///
/// # Closing
///
/// The input is dropped before the first row is handed out. Dropping the stream drops it and all batches, and removes all files.
///
/// # Metrics
///
/// Those of [`SortExec`], and those of merging by windows.
#[derive(Debug, Clone)]
pub struct LoserTreeSortExec {
    sort: SortExec,
    metrics: ExecutionPlanMetricsSet,
}

impl LoserTreeSortExec {
    /// Creates a node that sorts as another does, unless this has a limit, or a type of what it sorts by has no order.
    #[must_use]
    pub fn try_from_sort(sort: &SortExec) -> Option<Self> {
        let is_supported = sort.fetch().is_none() && SortKeys::new(&sort.schema(), sort.expr()).is_ok();
        is_supported.then(|| Self { sort: sort.clone(), metrics: ExecutionPlanMetricsSet::new() })
    }
}

/// A node that runs by windows if it can.
fn by_windows(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    match plan.downcast_ref::<SortExec>().and_then(LoserTreeSortExec::try_from_sort) {
        Some(sort) => Arc::new(sort),
        None => plan,
    }
}

impl DisplayAs for LoserTreeSortExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !matches!(format, DisplayFormatType::TreeRender) {
            f.write_str("LoserTree")?;
        }
        self.sort.fmt_as(format, f)
    }
}

impl ExecutionPlan for LoserTreeSortExec {
    fn name(&self) -> &'static str {
        "LoserTreeSortExec"
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(&self.sort)
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.sort.properties()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.sort.input_distribution_requirements()
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        self.sort.benefits_from_input_partitioning()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.sort.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.sort.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(by_windows(Arc::new(self.sort.clone()).replace_children(children, options)?))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self { sort: self.sort.clone(), metrics: ExecutionPlanMetricsSet::new() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut input = self.sort.input().execute(partition, Arc::clone(&context))?;
        let ordering = self.sort.expr().clone();
        if self.sort.input().equivalence_properties().ordering_satisfy(ordering.clone())? {
            return Ok(input);
        }
        let mut sorter = Sorter::new(self.schema(), ordering, &context, &self.metrics, partition)?;
        let rows = async move {
            while let Some(batch) = input.next().await {
                sorter.insert(batch?).await?;
            }
            drop(input);
            sorter.finish().await
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(rows).try_flatten())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.sort.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.sort.statistics_from_inputs(inputs, args)
    }

    /// With a limit, DataFusion's sort needs only as much memory as the limit has rows.
    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(by_windows(Arc::new(self.sort.with_fetch(limit))))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(self.sort.try_swapping_with_projection(projection)?.map(by_windows))
    }
}
