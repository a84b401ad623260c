use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;

use super::batch_window::{BatchWindow, Charge, Merged, OfShared, SharedBatch};
use super::builder::{Setup, setters};
use super::children::{Children, Event, EventOf};
use super::close::{Closable, Close};
use super::inquiry::{self, Asked};
use super::order_check::OrderCheck;
use super::push_error::PushError;
use super::reports::Reports;
use super::row_check::RowChecker;
use super::source::{Source, UnpinSource};
use super::stats::MergeStats;
use super::telemetry::MergeTelemetry;
use crate::contain_panic::contain_panic;
use crate::error::{Cause, CloseError, SourceError};
use crate::key::Natural;
use crate::merge::window::{RowOrder, WindowMerge};
use crate::resource::{Ending, LeakLedger};
use crate::source_id::SourceId;

/// Merges async sources of sorted batches as batches, owns the sources, and closes every one of them.
///
/// It is the sibling of [`ProxyResponseLoserTree`](super::ProxyResponseLoserTree) for engines: a [`Stream`] of
/// [windows](crate::merge::window). A window names the rows that come next as runs `(source, batch, from, len)`, and has the batches
/// that they are in. The merge reads keys where they are, and neither moves nor copies a row.
///
/// A source is any [`Source`] whose items are batches, and a batch is whatever the [order](RowOrder) finds rows in: `Vec<T>`, `Arc<[T]>`,
/// a record batch of an engine. Batches may be of any size. One without rows is dropped.
///
/// # Ordering
///
/// Rows come by the order of the merge, the natural one unless the [builder](Self::builder) was told otherwise. Equal rows come in source
/// order. Each source must be sorted over all of its batches. If one is not, the order of the output is unspecified, but
/// each row comes once. [`BatchMergeBuilder::order_check`] finds it.
///
/// # Laziness
///
/// A source is asked for its next batch when no more rows can be decided without it, and all decided rows have been handed out.
/// The merge has one batch of each source at most, and lets go of it in the poll that hands out its last row. So when the last window is
/// dropped before the merge is polled again, a source is asked for a batch when the one before is gone. Nothing is read ahead: a source
/// that is to fetch the next batch while this one is merged does so by itself.
///
/// # Complexity
///
/// At most 2·⌈log2 K⌉ + 6 comparisons for each row of K sources, and 2·⌈log2 K⌉ for each batch: see
/// [`WindowMerge`]. Memory is `O(K)`, the batches, and the runs of one window. A window
/// takes two allocations.
///
/// A source is polled once at first, once for each batch, and when its own waker has fired. One poll of the merge
/// polls at most 128 sources, empty batches included, and decides at most 2^14 rows or 64 for each source, besides long stretches of one
/// source.
///
/// # Errors
///
/// By default the first error of any source ends the merge. It comes once, behind all rows that are decided. Rows that are not decided are
/// dropped, every other source is closed, then comes `None`. With [`BatchMergeBuilder::warn`] a failing source is replaced by a
/// warning: each poll gives a window or a warning. Errors that come after the one that was yielded are kept for [`close`](Self::close).
///
/// # Panics
///
/// Only where a source, the order or a function of the builder panics. The panic unwinds through the poll that met it. A source that
/// panicked is then dropped without another call, and the merge goes on by closing the others. Whoever catches the panic and goes on
/// polling gets `None` when they are closed, which is then not the end of the data: rows that were not handed out are dropped.
///
/// # Cancel safety
///
/// Dropping a future that waits for the next window loses nothing: the next one yields the same rows.
///
/// # Closing
///
/// - A source that has ended or failed is closed at once, and dropped when its closing has completed.
/// - The stream ends, with `None`, only after every source has been closed.
/// - [`close`](Self::close) ends early: it drops the batches, and closes all sources that are left, concurrently.
/// - Dropping the merge drops its batches and then its sources, in source order, synchronously, and records the sources as dropped
///   unclosed. It does not block, spawn or panic.
/// - Windows outlive the merge. A source whose closing waits for its batches waits for them too.
///
/// # Examples
///
/// ```
/// use futures::stream;
/// use losertree::{BatchMerge, from_stream};
///
/// # futures::executor::block_on(async {
/// let store = |batches: Vec<Vec<u64>>| from_stream(stream::iter(batches.into_iter().map(Ok::<_, std::io::Error>)));
/// let mut merge = BatchMerge::new([store(vec![vec![1, 4], vec![6]]), store(vec![vec![2, 3, 5]])]);
/// let mut merged = Vec::new();
/// while let Some(next) = merge.next_window().await {
///     let Some(window) = next?.into_window() else { continue }; // a warning, if the merge was to give some
///     for run in window.runs() {
///         let batch = window.batch(run.source()).unwrap();
///         merged.extend_from_slice(&batch[run.rows()]);
///     }
/// }
/// assert_eq!(merged, [1, 2, 3, 4, 5, 6]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct BatchMerge<S: Source, O = Natural> {
    /// The batches that the children have given, each at the place of its child.
    windows: WindowMerge<SharedBatch<S::Item>, OfShared<O>>,
    children: Children<S>,
    /// Errors and warnings that are to be yielded when the decided rows are.
    reports: Reports<SourceError<S::Error>, S::Error>,
    checker: Option<RowChecker<S::Item>>,
    charge: Option<ChargeBatch<S>>,
    name: Option<Arc<str>>,
    /// How many rows a window has at most.
    window_rows: usize,
    /// How many rows of the batch of each child were handed out; and room for how many it were before.
    ends: Vec<usize>,
    before: Vec<usize>,
    /// How many rows were handed out, and how many the limit still allows.
    rows: u64,
    remaining: u64,
    /// Whether sources may lack a batch that have not been asked for one.
    is_to_ask: bool,
    /// Whether an error has been met that ends the merge once the decided rows are handed out.
    is_ending: bool,
    /// Set through other streams, which know nothing of merges: see [`inquiry`].
    asked: Asked,
}

/// Charges a batch to whoever pays for it, or refuses it.
type ChargeBatch<S> =
    Box<dyn FnMut(&<S as Source>::Item) -> Result<Charge, SourceError<<S as Source>::Error>> + Send + Sync>;

/// What the merge gives.
type Next<S> = Result<Merged<<S as Source>::Item, <S as Source>::Error>, SourceError<<S as Source>::Error>>;

/// Sets up a [`BatchMerge`], whose method `builder` makes it.
///
/// | option | default |
/// |---|---|
/// | [`order`](Self::order) | the natural order of the items of slices |
/// | [`limit`](Self::limit) | none |
/// | [`window_rows`](Self::window_rows) | as many as are decided |
/// | [`order_check`](Self::order_check) | off |
/// | [`charge_with`](Self::charge_with) | batches are not accounted for |
/// | [`warn`](Self::warn) | off: the first error ends the merge |
/// | [`required`](Self::required) | no source |
/// | [`kept_stats`](Self::kept_stats) | those of the last 64 |
/// | [`times`](Self::times) | not taken |
/// | [`ledger`](Self::ledger) | none kept |
/// | [`name`](Self::name) | none |
#[must_use = "a builder does nothing until `build` is called"]
pub struct BatchMergeBuilder<S: Source, O = Natural> {
    setup: Setup<S, SourceError<S::Error>>,
    window_rows: usize,
    checker: Option<RowChecker<S::Item>>,
    charge: Option<ChargeBatch<S>>,
    order: O,
}

impl<S: Source, O> BatchMergeBuilder<S, O> {
    setters!();

    /// Sets the order of the merge.
    pub fn order<P: RowOrder<S::Item>>(self, order: P) -> BatchMergeBuilder<S, P> {
        let Self { setup, window_rows, checker, charge, order: _ } = self;
        BatchMergeBuilder { setup, window_rows, checker, charge, order }
    }

    /// Ends the merge after this many rows. Then every source is closed.
    ///
    /// No more rows than that are merged. With a limit of 0 no source is polled but to be closed. Warnings do not count. The sources are
    /// closed by the poll after the one that gives the last row: poll until `None`, or [`close`](BatchMerge::close).
    pub const fn limit(mut self, rows: u64) -> Self {
        self.setup.limit = Some(rows);
        self
    }

    /// Gives windows of at most this many rows. Default: as many as are decided. 0 is taken as 1.
    ///
    /// A window ends where any batch ends, and may have far fewer rows where batches are short. To fill batches of a size, gather several
    /// windows into each.
    pub const fn window_rows(mut self, rows: usize) -> Self {
        self.window_rows = if rows == 0 { 1 } else { rows };
        self
    }

    /// Checks that each source is in order, within each batch and from one to the next.
    ///
    /// `copy_row` makes a batch of one row. The merge keeps that of the last row of a batch and never the batch. Only what the order reads
    /// needs to be in it.
    ///
    /// With [`OrderCheck::Fail`] a batch with a row out of order is dropped as a whole, and the source has failed. The position in the
    /// error is that of the row, among all rows of the source.
    ///
    /// # Complexity
    ///
    /// One comparison for each row, when its batch comes, and one copy for each batch.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::stream;
    /// use losertree::error::Cause;
    /// use losertree::stream::OrderCheck;
    /// use losertree::{BatchMerge, from_stream};
    ///
    /// # futures::executor::block_on(async {
    /// let batches = stream::iter([vec![1, 4], vec![3]].map(Ok::<_, std::io::Error>));
    /// let mut merge = BatchMerge::builder()
    ///     .source(from_stream(batches))
    ///     .order_check(OrderCheck::Fail, |batch: &Vec<u64>, row| vec![batch[row]])
    ///     .build();
    /// assert_eq!(merge.next_window().await.unwrap().unwrap().into_window().unwrap().rows(), 2);
    /// let error = merge.next_window().await.unwrap().unwrap_err();
    /// assert!(matches!(error.cause(), Cause::OutOfOrder { position: 2 }));
    /// # });
    /// ```
    pub fn order_check(
        mut self,
        check: OrderCheck,
        copy_row: impl FnMut(&S::Item, usize) -> S::Item + Send + Sync + 'static,
    ) -> Self {
        self.checker = Some(RowChecker::new(check, Box::new(copy_row)));
        self
    }

    /// Accounts for the batches that are held: `charge` is called with each batch that has rows, before the merge keeps it. What it
    /// returns is dropped with the batch, when the merge and all windows have let go of it.
    ///
    /// # Errors
    ///
    /// If `charge` refuses a batch, that ends the merge, also where failing sources give a warning: memory is lacking for all of them.
    /// The batch is dropped, the error names its source, and every source is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::stream;
    /// use losertree::error::Cause;
    /// use losertree::resource::BytePool;
    /// use losertree::{BatchMerge, SourceError, from_stream};
    ///
    /// # futures::executor::block_on(async {
    /// let pool = BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(100).build()?;
    /// let store = |batches: Vec<Vec<u64>>| from_stream(stream::iter(batches.into_iter().map(Ok::<_, std::io::Error>)));
    /// let of_pool = pool.clone();
    /// let mut merge = BatchMerge::builder()
    ///     .sources([store(vec![vec![1, 4]]), store(vec![vec![2], vec![3; 20]])])
    ///     .charge_with(move |batch: &Vec<u64>| {
    ///         let mut charge = of_pool.reservation();
    ///         charge.try_grow(8 * batch.len()).map_err(|error| SourceError::new(Cause::Pool(error)))?;
    ///         Ok(charge)
    ///     })
    ///     .build();
    /// let window = merge.next_window().await.unwrap()?.into_window().unwrap();
    /// assert_eq!((window.rows(), pool.snapshot().used_bytes), (2, 24));
    /// drop(window);
    /// assert_eq!(pool.snapshot().used_bytes, 16);
    /// let refused = merge.next_window().await.unwrap().unwrap_err();
    /// assert_eq!(refused.path().index(), Some(1));
    /// assert!(merge.next_window().await.is_none());
    /// assert_eq!(pool.snapshot().used_bytes, 0);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub fn charge_with<C: Send + Sync + 'static>(
        mut self,
        mut charge: impl FnMut(&S::Item) -> Result<C, SourceError<S::Error>> + Send + Sync + 'static,
    ) -> Self {
        self.charge = Some(Box::new(move |batch| Ok(Box::new(charge(batch)?))));
        self
    }

    /// Has a failing source replaced by a [warning](Merged::Warning), after which the others go on. Default: the first error ends the merge:
    /// it is yielded once, every other source is closed, then comes `None`.
    ///
    /// The warning comes behind all rows that are decided.
    pub fn warn(mut self) -> Self {
        self.setup.policy.warning = Some(Box::new(|error| error));
        self
    }

    /// Creates the merge. No source is polled before the merge is.
    ///
    /// # Complexity
    ///
    /// `O(K)` time and memory for K sources.
    pub fn build(self) -> BatchMerge<S, O>
    where
        O: RowOrder<S::Item>,
    {
        let Self { setup, window_rows, checker, charge, order } = self;
        let Setup { sources, limit, name, recording, policy } = setup;
        let telemetry = MergeTelemetry::new(name.as_ref(), sources.len(), limit);
        let mut windows = WindowMerge::new(OfShared(order), sources.len());
        if let Some(limit) = limit {
            windows.limit(limit);
        }
        BatchMerge {
            ends: vec![0; sources.len()],
            before: Vec::new(),
            windows,
            children: Children::new(sources, recording, telemetry),
            reports: Reports::new(policy),
            checker,
            charge,
            name,
            window_rows,
            rows: 0,
            remaining: limit.unwrap_or(u64::MAX),
            is_to_ask: false,
            is_ending: false,
            asked: Asked::default(),
        }
    }
}

impl<S: Source> Default for BatchMergeBuilder<S> {
    fn default() -> Self {
        let setup = Setup::default();
        Self { setup, window_rows: usize::MAX, checker: None, charge: None, order: Natural }
    }
}

impl<S: Source, O: fmt::Debug> fmt::Debug for BatchMergeBuilder<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchMergeBuilder")
            .field("sources", &self.setup.sources.len())
            .field("order", &self.order)
            .field("limit", &self.setup.limit)
            .field("window_rows", &self.window_rows)
            .field("order_check", &self.checker.as_ref().map(|checker| checker.check))
            .field("on_failure", &self.setup.policy)
            .field("ledger", &self.setup.recording.ledger)
            .field("name", &self.setup.name)
            .finish_non_exhaustive()
    }
}

// Nothing in here is ever pinned, neither the order nor the sources, which are `Unpin` to be polled.
impl<S: Source, O> Unpin for BatchMerge<S, O> {}

impl<S: Source> BatchMerge<S> {
    /// Merges sources of batches by the natural order of their rows, with the default options.
    #[track_caller]
    pub fn new(sources: impl IntoIterator<Item = S>) -> Self
    where
        S: UnpinSource,
        Natural: RowOrder<S::Item>,
    {
        Self::builder().sources(sources).build()
    }

    /// Returns a builder, to set options.
    pub fn builder() -> BatchMergeBuilder<S> {
        BatchMergeBuilder::default()
    }
}

impl<S, O> BatchMerge<S, O>
where
    S: Source + Unpin,
    O: RowOrder<S::Item>,
{
    /// Waits for the next window, or warning.
    ///
    /// # Errors, cancel safety
    ///
    /// As for the stream itself.
    pub const fn next_window(&mut self) -> NextWindow<'_, S, O> {
        NextWindow { merge: self }
    }

    /// Attempts to get the next window, or warning. `None` is the end.
    ///
    /// # Errors
    ///
    /// As for the stream itself.
    pub fn poll_next_window(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next<S>>> {
        self.enter();
        let polled = self.poll_window(cx);
        self.children.leave();
        polled
    }

    /// Drops all batches, closes all sources that are left, concurrently, and waits until each is closed.
    ///
    /// Every source is attempted, even if others fail. Closing twice is the same as closing once, and a merge that was never polled can be
    /// closed. Windows that were handed out keep their batches.
    ///
    /// # Errors
    ///
    /// All errors: those of closing, and those that the merge has met and not yielded.
    ///
    /// # Panics
    ///
    /// Where a source panics. The others are closed by the next call.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped half-way, the next call resumes. No source is closed twice.
    pub const fn close(&mut self) -> Close<'_, Self> {
        Close::of(self)
    }

    /// Attempts to close, as [`close`](Self::close) does.
    ///
    /// # Errors
    ///
    /// As for [`close`](Self::close).
    pub fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        self.enter();
        let polled = self.poll_closing(cx);
        self.children.leave();
        polled
    }

    /// Adds a source while merging, and returns its index: how many have joined before it.
    ///
    /// It takes effect at once: rows that are decided and were not handed out are merged again. If half of the places are of sources that are
    /// gone, these places are let go first, and those of later sources move up.
    ///
    /// # Ordering
    ///
    /// Nothing more is yielded until the source has given its first rows. Rows of it that come before what was already yielded are yielded
    /// next.
    ///
    /// # Complexity
    ///
    /// `O(K)`, where K is the number of sources that are open.
    ///
    /// # Errors
    ///
    /// Gives the source back if the merge is closing or closed, has met the error that ends it, has reached its limit or was
    /// interrupted by a panic.
    #[track_caller]
    pub fn push(&mut self, source: S) -> Result<usize, PushError<S>>
    where
        S: UnpinSource,
    {
        if !self.children.can_join() || self.remaining == 0 || self.is_ending {
            return Err(PushError { source_not_added: source });
        }
        if let Some(stays) = self.children.staying() {
            let stays_at = |place: usize| stays.get(place).is_none_or(|stays| *stays);
            self.windows.retain(stays_at);
            let mut places = 0..;
            self.ends.retain(|_| places.next().is_some_and(stays_at));
            if let Some(checker) = &mut self.checker {
                checker.retain(stays_at);
            }
            self.children.retain(&stays);
        }
        self.windows.push();
        self.ends.push(0);
        Ok(self.children.push(source, Location::caller()))
    }
}

impl<S: Source, O> BatchMerge<S, O> {
    /// Returns whether the merge has nothing more to yield but what goes wrong in closing: its sources are being closed,
    /// or are.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        !self.children.is_merging() && self.reports.is_empty()
    }

    /// Returns whether something is known to be missing in what is yielded: a source has failed and was replaced by a warning,
    /// or [is partial](Source::is_partial) itself.
    ///
    /// # Complexity
    ///
    /// `O(K)`.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.reports.is_partial || self.children.is_partial()
    }

    /// Returns what the merge and each of its sources have done so far. The [items](MergeStats::items) of the merge are rows, those of a
    /// [source](super::SourceStats::items) batches.
    ///
    /// # Complexity
    ///
    /// `O(K)`, with one allocation.
    #[must_use]
    pub fn stats(&self) -> MergeStats {
        let (sources, forgotten) = self.children.stats();
        MergeStats { items: self.rows, is_partial: self.is_partial(), sources, forgotten }
    }

    /// Tells those who observe that the merge has ended. The first call counts.
    fn tell_end(&mut self, end: Ending) {
        let is_partial = self.is_partial();
        self.children.tell_end(end, self.rows, is_partial);
    }

    /// Lets go of all that came out of the sources. What panics by that does not keep the others from it.
    fn drop_batches(&mut self) {
        for batch in self.windows.take_batches() {
            contain_panic(|| drop(batch));
        }
        for row in self.checker.take().into_iter().flat_map(RowChecker::into_rows) {
            contain_panic(|| drop(row));
        }
    }
}

/// A window: from the batches of the children, and out of the merge.
impl<S, O> BatchMerge<S, O>
where
    S: Source + Unpin,
    O: RowOrder<S::Item>,
{
    /// Notes that code which is not ours may run from here on, and mends what it has broken if it panicked the last time.
    fn enter(&mut self) {
        if self.children.enter() {
            self.recover();
        }
    }

    /// P7: all progress is in the merge, and rows count as handed out in the poll that hands them over. So a dropped future loses none.
    fn poll_window(&mut self, cx: &Context<'_>) -> Poll<Option<Next<S>>> {
        self.begin();
        self.drive(cx);
        if let Some(window) = self.take_window() {
            return Poll::Ready(Some(Ok(Merged::Window(window))));
        }
        if self.children.is_complete() && self.reports.is_empty() {
            // Nobody lacks a batch and nothing is decided: all have ended.
            self.start_closing();
        }
        if let Some((reported, _)) = self.reports.pop() {
            return Poll::Ready(Some(reported.map(|(_, warning)| Merged::Warning(warning))));
        }
        if self.is_closed() {
            // Who has asked for it through other streams has no other way to get what went wrong.
            let kept = if self.asked.is_to_close() { self.reports.pop_kept() } else { None };
            return Poll::Ready(kept.map(Err));
        }
        self.children.yield_if_due(cx);
        Poll::Pending
    }

    /// Does what is due now that the last window has been taken.
    fn begin(&mut self) {
        if self.asked.is_to_close() && self.children.is_merging() {
            self.reports.keep_errors();
            self.start_closing();
        }
        if self.asked.is_to_finish() {
            self.start_closing();
        }
        if self.windows.has_decided() || !self.children.is_merging() {
            return;
        }
        if self.remaining == 0 || self.is_ending {
            self.start_closing();
        } else if std::mem::take(&mut self.is_to_ask) {
            self.ask();
        }
    }

    /// P11: has those polled without whose batches nothing more can be decided. The merge has let go of the last batch of each.
    fn ask(&mut self) {
        let mut at = 0;
        while let Some(&place) = self.windows.needs().get(at) {
            if !self.children.is_awaited(place) {
                self.ask_again(place);
            }
            at += 1;
        }
    }

    /// Has a child polled for a batch once more.
    fn ask_again(&mut self, place: usize) {
        self.children.hold_back(place);
        let index = self.children.index(place);
        self.children.resume(index);
    }

    /// Polls the children that are due.
    fn drive(&mut self, cx: &Context<'_>) {
        let mut turn = self.children.turn(cx.waker());
        while let Some(place) = self.children.next_due(&mut turn) {
            if let Some(event) = self.children.poll(place, &mut turn) {
                self.on(place, event);
            }
        }
    }

    /// Acts on what has come of polling a child.
    fn on(&mut self, place: usize, event: EventOf<S>) {
        match event {
            Event::Head(batch) => self.receive(place, batch),
            Event::Ended => {
                self.windows.end(place);
                self.close_child(place);
            }
            Event::Failed(error) => {
                self.windows.end(place);
                self.report(error);
                self.close_child(place);
            }
            Event::Closed(errors) => errors.into_iter().for_each(|error| self.report(error)),
        }
    }

    /// Takes a batch in, unless the check of the order or who pays for it refuses it.
    fn receive(&mut self, place: usize, batch: S::Item) {
        let order = &mut self.windows.order_mut().0;
        let rows = order.rows(&batch);
        if let Some(checker) = &mut self.checker
            && let Some((position, count)) = checker.check(place, &batch, rows, order)
        {
            self.children.count_out_of_order(place, count);
            if checker.check == OrderCheck::Fail {
                drop(batch);
                let event = self.children.fail(place, SourceError::new(Cause::OutOfOrder { position }));
                return self.on(place, event);
            }
        }
        let charge = self.charge.as_mut().filter(|_| rows > 0).map(|charge| charge(&batch)).transpose();
        let charge = match charge {
            Ok(charge) => charge,
            Err(refusal) => {
                drop(batch);
                return self.refuse(place, refusal);
            }
        };
        let batch = SharedBatch::new(batch, self.children.child(place).origin.clone(), charge);
        // It lacks one, or it would not have been asked.
        drop(self.windows.supply(place, batch));
        self.ends[place] = 0;
        if rows == 0 {
            self.ask_again(place);
        }
    }

    /// P13: has a child fail whose batch is not paid for, and the merge with it.
    fn refuse(&mut self, place: usize, refusal: SourceError<S::Error>) {
        if let Event::Failed(error) = self.children.fail(place, refusal) {
            self.windows.end(place);
            self.is_ending |= self.reports.report_fatal(error);
            self.end_if_due();
            self.close_child(place);
        }
    }

    /// P15: takes the next rows, as far as they are decided, and lets go of the batches that they use up. Nothing is decided while a
    /// child lacks a batch, or a report waits.
    fn take_window(&mut self) -> Option<BatchWindow<S::Item>> {
        let can_decide = self.children.is_complete() && self.reports.is_empty();
        if !can_decide && !self.windows.has_decided() {
            return None;
        }
        let runs = self.windows.take_runs(self.window_rows);
        if runs.is_empty() {
            return None;
        }
        // Where the last run of each child ends. To look at the runs takes as long as to make them, so that is only done if some are left.
        self.before.clone_from(&self.ends);
        if self.windows.has_decided() {
            for run in &runs {
                self.ends[run.source()] = run.rows().end;
            }
        } else {
            for (place, end) in self.ends.iter_mut().enumerate() {
                *end = self.windows.decided(place).max(*end);
            }
        }
        let mut rows = 0;
        let batch = |(place, (end, before)): (usize, (&usize, &usize))| {
            rows += (end - before) as u64;
            let batch = self.windows.batch(place).filter(|_| end > before).cloned()?;
            drop(self.windows.take_used_up(place, *end));
            Some(batch)
        };
        let batches = self.ends.iter().zip(&self.before).enumerate().map(batch).collect();
        self.rows += rows;
        self.remaining -= rows;
        self.is_to_ask = true;
        Some(BatchWindow::new(runs, batches))
    }
}

/// An error, and the end.
impl<S, O> BatchMerge<S, O>
where
    S: Source + Unpin,
    O: RowOrder<S::Item>,
{
    /// Reports an error, which ends the merge unless it is tolerated.
    fn report(&mut self, error: SourceError<S::Error>) {
        self.is_ending |= self.reports.report(error);
        self.end_if_due();
    }

    /// P8: ends the merge if an error does so, and no decided rows are left that come before it.
    fn end_if_due(&mut self) {
        if self.is_ending && !self.windows.has_decided() {
            self.start_closing();
        }
    }

    /// Closes a child that has come to its end.
    fn close_child(&mut self, place: usize) {
        if let Some(checker) = &mut self.checker {
            checker.forget(place);
        }
        if let Some(event) = self.children.poll_close(place) {
            self.on(place, event);
        }
    }

    /// P15: has every source closed from now on, and drops all that came out of them before one is asked to close.
    fn start_closing(&mut self) {
        if self.children.start_closing() {
            self.drop_batches();
        }
    }

    fn poll_closing(&mut self, cx: &Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        self.reports.keep_errors();
        self.start_closing();
        self.drive(cx);
        if self.is_closed() {
            return Poll::Ready(CloseError::check(self.reports.take_errors()));
        }
        self.children.yield_if_due(cx);
        Poll::Pending
    }

    /// P4: whether every source has been closed, which is when the stream ends.
    fn is_closed(&mut self) -> bool {
        if self.children.finish_closing() {
            self.tell_end(Ending::Closed);
        }
        self.children.is_closed()
    }

    /// P13: goes on after a panic: releases the source that has panicked, if it was one, and has the others closed.
    #[cold]
    fn recover(&mut self) {
        let panicked = self.children.find_panicked();
        self.start_closing();
        self.children.release_panicked(panicked);
    }
}

impl<S, O> Stream for BatchMerge<S, O>
where
    S: Source + Unpin,
    O: RowOrder<S::Item>,
{
    type Item = Next<S>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_window(cx)
    }

    /// Nothing is known but by those who ask: see [`is_closing`](super::is_closing).
    fn size_hint(&self) -> (usize, Option<usize>) {
        inquiry::answer(self.is_closing(), &self.asked, || self.children.nudge())
    }
}

impl<S, O> FusedStream for BatchMerge<S, O>
where
    S: Source + Unpin,
    O: RowOrder<S::Item>,
{
    fn is_terminated(&self) -> bool {
        self.children.is_closed()
    }
}

impl<S, O> Closable for BatchMerge<S, O>
where
    S: Source + Unpin,
    O: RowOrder<S::Item>,
{
    type Error = S::Error;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        self.poll_close_all(cx)
    }
}

/// P5: releases everything, synchronously.
impl<S: Source, O> Drop for BatchMerge<S, O> {
    fn drop(&mut self) {
        // Batches first: they may hold on to what their sources lend.
        contain_panic(|| self.drop_batches());
        self.children.drop_unclosed();
        contain_panic(|| self.tell_end(Ending::DroppedUnclosed));
    }
}

/// Shows what the merge is doing and each source, without asking batches or sources to be printed.
impl<S: Source, O> fmt::Debug for BatchMerge<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchMerge")
            .field("name", &self.name)
            .field("rows", &self.rows)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

/// Waits for the next window. Returned by [`BatchMerge::next_window`].
///
/// # Cancel safety
///
/// Nothing is lost when this future is dropped: the next one yields the same rows.
#[must_use = "futures do nothing unless polled"]
pub struct NextWindow<'a, S: Source, O> {
    merge: &'a mut BatchMerge<S, O>,
}

impl<S, O> Future for NextWindow<'_, S, O>
where
    S: Source + Unpin,
    O: RowOrder<S::Item>,
{
    type Output = Option<Next<S>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.merge.poll_next_window(cx)
    }
}

impl<S: Source, O> fmt::Debug for NextWindow<'_, S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextWindow").field("merge", &self.merge).finish()
    }
}
