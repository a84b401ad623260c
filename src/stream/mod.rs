//! Async merging of sources that are owned and closed.
//!
//! # The problem
//!
//! A query engine asks many stores and merges their answers. Each answer is a stream that holds
//! something: a connection, a file, buffers of a pool, a place among the readers of a block. A query may
//! end early, by a limit, an error, a timeout or a client that goes away. Then each stream must be given back.
//! One that is forgotten shows days later, when the pool is empty or a block cannot be deleted.
//!
//! So the merge owns its sources, and no path leaves one behind. Each is closed when it
//! ends, or by [`close`](ProxyResponseLoserTree::close), or dropped with the merge. A
//! [`LeakLedger`](crate::LeakLedger) shows which of these it was.
//!
//! An HTTP body that is dropped when its client disconnects has no `await` to close with. There a [`CloseOnDrop`] closes the merge
//! in the background.
//!
//! # Life cycle
//!
//! ```text
//!              every head is there          limit reached, all ended,
//!                                           error, close(), panic
//!  ┌─────────┐ ─────────────────► ┌─────────┐ ───────────────────► ┌─────────┐      ┌────────┐
//!  │ filling │                    │ merging │                      │ closing │ ───► │ closed │
//!  └─────────┘ ◄───────────────── └─────────┘                      └─────────┘      └────────┘
//!       │         push(source)                                      ▲  every source has
//!       └───────────────────────────────────────────────────────────┘  been closed: None
//! ```
//!
//! Each source in it lives like this:
//!
//! ```text
//!              item          taken: polled for the next at once
//!  ┌──────────┐ ───► ┌────────┐ ───┐
//!  │ awaiting │      │ headed │    │     An awaiting source is polled when its own waker has fired, and
//!  └──────────┘ ◄─── └────────┘ ◄──┘     not otherwise. While one is awaiting, nothing can be yielded: its
//!       │   not ready    │  ready        item might be the smallest.
//!       │                │
//!       │ end or error   │ the merge closes
//!       ▼                ▼
//!  ┌─────────┐  closing is   ┌──────────┐
//!  │ closing │ ────────────► │ released │     Dropped, and recorded.
//!  └─────────┘   complete    └──────────┘
//! ```
//!
//! # Who polls what
//!
//! Every source has a waker of its own. When it fires, the index of the source joins a list and the task
//! that waits for the merge is woken. The merge then polls the sources on the list, once each. So K sources
//! that become ready one by one cost K polls. To poll all of them at each wake-up would cost K²/2.
//!
//! # Blocks
//!
//! Disks and networks give blocks. A source of blocks is a [`BlockSource`]. Its items are merged with one poll for each block, and
//! not one for each item. A consumer takes what is ready by [`next_ready`](ProxyResponseLoserTree::next_ready), whatever the sources
//! give.
//!
//! # Batches
//!
//! An engine that goes on with batches takes a [`BatchMerge`]. It has the same children, and promises the same of them, but a batch and
//! not an item is what a child gives. It yields [windows](BatchWindow): the runs of rows that come next, and the batches that they
//! are in.
//!
//! ```text
//!              batch          its last row is
//!  ┌──────────┐ ───► ┌──────┐ handed out ┌─────────┐     While one is awaiting, nothing is decided. What is
//!  │ awaiting │      │ held │ ─────────► │ used up │     decided is handed out before those that are used up
//!  └──────────┘      └──────┘            └─────────┘     are asked for more, and before an error. A push takes
//!       ▲         asked when nothing          │          it back, to be merged again.
//!       └────────── more is decided ──────────┘
//! ```
//!
//! # Observing
//!
//! With the feature `tracing` a merge has a span named `merge`. Its parent is the span that is current where the merge is
//! built. Its fields are `name`, `sources` and `limit` and, once it has ended, `end`, `items` and `is_partial`.
//! Events in it say what becomes of each source (fields `source`, its index, and `name`). All have the target
//! `losertree`. Polling the merge does not enter the span. Instrument the task for that.
//!
//! | event | level | |
//! |---|---|---|
//! | `source ended` | debug | it gave all that it had |
//! | `source failed` | warn | with the `phase`; once more if its closing fails too |
//! | `source panicked` | warn | |
//! | `source closed` | debug | for each source exactly one of these |
//! | `source closed in background` | debug | five, with its `end` |
//! | `source handed back` | debug | |
//! | `source dropped unclosed` | warn | |
//! | `source lost` | error | dropped unclosed by what was itself closed in order: a bug |
//!
//! The feature `metrics` counts merges by [name](Builder::name), and what becomes of their sources.
//! `losertree::observe` has the list.
//!
//! # Sources
//!
//! Closing is an explicit operation next to dropping, as in `tokio::sync::mpsc::Receiver::close` and
//! in the iterators of cockroachdb/pebble. The documentation of those has the contract as a table too. Each child has a waker of
//! its own, as in `FuturesUnordered` of rust-lang/futures-rs, here without unsafe code.

mod adaptors;
mod batch_merge;
mod batch_window;
mod block_source;
mod builder;
mod child;
mod children;
mod close;
mod close_on_drop;
mod closer;
mod coalesce;
mod counters;
mod from;
mod inquiry;
mod merge_source;
mod order_check;
mod proxy_response_loser_tree;
mod push_error;
mod readiness;
mod release_context;
mod reports;
mod row_check;
mod source;
mod stats;
mod telemetry;
mod unfold;

pub use adaptors::{Map, MapErr, Named};
pub use batch_merge::{BatchMerge, BatchMergeBuilder, NextWindow};
pub use batch_window::{BatchWindow, Merged, SharedBatch};
pub use block_source::{BlockSource, Flatten};
pub use builder::Builder;
pub use close::{Closable, Close};
pub use close_on_drop::{CloseOnDrop, CloseSourceOnDrop};
pub use closer::{BackgroundError, Closer, Idle};
pub use coalesce::Coalesce;
pub use counters::Counters;
pub use from::{Closing, FromItems, FromIter, FromStream, closing, from_items, from_iter, from_stream};
pub(crate) use inquiry::ask_to_finish;
pub use inquiry::is_closing;
pub use merge_source::MergeSource;
pub(crate) use merge_source::Nested;
pub use order_check::OrderCheck;
pub use proxy_response_loser_tree::{NextReady, NextWithSource, ProxyResponseLoserTree};
pub use push_error::PushError;
pub(crate) use release_context::drop_closed;
pub use reports::Yielded;
pub use source::{BoxSource, PollClose, PollNext, Source, UnpinSource};
pub use stats::{ForgottenSources, MergeStats, SourceEnd, SourceStats};
pub use unfold::{Unfold, unfold};
