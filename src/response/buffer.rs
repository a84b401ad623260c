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

impl Consumer {
    const fn wish(self) -> Wish {
        match self {
            Self::Reading => Wish::More(Capacity { frames: 0, bytes: 0 }),
            Self::Closing => Wish::Close,
            Self::Dropped => Wish::Drop,
        }
    }
}

/// What the consumer leaves to the producer.
pub(super) enum Wish {
    /// To fill this room.
    More(Capacity),
    /// To close the store.
    Close,
    /// To drop it.
    Drop,
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

    /// Registers the producer, to be done before it looks at anything else.
    pub(super) fn begin(&self, producer: &Waker) -> Wish {
        let mut state = self.lock();
        let wish = state.consumer_is.wish();
        let replaced = register(&mut state.producer, producer);
        drop(state);
        drop(replaced);
        wish
    }

    /// Returns whether nothing is held. If something is, the producer will be woken when that has changed.
    pub(super) fn is_empty_or_wakes(&self) -> bool {
        let mut state = self.lock();
        state.wanted_bytes = Some(usize::MAX);
        state.held.frames == 0
    }

    /// Puts in the frames that there is room for, of all but the last `kept`. An empty buffer has room for one of any
    /// size. Returns the room that is left, which is none if it was not enough: the producer will be woken when half of
    /// the buffer is free and the next frame fits, and when the buffer is empty.
    pub(super) fn put(&self, frames: &mut VecDeque<Frame>, kept: usize, received: Received) -> Wish {
        let mut state = self.lock();
        if state.consumer_is != Consumer::Reading {
            return state.consumer_is.wish();
        }
        if kept == 0 {
            // Whatever the producer has waited for, it asks anew.
            state.wanted_bytes = None;
        }
        state.received = received;
        let mut consumer = None;
        while frames.len() > kept
            && frames.front().is_some_and(|frame| self.fits(&state.held, frame.bytes))
            && let Some(frame) = frames.pop_front()
        {
            state.held.frames += 1;
            state.held.bytes = state.held.bytes.saturating_add(frame.bytes);
            state.frames.push_back(frame);
            consumer = consumer.or_else(|| state.consumer.take());
        }
        let mut room = Capacity {
            frames: self.capacity.frames - state.held.frames,
            bytes: self.capacity.bytes.saturating_sub(state.held.bytes),
        };
        if frames.len() > kept {
            room.frames = 0;
        }
        if room.frames == 0 {
            state.wanted_bytes = Some(frames.front().map_or(0, |frame| frame.bytes));
        }
        wake(consumer, state);
        Wish::More(room)
    }

    /// Puts in the last frames of a producer that has stopped, whatever there is room for.
    pub(super) fn put_last(&self, frames: VecDeque<Frame>) {
        let mut state = self.lock();
        if state.consumer_is == Consumer::Reading {
            for frame in frames {
                state.held.frames += 1;
                state.held.bytes = state.held.bytes.saturating_add(frame.bytes);
                state.frames.push_back(frame);
            }
        }
    }

    /// Notes that the store has nothing more.
    pub(super) fn end(&self, end: Result<(), ResponseSetError<E>>, received: Received) {
        let mut state = self.lock();
        state.received = received;
        state.has_ended = true;
        state.error = end.err();
        wake(state.consumer.take(), state);
    }

    /// Notes that the producer will not be polled any more; and, if it has closed the store, what that came to.
    pub(super) fn stop(&self, closed: Option<(Result<(), ResponseSetError<E>>, Received)>) {
        let mut state = self.lock();
        state.has_stopped = true;
        if let Some((closed, received)) = closed {
            state.closed = Some(closed);
            state.received = received;
        }
        let producer = state.producer.take();
        wake(state.consumer.take(), state);
        drop(producer);
    }

    /// Gives back the room of frames that were used up. Returns the producer if it waits for that.
    #[must_use]
    pub(super) fn release(&self, used: Capacity) -> Option<Waker> {
        self.released(used).1
    }

    fn released(&self, used: Capacity) -> (MutexGuard<'_, State<E>>, Option<Waker>) {
        let mut state = self.lock();
        state.held.frames -= used.frames;
        state.held.bytes -= used.bytes;
        let is_wanted = state.wanted_bytes.is_some_and(|bytes| {
            let is_half_free = state.held.frames <= self.capacity.frames / 2;
            state.held.frames == 0 || is_half_free && self.fits(&state.held, bytes)
        });
        if !is_wanted {
            return (state, None);
        }
        state.wanted_bytes = None;
        let producer = state.producer.take();
        (state, producer)
    }

    /// Gives back the room of frames that were used up, and moves all others to `taken`, which is empty. Who fills the
    /// buffer itself need not be woken.
    pub(super) fn take(
        &self,
        used: Capacity,
        taken: &mut VecDeque<Frame>,
        consumer: Option<&Waker>,
    ) -> Taken<E> {
        let (mut state, producer) = self.released(used);
        let mut replaced = None;
        let outcome = if !state.frames.is_empty() {
            std::mem::swap(&mut state.frames, taken);
            Taken::Frames
        } else if state.has_ended {
            Taken::End(state.error.take())
        } else if state.has_stopped {
            Taken::Abandoned
        } else {
            replaced = consumer.and_then(|consumer| register(&mut state.consumer, consumer));
            Taken::Nothing
        };
        wake(producer, state);
        drop(replaced);
        outcome
    }

    /// Drops all frames, and has the producer close the store; or drop it, if the consumer is dropped. Returns the
    /// producer, to be woken if it is not polled at once.
    #[must_use]
    pub(super) fn cancel(&self, is_dropped: bool) -> Option<Waker> {
        let mut state = self.lock();
        state.consumer_is = if is_dropped { Consumer::Dropped } else { Consumer::Closing };
        let frames = std::mem::take(&mut state.frames);
        let (producer, consumer) = (state.producer.take(), state.consumer.take());
        drop(state);
        drop((frames, consumer));
        producer
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

    fn fits(&self, held: &Capacity, bytes: usize) -> bool {
        let has_room = held.bytes.checked_add(bytes).is_some_and(|bytes| bytes <= self.capacity.bytes);
        held.frames == 0 || held.frames < self.capacity.frames && has_room
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
