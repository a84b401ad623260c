use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use futures::Stream;
use pin_project_lite::pin_project;

use super::response::Response;
use crate::series::Series;
use crate::stream::is_closing;

/// P12: how many frames, or series of batches, one poll takes at most without yielding one. Enough that the cost of being
/// scheduled again is small beside it.
pub(super) const POLL_BUDGET: usize = 128;

pin_project! {
    /// A stream of responses, fused, without its batches: their series come one by one.
    pub(super) struct Unpack<St> {
        #[pin]
        stream: St,
        batch: vec::IntoIter<Series>,
        is_from_batch: bool,
        has_ended: bool,
    }
}

impl<St> Unpack<St> {
    pub(super) fn new(stream: St) -> Self {
        Self { stream, batch: vec::IntoIter::default(), is_from_batch: false, has_ended: false }
    }

    pub(super) const fn get_ref(&self) -> &St {
        &self.stream
    }

    pub(super) const fn get_mut(&mut self) -> &mut St {
        &mut self.stream
    }

    pub(super) fn into_inner(self) -> St {
        self.stream
    }

    /// Whether the response that came last was in a batch.
    pub(super) const fn is_from_batch(&self) -> bool {
        self.is_from_batch
    }

    /// Drops what is left of the batch at hand.
    pub(super) fn clear(&mut self) {
        self.batch = vec::IntoIter::default();
    }

    /// Whether the stream has ended. Its last batch was taken whole then.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Whether the stream has nothing more to give, though it has not ended, because it has only closing left.
    pub(super) fn is_closing(&self) -> bool
    where
        St: Stream,
    {
        self.batch.len() == 0 && is_closing(&self.stream)
    }

    /// How many series come at most besides those of the batch at hand, if none do.
    pub(super) fn is_exhausted(&self) -> bool
    where
        St: Stream,
    {
        self.has_ended || self.stream.size_hint().1 == Some(0)
    }

    /// How many series of the batch at hand are left.
    pub(super) fn left_in_batch(&self) -> usize {
        self.batch.len()
    }
}

impl<St, E> Unpack<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    /// Attempts to get the next response, which is no batch. Each one, and each batch, takes one off the
    /// `budget`; when it is used up the executor gets its turn.
    #[inline]
    pub(super) fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        budget: &mut usize,
    ) -> Poll<Option<Result<Response, E>>> {
        let mut this = self.project();
        loop {
            let Some(left) = budget.checked_sub(1) else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            *budget = left;
            if let Some(series) = this.batch.next() {
                return Poll::Ready(Some(Ok(series.into())));
            }
            if *this.has_ended {
                return Poll::Ready(None);
            }
            match ready!(this.stream.as_mut().poll_next(cx)) {
                Some(Ok(Response::Batch(batch))) => {
                    *this.batch = batch.into_iter();
                    *this.is_from_batch = true;
                }
                next => {
                    *this.is_from_batch = false;
                    *this.has_ended = next.is_none();
                    return Poll::Ready(next);
                }
            }
        }
    }
}
