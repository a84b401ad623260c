use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use super::buffer::Frame;
use super::received::Received;
use super::response::Response;
use super::sorted_client::SortedClient;
use super::unpack::POLL_BUDGET;
use crate::error::{CloseError, SourceError};
use crate::resource::Reservation;
use crate::series::Series;
use crate::stream::{Counters, PollClose, PollNext, Source};

/// A store's answer that is received as a whole and then given. Made by
/// [`ResponseSet::new`](super::ResponseSet::new).
///
/// A [`Source`] of single series, warnings and hints. Warnings and hints are given as they come, and do not keep it from receiving
/// the rest; the series when the last has come, sorted again [if they have to be](super::SeriesOrder).
///
/// It receives whenever it is polled, and needs no task: a merge polls all its sources at first, and each again when it
/// is woken, so that all are received at the same time.
///
/// # Bounds
///
/// It holds at most as many bytes of series as [the options
/// say](super::ResponseSetOptions::sort_buffer_bytes). With a pool, they are charged to its budget until the set is
/// closed or dropped.
///
/// # Complexity
///
/// One poll takes at most 128 frames, then it yields to the executor. Sorting `n` series is done in one poll:
/// `O(n log n)` comparisons if they are out of order, otherwise n − 1.
///
/// # Errors
///
/// What was received before an error is given before it. An error that was met and not given is among those of the close.
///
/// # Cancel safety
///
/// All state is in the set.
///
/// # Closing
///
/// The store is closed as soon as it has nothing more, while its series are being given, and also while the first of these waits for
/// its turn in the merge. Closing the set before drops what
/// is held and closes the store. Dropping drops both.
pub struct EagerResponseSet<S: Source> {
    name: Arc<str>,
    // Boxed, so that a merge of sets does not move it about.
    store: Box<SortedClient<S>>,
    /// The frame that came last, until it is given or unpacked.
    frames: VecDeque<Frame>,
    batch: vec::IntoIter<Series>,
    /// The memory of the series.
    memory: Option<Reservation>,
    /// The error that was met and not given before the set was closed.
    unyielded: Option<SourceError<S::Error>>,
    /// What closing the store came to.
    closed: Option<Result<(), CloseError<S::Error>>>,
}

// Nothing in here is ever pinned, save in a box.
impl<S: Source> Unpin for EagerResponseSet<S> {}

impl<S: Source> EagerResponseSet<S> {
    pub(super) fn new(name: Arc<str>, store: SortedClient<S>) -> Self {
        let batch = Vec::new().into_iter();
        Self {
            name,
            store: Box::new(store),
            frames: VecDeque::new(),
            batch,
            memory: None,
            unyielded: None,
            closed: None,
        }
    }
}

impl<S: Source<Item = Response> + Unpin> EagerResponseSet<S> {
    /// Goes on closing the store. Its time runs only while somebody waits for that.
    fn close_store(&mut self, cx: &mut Context<'_>, is_awaited: bool) {
        if self.closed.is_none()
            && let Poll::Ready(closed) = self.store.poll_close(cx, is_awaited)
        {
            self.closed = Some(closed);
        }
    }
}

impl<S: Source<Item = Response> + Unpin> EagerResponseSet<S> {
    /// Returns what was received so far.
    #[must_use]
    pub fn received(&self) -> Received {
        self.store.given().received
    }
}

impl<S: Source<Item = Response> + Unpin> Source for EagerResponseSet<S> {
    type Item = Response;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let mut budget = POLL_BUDGET;
        loop {
            if self.store.has_ended() {
                self.close_store(cx, false);
            }
            if let Some(series) = self.batch.next() {
                return Poll::Ready(Some(Ok(series.into())));
            }
            match self.frames.pop_front().map(|frame| frame.response) {
                Some(Response::Batch(batch)) => {
                    self.batch = batch.into_iter();
                    self.memory = self.store.take_memory();
                    continue;
                }
                Some(single) => return Poll::Ready(Some(Ok(single))),
                None => {}
            }
            let Self { store, frames, .. } = &mut *self;
            match ready!(store.poll_frame(cx, &mut budget, frames)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// Goes on closing the store, whose series wait.
    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        if self.store.has_ended() {
            self.close_store(cx, false);
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.frames.clear();
        self.batch = Vec::new().into_iter();
        self.memory = None;
        if let Some(error) = self.store.discard() {
            self.unyielded = Some(error);
        }
        self.close_store(cx, true);
        // Asked for once only.
        let Some(closed) = self.closed.take() else { return Poll::Pending };
        Poll::Ready(CloseError::with_unyielded(self.unyielded.take(), closed))
    }

    fn name(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn counters(&self) -> Counters {
        self.received().into()
    }

    fn is_partial(&self) -> bool {
        self.store.is_partial()
    }
}

impl<S: Source> fmt::Debug for EagerResponseSet<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EagerResponseSet")
            .field("name", &self.name)
            .field("held", &self.batch.len())
            .finish_non_exhaustive()
    }
}
