use std::collections::VecDeque;

use super::{ForgottenSources, SourceStats};

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
