//! How `losertree.enabled` gets from a session of a client to an executor.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use ballista_core::extension::{SessionConfigExt, SessionConfigHelperExt};
use ballista_executor::executor_process::ExecutorProcessConfig;
use datafusion::prelude::{SessionConfig, SessionContext};
use losertree_ballista::{enable, with_options};
use losertree_datafusion::LoserTreeOptions;

/// The session of a task, where the sessions of client and scheduler were made by functions.
async fn at_the_executor(
    client: fn(SessionConfig) -> SessionConfig,
    scheduler: fn(SessionConfig) -> SessionConfig,
    set: &str,
) -> bool {
    let context = SessionContext::new_with_config(client(SessionConfig::new_with_ballista()));
    // It is an error where the client does not know the option.
    let _ = context.sql(set).await;
    let pairs = context.copied_config().to_key_value_pairs();
    let scheduler = scheduler(SessionConfig::new_with_ballista()).update_from_key_value_pair(&pairs);
    let executor = enable(ExecutorProcessConfig::default()).override_config_producer.unwrap()();
    let task = executor.update_from_key_value_pair(&scheduler.to_key_value_pairs());
    task.options().extensions.get::<LoserTreeOptions>().unwrap().enabled
}

#[tokio::test]
async fn the_option_reaches_executors_where_client_and_scheduler_know_it() {
    assert!(!at_the_executor(with_options, with_options, "SET losertree.enabled = false").await);
    assert!(at_the_executor(with_options, with_options, "SET losertree.enabled = true").await);
    assert!(at_the_executor(with_options, |config| config, "SET losertree.enabled = false").await);
    assert!(at_the_executor(|config| config, with_options, "SET losertree.enabled = false").await);
}

#[tokio::test]
async fn a_session_that_has_the_option_keeps_its_value() {
    let mut off = LoserTreeOptions::default();
    off.enabled = false;
    let mut config = SessionConfig::new_with_ballista();
    config.options_mut().extensions.insert(off);
    let config = with_options(with_options(config));
    let entry = |entry: &datafusion::common::config::ConfigEntry| entry.key == "losertree.enabled";
    let entry = config.options().entries().into_iter().find(entry).unwrap();
    assert_eq!(entry.value.as_deref(), Some("false"));
}

#[tokio::test]
async fn an_executor_can_be_switched_off() {
    for with_options in [true, false] {
        let produce = move || {
            let mut config = SessionConfig::new_with_ballista();
            if with_options {
                config = losertree_ballista::with_options(config);
            } else {
                config.options_mut().extensions.insert(LoserTreeOptions::default());
            }
            config.options_mut().set("losertree.enabled", "false").unwrap();
            config
        };
        let config =
            ExecutorProcessConfig { override_config_producer: Some(Arc::new(produce)), ..Default::default() };
        let session = enable(config).override_config_producer.unwrap()();
        assert!(!session.options().extensions.get::<LoserTreeOptions>().unwrap().enabled);
    }
}
