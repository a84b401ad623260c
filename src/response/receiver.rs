use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;

use super::signal::Signal;
use super::timers::Timers;
use super::{ResponseSetError, Timeout};
use crate::stream::Received;
use crate::{Chunk, Response, Source};

/// What receives from one store: opens it, waits for its frames no longer than it may take, counts them, and
/// closes it.
pub(super) struct Receiver<S: Source> {
    state: State<S>,
    signal: Signal,
    timers: Timers,
    is_closing: bool,
    samples: Option<fn(&Chunk) -> u64>,
    pub(super) received: Received,
}

pub(super) enum State<S: Source> {
    Opening(BoxFuture<'static, Result<S, S::Error>>),
    Open(S),
    Closed,
}

type Error<S> = ResponseSetError<<S as Source>::Error>;

impl<S: Source<Item = Response> + Unpin> Receiver<S> {
    pub(super) fn new(state: State<S>, timers: Timers, samples: Option<fn(&Chunk) -> u64>) -> Self {
        let received = Received { samples: samples.map(|_| 0), ..Received::default() };
        Self { state, signal: Signal::new(), timers, is_closing: false, samples, received }
    }

    /// A poll for the next frame. After an error or the end it is only to be closed.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Response, Error<S>>>> {
        let polled = self.poll_in_time(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(_))) => self.timers.answered(),
            Poll::Ready(_) => self.timers.stop(),
        }
        polled
    }

    fn poll_in_time(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Response, Error<S>>>> {
        if let Err(timed_out) = self.timers.start() {
            return Poll::Ready(Some(Err(timed_out.into())));
        }
        loop {
            let polled = match &mut self.state {
                State::Opening(opening) => match opening.as_mut().poll(cx) {
                    Poll::Pending => {
                        let expired = self.timers.poll_expired(Timeout::Open, cx);
                        return expired.map(|error| Some(Err(error)));
                    }
                    Poll::Ready(opened) => opened.map(State::Open).map_err(ResponseSetError::Open),
                },
                State::Open(source) => {
                    let Poll::Ready(frame) = self.signal.poll(cx, |cx| Pin::new(source).poll_next(cx)) else {
                        let expired = self.timers.poll_expired(Timeout::Frame, cx);
                        return expired.map(|error| Some(Err(error)));
                    };
                    return Poll::Ready(frame.map(|frame| {
                        let frame = frame.map_err(ResponseSetError::Store)?;
                        self.count(&frame);
                        Ok(frame)
                    }));
                }
                State::Closed => return Poll::Ready(None),
            };
            // A future that is done is dropped at once.
            self.state = State::Closed;
            match polled {
                Ok(open) => self.state = open,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    /// Closes the store; one that is being opened is given up. Its time runs only if it `is_timed`.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, is_timed: bool) -> Poll<Result<(), Error<S>>> {
        let State::Open(source) = &mut self.state else {
            self.state = State::Closed;
            self.timers.stop();
            return Poll::Ready(Ok(()));
        };
        if !mem::replace(&mut self.is_closing, true) {
            self.signal.reset();
        }
        let closed = match self.signal.poll(cx, |cx| Pin::new(source).poll_close(cx)) {
            Poll::Ready(closed) => closed.map_err(ResponseSetError::Store),
            Poll::Pending if !is_timed => return Poll::Pending,
            Poll::Pending => Err(ready!(self.timers.poll_expired(Timeout::Close, cx))),
        };
        self.timers.stop();
        // A store that does not close in its time is dropped unclosed, and so is one that nobody can time.
        self.state = State::Closed;
        Poll::Ready(closed)
    }

    fn count(&mut self, frame: &Response) {
        self.received.frames += 1;
        self.received.bytes += frame.size_bytes() as u64;
        let series = match frame {
            Response::Series(series) => std::slice::from_ref(series),
            Response::Batch(batch) => batch,
            Response::Warning(_) | Response::Hints(_) => &[],
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
