use std::fmt;
use std::sync::Arc;

use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{Result, Statistics, assert_eq_or_internal_err, internal_err};
use datafusion_execution::memory_pool::MemoryConsumer;
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::{LexOrdering, OrderingRequirements, PhysicalExpr};
use datafusion_physical_plan::common::spawn_buffered;
use datafusion_physical_plan::execution_plan::{
    CardinalityEffect, ChildrenPropertiesMode, EvaluationType, ReplaceChildrenOptions, SchedulingType,
    replace_children_if_necessary,
};
use datafusion_physical_plan::limit::LimitStream;
use datafusion_physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion_physical_plan::projection::{ProjectionExec, make_with_child, update_ordering};
use datafusion_physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion_physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion_physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, EmptyRecordBatchStream, ExecutionPlan,
    ExecutionPlanProperties, InputDistributionRequirements, Partitioning, PlanProperties,
    apply_expression_roots, validate_child_count,
};
use losertree::LeakLedger;

use crate::keys::SortKeys;
use crate::merge_stream::{MergeStream, Metrics, Parts};

/// Merges the sorted partitions of its input into one, by windows: the place of [`SortPreservingMergeExec`].
///
/// # Ordering
///
/// Each partition must be sorted by the sort expressions. Equal rows come in the order of their partitions, and within a partition
/// as they are there. [Round-robin ties](Self::with_round_robin_ties) are an option.
///
/// # Batches
///
/// They have as many rows as the session says, but for the last one, and for those of which strings would have more bytes than their offsets
/// can tell. Rows of one batch of an input that come in a row and make up a whole batch of the output are a slice of it, and copy nothing.
///
/// # Errors
///
/// What an input fails with comes behind all rows that were decided before; then the stream ends. So does the resources error where
/// the memory pool refuses the memory of a batch. Executing fails with `NotImplemented` where a type has no order.
///
/// # Closing
///
/// An input is dropped as soon as it has ended or failed. All of them are dropped when one fails, when memory is refused, when the stream is dropped, and at
/// the limit before the last rows are handed out. Dropping is how DataFusion cancels, so a
/// [ledger](Self::with_ledger) has inputs that ended as closed, those that failed as failed, and all others as dropped.
///
/// # Memory
///
/// Each batch is reserved for from when it comes until its last row is handed out, and with it what keys take
/// that are not columns of the batch. Inputs run in parallel, each at most one batch ahead, as those of [`SortPreservingMergeExec`] do.
///
/// # Metrics
///
/// Those of [`SortPreservingMergeExec`], and `windows`, `runs`, `sliced_rows` and `peak_mem_used`.
#[derive(Debug, Clone)]
pub struct LoserTreeMergeExec {
    input: Arc<dyn ExecutionPlan>,
    ordering: LexOrdering,
    fetch: Option<usize>,
    has_round_robin_ties: bool,
    ledger: LeakLedger,
    metrics: ExecutionPlanMetricsSet,
    properties: Arc<PlanProperties>,
}

impl LoserTreeMergeExec {
    /// Creates a merge of the partitions of a plan, which are sorted by an ordering. It is stable, and has neither a limit nor a ledger.
    #[must_use]
    pub fn new(ordering: LexOrdering, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::new(properties(&input, &ordering));
        let (ledger, metrics) = (LeakLedger::off(), ExecutionPlanMetricsSet::new());
        Self { input, ordering, fetch: None, has_round_robin_ties: false, ledger, metrics, properties }
    }

    /// Has only so many rows come. Default: all.
    #[must_use]
    pub fn with_fetch(self, fetch: Option<usize>) -> Self {
        Self { fetch, ..self }
    }

    /// Has equal rows of several partitions take turns: first the first of each partition, in the order of the partitions, then the second of
    /// each, and so on. Default: all of the first partition come first, then all of the second.
    ///
    /// So partitions are read at even rates where many rows are equal, and what is before the merge has less to buffer. It is what
    /// [`SortPreservingMergeExec::with_round_robin_repartition`] is for. That one has only the last match of its tournament
    /// take turns, so among three and more partitions it may order equal rows otherwise.
    ///
    /// Each row is compared with the one before it in its partition, and takes 8 bytes more.
    #[must_use]
    pub fn with_round_robin_ties(self, has_round_robin_ties: bool) -> Self {
        Self { has_round_robin_ties, ..self }
    }

    /// Books the inputs of each execution in a ledger. Default: in none.
    #[must_use]
    pub fn with_ledger(self, ledger: LeakLedger) -> Self {
        Self { ledger, ..self }
    }

    /// Returns the input.
    #[must_use]
    pub const fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Returns what the rows are ordered by.
    #[must_use]
    pub const fn ordering(&self) -> &LexOrdering {
        &self.ordering
    }

    /// Whether equal rows of several partitions [take turns](Self::with_round_robin_ties).
    #[must_use]
    pub const fn has_round_robin_ties(&self) -> bool {
        self.has_round_robin_ties
    }

    /// Whether columns of all types of a merge have an order that it can merge by.
    #[must_use]
    pub fn is_supported(merge: &SortPreservingMergeExec) -> bool {
        SortKeys::new(&merge.schema(), merge.expr()).is_ok()
    }
}

/// The same as those of [`SortPreservingMergeExec`].
fn properties(input: &Arc<dyn ExecutionPlan>, ordering: &LexOrdering) -> PlanProperties {
    let (evaluation, scheduling) = if input.output_partitioning().partition_count() > 1 {
        (EvaluationType::Eager, SchedulingType::Cooperative)
    } else {
        (input.properties().evaluation_type, input.properties().scheduling_type)
    };
    let mut equivalences = input.equivalence_properties().clone();
    equivalences.clear_per_partition_constants();
    equivalences.add_ordering(ordering.clone());
    let partitioning = Partitioning::UnknownPartitioning(1);
    PlanProperties::new(equivalences, partitioning, input.pipeline_behavior(), input.boundedness())
        .with_evaluation_type(evaluation)
        .with_scheduling_type(scheduling)
}

/// A plan that merges the same, and is stable.
impl From<&SortPreservingMergeExec> for LoserTreeMergeExec {
    fn from(merge: &SortPreservingMergeExec) -> Self {
        Self::new(merge.expr().clone(), Arc::clone(merge.input())).with_fetch(merge.fetch())
    }
}

impl DisplayAs for LoserTreeMergeExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::Default | DisplayFormatType::Verbose => {
                write!(f, "LoserTreeMergeExec: [{}]", self.ordering)?;
                if let Some(fetch) = self.fetch {
                    write!(f, ", fetch={fetch}")?;
                }
                if self.has_round_robin_ties {
                    write!(f, ", ties=round robin")?;
                }
                Ok(())
            }
            DisplayFormatType::TreeRender => {
                if let Some(fetch) = self.fetch {
                    writeln!(f, "limit={fetch}")?;
                }
                for (index, sort) in self.ordering.iter().enumerate() {
                    if index > 0 {
                        write!(f, ", ")?;
                    }
                    sort.fmt_sql(f)?;
                }
                Ok(())
            }
        }
    }
}

impl ExecutionPlan for LoserTreeMergeExec {
    fn name(&self) -> &'static str {
        "LoserTreeMergeExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        Some(Arc::new(self.clone().with_fetch(fetch)))
    }

    fn with_preserve_order(&self, preserve_order: bool) -> Option<Arc<dyn ExecutionPlan>> {
        let input = self.input.with_preserve_order(preserve_order)?;
        replace_children_if_necessary(Arc::new(self.clone()), vec![input]).ok()
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        self.input_distribution_requirements().into_per_child()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::UnspecifiedDistribution])
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.ordering.clone()))]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        apply_expression_roots(self.ordering.iter().map(|sort| &sort.expr), f)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        validate_child_count!(self, children);
        let input = children.swap_remove(0);
        let properties = match options.children_properties {
            ChildrenPropertiesMode::Keep => Arc::clone(&self.properties),
            ChildrenPropertiesMode::Recompute => Arc::new(properties(&input, &self.ordering)),
        };
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Arc::new(Self { input, metrics, properties, ..Self::clone(&self) }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn with_new_children_and_same_properties(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        assert_eq_or_internal_err!(partition, 0, "LoserTreeMergeExec has no partition {partition}");
        let partitions = self.input.output_partitioning().partition_count();
        if partitions == 0 {
            return internal_err!("LoserTreeMergeExec needs a partition to merge");
        }
        if partitions == 1 {
            let input = self.input.execute(0, context)?;
            let Some(fetch) = self.fetch else { return Ok(input) };
            let metrics = BaselineMetrics::new(&self.metrics, partition);
            return Ok(Box::pin(LimitStream::new(input, 0, Some(fetch), metrics)));
        }
        if self.fetch == Some(0) {
            return Ok(Box::pin(EmptyRecordBatchStream::new(self.schema())));
        }
        let batch_size = context.session_config().batch_size();
        if batch_size == 0 {
            return internal_err!("LoserTreeMergeExec cannot make batches of no rows");
        }
        let mut keys = SortKeys::new(&self.schema(), &self.ordering)?;
        if self.has_round_robin_ties {
            keys = keys.with_turns()?;
        }
        let reservation = MemoryConsumer::new(format!("LoserTreeMergeExec[{partition}]"))
            .register(&context.runtime_env().memory_pool);
        let inputs = (0..partitions)
            .map(|partition| Ok(spawn_buffered(self.input.execute(partition, Arc::clone(&context))?, 1)))
            .collect::<Result<_>>()?;
        Ok(Box::pin(MergeStream::new(Parts {
            schema: self.schema(),
            keys,
            inputs,
            batch_size,
            fetch: self.fetch,
            reservation,
            are_reserved: false,
            ledger: self.ledger.clone(),
            metrics: Metrics::new(&self.metrics, partition),
        })))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn child_stats_requests(&self, _partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(None)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let Some(input) = inputs.first() else {
            return internal_err!("LoserTreeMergeExec has no statistics of its input");
        };
        Ok(Arc::new(input.as_ref().clone().with_fetch(self.fetch, 0, 1)?))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        if self.fetch.is_none() { CardinalityEffect::Equal } else { CardinalityEffect::LowerEqual }
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        // A projection that has no fewer columns is not worth moving.
        if projection.expr().len() >= projection.input().schema().fields().len() {
            return Ok(None);
        }
        let Some(ordering) = update_ordering(self.ordering.clone(), projection.expr())? else {
            return Ok(None);
        };
        let input = make_with_child(projection, &self.input)?;
        let properties = Arc::new(properties(&input, &ordering));
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Some(Arc::new(Self { input, ordering, metrics, properties, ..self.clone() })))
    }
}
