use std::panic::Location;
use std::sync::Arc;

use super::SourceWatch;
use super::figures::MergeFigures;
use super::spans::MergeSpan;
use crate::SourceId;
use crate::resource::LeakLedger;

/// Tells when a merge ends, once.
pub(in crate::stream) struct MergeWatch {
    span: MergeSpan,
    figures: MergeFigures,
}

/// How a merge has ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::stream) enum MergeEnd {
    /// Every source was closed, after whatever there was to be read.
    Closed,
    /// The sources were given back.
    HandedBack,
    /// It was dropped before.
    Dropped,
}

#[cfg(any(feature = "metrics", feature = "tracing"))]
impl MergeEnd {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HandedBack => "handed_back",
            Self::Dropped => "dropped",
        }
    }
}

impl MergeWatch {
    pub(in crate::stream) fn new(name: Option<&Arc<str>>, sources: usize, limit: Option<u64>) -> Self {
        Self { span: MergeSpan::new(name, sources, limit), figures: MergeFigures::new(name) }
    }

    /// Opens the books for a source.
    pub(in crate::stream) fn open(
        &self,
        origin: &SourceId,
        site: &'static Location<'static>,
        ledger: &LeakLedger,
    ) -> SourceWatch {
        SourceWatch::new(ledger.open_at(origin, site), self.span.source(origin), self.figures.source())
    }

    /// Tells the end of the merge. The first call counts.
    pub(in crate::stream) fn end(&mut self, end: MergeEnd, items: u64, is_partial: bool) {
        self.span.end(end, items, is_partial);
        self.figures.end(end, items, is_partial);
    }
}
