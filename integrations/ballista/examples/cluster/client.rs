//! Asks a cluster, or nobody else.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use ballista::prelude::{SessionConfigExt, SessionContextExt};
use ballista_core::JobId;
use ballista_core::config::{
    BALLISTA_CLIENT_IO_RETRIES_TIMES, BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS, BALLISTA_CLIENT_PULL,
};
use ballista_core::execution_plans::DistributedQueryExec;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::protobuf::LogicalPlanNode;
use tokio::task::JoinHandle;

use super::queries;

/// Returns a session whose queries the cluster runs.
pub(crate) async fn client(url: &str, data: &Path) -> datafusion::error::Result<SessionContext> {
    let config = losertree_ballista::with_options(SessionConfig::new_with_ballista());
    // So that it knows its job as soon as there is one. Otherwise the scheduler tells it with the first change.
    let config = config.set_bool(BALLISTA_CLIENT_PULL, true);
    // An executor that is gone is asked twice, and not for ten seconds.
    let config = config
        .set_u64(BALLISTA_CLIENT_IO_RETRIES_TIMES, 1)
        .set_u64(BALLISTA_CLIENT_IO_RETRY_WAIT_TIME_MS, 200);
    let state =
        SessionStateBuilder::new().with_default_features().with_config(queries::config(config)).build();
    let context = SessionContext::remote_with_state(url, state).await?;
    queries::register(&context, data).await?;
    Ok(context)
}

/// Returns a session that runs its queries by itself, as DataFusion does.
pub(crate) async fn alone(data: &Path) -> datafusion::error::Result<SessionContext> {
    let context = SessionContext::new_with_config(queries::config(SessionConfig::new_with_ballista()));
    queries::register(&context, data).await?;
    Ok(context)
}

/// A query that is planned, and runs when its rows are asked for.
#[derive(Clone)]
pub(crate) struct Asked {
    context: SessionContext,
    plan: Arc<dyn ExecutionPlan>,
}

pub(crate) async fn ask(context: &SessionContext, sql: &str) -> datafusion::error::Result<Asked> {
    let plan = context.sql(sql).await?.create_physical_plan().await?;
    Ok(Asked { context: context.clone(), plan })
}

impl Asked {
    /// The job that the scheduler has made of it, once it has.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.plan
            .downcast_ref::<DistributedQueryExec<LogicalPlanNode>>()
            .and_then(DistributedQueryExec::job_id)
    }

    /// Has it run in the background.
    pub(crate) fn run(&self) -> JoinHandle<datafusion::error::Result<RecordBatch>> {
        let asked = self.clone();
        tokio::spawn(async move { asked.rows().await })
    }

    /// All rows, in one batch.
    pub(crate) async fn rows(&self) -> datafusion::error::Result<RecordBatch> {
        let batches = collect(Arc::clone(&self.plan), self.context.task_ctx()).await?;
        Ok(concat_batches(&self.plan.schema(), &batches)?)
    }
}

/// Fails unless two answers have the same rows in the same order.
pub(crate) fn compare(name: &str, rows: &RecordBatch, expected: &RecordBatch) -> Result<(), Box<dyn Error>> {
    if rows.num_rows() != expected.num_rows() {
        return Err(format!("{name}: {} rows, not {}", rows.num_rows(), expected.num_rows()).into());
    }
    for (at, (column, other)) in rows.columns().iter().zip(expected.columns()).enumerate() {
        if column != other {
            let row = (0..rows.num_rows()).find(|row| column.slice(*row, 1) != other.slice(*row, 1));
            return Err(format!("{name}: column {at} differs from row {row:?} on").into());
        }
    }
    Ok(())
}
