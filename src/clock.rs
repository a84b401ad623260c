use std::time::{Duration, Instant};

/// A time to measure from. The only place that reads the clock, but for the timeouts, whose clock is that of their runtime.
///
/// `wasm32-unknown-unknown` has no clock, and the standard library panics there when it is asked for one. So no time passes there:
/// what is measured is zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(Option<Instant>);

impl Moment {
    /// Reads the clock.
    pub(crate) fn now() -> Self {
        Self(HAS_CLOCK.then(Instant::now))
    }

    /// How long ago it was.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// How long after `earlier` it is.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let passed = self.0.zip(earlier.0).map(|(now, earlier)| now.saturating_duration_since(earlier));
        passed.unwrap_or_default()
    }
}

/// Whether the standard library has a clock here.
pub(crate) const HAS_CLOCK: bool = cfg!(not(all(target_family = "wasm", target_os = "unknown")));
