/// What happened to one checked source so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// The name of the source.
    pub name: Option<String>,
    /// Calls of `poll_next`.
    pub next_polls: usize,
    /// Calls of `poll_progress`.
    pub progress_polls: usize,
    /// Calls of `poll_close`.
    pub close_polls: usize,
    /// Items given.
    pub items: usize,
    /// How often a waker of the source was woken.
    pub wakes: usize,
    /// How the source ended, if it did.
    pub ending: Option<Ending>,
    /// How far closing the source came.
    pub close: Closing,
    /// Whether the source was dropped.
    pub dropped: bool,
}

impl Figures {
    /// Returns whether the source was dropped before its close had completed.
    #[must_use]
    pub const fn dropped_unclosed(&self) -> bool {
        self.dropped && !self.close.is_complete()
    }
}

/// How a source came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It returned `None`.
    Exhausted,
    /// It returned an error from `poll_next`.
    Failed,
    /// It panicked, in `poll_next` or in `poll_close`.
    Panicked,
}

/// How far closing a source came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Closing {
    /// `poll_close` was not called.
    #[default]
    NotBegun,
    /// `poll_close` was called, and has not been ready.
    Begun,
    /// `poll_close` was ready, without an error.
    Completed,
    /// `poll_close` was ready, with an error.
    Failed,
}

impl Closing {
    /// Returns whether the source counts as closed, be it with an error.
    #[must_use]
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}
