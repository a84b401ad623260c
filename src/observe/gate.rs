use std::sync::Arc;
use std::time::Duration;

use super::group::Observed;
use super::names;
use crate::resource::ReaderGate;

#[derive(Debug, Default)]
pub(super) struct Levels {
    pending: usize,
    oldest: Duration,
    closing: Duration,
}

/// Of several gates of one name the readers are added up, and the times are those of the slowest.
impl Observed for ReaderGate {
    type Counts = ();
    type Levels = Levels;

    fn is_last_handle(&mut self) -> bool {
        Self::is_last_handle(self)
    }

    fn add_to(&self, (): &mut (), levels: &mut Levels) {
        levels.pending = levels.pending.saturating_add(self.pending());
        levels.oldest = levels.oldest.max(self.oldest_age().unwrap_or_default());
        levels.closing = levels.closing.max(self.closing_for().unwrap_or_default());
    }

    fn publish(name: &Arc<str>, (): &(), levels: &Levels) {
        names::GATE_PENDING.set_count(name, levels.pending);
        names::GATE_OLDEST.set_seconds(name, levels.oldest);
        names::GATE_CLOSING.set_seconds(name, levels.closing);
    }
}
