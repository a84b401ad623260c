use std::pin::Pin;
use std::sync::TryLockError;
use std::task::{Context, Poll, ready};

use super::ResponseSetError;
use super::arranger::Arranger;
use super::buffer::{Buffer, Frame, Put};
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
    /// The frame that waits for room.
    in_hand: Option<Frame>,
    is_closing: bool,
}

impl<S: Source<Item = Response> + Unpin> Shared<S> {
    pub(super) fn new(buffer: Buffer<S::Error>, store: Arranger<S>, pool: Option<BytePool>) -> Self {
        let pump = Pump { store, pool, in_hand: None, is_closing: false };
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
        let is_dropped = self.buffer.begin(cx.waker());
        let Some(running) = pump.as_mut().filter(|_| !is_dropped) else {
            drop(pump);
            self.drop_store();
            return Poll::Ready(());
        };
        let closed = ready!(running.poll(&self.buffer, cx));
        let done = pump.take();
        // The lock is released first, for a drop may panic; and whoever waits for the end finds the store gone.
        drop(pump);
        drop(done);
        self.buffer.stop(Some(closed));
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
}

impl<S: Source<Item = Response> + Unpin> Pump<S> {
    /// Is ready when the store is closed.
    fn poll(
        &mut self,
        buffer: &Buffer<S::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ResponseSetError<S::Error>>> {
        let mut budget = POLL_BUDGET;
        loop {
            if self.is_closing || buffer.is_cancelled() {
                self.is_closing = true;
                self.in_hand = None;
                return self.store.poll_close(cx);
            }
            if let Some(frame) = self.in_hand.take() {
                ready!(self.poll_put(frame, buffer, cx));
            }
            match ready!(self.store.poll_frame(cx, &mut budget)) {
                Some(Ok(response)) => {
                    let bytes = response.size_bytes();
                    self.in_hand = Some(Frame { response, bytes, reservation: None });
                }
                Some(Err(error)) => self.end(buffer, Some(error)),
                None => self.end(buffer, None),
            }
        }
    }

    fn end(&mut self, buffer: &Buffer<S::Error>, error: Option<ResponseSetError<S::Error>>) {
        buffer.end(error, self.store.received());
        self.is_closing = true;
    }

    /// Puts a frame into the buffer, when its memory is charged and there is room; until then it is in hand.
    fn poll_put(&mut self, mut frame: Frame, buffer: &Buffer<S::Error>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.poll_charge(&mut frame, cx) {
            // The merge may be waiting for just this frame, and all the memory may be with frames that wait for the
            // merge. So a frame that finds the buffer empty goes through without being charged.
            if !buffer.is_empty() {
                self.in_hand = Some(frame);
                return Poll::Pending;
            }
            frame.reservation = None;
        }
        match buffer.put(frame, self.store.received()) {
            Put::Done => Poll::Ready(()),
            Put::Full(frame) => {
                self.in_hand = Some(frame);
                Poll::Pending
            }
            Put::Cancelled => {
                self.is_closing = true;
                Poll::Ready(())
            }
        }
    }

    /// Returns whether the memory of a frame is charged.
    fn poll_charge(&self, frame: &mut Frame, cx: &mut Context<'_>) -> bool {
        let Some(pool) = &self.pool else { return true };
        let reservation = frame.reservation.get_or_insert_with(|| pool.reservation());
        reservation.bytes() == frame.bytes
            || matches!(reservation.poll_grow(cx, frame.bytes), Poll::Ready(Ok(())))
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
        self.shared.buffer.stop(None);
    }
}
