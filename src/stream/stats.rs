use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::counters::Counters;
use crate::source_id::SourceId;

/// What a merge has done so far. Returned by
/// [`ProxyResponseLoserTree::stats`](super::ProxyResponseLoserTree::stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeStats {
    /// How many items of sources have been yielded; warnings of the merge's own are none.
    pub items: u64,
    /// Whether the answer is partial: a source has failed and was replaced by a warning, even if only its closing failed; or
    /// a source [is partial](super::Source::is_partial) itself.
    pub is_partial: bool,
    /// Each source, by index: those that the builder was given, those that are open, and at least the [last
    /// ones](super::Builder::kept_stats) of those that were pushed and are gone.
    pub sources: Vec<SourceStats>,
    /// All other sources together.
    pub forgotten: ForgottenSources,
}

impl MergeStats {
    /// Returns what all sources together have counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = self.forgotten.counters.clone();
        for source in &self.sources {
            sum.extend(source.counters.iter());
        }
        sum
    }
}

/// What those sources have done that were [pushed](super::ProxyResponseLoserTree::push), are gone, and have no statistics of their
/// own any more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ForgottenSources {
    /// How many they are.
    pub sources: u64,
    /// How many items they have given.
    pub items: u64,
    /// What they have counted, together.
    pub counters: Counters,
    /// Whether one has said that something is missing in what it gave.
    pub is_partial: bool,
    /// How often they were polled.
    pub polls: u64,
    /// How many items came before the one ahead of them.
    pub out_of_order: u64,
    /// How many have failed.
    pub failed: u64,
    /// How many have panicked.
    pub panicked: u64,
}

impl ForgottenSources {
    pub(super) fn add(&mut self, source: &SourceStats) {
        self.sources += 1;
        self.items += source.items;
        self.counters.extend(source.counters.iter());
        self.is_partial |= source.is_partial;
        self.polls += source.polls;
        self.out_of_order += source.out_of_order;
        self.failed += u64::from(source.end == Some(SourceEnd::Failed));
        self.panicked += u64::from(source.end == Some(SourceEnd::Panicked));
    }
}

/// What one source has done so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStats {
    /// Which source.
    pub origin: SourceId,
    /// How many items the source has given; one of them may still wait in the tournament.
    pub items: u64,
    /// What the source counts; empty if it counts nothing.
    pub counters: Counters,
    /// Whether the source says that something is missing in what it gives.
    pub is_partial: bool,
    /// How often the source was polled, for items and for closing.
    pub polls: u64,
    /// The time from the first poll to the first item: zero if the item was ready then. The clock is read once for
    /// each poll of the merge, before its sources are polled. `None` before the first item, and if the merge was not
    /// [asked for times](super::Builder::times). Zero [where there is no clock](crate#without-a-clock).
    pub time_to_first_item: Option<Duration>,
    /// The time from the first poll to the release of the source, or until now. `None` before the first poll, and if the merge was
    /// not [asked for times](super::Builder::times). Zero [where there is no clock](crate#without-a-clock).
    pub duration: Option<Duration>,
    /// How many items came before the one ahead of them. Counted where the merge checks the order.
    pub out_of_order: u64,
    /// How the source has ended; `None` while it is open.
    pub end: Option<SourceEnd>,
}

/// How a source has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceEnd {
    /// It gave all that it had.
    Exhausted,
    /// It failed, or closing it did, or it was out of order.
    Failed,
    /// It was closed before its end.
    ClosedEarly,
    /// It panicked, and was dropped.
    Panicked,
}

impl fmt::Display for SourceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exhausted => "exhausted",
            Self::Failed => "failed",
            Self::ClosedEarly => "closed early",
            Self::Panicked => "panicked",
        })
    }
}

/// How many of the sources that were pushed and are gone have statistics of their own, unless the builder says otherwise.
pub(super) const KEPT_STATS: usize = 64;

/// What is known of sources whose leaves have been let go: of those given to the builder and of the last that were pushed each on
/// its own, of all others together. So it is bounded, however many come and go.
#[derive(Debug)]
pub(super) struct Gone {
    /// How many sources the builder was given.
    built: usize,
    /// How many of those that were pushed are kept.
    keeps: usize,
    of_builder: Vec<SourceStats>,
    pushed: VecDeque<SourceStats>,
    pub(super) forgotten: ForgottenSources,
}

impl Gone {
    pub(super) fn new(built: usize, keeps: usize) -> Self {
        let forgotten = ForgottenSources::default();
        Self { built, keeps, of_builder: Vec::new(), pushed: VecDeque::new(), forgotten }
    }

    pub(super) fn add(&mut self, source: SourceStats) {
        if source.origin.index() < self.built {
            self.of_builder.push(source);
            return;
        }
        self.pushed.push_back(source);
        if self.pushed.len() > self.keeps
            && let Some(oldest) = self.pushed.pop_front()
        {
            self.forgotten.add(&oldest);
        }
    }

    /// Those that are kept each on its own.
    pub(super) fn kept(&self) -> impl Iterator<Item = &SourceStats> {
        self.of_builder.iter().chain(&self.pushed)
    }
}
