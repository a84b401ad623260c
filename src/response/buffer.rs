use std::collections::VecDeque;
use std::sync::PoisonError;
use std::task::{Poll, Waker};

use super::received::Received;
use super::response::Response;
use crate::contain_panic::contain_panic;
use crate::error::{CloseError, SourceError};
use crate::resource::Reservation;
use crate::sync::{Mutex, MutexGuard};

/// A frame on its way from a store to the merge, and its size.
pub(super) struct Frame {
    pub(super) response: Response,
    pub(super) bytes: usize,
}

impl Frame {
    pub(super) fn new(response: Response) -> Self {
        let bytes = response.size_bytes();
        Self { response, bytes }
    }
}

/// Frames, and the memory that is charged for them.
#[derive(Default)]
pub(super) struct Frames {
    pub(super) queue: VecDeque<Frame>,
    pub(super) memory: Option<Reservation>,
}

impl Frames {
    /// Has `memory` charged for these frames too.
    pub(super) fn charge(&mut self, memory: Reservation) {
        match &mut self.memory {
            Some(charged) => charged.absorb(memory),
            none => *none = Some(memory),
        }
    }

    /// Gives back the memory of frames that were used up, if it was charged.
    pub(super) fn discharge(&mut self, bytes: usize) {
        if let Some(memory) = &mut self.memory {
            memory.shrink(bytes);
        }
    }

    /// Drops the frames, and returns the failures that they stand for.
    pub(super) fn into_failures<E>(self) -> Vec<SourceError<E>> {
        self.queue.into_iter().filter_map(|frame| frame.response.into_failure()).collect()
    }

    /// Moves all frames of `others` behind these.
    fn append(&mut self, others: &mut Self) {
        if self.queue.is_empty() {
            // Both allocations are kept, each by one side.
            std::mem::swap(&mut self.queue, &mut others.queue);
        } else {
            self.queue.append(&mut others.queue);
        }
        if let Some(memory) = others.memory.take() {
            self.charge(memory);
        }
    }
}

/// What a store is known to have given so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Given {
    pub(super) received: Received,
    /// Whether it has said that something is missing.
    pub(super) is_partial: bool,
}

/// How much a buffer holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Capacity {
    pub(super) frames: usize,
    pub(super) bytes: usize,
}

impl Capacity {
    pub(super) const fn add(&mut self, bytes: usize) {
        self.frames += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether a frame has room in a buffer of `capacity` that holds this: one of any size in an empty one.
    pub(super) fn has_room(&self, bytes: usize, capacity: Self) -> bool {
        let fits = self.bytes.checked_add(bytes).is_some_and(|bytes| bytes <= capacity.bytes);
        self.frames == 0 || self.frames < capacity.frames && fits
    }
}

/// The frames that one side has received and the other has not used up, bounded by their number and their bytes.
///
/// There is one producer and one consumer. Each waits for the other by a waker. It registers that under the lock under which it
/// looks at what it waits for. Frames are held from when they are put in until the consumer says that it
/// has used them up; each side moves several at once, so that the lock is not taken for each.
pub(super) struct Buffer<E> {
    capacity: Capacity,
    state: Mutex<State<E>>,
}

struct State<E> {
    frames: Frames,
    /// How many frames and bytes are held, those with the consumer included.
    held: Capacity,
    awaited: Awaited,
    producer: Option<Waker>,
    consumer: Option<Waker>,
    given: Given,
    consumer_is: Consumer,
    /// Whether the store has nothing more; and its error, until that was taken. Also failures among frames that were dropped.
    has_ended: bool,
    errors: Vec<SourceError<E>>,
    /// Whether the producer will not be polled any more; and what closing the store came to, if it was closed.
    has_stopped: bool,
    closed: Option<Result<(), CloseError<E>>>,
}

/// What the producer waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Awaited {
    /// Nothing here.
    Nothing,
    /// That half of the buffer is free and a frame of so many bytes has room, or that the buffer is empty.
    Room(usize),
    /// That some frame is used up.
    Use,
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

/// What the consumer leaves to the producer.
pub(super) enum Demand {
    /// To go on. So much is held.
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
    End(Option<SourceError<E>>),
    /// The producer has stopped before the store has ended.
    Abandoned,
}

/// What has become of the store of a producer that has stopped.
pub(super) enum Stopped<E> {
    /// It was closed, which came to this.
    Closed(Result<(), CloseError<E>>),
    /// It was not closed, or that was said before.
    Unclosed,
}

impl<E> State<E> {
    /// Whether the consumer has to wait.
    fn has_nothing(&self) -> bool {
        self.frames.queue.is_empty() && !self.has_ended && !self.has_stopped
    }

    const fn demand(&self) -> Demand {
        match self.consumer_is {
            Consumer::Reading => Demand::More(self.held),
            Consumer::Closing => Demand::Close,
            Consumer::Dropped => Demand::Drop,
        }
    }
}

impl<E> Buffer<E> {
    pub(super) fn new(capacity: Capacity, given: Given) -> Self {
        let state = State {
            frames: Frames::default(),
            held: Capacity::default(),
            awaited: Awaited::Nothing,
            producer: None,
            consumer: None,
            given,
            consumer_is: Consumer::Reading,
            has_ended: false,
            errors: Vec::new(),
            has_stopped: false,
            closed: None,
        };
        Self { capacity, state: Mutex::new(state) }
    }

    pub(super) const fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Registers the producer, to be done before it looks at anything else. Whatever it has waited for, it asks anew.
    pub(super) fn begin(&self, producer: &Waker) -> Demand {
        let (mut state, replaced) = self.lock_registered(|state| &mut state.producer, producer);
        let demand = state.demand();
        state.awaited = Awaited::Nothing;
        drop(state);
        drop(replaced);
        demand
    }

    /// Puts in frames, which have room. Returns what is held then.
    pub(super) fn put(&self, frames: &mut Frames, added: Capacity, given: Given) -> Demand {
        let mut state = self.lock();
        if state.consumer_is != Consumer::Reading {
            return state.demand();
        }
        state.given = given;
        if frames.queue.is_empty() {
            return state.demand();
        }
        state.held.frames += added.frames;
        state.held.bytes = state.held.bytes.saturating_add(added.bytes);
        state.frames.append(frames);
        let demand = state.demand();
        wake(state.consumer.take(), state);
        demand
    }

    /// Has the producer woken for something, unless the consumer has used up frames since so much was held.
    pub(super) fn is_to_wait(&self, awaited: Awaited, seen: Capacity) -> bool {
        let mut state = self.lock();
        if state.held.frames != seen.frames {
            return false;
        }
        state.awaited = awaited;
        true
    }

    /// Puts in the last frames of a producer that has stopped, whatever there is room for.
    pub(super) fn put_last(&self, mut frames: Frames) {
        let mut state = self.lock();
        if state.consumer_is == Consumer::Reading {
            for frame in &frames.queue {
                state.held.add(frame.bytes);
            }
            state.frames.append(&mut frames);
        }
        drop(state);
        let failures = frames.into_failures();
        self.lock().errors.extend(failures);
    }

    /// Takes the errors that were met and not taken by the consumer.
    pub(super) fn take_errors(&self) -> Vec<SourceError<E>> {
        std::mem::take(&mut self.lock().errors)
    }

    /// Notes that the store has nothing more but these errors: one, unless the consumer wants nothing more.
    pub(super) fn end(&self, errors: impl IntoIterator<Item = SourceError<E>>, given: Given) {
        let mut state = self.lock();
        state.given = given;
        state.has_ended = true;
        state.errors.extend(errors);
        wake(state.consumer.take(), state);
    }

    /// Notes that the producer will not be polled any more; and, if it has closed the store, what that came to.
    pub(super) fn stop(&self, closed: Option<(Result<(), CloseError<E>>, Given)>) {
        let mut state = self.lock();
        state.has_stopped = true;
        if let Some((closed, given)) = closed {
            state.closed = Some(closed);
            state.given = given;
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
        let is_awaited = match state.awaited {
            Awaited::Nothing => false,
            Awaited::Room(bytes) => {
                let is_half_free = state.held.frames <= self.capacity.frames / 2;
                state.held.frames == 0 || is_half_free && state.held.has_room(bytes, self.capacity)
            }
            Awaited::Use => used.frames > 0,
        };
        if !is_awaited {
            return (state, None);
        }
        state.awaited = Awaited::Nothing;
        let producer = state.producer.take();
        (state, producer)
    }

    /// Gives back the room of frames that were used up, and moves all others to `taken`, which is empty. Who fills the
    /// buffer itself need not be woken.
    pub(super) fn take(&self, used: Capacity, taken: &mut Frames, consumer: Option<&Waker>) -> Taken<E> {
        let (mut state, mut producer) = self.released(used);
        let mut unneeded = None;
        if let Some(consumer) = consumer
            && state.has_nothing()
            && !will_wake(state.consumer.as_ref(), consumer)
        {
            // The producer first: should cloning panic, it has been told.
            wake(producer.take(), state);
            let consumer = consumer.clone();
            state = self.lock();
            unneeded = if state.has_nothing() { state.consumer.replace(consumer) } else { Some(consumer) };
        }
        let outcome = if !state.frames.queue.is_empty() {
            taken.append(&mut state.frames);
            Taken::Frames
        } else if state.has_ended {
            Taken::End(state.errors.pop())
        } else if state.has_stopped {
            Taken::Abandoned
        } else {
            Taken::Nothing
        };
        wake(producer, state);
        drop(unneeded);
        outcome
    }

    /// Has the producer close the store; or drop it, if the consumer is dropped. Returns all frames, and the producer, to be
    /// woken if it is not polled at once.
    #[must_use]
    pub(super) fn cancel(&self, is_dropped: bool) -> (Frames, Option<Waker>) {
        let mut state = self.lock();
        state.consumer_is = if is_dropped { Consumer::Dropped } else { Consumer::Closing };
        let frames = std::mem::take(&mut state.frames);
        let (producer, consumer) = (state.producer.take(), state.consumer.take());
        drop(state);
        drop(consumer);
        (frames, producer)
    }

    /// Is ready when the producer has stopped. Says what has become of the store, once.
    pub(super) fn poll_stopped(&self, consumer: &Waker) -> Poll<Stopped<E>> {
        let (mut state, replaced) = self.lock_registered(|state| &mut state.consumer, consumer);
        let polled = if state.has_stopped {
            Poll::Ready(state.closed.take().map_or(Stopped::Unclosed, Stopped::Closed))
        } else {
            Poll::Pending
        };
        drop(state);
        drop(replaced);
        polled
    }

    pub(super) fn given(&self) -> Given {
        self.lock().given
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        // Nothing in here panics between two changes, so a poisoned lock has a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a waker. Returns the lock, and the waker that was there. Wakers are not ours: they are cloned and to be dropped
    /// without the lock.
    fn lock_registered(
        &self,
        place: fn(&mut State<E>) -> &mut Option<Waker>,
        waker: &Waker,
    ) -> (MutexGuard<'_, State<E>>, Option<Waker>) {
        let mut state = self.lock();
        if will_wake(place(&mut state).as_ref(), waker) {
            return (state, None);
        }
        drop(state);
        let waker = waker.clone();
        let mut state = self.lock();
        let replaced = place(&mut state).replace(waker);
        (state, replaced)
    }
}

fn will_wake(registered: Option<&Waker>, waker: &Waker) -> bool {
    registered.is_some_and(|registered| registered.will_wake(waker))
}

/// Wakes outside of the lock.
fn wake<T>(waker: Option<Waker>, lock: MutexGuard<'_, T>) {
    drop(lock);
    if let Some(waker) = waker {
        wake_one(waker);
    }
}

/// Wakes, even if that panics: what is to be done after it must not be left out.
pub(super) fn wake_one(waker: Waker) {
    contain_panic(|| waker.wake());
}
