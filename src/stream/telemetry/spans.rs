//! The span of a merge, and the events of its sources in it.
//!
//! The span is never entered: that would cost at every poll. Events name it as their parent.

use std::sync::Arc;

use tracing::field::Empty;
use tracing::{Span, debug, error, info_span, warn};

use crate::error::Phase;
use crate::resource::Ending;
use crate::source_id::SourceId;
use crate::stream::SourceEnd;

pub(super) struct MergeSpan(Span);

impl MergeSpan {
    pub(super) fn new(name: Option<&Arc<str>>, sources: usize, limit: Option<u64>) -> Self {
        let name = name.map(AsRef::<str>::as_ref);
        Self(info_span!(
            target: "losertree",
            "merge",
            name,
            sources,
            limit,
            end = Empty,
            items = Empty,
            is_partial = Empty
        ))
    }

    pub(super) fn child(&self, origin: &SourceId) -> ChildSpan {
        ChildSpan { merge: self.0.clone(), origin: origin.clone() }
    }

    /// Notes the end in the span, and closes it as far as the merge is concerned.
    pub(super) fn end(&mut self, end: Ending, items: u64, is_partial: bool) {
        let span = std::mem::replace(&mut self.0, Span::none());
        span.record("end", end.as_str()).record("items", items).record("is_partial", is_partial);
    }
}

pub(super) struct ChildSpan {
    merge: Span,
    origin: SourceId,
}

/// An event about a source.
macro_rules! tell {
    ($level:ident, $this:ident, $($rest:tt)+) => {
        $level!(
            target: "losertree",
            parent: &$this.merge,
            source = $this.origin.index(),
            name = $this.origin.name(),
            $($rest)+
        )
    };
}

impl ChildSpan {
    pub(super) fn note_end(&self, end: SourceEnd, phase: Phase) {
        match end {
            SourceEnd::Exhausted => tell!(debug, self, "source ended"),
            SourceEnd::Failed => tell!(warn, self, phase = phase_word(phase), "source failed"),
            SourceEnd::Panicked => tell!(warn, self, "source panicked"),
            // Its closing is told when it is done.
            SourceEnd::ClosedEarly => {}
        }
    }

    pub(super) fn released(&self, ending: Ending, end: Option<SourceEnd>) {
        let end = end.map(end_word);
        match ending {
            Ending::Closed | Ending::Failed => tell!(debug, self, end, "source closed"),
            Ending::ClosedInBackground => tell!(debug, self, end, "source closed in background"),
            Ending::HandedBack => tell!(debug, self, end, "source handed back"),
            Ending::DroppedUnclosed => tell!(warn, self, end, "source dropped unclosed"),
            // Always a bug: who owned it has been closed.
            Ending::Lost => tell!(error, self, end, "source lost"),
        }
    }
}

const fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Opening => "opening",
        Phase::Filling => "filling",
        Phase::Merging => "merging",
        Phase::Closing => "closing",
    }
}

const fn end_word(end: SourceEnd) -> &'static str {
    match end {
        SourceEnd::Exhausted => "exhausted",
        SourceEnd::Failed => "failed",
        SourceEnd::ClosedEarly => "closed_early",
        SourceEnd::Panicked => "panicked",
    }
}
