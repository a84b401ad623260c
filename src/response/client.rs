use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use super::buffer::{Frame, Given};
use super::received::Received;
use super::response::Response;
use super::response_set::{ResponseSetOptions, StoreWarnings};
use super::timers::{Instant, Timers};
use crate::contain_panic::contain_panic;
use crate::error::{Cause, Phase, SourceError, Timeout};
use crate::series::Chunk;
use crate::stream::{PollClose, Source, drop_closed};

/// What receives from one store: opens it, waits for its frames no longer than it may take, counts them, and
/// closes it. A store that panics has failed, however it is received.
pub(super) struct SeriesClient<S: Source> {
    state: State<S>,
    waker: StoreWaker,
    timers: Timers,
    is_closing: bool,
    samples: Option<fn(&Chunk) -> u64>,
    frame_limit_bytes: usize,
    warnings: StoreWarnings,
    /// Whether the store has sent a warning that says so, or said so by itself before it was released.
    is_partial: bool,
    pub(super) received: Received,
}

pub(super) enum State<S: Source> {
    Opening(BoxFuture<'static, Result<S, S::Error>>),
    Open(S),
    Closed,
}

type Error<S> = SourceError<<S as Source>::Error>;

/// Whether there was a frame, the end or an error. The frame itself is not handed up, so that it is moved once only.
pub(super) type PollFrame<S> = Poll<Option<Result<(), Error<S>>>>;

impl<S: Source<Item = Response> + Unpin> SeriesClient<S> {
    pub(super) fn new(state: State<S>, options: &ResponseSetOptions) -> Self {
        let (timers, samples) = (Timers::new(options.timeouts), options.samples);
        let received = Received { samples: samples.map(|_| 0), ..Received::default() };
        Self {
            state,
            waker: StoreWaker::new(),
            timers,
            is_closing: false,
            samples,
            frame_limit_bytes: options.frame_limit_bytes,
            warnings: options.warnings,
            is_partial: false,
            received,
        }
    }

    /// A poll for the next frame, which is put behind the others in `frames`. After an error or the end it is only to be
    /// closed. If it `is_timed`, the total is looked at first: a store that is always ready is not waited for by an alarm.
    #[inline]
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        frames: &mut VecDeque<Frame>,
        is_timed: bool,
    ) -> PollFrame<S> {
        if is_timed && let Err(timed_out) = self.timers.start() {
            self.timers.stop();
            return Poll::Ready(Some(Err(SourceError::new(timed_out.into()))));
        }
        let polled = contain_panic(|| self.poll_in_time(cx, frames));
        let polled = polled.unwrap_or_else(|| Poll::Ready(Some(Err(self.give_up_panicked()))));
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(()))) => self.timers.answered(),
            Poll::Ready(_) => {
                self.note_partial();
                self.timers.stop();
            }
        }
        polled
    }

    #[inline]
    fn poll_in_time(&mut self, cx: &mut Context<'_>, frames: &mut VecDeque<Frame>) -> PollFrame<S> {
        if let State::Opening(_) = self.state
            && let Err(error) = ready!(self.poll_open(cx))
        {
            return Poll::Ready(Some(Err(error)));
        }
        let State::Open(source) = &mut self.state else { return Poll::Ready(None) };
        match self.waker.poll(cx, |cx| Pin::new(source).poll_next(cx)) {
            Poll::Ready(Some(Ok(Response::Warning(warning)))) if self.warnings == StoreWarnings::Fail => {
                self.received.frames += 1;
                self.received.bytes += Response::from(warning.clone()).size_bytes() as u64;
                Poll::Ready(Some(Err(warning.into_error())))
            }
            Poll::Ready(Some(Ok(response))) => {
                let response = match response {
                    Response::Warning(warning) if self.warnings == StoreWarnings::Pass => {
                        warning.without_failure().into()
                    }
                    other => other,
                };
                let bytes = response.size_bytes();
                self.count(&response, bytes);
                if bytes > self.frame_limit_bytes {
                    let (frame_bytes, limit_bytes) = (bytes, self.frame_limit_bytes);
                    let cause = Cause::FrameTooLarge { frame_bytes, limit_bytes };
                    return Poll::Ready(Some(Err(SourceError::new(cause))));
                }
                frames.push_back(Frame { response, bytes });
                Poll::Ready(Some(Ok(())))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                self.timers.poll_expired(Timeout::Frame, cx).map(|cause| Some(Err(SourceError::new(cause))))
            }
        }
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error<S>>> {
        let State::Opening(opening) = &mut self.state else { return Poll::Ready(Ok(())) };
        let Poll::Ready(opened) = opening.as_mut().poll(cx) else {
            return self.timers.poll_expired(Timeout::Open, cx).map(|cause| Err(in_opening(cause)));
        };
        // A future that is done is dropped at once.
        self.state = State::Closed;
        self.state = State::Open(opened.map_err(|error| in_opening(Cause::Source(error)))?);
        Poll::Ready(Ok(()))
    }

    /// Closes the store; one that is being opened is given up. Its time runs only if it `is_timed`.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, is_timed: bool) -> PollClose<S> {
        if !mem::replace(&mut self.is_closing, true) {
            self.waker.reset();
            self.timers.stop_reading();
        }
        let closed = contain_panic(|| self.poll_close_in_time(cx, is_timed));
        let closed = ready!(closed.unwrap_or_else(|| Poll::Ready(Err(self.give_up_panicked().into()))));
        self.timers.stop();
        Poll::Ready(closed)
    }

    fn poll_close_in_time(&mut self, cx: &mut Context<'_>, is_timed: bool) -> PollClose<S> {
        let State::Open(source) = &mut self.state else {
            self.state = State::Closed;
            return Poll::Ready(Ok(()));
        };
        let closed = match self.waker.poll(cx, |cx| Pin::new(source).poll_close(cx)) {
            Poll::Pending if !is_timed => return Poll::Pending,
            Poll::Pending => Err(ready!(self.timers.poll_expired(Timeout::Close, cx))),
            Poll::Ready(closed) => Ok(closed),
        };
        self.note_partial();
        let released = mem::replace(&mut self.state, State::Closed);
        Poll::Ready(match closed {
            Ok(closed) => {
                drop_closed(released);
                closed
            }
            // A store that does not close in its time is dropped unclosed, and so is one that nobody can time.
            Err(cause) => {
                drop(released);
                Err(SourceError::new(cause).into())
            }
        })
    }

    /// When whoever polls this is to have given up the store, if nothing comes until then: it is waited for, to be closed if
    /// somebody `is_closing` it.
    pub(super) fn deadline(&mut self, is_closing: bool) -> Option<Instant> {
        let waiting_for = match &self.state {
            _ if is_closing => Timeout::Close,
            State::Opening(_) => Timeout::Open,
            State::Open(_) => Timeout::Frame,
            State::Closed => return None,
        };
        self.timers.deadline(waiting_for).map(|(at, _)| at)
    }

    /// To be called when somebody else polls this than before: whoever did is not woken for it any more.
    pub(super) fn change_hands(&mut self) {
        self.timers.change_clock();
    }

    /// Drops a store that has panicked.
    #[cold]
    fn give_up_panicked(&mut self) -> Error<S> {
        let panicked = mem::replace(&mut self.state, State::Closed);
        let error = SourceError::new(Cause::Panicked);
        let error = if let State::Opening(_) = panicked { error.in_phase(Phase::Opening) } else { error };
        contain_panic(|| drop(panicked));
        error
    }

    /// Remembers whether the store says that something is missing: it is not there to be asked once it is released.
    fn note_partial(&mut self) {
        self.is_partial = self.is_partial();
    }

    /// Whether the store has said that something is missing, or says so now.
    pub(super) fn is_partial(&self) -> bool {
        let State::Open(source) = &self.state else { return self.is_partial };
        self.is_partial || contain_panic(|| source.is_partial()).unwrap_or_default()
    }

    /// What the store has given so far. Not asked is whether something is missing: a merge would ask all its sources, and this is
    /// called for every few frames.
    pub(super) const fn given(&self) -> Given {
        Given { received: self.received, is_partial: self.is_partial }
    }

    #[inline]
    fn count(&mut self, frame: &Response, bytes: usize) {
        self.received.frames += 1;
        self.received.bytes += bytes as u64;
        let series = match frame {
            Response::Series(series) => std::slice::from_ref(series),
            Response::Batch(batch) => batch,
            Response::Warning(_) => {
                self.is_partial |= self.warnings == StoreWarnings::Partial;
                self.note_partial();
                return;
            }
            Response::Hints(_) => return,
        };
        self.received.series += series.len() as u64;
        for series in series {
            self.received.chunks += series.chunks.len() as u64;
            if let (Some(samples), Some(count)) = (&mut self.received.samples, self.samples) {
                *samples = series.chunks.iter().map(count).fold(*samples, u64::saturating_add);
            }
        }
    }
}

fn in_opening<E>(cause: Cause<E>) -> SourceError<E> {
    SourceError::new(cause).in_phase(Phase::Opening)
}

/// A waker of a store's own, so that the store is polled again only when it has woken, and not when its task was
/// woken for something else: room in the buffer, memory, or a timeout.
#[derive(Debug)]
pub(super) struct StoreWaker {
    flag: Arc<Flag>,
    waker: Waker,
    is_awaited: bool,
}

#[derive(Debug, Default)]
struct Flag {
    has_fired: AtomicBool,
    task: AtomicWaker,
}

impl StoreWaker {
    pub(super) fn new() -> Self {
        let flag = Arc::<Flag>::default();
        Self { waker: Waker::from(Arc::clone(&flag)), flag, is_awaited: false }
    }

    /// Polls, unless that was pending and has not woken since.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.is_awaited {
            self.flag.task.register(cx.waker());
        }
        // Set back before the poll: what fires during it counts for the next one.
        if !self.flag.take() && self.is_awaited {
            return Poll::Pending;
        }
        let polled = poll(&mut Context::from_waker(&self.waker));
        self.is_awaited = polled.is_pending();
        if self.is_awaited {
            self.flag.task.register(cx.waker());
            if self.flag.has_fired.load(Ordering::Acquire) {
                cx.waker().wake_by_ref();
            }
        }
        polled
    }

    /// To be called before something else is polled.
    pub(super) const fn reset(&mut self) {
        self.is_awaited = false;
    }
}

impl Flag {
    /// Returns whether the waker has fired, and sets it back.
    fn take(&self) -> bool {
        // Reading first keeps the common case free of a locked instruction.
        self.has_fired.load(Ordering::Acquire) && self.has_fired.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.has_fired.swap(true, Ordering::AcqRel) {
            self.task.wake();
        }
    }
}

impl Drop for StoreWaker {
    fn drop(&mut self) {
        // A store that left its waker somewhere keeps nothing of the task.
        drop(self.flag.task.take());
    }
}
