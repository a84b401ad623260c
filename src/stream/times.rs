use std::time::Duration;

use crate::clock::Moment;

/// When a source was polled first, has given its first item and was released. A merge has these only if it was asked for times.
#[derive(Debug, Default)]
pub(super) struct Times {
    first_poll: Option<Moment>,
    to_first_item: Option<Duration>,
    until_released: Option<Duration>,
}

impl Times {
    pub(super) fn note_poll(&mut self, now: Moment) {
        self.first_poll.get_or_insert(now);
    }

    /// Notes that the poll at `now` has given the first item.
    pub(super) fn note_first_item(&mut self, now: Moment) {
        self.to_first_item = self.first_poll.map(|first| now.since(first));
    }

    pub(super) fn note_release(&mut self) {
        self.until_released = self.duration();
    }

    pub(super) const fn to_first_item(&self) -> Option<Duration> {
        self.to_first_item
    }

    /// From the first poll to the release, or until now.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.until_released.or_else(|| self.first_poll.map(Moment::elapsed))
    }
}
