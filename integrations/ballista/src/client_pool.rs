use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;
use tokio::time::Instant;

/// Connections to other executors, which are kept for a time after their use.
///
/// Ballista's own one is private to its executor.
#[derive(Clone)]
pub(crate) struct ClientPool {
    idle: Arc<Mutex<Idle>>,
    ttl: Duration,
}

#[derive(Default)]
struct Idle {
    clients: HashMap<Executor, Vec<(BallistaClient, Instant)>>,
    /// Whether a task looks for those that were idle for too long. It ends with the last of them.
    is_watched: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Executor {
    host: String,
    port: u16,
    config: GrpcClientConfig,
}

impl Idle {
    /// Drops the connections that were idle for so long, the oldest of which come first.
    fn evict(&mut self, ttl: Duration) {
        self.clients.retain(|_, clients| {
            clients.retain(|(_, since)| since.elapsed() < ttl);
            !clients.is_empty()
        });
    }
}

impl ClientPool {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { idle: Arc::default(), ttl }
    }

    fn take(&self, executor: &Executor) -> Option<BallistaClient> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (client, _) = idle.clients.get_mut(executor)?.pop()?;
        Some(client)
    }

    /// Keeps a connection, if there is a runtime that can have a task let go of it again.
    fn put(pool: &Weak<Mutex<Idle>>, ttl: Duration, executor: Executor, client: BallistaClient) {
        let (Some(pool), Ok(runtime)) = (pool.upgrade(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
        idle.clients.entry(executor).or_default().push((client, Instant::now()));
        if !idle.is_watched {
            idle.is_watched = true;
            runtime.spawn(watch(Arc::downgrade(&pool), ttl));
        }
    }
}

/// Lets go of connections until none is left.
async fn watch(pool: Weak<Mutex<Idle>>, ttl: Duration) {
    loop {
        tokio::time::sleep(ttl).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.lock().unwrap_or_else(PoisonError::into_inner);
        idle.evict(ttl);
        if idle.clients.is_empty() {
            idle.is_watched = false;
            return;
        }
    }
}

impl fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPool").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl BallistaClientPool for ClientPool {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        customize_endpoint: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> Result<PooledClient> {
        let executor = Executor { host: host.to_owned(), port, config: config.clone() };
        let client = match self.take(&executor) {
            Some(client) => client,
            None => {
                BallistaClient::try_new(
                    host,
                    port,
                    config.max_message_size,
                    config.use_tls,
                    customize_endpoint,
                    config.io_retries_times,
                    config.io_retry_wait_time_ms,
                    config.initial_connection_window_size,
                    config.initial_stream_window_size,
                )
                .await?
            }
        };
        let (pool, ttl) = (Arc::downgrade(&self.idle), self.ttl);
        let put = move |client| Self::put(&pool, ttl, executor, client);
        Ok(PooledClient::new(client, Box::new(put)))
    }

    async fn evict_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).evict(self.ttl);
    }
}
