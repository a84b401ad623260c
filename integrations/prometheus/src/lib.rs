//! A store gateway for blocks of Prometheus: reads them, merges what they have, and serves it by remote read.
//!
//! | module | |
//! |---|---|
//! | [`block`] | the format of blocks, and reading one of them for a query |
//! | [`remote`] | remote read: its messages |
//! | [`security`] | TLS, passwords and certificates, of the listener and towards other servers |
//! | [`server`] | serving it by HTTP |
//! | [`store_api`] | the StoreAPI of Thanos: serving it, and asking other servers |
//!
//! [`BlockStore`] is the blocks of a directory, as they come and go; [`Gateway`] answers queries from them.
//!
//! What it lends, opens and merges it does with [`losertree`]: buffers of a [`BytePool`](losertree::resource::BytePool), a
//! [`ReaderGate`](losertree::resource::ReaderGate) for each block, and a [`ProxyQuery`](losertree::response::ProxyQuery) for each query.

// Numbers of files are checked before they are cut: `cursor`, `index`, `reader`.
#![allow(clippy::cast_possible_truncation)]

pub mod block;
mod block_store;
mod connections;
mod fair_queue;
mod gateway;
mod go_regex;
mod impatient;
mod matcher;
mod overlap;
pub mod remote;
pub mod security;
pub mod server;
pub mod store_api;

pub use block_store::{BlockStore, Held, SyncReport};
pub use gateway::{Gateway, Limits, MIN_BUDGET_BYTES, Query, QueryError, StoreError, Turn};
pub use go_regex::{MAX_COMPILED_BYTES, MAX_PATTERN_BYTES, MAX_UNICODE_CLASSES, PatternError, RegexBudget};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use overlap::OverlapError;
pub use remote::{RemoteStore, SamplesError};
pub use store_api::{StoreApiError, StoreApiServer, StoreApiStore};
