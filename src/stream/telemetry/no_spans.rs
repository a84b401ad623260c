//! In place of the spans, without the feature `tracing`: nothing.

use std::sync::Arc;

use crate::error::Phase;
use crate::resource::Ending;
use crate::source_id::SourceId;
use crate::stream::SourceEnd;

pub(super) struct MergeSpan;

impl MergeSpan {
    pub(super) const fn new(_name: Option<&Arc<str>>, _sources: usize, _limit: Option<u64>) -> Self {
        Self
    }

    #[allow(clippy::unused_self)]
    pub(super) const fn child(&self, _origin: &SourceId) -> ChildSpan {
        ChildSpan
    }

    #[allow(clippy::unused_self)]
    pub(super) const fn end(&mut self, _end: Ending, _items: u64, _is_partial: bool) {}
}

pub(super) struct ChildSpan;

#[allow(clippy::unused_self)]
impl ChildSpan {
    pub(super) const fn note_end(&self, _end: SourceEnd, _phase: Phase) {}

    pub(super) const fn released(&self, _ending: Ending, _end: Option<SourceEnd>) {}
}
