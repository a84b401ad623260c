use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::{PartialResponseStrategy, ProxyQuery, ResponseSet, ResponseSetOptions, Store, limit};
use crate::resource::LeakLedger;
use crate::{ProxyResponseLoserTree, Response, Source};

/// Sets up a [`ProxyQuery`]. Made by [`ProxyQuery::builder`].
///
/// | option | default |
/// |---|---|
/// | [`response_sets`](Self::response_sets) | [the default ones](ResponseSetOptions) |
/// | [`partial_response`](Self::partial_response) | [`PartialResponseStrategy::Abort`] |
/// | [`limit`](Self::limit) | none |
/// | [`batches`](Self::batches) | none: single series |
/// | [`prompt_batches`](Self::prompt_batches) | a batch is yielded when it is full, or nothing more comes |
/// | [`times`](Self::times) | not taken |
/// | [`ledger`](Self::ledger) | none kept |
/// | [`name`](Self::name) | none |
#[must_use = "a builder does nothing until `build` is called"]
pub struct ProxyQueryBuilder<S: Source> {
    stores: Vec<Store<S>>,
    options: ResponseSetOptions,
    strategy: PartialResponseStrategy,
    limit: u64,
    batch: Option<(usize, usize)>,
    is_prompt: bool,
    is_timed: bool,
    ledger: LeakLedger,
    name: Option<Arc<str>>,
}

impl<S: Source> Default for ProxyQueryBuilder<S> {
    fn default() -> Self {
        Self {
            stores: Vec::new(),
            options: ResponseSetOptions::new(),
            strategy: PartialResponseStrategy::Abort,
            limit: u64::MAX,
            batch: None,
            is_prompt: false,
            is_timed: false,
            ledger: LeakLedger::off(),
            name: None,
        }
    }
}

impl<S> ProxyQueryBuilder<S>
where
    S: Source<Item = Response> + Unpin + Send + 'static,
    S::Error: Error + Send + 'static,
{
    /// Adds a store.
    pub fn store(mut self, store: Store<S>) -> Self {
        self.stores.push(store);
        self
    }

    /// Adds stores, in order.
    pub fn stores(mut self, stores: impl IntoIterator<Item = Store<S>>) -> Self {
        self.stores.extend(stores);
        self
    }

    /// Sets how the answers of the stores are received, and what is done to their series; save of stores that have
    /// [options of their own](Store::with_options).
    ///
    /// # Runtime
    ///
    /// Lazy sets are received on the tokio runtime that is current where the query is polled, if there is one and the options name no
    /// other. That runtime has to run. A current-thread runtime that is only entered, by `Runtime::enter`, while another executor
    /// polls the query, runs neither tasks nor clocks, and the query waits for ever. Poll the query on the runtime, by its `block_on`
    /// or in a task, or do not enter it: without one, sets need no task.
    pub fn response_sets(mut self, options: ResponseSetOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets what happens when a store fails.
    pub const fn partial_response(mut self, strategy: PartialResponseStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Ends the query after this many series; duplicates count once, warnings and hints do not. With 0, no store is
    /// polled but to be closed.
    pub const fn limit(mut self, series: u64) -> Self {
        self.limit = series;
        self
    }

    /// Has series yielded in [`batches`](super::batches()) of at most so many series and bytes.
    pub const fn batches(mut self, max_series: usize, max_bytes: usize) -> Self {
        self.batch = Some((max_series, max_bytes));
        self
    }

    /// Has a batch yielded that is not full rather than wait: see [`Batches::prompt`](super::Batches::prompt).
    pub const fn prompt_batches(mut self) -> Self {
        self.is_prompt = true;
        self
    }

    /// Has the [statistics](ProxyQuery::stats) of each store tell its times, as [those of a merge](crate::stream::Builder::times) do.
    /// Default: they are not taken, and the query reads no clock but for timeouts.
    pub const fn times(mut self) -> Self {
        self.is_timed = true;
        self
    }

    /// Books every store in a ledger, from [`build`](Self::build) until it is released.
    pub fn ledger(mut self, ledger: &LeakLedger) -> Self {
        self.ledger = ledger.clone();
        self
    }

    /// Names the query in metrics and spans: [what kind it is](crate::stream::Builder::name), not which one.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Creates the query. Nothing happens before it is polled.
    #[track_caller]
    pub fn build(self) -> ProxyQuery<S> {
        let Self { stores, options, strategy, .. } = self;
        let required: Vec<_> = stores
            .iter()
            .map(|store| store.is_required || strategy == PartialResponseStrategy::Abort)
            .collect();
        let sets = stores.into_iter().zip(&required).map(|(mut store, is_required)| {
            let own = store.options.take().map_or_else(|| options.clone(), |options| *options);
            ResponseSet::new(store, &if *is_required { own.failing_on_warnings() } else { own })
        });
        let mut merge = ProxyResponseLoserTree::builder().sources(sets).ledger(&self.ledger);
        if let Some(name) = self.name {
            merge = merge.name(name);
        }
        if self.is_timed {
            merge = merge.times();
        }
        merge = merge.attribute(Response::from_source).unyielded(Response::into_failure);
        if strategy == PartialResponseStrategy::Warn {
            merge = merge.partial_response(Response::from);
            merge = merge.required(move |store| required.get(store.index()).copied().unwrap_or_default());
        }
        ProxyQuery::new(limit(merge.build().deduplicate(), self.limit), self.batch, self.is_prompt)
    }
}

impl<S: Source> fmt::Debug for ProxyQueryBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyQueryBuilder")
            .field("stores", &self.stores)
            .field("response_sets", &self.options)
            .field("partial_response", &self.strategy)
            .field("limit", &self.limit)
            .field("batches", &self.batch)
            .field("prompt_batches", &self.is_prompt)
            .field("times", &self.is_timed)
            .field("ledger", &self.ledger)
            .field("name", &self.name)
            .finish()
    }
}
