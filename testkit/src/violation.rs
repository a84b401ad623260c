use std::fmt;

use crate::Event;

/// One breach of the contract between a merge and its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The index of the source.
    pub source: usize,
    /// The name of the source.
    pub name: Option<String>,
    /// What the merge did.
    pub misuse: Misuse,
    /// The last things that happened to the source before, the latest at the end.
    pub history: Vec<Event>,
}

/// What a merge can do wrong to a source: each is a cell of the table at [`Source`](losertree::Source).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Misuse {
    /// `poll_next` after it returned `None`.
    NextAfterEnd,
    /// `poll_next` after it returned an error.
    NextAfterError,
    /// `poll_next` after `poll_close` was called.
    NextAfterClose,
    /// `poll_next` after a panic.
    NextAfterPanic,
    /// `poll_next` after `Pending`, and the waker has not fired.
    SpuriousNext,
    /// `poll_progress`, and no item of the source waits.
    ProgressWithoutItem,
    /// `poll_progress`, and the waker has not fired since the item was given.
    SpuriousProgress,
    /// `poll_close` after it was ready.
    ClosedTwice,
    /// `poll_close` after a panic.
    CloseAfterPanic,
    /// `poll_close` after it was pending, and the waker has not fired.
    SpuriousClose,
    /// The merge went idle though the waker of the source had fired.
    MissedWake,
    /// The merge went idle and had not begun to close a source that has ended or failed.
    NotClosedAtOnce,
    /// The merge went idle and still held a source that is closed or has panicked.
    NotDroppedAtOnce,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {}", self.source)?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, ": {}; before that:", self.misuse)?;
        for (index, event) in self.history.iter().enumerate() {
            write!(f, "{}{event}", if index == 0 { " " } else { ", " })?;
        }
        if self.history.is_empty() { f.write_str(" nothing") } else { Ok(()) }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NextAfterEnd => "poll_next after None",
            Self::NextAfterError => "poll_next after an error",
            Self::NextAfterClose => "poll_next after poll_close",
            Self::NextAfterPanic => "poll_next after a panic",
            Self::SpuriousNext => "poll_next though its waker has not fired",
            Self::ProgressWithoutItem => "poll_progress though no item of it waits",
            Self::SpuriousProgress => "poll_progress though its waker has not fired",
            Self::ClosedTwice => "poll_close after it was ready",
            Self::CloseAfterPanic => "poll_close after a panic",
            Self::SpuriousClose => "poll_close though its waker has not fired",
            Self::MissedWake => "the merge is idle though the waker has fired",
            Self::NotClosedAtOnce => "the merge is idle though the source is at its end and not being closed",
            Self::NotDroppedAtOnce => "the merge is idle and holds the source though it is done with it",
        })
    }
}
