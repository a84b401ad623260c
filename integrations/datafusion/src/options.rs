use std::any::Any;
use std::fmt::Display;

use datafusion_common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion_common::{DataFusionError, Result, config_err};

/// The options of a session, which have the prefix `losertree`.
///
/// They are listed by the names that set them, so that `SHOW losertree.enabled` finds them, and whoever sends the options of a session
/// sends them too. DataFusion's own macro for options lists them without the prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoserTreeOptions {
    /// Whether anything is merged by windows: `SET losertree.enabled = false` has DataFusion merge and sort itself. Default: yes.
    pub enabled: bool,
    /// Whether equal rows of several partitions take turns, so that these are read at even rates: `SET losertree.round_robin_ties = true`.
    /// Default: no, and they come in the order of the partitions.
    pub round_robin_ties: bool,
    /// Whether sorts without a limit merge their runs by windows: `SET losertree.sort = false` has DataFusion sort itself. Default: yes.
    pub sort: bool,
}

impl Default for LoserTreeOptions {
    fn default() -> Self {
        Self { enabled: true, round_robin_ties: false, sort: true }
    }
}

impl ConfigExtension for LoserTreeOptions {
    const PREFIX: &'static str = "losertree";
}

impl ExtensionOptions for LoserTreeOptions {
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
        let option = match key {
            "enabled" => &mut self.enabled,
            "round_robin_ties" => &mut self.round_robin_ties,
            "sort" => &mut self.sort,
            _ => return config_err!("there is no option losertree.{key}"),
        };
        *option = value.to_lowercase().parse().map_err(|_| {
            DataFusionError::Configuration(format!("losertree.{key} is true or false, not {value}"))
        })?;
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: &dyn Display, description| ConfigEntry {
            key: format!("{}.{key}", Self::PREFIX),
            value: Some(value.to_string()),
            description,
        };
        vec![
            entry("enabled", &self.enabled, "Whether anything is merged by windows"),
            entry(
                "round_robin_ties",
                &self.round_robin_ties,
                "Whether equal rows of several partitions take turns",
            ),
            entry("sort", &self.sort, "Whether sorts without a limit merge their runs by windows"),
        ]
    }
}
