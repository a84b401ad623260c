//! What comes from outside: who may ask, and what those do who mean no good.

#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::similar_names,
    clippy::too_many_lines
)]

#[path = "../support/mod.rs"]
mod support;

mod floods;
mod hostile_requests;
mod security;
mod tls;
