//! K-way merge with a loser tree: of iterators, and of async streams that are owned and closed.
//!
//! # Merge sorted iterators
//!
//! ```
//! use losertree::merge;
//!
//! let merged: Vec<u64> = merge([vec![1, 4, 7], vec![2, 5], vec![3, 6]]).collect();
//! assert_eq!(merged, [1, 2, 3, 4, 5, 6, 7]);
//! ```
//!
//! [`merge_by`] takes a comparator, [`merge_by_key`] a key and [`merge_with`] an order. [`try_merge`] and [`try_merge_with`] merge
//! iterators of `Result`s. A [`Merge`] or a [`TryMerge`] can peek, name the source of each item, give its sources back, drop
//! duplicates, combine equal items, give blocks of items and read its sources ahead.
//!
//! Runs that are in memory as a whole are merged in bulk, which is several times as fast:
//!
//! ```
//! use losertree::merge_runs;
//!
//! let mut merged = Vec::new();
//! merge_runs(&[vec![1, 4, 7], vec![2, 5], vec![3, 6]], &mut merged);
//! assert_eq!(merged, [1, 2, 3, 4, 5, 6, 7]);
//! ```
//!
//! Sources that give sorted batches are merged batch by batch, nearly as fast ([`merge_batches`], [`merge::window`]).
//! [`merge::runs`] merges runs in other orders and on several threads.
//!
//! # Merge async sources, and have them closed
//!
//! ```
//! use futures::executor::block_on;
//! use futures::{StreamExt, TryStreamExt, stream};
//! use losertree::{LeakLedger, ProxyResponseLoserTree, closing};
//! use std::error::Error;
//! use std::io;
//!
//! fn main() -> Result<(), Box<dyn Error>> {
//!     // A stream of rows, and what closes it: for example, tells a server that nothing more is wanted.
//!     let store = |rows: [u64; 3]| closing(stream::iter(rows).map(Ok::<_, io::Error>), |_stream| async { Ok(()) });
//!     let ledger = LeakLedger::sites();
//!     let mut merge = ProxyResponseLoserTree::builder()
//!         .sources([store([1, 3, 5]), store([2, 4, 6])])
//!         .ledger(&ledger)
//!         .build();
//!     block_on(async {
//!         while let Some(row) = merge.try_next().await? {
//!             if row == 4 {
//!                 break; // enough
//!             }
//!         }
//!         merge.close().await?; // waits until both are closed, and returns all errors
//!         assert_eq!(ledger.snapshot().closed, 2);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! [`ProxyResponseLoserTree`] is a stream. It merges [`Source`]s: streams with an orderly end.
//! [`unfold`] makes one of a client with async methods. [`from_stream`], [`from_items`] and [`closing`] make one of a stream, and
//! [`from_iter`] of an iterator. A [`BlockSource`] gives blocks of items. A [`BatchMerge`] merges batches as
//! batches. [`stream`] shows the life cycle, and what is promised
//! about closing.
//!
//! # Name series
//!
//! [`Labels`] and [`Series`] are those of Prometheus and Thanos. Label sets are compared as bytes. A [`Response`] is what a store
//! answers: a series, a batch of them, a warning or hints.
//!
//! ```
//! use losertree::{Labels, merge};
//!
//! let a: Vec<Labels> = vec![r#"{__name__="up", job="api"}"#.parse()?];
//! let b: Vec<Labels> = vec![r#"{__name__="down", job="api"}"#.parse()?];
//! assert_eq!(merge([&a, &b]).next().unwrap().metric_name().as_deref(), Some("down"));
//! # Ok::<_, losertree::series::ParseLabelsError>(())
//! ```
//!
//! # Ask many stores
//!
//! [`response::ProxyQuery`] stands between the transport of a query engine and the merge. It receives
//! in the background, within bounds and in time. It removes replica labels, deduplicates, limits, and closes
//! everything. [`response`] has its parts.
//!
//! # Find leaks
//!
//! A [`LeakLedger`] records what is open, since when, and which line opened it:
//!
//! ```should_panic
//! use losertree::LeakLedger;
//!
//! let ledger = LeakLedger::sites();
//! let entry = ledger.open("connection to store-a");
//! std::mem::forget(entry); // a bug
//! ledger.assert_balanced(); // … connection to store-a, opened at src/lib.rs:5:20, 1.2µs ago
//! ```
//!
//! # Lend buffers, count readers
//!
//! A [`BytePool`](resource::BytePool) lends buffers within a budget. A [`ReaderGate`](resource::ReaderGate)
//! counts the readers of something. A buffer and a reader are given back when they are dropped, so on every path:
//!
//! ```
//! use losertree::resource::{BytePool, ReaderGate};
//!
//! let pool = BytePool::builder().budget_bytes(8 << 20).build()?;
//! let gate = ReaderGate::new("block 7");
//! {
//!     let _reader = gate.enter()?;
//!     let mut lease = pool.try_lease(4000)?;
//!     lease.extend_from_slice(b"chunk")?;
//! }
//! assert_eq!((pool.snapshot().used_bytes, gate.pending()), (0, 0));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Order of your own
//!
//! [`SortKey`] gives a type its order and a code: a number that the tournament compares instead of
//! the item. Codes make merging fast, and take two methods. [`key`] has the other orders.
//!
//! # Without a clock
//!
//! `wasm32-unknown-unknown` has no clock, and the standard library panics there if it is asked for one. This library does not ask.
//! No time passes there:
//!
//! - Ages and durations in metrics and reports are zero.
//! - A pool passes no grant on, and nothing is held for long.
//! - A [`Closer`](stream::Closer) has no time limit but that of its `sleep`.
//! - A timeout of a response set is an error, [`Cause::NoTimer`](error::Cause::NoTimer).
//!
//! Elsewhere the clock is read where a time was asked for, and not for items. These read it:
//! [`Builder::times`](stream::Builder::times), timeouts, the feature `metrics` once for each merge, ledgers at
//! [level sites](resource::LedgerLevel::Sites), gates for each reader, and pools for each snapshot and each grant to
//! somebody who has waited.
//!
//! # Features
//!
//! Without any feature, the crate is [`key`], [`tree`] and [`mod@merge`], and depends on `smallvec` and `thiserror` alone.
//!
//! | feature | default | gives | needs |
//! |---|---|---|---|
//! | `resource` | yes | [`resource`] | `bytes` |
//! | `series` | yes | [`series`] | `bytes` |
//! | `stream` | yes | [`stream`] | `resource` |
//! | `response` | yes | [`response`] | `series`, `stream` |
//! | `bytes` | yes | `Bytes` are keys | |
//! | `tokio` | | response sets receive on the tokio runtime that polls them; timeouts for them, for pools and for gates | `resource` |
//! | `rayon` | | runs in memory are merged on several threads | |
//! | `serde` | | labels, chunks and series can be serialized | `series` |
//! | `metrics` | | `observe` | `resource` |
//! | `tracing` | | a span for each async merge | `stream` |
//!
//! # The layers
//!
//! | layer | module | what is in it |
//! |---|---|---|
//! | 0 | [`key`] | how items are ordered: codes and comparisons |
//! | 0 | [`tree`] | the tournament |
//! | 0 | [`resource`] | a pool of buffers, a gate for readers, a ledger of what is open |
//! | 1 | [`mod@merge`] | merging of iterators, of batches, and of runs in memory |
//! | 1 | [`series`] | labels, chunks, series |
//! | 1 | `observe` | metrics for monitoring (feature `metrics`) |
//! | 2 | [`stream`] | sources, and the async merge that owns them |
//! | 3 | [`response`] | responses, response sets, and queries to many stores |
//!
//! Each layer uses only what is below it, and each is public. [`error`] has the errors of all of them.

#![forbid(unsafe_code)]
// A layer has functions for those above it, which may not be there.
#![cfg_attr(not(feature = "response"), allow(dead_code, unused_imports))]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "resource")]
mod clock;
#[cfg(feature = "resource")]
mod contain_panic;
pub mod error;
pub mod key;
pub mod merge;
#[cfg(feature = "metrics")]
pub mod observe;
#[cfg(feature = "resource")]
pub mod resource;
#[cfg(feature = "response")]
pub mod response;
#[cfg(feature = "series")]
pub mod series;
mod source_id;
#[cfg(feature = "stream")]
pub mod stream;
#[cfg(feature = "resource")]
mod sync;
pub mod tree;

pub use error::{CloseError, Phase, SourceError};
pub use key::SortKey;
pub use merge::{
    Merge, TryMerge, merge, merge_batches, merge_batches_with, merge_by, merge_by_key, merge_coded,
    merge_runs, merge_runs_with, merge_with, try_merge, try_merge_with,
};
#[cfg(feature = "rayon")]
pub use merge::{par_merge_runs, par_merge_runs_with};
#[cfg(feature = "resource")]
pub use resource::LeakLedger;
#[cfg(feature = "response")]
pub use response::{Response, Warning};
#[cfg(feature = "series")]
pub use series::{Chunk, Labels, LabelsBuilder, Series};
pub use source_id::{SourceId, SourcePath};
#[cfg(feature = "stream")]
pub use stream::{
    BatchMerge, BlockSource, BoxSource, ProxyResponseLoserTree, Source, closing, from_items, from_iter,
    from_stream, unfold,
};

/// Runs the examples of the README as tests.
#[cfg(all(doctest, feature = "stream"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Runs the examples of the guide as tests, where all that they need is there.
#[cfg(all(doctest, feature = "response", feature = "metrics", feature = "tokio"))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;
