use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::drive::POLL_BUDGET;
use super::{PollNext, ProxyResponseLoserTree, Source, Yielded};
use crate::SourceError;
use crate::key::Order;

/// Waits for the next items. Returned by [`ProxyResponseLoserTree::next_block`].
///
/// # Cancel safety
///
/// Nothing is lost when this future is dropped: as long as it is pending, it has appended nothing.
#[must_use = "futures do nothing unless polled"]
pub struct NextBlock<'a, S: Source, O> {
    pub(super) merge: &'a mut ProxyResponseLoserTree<S, O>,
    pub(super) out: &'a mut Vec<S::Item>,
    pub(super) max: usize,
}

impl<S, O> ProxyResponseLoserTree<S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
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
    /// while merge.next_block(&mut block, 2).await? > 0 {
    ///     println!("{block:?}"); // [1, 2], then [3, 4], then [5]
    ///     block.clear();
    /// }
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub const fn next_block<'a>(&'a mut self, out: &'a mut Vec<S::Item>, max: usize) -> NextBlock<'a, S, O> {
        NextBlock { merge: self, out, max }
    }

    /// Attempts what [`next_block`](Self::next_block) does. It is pending only if it has appended nothing.
    ///
    /// # Errors
    ///
    /// As for [`next_block`](Self::next_block).
    pub fn poll_next_block(
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
        self.is_entered = false;
        Poll::Ready(Ok(taken))
    }

    /// Takes as many items as are ready, up to `most`, and returns how many; none if all sources are at their end.
    ///
    /// An item is handed over before its source is polled for the successor, so that a panic there does not cost it. Where the
    /// successor is ready and more is wanted, it is brought and the next item taken in one step, as in a sync merge.
    fn take_block(&mut self, out: &mut Vec<S::Item>, most: usize) -> usize {
        let mut taken = 0;
        let mut popped = self.tree.pop();
        while let Some((source, item)) = popped {
            let at = out.len();
            out.push(item);
            if let Some(checker) = &mut self.options.checker {
                checker.note(source, &out[at]);
            }
            self.count();
            taken += 1;
            let may_be_woken = self.may_be_woken();
            let slot = &mut self.slots[source];
            if may_be_woken {
                slot.waker.take();
            }
            let successor = if self.remaining == 0 { Poll::Pending } else { slot.poll_next() };
            popped = match successor {
                Poll::Ready(Some(Ok(head)))
                    if taken < most && self.options.checker.is_none() && self.tree.is_ordered(&head) =>
                {
                    self.tree.bring_and_pop(source, head)
                }
                successor => {
                    self.bring(source, successor);
                    if taken == most || self.remaining == 0 || !self.is_ready() {
                        return taken;
                    }
                    self.tree.pop()
                }
            };
        }
        taken
    }

    /// Brings what has come instead of an item that was taken.
    #[inline(never)]
    fn bring(&mut self, source: usize, successor: PollNext<S>) {
        match successor {
            Poll::Ready(Some(Ok(head))) if self.tree.is_ordered(&head) => {
                self.tree.set_head(source, Some(head));
                if let Some(checker) = &mut self.options.checker {
                    checker.unchecked = Some(source);
                }
            }
            successor => {
                if self.note_no_successor(source, successor) {
                    self.start_closing();
                }
            }
        }
    }
}

/// Appends the item of a poll that took no winner, if it is one: a warning.
fn append<T, E>(polled: Option<Yielded<T, E>>, out: &mut Vec<T>) -> Result<usize, SourceError<E>> {
    polled.map_or(Ok(0), |item| {
        out.push(item?.1);
        Ok(1)
    })
}

impl<S, O> Future for NextBlock<'_, S, O>
where
    S: Source + Unpin,
    O: Order<S::Item>,
{
    type Output = Result<usize, SourceError<S::Error>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.merge.poll_next_block(cx, this.out, this.max)
    }
}

impl<S: Source, O> fmt::Debug for NextBlock<'_, S, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextBlock")
            .field("merge", &self.merge)
            .field("len", &self.out.len())
            .field("max", &self.max)
            .finish()
    }
}
