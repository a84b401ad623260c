use std::collections::VecDeque;
use std::mem;
use std::task::{Context, Poll, ready};

use super::buffer::{Frame, Given};
use super::client::{PollFrame, SeriesClient};
use super::response::Response;
use super::response_set::SeriesOrder;
use super::shard_matcher::ShardMatcher;
use super::unpack::POLL_BUDGET;
use crate::error::{Cause, SourceError};
use crate::key::SortKey;
use crate::resource::{BytePool, Reservation};
use crate::series::{Labels, Series};
use crate::stream::{PollClose, Source};

type Error<S> = SourceError<<S as Source>::Error>;

/// Gives the frames of a store as the merge wants them: the series of one shard, without some labels, in order.
///
/// A frame keeps its shape: a batch stays one, without the series of other shards.
pub(super) struct SortedClient<S: Source> {
    client: SeriesClient<S>,
    rules: Rules,
    /// Whether all frames are passed on as they are, save empty batches: whoever unpacks them has no budget.
    is_idle: bool,
    /// Whether series are held back from now on.
    holds: bool,
    held: Held,
    /// The labels of the last series that was passed on.
    last: Option<Labels>,
    /// How many series were passed on or held back.
    position: u64,
    /// What is charged for the frame that was given last.
    memory: Option<Reservation>,
    /// What is given when the store has nothing more.
    rest: VecDeque<Result<Frame, Error<S>>>,
    has_ended: bool,
}

/// What is to be done to the series of a store.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) shard: Option<ShardMatcher>,
    pub(super) removed_labels: Vec<String>,
    pub(super) order: SeriesOrder,
    /// Whether everything is held back, be it sorted or not.
    pub(super) is_eager: bool,
    pub(super) sort_buffer_bytes: usize,
    pub(super) pool: Option<BytePool>,
}

/// The series that were held back, and the memory that is charged for them.
#[derive(Default)]
struct Held {
    series: Vec<Series>,
    bytes: usize,
    reservation: Option<Reservation>,
}

/// What becomes of a series.
enum Verdict {
    Pass,
    Hold,
    Skip,
}

impl<S: Source<Item = Response> + Unpin> SortedClient<S> {
    pub(super) fn new(client: SeriesClient<S>, rules: Rules) -> Self {
        let holds = rules.is_eager || rules.order == SeriesOrder::Sorted;
        let is_idle = !holds
            && rules.order == SeriesOrder::Trusted
            && rules.shard.is_none()
            && rules.removed_labels.is_empty();
        Self {
            client,
            rules,
            is_idle,
            holds,
            held: Held::default(),
            last: None,
            position: 0,
            memory: None,
            rest: VecDeque::new(),
            has_ended: false,
        }
    }

    pub(super) const fn given(&self) -> Given {
        self.client.given()
    }

    /// The client, for what does not concern the order.
    pub(super) const fn client_mut(&mut self) -> &mut SeriesClient<S> {
        &mut self.client
    }

    /// Whether the store says that something is missing.
    pub(super) fn is_partial(&self) -> bool {
        self.client.is_partial()
    }

    /// A poll for the next frame, which is put behind the others in `frames`. After the end, it is only to be closed. Each
    /// frame of the store takes one off the `budget`; when it is used up the executor gets its turn.
    #[inline]
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        budget: &mut usize,
        frames: &mut VecDeque<Frame>,
    ) -> PollFrame<S> {
        loop {
            if self.has_ended {
                return Poll::Ready(self.give_rest(frames));
            }
            let Some(left) = budget.checked_sub(1) else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            // The clock is read for each poll, and not for each of its frames.
            let is_timed = *budget == POLL_BUDGET;
            *budget = left;
            match ready!(self.client.poll_frame(cx, frames, is_timed)) {
                Some(Ok(())) if self.is_idle && !is_last_empty(frames) => return Poll::Ready(Some(Ok(()))),
                Some(Ok(())) => {
                    if self.arrange_last(frames) {
                        return Poll::Ready(Some(Ok(())));
                    }
                }
                Some(Err(error)) => self.end(Some(error)),
                None => self.end(None),
            }
        }
    }

    /// Whether the store has nothing more. There may be frames left that were held back.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes what is charged already for the frame that was given last, if something is.
    pub(super) const fn take_memory(&mut self) -> Option<Reservation> {
        self.memory.take()
    }

    /// Drops what was held back, and gives nothing more. Returns the error that would have come.
    pub(super) fn discard(&mut self) -> Option<Error<S>> {
        self.has_ended = true;
        let error = self.rest.drain(..).find_map(Result::err);
        self.held = Held::default();
        self.last = None;
        self.memory = None;
        error
    }

    /// Closes the store, in time if it `is_timed`. Frames that were held back stay.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, is_timed: bool) -> PollClose<S> {
        self.client.poll_close(cx, is_timed)
    }

    fn give_rest(&mut self, frames: &mut VecDeque<Frame>) -> Option<Result<(), Error<S>>> {
        let given = self.rest.pop_front()?.map(|frame| {
            frames.push_back(frame);
            self.memory = self.held.reservation.take();
        });
        Some(given)
    }

    /// Arranges the last frame where it is. Takes it away, and returns so, if nothing of it is to be passed on.
    fn arrange_last(&mut self, frames: &mut VecDeque<Frame>) -> bool {
        let Some(frame) = frames.back_mut() else { return false };
        let arranged = match &mut frame.response {
            Response::Series(series) => self.arrange(series),
            Response::Batch(batch) => self.arrange_batch(batch),
            Response::Warning(_) | Response::Hints(_) => Ok(true),
        };
        let is_passed = match arranged {
            Ok(is_passed) => is_passed,
            // What came before the error goes before it.
            Err(error) => {
                self.end(Some(error));
                matches!(&frame.response, Response::Batch(batch) if !batch.is_empty())
            }
        };
        if is_passed {
            frame.bytes = frame.response.size_bytes();
        } else {
            frames.pop_back();
        }
        is_passed
    }

    /// Returns whether a series is passed on.
    fn arrange(&mut self, series: &mut Series) -> Result<bool, Error<S>> {
        match self.judge(series)? {
            Verdict::Pass => return Ok(true),
            Verdict::Hold => self.hold(mem::take(series))?,
            Verdict::Skip => {}
        }
        Ok(false)
    }

    /// Leaves what is passed on of a batch, and returns whether that is something.
    fn arrange_batch(&mut self, batch: &mut Vec<Series>) -> Result<bool, Error<S>> {
        let mut arranged = Ok(());
        batch.retain_mut(|series| {
            if arranged.is_err() {
                return false;
            }
            self.arrange(series).unwrap_or_else(|error| {
                arranged = Err(error);
                false
            })
        });
        // What is left of a large batch is not to keep all of its memory, which nobody counts.
        if batch.len() < batch.capacity() / 2 {
            batch.shrink_to_fit();
        }
        arranged.map(|()| !batch.is_empty())
    }

    /// Says what becomes of a series, and removes its labels.
    fn judge(&mut self, series: &mut Series) -> Result<Verdict, Error<S>> {
        let mut is_cut_off = true;
        if !self.rules.removed_labels.is_empty() {
            let kept = series.labels.without(&self.rules.removed_labels);
            // The labels that are removed come last if what is left is what came before them.
            is_cut_off = series.labels.packed().starts_with(kept.packed());
            series.labels = kept;
        }
        // After the labels are removed: all replicas of a series are in one shard, as in Thanos.
        if self.rules.shard.as_ref().is_some_and(|shard| !shard.matches(&series.labels)) {
            return Ok(Verdict::Skip);
        }
        let position = self.position;
        self.position += 1;
        if self.holds {
            return Ok(Verdict::Hold);
        }
        let is_restored = self.rules.order == SeriesOrder::Restored;
        if self.rules.order == SeriesOrder::Trusted {
            return Ok(Verdict::Pass);
        }
        let is_behind = self.last.as_ref().is_some_and(|last| series.labels < *last);
        if is_restored && (is_behind || !is_cut_off) {
            self.holds = true;
            return Ok(Verdict::Hold);
        }
        if is_behind {
            return Err(SourceError::new(Cause::OutOfOrder { position }));
        }
        self.last = Some(series.labels.clone());
        Ok(Verdict::Pass)
    }

    fn hold(&mut self, series: Series) -> Result<(), Error<S>> {
        self.client.received.is_held_back = true;
        let Held { series: held, bytes, reservation } = &mut self.held;
        let added = series.size_bytes();
        let limit_bytes = self.rules.sort_buffer_bytes;
        *bytes = bytes.saturating_add(added);
        if *bytes > limit_bytes {
            return Err(SourceError::new(Cause::TooLarge { limit_bytes }));
        }
        if let Some(pool) = &self.rules.pool {
            reservation
                .get_or_insert_with(|| pool.reservation())
                .try_grow(added)
                .map_err(|error| SourceError::new(error.into()))?;
        }
        held.push(series);
        Ok(())
    }

    /// Notes that the store has nothing more. What was held back goes before its error.
    fn end(&mut self, error: Option<Error<S>>) {
        self.has_ended = true;
        let mut series = mem::take(&mut self.held.series);
        let wrong = self.put_in_order(&mut series);
        // The store is not to be closed while something of it is kept.
        self.last = None;
        if !series.is_empty() {
            self.rest.push_back(Ok(Frame::new(Response::Batch(series))));
        }
        // The first error is the one that counts; the order only matters where the store did not fail.
        self.rest.extend(error.or(wrong).map(Err));
    }

    /// Sorts what was held back if it is to be. Otherwise leaves what is in order, and returns the error.
    fn put_in_order(&mut self, series: &mut Vec<Series>) -> Option<Error<S>> {
        let is_ahead = |ahead: &Series, next: &Series| ahead.compare(next).is_le();
        let first = self.position - series.len() as u64;
        match self.rules.order {
            SeriesOrder::Trusted => None,
            SeriesOrder::Checked => {
                let behind = series.windows(2).position(|pair| !is_ahead(&pair[0], &pair[1]))? + 1;
                series.truncate(behind);
                Some(SourceError::new(Cause::OutOfOrder { position: first + behind as u64 }))
            }
            SeriesOrder::Restored | SeriesOrder::Sorted => {
                if !series.is_sorted_by(is_ahead) {
                    self.client.received.is_resorted = true;
                    series.sort_by(SortKey::compare);
                }
                let last = self.last.as_ref()?;
                // Those have their place among the ones that were passed on.
                let behind = series.partition_point(|series| series.labels < *last);
                series.drain(..behind);
                (behind > 0).then(|| SourceError::new(Cause::OutOfOrder { position: first }))
            }
        }
    }
}

/// Whether the last frame is a batch without series.
#[inline]
fn is_last_empty(frames: &VecDeque<Frame>) -> bool {
    matches!(frames.back(), Some(Frame { response: Response::Batch(batch), .. }) if batch.is_empty())
}
