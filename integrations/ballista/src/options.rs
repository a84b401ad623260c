use std::any::Any;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::error::Result;
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
    if extensions.get::<SentOptions>().is_none() {
        let options = extensions.get::<LoserTreeOptions>().cloned().unwrap_or_default();
        extensions.insert(SentOptions(options));
    }
    config
}

/// Gives a session of an executor the options that its merges look for.
pub(crate) fn with_executor_options(mut config: SessionConfig) -> SessionConfig {
    let extensions = &mut config.options_mut().extensions;
    if extensions.get::<LoserTreeOptions>().is_none() {
        let sent = extensions.get::<SentOptions>().cloned().unwrap_or_default();
        extensions.insert(sent.0);
    }
    config
}

/// Options whose names are listed as one sets them. DataFusion lists those of an extension without its prefix, and Ballista sends what is listed.
#[derive(Debug, Clone, Default)]
struct SentOptions(LoserTreeOptions);

impl ConfigExtension for SentOptions {
    const PREFIX: &'static str = LoserTreeOptions::PREFIX;
}

impl ExtensionOptions for SentOptions {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        ExtensionOptions::set(&mut self.0, key, value)
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let prefixed = |entry: ConfigEntry| {
            let key = format!("{}.{}", Self::PREFIX, entry.key.trim_start_matches("losertree."));
            ConfigEntry { key, ..entry }
        };
        self.0.entries().into_iter().map(prefixed).collect()
    }
}
