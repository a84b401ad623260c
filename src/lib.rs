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
//! [`merge_by`] takes a comparator and [`merge_by_key`] a key; [`try_merge`] and its like merge iterators of `Result`s;
//! [`MergeSorted`] has them as methods. [`Merge`] and [`TryMerge`] can peek, name the source of each item, give their sources
//! back, drop duplicates and combine equal items, give blocks of items and read their sources ahead.
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
//!
//! [`merge::runs`] has the same for other orders, for items that are moved, and for several threads.
//!
//! # Merge async sources, and have them closed
//!
//! ```
//! use futures::TryStreamExt;
//! use losertree::{LeakLedger, ProxyResponseLoserTree, closing};
//! # use futures::stream;
//! # use std::convert::Infallible;
//! # futures::executor::block_on(async {
//! # let store = |items: Vec<u64>| stream::iter(items.into_iter().map(Ok::<_, Infallible>));
//!
//! let ledger = LeakLedger::sites();
//! let mut merge = ProxyResponseLoserTree::builder()
//!     .source(closing(store(vec![1, 3, 5]), |_stream| async { Ok(()) }))
//!     .ledger(&ledger)
//!     .limit(2)
//!     .build();
//! while let Some(item) = merge.try_next().await? {
//!     println!("{item}");
//! }
//! assert_eq!(ledger.snapshot().closed, 1);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! [`ProxyResponseLoserTree`] is a stream. What it merges is a [`Source`]: a stream with an orderly end.
//! [`unfold`] makes one of a client with async methods, [`from_stream`], [`from_items`] and [`closing`] of any stream,
//! [`from_iter`] of an iterator, and a [`BlockSource`] is one of blocks. [`stream`] has the life cycle, and what is promised
//! about closing.
//!
//! # Name series
//!
//! [`Labels`], [`Series`] and [`Response`] are the vocabulary of series streams, as the stores of Prometheus
//! and Thanos speak it: label sets that are compared as bytes, chunks, warnings.
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
//! [`response::ProxyQuery`] is what stands between the transport of a query engine and the merge: it receives
//! in the background within bounds and in time, removes replica labels, deduplicates, limits, and closes
//! everything. [`response`] has its parts.
//!
//! # Find leaks
//!
//! A [`LeakLedger`] knows what is open, since when, and which line opened it:
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
//! [`BytePool`](resource::BytePool) lends buffers within a budget and [`ReaderGate`](resource::ReaderGate)
//! counts who reads what; both are given back by being dropped, on every path:
//!
//! ```
//! use losertree::resource::{BytePool, ReaderGate};
//!
//! let pool = BytePool::builder().budget_bytes(8 << 20).build()?;
//! let gate = ReaderGate::new("block 7");
//! {
//!     let _reader = gate.enter()?;
//!     let mut lease = pool.lease(4000)?;
//!     lease.extend_from_slice(b"chunk")?;
//! }
//! assert_eq!((pool.snapshot().used_bytes, gate.pending()), (0, 0));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Order of your own
//!
//! [`SortKey`] gives a type its order together with a code, a number that the tournament compares instead of
//! the item. It is what makes merging fast, and it is two methods: see there. [`key`] has the other orders.
//!
//! # Without a clock
//!
//! `wasm32-unknown-unknown` has no clock, and asking the standard library for one panics there. Nothing in here does: no time passes,
//! so ages and durations in figures and reports are zero, a pool passes no grant on, nothing is held for long, and a [`Closer`](stream::Closer) has no
//! time limit but that of its `sleep`. A timeout of a response set is an error there, [`Cause::NoTimer`](error::Cause::NoTimer).
//!
//! Elsewhere the clock is read where a time was asked for, and not for items: by [`Builder::times`](stream::Builder::times), by
//! timeouts, by the feature `metrics` once for each merge, by ledgers at [level sites](resource::LedgerLevel::Sites), by gates for each
//! reader, and by pools for each snapshot and each grant to somebody who has waited.
//!
//! # The floors
//!
//! | floor | module | what stands on it |
//! |---|---|---|
//! | 0 | [`key`] | how items are ordered: codes and comparisons |
//! | 0 | [`tree`] | the tournament |
//! | 0 | [`resource`] | a pool of buffers, a gate for readers, the books of what is open |
//! | 1 | [`mod@merge`] | merging of iterators, and of runs in memory |
//! | 1 | [`series`] | labels, chunks, series, responses |
//! | 1 | `observe` | figures for monitoring (feature `metrics`) |
//! | 2 | [`stream`] | sources, and the async merge that owns them |
//! | 3 | [`response`] | response sets, and queries to many stores |
//!
//! Each floor uses only what is below it, and each is public.

#![forbid(unsafe_code)]

mod clock;
mod contain_panic;
pub mod error;
pub mod key;
pub mod merge;
#[cfg(feature = "metrics")]
pub mod observe;
pub mod resource;
pub mod response;
pub mod series;
mod source_id;
pub mod stream;
mod sync;
pub mod tree;

pub use error::{CloseError, Phase, SourceError};
pub use key::SortKey;
pub use merge::{
    Merge, MergeSorted, TryMerge, merge, merge_batches, merge_batches_with, merge_by, merge_by_key,
    merge_coded, merge_owned_runs, merge_owned_runs_with, merge_runs, merge_runs_by, merge_runs_by_key,
    merge_runs_with, merge_with, try_merge, try_merge_by, try_merge_by_key, try_merge_with,
};
#[cfg(feature = "rayon")]
pub use merge::{par_merge_runs, par_merge_runs_by, par_merge_runs_by_key, par_merge_runs_with};
pub use resource::LeakLedger;
pub use series::{Chunk, Labels, LabelsBuilder, Response, Series, Warning};
pub use source_id::{SourceId, SourcePath};
pub use stream::{
    BlockSource, BoxSource, ProxyResponseLoserTree, Source, closing, from_items, from_iter, from_stream,
    unfold,
};

/// Runs the examples of the README as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// Runs the examples of the guide as tests.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
struct Guide;
