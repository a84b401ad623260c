use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::task::{Context, Poll, Waker};

use super::child::{Child, State};
use super::counters::Counters;
use super::readiness::Readiness;
use super::release_context::is_in_background;
use super::source::{PollNext, Source};
use super::stats::{ForgottenSources, Gone, SourceEnd, SourceStats};
use super::telemetry::MergeTelemetry;
use crate::clock::Moment;
use crate::contain_panic::contain_panic;
use crate::error::{CloseError, Phase, SourceError};
use crate::resource::{Ending, LeakLedger};

/// How many children one poll of a merge polls at most. Enough that the cost of being scheduled again is small beside it.
pub(super) const POLL_BUDGET: usize = 128;

/// How many children must be gone at least for their places to be let go.
const FEW_GONE: usize = 4;

/// The children of a merge. It owns them, polls those that are due, closes each and releases it.
///
/// It knows nothing of how a merge chooses among their items: that acts on the [`Event`] which comes of polling a child, and says
/// when it needs the next item of one. A child has a place, which is where its item is in a tournament, and an index: how many have
/// joined before it. The index stays, the place changes when others [are gone](Self::staying).
///
/// What is promised of children is kept here and in [`Child`]:
///
/// | promise | kept by |
/// |---|---|
/// | P2 released once | `Child::release` takes the source out; `open` counts those that are left |
/// | P3 `close` closes all, concurrently | [`start_closing`](Self::start_closing) has each one polled to close |
/// | P4 the end comes when all are closed | [`is_closed`](Self::is_closed) |
/// | P5 dropping releases all | `Drop` |
/// | P9 nobody is polled in vain | `Readiness`: a child is due when its own waker has fired |
/// | P12 bounded work in a poll | [`Turn`] |
pub(super) struct Children<S: Source> {
    /// In the order of joining.
    places: Vec<Child<S>>,
    readiness: Readiness,
    /// Those to be polled next, by index.
    due: VecDeque<usize>,
    /// How many the merge lacks an item of.
    awaiting: usize,
    /// How many have not been released.
    open: usize,
    /// How many have joined.
    joined: usize,
    stage: Stage,
    /// Whether all have been told to close.
    has_told_all: bool,
    /// Set while code that is not ours may be running; found set, that code has panicked.
    is_entered: bool,
    /// The place of the child whose closing is being polled.
    closing: Option<usize>,
    gone: Gone,
    is_timed: bool,
    ledger: LeakLedger,
    telemetry: MergeTelemetry,
}

/// Where in its life a merge is. It is filling for as long as a child has not given its first item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Merging,
    Closing,
    Closed,
}

/// What has come of polling a child.
#[must_use = "an item or an error is lost"]
pub(super) enum Event<T, E> {
    /// It has given an item.
    Head(T),
    /// It has come to its end. To be followed by [`Children::poll_close`].
    Ended,
    /// It has failed. To be followed by [`Children::poll_close`], when the error is where a panic does not reach it.
    Failed(SourceError<E>),
    /// It has been closed and released. These are the errors of that.
    Closed(Vec<SourceError<E>>),
}

/// An event of the children of a merge.
pub(super) type EventOf<S> = Event<<S as Source>::Item, <S as Source>::Error>;

/// One poll of a merge, as far as its children are concerned: how many may still be polled in it, and when it has begun, if
/// somebody had to know.
pub(super) struct Turn {
    left: usize,
    now: Option<Moment>,
}

/// What a merge is to record of its children.
pub(super) struct Recording {
    /// How many children that were pushed and are gone have statistics of their own.
    pub(super) kept_stats: usize,
    pub(super) is_timed: bool,
    pub(super) ledger: LeakLedger,
}

/// A child that is given back.
pub(super) struct Returned<S> {
    pub(super) index: usize,
    pub(super) source: S,
    /// Whether it has ended and is only to be closed.
    pub(super) has_ended: bool,
}

impl<S: Source> Children<S> {
    pub(super) fn new(
        sources: Vec<(S, &'static Location<'static>)>,
        recording: Recording,
        telemetry: MergeTelemetry,
    ) -> Self {
        let Recording { kept_stats, is_timed, ledger } = recording;
        let readiness = Readiness::with_capacity(sources.len());
        let join = |(index, (source, site))| {
            let waker = readiness.add(index, true);
            Child::new(source, index, waker, is_timed, |origin| telemetry.open(origin, site, &ledger))
        };
        let places: Vec<_> = sources.into_iter().enumerate().map(join).collect();
        Self {
            readiness,
            due: (0..places.len()).collect(),
            awaiting: places.len(),
            open: places.len(),
            joined: places.len(),
            gone: Gone::new(places.len(), kept_stats),
            places,
            stage: Stage::Merging,
            has_told_all: false,
            is_entered: false,
            closing: None,
            is_timed,
            ledger,
            telemetry,
        }
    }

    /// Returns whether a child can join.
    pub(super) fn can_join(&self) -> bool {
        self.stage == Stage::Merging && !self.is_entered
    }

    /// Adds a child at the last place, and returns its index. Its first poll is due, and the task that waits is woken to make it.
    pub(super) fn push(&mut self, source: S, site: &'static Location<'static>) -> usize {
        let index = self.joined;
        let waker = self.readiness.add(index, false);
        let open = |origin: &_| self.telemetry.open(origin, site, &self.ledger);
        let child = Child::new(source, index, waker, self.is_timed, open);
        child.waker.waker().wake_by_ref();
        self.places.push(child);
        self.joined += 1;
        self.awaiting += 1;
        self.open += 1;
        index
    }

    /// P16: returns for each place whether its child stays, if it is time to [let go](Self::retain) of the others: those that are gone
    /// are half of all and more than a few. So the places grow with how many are open, and not with how many come and go.
    pub(super) fn staying(&self) -> Option<Vec<bool>> {
        let gone = self.places.len() - self.open;
        let is_time = gone >= FEW_GONE && 2 * gone >= self.places.len();
        is_time.then(|| self.places.iter().map(|child| child.state != State::Released).collect())
    }

    /// Lets go of the places of children that are gone. The others move up and keep their order, which is that of joining.
    pub(super) fn retain(&mut self, stays: &[bool]) {
        let mut place = 0;
        self.places.retain(|child| {
            let stays = stays.get(place).is_none_or(|stays| *stays);
            place += 1;
            if !stays {
                self.gone.add(child.stats());
            }
            stays
        });
        let room = 2 * self.places.len();
        self.places.shrink_to(room);
        self.due.shrink_to(room);
        self.readiness.shrink_to(room);
    }

    /// How many places there are.
    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }

    /// How many have not been released.
    pub(super) const fn open(&self) -> usize {
        self.open
    }

    /// The index of the child at a place.
    #[inline]
    pub(super) fn index(&self, place: usize) -> usize {
        self.places[place].index()
    }

    /// Who the child at a place is.
    pub(super) fn child(&self, place: usize) -> &Child<S> {
        &self.places[place]
    }

    /// The place of the child with this index; `None` if it is gone.
    fn place(&self, index: usize) -> Option<usize> {
        match self.places.get(index) {
            Some(child) if child.index() == index => Some(index),
            _ => self.places.binary_search_by_key(&index, Child::index).ok(),
        }
    }

    /// Whether children are merged, and not closed.
    #[inline]
    pub(super) fn is_merging(&self) -> bool {
        self.stage == Stage::Merging
    }

    /// Whether the merge can choose: it lacks the item of nobody.
    #[inline]
    pub(super) fn is_complete(&self) -> bool {
        self.stage == Stage::Merging && self.awaiting == 0
    }

    /// Whether the merge lacks the item of the child at a place.
    pub(super) fn is_awaited(&self, place: usize) -> bool {
        self.places[place].state == State::Awaiting
    }

    /// Whether there may be more to do than to take an item of who is ready.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        !self.is_complete() || self.may_be_woken()
    }

    /// Whether a child may have been woken since the list of those was taken.
    #[inline]
    pub(super) fn may_be_woken(&self) -> bool {
        self.readiness.has_woken() || !self.due.is_empty()
    }

    /// Has the children looked at by the next poll, though nobody has been woken.
    pub(super) fn nudge(&self) {
        self.readiness.nudge();
    }

    pub(super) fn stats(&self) -> (Vec<SourceStats>, ForgottenSources) {
        let mut sources: Vec<_> = self.gone.kept().cloned().collect();
        sources.extend(self.places.iter().map(Child::stats));
        sources.sort_by_key(|source| source.origin.index());
        (sources, self.gone.forgotten.clone())
    }

    /// Whether a child has said that something is missing in what it gives.
    pub(super) fn is_partial(&self) -> bool {
        self.gone.forgotten.is_partial
            || self.gone.kept().any(|source| source.is_partial)
            || self.places.iter().any(Child::is_partial)
    }

    /// What all children together have counted.
    pub(super) fn counters(&self) -> Counters {
        let mut sum = self.gone.forgotten.counters.clone();
        self.gone.kept().for_each(|source| sum.extend(source.counters.iter()));
        self.places.iter().for_each(|child| sum.extend(child.counters().iter()));
        sum
    }

    /// Tells those who observe that the merge has ended. The first call counts.
    pub(super) fn tell_end(&mut self, end: Ending, items: u64, is_partial: bool) {
        self.telemetry.end(end, items, is_partial);
    }
}

/// Polling.
impl<S: Source + Unpin> Children<S> {
    /// Begins a turn: has `task` woken by whoever is woken next, and lists those that were.
    ///
    /// A child that is woken in the meantime, even by itself, is left to the next turn: it has asked for the executor to run
    /// something else first.
    pub(super) fn turn(&mut self, task: &Waker) -> Turn {
        if self.stage == Stage::Closed {
            return Turn { left: 0, now: None };
        }
        self.readiness.take_woken(task, &mut self.due);
        Turn { left: POLL_BUDGET, now: None }
    }

    /// Returns the place of the next child that is to be [polled](Self::poll) in this turn.
    pub(super) fn next_due(&mut self, turn: &mut Turn) -> Option<usize> {
        while turn.left > 0 {
            turn.left -= 1;
            let index = self.due.pop_front()?;
            // One that is gone may have been woken before.
            let Some(place) = self.place(index) else { continue };
            if self.places[place].take_turn() {
                return Some(place);
            }
        }
        None
    }

    /// The cooperative yield: who is due and was not reached is left to the next turn.
    pub(super) fn yield_if_due(&self, cx: &Context<'_>) {
        if !self.due.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    /// Polls a child that is due for what it is doing.
    pub(super) fn poll(&mut self, place: usize, turn: &mut Turn) -> Option<EventOf<S>> {
        let child = &mut self.places[place];
        match child.state {
            State::Awaiting => {
                let Poll::Ready(next) = child.poll_head(&mut turn.now) else {
                    child.note_wait();
                    return None;
                };
                self.awaiting -= 1;
                if matches!(next, Some(Ok(_))) {
                    child.note_head();
                }
                Some(self.receive(place, next))
            }
            State::Ready => {
                child.poll_progress();
                None
            }
            State::Ended | State::Closing => self.poll_close(place),
            State::Released | State::Called => None,
        }
    }

    /// Polls a child for its next item, while the merge still has one. What comes is to be [taken](Self::take), unless it is an item.
    #[inline]
    pub(super) fn poll_next(&mut self, place: usize) -> PollNext<S> {
        self.places[place].poll_next()
    }

    /// Forgets that a child was woken, since it is about to be polled.
    #[inline]
    pub(super) fn take_wake_up(&mut self, place: usize) {
        self.places[place].waker.take();
    }

    /// Takes what a child has said that was polled for its next item: `None` if the merge has to wait for it.
    pub(super) fn take(&mut self, place: usize, polled: PollNext<S>) -> Option<EventOf<S>> {
        if let Poll::Ready(next) = polled {
            return Some(self.receive(place, next));
        }
        self.places[place].note_wait();
        self.hold_back(place);
        None
    }

    /// Lacks the item of a child, and does not poll it before it is woken or [resumed](Self::resume).
    pub(super) fn hold_back(&mut self, place: usize) {
        self.places[place].state = State::Awaiting;
        self.awaiting += 1;
    }

    /// Has a child polled that was held back. Returns whether it is still there.
    pub(super) fn resume(&mut self, index: usize) -> bool {
        let place = self.place(index);
        if let Some(place) = place {
            self.places[place].waker.make_due(&mut self.due);
        }
        place.is_some()
    }

    fn receive(&mut self, place: usize, next: Option<Result<S::Item, SourceError<S::Error>>>) -> EventOf<S> {
        let child = &mut self.places[place];
        match next {
            Some(Ok(item)) => {
                child.state = State::Ready;
                Event::Head(item)
            }
            Some(Err(error)) => {
                let error = error.of_source(&child.origin, child.phase());
                child.end(SourceEnd::Failed);
                Event::Failed(error)
            }
            None => {
                child.end(SourceEnd::Exhausted);
                Event::Ended
            }
        }
    }

    /// Counts what of a child comes before what is ahead of it.
    pub(super) fn count_out_of_order(&mut self, place: usize, count: u64) {
        self.places[place].out_of_order += count;
    }

    /// Has a child fail whose last item is not accepted.
    pub(super) fn fail(&mut self, place: usize, error: SourceError<S::Error>) -> EventOf<S> {
        self.receive(place, Some(Err(error)))
    }
}

/// Closing.
impl<S: Source + Unpin> Children<S> {
    /// Polls the closing of a child that has ended.
    pub(super) fn poll_close(&mut self, place: usize) -> Option<EventOf<S>> {
        let child = &mut self.places[place];
        let ending = if is_in_background() { Ending::ClosedInBackground } else { Ending::Closed };
        self.closing = Some(place);
        let closed = child.poll_close(ending);
        self.closing = None;
        let Poll::Ready(closed) = closed else { return None };
        self.open -= 1;
        let errors = closed.map_or_else(CloseError::into_errors, |()| Vec::new());
        let of_child = |error: SourceError<_>| error.of_source(&child.origin, Phase::Closing);
        Some(Event::Closed(errors.into_iter().map(of_child).collect()))
    }

    /// Has every child closed from now on. Returns whether that is new: the merge then drops what it has of them, which is before
    /// any is asked to close.
    pub(super) fn start_closing(&mut self) -> bool {
        let is_new = self.stage == Stage::Merging;
        if is_new {
            self.stage = Stage::Closing;
            self.awaiting = 0;
            self.tell_all();
        }
        is_new
    }

    /// Has the closing of every child polled that has not been asked to close.
    fn tell_all(&mut self) {
        for child in &mut self.places {
            match child.state {
                State::Awaiting | State::Ready => child.end(SourceEnd::ClosedEarly),
                State::Ended => {}
                State::Closing | State::Released | State::Called => continue,
            }
            child.waker.make_due(&mut self.due);
        }
        self.has_told_all = true;
    }

    /// Notes that all are closed, if they are. Returns whether that is new.
    pub(super) fn finish_closing(&mut self) -> bool {
        let is_new = self.stage == Stage::Closing && self.open == 0;
        if is_new {
            self.stage = Stage::Closed;
            self.readiness.detach();
        }
        is_new
    }

    /// Notes that code which is not ours may run from here on. Returns whether it has panicked the last time.
    #[inline]
    pub(super) const fn enter(&mut self) -> bool {
        std::mem::replace(&mut self.is_entered, true)
    }

    /// Notes that no such code runs any more.
    #[inline]
    pub(super) const fn leave(&mut self) {
        self.is_entered = false;
    }

    /// Returns the place of the child that has panicked, if it was one. It is released by
    /// [`release_panicked`](Self::release_panicked), when the merge has begun to close.
    pub(super) fn find_panicked(&mut self) -> Option<usize> {
        let closing = self.closing.take();
        if self.has_told_all {
            // One was being closed, if any was called: there may be very many that panic, so the others are not looked at.
            self.open -= usize::from(closing.is_some());
            return closing.filter(|place| self.places[*place].state == State::Called);
        }
        let called = self.places.iter().position(|child| child.state == State::Called);
        self.open = self.places.iter().filter(|child| child.state != State::Released).count();
        self.open -= usize::from(called.is_some());
        called
    }

    /// Releases the child that has panicked, and has the others closed.
    pub(super) fn release_panicked(&mut self, panicked: Option<usize>) {
        // For a panic in the stage of closing, which is not started again: a child may have ended, and not have been polled to
        // close.
        if !self.has_told_all {
            self.tell_all();
        }
        if let Some(place) = panicked {
            self.places[place].release_panicked();
        }
    }
}

/// Ending without closing.
impl<S: Source> Children<S> {
    /// Whether all have been closed, after the merge has begun to close.
    pub(super) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    /// Gives a child back unreleased. One that has panicked, and one that was released, does not come back.
    pub(super) fn hand_back(&mut self, place: usize) -> Option<Returned<S>> {
        let child = &mut self.places[place];
        if child.state == State::Called {
            return None;
        }
        let (source, has_ended) = child.hand_back()?;
        Some(Returned { index: child.index(), source, has_ended })
    }

    /// Drops all that are left, in order. One that panicks by that does not keep the others from it.
    pub(super) fn drop_unclosed(&mut self) {
        self.readiness.detach();
        for child in &mut self.places {
            contain_panic(|| child.drop_unclosed());
        }
    }
}

impl<S: Source> Drop for Children<S> {
    fn drop(&mut self) {
        self.drop_unclosed();
    }
}

impl<S: Source> fmt::Debug for Children<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Children")
            .field("stage", &self.stage)
            .field("awaiting", &self.awaiting)
            .field("open", &self.open)
            .field("children", &self.places)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::pin::Pin;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::super::source::PollClose;
    use super::super::stats::KEPT_STATS;
    use super::*;

    /// What has become of all scripted sources of a test.
    #[derive(Default)]
    struct Log {
        polls: Cell<usize>,
        closes: Cell<usize>,
        /// By index, in the order in which they were dropped.
        dropped: RefCell<Vec<u64>>,
    }

    /// Gives what is in its script: an item, `Pending`, an error or a panic; then it is at its end.
    struct Scripted {
        index: u64,
        script: VecDeque<Step>,
        close: VecDeque<Step>,
        wakers: Rc<RefCell<Vec<Waker>>>,
        log: Rc<Log>,
    }

    /// What a source does when it is polled for items, and when it is polled to close.
    type Script<'a> = (&'a [Step], &'a [Step]);

    #[derive(Clone, Copy)]
    enum Step {
        Item,
        Pending,
        Error,
        Panic,
    }

    use Step::{Error, Item, Panic, Pending};

    impl Source for Scripted {
        type Item = u64;
        type Error = &'static str;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
            self.log.polls.set(self.log.polls.get() + 1);
            match self.script.pop_front() {
                Some(Item) => Poll::Ready(Some(Ok(self.index))),
                Some(Error) => Poll::Ready(Some(Err("broken".into()))),
                Some(Panic) => resume_unwind(Box::new("as scripted")),
                Some(Pending) => {
                    self.wakers.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        }

        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
            self.log.closes.set(self.log.closes.get() + 1);
            match self.close.pop_front() {
                Some(Error) => Poll::Ready(Err("not closed".into())),
                Some(Panic) => resume_unwind(Box::new("as scripted")),
                Some(Pending) => {
                    self.wakers.borrow_mut().push(cx.waker().clone());
                    Poll::Pending
                }
                Some(Item) | None => Poll::Ready(Ok(())),
            }
        }
    }

    impl Drop for Scripted {
        fn drop(&mut self) {
            self.log.dropped.borrow_mut().push(self.index);
        }
    }

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Bench {
        children: Children<Scripted>,
        log: Rc<Log>,
        wakers: Rc<RefCell<Vec<Waker>>>,
        task: Arc<Task>,
    }

    impl Bench {
        /// Children with these scripts of items and of closing.
        fn of(scripts: &[Script<'_>]) -> Self {
            let (log, wakers) = (Rc::<Log>::default(), Rc::default());
            let source = |(index, (script, close)): (usize, &Script<'_>)| Scripted {
                index: index as u64,
                script: script.iter().copied().collect(),
                close: close.iter().copied().collect(),
                wakers: Rc::clone(&wakers),
                log: Rc::clone(&log),
            };
            let sources: Vec<_> = scripts.iter().enumerate().map(source).collect();
            let sources = sources.into_iter().map(|source| (source, Location::caller())).collect();
            let recording = Recording { kept_stats: KEPT_STATS, is_timed: false, ledger: LeakLedger::off() };
            let children = Children::new(sources, recording, MergeTelemetry::new(None, scripts.len(), None));
            Self { children, log, wakers, task: Arc::default() }
        }

        /// One turn of a merge that needs no second item of anybody. Returns what has come of it: a letter and the place for each
        /// event.
        fn turn(&mut self) -> Vec<(char, usize)> {
            assert!(!self.children.enter(), "nobody has panicked");
            let waker = Waker::from(Arc::clone(&self.task));
            let mut turn = self.children.turn(&waker);
            let mut events = Vec::new();
            while let Some(place) = self.children.next_due(&mut turn) {
                let mut next = self.children.poll(place, &mut turn);
                while let Some(event) = next.take() {
                    let (letter, is_over) = match event {
                        Event::Head(_) => ('h', false),
                        Event::Ended => ('e', true),
                        Event::Failed(_) => ('f', true),
                        Event::Closed(errors) => (if errors.is_empty() { 'c' } else { 'x' }, false),
                    };
                    events.push((letter, place));
                    if is_over {
                        next = self.children.poll_close(place);
                    }
                }
            }
            self.children.yield_if_due(&Context::from_waker(&waker));
            self.children.leave();
            events
        }

        fn wake_all(&self) {
            self.wakers.take().into_iter().for_each(Waker::wake);
        }
    }

    #[test]
    fn one_is_polled_when_its_own_waker_has_fired_and_not_otherwise() {
        let mut bench = Bench::of(&[(&[Pending, Item], &[]), (&[Item], &[])]);
        assert_eq!(bench.turn(), [('h', 1)]);
        assert!(!bench.children.is_complete());
        assert_eq!((bench.turn(), bench.log.polls.get()), (vec![], 2));
        bench.wake_all();
        assert_eq!(bench.task.0.load(Ordering::Relaxed), 1);
        assert_eq!((bench.turn(), bench.log.polls.get()), (vec![('h', 0)], 3));
        assert!(bench.children.is_complete());
    }

    #[test]
    fn one_that_has_ended_is_closed_at_once_and_released_when_that_is_complete() {
        let mut bench = Bench::of(&[(&[], &[Pending]), (&[Error], &[Error]), (&[Item], &[])]);
        assert_eq!(bench.turn(), [('e', 0), ('f', 1), ('x', 1), ('h', 2)]);
        assert_eq!((bench.children.open(), &*bench.log.dropped.borrow()), (2, &vec![1]));
        bench.wake_all();
        assert_eq!(bench.turn(), [('c', 0)]);
        bench.wake_all();
        assert_eq!((bench.turn(), bench.log.closes.get()), (vec![], 3));
        assert_eq!((bench.children.open(), &*bench.log.dropped.borrow()), (1, &vec![1, 0]));
    }

    #[test]
    fn all_are_told_to_close_and_it_is_over_when_the_last_is() {
        let mut bench = Bench::of(&[(&[Item], &[Pending]), (&[Pending], &[]), (&[Item], &[])]);
        bench.turn();
        assert!(bench.children.start_closing() && !bench.children.start_closing());
        assert!(!bench.children.is_merging() && !bench.children.finish_closing());
        assert_eq!(bench.turn(), [('c', 1), ('c', 2)]);
        assert!(!bench.children.finish_closing());
        bench.wake_all();
        assert_eq!(bench.turn(), [('c', 0)]);
        assert!(bench.children.finish_closing() && !bench.children.finish_closing());
        assert!(bench.children.is_closed());
        assert_eq!((bench.turn(), bench.log.closes.get()), (vec![], 4));
    }

    #[test]
    fn a_turn_polls_as_many_as_the_budget_says_and_asks_for_another() {
        let ready: Script<'_> = (&[Item], &[]);
        let mut bench = Bench::of(&[ready; 2 * POLL_BUDGET + 1]);
        for expected in [POLL_BUDGET, POLL_BUDGET, 1] {
            assert_eq!(bench.turn().len(), expected);
        }
        assert_eq!(bench.task.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn one_that_is_held_back_is_polled_when_it_is_resumed() {
        let mut bench = Bench::of(&[(&[Item, Item], &[])]);
        bench.turn();
        bench.children.hold_back(0);
        assert_eq!((bench.turn(), bench.children.is_complete()), (vec![], false));
        assert!(bench.children.resume(0) && !bench.children.resume(1));
        assert_eq!((bench.turn(), bench.children.is_complete()), (vec![('h', 0)], true));
    }

    #[test]
    fn places_are_let_go_and_indices_stay() {
        let (ends, stays): (Script<'_>, Script<'_>) = ((&[], &[]), (&[Item, Pending, Item], &[]));
        let mut bench = Bench::of(&[ends, stays, ends, ends, ends, stays]);
        bench.turn();
        let staying = bench.children.staying().unwrap();
        assert_eq!(staying, [false, true, false, false, false, true]);
        bench.children.retain(&staying);
        assert_eq!([0, 1].map(|place| bench.children.index(place)), [1, 5]);
        assert!(bench.children.staying().is_none());
        // Woken by its index, found at its place.
        let polled = bench.children.poll_next(1);
        assert!(bench.children.take(1, polled).is_none());
        bench.wake_all();
        assert_eq!(bench.turn(), [('h', 1)]);
        let (sources, forgotten) = bench.children.stats();
        assert_eq!((sources.len(), forgotten.sources), (6, 0));
    }

    #[test]
    fn one_that_panics_is_released_unclosed_and_the_others_are_closed() {
        for (script, close) in [(&[Panic][..], &[][..]), (&[Item], &[Panic])] {
            let mut bench = Bench::of(&[(&[Item], &[]), (script, close), (&[Item], &[])]);
            if close.is_empty() {
                assert!(catch_unwind(AssertUnwindSafe(|| bench.turn())).is_err());
            } else {
                bench.turn();
                bench.children.start_closing();
                assert!(catch_unwind(AssertUnwindSafe(|| bench.turn())).is_err());
            }
            assert!(!bench.children.can_join() && bench.children.enter());
            let panicked = bench.children.find_panicked();
            bench.children.start_closing();
            bench.children.release_panicked(panicked);
            bench.children.leave();
            assert_eq!(panicked, Some(1));
            while bench.children.open() > 0 {
                assert!(!bench.turn().is_empty());
            }
            assert!(bench.children.finish_closing());
            let (sources, _) = bench.children.stats();
            assert_eq!(sources[1].end, Some(SourceEnd::Panicked));
            assert_eq!(bench.log.dropped.borrow().len(), 3);
        }
    }

    #[test]
    fn dropping_releases_those_that_are_left_in_order() {
        let mut bench = Bench::of(&[(&[Item], &[]), (&[], &[]), (&[Pending], &[])]);
        bench.turn();
        let log = Rc::clone(&bench.log);
        drop(bench);
        assert_eq!((&*log.dropped.borrow(), log.closes.get()), (&vec![1, 0, 2], 1));
    }

    #[test]
    fn one_that_is_handed_back_is_not_closed() {
        let mut bench = Bench::of(&[(&[Item], &[]), (&[], &[Pending])]);
        bench.turn();
        let returned: Vec<_> = (0..2).filter_map(|place| bench.children.hand_back(place)).collect();
        let told: Vec<_> = returned.iter().map(|child| (child.index, child.has_ended)).collect();
        assert_eq!((told, bench.log.closes.get()), (vec![(0, false), (1, true)], 1));
        assert!(bench.children.hand_back(0).is_none());
    }
}
