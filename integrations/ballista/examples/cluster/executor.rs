//! An executor, which merges by windows and keeps books.

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use ballista_core::error::Result;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use losertree::LeakLedger;

pub(crate) struct Executor {
    pub(crate) scheduler_port: u16,
    pub(crate) work_dir: PathBuf,
    pub(crate) vcores: usize,
    pub(crate) ledger: LeakLedger,
}

impl Executor {
    /// Runs it, on the machine itself and on ports that are free, until it is told to stop.
    pub(crate) async fn serve(self) -> Result<()> {
        let [port, grpc_port] = free_ports()?;
        let config = ExecutorProcessConfig {
            bind_host: "127.0.0.1".to_owned(),
            external_host: Some("127.0.0.1".to_owned()),
            port,
            grpc_port,
            scheduler_host: "127.0.0.1".to_owned(),
            scheduler_port: self.scheduler_port,
            vcores: self.vcores,
            work_dir: Some(self.work_dir.to_string_lossy().into_owned()),
            executor_heartbeat_interval_seconds: 1,
            ..Default::default()
        };
        start_executor_process(Arc::new(losertree_ballista::enable_with_ledger(config, self.ledger))).await
    }
}

/// Ports that are free, as long as nobody else takes them.
fn free_ports() -> io::Result<[u16; 2]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners = [bind()?, bind()?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}
