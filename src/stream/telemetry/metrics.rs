//! The metrics of merges: summed over all merges of one name, and published when sources are released and when
//! merges end.

use std::sync::Arc;

use metrics::{Counter, Histogram};

use crate::clock::Moment;
use crate::observe::names;
use crate::resource::Ending;
use crate::stream::SourceEnd;

pub(super) struct MergeMetrics {
    /// `None` once the end has been published.
    since: Option<Moment>,
    series: Arc<Series>,
}

/// The series of a name. All are looked up at the start: so the first increase of one is seen as an increase,
/// and closing and dropping allocate nothing.
struct Series {
    closed: Counter,
    merges_handed_back: Counter,
    dropped: Counter,
    partial: Counter,
    items: Counter,
    duration: Histogram,
    exhausted: Counter,
    closed_early: Counter,
    closed_in_background: Counter,
    failed: Counter,
    handed_back: Counter,
    dropped_unclosed: Counter,
    lost: Counter,
}

impl MergeMetrics {
    pub(super) fn new(name: Option<&Arc<str>>) -> Self {
        let name = name.map_or_else(|| Arc::from("unnamed"), Arc::clone);
        let merges = |end: Ending| names::MERGES.counter_of(&name, "end", end.as_str());
        let released = |end| names::SOURCES_RELEASED.counter_of(&name, "end", end);
        let series = Series {
            closed: merges(Ending::Closed),
            merges_handed_back: merges(Ending::HandedBack),
            dropped: merges(Ending::DroppedUnclosed),
            partial: names::MERGES_PARTIAL.counter(&name),
            items: names::MERGE_ITEMS.counter(&name),
            duration: names::MERGE_DURATION.histogram(&name),
            exhausted: released("exhausted"),
            closed_early: released("closed_early"),
            closed_in_background: released(Ending::ClosedInBackground.as_str()),
            failed: released(Ending::Failed.as_str()),
            handed_back: released(Ending::HandedBack.as_str()),
            dropped_unclosed: names::SOURCES_DROPPED.counter(&name),
            lost: names::SOURCES_LOST.counter(&name),
        };
        Self { since: Some(Moment::now()), series: Arc::new(series) }
    }

    pub(super) fn child(&self) -> ChildMetrics {
        ChildMetrics(Arc::clone(&self.series))
    }

    pub(super) fn end(&mut self, end: Ending, items: u64, is_partial: bool) {
        let Some(since) = self.since.take() else { return };
        let merges = match end {
            Ending::Closed => &self.series.closed,
            Ending::HandedBack => &self.series.merges_handed_back,
            _ => &self.series.dropped,
        };
        merges.increment(1);
        self.series.partial.increment(u64::from(is_partial));
        self.series.items.increment(items);
        self.series.duration.record(since.elapsed().as_secs_f64());
    }
}

pub(super) struct ChildMetrics(Arc<Series>);

impl ChildMetrics {
    pub(super) fn released(&self, ending: Ending, end: Option<SourceEnd>) {
        let counter = match ending {
            Ending::Closed if end == Some(SourceEnd::Exhausted) => &self.0.exhausted,
            Ending::Closed => &self.0.closed_early,
            Ending::ClosedInBackground => &self.0.closed_in_background,
            Ending::Failed => &self.0.failed,
            Ending::HandedBack => &self.0.handed_back,
            Ending::DroppedUnclosed => &self.0.dropped_unclosed,
            Ending::Lost => &self.0.lost,
        };
        counter.increment(1);
    }
}
