use std::sync::Arc;

use futures::future::BoxFuture;

use crate::contain_panic::contain_panic;

/// Where lazy sets are received: by a function of the user's, or on the tokio runtime that is there.
#[derive(Clone, Default)]
pub(super) struct Spawner(pub(super) Option<Arc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>>);

impl Spawner {
    /// Spawns a task, or gives it back where there is nothing to spawn it on.
    pub(super) fn spawn(&self, task: BoxFuture<'static, ()>) -> Option<BoxFuture<'static, ()>> {
        // What the store does belongs to the span in which the query is polled.
        #[cfg(feature = "tracing")]
        let task: BoxFuture<'static, ()> = Box::pin(tracing::Instrument::in_current_span(task));
        if let Some(spawn) = &self.0 {
            // Should it panic, the task is gone, which the set finds out.
            contain_panic(|| spawn(task));
            return None;
        }
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(task);
            return None;
        }
        Some(task)
    }
}
