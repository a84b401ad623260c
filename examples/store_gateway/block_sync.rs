//! The block sync: replaces blocks while they are being read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::block::Block;
use crate::gateway::Gateway;
use crate::rng::Rng;

/// How long the sync rests between two blocks.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it waits for the readers of a block before it goes on with another and lets them finish.
const PATIENCE: Duration = Duration::from_millis(250);
/// How many blocks may be waiting for their readers.
const WAITING: usize = 8;

/// What the sync has done.
#[derive(Debug, Default)]
pub(crate) struct SyncReport {
    /// How many blocks were replaced, and the old generation removed.
    pub(crate) completed: u64,
    /// The longest that a block has waited for its readers, those included that wait still.
    pub(crate) longest_wait: Duration,
    /// Blocks whose readers never left, and who they are.
    pub(crate) stuck: Vec<String>,
    pub(crate) errors: Vec<String>,
}

/// Replaces blocks, picked at random, until it is told to stop. Then waits for those that are still read.
pub(crate) async fn run(gateway: Arc<Gateway>, mut rng: Rng, mut stop: oneshot::Receiver<()>) -> SyncReport {
    let mut report = SyncReport::default();
    let mut waiting = JoinSet::new();
    while timeout(PAUSE, &mut stop).await.is_err() && report.errors.is_empty() {
        if waiting.len() < WAITING {
            let index = rng.index(gateway.block_count());
            if let Some(old) = gateway.replace(index) {
                waiting.spawn(retire(Arc::clone(&gateway), old));
            }
        }
        if let Ok(Some(retired)) = timeout(PATIENCE, waiting.join_next()).await {
            report.add(retired);
        }
    }
    // All queries have ended: nobody can be reading the last blocks any more.
    let end = tokio::time::Instant::now() + gateway.grace();
    while let Ok(Some(retired)) = tokio::time::timeout_at(end, waiting.join_next()).await {
        report.add(retired);
    }
    for block in gateway.replaced() {
        report.stuck.push(describe(&block));
        report.longest_wait = report.longest_wait.max(block.gate.closing_for().unwrap_or_default());
    }
    report
}

/// Lets no new readers into a block, waits for those that are inside, and removes it.
async fn retire(gateway: Arc<Gateway>, old: Arc<Block>) -> Duration {
    let start = Instant::now();
    old.gate.close().await;
    let waited = start.elapsed();
    gateway.remove(&old);
    waited
}

fn describe(block: &Block) -> String {
    let readers = block.gate.readers();
    let first = readers.first().map_or_else(String::new, ToString::to_string);
    format!("{} still has {} readers, the first of them {first}", block.name, readers.len())
}

impl SyncReport {
    fn add(&mut self, retired: Result<Duration, JoinError>) {
        match retired {
            Ok(waited) => {
                self.completed += 1;
                self.longest_wait = self.longest_wait.max(waited);
            }
            Err(error) => self.errors.push(error.to_string()),
        }
    }
}
