use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;

use super::builder::Options;
use super::gone::Gone;
use super::inquiry::{self, Asked};
use super::readiness::Readiness;
use super::reports::Reports;
use super::slot::{Slot, SlotState};
use super::watch::{MergeEnd, MergeWatch};
use super::{Builder, Close, NextWithSource, Source, UnpinSource, Yielded};
use crate::contain_panic::contain_panic;
use crate::error::{CloseError, SourceError};
use crate::key::{Natural, Order};
use crate::merge::Undrained;
use crate::tree::LoserTree;

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
/// wait are dropped. With [`Builder::partial_response`] a failing source is replaced by a warning item and
/// the others go on. Errors that come after the one that was yielded are kept for [`close`](Self::close).
///
/// # Panics
///
/// Only where a source or the order panics. The panic unwinds through the poll that met it; a source that
/// panicked is then dropped without another call, and the merge goes on by closing the others. Whoever catches
/// the panic and goes on polling gets `None` when they are closed, which is then not the end of the data. The
/// sources and the heads that are left can also be taken back with [`into_sources`](Self::into_sources), and no item is lost
/// if it was the order that panicked. With a source that panicked its head is lost. That may be the item that was about to be
/// yielded, since the source is asked for the successor before; [`next_block`](Self::next_block) asks after it has appended
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
/// - Dropping the merge drops its heads and then its sources, in source order, synchronously, and books them
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
    pub(super) tree: LoserTree<S::Item, O>,
    pub(super) slots: Vec<Slot<S>>,
    pub(super) readiness: Readiness,
    /// The sources to be polled next, by number.
    pub(super) due: VecDeque<usize>,
    /// How many sources the tournament lacks a head of.
    pub(super) awaiting: usize,
    /// How many sources have not been released.
    pub(super) open: usize,
    pub(super) stage: Stage,
    /// Set while code that is not ours may be running; found set, that code has panicked.
    pub(super) is_entered: bool,
    /// The place of the source whose closing is being polled.
    pub(super) closing: Option<usize>,
    /// Whether all sources have been told to close.
    pub(super) has_told_all: bool,
    pub(super) reports: Reports<S::Item, S::Error>,
    pub(super) options: Options<S::Item>,
    pub(super) watch: MergeWatch,
    /// How many items of the tournament were yielded, and how many others of sources.
    pub(super) items: u64,
    pub(super) unordered_items: u64,
    /// How many sources have joined.
    pub(super) joined: usize,
    pub(super) gone: Gone,
    /// Set through other streams, which know nothing of merges: see [`inquiry`](super::inquiry).
    pub(super) asked: Asked,
    /// How many items the limit still allows.
    pub(super) remaining: u64,
}

/// Where in its life a merge is. It is filling for as long as a source has not given its first head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Merging,
    Closing,
    Closed,
}

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

impl<S: Source, O: Order<S::Item>> ProxyResponseLoserTree<S, O> {
    pub(super) fn from_builder(builder: Builder<S, O>) -> Self {
        let Builder { sources, options, order, policy } = builder;
        let readiness = Readiness::with_capacity(sources.len());
        let watch = MergeWatch::new(options.name.as_ref(), sources.len(), options.limit);
        let slots: Vec<_> = sources
            .into_iter()
            .enumerate()
            .map(|(index, (source, site))| {
                let open = |origin: &_| watch.open(origin, site, &options.ledger);
                Slot::new(source, index, readiness.add(index, true), options.is_timed, open)
            })
            .collect();
        let due = (0..slots.len()).collect();
        Self {
            tree: LoserTree::new(order, slots.iter().map(|_| None)),
            readiness,
            due,
            joined: slots.len(),
            gone: Gone::new(slots.len(), options.kept_stats),
            asked: Asked::default(),
            unordered_items: 0,
            awaiting: slots.len(),
            open: slots.len(),
            slots,
            stage: Stage::Merging,
            is_entered: false,
            closing: None,
            has_told_all: false,
            reports: Reports::new(policy),
            watch,
            items: 0,
            remaining: options.limit.unwrap_or(u64::MAX),
            options,
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

    /// Returns how many items the tournament has given, if what was yielded last is one, and whether that is equal to the one
    /// before it, if that is known.
    pub(crate) fn last_item(&self) -> Option<(u64, Option<bool>)> {
        let is_of_tournament = self.reports.last_after != Some(self.items);
        is_of_tournament.then(|| (self.items, self.tree.is_taken_repeat()))
    }

    /// Returns whether the merge has nothing more to yield but what goes wrong in closing: its sources are being closed,
    /// or are.
    ///
    /// It is so once a poll has found the end of all sources, or the limit reached, or has yielded the error that ends the
    /// merge. The stream ends, with `None`, when the last source is closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.stage != Stage::Merging && self.reports.is_empty()
    }

    /// Goes on with what is under way, and takes no item.
    pub(crate) fn poll_progress(&mut self, cx: &mut Context<'_>) {
        self.enter();
        self.work(cx);
        self.yield_if_due(cx);
        self.is_entered = false;
    }

    /// Attempts to close, as [`close`](Self::close) does.
    ///
    /// # Errors
    ///
    /// As for [`close`](Self::close).
    pub fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        self.enter();
        let polled = self.poll_closing(cx);
        self.is_entered = false;
        polled
    }
}

impl<S: Source, O> ProxyResponseLoserTree<S, O> {
    /// Tells those who observe that the merge has ended. The first call counts.
    pub(super) fn tell_end(&mut self, end: MergeEnd) {
        self.watch.end(end, self.items + self.unordered_items, self.is_partial());
    }
}

impl<S: Source, O: Order<S::Item>> ProxyResponseLoserTree<S, O> {
    /// Gives back all sources that have not been closed, each with its head if it has given one that was not
    /// yielded. They are booked as handed back.
    ///
    /// A source that has ended and is not closed yet comes back too, with
    /// [`has_ended`](Undrained::has_ended) set: all that may be done with it is to go on closing it. A
    /// source that has panicked does not come back; it is dropped. So are errors that were met and not
    /// yielded; [`close`](Self::close) is what returns those.
    #[must_use = "dropping the sources releases them unclosed"]
    pub fn into_sources(mut self) -> Vec<Undrained<S, S::Item>> {
        let mut undrained = Vec::with_capacity(self.open);
        let mut unordered = self.reports.take_items();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            if slot.state == SlotState::Called {
                continue;
            }
            if let Some((source, has_ended)) = slot.hand_back() {
                let index = slot.number();
                let head = self.tree.take_head(place).or_else(|| unordered.remove(&index));
                undrained.push(Undrained { index, head, source, has_ended });
            }
        }
        self.tell_end(MergeEnd::HandedBack);
        undrained
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
        inquiry::answer(self.is_closing(), &self.asked, || self.readiness.nudge())
    }
}

impl<S, O> FusedStream for ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    fn is_terminated(&self) -> bool {
        self.stage == Stage::Closed
    }
}

impl<S: Source, O> Drop for ProxyResponseLoserTree<S, O> {
    fn drop(&mut self) {
        self.readiness.detach();
        // Heads first: they may hold on to what their sources lend.
        if mem::needs_drop::<S::Item>() {
            for index in 0..self.slots.len() {
                let head = self.tree.take_head(index);
                contain_panic(|| drop(head));
            }
            contain_panic(|| self.reports.drop_items());
            contain_panic(|| self.options.checker = None);
        }
        for slot in &mut self.slots {
            contain_panic(|| slot.drop_unclosed());
        }
        contain_panic(|| self.tell_end(MergeEnd::Dropped));
    }
}

/// Shows what the merge is doing and each source, without asking items or sources to be printed.
impl<S: Source, O> fmt::Debug for ProxyResponseLoserTree<S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyResponseLoserTree")
            .field("name", &self.options.name)
            .field("stage", &self.stage)
            .field("awaiting", &self.awaiting)
            .field("open", &self.open)
            .field("items", &self.items)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}
