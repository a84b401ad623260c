//! The figures of merges: summed over all merges of one name, and published when sources are released and when
//! merges end.

use std::sync::Arc;
use std::time::Instant;

use metrics::Counter;

use super::MergeEnd;
use crate::observe::names;
use crate::resource::Ending;
use crate::stream::SourceEnd;

pub(super) struct MergeFigures {
    /// `None` once the end has been published.
    open: Option<Open>,
    sources: Arc<Sources>,
}

struct Open {
    name: Arc<str>,
    since: Instant,
}

/// The series of sources. All of them exist from the first merge on, so that the first increase is seen as one.
struct Sources {
    exhausted: Counter,
    closed_early: Counter,
    failed: Counter,
    handed_back: Counter,
    dropped_unclosed: Counter,
}

impl MergeFigures {
    pub(super) fn new(name: Option<&Arc<str>>) -> Self {
        let name = name.map_or_else(|| Arc::from("unnamed"), Arc::clone);
        let released = |end| names::SOURCES_RELEASED.counter_of(&name, "end", end);
        let sources = Sources {
            exhausted: released("exhausted"),
            closed_early: released("closed_early"),
            failed: released("failed"),
            handed_back: released("handed_back"),
            dropped_unclosed: names::SOURCES_DROPPED.counter(&name),
        };
        Self { open: Some(Open { name, since: Instant::now() }), sources: Arc::new(sources) }
    }

    pub(super) fn source(&self) -> SourceFigures {
        SourceFigures(Arc::clone(&self.sources))
    }

    pub(super) fn end(&mut self, end: MergeEnd, items: u64, is_partial: bool) {
        let Some(Open { name, since }) = self.open.take() else { return };
        names::MERGES.counter_of(&name, "end", end.as_str()).increment(1);
        names::MERGES_PARTIAL.counter(&name).increment(u64::from(is_partial));
        names::MERGE_ITEMS.counter(&name).increment(items);
        names::MERGE_DURATION.histogram(&name).record(since.elapsed().as_secs_f64());
    }
}

pub(super) struct SourceFigures(Arc<Sources>);

impl SourceFigures {
    pub(super) fn released(&self, ending: Ending, end: Option<SourceEnd>) {
        let counter = match ending {
            Ending::Closed if end == Some(SourceEnd::Exhausted) => &self.0.exhausted,
            Ending::Closed => &self.0.closed_early,
            Ending::Failed => &self.0.failed,
            Ending::HandedBack => &self.0.handed_back,
            Ending::DroppedUnclosed => &self.0.dropped_unclosed,
        };
        counter.increment(1);
    }
}
