use std::sync::Arc as StdArc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, mem, pin, vec};

use futures::future::BoxFuture;

use super::alarm::{Alarm, now};
use super::arranger::Arranger;
use super::buffer::{Buffer, Capacity, Frame, Frames, Stopped, Taken, wake_one};
use super::producer::{Producer, Shared};
use super::spawner::Spawner;
use crate::error::{Cause, CloseError, SourceError};
use crate::resource::BytePool;
use crate::stream::{PollClose, PollNext, Received};
use crate::sync::Arc;
use crate::{Response, Series, Source};

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
/// back](super::SeriesOrder), which has [a bound of its own](super::ResponseSetOptions::hold_limit_bytes) and gives them as
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
        store: Arranger<S>,
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
            if self.shared.poll_pump(cx, false).is_ready() {
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

    fn poll_next(mut self: pin::Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
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
    fn poll_progress(mut self: pin::Pin<&mut Self>, cx: &mut Context<'_>) {
        self.fill_inline(cx);
    }

    fn poll_close(mut self: pin::Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
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
                ready!(self.shared.poll_pump(cx, false));
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
            ready!(self.shared.poll_pump(cx, false));
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

    fn received(&self) -> Option<Received> {
        Some(self.shared.buffer.given().received)
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
