//! What the checker keeps of one source, and its rules.

use std::collections::VecDeque;
use std::thread::{self, ThreadId};

use crate::{Closing, Ending, Event, Figures, Misuse, Outcome, Violation};

/// How many events a violation shows.
const HISTORY: usize = 8;

/// One source, as the table at [`Source`](losertree::Source) sees it.
#[derive(Debug)]
pub(crate) struct Record {
    index: usize,
    figures: Figures,
    after: After,
    /// On which threads a waker has fired since the last poll began.
    fired_on: Vec<ThreadId>,
    /// How many wake-ups the merge may not have seen yet, though a poll came after them: they came from
    /// another thread than that poll, and it may have been made for another reason.
    in_doubt: usize,
    history: VecDeque<Event>,
}

/// The rows of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Construction,
    NextPending,
    Item,
    Error,
    End,
    ClosePending,
    Closed,
    Panic,
}

/// Which method is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Next,
    Progress,
    Close,
}

impl Record {
    pub(crate) fn new(index: usize, name: Option<String>) -> Self {
        Self {
            index,
            figures: Figures { name, ..Figures::default() },
            after: After::Construction,
            fired_on: Vec::new(),
            in_doubt: 0,
            history: VecDeque::with_capacity(HISTORY),
        }
    }

    pub(crate) const fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Begins a call: returns what is wrong with it.
    pub(crate) fn begin(&mut self, call: Call) -> Option<Violation> {
        match call {
            Call::Next => self.figures.next_polls += 1,
            Call::Progress => self.figures.progress_polls += 1,
            Call::Close => self.figures.close_polls += 1,
        }
        let expected = self.wake_up();
        let misuse = match (call, self.after) {
            (Call::Next, After::End) => Some(Misuse::NextAfterEnd),
            (Call::Next, After::Error) => Some(Misuse::NextAfterError),
            (Call::Next, After::ClosePending | After::Closed) => Some(Misuse::NextAfterClose),
            (Call::Next, After::Panic) => Some(Misuse::NextAfterPanic),
            (Call::Next, After::NextPending) if !expected => Some(Misuse::SpuriousNext),
            (Call::Progress, after) if after != After::Item => Some(Misuse::ProgressWithoutItem),
            (Call::Progress, _) if !expected => Some(Misuse::SpuriousProgress),
            (Call::Close, After::Closed) => Some(Misuse::ClosedTwice),
            (Call::Close, After::Panic) => Some(Misuse::CloseAfterPanic),
            (Call::Close, After::ClosePending) if !expected => Some(Misuse::SpuriousClose),
            _ => None,
        };
        if call == Call::Close && self.figures.close == Closing::NotBegun {
            self.figures.close = Closing::Begun;
        }
        misuse.map(|misuse| self.violation(misuse))
    }

    /// Uses up the wake-up that a poll may be put down to, and returns whether there was one.
    fn wake_up(&mut self) -> bool {
        let here = thread::current().id();
        if self.fired_on.is_empty() {
            let is_doubtful = self.in_doubt > 0;
            self.in_doubt = self.in_doubt.saturating_sub(1);
            return is_doubtful;
        }
        self.in_doubt += self.fired_on.drain(..).filter(|thread| *thread != here).count();
        true
    }

    /// Ends a call.
    pub(crate) fn end(&mut self, call: Call, outcome: Outcome) {
        self.after = match (call, outcome) {
            (_, Outcome::Panic) => After::Panic,
            (_, Outcome::Refused) | (Call::Progress, _) => self.after,
            (Call::Next, Outcome::Pending) => After::NextPending,
            (Call::Next, Outcome::Item) => After::Item,
            (Call::Next, Outcome::Error) => After::Error,
            (Call::Next, Outcome::Done) => After::End,
            (Call::Close, Outcome::Pending) => After::ClosePending,
            (Call::Close, _) => After::Closed,
        };
        match (call, outcome) {
            (_, Outcome::Panic) => self.figures.ending = Some(Ending::Panicked),
            (Call::Next, Outcome::Item) => self.figures.items += 1,
            (Call::Next, Outcome::Error) => self.figures.ending = Some(Ending::Failed),
            (Call::Next, Outcome::Done) => self.figures.ending = Some(Ending::Exhausted),
            (Call::Close, Outcome::Done) => self.figures.close = Closing::Completed,
            (Call::Close, Outcome::Error) => self.figures.close = Closing::Failed,
            _ => {}
        }
        self.remember(match call {
            Call::Next => Event::Next(outcome),
            Call::Progress => Event::Progress(outcome),
            Call::Close => Event::Close(outcome),
        });
    }

    pub(crate) fn woken(&mut self) {
        self.figures.wakes += 1;
        self.fired_on.push(thread::current().id());
        self.remember(Event::Woken);
    }

    pub(crate) fn dropped(&mut self) {
        self.figures.dropped = true;
        self.remember(Event::Dropped);
    }

    /// Returns what is wrong if the merge is idle now: it returned `Pending` and was not woken since.
    pub(crate) fn idle(&self) -> Option<Violation> {
        if self.figures.dropped {
            return None;
        }
        let misuse = match self.after {
            After::NextPending | After::Item | After::ClosePending => {
                (!self.fired_on.is_empty()).then_some(Misuse::MissedWake)
            }
            After::End | After::Error => Some(Misuse::NotClosedAtOnce),
            After::Closed | After::Panic => Some(Misuse::NotDroppedAtOnce),
            After::Construction => None,
        };
        misuse.map(|misuse| self.violation(misuse))
    }

    fn violation(&self, misuse: Misuse) -> Violation {
        Violation {
            source: self.index,
            name: self.figures.name.clone(),
            misuse,
            history: self.history.iter().copied().collect(),
        }
    }

    fn remember(&mut self, event: Event) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(event);
    }
}

impl Misuse {
    /// Whether the source may be called all the same: a spurious poll does no harm to it.
    pub(crate) const fn is_harmless(self) -> bool {
        matches!(self, Self::SpuriousNext | Self::SpuriousProgress | Self::SpuriousClose)
    }
}
