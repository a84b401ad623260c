use datafusion::prelude::SessionConfig;
use losertree_datafusion::LoserTreeOptions;

/// Gives a session of a client or of a scheduler the option `losertree.enabled`, which is on by default, so that it reaches the executors.
///
/// A client sends its options to the scheduler, and that sends those that it knows to the executors. So for `SET losertree.enabled = false`
/// to have an effect, the configuration of the client's session and the one that the scheduler makes
/// (`SchedulerConfig::override_config_producer`) both go through this function. Otherwise it is up to the executor.
///
/// A session that has the option keeps its value.
#[must_use]
pub fn with_options(mut config: SessionConfig) -> SessionConfig {
    let extensions = &mut config.options_mut().extensions;
    if extensions.get::<LoserTreeOptions>().is_none() {
        extensions.insert(LoserTreeOptions::default());
    }
    config
}
