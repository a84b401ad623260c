use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::lost::{drop_closed, is_lost};
use super::readiness::SourceWaker;
use super::times::Times;
use super::watch::SourceWatch;
use super::{PollClose, PollNext, Received, Source, SourceEnd, SourceStats};
use crate::SourceId;
use crate::clock::Moment;
use crate::error::Phase;
use crate::resource::Ending;

/// The place of one source in a merge: the source, its waker, what it is doing and its figures.
///
/// Upholds the contract of [`Source`]: never polled after its end, closed once, dropped when closed.
pub(super) struct Slot<S> {
    /// The source, until it is released.
    source: Option<S>,
    pub(super) state: SlotState,
    pub(super) waker: SourceWaker,
    pub(super) origin: SourceId,
    /// The books of the source, until it is released.
    watch: Option<SourceWatch>,
    end: Option<SourceEnd>,
    items: u64,
    polls: u64,
    pub(super) out_of_order: u64,
    /// What the source had received when it was released; boxed, since most say nothing.
    received: Option<Box<Received>>,
    /// Whether the source had said by then that something is missing.
    is_partial: bool,
    /// If the merge was asked for times; boxed, since most are not.
    times: Option<Box<Times>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotState {
    /// The merge needs an item of this source.
    Awaiting,
    /// The source's head is in the tournament.
    Headed,
    /// The source is to be closed, and has not been asked to.
    Ended,
    /// The source is closing.
    Closing,
    /// The source has been released.
    Released,
    /// A call into the source is under way; found afterwards, it has panicked.
    Called,
}

impl<S: Source> Slot<S> {
    pub(super) fn new(
        source: S,
        index: usize,
        waker: SourceWaker,
        is_timed: bool,
        open: impl FnOnce(&SourceId) -> SourceWatch,
    ) -> Self {
        let origin = SourceId::new(index, source.name().map(Into::into));
        Self {
            waker,
            watch: Some(open(&origin)),
            source: Some(source),
            state: SlotState::Awaiting,
            origin,
            end: None,
            items: 0,
            polls: 0,
            out_of_order: 0,
            received: None,
            is_partial: false,
            times: is_timed.then(Box::default),
        }
    }

    /// How many sources have joined the merge before: what the source is known by, whatever becomes of others.
    #[inline]
    pub(super) const fn number(&self) -> usize {
        self.origin.index()
    }

    /// How many items the source has given.
    pub(super) const fn items(&self) -> u64 {
        self.items
    }

    /// Returns whether the source is to be polled, and that it is from here on.
    pub(super) fn take_turn(&self) -> bool {
        if self.polls == 0 { self.waker.take_first() } else { self.waker.take() }
    }

    /// In which phase an error of this source is raised.
    pub(super) const fn phase(&self) -> Phase {
        if self.items == 0 { Phase::Filling } else { Phase::Merging }
    }

    /// Polls for the next item. The state stays as it is. The waker must have been set back before.
    #[inline]
    pub(super) fn poll_next(&mut self) -> PollNext<S>
    where
        S: Unpin,
    {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        self.polls += 1;
        let state = std::mem::replace(&mut self.state, SlotState::Called);
        let polled = Pin::new(source).poll_next(&mut Context::from_waker(self.waker.waker()));
        self.state = state;
        if let Poll::Ready(Some(Ok(_))) = polled {
            self.items += 1;
        }
        polled
    }

    /// Polls for an item that the tournament lacks, and takes the time until there is a first one if the merge was asked to.
    ///
    /// `now` is the time at which the poll of the merge has begun, if it is known already: to read the clock for each source
    /// would take a fifth of what starting a merge of ready sources takes (bench `scoreboard`, `async/first`).
    pub(super) fn poll_head(&mut self, now: &mut Option<Moment>) -> PollNext<S>
    where
        S: Unpin,
    {
        let Some(times) = self.times.as_mut().filter(|_| self.items == 0) else { return self.poll_next() };
        let now = *now.get_or_insert_with(Moment::now);
        times.note_poll(now);
        let polled = self.poll_next();
        if let Some(times) = self.times.as_mut().filter(|_| self.items > 0) {
            times.note_first_item(now);
        }
        polled
    }

    /// Has a source go on whose item waits, and that has been woken.
    pub(super) fn poll_progress(&mut self)
    where
        S: Unpin,
    {
        let Some(source) = &mut self.source else { return };
        self.state = SlotState::Called;
        Pin::new(source).poll_progress(&mut Context::from_waker(self.waker.waker()));
        self.state = SlotState::Headed;
    }

    /// Notes for the ledger that the source is waited for.
    pub(super) fn note_wait(&self) {
        self.note_use("waiting for item", Some(self.items + 1));
    }

    /// Notes for the ledger that an item was waited for and has come. One that is ready when its turn comes
    /// is not noted: the way of those is to cost nothing.
    pub(super) fn note_head(&self) {
        self.note_use("not waited for since item", Some(self.items));
    }

    fn note_use(&self, doing: &'static str, number: Option<u64>) {
        if let Some(watch) = &self.watch {
            watch.note_use(doing, number);
        }
    }

    /// Notes that the source has come to its end, and is to be closed.
    pub(super) fn end(&mut self, end: SourceEnd) {
        self.state = SlotState::Ended;
        self.note_end(end, self.phase());
    }

    fn note_end(&mut self, end: SourceEnd, phase: Phase) {
        self.end = Some(end);
        if let Some(watch) = &self.watch {
            watch.note_end(end, phase);
        }
    }

    /// Polls the closing of the source, and releases it when that completes.
    ///
    /// `closed` is how it is booked then, unless it has failed.
    pub(super) fn poll_close(&mut self, closed: Ending) -> PollClose<S>
    where
        S: Unpin,
    {
        let Some(source) = &mut self.source else { return Poll::Ready(Ok(())) };
        self.polls += 1;
        self.waker.take();
        self.state = SlotState::Called;
        let polled = Pin::new(source).poll_close(&mut Context::from_waker(self.waker.waker()));
        self.state = SlotState::Closing;
        match &polled {
            Poll::Pending => self.note_use("closing", None),
            Poll::Ready(outcome) => {
                if outcome.is_err() {
                    self.note_end(SourceEnd::Failed, Phase::Closing);
                }
                let is_failed = self.end == Some(SourceEnd::Failed);
                self.release(if is_failed { Ending::Failed } else { closed });
            }
        }
        polled
    }

    /// Drops the source, whatever it is doing, and books how it has ended.
    pub(super) fn release(&mut self, ending: Ending) {
        let watch = self.watch.take();
        let source = self.take_source();
        // Should this panic, the books are dropped too, and so the source is booked as dropped unclosed.
        match ending {
            Ending::Closed | Ending::ClosedInBackground | Ending::Failed => drop_closed(source),
            Ending::HandedBack | Ending::DroppedUnclosed | Ending::Lost => drop(source),
        }
        if let Some(watch) = watch {
            watch.release(ending, self.end);
        }
    }

    /// Drops the source together with the merge, so that nobody will ask for how long it was read.
    pub(super) fn drop_unclosed(&mut self) {
        self.times = None;
        self.release(if is_lost() { Ending::Lost } else { Ending::DroppedUnclosed });
    }

    /// Drops a source that has panicked.
    pub(super) fn release_panicked(&mut self) {
        self.note_end(SourceEnd::Panicked, self.phase());
        self.release(Ending::DroppedUnclosed);
    }

    /// Gives the source back unreleased, and whether it has ended and is only to be closed.
    pub(super) fn hand_back(&mut self) -> Option<(S, bool)> {
        let has_ended = matches!(self.state, SlotState::Ended | SlotState::Closing);
        let source = self.take_source()?;
        if let Some(watch) = self.watch.take() {
            watch.release(Ending::HandedBack, self.end);
        }
        Some((source, has_ended))
    }

    fn take_source(&mut self) -> Option<S> {
        let has_panicked = self.state == SlotState::Called;
        self.state = SlotState::Released;
        let source = self.source.take()?;
        if !has_panicked {
            self.received = source.received().map(Box::new);
            self.is_partial = source.is_partial();
        }
        if let Some(times) = &mut self.times {
            times.note_release();
        }
        Some(source)
    }

    /// The source, if it may be asked for something.
    fn asked(&self) -> Option<&S> {
        self.source.as_ref().filter(|_| self.state != SlotState::Called)
    }

    pub(super) fn received(&self) -> Option<Received> {
        self.asked().map_or(self.received.as_deref().copied(), Source::received)
    }

    pub(super) fn is_partial(&self) -> bool {
        self.asked().map_or(self.is_partial, Source::is_partial)
    }

    pub(super) fn stats(&self) -> SourceStats {
        SourceStats {
            origin: self.origin.clone(),
            items: self.items,
            received: self.received(),
            is_partial: self.is_partial(),
            polls: self.polls,
            time_to_first_item: self.times.as_ref().and_then(|times| times.to_first_item()),
            duration: self.times.as_ref().and_then(|times| times.duration()),
            out_of_order: self.out_of_order,
            end: self.end.filter(|_| self.state == SlotState::Released),
        }
    }
}

impl<S> fmt::Debug for Slot<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("origin", &self.origin)
            .field("state", &self.state)
            .field("items", &self.items)
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}
