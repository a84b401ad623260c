use std::fmt;

/// Something that happened to a checked source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// `poll_next` was called, and did this.
    Next(Outcome),
    /// `poll_progress` was called, and did this.
    Progress(Outcome),
    /// `poll_close` was called, and did this.
    Close(Outcome),
    /// A waker that it was polled with was woken.
    Woken,
    /// It was dropped.
    Dropped,
}

/// What a call of a checked source did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was pending.
    Pending,
    /// It gave an item.
    Item,
    /// It was at its end, or closed.
    Done,
    /// It failed.
    Error,
    /// It panicked.
    Panic,
    /// It was not called: the checker answered that it is done, since the call is never allowed.
    Refused,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next(outcome) => write!(f, "next: {outcome}"),
            Self::Progress(outcome) => write!(f, "progress: {outcome}"),
            Self::Close(outcome) => write!(f, "close: {outcome}"),
            Self::Woken => f.write_str("woken"),
            Self::Dropped => f.write_str("dropped"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "pending",
            Self::Item => "item",
            Self::Done => "done",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Refused => "refused",
        })
    }
}
