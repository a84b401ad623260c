use std::mem;
use std::pin::Pin;
use std::sync::{PoisonError, TryLockError};
use std::task::{Context, Poll, ready};

use super::alarm::{Instant, now};
use super::arranger::Arranger;
use super::buffer::{Awaited, Buffer, Capacity, Frame, Frames, Wish};
use super::unpack::POLL_BUDGET;
use crate::error::{CloseError, SourceError};
use crate::resource::BytePool;
use crate::sync::{Arc, Mutex};
use crate::{Response, Source};

/// What the two sides of a lazy set share: the buffer between them, and the side that fills it.
///
/// The filling side is not owned by the task that runs it, so that dropping the set drops the store at once, and not
/// when a worker next comes by the task.
pub(super) struct Shared<S: Source> {
    pub(super) buffer: Buffer<S::Error>,
    pump: Mutex<Option<Pump<S>>>,
}

/// Moves frames from a store to the buffer, and closes the store.
struct Pump<S: Source> {
    store: Arranger<S>,
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
    stage: Stage,
    /// Whether the set has taken over from its task.
    is_taken_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    /// The store has nothing more and is being closed. The time for that does not run: nobody waits for it.
    Ended,
    /// The consumer waits for it.
    Closing,
}

impl<S: Source<Item = Response> + Unpin> Shared<S> {
    pub(super) fn new(buffer: Buffer<S::Error>, store: Arranger<S>, pool: Option<BytePool>) -> Self {
        let pump = Pump {
            store,
            pool,
            ready: Frames::default(),
            added: Capacity::default(),
            next: None,
            has_uncharged: false,
            end: None,
            stage: Stage::Reading,
            is_taken_over: false,
        };
        Self { buffer, pump: Mutex::new(Some(pump)) }
    }

    /// Whether the store says that something is missing, unless it is being polled just now.
    pub(super) fn is_partial(&self) -> bool {
        let pump = self.pump.try_lock().ok();
        pump.is_some_and(|pump| pump.as_ref().is_some_and(|pump| pump.store.is_partial()))
    }

    /// When the task is to have given up the store, if nothing comes until then. The clock runs from now on at the latest.
    pub(super) fn deadline(&self, is_closing: bool) -> Option<Instant> {
        match self.pump.try_lock() {
            Ok(mut pump) => pump.as_mut()?.store.receiver_mut().deadline(is_closing),
            // It is being polled.
            Err(TryLockError::WouldBlock) => now(),
            Err(TryLockError::Poisoned(_)) => None,
        }
    }

    /// Has the set do what its task does: that does nothing any more, should it be polled again.
    pub(super) fn take_over(&self) {
        if let Some(pump) = &mut *self.pump.lock().unwrap_or_else(PoisonError::into_inner) {
            pump.is_taken_over = true;
            pump.store.receiver_mut().change_hands();
        }
    }

    /// Is ready when the store is closed, or was dropped; for the task also when the set has taken over.
    pub(super) fn poll_pump(&self, cx: &mut Context<'_>, is_task: bool) -> Poll<()> {
        let Ok(mut pump) = self.pump.lock() else {
            // It has panicked: what it panicked in is dropped without another call.
            self.stop(false);
            self.drop_store();
            return Poll::Ready(());
        };
        if is_task && pump.as_ref().is_some_and(|pump| pump.is_taken_over) {
            return Poll::Ready(());
        }
        let wish = self.buffer.begin(cx.waker());
        let Some(running) = pump.as_mut().filter(|_| !matches!(wish, Wish::Drop)) else {
            drop(pump);
            self.drop_store();
            return Poll::Ready(());
        };
        if let Wish::Close = wish {
            running.stage = Stage::Closing;
        }
        let closed = ready!(running.poll(&self.buffer, cx));
        let given = running.store.given();
        let done = pump.take();
        // The lock is released first, for a drop may panic; and whoever waits for the end finds the store gone.
        drop(pump);
        drop(done);
        self.buffer.stop(closed.map(|closed| (closed, given)));
        Poll::Ready(())
    }
}

impl<S: Source> Shared<S> {
    /// Drops the store and the frames at hand; not if they are being polled just now, for then whoever does that is
    /// woken and drops them.
    pub(super) fn drop_store(&self) {
        let pump = match self.pump.try_lock() {
            Ok(mut pump) => pump.take(),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        drop(pump);
    }

    /// Notes that nobody will poll the store any more, be it that it is closed. What was received goes into the buffer
    /// whatever there is room for: those are the last frames.
    fn stop(&self, is_task: bool) {
        let mut pump = self.pump.lock().unwrap_or_else(PoisonError::into_inner);
        if is_task && pump.as_ref().is_some_and(|pump| pump.is_taken_over) {
            return;
        }
        let frames = pump.as_mut().map(Pump::take_frames).unwrap_or_default();
        drop(pump);
        self.buffer.put_last(frames);
        self.buffer.stop(None);
    }
}

impl<S: Source> Pump<S> {
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

impl<S: Source<Item = Response> + Unpin> Pump<S> {
    /// Is ready when the store is closed, or is to be dropped.
    fn poll(
        &mut self,
        buffer: &Buffer<S::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(), CloseError<S::Error>>>> {
        let mut budget = POLL_BUDGET;
        let mut is_pending = false;
        while self.stage == Stage::Reading {
            let held = match buffer.put(&mut self.ready, mem::take(&mut self.added), self.store.given()) {
                Wish::More(held) => held,
                Wish::Close => {
                    self.stage = Stage::Closing;
                    break;
                }
                Wish::Drop => return Poll::Ready(None),
            };
            if self.next.is_none()
                && let Some(end) = self.end.take()
            {
                buffer.end(end.err(), self.store.given());
                self.stage = Stage::Ended;
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
        self.store.poll_close(cx, self.stage == Stage::Closing).map(Some)
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
        self.shared.poll_pump(cx, true)
    }
}

impl<S: Source> Drop for Producer<S> {
    fn drop(&mut self) {
        // If this is not because it is done, the consumer is not to wait for it any more.
        self.shared.stop(true);
    }
}
