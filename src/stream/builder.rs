use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use super::children::Recording;
use super::order_check::{OrderCheck, OrderChecker};
use super::reports::ErrorPolicy;
use super::source::{Source, UnpinSource};
use super::stats::KEPT_STATS;
use crate::error::SourceError;
use crate::key::{Natural, Order};
use crate::resource::LeakLedger;
use crate::source_id::SourceId;

/// Sets up a [`ProxyResponseLoserTree`](super::ProxyResponseLoserTree), whose method `builder` makes it.
///
/// | option | default |
/// |---|---|
/// | [`order`](Self::order) | the natural order of the items |
/// | [`limit`](Self::limit) | none |
/// | [`order_check`](Self::order_check) | off |
/// | [`warn_with`](Self::warn_with) | none: the first error ends the merge |
/// | [`required`](Self::required) | no source, where there are partial responses |
/// | [`unyielded`](Self::unyielded) | items stand for no failure |
/// | [`attribute`](Self::attribute) | items stay as they are |
/// | [`kept_stats`](Self::kept_stats) | those of the last 64 |
/// | [`times`](Self::times) | not taken |
/// | [`ledger`](Self::ledger) | none kept |
/// | [`name`](Self::name) | none |
#[must_use = "a builder does nothing until `build` is called"]
pub struct Builder<S: Source, O = Natural> {
    pub(super) setup: Setup<S, S::Item>,
    pub(super) checker: Option<OrderChecker<S::Item>>,
    pub(super) attribute: Option<Attribute<S::Item>>,
    pub(super) order: O,
}

/// Changes an item that takes no part in the order, as coming from a source.
pub(super) type Attribute<T> = fn(T, &SourceId) -> T;

/// What is set for any merge, whatever it makes of what its sources give. `W` is a warning.
pub(super) struct Setup<S: Source, W> {
    pub(super) sources: Vec<(S, &'static Location<'static>)>,
    pub(super) limit: Option<u64>,
    pub(super) name: Option<Arc<str>>,
    pub(super) recording: Recording,
    pub(super) policy: ErrorPolicy<W, S::Error>,
}

impl<S: Source, W> Default for Setup<S, W> {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            limit: None,
            name: None,
            recording: Recording { kept_stats: KEPT_STATS, is_timed: false, ledger: LeakLedger::off() },
            policy: ErrorPolicy::default(),
        }
    }
}

impl<S: Source> Default for Builder<S> {
    fn default() -> Self {
        Self { setup: Setup::default(), checker: None, attribute: None, order: Natural }
    }
}

/// The methods that the builders of all merges have.
macro_rules! setters {
    () => {
        /// Adds a source. Its index is the number of sources added before.
        #[track_caller]
        pub fn source(mut self, source: S) -> Self
        where
            S: UnpinSource,
        {
            self.setup.sources.push((source, Location::caller()));
            self
        }

        /// Adds sources, in order.
        #[track_caller]
        pub fn sources(mut self, sources: impl IntoIterator<Item = S>) -> Self
        where
            S: UnpinSource,
        {
            let site = Location::caller();
            self.setup.sources.extend(sources.into_iter().map(|source| (source, site)));
            self
        }

        /// Says which sources must not fail where others may: their errors end the merge even if those of others give a warning.
        /// Default: none.
        pub fn required(mut self, required: impl Fn(&SourceId) -> bool + Send + Sync + 'static) -> Self {
            self.setup.policy.required = Some(Box::new(required));
            self
        }

        /// Sets how many of the sources that were pushed while merging and are gone have [statistics](super::MergeStats) of their own: the
        /// last ones. Default: 64. Of the others there are totals.
        pub fn kept_stats(mut self, sources: usize) -> Self {
            self.setup.recording.kept_stats = sources;
            self
        }

        /// Has the [statistics](super::SourceStats) of each source tell its times. Default: they are not taken, and the merge reads no
        /// clock.
        ///
        /// # Complexity
        ///
        /// The clock is read at most once for each poll of the merge that polls a source which has given no item yet, and once when a source
        /// is released. One allocation for each source.
        pub fn times(mut self) -> Self {
            self.setup.recording.is_timed = true;
            self
        }

        /// Records every source in `ledger`, from [`build`](Self::build) or a push until it is released.
        pub fn ledger(mut self, ledger: &LeakLedger) -> Self {
            self.setup.recording.ledger = ledger.clone();
            self
        }

        /// Names the merge, for `Debug`, its span and its metrics.
        ///
        /// The metrics of all merges of one name are added up, and each name is a set of time series. So let it
        /// say what kind of merge it is, for example `"select"`, and not which one. Default: none, which metrics
        /// call `unnamed`.
        pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
            self.setup.name = Some(name.into());
            self
        }
    };
}
pub(super) use setters;

impl<S: Source, O> Builder<S, O> {
    setters!();

    /// Sets the order of the merge.
    pub fn order<P: Order<S::Item>>(self, order: P) -> Builder<S, P> {
        let Self { setup, checker, attribute, order: _ } = self;
        Builder { setup, checker, attribute, order }
    }

    /// Ends the merge after this many items. Then every source is closed.
    ///
    /// After the last item nothing more is pulled, and with a limit of 0 no source is polled but to be
    /// closed. Warnings of the merge's own do not count, nor do items that take [no part in the
    /// order](crate::SortKey::is_ordered). The sources are closed by the poll after the one that gives the last item: poll until `None`, or
    /// [`close`](super::ProxyResponseLoserTree::close).
    pub fn limit(mut self, items: u64) -> Self {
        self.setup.limit = Some(items);
        self
    }

    /// Checks that each source is in order.
    ///
    /// # Complexity
    ///
    /// One comparison and one clone for each item: the clone is kept until the successor can be compared
    /// with it.
    pub fn order_check(mut self, check: OrderCheck) -> Self
    where
        S::Item: Clone,
    {
        self.checker = Some(OrderChecker::new(check, S::Item::clone));
        self
    }

    /// Has a failing source replaced by a warning, after which the others go on. Default: the first error ends the merge: it is
    /// yielded once, every other source is closed, then comes `None`.
    ///
    /// The warning is yielded at once, ahead of all that waits in the tournament. It takes no part in the order,
    /// the limit or the count of items. For [`Response`](crate::Response)s, `Into::into` makes one.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{StreamExt, stream};
    /// use losertree::{ProxyResponseLoserTree, Source, from_stream};
    ///
    /// # futures::executor::block_on(async {
    /// let store = |name: &'static str, items: Vec<Result<u64, &'static str>>| from_stream(stream::iter(items)).named(name);
    /// let mut merge = ProxyResponseLoserTree::builder()
    ///     .sources([store("primary", vec![Ok(1), Ok(2)]), store("archive", vec![Err("gone")])])
    ///     .warn_with(|_| u64::MAX)
    ///     .required(|source| source.name() == Some("primary"))
    ///     .build();
    /// assert_eq!(merge.next().await, Some(Ok(u64::MAX))); // the archive
    /// assert_eq!(merge.next().await, Some(Ok(1)));
    /// # });
    /// ```
    pub fn warn_with(
        mut self,
        warning: impl FnMut(SourceError<S::Error>) -> S::Item + Send + Sync + 'static,
    ) -> Self {
        self.setup.policy.warning = Some(Box::new(warning));
        self
    }

    /// Finds failures among items that take [no part in the order](crate::SortKey::is_ordered): what a source has turned into a
    /// warning, and is dropped because the merge is closed before it was yielded, is then among the errors of
    /// [`close`](super::ProxyResponseLoserTree::close). For [`Response`](crate::Response)s:
    /// [`Response::into_failure`](crate::Response::into_failure).
    pub fn unyielded(mut self, failure: fn(S::Item) -> Option<SourceError<S::Error>>) -> Self {
        self.setup.policy.unyielded = Some(failure);
        self
    }

    /// Changes each item that takes [no part in the order](crate::SortKey::is_ordered) by a function that is told which source it
    /// comes from. For [`Response`](crate::Response)s, so that a warning names the store that has sent it:
    /// [`Response::from_source`](crate::Response::from_source).
    pub fn attribute(mut self, attribute: fn(S::Item, &SourceId) -> S::Item) -> Self {
        self.attribute = Some(attribute);
        self
    }
}

impl<S: Source, O: fmt::Debug> fmt::Debug for Builder<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("sources", &self.setup.sources.len())
            .field("order", &self.order)
            .field("limit", &self.setup.limit)
            .field("order_check", &self.checker.as_ref().map(|checker| checker.check))
            .field("on_failure", &self.setup.policy)
            .field("ledger", &self.setup.recording.ledger)
            .field("name", &self.setup.name)
            .finish_non_exhaustive()
    }
}
