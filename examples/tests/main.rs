//! The example programs, as their users see them: output, messages and exit codes; and parts of them on their own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should panic")]

#[allow(dead_code, unused_imports, reason = "tests need a part of it")]
#[path = "../store_gateway/answer.rs"]
mod answer;
#[allow(dead_code, unused_imports, reason = "tests need a part of it")]
#[path = "../store_gateway/block.rs"]
mod block;
#[allow(dead_code, unused_imports, reason = "tests need a part of it")]
#[path = "../fan_in/exposition/mod.rs"]
mod exposition;
mod fan_in;
mod fan_in_exposition;
mod fan_in_prometheus;
mod fan_in_run;
#[cfg(target_os = "linux")]
mod fan_in_signals;
#[allow(dead_code, unused_imports, reason = "tests need a part of it")]
#[path = "../store_gateway/gateway.rs"]
mod gateway;
#[cfg(feature = "tokio")]
mod http_fan_in;
mod lsm;
mod odd_lines;
mod program;
mod prometheus;
#[allow(dead_code, unused_imports, reason = "tests need a part of it")]
#[path = "../store_gateway/query.rs"]
mod query;
#[allow(dead_code, unused_imports, reason = "tests need a part of it")]
#[path = "../store_gateway/rng.rs"]
mod rng;
#[cfg(target_os = "linux")]
mod signal;
mod store_gateway;
mod store_gateway_blocks;
mod store_gateway_budget;
#[cfg(feature = "metrics")]
mod store_gateway_metrics;
#[cfg(target_os = "linux")]
mod store_gateway_signals;
