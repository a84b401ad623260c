use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc as StdArc, PoisonError, TryLockError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::vec;

use futures::future::BoxFuture;

use super::buffer::{Awaited, Buffer, Capacity, Demand, Frame, Frames, Stopped, Taken, wake_one};
use super::received::Received;
use super::response::Response;
use super::sorted_client::SortedClient;
use super::timers::{Alarm, Instant, now};
use super::unpack::POLL_BUDGET;
use crate::contain_panic::contain_panic;
use crate::error::{Cause, CloseError, SourceError};
use crate::resource::BytePool;
use crate::series::Series;
use crate::stream::{Counters, PollClose, PollNext, Source};
use crate::sync::{Arc, Mutex};

/// By how much a task may be late, after which its set does what the task should have done.
const GRACE: Duration = Duration::from_secs(1);

/// A store's answer that is received in the background while the merge goes on. Made by
/// [`ResponseSet::new`](super::ResponseSet::new).
///
/// A [`Source`] of single series, warnings and hints: batches are unpacked.
///
/// # Buffer
///
/// What has been received and not been merged is bounded by frames and by bytes, unless series [have to be held
/// back](super::SeriesOrder), which has [a bound of its own](super::ResponseSetOptions::sort_buffer_bytes) and gives them as
/// one frame. In memory at a time are at most the bytes of the buffer and one frame more, which the store has given and
/// for which there is no room yet; a frame that is larger than the buffer is let in when the buffer is empty. No frame is larger
/// than [its limit](super::ResponseSetOptions::frame_limit_bytes).
///
/// With a pool, the frames are charged to its budget. The set takes memory that there is and never waits in the queue of
/// the pool, so that a set which nobody reads stands in nobody's way. A frame for which there is none is put off until
/// some that the set holds are used up, then there may be some; when all are, it is let in uncharged, since the merge may
/// be waiting for just this one. Until it is used up the store is not asked for another. So all sets with one pool together
/// hold no more than its budget and one frame each. That there is none is how such a set is slowed down, and no
/// [refusal](crate::resource::PoolSnapshot::refusals).
///
/// Room and memory are given back when a quarter of the buffer is used up, or all of it.
///
/// # Complexity
///
/// Each side takes a lock for what is ready and not for each frame; with a pool, the side of the store takes that of the
/// pool for each. Nothing is allocated for a series. One poll takes at most 128 frames from the store, then it yields
/// to the executor.
///
/// # Background
///
/// The store is opened and read by a task that is spawned when the set is polled first:
/// [as the options say](super::ResponseSetOptions::spawn_with), or else on the tokio runtime that polls it (feature
/// `tokio`). Where there is none, the set fills its buffer by itself whenever it is polled for more than it holds.
///
/// A task that is not polled, because its runtime stands still, can time nothing. With timeouts the set finds out: when one of them has
/// passed by a second and the task has not said so, the set goes on in its place, and tells the timeout. For that the set needs a
/// clock where it is polled itself; without one it finds out when it is polled for something else.
///
/// # Errors
///
/// What was received before an error is given before it. An error that was met and not given is among those of the close, and so
/// is a [failure](crate::Warning::is_failure) that a query below has turned into a warning. [`Cause::Abandoned`] if the runtime of the
/// task was shut down.
///
/// # Cancel safety
///
/// All state is in the set.
///
/// # Closing
///
/// Closing has the task cancel what it is doing and close the store, and completes when the store is closed and the
/// task has nothing left to do; a buffer that is full does not keep it. If the task is gone, the set closes the store
/// by itself. Dropping the set drops the store at once, or, if a worker is polling it at this very moment, as soon as
/// that returns.
pub struct LazyResponseSet<S: Source> {
    name: StdArc<str>,
    shared: Arc<Shared<S>>,
    stage: Stage,
    /// What was taken from the buffer and not been looked at, and the memory of all that is held here.
    taken: Frames,
    /// What is left of the frame that is being unpacked.
    batch: vec::IntoIter<Series>,
    /// The size of that frame.
    in_use: Option<usize>,
    /// What was used up and not been given back, and how much that may come to.
    used: Capacity,
    most_used: Capacity,
    /// Set, if there are timeouts, while the task is waited for.
    alarm: Option<Alarm>,
    is_closing: bool,
    /// The failures among what was dropped when closing began.
    unyielded: Vec<SourceError<S::Error>>,
    /// Whether it was said what closing came to.
    is_closed: bool,
    is_abandoned: bool,
}

enum Stage {
    /// Not yet polled.
    Idle(Spawner, BoxFuture<'static, ()>),
    /// The set fills the buffer: it has no task, or that is not polled.
    Inline,
    /// A task does, or there is nothing left to do.
    Background,
}

// Nothing in here is ever pinned, save in a box.
impl<S: Source> Unpin for LazyResponseSet<S> {}

impl<S: Source<Item = Response> + Unpin> LazyResponseSet<S> {
    pub(super) fn new(
        name: StdArc<str>,
        store: SortedClient<S>,
        capacity: Capacity,
        pool: Option<BytePool>,
        spawner: Spawner,
        is_timed: bool,
    ) -> Self
    where
        S: Send + 'static,
        S::Error: Send + 'static,
    {
        // In quarters, so that the producer, which waits until half of it is free, goes on well before it is empty.
        let most_used = Capacity { frames: capacity.frames.div_ceil(4), bytes: capacity.bytes.div_ceil(4) };
        let buffer = Buffer::new(capacity, store.given());
        let shared = Arc::new(Shared::new(buffer, store, pool));
        let producer = Box::pin(Producer::new(shared.clone()));
        Self {
            name,
            shared,
            stage: Stage::Idle(spawner, producer),
            taken: Frames::default(),
            batch: Vec::new().into_iter(),
            in_use: None,
            used: Capacity::default(),
            most_used,
            alarm: is_timed.then(Alarm::new),
            is_closing: false,
            unyielded: Vec::new(),
            is_closed: false,
            is_abandoned: false,
        }
    }

    /// Takes frames from the buffer, and has it filled before if that is up to this set.
    fn take(&mut self, cx: &mut Context<'_>) -> Taken<S::Error> {
        if let Stage::Idle(..) = self.stage
            && let Stage::Idle(spawner, producer) = mem::replace(&mut self.stage, Stage::Background)
            && let Some(producer) = spawner.spawn(producer)
        {
            self.take_over();
            drop(producer);
        }
        self.fill_inline(cx);
        let consumer = matches!(self.stage, Stage::Background).then_some(cx.waker());
        let used = mem::take(&mut self.used);
        self.taken.discharge(used.bytes);
        self.shared.buffer.take(used, &mut self.taken, consumer)
    }

    /// Fills the buffer, if that is up to this set.
    fn fill_inline(&mut self, cx: &mut Context<'_>) {
        if let Stage::Inline = self.stage {
            self.release();
            if self.shared.poll_forward(cx, false).is_ready() {
                self.stage = Stage::Background;
            }
        }
    }

    /// Whether the task, which is waited for, has not given up the store though it should have. It is not being polled then: its
    /// runtime stands still, or is too busy.
    #[cold]
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let (Some(alarm), Stage::Background) = (&mut self.alarm, &self.stage) else { return false };
        let at = self.shared.deadline(self.is_closing).and_then(|at| at.checked_add(GRACE));
        let Some(at) = at else {
            alarm.stop();
            return false;
        };
        // Without a clock there is nobody to wake this, but it may be polled for something else.
        alarm
            .poll_reached(at, cx)
            .map_or_else(|| now().is_some_and(|now| now >= at), |reached| reached.is_ready())
    }

    /// Fills the buffer in place of the task from now on, or closes the store.
    #[cold]
    fn take_over(&mut self) {
        self.stop_alarm();
        self.shared.take_over();
        self.stage = Stage::Inline;
    }

    fn stop_alarm(&mut self) {
        if let Some(alarm) = &mut self.alarm {
            alarm.stop();
        }
    }

    /// Gives back memory and room of what was used up.
    #[inline(never)]
    fn release(&mut self) {
        let used = mem::take(&mut self.used);
        self.taken.discharge(used.bytes);
        let producer = self.shared.buffer.release(used);
        // One that is inline is polled anyway when nothing is left.
        if let (Some(producer), Stage::Background) = (producer, &self.stage) {
            wake_one(producer);
        }
    }

    /// Gives the next response of what was taken from the buffer.
    #[inline]
    fn unpack(&mut self) -> Option<Response> {
        loop {
            if let Some(series) = self.batch.next() {
                return Some(series.into());
            }
            if let Some(bytes) = self.in_use.take() {
                self.used.add(bytes);
            }
            let Frame { response, bytes } = self.taken.queue.pop_front()?;
            let is_much =
                self.used.frames >= self.most_used.frames || self.used.bytes >= self.most_used.bytes;
            // The store is to go on before all of it is used up.
            if (is_much || self.taken.queue.is_empty()) && self.used.frames > 0 {
                self.release();
            }
            self.in_use = Some(bytes);
            match response {
                Response::Batch(batch) => self.batch = batch.into_iter(),
                single => return Some(single),
            }
        }
    }
}

impl<S: Source<Item = Response> + Unpin> LazyResponseSet<S> {
    /// Returns what was received so far.
    #[must_use]
    pub fn received(&self) -> Received {
        self.shared.buffer.given().received
    }
}

impl<S: Source> LazyResponseSet<S> {
    /// Drops all that was taken from the buffer, and has the store closed or dropped.
    fn cancel(&mut self, is_dropped: bool) {
        self.batch = Vec::new().into_iter();
        self.unyielded = mem::take(&mut self.taken).into_failures();
        let (frames, producer) = self.shared.buffer.cancel(is_dropped);
        self.unyielded.extend(frames.into_failures());
        if let (Stage::Background, Some(producer)) = (&self.stage, producer) {
            wake_one(producer);
        }
    }
}

impl<S: Source<Item = Response> + Unpin> Source for LazyResponseSet<S> {
    type Item = Response;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        loop {
            if let Some(response) = self.unpack() {
                return Poll::Ready(Some(Ok(response)));
            }
            match self.take(cx) {
                Taken::Frames => self.stop_alarm(),
                Taken::Nothing if self.is_overdue(cx) => self.take_over(),
                Taken::Nothing => return Poll::Pending,
                Taken::End(error) => {
                    self.stop_alarm();
                    return Poll::Ready(error.map(Err));
                }
                Taken::Abandoned => {
                    self.stop_alarm();
                    self.is_abandoned = true;
                    return Poll::Ready(Some(Err(SourceError::new(Cause::Abandoned))));
                }
            }
        }
    }

    /// Goes on filling the buffer, where no task does.
    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.fill_inline(cx);
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        if self.is_closed {
            return Poll::Ready(Ok(()));
        }
        if !mem::replace(&mut self.is_closing, true) {
            self.cancel(false);
        }
        let mut stopped = loop {
            if let Stage::Idle(..) = self.stage {
                self.take_over();
            }
            if let Stage::Inline = self.stage {
                ready!(self.shared.poll_forward(cx, false));
                self.stage = Stage::Background;
            }
            match self.shared.buffer.poll_stopped(cx.waker()) {
                Poll::Ready(stopped) => break stopped,
                Poll::Pending if self.is_overdue(cx) => self.take_over(),
                Poll::Pending => return Poll::Pending,
            }
        };
        self.stop_alarm();
        if let Stopped::Unclosed = stopped {
            // Nobody else will close it.
            ready!(self.shared.poll_forward(cx, false));
            stopped = ready!(self.shared.buffer.poll_stopped(cx.waker()));
        }
        self.is_closed = true;
        let closed = match stopped {
            Stopped::Closed(closed) => closed,
            // What has panicked cannot be closed; that was said before, or is said now.
            Stopped::Unclosed if self.is_abandoned => Ok(()),
            Stopped::Unclosed => Err(SourceError::new(Cause::Abandoned).into()),
        };
        let unyielded = mem::take(&mut self.unyielded).into_iter().chain(self.shared.buffer.take_errors());
        Poll::Ready(CloseError::with_unyielded(unyielded, closed))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn counters(&self) -> Counters {
        self.received().into()
    }

    fn is_partial(&self) -> bool {
        self.shared.buffer.given().is_partial || self.shared.is_partial()
    }
}

impl<S: Source> Drop for LazyResponseSet<S> {
    fn drop(&mut self) {
        self.cancel(true);
        self.shared.drop_store();
    }
}

impl<S: Source> fmt::Debug for LazyResponseSet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyResponseSet")
            .field("name", &self.name)
            .field("received", &self.shared.buffer.given().received)
            .finish_non_exhaustive()
    }
}

/// What the two sides of a lazy set share: the buffer between them, and the side that fills it.
///
/// The filling side is not owned by the task that runs it, so that dropping the set drops the store at once, and not
/// when a worker next comes by the task.
pub(super) struct Shared<S: Source> {
    pub(super) buffer: Buffer<S::Error>,
    forward: Mutex<Option<Forward<S>>>,
}

/// Moves frames from a store to the buffer, and closes the store.
struct Forward<S: Source> {
    store: SortedClient<S>,
    pool: Option<BytePool>,
    /// What was received, has room and memory, and is not in the buffer yet; and its size.
    ready: Frames,
    added: Capacity,
    /// What was received and does not have that yet.
    next: Option<Frame>,
    /// Whether the buffer holds a frame that is not charged.
    has_uncharged: bool,
    /// Set when the store has nothing more.
    end: Option<Result<(), SourceError<S::Error>>>,
    stage: ForwardStage,
    /// Whether the set has taken over from its task.
    is_taken_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ForwardStage {
    Reading,
    /// The store has nothing more and is being closed. The time for that does not run: nobody waits for it.
    Ended,
    /// The consumer waits for it.
    Closing,
}

impl<S: Source<Item = Response> + Unpin> Shared<S> {
    pub(super) fn new(buffer: Buffer<S::Error>, store: SortedClient<S>, pool: Option<BytePool>) -> Self {
        let forward = Forward {
            store,
            pool,
            ready: Frames::default(),
            added: Capacity::default(),
            next: None,
            has_uncharged: false,
            end: None,
            stage: ForwardStage::Reading,
            is_taken_over: false,
        };
        Self { buffer, forward: Mutex::new(Some(forward)) }
    }

    /// Whether the store says that something is missing, unless it is being polled just now.
    pub(super) fn is_partial(&self) -> bool {
        let forward = self.forward.try_lock().ok();
        forward.is_some_and(|forward| forward.as_ref().is_some_and(|forward| forward.store.is_partial()))
    }

    /// When the task is to have given up the store, if nothing comes until then. The clock runs from now on at the latest.
    pub(super) fn deadline(&self, is_closing: bool) -> Option<Instant> {
        match self.forward.try_lock() {
            Ok(mut forward) => forward.as_mut()?.store.client_mut().deadline(is_closing),
            // It is being polled.
            Err(TryLockError::WouldBlock) => now(),
            Err(TryLockError::Poisoned(_)) => None,
        }
    }

    /// Has the set do what its task does: that does nothing any more, should it be polled again.
    pub(super) fn take_over(&self) {
        if let Some(forward) = &mut *self.forward.lock().unwrap_or_else(PoisonError::into_inner) {
            forward.is_taken_over = true;
            forward.store.client_mut().change_hands();
        }
    }

    /// Is ready when the store is closed, or was dropped; for the task also when the set has taken over.
    pub(super) fn poll_forward(&self, cx: &mut Context<'_>, is_task: bool) -> Poll<()> {
        let Ok(mut forward) = self.forward.lock() else {
            // It has panicked: what it panicked in is dropped without another call.
            self.stop(false);
            self.drop_store();
            return Poll::Ready(());
        };
        if is_task && forward.as_ref().is_some_and(|forward| forward.is_taken_over) {
            return Poll::Ready(());
        }
        let demand = self.buffer.begin(cx.waker());
        let Some(running) = forward.as_mut().filter(|_| !matches!(demand, Demand::Drop)) else {
            drop(forward);
            self.drop_store();
            return Poll::Ready(());
        };
        if let Demand::Close = demand {
            running.stage = ForwardStage::Closing;
        }
        let closed = ready!(running.poll(&self.buffer, cx));
        let given = running.store.given();
        let done = forward.take();
        // The lock is released first, for a drop may panic; and whoever waits for the end finds the store gone.
        drop(forward);
        drop(done);
        self.buffer.stop(closed.map(|closed| (closed, given)));
        Poll::Ready(())
    }
}

impl<S: Source> Shared<S> {
    /// Drops the store and the frames at hand; not if they are being polled just now, for then whoever does that is
    /// woken and drops them.
    pub(super) fn drop_store(&self) {
        let forward = match self.forward.try_lock() {
            Ok(mut forward) => forward.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        drop(forward);
    }

    /// Notes that nobody will poll the store any more, because it is closed or because its task is gone. All that was received goes
    /// into the buffer, whether there is room or not: those are the last frames.
    fn stop(&self, is_task: bool) {
        let mut forward = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
        if is_task && forward.as_ref().is_some_and(|forward| forward.is_taken_over) {
            return;
        }
        let frames = forward.as_mut().map(Forward::take_frames).unwrap_or_default();
        drop(forward);
        self.buffer.put_last(frames);
        self.buffer.stop(None);
    }
}

impl<S: Source> Forward<S> {
    /// Takes all frames that are not in the buffer.
    fn take_frames(&mut self) -> Frames {
        let mut frames = mem::take(&mut self.ready);
        frames.queue.extend(self.next.take());
        frames
    }
}

/// How far the frames at hand have come.
enum Filled {
    /// Some are ready to be put in, or the store has nothing more.
    Ready,
    /// The store has to be waited for.
    Pending,
    /// The consumer has.
    Full(Awaited),
}

impl<S: Source<Item = Response> + Unpin> Forward<S> {
    /// Is ready when the store is closed, or is to be dropped.
    fn poll(
        &mut self,
        buffer: &Buffer<S::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(), CloseError<S::Error>>>> {
        let mut budget = POLL_BUDGET;
        let mut is_pending = false;
        while self.stage == ForwardStage::Reading {
            let held = match buffer.put(&mut self.ready, mem::take(&mut self.added), self.store.given()) {
                Demand::More(held) => held,
                Demand::Close => {
                    self.stage = ForwardStage::Closing;
                    break;
                }
                Demand::Drop => return Poll::Ready(None),
            };
            if self.next.is_none()
                && let Some(end) = self.end.take()
            {
                buffer.end(end.err(), self.store.given());
                self.stage = ForwardStage::Ended;
                break;
            }
            if is_pending {
                return Poll::Pending;
            }
            match self.fill(buffer.capacity(), held, &mut budget, cx) {
                Filled::Ready => {}
                Filled::Pending => is_pending = true,
                Filled::Full(awaited) => {
                    if buffer.is_to_wait(awaited, held) {
                        return Poll::Pending;
                    }
                }
            }
        }
        // What was met and will not be yielded is for the close to tell.
        let mut unyielded = self.take_frames().into_failures();
        let error = self.store.discard();
        unyielded.extend(self.end.take().and_then(Result::err).or(error));
        if !unyielded.is_empty() {
            buffer.end(unyielded, self.store.given());
        }
        self.store.poll_close(cx, self.stage == ForwardStage::Closing).map(Some)
    }

    /// Receives what is ready, and has room and memory, into a buffer that holds so much.
    fn fill(
        &mut self,
        capacity: Capacity,
        mut held: Capacity,
        budget: &mut usize,
        cx: &mut Context<'_>,
    ) -> Filled {
        self.has_uncharged &= held.frames > 0;
        let awaited = loop {
            // Two frames of one set are never uncharged at the same time.
            if self.has_uncharged {
                break Awaited::Use;
            }
            if let Some(frame) = self.next.take() {
                self.ready.queue.push_back(frame);
            } else if held.frames >= capacity.frames {
                break Awaited::Room(0);
            } else {
                match self.store.poll_frame(cx, budget, &mut self.ready.queue) {
                    Poll::Pending => return Filled::Pending,
                    Poll::Ready(Some(Ok(()))) => {}
                    Poll::Ready(end) => {
                        self.end = Some(end.unwrap_or(Ok(())));
                        return Filled::Ready;
                    }
                }
            }
            let bytes = self.ready.queue.back().map_or(0, |frame| frame.bytes);
            if !held.has_room(bytes, capacity) {
                self.next = self.ready.queue.pop_back();
                break Awaited::Room(bytes);
            }
            if !self.charge(bytes) {
                // The merge may be waiting for just this frame, and all the memory may be with frames that wait for the
                // merge. So a frame that finds the buffer empty goes through without being charged.
                if held.frames > 0 {
                    self.next = self.ready.queue.pop_back();
                    break Awaited::Use;
                }
                self.has_uncharged = true;
            }
            held.add(bytes);
            self.added.add(bytes);
        };
        if self.ready.queue.is_empty() { Filled::Full(awaited) } else { Filled::Ready }
    }

    /// Charges a frame that was received to the pool. Returns whether it is, or need not be.
    ///
    /// It does not wait for memory: if nobody reads the set, those behind it in the queue of the pool would wait for ever.
    /// That there is none is no refusal: nobody gets an error.
    fn charge(&mut self, bytes: usize) -> bool {
        if let Some(memory) = self.store.take_memory() {
            self.ready.charge(memory);
            return true;
        }
        let Some(pool) = &self.pool else { return true };
        self.ready.memory.get_or_insert_with(|| pool.reservation()).grow_if_free(bytes)
    }
}

/// The task of a lazy set, which fills its buffer. Does nothing once the set has taken over.
///
/// Completes when the store is closed.
pub(super) struct Producer<S: Source> {
    shared: Arc<Shared<S>>,
}

impl<S: Source> Producer<S> {
    pub(super) const fn new(shared: Arc<Shared<S>>) -> Self {
        Self { shared }
    }
}

impl<S: Source<Item = Response> + Unpin> Future for Producer<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.poll_forward(cx, true)
    }
}

impl<S: Source> Drop for Producer<S> {
    fn drop(&mut self) {
        // If this is not because it is done, the consumer is not to wait for it any more.
        self.shared.stop(true);
    }
}

/// Where lazy sets are received: by a function of the user's, or on the tokio runtime that is there.
#[derive(Clone, Default)]
pub(super) struct Spawner(pub(super) Option<StdArc<dyn Fn(BoxFuture<'static, ()>) + Send + Sync>>);

impl Spawner {
    /// P6: spawns a task, or gives it back where there is nothing to spawn it on. The set then does without.
    pub(super) fn spawn(&self, task: BoxFuture<'static, ()>) -> Option<BoxFuture<'static, ()>> {
        // What the store does belongs to the span in which the query is polled.
        #[cfg(feature = "tracing")]
        let task: BoxFuture<'static, ()> = Box::pin(tracing::Instrument::in_current_span(task));
        if let Some(spawn) = &self.0 {
            // Should it panic, the task is gone, which the set finds out.
            contain_panic(|| spawn(task));
            return None;
        }
        #[cfg(feature = "tokio")]
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(task);
            return None;
        }
        Some(task)
    }
}
