//! What becomes of a merge and of its children, told to those who observe: the ledger, and with their features
//! `tracing` and `metrics`. Without these features it is the ledger alone, and the rest is empty.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
mod metrics;
#[cfg(not(feature = "tracing"))]
#[path = "no_spans.rs"]
mod spans;
#[cfg(feature = "tracing")]
mod spans;

use std::panic::Location;
use std::sync::Arc;

use self::metrics::{ChildMetrics, MergeMetrics};
use self::spans::{ChildSpan, MergeSpan};
use crate::contain_panic::contain_panic;
use crate::error::Phase;
use crate::resource::{Ending, LeakLedger, LedgerEntry};
use crate::source_id::SourceId;
use crate::stream::SourceEnd;

/// Tells when a merge ends, once.
pub(super) struct MergeTelemetry {
    span: MergeSpan,
    metrics: MergeMetrics,
}

impl MergeTelemetry {
    pub(super) fn new(name: Option<&Arc<str>>, sources: usize, limit: Option<u64>) -> Self {
        Self { span: MergeSpan::new(name, sources, limit), metrics: MergeMetrics::new(name) }
    }

    /// Records a child from here on.
    pub(super) fn open(
        &self,
        origin: &SourceId,
        site: &'static Location<'static>,
        ledger: &LeakLedger,
    ) -> ChildTelemetry {
        ChildTelemetry::new(ledger.open_at(origin, site), self.span.child(origin), self.metrics.child())
    }

    /// Tells the end of the merge. The first call counts.
    pub(super) fn end(&mut self, end: Ending, items: u64, is_partial: bool) {
        self.span.end(end, items, is_partial);
        self.metrics.end(end, items, is_partial);
    }
}

/// Records one child, and tells what becomes of it. Dropping it records the child as dropped unclosed, like the
/// entry of the ledger that is in it.
pub(super) struct ChildTelemetry {
    /// `None` once the child has been released.
    entry: Option<LedgerEntry>,
    span: ChildSpan,
    metrics: ChildMetrics,
}

impl ChildTelemetry {
    const fn new(entry: LedgerEntry, span: ChildSpan, metrics: ChildMetrics) -> Self {
        Self { entry: Some(entry), span, metrics }
    }

    /// Notes for the report of the ledger what the child does from now on.
    pub(super) fn note_use(&self, doing: &'static str, number: Option<u64>) {
        if let Some(entry) = &self.entry {
            entry.note(doing, number);
        }
    }

    /// Tells that the child has come to its end, or in which phase it has failed.
    pub(super) fn note_end(&self, end: SourceEnd, phase: Phase) {
        self.span.note_end(end, phase);
    }

    /// Records that the child has been released.
    pub(super) fn release(mut self, ending: Ending, end: Option<SourceEnd>) {
        self.record(ending, end);
    }

    fn record(&mut self, ending: Ending, end: Option<SourceEnd>) {
        if let Some(entry) = self.entry.take() {
            entry.end(ending);
            self.metrics.released(ending, end);
            self.span.released(ending, end);
        }
    }
}

impl Drop for ChildTelemetry {
    fn drop(&mut self) {
        // The drop of the child may be unwinding.
        contain_panic(|| self.record(Ending::DroppedUnclosed, None));
    }
}
