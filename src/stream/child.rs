use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::counters::Counters;
use super::readiness::ChildWaker;
use super::release_context::{drop_closed, is_lost};
use super::source::{PollClose, PollNext, Source};
use super::stats::{SourceEnd, SourceStats};
use super::telemetry::ChildTelemetry;
use crate::clock::Moment;
use crate::error::Phase;
use crate::resource::Ending;
use crate::source_id::SourceId;

/// One child of a merge: its source, its waker, what it is doing and what is counted of it.
///
/// P2: it upholds the contract of [`Source`]. A source is never polled after its end, closed once, and dropped when closed.
pub(super) struct Child<S> {
    /// The source, until it is released.
    source: Option<S>,
    pub(super) state: State,
    pub(super) waker: ChildWaker,
    pub(super) origin: SourceId,
    /// Until the source is released.
    telemetry: Option<ChildTelemetry>,
    end: Option<SourceEnd>,
    items: u64,
    polls: u64,
    pub(super) out_of_order: u64,
    /// What the source had counted when it was released.
    counters: Counters,
    /// Whether the source had said by then that something is missing.
    is_partial: bool,
    /// If the merge was asked for times; boxed, since most are not.
    times: Option<Box<Times>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The merge needs an item of it.
    Awaiting,
    /// The merge has an item of it, and needs no other.
    Ready,
    /// It is to be closed, and has not been asked to.
    Ended,
    /// It is closing.
    Closing,
    /// It has been released.
    Released,
    /// A call into the source is under way; found afterwards, it has panicked.
    Called,
}

impl<S: Source> Child<S> {
    pub(super) fn new(
        source: S,
        index: usize,
        waker: ChildWaker,
        is_timed: bool,
        open: impl FnOnce(&SourceId) -> ChildTelemetry,
    ) -> Self {
        let origin = SourceId::new(index, source.name().map(Into::into));
        Self {
            waker,
            telemetry: Some(open(&origin)),
            source: Some(source),
            state: State::Awaiting,
            origin,
            end: None,
            items: 0,
            polls: 0,
            out_of_order: 0,
            counters: Counters::default(),
            is_partial: false,
            times: is_timed.then(Box::default),
        }
    }

    /// How many sources have joined the merge before: what the source is known by, whatever becomes of others.
    #[inline]
    pub(super) const fn index(&self) -> usize {
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
        let state = std::mem::replace(&mut self.state, State::Called);
        let polled = Pin::new(source).poll_next(&mut Context::from_waker(self.waker.waker()));
        self.state = state;
        if let Poll::Ready(Some(Ok(_))) = polled {
            self.items += 1;
        }
        polled
    }

    /// Polls for an item that the merge lacks, and takes the time until there is a first one if the merge was asked to.
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
        self.state = State::Called;
        Pin::new(source).poll_progress(&mut Context::from_waker(self.waker.waker()));
        self.state = State::Ready;
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
        if let Some(telemetry) = &self.telemetry {
            telemetry.note_use(doing, number);
        }
    }

    /// Notes that the source has come to its end, and is to be closed.
    pub(super) fn end(&mut self, end: SourceEnd) {
        self.state = State::Ended;
        self.note_end(end, self.phase());
    }

    fn note_end(&mut self, end: SourceEnd, phase: Phase) {
        self.end = Some(end);
        if let Some(telemetry) = &self.telemetry {
            telemetry.note_end(end, phase);
        }
    }

    /// Polls the closing of the source, and releases it when that completes.
    ///
    /// `closed` is how that is recorded, unless it has failed.
    pub(super) fn poll_close(&mut self, closed: Ending) -> PollClose<S>
    where
        S: Unpin,
    {
        let Some(source) = &mut self.source else { return Poll::Ready(Ok(())) };
        self.polls += 1;
        self.waker.take();
        self.state = State::Called;
        let polled = Pin::new(source).poll_close(&mut Context::from_waker(self.waker.waker()));
        self.state = State::Closing;
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

    /// Drops the source, whatever it is doing, and records how it has ended.
    pub(super) fn release(&mut self, ending: Ending) {
        let telemetry = self.telemetry.take();
        let source = self.take_source();
        // Should this panic, the telemetry is dropped too, and so the source is recorded as dropped unclosed.
        match ending {
            Ending::Closed | Ending::ClosedInBackground | Ending::Failed => drop_closed(source),
            Ending::HandedBack | Ending::DroppedUnclosed | Ending::Lost => drop(source),
        }
        if let Some(telemetry) = telemetry {
            telemetry.release(ending, self.end);
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
        let has_ended = matches!(self.state, State::Ended | State::Closing);
        let source = self.take_source()?;
        if let Some(telemetry) = self.telemetry.take() {
            telemetry.release(Ending::HandedBack, self.end);
        }
        Some((source, has_ended))
    }

    fn take_source(&mut self) -> Option<S> {
        let has_panicked = self.state == State::Called;
        self.state = State::Released;
        let source = self.source.take()?;
        if !has_panicked {
            self.counters = source.counters();
            self.is_partial = source.is_partial();
        }
        if let Some(times) = &mut self.times {
            times.note_release();
        }
        Some(source)
    }

    /// The source, if it may be asked for something.
    fn asked(&self) -> Option<&S> {
        self.source.as_ref().filter(|_| self.state != State::Called)
    }

    pub(super) fn counters(&self) -> Counters {
        self.asked().map_or_else(|| self.counters.clone(), Source::counters)
    }

    pub(super) fn is_partial(&self) -> bool {
        self.asked().map_or(self.is_partial, Source::is_partial)
    }

    pub(super) fn stats(&self) -> SourceStats {
        SourceStats {
            origin: self.origin.clone(),
            items: self.items,
            counters: self.counters(),
            is_partial: self.is_partial(),
            polls: self.polls,
            time_to_first_item: self.times.as_ref().and_then(|times| times.to_first_item()),
            duration: self.times.as_ref().and_then(|times| times.duration()),
            out_of_order: self.out_of_order,
            end: self.end.filter(|_| self.state == State::Released),
        }
    }
}

impl<S> fmt::Debug for Child<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("origin", &self.origin)
            .field("state", &self.state)
            .field("items", &self.items)
            .field("polls", &self.polls)
            .finish_non_exhaustive()
    }
}

/// When a source was polled first, has given its first item and was released. A merge has these only if it was asked for times.
#[derive(Debug, Default)]
struct Times {
    first_poll: Option<Moment>,
    to_first_item: Option<Duration>,
    until_released: Option<Duration>,
}

impl Times {
    fn note_poll(&mut self, now: Moment) {
        self.first_poll.get_or_insert(now);
    }

    /// Notes that the poll at `now` has given the first item.
    fn note_first_item(&mut self, now: Moment) {
        self.to_first_item = self.first_poll.map(|first| now.since(first));
    }

    fn note_release(&mut self) {
        self.until_released = self.duration();
    }

    const fn to_first_item(&self) -> Option<Duration> {
        self.to_first_item
    }

    /// From the first poll to the release, or until now.
    fn duration(&self) -> Option<Duration> {
        self.until_released.or_else(|| self.first_poll.map(Moment::elapsed))
    }
}
