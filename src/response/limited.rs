use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;

use super::deduplicator::ResponseDeduplicator;
use super::proxy_query::Merge;
use crate::SourceError;
use crate::{Response, Source};

/// The deduplicated answer up to a number of series, after which the merge is ended.
pub(super) struct Limited<S: Source<Item = Response> + Unpin> {
    answer: ResponseDeduplicator<Merge<S>>,
    /// How many series are still wanted.
    remaining: u64,
}

impl<S: Source<Item = Response> + Unpin> Limited<S> {
    pub(super) fn new(mut answer: ResponseDeduplicator<Merge<S>>, series: u64) -> Self {
        if series == 0 {
            answer.get_mut().finish();
        }
        Self { answer, remaining: series }
    }

    pub(super) const fn merge_mut(&mut self) -> &mut Merge<S> {
        self.answer.get_mut()
    }

    /// Drops what was taken out of the merge and not yielded.
    pub(super) fn clear(&mut self) {
        self.answer.clear();
    }

    pub(super) const fn merge(&self) -> &Merge<S> {
        self.answer.get_ref()
    }

    pub(super) const fn deduplicated(&self) -> &ResponseDeduplicator<Merge<S>> {
        &self.answer
    }
}

// Nothing in here is ever pinned.
impl<S: Source<Item = Response> + Unpin> Unpin for Limited<S> {}

impl<S: Source<Item = Response> + Unpin> Stream for Limited<S> {
    type Item = Result<Response, SourceError<S::Error>>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let next = match Pin::new(&mut self.answer).poll_next(cx) {
                // All that is left to be done is closing; the answer is not to wait for that.
                Poll::Pending if self.merge().is_closing() => {
                    let Some(last) = self.answer.finish() else { return Poll::Pending };
                    Some(Ok(last.into()))
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            };
            if let Some(Ok(Response::Series(_))) = next {
                // The series that was held back when the limit was reached; there is no other.
                if self.remaining == 0 {
                    continue;
                }
                self.remaining -= 1;
                if self.remaining == 0 {
                    self.answer.get_mut().finish();
                }
            }
            return Poll::Ready(next);
        }
    }
}
