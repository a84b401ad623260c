use std::fmt;
use std::sync::Arc;

use ballista_core::JobId;
use ballista_core::serde::protobuf::{
    RuntimeStatsReport, ShuffleWritePartition, TaskColumnStats, WindowStateReport,
};
use ballista_executor::execution_engine::{ExecutionEngine, QueryStageExecutor};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::SessionConfig;
use losertree::LeakLedger;
use losertree_datafusion::MergeByWindows;
use tokio_util::sync::CancellationToken;

use crate::output::OutputExec;

/// An engine that runs each `SortPreservingMergeExec` of a stage as a
/// [`LoserTreeMergeExec`](losertree_datafusion::LoserTreeMergeExec), and leaves the rest to another engine.
///
/// The scheduler cuts a plan into stages by looking for `SortPreservingMergeExec`, so plans must have it until they reach the executor.
/// What the scheduler shows of a stage still has that name, with the metrics of what was run: `windows` and `runs` tell which one it was.
/// Where the session has `losertree.enabled = false`, or a type has no order, a merge stays as it is.
///
/// # Cancellation
///
/// When Ballista cancels a task, it drops the future that waits for it. What it has spawned to write the shuffle files goes on to the end.
/// A stage of this engine ends what it has spawned: its output fails at the next poll, and everything below is dropped. That is the
/// next time that the plan yields, so a sort of a batch is not interrupted.
///
/// # Closing
///
/// A [ledger](Self::with_ledger) has an entry for each partition that a task puts out, and for each input of each merge. Those that came to their end
/// are booked as closed, those that failed as failed, and those of a task that was cancelled, or of a merge that had reached
/// its limit, as dropped. None is open once the task is gone.
pub struct LoserTreeEngine {
    engine: Arc<dyn ExecutionEngine>,
    ledger: LeakLedger,
}

impl LoserTreeEngine {
    /// Creates an engine around another one, which has the stages run.
    #[must_use]
    pub fn new(engine: Arc<dyn ExecutionEngine>) -> Self {
        Self { engine, ledger: LeakLedger::off() }
    }

    /// Books in a ledger what is open. Default: in none.
    #[must_use]
    pub fn with_ledger(self, ledger: LeakLedger) -> Self {
        Self { ledger, ..self }
    }

    /// Puts the output of a stage, whose last node writes it, where it can be cancelled.
    fn guard(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        what: String,
        cancelled: &CancellationToken,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [output] = plan.children()[..] else { return Ok(plan) };
        let output = OutputExec::new(Arc::clone(output), what, cancelled.clone(), self.ledger.clone());
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        plan.replace_children(vec![Arc::new(output)], options)
    }
}

impl fmt::Debug for LoserTreeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoserTreeEngine").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl ExecutionEngine for LoserTreeEngine {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        global_output_partition_ids: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let rule = MergeByWindows::new().with_ledger(self.ledger.clone());
        let plan = rule.optimize(plan, config.options())?;
        let cancelled = CancellationToken::new();
        let plan =
            self.guard(plan, format!("task {task_id} of stage {stage_id} of job {job_id}"), &cancelled)?;
        let stage = self.engine.create_query_stage_exec(
            job_id,
            stage_id,
            task_id,
            global_output_partition_ids,
            plan,
            work_dir,
            config,
        )?;
        Ok(Arc::new(Stage { stage, cancelled }))
    }
}

/// A stage of another engine, whose output ends when nobody waits for it any more.
#[derive(Debug)]
struct Stage {
    stage: Arc<dyn QueryStageExecutor>,
    cancelled: CancellationToken,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stage.fmt(f)
    }
}

#[async_trait::async_trait]
impl QueryStageExecutor for Stage {
    async fn execute_query_stage(
        &self,
        task_id: usize,
        context: Arc<TaskContext>,
    ) -> Result<Vec<ShuffleWritePartition>> {
        // Also when it has failed: other partitions may still be written.
        let _cancels = self.cancelled.clone().drop_guard();
        self.stage.execute_query_stage(task_id, context).await
    }

    fn collect_plan_metrics(&self) -> Vec<MetricsSet> {
        self.stage.collect_plan_metrics()
    }

    fn collect_runtime_stats_reports(&self) -> Vec<RuntimeStatsReport> {
        self.stage.collect_runtime_stats_reports()
    }

    fn collect_window_state_reports(&self) -> Result<Vec<WindowStateReport>> {
        self.stage.collect_window_state_reports()
    }

    fn collect_column_stats(&self) -> Vec<TaskColumnStats> {
        self.stage.collect_column_stats()
    }
}
