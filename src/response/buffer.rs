use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::Waker;

use super::ResponseSetError;
use crate::Response;
use crate::resource::Reservation;
use crate::stream::Received;
use crate::sync::{Mutex, MutexGuard};

/// A frame on its way from a store to the merge, and the memory that is charged for it.
pub(super) struct Frame {
    pub(super) response: Response,
    pub(super) bytes: usize,
    pub(super) reservation: Option<Reservation>,
}

/// How much a buffer holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Capacity {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

/// The frames that one side has received and the other has not used up, bounded by their number and their bytes.
///
/// Between one producer and one consumer, each of which waits for the other by a waker that is registered under the
/// same lock as what it waits for is seen. Frames are held from when they are put in until the consumer says that it
/// has used them up; it takes several at once, so that the lock is not taken for each.
pub(super) struct Buffer<E> {
    capacity: Capacity,
    state: Mutex<State<E>>,
}

struct State<E> {
    frames: VecDeque<Frame>,
    /// How many frames and bytes are held, those with the consumer included.
    held: Capacity,
    /// What the producer waits to put in, in bytes.
    wanted_bytes: Option<usize>,
    producer: Option<Waker>,
    consumer: Option<Waker>,
    received: Received,
    consumer_is: Consumer,
    /// Whether the store has nothing more; and its error, until that was taken.
    has_ended: bool,
    error: Option<ResponseSetError<E>>,
    /// Whether the producer will not be polled any more; and what closing the store came to, if it was closed.
    has_stopped: bool,
    closed: Option<Result<(), ResponseSetError<E>>>,
}

/// What the consumer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consumer {
    Reading,
    /// It wants nothing more, and waits for the store to be closed.
    Closing,
    /// It does not even wait.
    Dropped,
}

/// What has become of a frame that was to be put in.
pub(super) enum Put {
    /// It is in.
    Done,
    /// There is no room. The producer will be woken when half of the buffer is free and the frame fits, and when the
    /// buffer is empty.
    Full(Frame),
    /// Nobody will take it: the store is to be closed.
    Cancelled,
}

/// What the consumer finds.
pub(super) enum Taken<E> {
    /// Frames were added to its own.
    Frames,
    /// Nothing yet. It will be woken.
    Nothing,
    /// The store has nothing more, save this error.
    End(Option<ResponseSetError<E>>),
    /// The producer has stopped before the store has ended.
    Abandoned,
}

impl<E> Buffer<E> {
    pub(super) fn new(capacity: Capacity, received: Received) -> Self {
        let state = State {
            frames: VecDeque::new(),
            held: Capacity::default(),
            wanted_bytes: None,
            producer: None,
            consumer: None,
            received,
            consumer_is: Consumer::Reading,
            has_ended: false,
            error: None,
            has_stopped: false,
            closed: None,
        };
        Self { capacity, state: Mutex::new(state) }
    }

    /// Registers the producer, to be done before it looks at anything else. Returns whether it is to drop the store.
    pub(super) fn begin(&self, producer: &Waker) -> bool {
        let mut state = self.lock();
        let is_dropped = state.consumer_is == Consumer::Dropped;
        let replaced = register(&mut state.producer, producer);
        drop(state);
        drop(replaced);
        is_dropped
    }

    /// Returns whether the consumer wants nothing more.
    pub(super) fn is_cancelled(&self) -> bool {
        self.lock().consumer_is != Consumer::Reading
    }

    /// Returns whether nothing is held. If something is, the producer will be woken when that has changed.
    pub(super) fn is_empty(&self) -> bool {
        let mut state = self.lock();
        state.wanted_bytes = Some(usize::MAX);
        state.held.frames == 0
    }

    /// Puts a frame in, if there is room. An empty buffer has room for a frame of any size.
    pub(super) fn put(&self, frame: Frame, received: Received) -> Put {
        let mut state = self.lock();
        if state.consumer_is != Consumer::Reading {
            return Put::Cancelled;
        }
        if state.held.frames >= self.capacity.frames || !self.fits(&state, frame.bytes) {
            state.wanted_bytes = Some(frame.bytes);
            return Put::Full(frame);
        }
        state.received = received;
        state.held.frames += 1;
        state.held.bytes = state.held.bytes.saturating_add(frame.bytes);
        state.frames.push_back(frame);
        state.wanted_bytes = None;
        wake(state.consumer.take(), state);
        Put::Done
    }

    /// Notes that the store has nothing more.
    pub(super) fn end(&self, error: Option<ResponseSetError<E>>, received: Received) {
        let mut state = self.lock();
        state.received = received;
        state.has_ended = true;
        state.error = error;
        wake(state.consumer.take(), state);
    }

    /// Notes that the producer will not be polled any more.
    pub(super) fn stop(&self, closed: Option<Result<(), ResponseSetError<E>>>) {
        let mut state = self.lock();
        state.has_stopped = true;
        if closed.is_some() {
            state.closed = closed;
        }
        let producer = state.producer.take();
        wake(state.consumer.take(), state);
        drop(producer);
    }

    /// Gives back the room of frames that were used up, for a consumer that is about to poll the producer itself: so
    /// neither of the two need be woken.
    pub(super) fn meet(&self, used: Capacity) {
        let (mut state, released) = self.released(used);
        let wakers = (released, state.producer.take(), state.consumer.take());
        drop(state);
        drop(wakers);
    }

    fn released(&self, used: Capacity) -> (MutexGuard<'_, State<E>>, Option<Waker>) {
        let mut state = self.lock();
        state.held.frames -= used.frames;
        state.held.bytes -= used.bytes;
        let is_wanted = state.wanted_bytes.is_some_and(|bytes| {
            state.held.frames == 0
                || state.held.frames <= self.capacity.frames / 2 && self.fits(&state, bytes)
        });
        if !is_wanted {
            return (state, None);
        }
        state.wanted_bytes = None;
        let producer = state.producer.take();
        (state, producer)
    }

    /// Gives back the room of frames that were used up, and moves others to `taken`: half of them, so that the
    /// producer goes on while the consumer works on the other half.
    pub(super) fn take(&self, used: Capacity, taken: &mut VecDeque<Frame>, consumer: &Waker) -> Taken<E> {
        let (mut state, producer) = self.released(used);
        let mut replaced = None;
        let outcome = if !state.frames.is_empty() {
            let count = if state.has_ended { state.frames.len() } else { state.frames.len().div_ceil(2) };
            taken.extend(state.frames.drain(..count));
            Taken::Frames
        } else if state.has_ended {
            Taken::End(state.error.take())
        } else if state.has_stopped {
            Taken::Abandoned
        } else {
            replaced = register(&mut state.consumer, consumer);
            Taken::Nothing
        };
        wake(producer, state);
        drop(replaced);
        outcome
    }

    /// Drops all frames, and has the producer close the store; or drop it, if the consumer is dropped.
    pub(super) fn cancel(&self, is_dropped: bool) {
        let mut state = self.lock();
        state.consumer_is = if is_dropped { Consumer::Dropped } else { Consumer::Closing };
        let frames = std::mem::take(&mut state.frames);
        let consumer = state.consumer.take();
        wake(state.producer.take(), state);
        drop((frames, consumer));
    }

    /// Returns what closing the store came to, `None` inside if it was not closed; or has the consumer woken when
    /// the producer has stopped.
    #[allow(clippy::option_option, clippy::type_complexity)]
    pub(super) fn stopped(&self, consumer: &Waker) -> Option<Option<Result<(), ResponseSetError<E>>>> {
        let mut state = self.lock();
        if state.has_stopped {
            return Some(state.closed.take());
        }
        let replaced = register(&mut state.consumer, consumer);
        drop(state);
        drop(replaced);
        None
    }

    pub(super) fn received(&self) -> Received {
        self.lock().received
    }

    fn fits(&self, state: &State<E>, bytes: usize) -> bool {
        let needed = state.held.bytes.checked_add(bytes);
        state.held.frames == 0 || needed.is_some_and(|needed| needed <= self.capacity.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // What may panic under the lock is the cloning of a waker, before anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers a waker, and returns the one that was there: to be dropped outside of the lock, it is not ours.
fn register(place: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    if place.as_ref().is_some_and(|registered| registered.will_wake(waker)) {
        return None;
    }
    place.replace(waker.clone())
}

/// Wakes outside of the lock.
fn wake<T>(waker: Option<Waker>, lock: MutexGuard<'_, T>) {
    drop(lock);
    if let Some(waker) = waker {
        waker.wake();
    }
}
