use std::sync::Arc;
use std::time::Duration;

use ballista_core::serde::BallistaPhysicalExtensionCodec;
use ballista_core::utils::default_config_producer;
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine};
use ballista_executor::executor_process::ExecutorProcessConfig;
use losertree::LeakLedger;

use crate::client_pool::ClientPool;
use crate::{LoserTreeCodec, LoserTreeEngine, with_options};

/// Has an executor merge by windows: puts a [`LoserTreeEngine`] around its execution engine, and a [`LoserTreeCodec`] around its
/// codec, and gives its sessions the option `losertree.enabled`.
///
/// Call it once, after everything else of the configuration has been set: an engine, a codec or a configuration that is
/// there is kept inside. Where there is no engine, it is Ballista's, with connections to other executors that are kept for
/// [`client_ttl`](ExecutorProcessConfig::client_ttl) seconds, as Ballista does by itself.
///
/// # Examples
///
/// ```no_run
/// use std::sync::Arc;
///
/// use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
///
/// # async fn run() -> ballista_core::error::Result<()> {
/// let config = ExecutorProcessConfig { scheduler_host: "scheduler".into(), ..Default::default() };
/// start_executor_process(Arc::new(losertree_ballista::enable(config))).await
/// # }
/// ```
#[must_use]
pub fn enable(config: ExecutorProcessConfig) -> ExecutorProcessConfig {
    enable_with_ledger(config, LeakLedger::off())
}

/// As [`enable`], and books in a ledger what the tasks of the executor open: see [`LoserTreeEngine::with_ledger`].
#[must_use]
pub fn enable_with_ledger(mut config: ExecutorProcessConfig, ledger: LeakLedger) -> ExecutorProcessConfig {
    let engine =
        config.override_execution_engine.take().unwrap_or_else(|| ballista_engine(config.client_ttl));
    config.override_execution_engine = Some(Arc::new(LoserTreeEngine::new(engine).with_ledger(ledger)));

    let produce = config.override_config_producer.take().unwrap_or_else(|| Arc::new(default_config_producer));
    config.override_config_producer = Some(Arc::new(move || with_options(produce())));

    let codec = config.override_physical_codec.take();
    let codec = codec.unwrap_or_else(|| Arc::new(BallistaPhysicalExtensionCodec::default()));
    config.override_physical_codec = Some(Arc::new(LoserTreeCodec::new(codec)));
    config
}

/// The engine that Ballista's executor has if nobody sets another.
fn ballista_engine(client_ttl_seconds: u64) -> Arc<dyn ExecutionEngine> {
    Arc::new(match client_ttl_seconds {
        0 => DefaultExecutionEngine::new(),
        seconds => {
            DefaultExecutionEngine::with_client_pool(Arc::new(ClientPool::new(Duration::from_secs(seconds))))
        }
    })
}
