//! A cluster in this process, of the parts that the example has.
#![allow(dead_code, reason = "the example uses the rest")]

#[path = "../../examples/cluster/client.rs"]
pub(crate) mod client;
#[path = "../../examples/cluster/executor.rs"]
pub(crate) mod executor;
#[path = "../../examples/cluster/queries.rs"]
pub(crate) mod queries;
#[path = "../../examples/cluster/scheduler.rs"]
pub(crate) mod scheduler;

use std::time::{Duration, Instant};

use losertree::LeakLedger;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use executor::Executor;
use scheduler::Scheduler;

/// How long something may take that is waited for. A busy machine needs much less.
pub(crate) const LIMIT: Duration = Duration::from_mins(3);

/// A scheduler, an executor, and the tables.
pub(crate) struct Standalone {
    pub(crate) scheduler: Scheduler,
    pub(crate) ledger: LeakLedger,
    pub(crate) dir: TempDir,
    executor: JoinHandle<ballista_core::error::Result<()>>,
}

impl Standalone {
    pub(crate) async fn start(rows: usize) -> Self {
        let dir = TempDir::new().unwrap();
        queries::write_tables(dir.path(), rows).await.unwrap();
        let scheduler = Scheduler::start().await.unwrap();
        let ledger = LeakLedger::sites();
        let work_dir = dir.path().join("work");
        std::fs::create_dir(&work_dir).unwrap();
        let executor =
            Executor { scheduler_port: scheduler.port(), work_dir, vcores: 2, ledger: ledger.clone() };
        let executor = tokio::spawn(executor.serve());
        scheduler.wait_for_executors(1, LIMIT).await.unwrap();
        Self { scheduler, ledger, dir, executor }
    }

    /// Waits until all that the executor had open has ended.
    pub(crate) async fn settled(&self, what: &str) {
        let begin = Instant::now();
        while self.ledger.snapshot().open > 0 {
            assert!(begin.elapsed() < LIMIT, "{what}: {}", self.ledger.snapshot());
            sleep(Duration::from_millis(5)).await;
        }
        self.ledger.assert_balanced();
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        self.executor.abort();
    }
}
