use std::fmt;
use std::sync::Arc;

use futures::FutureExt;

use super::client::State;
use super::response::Response;
use super::response_set::ResponseSetOptions;
use crate::stream::Source;

/// A store to be asked: its name, how it is opened, what it can do itself, and how its answer is received.
///
/// What opens a store is a future, which is first polled when its set is. Its output is a [`Source`] of
/// [`Response`]s: your transport. It is called as [`Source`] says: polled again only when it has woken, not when the set is
/// polled for something else, such as a timeout.
///
/// # Closing
///
/// A store that is given up while it is opening is closed by dropping the future.
///
/// # Examples
///
/// ```
/// use futures::stream;
/// use losertree::response::Store;
/// use losertree::{Response, from_stream};
/// # use std::io;
/// # async fn connect(_: &str) -> io::Result<stream::Empty<io::Result<Response>>> { Ok(stream::empty()) }
///
/// let store = Store::new("store-a", async { Ok(from_stream(connect("10.0.0.7:10901").await?)) });
/// assert_eq!(store.name(), "store-a");
/// ```
#[must_use = "a store does nothing until a query or a set is made of it"]
pub struct Store<S: Source> {
    pub(super) name: Arc<str>,
    pub(super) state: State<S>,
    pub(super) shards: bool,
    pub(super) removes_labels: bool,
    pub(super) options: Option<Box<ResponseSetOptions>>,
    pub(super) is_required: bool,
}

impl<S: Source<Item = Response>> Store<S> {
    /// Creates a store that is opened by a future.
    pub fn new<F>(name: impl Into<Arc<str>>, opening: F) -> Self
    where
        F: Future<Output = Result<S, S::Error>> + Send + 'static,
    {
        Self::in_state(name.into(), State::Opening(opening.boxed()))
    }

    /// Creates a store of a source that is open. It is closed also if it was never polled.
    pub fn opened(name: impl Into<Arc<str>>, source: S) -> Self {
        Self::in_state(name.into(), State::Open(source))
    }

    const fn in_state(name: Arc<str>, state: State<S>) -> Self {
        Self { name, state, shards: false, removes_labels: false, options: None, is_required: false }
    }

    /// Says that the store gives the series of the wanted shard only. Default: they are matched here.
    pub const fn supports_sharding(mut self) -> Self {
        self.shards = true;
        self
    }

    /// Says that the store leaves out the labels that are to be removed, and sorts without them. Default: they
    /// are removed here.
    pub const fn supports_without_replica_labels(mut self) -> Self {
        self.removes_labels = true;
        self
    }

    /// Says that a query must not go on without this store, though [others may fail](super::PartialResponseStrategy::Warn): an error
    /// of it ends the query, and so does a warning that it sends. Default: none is required.
    pub const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    /// Has the answer of this store received with options of its own, in place of those of the query: all of them, so
    /// begin with a clone of those. Default: none.
    ///
    /// # Examples
    ///
    /// One store is far away, and need not be sorted when replica labels are taken off, for they come last in its series.
    ///
    /// ```
    /// use futures::stream;
    /// use losertree::response::{ProxyQuery, ResponseSetOptions, SeriesOrder, Store};
    /// use losertree::{Response, from_stream};
    /// # use std::convert::Infallible;
    ///
    /// # let store = |name: &'static str| {
    /// #     Store::opened(name, from_stream(stream::empty::<Result<Response, Infallible>>()))
    /// # };
    /// let options = ResponseSetOptions::new().without_replica_labels(["replica"]);
    /// let remote = options.clone().buffer_bytes(64 << 20).series_order(SeriesOrder::Restored);
    /// let query = ProxyQuery::builder()
    ///     .response_sets(options)
    ///     .stores([store("a"), store("b").supports_without_replica_labels(), store("c").with_options(remote)])
    ///     .build();
    /// # drop(query);
    /// ```
    pub fn with_options(mut self, options: ResponseSetOptions) -> Self {
        self.options = Some(Box::new(options));
        self
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<S: Source> fmt::Debug for Store<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.name)
            .field("shards", &self.shards)
            .field("removes_labels", &self.removes_labels)
            .field("options", &self.options)
            .field("is_required", &self.is_required)
            .finish_non_exhaustive()
    }
}
