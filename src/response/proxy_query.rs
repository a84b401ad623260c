use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;

use super::ResponseSet;
use super::batches::{Batches, batches};
use super::limited::Limited;
use super::proxy_query_builder::ProxyQueryBuilder;
use crate::error::{CloseError, SourceError};
use crate::stream::MergeStats;
use crate::{ProxyResponseLoserTree, Response, Source, Warning};

/// The merge inside of a query.
pub(super) type Merge<S> = ProxyResponseLoserTree<ResponseSet<S>>;

/// A query to many stores: one ordered, deduplicated, limited stream of their series, which closes everything.
///
/// ```text
///  store ──► response set ──┐
///  store ──► response set ──┼──► merge ──► deduplicate ──► limit ──► batches
///  store ──► response set ──┘
/// ```
///
/// A [`Stream`] of `Result`s. What you bring is the [stores](super::Store), that is the transport; the rest is
/// [options](ProxyQueryBuilder).
///
/// # Ordering
///
/// Series by their labels, each once, with the chunks that any store has of it. Warnings and hints come as soon as they
/// are met.
///
/// # Complexity
///
/// That of the merge, and at most one comparison of labels for each series to find duplicates. The memory is that of
/// the [sets](super::ResponseSetOptions), one series of each store, one that is held back, and one batch.
///
/// # Errors
///
/// With [`PartialResponseStrategy::Abort`](super::PartialResponseStrategy::Abort) the first error of a store ends the
/// query: it is yielded, all stores are closed, then comes `None`. With
/// [`Warn`](super::PartialResponseStrategy::Warn) it is yielded as a [`Warning`](crate::Warning) that names the store,
/// the others go on, and [`stats`](Self::stats) say that the answer is partial.
///
/// # Cancel safety
///
/// Dropping a future that waits for the next response loses nothing.
///
/// # Closing
///
/// The stream ends, with `None`, only when every store is closed; the last series does not wait for that.
/// [`close`](Self::close) ends it early. Dropping it
/// drops everything, synchronously; its background tasks end by themselves soon after.
///
/// # Examples
///
/// ```
/// use futures::{TryStreamExt, stream};
/// use losertree::response::{PartialResponseStrategy, ProxyQuery, Store};
/// use losertree::{Chunk, Labels, Response, Series, from_stream};
/// # use std::io;
///
/// # futures::executor::block_on(async {
/// let up = |job| Labels::from_pairs([("__name__", "up"), ("job", job)]).unwrap();
/// let store = |name: &'static str, job: &'static str| {
///     let series = Series::new(up(job), vec![Chunk::new(0, 59_999, "…")]);
///     Store::new(name, async { Ok(from_stream(stream::iter([Ok::<_, io::Error>(Response::from(series))]))) })
/// };
/// let broken = Store::new("c", async { Err(io::ErrorKind::ConnectionRefused.into()) });
///
/// let mut query = ProxyQuery::builder()
///     .stores([store("a", "db"), store("b", "api"), broken])
///     .partial_response(PartialResponseStrategy::Warn)
///     .limit(1000)
///     .build();
/// let answer: Vec<_> = query.by_ref().try_collect().await?;
/// assert!(matches!(&answer[0], Response::Warning(warning) if warning.origin().name().as_deref() == Some("c")));
/// assert_eq!(answer[1].as_series().unwrap().labels, up("api"));
/// assert_eq!(answer[2].as_series().unwrap().labels, up("db"));
/// assert!(query.stats().is_partial);
/// # use futures::StreamExt;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Sources
///
/// `ProxyStore.Series` in `pkg/store/proxy.go` of thanos-io/thanos.
#[must_use = "streams do nothing unless polled"]
pub struct ProxyQuery<S: Source<Item = Response> + Unpin> {
    answer: Answer<S>,
    /// Whether nothing is yielded any more.
    is_closing: bool,
    /// What came before that, behind a batch, and is not to be lost.
    unyielded: Option<Result<Warning, SourceError<S::Error>>>,
    has_ended: bool,
}

enum Answer<S: Source<Item = Response> + Unpin> {
    Singly(Limited<S>),
    InBatches(Batches<Limited<S>>),
}

// Nothing in here is ever pinned.
impl<S: Source<Item = Response> + Unpin> Unpin for ProxyQuery<S> {}

impl<S> ProxyQuery<S>
where
    S: Source<Item = Response> + Unpin + Send + 'static,
    S::Error: Error + Send + 'static,
{
    /// Returns a builder, to add stores and to set options.
    pub fn builder() -> ProxyQueryBuilder<S> {
        ProxyQueryBuilder::default()
    }
}

impl<S: Source<Item = Response> + Unpin> ProxyQuery<S> {
    pub(super) fn new(answer: Limited<S>, batch: Option<(usize, usize)>, is_prompt: bool) -> Self {
        let answer = match batch {
            Some((max_series, max_bytes)) => {
                let batches = batches(answer, max_series, max_bytes);
                Answer::InBatches(if is_prompt { batches.prompt() } else { batches })
            }
            None => Answer::Singly(answer),
        };
        Self { answer, is_closing: false, unyielded: None, has_ended: false }
    }

    /// Ends the query early: closes all stores that are left, concurrently, and waits until each is closed. Series that
    /// were not yielded are dropped, so that their memory is given back. A warning that came after the last batch is
    /// yielded by the stream before its end.
    ///
    /// Closing twice is the same as closing once, and a query that was never polled can be closed.
    ///
    /// # Errors
    ///
    /// All errors: those of closing, and those that were met and not yielded.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped half-way, the next call resumes. No store is closed twice.
    pub async fn close(&mut self) -> Result<(), CloseError<S::Error>> {
        poll_fn(|cx| self.poll_close_all(cx)).await
    }

    /// Attempts to close, as [`close`](Self::close) does.
    ///
    /// # Errors
    ///
    /// As for [`close`](Self::close).
    pub fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        if !mem::replace(&mut self.is_closing, true) {
            self.unyielded = match &mut self.answer {
                Answer::Singly(answer) => {
                    answer.clear();
                    None
                }
                Answer::InBatches(answer) => {
                    answer.get_mut().clear();
                    answer.clear()
                }
            };
        }
        let closed = ready!(self.merge_mut().poll_close_all(cx));
        let errors = closed.err().into_iter().flat_map(CloseError::into_errors);
        let unyielded = self.unyielded.take_if(|unyielded| unyielded.is_err()).and_then(Result::err);
        Poll::Ready(CloseError::check(unyielded.into_iter().chain(errors).collect()))
    }

    const fn merge_mut(&mut self) -> &mut Merge<S> {
        match &mut self.answer {
            Answer::Singly(answer) => answer,
            Answer::InBatches(answer) => answer.get_mut(),
        }
        .merge_mut()
    }
}

impl<S: Source<Item = Response> + Unpin> ProxyQuery<S> {
    /// Returns what the merge and each store have done so far; a store's
    /// [`received`](crate::stream::SourceStats::received) has its frames, series, chunks and samples.
    ///
    /// # Complexity
    ///
    /// `O(K)` for K stores, with one allocation.
    #[must_use]
    pub fn stats(&self) -> MergeStats {
        self.answer().merge().stats()
    }

    /// Returns how many series were merged into another one with the same labels, so far.
    #[must_use]
    pub const fn merged_series(&self) -> u64 {
        self.answer().deduplicated().merged_series()
    }

    /// Returns how many chunks were dropped because another store had given them already, so far.
    #[must_use]
    pub const fn dropped_chunks(&self) -> u64 {
        self.answer().deduplicated().dropped_chunks()
    }

    const fn answer(&self) -> &Limited<S> {
        match &self.answer {
            Answer::Singly(answer) => answer,
            Answer::InBatches(answer) => answer.get_ref(),
        }
    }
}

impl<S: Source<Item = Response> + Unpin> Stream for ProxyQuery<S> {
    type Item = Result<Response, SourceError<S::Error>>;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = if self.is_closing {
            if let Some(Ok(warning)) = self.unyielded.take_if(|unyielded| unyielded.is_ok()) {
                return Poll::Ready(Some(Ok(warning.into())));
            }
            Pin::new(self.merge_mut()).poll_next(cx)
        } else {
            match &mut self.answer {
                Answer::Singly(answer) => Pin::new(answer).poll_next(cx),
                Answer::InBatches(answer) => match Pin::new(&mut *answer).poll_next(cx) {
                    Poll::Pending if answer.get_ref().merge().is_closing() => {
                        answer.flush().map_or(Poll::Pending, |batch| Poll::Ready(Some(Ok(batch))))
                    }
                    polled => polled,
                },
            }
        };
        self.has_ended = matches!(next, Poll::Ready(None));
        next
    }
}

impl<S: Source<Item = Response> + Unpin> FusedStream for ProxyQuery<S> {
    fn is_terminated(&self) -> bool {
        self.has_ended
    }
}

impl<S: Source<Item = Response> + Unpin> fmt::Debug for ProxyQuery<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyQuery").field("merge", self.answer().merge()).finish_non_exhaustive()
    }
}
