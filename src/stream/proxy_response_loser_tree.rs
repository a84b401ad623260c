use std::fmt;
use std::mem;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;

use super::builder::{Attribute, Builder, Setup};
use super::children::{Children, Event, EventOf, POLL_BUDGET, Returned};
use super::close::{Closable, Close};
use super::counters::Counters;
use super::inquiry::{self, Asked};
use super::merge_source::{MergeSource, Nested};
use super::order_check::{OrderCheck, OrderChecker};
use super::push_error::PushError;
use super::reports::{Reports, Yielded};
use super::source::{PollNext, Source, UnpinSource};
use super::stats::MergeStats;
use super::telemetry::MergeTelemetry;
use crate::contain_panic::contain_panic;
use crate::error::{Cause, CloseError, SourceError};
use crate::key::{Natural, Order};
use crate::merge::Undrained;
use crate::resource::Ending;
use crate::tree::LoserTree;

/// From how many bytes on a way with fewer copies is worth it. Records of 256 bytes take 0.8 of the time by that, and those of 64
/// bytes 0.95; numbers would take 1.09 times as long (bench `scoreboard`, `async/records` and `async/u64`, with 0 and
/// `usize::MAX` here).
const LARGE_ITEM: usize = 48;

/// Merges sorted async sources into one sorted stream, owns them, and closes every one of them.
///
/// A [`Stream`] of `Result`s. The [module documentation](super) shows its life cycle.
///
/// # Ordering
///
/// By the order of the merge, the natural one unless the [builder](Self::builder) was told otherwise; equal
/// items in source order. A source out of order makes the order of the output unspecified, and nothing else;
/// [`Builder::order_check`] finds it.
///
/// # Complexity
///
/// For N items from K sources, at most (K − 1) + N·⌈log2 K⌉ comparisons and `O(K)` memory. With more than four sources and
/// keys that are [strings of bytes](crate::SortKey::PARTS) whose beginnings are often the same, each item is also compared once
/// with the runner-up, and K − 1 are once, where that begins. Nothing is allocated for an item after start-up.
///
/// A source is polled once at first, once for each item that is taken from it, and whenever its own waker has fired;
/// start-up costs `O(K)` polls however the sources wake. No source is asked for more than one item ahead of what was yielded
/// from it.
///
/// One poll of the merge polls at most 128 sources. If more are due, it yields to the executor and has
/// itself woken: the only time that it wakes itself. A block is at most 128 items, each of which polls its source.
///
/// # Errors
///
/// By default the first error of any source ends the merge: it is yielded once, every other source is
/// closed, then comes `None`. Items that are ready before the error are yielded before it, heads that still
/// wait are dropped. With [`Builder::warn_with`] a failing source is replaced by a warning item and
/// the others go on. Errors that come after the one that was yielded are kept for [`close`](Self::close).
///
/// # Panics
///
/// Only where a source or the order panics. The panic unwinds through the poll that met it; a source that
/// panicked is then dropped without another call, and the merge goes on by closing the others. Whoever catches
/// the panic and goes on polling gets `None` when they are closed, which is then not the end of the data. The
/// sources and the heads that are left can also be taken back with [`into_sources`](Self::into_sources), and no item is lost
/// if it was the order that panicked. With a source that panicked its head is lost. That may be the item that was about to be
/// yielded, since the source is asked for the successor before; [`next_ready`](Self::next_ready) asks after it has appended
/// the item.
///
/// # Cancel safety
///
/// Dropping a future that waits for the next item loses nothing: the next one yields the same item.
///
/// # Closing
///
/// - A source that has ended or failed is closed at once, and dropped when its closing has completed.
/// - The stream ends, with `None`, only after every source has been closed.
/// - [`close`](Self::close) ends early: it closes all that are left, concurrently.
/// - Dropping the merge drops its heads and then its sources, in source order, synchronously, and records them
///   as dropped unclosed. It does not block, spawn or panic: should the drop of a source panic, that is
///   caught, and the other sources are dropped all the same. What a source does asynchronously to release
///   something may not have happened when the drop returns; only `close` waits for that.
/// - Where nothing can be awaited, as in a future that is given up, put it into a [`CloseOnDrop`](super::CloseOnDrop): dropped early,
///   it is closed in the background, within a time limit.
///
/// # Examples
///
/// ```
/// use futures::stream::{self, StreamExt, TryStreamExt};
/// use losertree::{ProxyResponseLoserTree, from_stream};
/// use std::convert::Infallible;
///
/// # futures::executor::block_on(async {
/// let store = |items: Vec<u64>| from_stream(stream::iter(items).map(Ok::<_, Infallible>));
/// let mut merge = ProxyResponseLoserTree::new([store(vec![1, 4]), store(vec![2, 3, 5])]);
/// while let Some(item) = merge.try_next().await? {
///     if item == 3 {
///         break; // early
///     }
/// }
/// merge.close().await?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct ProxyResponseLoserTree<S: Source, O = Natural> {
    /// The items that the children have given, each at the place of its child.
    tree: LoserTree<S::Item, O>,
    children: Children<S>,
    /// What is to be yielded ahead of the tournament.
    reports: Reports<S::Item, S::Error>,
    checker: Option<OrderChecker<S::Item>>,
    attribute: Option<Attribute<S::Item>>,
    name: Option<Arc<str>>,
    /// How many items of the tournament were yielded, and how many others of sources.
    items: u64,
    unordered_items: u64,
    /// How many items the limit still allows.
    remaining: u64,
    /// Set through other streams, which know nothing of merges: see [`inquiry`].
    asked: Asked,
}

type YieldedOf<S> = Yielded<<S as Source>::Item, <S as Source>::Error>;

// Nothing in here is ever pinned, neither the order nor the sources, which are `Unpin` to be polled.
impl<S: Source, O> Unpin for ProxyResponseLoserTree<S, O> {}

impl<S: Source> ProxyResponseLoserTree<S> {
    /// Merges sources by the natural order of their items, with the default options.
    #[track_caller]
    pub fn new(sources: impl IntoIterator<Item = S>) -> Self
    where
        S: UnpinSource,
        Natural: Order<S::Item>,
    {
        Self::builder().sources(sources).build()
    }

    /// Returns a builder, to set options.
    pub fn builder() -> Builder<S> {
        Builder::default()
    }
}

impl<S: Source, O> Builder<S, O> {
    /// Creates the merge. No source is polled before the merge is.
    ///
    /// # Complexity
    ///
    /// `O(K)` time and memory for K sources.
    pub fn build(self) -> ProxyResponseLoserTree<S, O>
    where
        O: Order<S::Item>,
    {
        let Self { setup, checker, attribute, order } = self;
        let Setup { sources, limit, name, recording, policy } = setup;
        let telemetry = MergeTelemetry::new(name.as_ref(), sources.len(), limit);
        ProxyResponseLoserTree {
            tree: LoserTree::new(order, sources.iter().map(|_| None)),
            children: Children::new(sources, recording, telemetry),
            reports: Reports::new(policy),
            checker,
            attribute,
            name,
            items: 0,
            unordered_items: 0,
            remaining: limit.unwrap_or(u64::MAX),
            asked: Asked::default(),
        }
    }
}

impl<S, O> ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    /// Waits for the next item and the index of its source.
    ///
    /// # Errors, cancel safety
    ///
    /// As for the stream itself.
    pub const fn next_with_source(&mut self) -> NextWithSource<'_, S, O> {
        NextWithSource { merge: self }
    }

    /// Attempts to get the next item and the index of its source.
    ///
    /// # Errors
    ///
    /// As for the stream itself.
    // As `poll_item`.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub fn poll_next_with_source(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Yielded<S::Item, S::Error>>> {
        self.enter();
        self.poll_item(cx)
    }

    /// Waits for the next item, and appends it to `out` with all others that are ready then, at most `max`. Returns
    /// how many these are; 0 only at the end of the stream, or if `max` is 0.
    ///
    /// The items are those that the stream would give, in less time. There are fewer than `max` if the next one has to be
    /// waited for, if the limit is reached, if the end, an error or a warning of the merge's own comes next, and never more
    /// than 128. What `out` holds already stays, and memory for it is allocated as it fills up, so a vector that is used
    /// again costs nothing.
    ///
    /// # Complexity
    ///
    /// That of the stream for the same items, but what is to be done besides merging is looked at once for all of them: sources
    /// that were woken, a closing that goes on. With ready sources of numbers an item takes 0.9 to 0.95 of the time (bench
    /// `scoreboard`, `async/blocks`).
    ///
    /// # Errors
    ///
    /// As for the stream itself. An error never comes together with items: those before it are appended, and the next
    /// call returns the error.
    ///
    /// # Panics
    ///
    /// As for the stream itself. What was appended before stays.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: as long as it is pending it has appended nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::stream;
    /// use losertree::{ProxyResponseLoserTree, from_stream};
    ///
    /// # futures::executor::block_on(async {
    /// let store = |items: Vec<u64>| from_stream(stream::iter(items.into_iter().map(Ok::<_, std::io::Error>)));
    /// let mut merge = ProxyResponseLoserTree::new([store(vec![1, 4]), store(vec![2, 3, 5])]);
    /// let mut block = Vec::new();
    /// while merge.next_ready(&mut block, 2).await? > 0 {
    ///     println!("{block:?}"); // [1, 2], then [3, 4], then [5]
    ///     block.clear();
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub const fn next_ready<'a>(&'a mut self, out: &'a mut Vec<S::Item>, max: usize) -> NextReady<'a, S, O> {
        NextReady { merge: self, out, max }
    }

    /// Attempts what [`next_ready`](Self::next_ready) does. It is pending only if it has appended nothing.
    ///
    /// # Errors
    ///
    /// As for [`next_ready`](Self::next_ready).
    pub fn poll_next_ready(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<S::Item>,
        max: usize,
    ) -> Poll<Result<usize, SourceError<S::Error>>> {
        if max == 0 {
            return Poll::Ready(Ok(0));
        }
        self.enter();
        let has_work = self.has_work();
        if has_work && !self.work(cx) {
            return self.poll_rest(cx).map(|rest| append(rest, out));
        }
        let taken = self.take_block(out, max.min(POLL_BUDGET));
        if taken == 0 {
            return self.poll_end(cx, has_work).map(|end| append(end, out));
        }
        self.children.leave();
        Poll::Ready(Ok(taken))
    }

    /// Closes all sources that are left, concurrently, and waits until each is closed.
    ///
    /// Heads that wait in the tournament are dropped first. Every source is attempted, even if others fail.
    /// Closing twice is the same as closing once, and a merge that was never polled can be closed.
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
    /// If the future is dropped half-way, the next call resumes. No source is closed twice. A source whose
    /// closing never completes keeps the future pending for ever: put a timeout around it, and drop the
    /// merge.
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
}

impl<S: Source, O: Order<S::Item>> ProxyResponseLoserTree<S, O> {
    /// Adds a source while merging, and returns its index: how many have joined before it.
    ///
    /// # Ordering
    ///
    /// Nothing more is yielded until the source has given its first item. Items of it that come before what
    /// was already yielded are yielded next.
    ///
    /// # Complexity
    ///
    /// Amortised `O(1)`, and at most 3·⌈log2 K⌉ + 1 comparisons more than without it, where K is the number of sources that are
    /// open. The places of sources that are gone are used again once they are half of all, so neither time nor memory grows with
    /// how many have come and gone.
    ///
    /// # Errors
    ///
    /// Gives the source back if the merge is closing or closed, has reached its limit or was interrupted by
    /// a panic.
    #[track_caller]
    pub fn push(&mut self, source: S) -> Result<usize, PushError<S>>
    where
        S: UnpinSource,
    {
        if !self.children.can_join() || self.remaining == 0 {
            return Err(PushError { source_not_added: source });
        }
        if let Some(stays) = self.children.staying() {
            let stays_at = |place: usize| stays.get(place).is_none_or(|stays| *stays);
            self.tree.retain(stays_at);
            if let Some(checker) = &mut self.checker {
                checker.retain(stays_at);
            }
            self.children.retain(&stays);
        }
        let index = self.children.push(source, Location::caller());
        self.tree.push(None);
        Ok(index)
    }

    /// Gives back all sources that have not been closed, each with its head if it has given one that was not
    /// yielded. They are recorded as handed back.
    ///
    /// A source that has ended and is not closed yet comes back too, with
    /// [`has_ended`](Undrained::has_ended) set: all that may be done with it is to go on closing it. A
    /// source that has panicked does not come back; it is dropped. So are errors that were met and not
    /// yielded; [`close`](Self::close) is what returns those.
    #[must_use = "dropping the sources releases them unclosed"]
    pub fn into_sources(mut self) -> Vec<Undrained<S, S::Item>> {
        let mut undrained = Vec::with_capacity(self.children.open());
        let mut unordered = self.reports.take_items();
        for place in 0..self.children.len() {
            if let Some(child) = self.children.hand_back(place) {
                let Returned { index, source, has_ended } = child;
                let head = self.tree.take_head(place).or_else(|| unordered.remove(&index));
                undrained.push(Undrained { index, head, source, has_ended });
            }
        }
        self.tell_end(Ending::HandedBack);
        undrained
    }
}

impl<S: Source, O> ProxyResponseLoserTree<S, O> {
    /// Makes a source of the merge, for a merge of merges: closing goes through all levels and is awaited.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::{TryStreamExt, stream};
    /// use losertree::{LeakLedger, ProxyResponseLoserTree, Source, closing};
    ///
    /// # futures::executor::block_on(async {
    /// let ledger = LeakLedger::sites();
    /// let region = |name: &'static str, first: u64| {
    ///     let store = |first: u64| {
    ///         let items = stream::iter([first, first + 2].map(Ok::<_, std::io::Error>));
    ///         closing(items, |_| async { Ok(()) }).named(format!("store-{first}"))
    ///     };
    ///     let merge = ProxyResponseLoserTree::builder().sources([store(first), store(first + 1)]).ledger(&ledger);
    ///     merge.build().into_source().named(name)
    /// };
    /// let mut merge = ProxyResponseLoserTree::builder()
    ///     .sources([region("eu", 0), region("us", 10)])
    ///     .ledger(&ledger)
    ///     .limit(3)
    ///     .build();
    /// assert_eq!(merge.by_ref().try_collect::<Vec<_>>().await?, [0, 1, 2]);
    /// assert_eq!(ledger.snapshot().closed, 6); // two regions, four stores
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # use futures::StreamExt;
    /// ```
    pub const fn into_source(self) -> MergeSource<Self> {
        MergeSource::new(self)
    }

    /// Returns whether the merge has nothing more to yield but what goes wrong in closing: its sources are being closed,
    /// or are.
    ///
    /// It is so once a poll has found the end of all sources, or the limit reached, or has yielded the error that ends the
    /// merge. The stream ends, with `None`, when the last source is closed.
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

    /// Returns what the merge and each of its sources have done so far.
    ///
    /// # Complexity
    ///
    /// `O(K)`, with one allocation.
    #[must_use]
    pub fn stats(&self) -> MergeStats {
        let (sources, forgotten) = self.children.stats();
        MergeStats {
            items: self.items + self.unordered_items,
            is_partial: self.is_partial(),
            sources,
            forgotten,
        }
    }

    /// Tells those who observe that the merge has ended. The first call counts.
    fn tell_end(&mut self, end: Ending) {
        let is_partial = self.is_partial();
        self.children.tell_end(end, self.items + self.unordered_items, is_partial);
    }
}

/// For the stages that hold back what a merge yields.
impl<S: Source + Unpin, O: Order<S::Item>> ProxyResponseLoserTree<S, O> {
    /// Returns how many items the tournament has given, if what was yielded last is one, and whether that is equal to the one
    /// before it, if that is known.
    pub(crate) fn last_item(&self) -> Option<(u64, Option<bool>)> {
        let is_of_tournament = self.reports.last_after != Some(self.items);
        is_of_tournament.then(|| (self.items, self.tree.is_taken_repeat()))
    }

    pub(super) const fn order_mut(&mut self) -> &mut O {
        self.tree.order_mut()
    }
}

/// An item: from its child into the tournament, and out of it.
impl<S, O> ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    /// Notes that code which is not ours may run from here on, and mends what it has broken if it panicked
    /// the last time.
    #[inline]
    fn enter(&mut self) {
        if self.children.enter() {
            self.recover();
        }
    }

    /// A poll for the next item.
    ///
    /// The way of an item that is ready is inlined into the consumer, together with the replay, and returns
    /// from its own tail; all else is in functions that are not. As calls that hand their results over in
    /// memory it takes 16 ns instead of 11 at K = 16, and where both ways end in one, 2 ns more (bench
    /// `async_ready`).
    ///
    /// P7: all progress is in the merge, and an item leaves its leaf in the poll that hands it over. So a dropped future loses none.
    ///
    /// P11: the winner's source is polled for the successor at once: its next request is then under way while the
    /// consumer works. The item does not wait for it. It stays in its leaf until the source has returned, and is dropped with
    /// the source if that panics. Then the two are exchanged, which asks the order nothing, so that it can cost neither.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<YieldedOf<S>>> {
        let has_work = self.has_work();
        if has_work && !self.work(cx) {
            return self.poll_rest(cx);
        }
        let Some((place, head)) = self.tree.winner() else { return self.poll_end(cx, has_work) };
        if let Some(checker) = &mut self.checker {
            checker.note(place, head);
        }
        // Without work, nobody was woken.
        if has_work {
            self.children.take_wake_up(place);
        }
        let successor = if self.remaining == 1 { Poll::Pending } else { self.children.poll_next(place) };
        let index = self.children.index(place);
        let successor = match successor {
            Poll::Ready(Some(Ok(successor))) if self.tree.is_ordered(&successor) => successor,
            successor => return self.take_last_ready(place, successor),
        };
        if size_of::<S::Item>() >= LARGE_ITEM {
            let ready = |item| Poll::Ready(Some(Ok((index, item))));
            let Some(ready) = self.tree.replace_large_winner(place, successor, ready) else {
                return self.poll_end(cx, has_work);
            };
            self.end_taking(place);
            return ready;
        }
        let Some(item) = self.tree.replace_winner(place, successor) else {
            return self.poll_end(cx, has_work);
        };
        self.end_taking(place);
        Poll::Ready(Some(Ok((index, item))))
    }

    /// The end of a poll that takes the winner of a source with a successor.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    const fn end_taking(&mut self, place: usize) {
        if let Some(checker) = &mut self.checker {
            checker.unchecked = Some(place);
        }
        self.count();
        self.children.leave();
    }

    /// Takes the winner's item, where its source has no successor ready.
    #[inline(never)]
    fn take_last_ready(&mut self, place: usize, successor: PollNext<S>) -> Poll<Option<YieldedOf<S>>> {
        let index = self.children.index(place);
        let event = self.children.take(place, successor);
        let item = self.tree.set_head(place, None);
        if let Some(event) = event {
            self.on(place, event);
        }
        // Should the source have panicked while it was closed, the item is lost, and not counted.
        self.count();
        self.children.leave();
        // The winner has a head, so this is an item.
        Poll::Ready(item.map(|item| Ok((index, item))))
    }

    /// Takes as many items as are ready, up to `most`, and returns how many; none if all sources are at their end.
    ///
    /// An item is handed over before its source is polled for the successor, so that a panic there does not cost it. Where the
    /// successor is ready and more is wanted, it is brought and the next item taken in one step, as in a sync merge.
    fn take_block(&mut self, out: &mut Vec<S::Item>, most: usize) -> usize {
        let mut taken = 0;
        let mut popped = self.tree.pop();
        while let Some((place, item)) = popped {
            let at = out.len();
            out.push(item);
            if let Some(checker) = &mut self.checker {
                checker.note(place, &out[at]);
            }
            self.count();
            taken += 1;
            if self.children.may_be_woken() {
                self.children.take_wake_up(place);
            }
            let successor = if self.remaining == 0 { Poll::Pending } else { self.children.poll_next(place) };
            popped = match successor {
                Poll::Ready(Some(Ok(head)))
                    if taken < most && self.checker.is_none() && self.tree.is_ordered(&head) =>
                {
                    self.tree.bring_and_pop(place, head)
                }
                successor => {
                    self.bring(place, successor);
                    if taken == most || self.remaining == 0 || !self.is_ready() {
                        return taken;
                    }
                    self.tree.pop()
                }
            };
        }
        taken
    }

    /// Brings what has come after an item that was taken.
    #[inline(never)]
    fn bring(&mut self, place: usize, successor: PollNext<S>) {
        match successor {
            Poll::Ready(Some(Ok(head))) if self.tree.is_ordered(&head) => {
                self.tree.set_head(place, Some(head));
                if let Some(checker) = &mut self.checker {
                    checker.unchecked = Some(place);
                }
            }
            successor => {
                if let Some(event) = self.children.take(place, successor) {
                    self.on(place, event);
                }
            }
        }
    }

    const fn count(&mut self) {
        self.items += 1;
        self.remaining -= 1;
    }

    /// Whether there may be more to do than to take the winner.
    #[inline]
    fn has_work(&self) -> bool {
        self.children.has_work() || self.remaining == 0 || !self.reports.is_empty() || self.checker.is_some()
    }

    /// Does what there is to do. Returns whether a winner can be taken then.
    #[inline(never)]
    fn work(&mut self, cx: &Context<'_>) -> bool {
        if self.asked.is_to_close() && self.children.is_merging() {
            self.reports.keep_errors();
            self.start_closing();
        }
        if self.asked.is_to_finish() {
            self.remaining = 0;
        }
        if self.remaining == 0 {
            // What takes no part in the limit goes first: its source is not to be closed before.
            if !self.reports.is_empty() {
                return false;
            }
            self.start_closing();
        }
        self.drive(cx);
        self.is_ready()
    }

    /// Compares the last successor with the item before it, if that is due, and returns whether a winner can be taken.
    fn is_ready(&mut self) -> bool {
        if let Some(place) = self.checker.as_mut().and_then(|checker| checker.unchecked.take()) {
            self.check_order(place);
        }
        self.children.is_complete() && self.reports.is_empty()
    }

    /// Polls the children that are due.
    fn drive(&mut self, cx: &Context<'_>) {
        let mut turn = self.children.turn(cx.waker());
        while let Some(place) = self.children.next_due(&mut turn) {
            if self.children.is_awaited(place) {
                // While no item is on its way that an order which panics could cost.
                self.tree.settle_before(place);
            }
            if let Some(event) = self.children.poll(place, &mut turn) {
                self.on(place, event);
            }
        }
    }

    /// Acts on what has come of polling a child.
    fn on(&mut self, place: usize, event: EventOf<S>) {
        match event {
            Event::Head(item) if self.tree.is_ordered(&item) => {
                self.tree.set_head(place, Some(item));
                self.check_order(place);
            }
            Event::Head(item) => {
                self.children.hold_back(place);
                self.pass_on(place, item);
            }
            Event::Ended => self.close_child(place),
            Event::Failed(error) => {
                self.report(error);
                self.close_child(place);
            }
            Event::Closed(errors) => errors.into_iter().for_each(|error| self.report(error)),
        }
    }

    /// Has an item yielded that takes no part in the order.
    fn pass_on(&mut self, place: usize, item: S::Item) {
        let child = self.children.child(place);
        let item = match self.attribute {
            Some(attribute) => attribute(item, &child.origin),
            None => item,
        };
        self.reports.pass_on(child.index(), item);
    }

    /// Compares a new head with the item before, if the merge is to.
    fn check_order(&mut self, place: usize) {
        let Some(checker) = &self.checker else { return };
        if !checker.is_backwards(place, &mut self.tree) {
            return;
        }
        let check = checker.check;
        self.children.count_out_of_order(place, 1);
        if check == OrderCheck::Fail {
            drop(self.tree.set_head(place, None));
            let position = self.children.child(place).items() - 1;
            let event = self.children.fail(place, SourceError::new(Cause::OutOfOrder { position }));
            self.on(place, event);
        }
    }
}

/// An error, and the end.
impl<S, O> ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    /// Reports an error, which ends the merge unless it is tolerated.
    fn report(&mut self, error: SourceError<S::Error>) {
        if self.reports.report(error) {
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
            self.checker = None;
            self.reports.drop_items();
            drop(self.tree.take_heads());
        }
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
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

    /// The end of a poll that takes no winner.
    #[inline(never)]
    fn poll_rest(&mut self, cx: &Context<'_>) -> Poll<Option<YieldedOf<S>>> {
        let polled = if let Some((item, held_back)) = self.reports.pop() {
            self.reports.last_after = Some(self.items);
            if held_back.is_some_and(|index| self.children.resume(index)) {
                self.unordered_items += 1;
            }
            Poll::Ready(Some(item))
        } else if self.is_closed() {
            // Who has asked for it through other streams has no other way to get what went wrong.
            let kept = if self.asked.is_to_close() { self.reports.pop_kept() } else { None };
            Poll::Ready(kept.map(Err))
        } else {
            self.children.yield_if_due(cx);
            Poll::Pending
        };
        self.children.leave();
        polled
    }

    /// A poll that finds all sources at their end; those that are still open are being closed. If it has driven them
    /// already, they are not polled again: those that are due by now have yielded, or are beyond the budget.
    #[inline(never)]
    fn poll_end(&mut self, cx: &Context<'_>, has_driven: bool) -> Poll<Option<YieldedOf<S>>> {
        self.start_closing();
        if !has_driven {
            self.drive(cx);
        }
        self.poll_rest(cx)
    }

    /// P13: goes on after a panic: releases the source that has panicked, if it was one, and has the others closed.
    #[cold]
    fn recover(&mut self) {
        let panicked = self.children.find_panicked();
        self.start_closing();
        self.children.release_panicked(panicked);
    }
}

impl<S, O> Stream for ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Item = Result<S::Item, SourceError<S::Error>>;

    #[allow(clippy::inline_always)]
    #[inline(always)]
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_with_source(cx).map(|next| next.map(|item| item.map(|(_, item)| item)))
    }

    /// Nothing is known but by those who ask: see [`is_closing`](super::is_closing).
    fn size_hint(&self) -> (usize, Option<usize>) {
        inquiry::answer(self.is_closing(), &self.asked, || self.children.nudge())
    }
}

impl<S, O> FusedStream for ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    fn is_terminated(&self) -> bool {
        self.children.is_closed()
    }
}

impl<S, O> Closable for ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Error = S::Error;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        self.poll_close_all(cx)
    }
}

impl<S, O> Nested for ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Yielded = S::Item;

    fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.enter();
        self.work(cx);
        self.children.yield_if_due(cx);
        self.children.leave();
    }

    fn counters(&self) -> Counters {
        self.children.counters()
    }

    fn is_partial(&self) -> bool {
        self.is_partial()
    }
}

/// P5: releases everything, synchronously.
impl<S: Source, O> Drop for ProxyResponseLoserTree<S, O> {
    fn drop(&mut self) {
        // Heads first: they may hold on to what their sources lend.
        if mem::needs_drop::<S::Item>() {
            for place in 0..self.children.len() {
                let head = self.tree.take_head(place);
                contain_panic(|| drop(head));
            }
            contain_panic(|| self.reports.drop_items());
            contain_panic(|| self.checker = None);
        }
        self.children.drop_unclosed();
        contain_panic(|| self.tell_end(Ending::DroppedUnclosed));
    }
}

/// Shows what the merge is doing and each source, without asking items or sources to be printed.
impl<S: Source, O> fmt::Debug for ProxyResponseLoserTree<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyResponseLoserTree")
            .field("name", &self.name)
            .field("items", &self.items)
            .field("children", &self.children)
            .finish_non_exhaustive()
    }
}

/// Waits for the next item and its source. Returned by [`ProxyResponseLoserTree::next_with_source`].
///
/// # Cancel safety
///
/// Nothing is lost when this future is dropped: the next one yields the same item.
#[must_use = "futures do nothing unless polled"]
pub struct NextWithSource<'a, S: Source, O> {
    merge: &'a mut ProxyResponseLoserTree<S, O>,
}

impl<S, O> Future for NextWithSource<'_, S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Output = Option<Yielded<S::Item, S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.merge.poll_next_with_source(cx)
    }
}

impl<S: Source, O> fmt::Debug for NextWithSource<'_, S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextWithSource").field("merge", &self.merge).finish()
    }
}

/// Waits for the next items. Returned by [`ProxyResponseLoserTree::next_ready`].
///
/// # Cancel safety
///
/// Nothing is lost when this future is dropped: as long as it is pending, it has appended nothing.
#[must_use = "futures do nothing unless polled"]
pub struct NextReady<'a, S: Source, O> {
    merge: &'a mut ProxyResponseLoserTree<S, O>,
    out: &'a mut Vec<S::Item>,
    max: usize,
}

impl<S, O> Future for NextReady<'_, S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Output = Result<usize, SourceError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.merge.poll_next_ready(cx, this.out, this.max)
    }
}

impl<S: Source, O> fmt::Debug for NextReady<'_, S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextReady")
            .field("merge", &self.merge)
            .field("len", &self.out.len())
            .field("max", &self.max)
            .finish()
    }
}

/// Appends the item of a poll that took no winner, if it is one: a warning.
fn append<T, E>(polled: Option<Yielded<T, E>>, out: &mut Vec<T>) -> Result<usize, SourceError<E>> {
    polled.map_or(Ok(0), |item| {
        out.push(item?.1);
        Ok(1)
    })
}
