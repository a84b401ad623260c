//! A scheduler, which is Ballista's own, in this process.

use std::sync::Arc;
use std::time::Duration;

use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, GetJobMetricsParams, JobStageMetrics, OperatorMetricsSet,
};
use ballista_core::{JobId, error::Result};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long an executor may be silent.
const EXECUTOR_TIMEOUT_SECONDS: u64 = 20;

pub(crate) struct Scheduler {
    server: SchedulerServer<LogicalPlanNode, PhysicalPlanNode>,
    port: u16,
    serving: JoinHandle<Result<()>>,
}

/// One of the merges of a stage, as the scheduler knows it.
#[derive(Debug, Clone)]
pub(crate) struct Merge {
    pub(crate) stage: u32,
    /// Whether it went by windows: its metrics tell.
    pub(crate) by_windows: bool,
    pub(crate) windows: usize,
    pub(crate) runs: usize,
}

impl Scheduler {
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let config = SchedulerConfig {
            bind_host: "127.0.0.1".to_owned(),
            external_host: "127.0.0.1".to_owned(),
            bind_port: port,
            executor_timeout_seconds: EXECUTOR_TIMEOUT_SECONDS,
            expire_dead_executor_interval_seconds: 1,
            no_executors_grace_period_seconds: EXECUTOR_TIMEOUT_SECONDS,
            // A stage that misses a file of an executor that is gone ends the job. Ballista 55.0 would run again what is missing, and by that has left
            // jobs waiting for ever, and has given rows twice, with its own engine too.
            stage_max_failures: 1,
            // So that it carries the option of a session to the executors. All else is as it comes.
            override_config_producer: Some(Arc::new(|| {
                losertree_ballista::with_options(SessionConfig::new_with_ballista())
            })),
            ..Default::default()
        };
        let cluster = BallistaCluster::new_from_config(&config).await?;
        let server = create_scheduler(cluster, Arc::new(config)).await?;
        let serving = tokio::spawn(start_grpc_service_with_listener(listener, server.clone()));
        Ok(Self { server, port, serving })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What a client calls it.
    pub(crate) fn url(&self) -> String {
        format!("df://127.0.0.1:{}", self.port)
    }

    /// Waits until so many executors have announced themselves.
    pub(crate) async fn wait_for_executors(
        &self,
        count: usize,
        limit: Duration,
    ) -> std::result::Result<(), String> {
        let all = async {
            while self.executors().await < count {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(limit, all).await.map_err(|_| format!("{count} executors have not come within {limit:?}"))
    }

    pub(crate) async fn executors(&self) -> usize {
        self.server.state.executor_manager.get_executors_state().await.map_or(0, |executors| executors.len())
    }

    pub(crate) async fn cancel(&self, job: &JobId) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let mut client = SchedulerGrpcClient::connect(format!("http://127.0.0.1:{}", self.port)).await?;
        client.cancel_job(CancelJobParams { job_id: job.to_string() }).await?;
        Ok(())
    }

    /// The stages of a job that has succeeded.
    pub(crate) async fn stages(
        &self,
        job: &JobId,
    ) -> std::result::Result<Vec<JobStageMetrics>, Box<dyn std::error::Error>> {
        let mut client = SchedulerGrpcClient::connect(format!("http://127.0.0.1:{}", self.port)).await?;
        let metrics = client.get_job_metrics(GetJobMetricsParams { job_id: job.to_string() }).await?;
        let mut stages = metrics.into_inner().stages;
        stages.sort_by_key(|stage| stage.stage_id);
        Ok(stages)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The metrics of the operators of a stage with such a name.
pub(crate) fn operators(stage: &JobStageMetrics, name: &str) -> Vec<MetricsSet> {
    let of_name = stage.operators.iter().filter(|operator| operator.operator_desc.starts_with(name));
    of_name
        .filter_map(|operator| {
            let set = OperatorMetricsSet { metrics: operator.metrics.clone() };
            let set: Result<MetricsSet> = set.try_into();
            set.ok()
        })
        .collect()
}

/// The sum of a metric over all partitions.
pub(crate) fn sum(metrics: &MetricsSet, name: &str) -> Option<usize> {
    metrics.sum(|metric| metric.value().name() == name).map(|value| value.as_usize())
}

/// The merges of a job, all of which the scheduler calls by the name that they had when it cut the plan into stages.
pub(crate) fn merges(stages: &[JobStageMetrics]) -> Vec<Merge> {
    let mut merges = Vec::new();
    for stage in stages {
        for metrics in operators(stage, "SortPreservingMergeExec") {
            let windows = sum(&metrics, "windows");
            merges.push(Merge {
                stage: stage.stage_id,
                by_windows: windows.is_some(),
                windows: windows.unwrap_or(0),
                runs: sum(&metrics, "runs").unwrap_or(0),
            });
        }
    }
    merges
}
