use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::{PoisonError, TryLockError};
use std::task::{Context, Poll, ready};

use super::ResponseSetError;
use super::arranger::Arranger;
use super::buffer::{Buffer, Capacity, Frame, Wish};
use super::unpack::POLL_BUDGET;
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
    /// What was received and is not in the buffer: what there was room for, and at most one frame more.
    in_hand: VecDeque<Frame>,
    /// Set when the store has nothing more.
    end: Option<Result<(), ResponseSetError<S::Error>>>,
    is_closing: bool,
}

impl<S: Source<Item = Response> + Unpin> Shared<S> {
    pub(super) fn new(buffer: Buffer<S::Error>, store: Arranger<S>, pool: Option<BytePool>) -> Self {
        let pump = Pump { store, pool, in_hand: VecDeque::new(), end: None, is_closing: false };
        Self { buffer, pump: Mutex::new(Some(pump)) }
    }

    /// Is ready when the store is closed, or was dropped.
    pub(super) fn poll_pump(&self, cx: &mut Context<'_>) -> Poll<()> {
        let Ok(mut pump) = self.pump.lock() else {
            // It has panicked: what it panicked in is dropped without another call.
            self.drop_store();
            self.buffer.stop(None);
            return Poll::Ready(());
        };
        let wish = self.buffer.begin(cx.waker());
        let Some(running) = pump.as_mut().filter(|_| !matches!(wish, Wish::Drop)) else {
            drop(pump);
            self.drop_store();
            return Poll::Ready(());
        };
        running.is_closing |= matches!(wish, Wish::Close);
        let closed = ready!(running.poll(&self.buffer, cx));
        let received = running.store.received();
        let done = pump.take();
        // The lock is released first, for a drop may panic; and whoever waits for the end finds the store gone.
        drop(pump);
        drop(done);
        self.buffer.stop(closed.map(|closed| (closed, received)));
        Poll::Ready(())
    }
}

impl<S: Source> Shared<S> {
    /// Drops the store and the frame in hand; not if they are being polled just now, for then whoever does that is
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
    fn stop(&self) {
        let mut pump = self.pump.lock().unwrap_or_else(PoisonError::into_inner);
        let frames = pump.as_mut().map(|pump| mem::take(&mut pump.in_hand)).unwrap_or_default();
        drop(pump);
        self.buffer.put_last(frames);
        self.buffer.stop(None);
    }
}

impl<S: Source<Item = Response> + Unpin> Pump<S> {
    /// Is ready when the store is closed, or is to be dropped.
    fn poll(
        &mut self,
        buffer: &Buffer<S::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(), ResponseSetError<S::Error>>>> {
        let mut budget = POLL_BUDGET;
        let mut is_pending = false;
        while !self.is_closing {
            let is_charged = self.poll_charge(buffer, cx);
            let kept = usize::from(!is_charged);
            let room = match buffer.put(&mut self.in_hand, kept, self.store.received()) {
                Wish::More(room) => room,
                Wish::Close => {
                    self.is_closing = true;
                    break;
                }
                Wish::Drop => return Poll::Ready(None),
            };
            if self.in_hand.is_empty()
                && let Some(end) = self.end.take()
            {
                buffer.end(end, self.store.received());
                self.is_closing = true;
            } else if is_pending || !is_charged || room.frames == 0 {
                return Poll::Pending;
            } else {
                is_pending = self.receive(room, &mut budget, cx);
            }
        }
        self.in_hand.clear();
        self.store.discard();
        self.store.poll_close(cx, true).map(Some)
    }

    /// Receives what is ready and there is room for. Returns whether the store has to be waited for.
    fn receive(&mut self, mut room: Capacity, budget: &mut usize, cx: &mut Context<'_>) -> bool {
        while self.end.is_none() && room.frames > 0 {
            let Poll::Ready(frame) = self.store.poll_frame(cx, budget) else { return true };
            match frame {
                Some(Ok((response, reservation))) => {
                    let bytes = response.size_bytes();
                    self.in_hand.push_back(Frame { response, bytes, reservation });
                    // The last one is charged below, and the next one only if this one was.
                    if bytes > room.bytes || self.pool.is_some() {
                        return false;
                    }
                    room.frames -= 1;
                    room.bytes -= bytes;
                }
                Some(Err(error)) => self.end = Some(Err(error)),
                None => self.end = Some(Ok(())),
            }
        }
        false
    }

    /// Has the memory of the last frame in hand charged. Returns whether it is, or need not be.
    fn poll_charge(&mut self, buffer: &Buffer<S::Error>, cx: &mut Context<'_>) -> bool {
        let (Some(pool), Some(frame)) = (&self.pool, self.in_hand.back_mut()) else { return true };
        let reservation = frame.reservation.get_or_insert_with(|| pool.reservation());
        // The memory of series that were held back is charged already.
        if reservation.bytes() > 0 || matches!(reservation.poll_grow(cx, frame.bytes), Poll::Ready(Ok(()))) {
            return true;
        }
        // The merge may be waiting for just this frame, and all the memory may be with frames that wait for the merge.
        // So a frame that finds the buffer empty goes through without being charged.
        let goes_uncharged = buffer.is_empty_or_wakes();
        if goes_uncharged {
            frame.reservation = None;
        }
        goes_uncharged
    }
}

/// What fills the buffer of a lazy set: to be polled in the background, or by the set itself.
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
        self.shared.poll_pump(cx)
    }
}

impl<S: Source> Drop for Producer<S> {
    fn drop(&mut self) {
        // If this is not because it is done, the consumer is not to wait for it any more.
        self.shared.stop();
    }
}
