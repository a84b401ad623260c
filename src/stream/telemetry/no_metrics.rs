//! In place of the metrics, without the feature `metrics`: nothing.

use std::sync::Arc;

use crate::resource::Ending;
use crate::stream::SourceEnd;

pub(super) struct MergeMetrics;

#[allow(clippy::unused_self)]
impl MergeMetrics {
    pub(super) const fn new(_name: Option<&Arc<str>>) -> Self {
        Self
    }

    pub(super) const fn child(&self) -> ChildMetrics {
        ChildMetrics
    }

    pub(super) const fn end(&mut self, _end: Ending, _items: u64, _is_partial: bool) {}
}

pub(super) struct ChildMetrics;

impl ChildMetrics {
    #[allow(clippy::unused_self)]
    pub(super) const fn released(&self, _ending: Ending, _end: Option<SourceEnd>) {}
}
