use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;

use super::{ProxyQuery, Store};
use crate::stream::{PollClose, PollNext, Received, is_closing};
use crate::{Response, Source};

/// A query as a source of another merge or query. Made by [`ProxyQuery::into_source`].
///
/// # Ordering
///
/// Series by their labels; all else as it comes.
///
/// # Errors
///
/// Those of the query, with the [path](crate::SourceError::path) to the store in it. What is above adds its own place in front.
///
/// # Closing
///
/// Closes all stores of the query, concurrently, and completes when each is closed. All errors come up. The source has ended as soon as
/// the query has only closing left.
pub struct QuerySource<S: Source<Item = Response> + Unpin> {
    query: ProxyQuery<S>,
}

impl<S: Source<Item = Response> + Unpin> ProxyQuery<S> {
    /// Makes a source of the query, for a merge above: closing goes through all levels and is awaited. As a store of another
    /// query: [`into_store`](Self::into_store).
    pub const fn into_source(self) -> QuerySource<S> {
        QuerySource { query: self }
    }

    /// Makes a store of the query, for a query above.
    ///
    /// Closing goes through all levels. A warning or an error of a store here is told above with its path, such as `eu/store-a`; and
    /// the query above is partial if this one is.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{TryStreamExt, stream};
    /// use losertree::response::{PartialResponseStrategy, ProxyQuery, Store};
    /// use losertree::{Labels, LeakLedger, Response, Series, from_stream};
    /// # use std::io;
    ///
    /// # futures::executor::block_on(async {
    /// let ledger = LeakLedger::sites();
    /// let store = |name: &'static str, job: &'static str| {
    ///     let up = Labels::from_pairs([("__name__", "up"), ("job", job)]).unwrap();
    ///     let answer = [Ok::<_, io::Error>(Response::from(Series::new(up, vec![])))];
    ///     Store::new(name, async { Ok(from_stream(stream::iter(answer))) })
    /// };
    /// let broken = Store::new("store-c", async { Err(io::ErrorKind::ConnectionRefused.into()) });
    /// let eu = ProxyQuery::builder()
    ///     .stores([store("store-a", "api"), broken])
    ///     .partial_response(PartialResponseStrategy::Warn)
    ///     .ledger(&ledger)
    ///     .build();
    /// let us = ProxyQuery::builder().store(store("store-b", "db")).ledger(&ledger).build();
    ///
    /// let mut query = ProxyQuery::builder()
    ///     .stores([eu.into_store("eu"), us.into_store("us")])
    ///     .partial_response(PartialResponseStrategy::Warn)
    ///     .ledger(&ledger)
    ///     .build();
    /// let answer: Vec<_> = query.by_ref().try_collect().await?;
    /// let Response::Warning(warning) = &answer[0] else { panic!("the warning comes first") };
    /// assert_eq!(warning.origin().name().as_deref(), Some("eu/store-c"));
    /// assert!(query.stats().is_partial);
    /// ledger.assert_all_closed();
    /// # use futures::StreamExt;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn into_store(self, name: impl Into<Arc<str>>) -> Store<QuerySource<S>> {
        Store::opened(name, self.into_source())
    }
}

impl<S: Source<Item = Response> + Unpin> QuerySource<S> {
    /// Returns the query.
    pub const fn get_ref(&self) -> &ProxyQuery<S> {
        &self.query
    }

    /// Returns the query.
    pub fn into_inner(self) -> ProxyQuery<S> {
        self.query
    }
}

impl<S: Source<Item = Response> + Unpin> Source for QuerySource<S> {
    type Item = Response;
    type Error = S::Error;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        match Pin::new(&mut self.query).poll_next(cx) {
            Poll::Pending if is_closing(&self.query) => Poll::Ready(None),
            polled => polled,
        }
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.query.merge_mut().poll_progress(cx);
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.query.poll_close_all(cx)
    }

    fn received(&self) -> Option<Received> {
        self.query.merge().received()
    }

    fn is_partial(&self) -> bool {
        self.query.merge().is_partial()
    }
}

impl<S: Source<Item = Response> + Unpin> fmt::Debug for QuerySource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuerySource").field("query", &self.query).finish()
    }
}
