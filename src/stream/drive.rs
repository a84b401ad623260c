//! How a merge is driven: what one poll does.

use std::task::{Context, Poll};

use super::background::is_in_background;
use super::proxy_response_loser_tree::{ProxyResponseLoserTree, Stage};
use super::slot::{Slot, SlotState};
use super::watch::MergeEnd;
use super::{OrderCheck, PollNext, Source, SourceEnd, Yielded};
use crate::clock::Moment;
use crate::error::{Cause, CloseError, Phase, SourceError};
use crate::key::Order;
use crate::resource::Ending;

/// How many sources one poll of the merge polls at most. Enough that the cost of being scheduled again is
/// small beside it.
pub(super) const POLL_BUDGET: usize = 128;

/// From how many bytes on a way with fewer copies is worth it. Records of 256 bytes take 0.8 of the time by that, and those of 64
/// bytes 0.95; numbers would take 1.09 times as long (bench `scoreboard`, `async/records` and `async/u64`, with 0 and
/// `usize::MAX` here).
const LARGE_ITEM: usize = 48;

type Item<S> = Yielded<<S as Source>::Item, <S as Source>::Error>;

impl<S, O> ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    /// Notes that code which is not ours may run from here on, and mends what it has broken if it panicked
    /// the last time.
    #[inline]
    pub(super) fn enter(&mut self) {
        if self.is_entered {
            self.recover();
        }
        self.is_entered = true;
    }

    /// A poll for the next item.
    ///
    /// The way of an item that is ready is inlined into the consumer, together with the replay, and returns
    /// from its own tail; all else is in functions that are not. As calls that hand their results over in
    /// memory it takes 16 ns instead of 11 at K = 16, and where both ways end in one, 2 ns more (bench
    /// `async_ready`).
    ///
    /// The winner's source is polled for the successor at once: its next request is then under way while the
    /// consumer works. The item does not wait for it. It stays in its leaf until the source has returned, and is dropped with
    /// the source if that panics. Then the two are exchanged, which asks the order nothing, so that it can cost neither.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(super) fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<S>>> {
        let has_work = self.has_work();
        if has_work && !self.work(cx) {
            return self.poll_rest(cx);
        }
        let Some((source, head)) = self.tree.winner() else { return self.poll_end(cx, has_work) };
        if let Some(checker) = &mut self.options.checker {
            checker.note(source, head);
        }
        let slot = &mut self.slots[source];
        // A wake-up from before this poll is used up by it. Without work, none has come.
        if has_work {
            slot.waker.take();
        }
        let successor = if self.remaining == 1 { Poll::Pending } else { slot.poll_next() };
        let number = slot.number();
        let successor = match successor {
            Poll::Ready(Some(Ok(successor))) if self.tree.is_ordered(&successor) => successor,
            successor => return self.take_last_ready(source, successor),
        };
        if size_of::<S::Item>() >= LARGE_ITEM {
            let ready = |item| Poll::Ready(Some(Ok((number, item))));
            let Some(ready) = self.tree.replace_large_winner(source, successor, ready) else {
                return self.poll_end(cx, has_work);
            };
            self.end_taking(source);
            return ready;
        }
        let Some(item) = self.tree.replace_winner(source, successor) else {
            return self.poll_end(cx, has_work);
        };
        self.end_taking(source);
        Poll::Ready(Some(Ok((number, item))))
    }

    /// The end of a poll that takes the winner of a source with a successor.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    const fn end_taking(&mut self, source: usize) {
        if let Some(checker) = &mut self.options.checker {
            checker.unchecked = Some(source);
        }
        self.count();
        self.is_entered = false;
    }

    /// Whether there may be more to do than to take the winner.
    #[inline]
    pub(super) fn has_work(&self) -> bool {
        self.stage != Stage::Merging
            || self.awaiting > 0
            || self.remaining == 0
            || self.may_be_woken()
            || !self.reports.is_empty()
            || self.options.checker.is_some()
    }

    /// Whether a source may have been woken since the list of those was taken.
    #[inline]
    pub(super) fn may_be_woken(&self) -> bool {
        self.readiness.has_woken() || !self.due.is_empty()
    }

    /// Does what there is to do. Returns whether a winner can be taken then.
    #[inline(never)]
    pub(super) fn work(&mut self, cx: &Context<'_>) -> bool {
        if self.asked.is_to_close() && self.stage == Stage::Merging {
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
    pub(super) fn is_ready(&mut self) -> bool {
        let unchecked = self.options.checker.as_mut().and_then(|checker| checker.unchecked.take());
        if unchecked.is_some_and(|source| self.check_order(source)) {
            self.start_closing();
        }
        self.stage == Stage::Merging && self.awaiting == 0 && self.reports.is_empty()
    }

    /// The end of a poll that takes no winner.
    #[inline(never)]
    pub(super) fn poll_rest(&mut self, cx: &Context<'_>) -> Poll<Option<Item<S>>> {
        let polled = if let Some((item, source)) = self.reports.pop() {
            self.reports.last_after = Some(self.items);
            if let Some(source) = source.and_then(|number| self.position(number)) {
                self.unordered_items += 1;
                self.slots[source].waker.make_due(&mut self.due);
            }
            Poll::Ready(Some(item))
        } else if self.is_closed() {
            // Who has asked for it through other streams has no other way to get what went wrong.
            let kept = if self.asked.is_to_close() { self.reports.pop_kept() } else { None };
            Poll::Ready(kept.map(Err))
        } else {
            self.yield_if_due(cx);
            Poll::Pending
        };
        self.is_entered = false;
        polled
    }

    /// A poll that finds all sources at their end; those that are still open are being closed. If it has driven them
    /// already, they are not polled again: those that are due by now have yielded, or are beyond the budget.
    #[inline(never)]
    pub(super) fn poll_end(&mut self, cx: &Context<'_>, has_driven: bool) -> Poll<Option<Item<S>>> {
        self.start_closing();
        if !has_driven {
            self.drive(cx);
        }
        self.poll_rest(cx)
    }

    pub(super) fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<S::Error>>> {
        self.reports.keep_errors();
        self.start_closing();
        self.drive(cx);
        if self.is_closed() {
            return Poll::Ready(CloseError::check(self.reports.take_errors()));
        }
        self.yield_if_due(cx);
        Poll::Pending
    }

    fn is_closed(&mut self) -> bool {
        if self.stage == Stage::Closing && self.open == 0 {
            self.stage = Stage::Closed;
            self.readiness.detach();
            self.tell_end(MergeEnd::Closed);
        }
        self.stage == Stage::Closed
    }

    /// The place of a source in the tournament and among the slots; `None` if it is gone.
    fn position(&self, number: usize) -> Option<usize> {
        match self.slots.get(number) {
            Some(slot) if slot.number() == number => Some(number),
            _ => self.slots.binary_search_by_key(&number, Slot::number).ok(),
        }
    }

    /// The cooperative yield: what is due and was not reached is left to the next poll.
    pub(super) fn yield_if_due(&self, cx: &Context<'_>) {
        if !self.due.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    /// Registers the task and polls the sources that are due.
    ///
    /// A source that is woken in the meantime, even by itself, is left to the next poll: it has asked for the
    /// executor to run something else first.
    fn drive(&mut self, cx: &Context<'_>) {
        if self.stage == Stage::Closed {
            return;
        }
        self.readiness.take_woken(cx.waker(), &mut self.due);
        let mut now = None;
        for _ in 0..POLL_BUDGET {
            let Some(number) = self.due.pop_front() else { return };
            // One that is gone may have been woken before.
            let Some(source) = self.position(number) else { continue };
            let slot = &mut self.slots[source];
            if !slot.take_turn() {
                continue;
            }
            let must_close = match slot.state {
                SlotState::Awaiting => self.poll_head(source, &mut now),
                SlotState::Headed => {
                    slot.poll_progress();
                    false
                }
                SlotState::Ended | SlotState::Closing => self.poll_close_of(source),
                SlotState::Released | SlotState::Called => false,
            };
            if must_close {
                self.start_closing();
            }
        }
    }

    /// Polls a source whose head the tournament lacks. Returns whether the merge must close.
    fn poll_head(&mut self, source: usize, now: &mut Option<Moment>) -> bool {
        // While no item is on its way that an order which panics could cost.
        self.tree.settle_before(source);
        let slot = &mut self.slots[source];
        let phase = slot.phase();
        let Poll::Ready(head) = slot.poll_head(now) else {
            slot.note_wait();
            return false;
        };
        match head {
            Some(Ok(item)) if !self.tree.is_ordered(&item) => {
                self.pass_on(source, item);
                false
            }
            Some(Ok(head)) => {
                self.awaiting -= 1;
                slot.state = SlotState::Headed;
                slot.note_head();
                self.tree.set_head(source, Some(head));
                self.check_order(source)
            }
            None => {
                self.awaiting -= 1;
                self.end_source(source, SourceEnd::Exhausted, None)
            }
            Some(Err(error)) => {
                self.awaiting -= 1;
                let error = error.of_source(&slot.origin, phase);
                self.end_source(source, SourceEnd::Failed, Some(error))
            }
        }
    }

    /// Takes the winner's item, where its source has no successor ready.
    #[inline(never)]
    fn take_last_ready(&mut self, source: usize, successor: PollNext<S>) -> Poll<Option<Item<S>>> {
        let number = self.slots[source].number();
        let must_close = self.note_no_successor(source, successor);
        let item = self.tree.set_head(source, None);
        self.count();
        if must_close {
            self.start_closing();
        }
        self.is_entered = false;
        // The winner has a head, so this is an item.
        Poll::Ready(item.map(|item| Ok((number, item))))
    }

    /// Notes that the winner's source has no successor ready, or none at all, or something else to give before. Returns whether
    /// the merge must close.
    pub(super) fn note_no_successor(&mut self, source: usize, successor: PollNext<S>) -> bool {
        let slot = &mut self.slots[source];
        match successor {
            Poll::Pending => {
                slot.state = SlotState::Awaiting;
                slot.note_wait();
                self.awaiting += 1;
                false
            }
            Poll::Ready(Some(Err(error))) => {
                let error = error.of_source(&slot.origin, Phase::Merging);
                self.end_source(source, SourceEnd::Failed, Some(error))
            }
            Poll::Ready(Some(Ok(item))) => {
                slot.state = SlotState::Awaiting;
                self.awaiting += 1;
                self.pass_on(source, item);
                false
            }
            Poll::Ready(None) => self.end_source(source, SourceEnd::Exhausted, None),
        }
    }

    /// Has an item yielded that takes no part in the order.
    fn pass_on(&mut self, source: usize, item: S::Item) {
        let slot = &self.slots[source];
        let item = match self.options.attribute {
            Some(attribute) => attribute(item, &slot.origin),
            None => item,
        };
        self.reports.pass_on(slot.number(), item);
    }

    pub(super) const fn count(&mut self) {
        self.items += 1;
        self.remaining -= 1;
    }

    /// Closes a source that has come to its end, and reports why if that was an error. Returns whether the
    /// merge must close.
    fn end_source(&mut self, source: usize, end: SourceEnd, error: Option<SourceError<S::Error>>) -> bool {
        if let Some(checker) = &mut self.options.checker {
            checker.forget(source);
        }
        self.slots[source].end(end);
        let must_close = error.is_some_and(|error| self.reports.report(error));
        self.poll_close_of(source) || must_close
    }

    /// Polls the closing of a source, and reports if it fails. Returns whether the merge must close.
    fn poll_close_of(&mut self, source: usize) -> bool {
        let slot = &mut self.slots[source];
        let ending = if is_in_background() { Ending::ClosedInBackground } else { Ending::Closed };
        self.closing = Some(source);
        let closed = slot.poll_close(ending);
        self.closing = None;
        let Poll::Ready(closed) = closed else { return false };
        self.open -= 1;
        let Err(closed) = closed else { return false };
        let mut must_close = false;
        for error in closed.into_errors() {
            must_close |= self.reports.report(error.of_source(&slot.origin, Phase::Closing));
        }
        must_close
    }

    /// Compares a new head with the item before, if the merge is to. Returns whether the merge must close.
    fn check_order(&mut self, source: usize) -> bool {
        let Some(checker) = &self.options.checker else { return false };
        if !checker.is_backwards(source, &mut self.tree) {
            return false;
        }
        let slot = &mut self.slots[source];
        slot.out_of_order += 1;
        if checker.check == OrderCheck::Report {
            return false;
        }
        let error = SourceError::new(Cause::OutOfOrder { position: slot.items() - 1 });
        let error = error.of_source(&slot.origin, slot.phase());
        drop(self.tree.set_head(source, None));
        self.end_source(source, SourceEnd::Failed, Some(error))
    }

    /// Has every source closed from now on, and drops all that came out of them before one is asked to close.
    pub(super) fn start_closing(&mut self) {
        if self.stage == Stage::Merging {
            self.stage = Stage::Closing;
            self.awaiting = 0;
            self.close_open_sources();
            self.options.checker = None;
            self.reports.drop_items();
            drop(self.tree.take_heads());
        }
    }

    /// Has the closing of every source polled that has not been asked to close.
    pub(super) fn close_open_sources(&mut self) {
        for slot in &mut self.slots {
            match slot.state {
                SlotState::Awaiting | SlotState::Headed => slot.end(SourceEnd::ClosedEarly),
                SlotState::Ended => {}
                SlotState::Closing | SlotState::Released | SlotState::Called => continue,
            }
            slot.waker.make_due(&mut self.due);
        }
        self.has_told_all = true;
    }
}
