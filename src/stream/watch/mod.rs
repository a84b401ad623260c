//! What becomes of a merge and of its sources, told to those who observe: the ledger, and with their features
//! `tracing` and `metrics`. Without these features it is the ledger alone, and the rest is empty.

#[cfg(feature = "metrics")]
mod figures;
#[cfg(not(feature = "metrics"))]
#[path = "no_figures.rs"]
mod figures;
mod merge_watch;
mod source_watch;
#[cfg(not(feature = "tracing"))]
#[path = "no_spans.rs"]
mod spans;
#[cfg(feature = "tracing")]
mod spans;

pub(super) use merge_watch::{MergeEnd, MergeWatch};
pub(super) use source_watch::SourceWatch;
