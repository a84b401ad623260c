use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::response::Response;
use super::unpack::{POLL_BUDGET, Unpack};
use crate::error::CloseError;
use crate::series::{Chunk, Labels, Series};
use crate::stream::{Closable, ProxyResponseLoserTree, Source};

pin_project! {
    /// Sorted responses in which each series comes once, with each of its chunks once. Made by [`deduplicate`].
    #[must_use = "streams do nothing unless polled"]
    pub struct ResponseDeduplicator<St> {
        #[pin]
        unpacked: Unpack<St>,
        run: Run,
        // The number of the last item, if the stream is a merge and that was one of its tournament, and whether it is equal to
        // the one before, if that is known.
        last_item: fn(&St) -> Option<(u64, Option<bool>)>,
    }
}

/// Merges series with equal labels that follow one another into one, with the chunks of all of them.
///
/// The stream is to be sorted, as a merge of the answers of several stores is: then equal series stand side by
/// side. Those that do not are not merged. Batches are taken for the series in them, and do not come out again;
/// [`batches`](super::batches) makes new ones.
///
/// Chunks are identical, and come once, if their times and their data are equal. There is no hash in this: sorted
/// chunks are merged, so that identical ones meet, and are compared.
///
/// # Ordering
///
/// Series keep the order of the stream. The chunks of each are sorted by time, then by data, also if it came
/// alone. So the series that come out do not depend on which store answered first, nor on the order of the
/// stores.
///
/// Warnings and hints are passed on at once, and so overtake the series that is held back.
///
/// # Complexity
///
/// One series is held back, with its duplicates, until another one or the end comes. Each series costs a
/// comparison of its labels to those of the one before, which a merge's
/// [method](Deduplicate) of merges can do without, and, if the chunks are in order, a pass over them; this
/// allocates nothing. `n` chunks of all its duplicates cost `O(n log n)` comparisons, and a pass if all have the same; while they come,
/// up to half of what is held may be there twice.
///
/// One poll takes at most 128 series or frames without yielding one; then it has itself woken and is pending.
///
/// # Errors
///
/// Those of the stream. What is held back then may lack what would have come later, and is dropped; the error
/// comes in its place. If the stream goes on after that, what is left of the series that the error interrupted
/// comes as a series of its own.
///
/// # Cancel safety
///
/// Everything is kept from one poll to the next.
///
/// # Closing
///
/// A merge closes its sources when it ends. The series that is held back is given as soon as the merge has only closing left, also
/// where adaptors stand in between that pass on [`size_hint`](Stream::size_hint); see [`is_closing`](crate::stream::is_closing). Any other
/// stream cannot say so, and the last series comes when it has ended. To close a merge before its end, close this by
/// [`Closable`]: what is held back is dropped first.
///
/// # Examples
///
/// ```
/// use futures::executor::block_on;
/// use futures::{TryStreamExt, stream};
/// use losertree::response::deduplicate;
/// use losertree::{Chunk, Labels, ProxyResponseLoserTree, Response, Series, from_stream};
///
/// let up = |chunks| Response::from(Series::new(Labels::from_pairs([("__name__", "up")]).unwrap(), chunks));
/// let first = || Chunk::new(0, 59_999, "…");
/// let later = Chunk::new(60_000, 119_999, "…");
/// let store = |answer: Response| from_stream(stream::iter([Ok::<_, std::io::Error>(answer)]));
///
/// let merge = ProxyResponseLoserTree::new([store(up(vec![later.clone(), first()])), store(up(vec![first()]))]);
/// let series: Vec<_> = block_on(deduplicate(merge).try_collect())?;
/// assert_eq!(series, [up(vec![first(), later])]);
/// # Ok::<_, losertree::SourceError<std::io::Error>>(())
/// ```
///
/// # Sources
///
/// `responseDeduplicator` in `pkg/store/proxy_merge.go` of thanos-io/thanos, which takes chunks with one hash to
/// be one.
pub fn deduplicate<St, E>(stream: St) -> ResponseDeduplicator<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    ResponseDeduplicator { unpacked: Unpack::new(stream), run: Run::default(), last_item: |_| None }
}

/// [`deduplicate`] as a method of merges.
pub trait Deduplicate: Sized {
    /// Makes one series of those with equal labels: [`deduplicate`], with what the tournament knows. From five sources on it
    /// mostly has found out which series are equal to the one before, and their labels are not compared again. Ordering, complexity,
    /// errors, cancel safety and closing are as there.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures::executor::block_on;
    /// use futures::{TryStreamExt, stream};
    /// use losertree::response::Deduplicate;
    /// use losertree::{Labels, ProxyResponseLoserTree, Response, Series, from_stream};
    ///
    /// let up = Response::from(Series::new(Labels::from_pairs([("__name__", "up")]).unwrap(), vec![]));
    /// let stores = (0..8).map(|_| from_stream(stream::iter([Ok::<_, std::io::Error>(up.clone())])));
    /// let series: Vec<_> = block_on(ProxyResponseLoserTree::new(stores).deduplicate().try_collect())?;
    /// assert_eq!(series, [up]);
    /// # Ok::<_, losertree::SourceError<std::io::Error>>(())
    /// ```
    fn deduplicate(self) -> ResponseDeduplicator<Self>;
}

impl<S: Source<Item = Response> + Unpin> Deduplicate for ProxyResponseLoserTree<S> {
    fn deduplicate(self) -> ResponseDeduplicator<Self> {
        ResponseDeduplicator { last_item: Self::last_item, ..deduplicate(self) }
    }
}

impl<St> ResponseDeduplicator<St> {
    /// Returns the stream.
    #[must_use]
    pub const fn get_ref(&self) -> &St {
        self.unpacked.get_ref()
    }

    /// Returns the stream. Responses that are taken out of it are not seen from here.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut St {
        // It may be another one afterwards.
        self.run.last = None;
        self.unpacked.get_mut()
    }

    /// Returns the stream, and drops the series that is held back and what is left of a batch.
    #[must_use]
    pub fn into_inner(self) -> St {
        self.unpacked.into_inner()
    }

    /// Drops the series that is held back and what is left of a batch.
    fn clear(&mut self) {
        self.unpacked.clear();
        self.run.clear();
    }

    /// Returns how many series were merged into the one before them, so far.
    #[must_use]
    pub const fn merged_series(&self) -> u64 {
        self.run.merged_series
    }

    /// Returns how many chunks were dropped because they were there already, so far.
    #[must_use]
    pub const fn dropped_chunks(&self) -> u64 {
        self.run.dropped_chunks
    }
}

impl<St, E> Stream for ResponseDeduplicator<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    type Item = Result<Response, E>;

    #[inline]
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let mut budget = POLL_BUDGET;
        loop {
            let next = match this.unpacked.as_mut().poll_next(cx, &mut budget) {
                Poll::Ready(next) => next,
                // Nothing more belongs to it, and a source may be closed only when it is given.
                Poll::Pending if this.run.held.is_some() && this.unpacked.is_closing() => None,
                Poll::Pending => return Poll::Pending,
            };
            let done = match next {
                Some(Ok(Response::Series(series))) => {
                    let is_single = !this.unpacked.is_from_batch();
                    let item = if is_single { (this.last_item)(this.unpacked.get_ref()) } else { None };
                    let is_repeat = this.run.note(item);
                    let Some(done) = this.run.push(series, is_repeat) else { continue };
                    Some(done)
                }
                Some(Ok(other)) => {
                    this.run.last = None;
                    return Poll::Ready(Some(Ok(other)));
                }
                Some(Err(error)) => {
                    this.run.clear();
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.run.finish(),
            };
            return Poll::Ready(done.map(|series| Ok(series.into())));
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let has_series = self.run.held.is_some() || self.unpacked.left_in_batch() > 0;
        // A batch may have any number of series, or none.
        let left = usize::from(self.run.held.is_some()) + self.unpacked.left_in_batch();
        (usize::from(has_series), self.unpacked.is_exhausted().then_some(left))
    }
}

impl<St, E> FusedStream for ResponseDeduplicator<St>
where
    St: Stream<Item = Result<Response, E>>,
{
    fn is_terminated(&self) -> bool {
        // The poll that finds the end of the stream yields the series that is held.
        self.unpacked.has_ended()
    }
}

impl<St: Closable> Closable for ResponseDeduplicator<St> {
    type Error = St::Error;

    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<Self::Error>>> {
        self.clear();
        self.get_mut().poll_close_all(cx)
    }
}

/// Shows the stream and what was found so far.
impl<St: fmt::Debug> fmt::Debug for ResponseDeduplicator<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseDeduplicator")
            .field("stream", self.get_ref())
            .field("held", &self.run.held.as_ref().map(|(labels, _)| labels))
            .field("merged_series", &self.run.merged_series)
            .field("dropped_chunks", &self.run.dropped_chunks)
            .finish_non_exhaustive()
    }
}

/// The series that is held back, with what has come of its duplicates.
#[derive(Default)]
struct Run {
    held: Option<(Labels, Chunks)>,
    /// The number of the merge's item that was the last response and is part of the one that is held.
    last: Option<u64>,
    merged_series: u64,
    dropped_chunks: u64,
}

impl Run {
    /// Notes which item of the merge the next series is. Returns whether it belongs to the one that is held, if that is known:
    /// the merge says whether it is equal to the item before, and that has to be part of what is held.
    #[inline]
    fn note(&mut self, item: Option<(u64, Option<bool>)>) -> Option<bool> {
        let last = mem::replace(&mut self.last, item.map(|(number, _)| number));
        let (number, is_repeat) = item?;
        is_repeat.filter(|_| last.is_some_and(|last| last + 1 == number))
    }

    /// Takes the next series. Returns the one before, if that is another one: they are compared unless it is known whether this
    /// one `is_repeat`.
    #[inline]
    fn push(&mut self, series: Series, is_repeat: Option<bool>) -> Option<Series> {
        match &mut self.held {
            // The same block of labels, as of clones, is equal without being read; sets of different lengths
            // differ without being read.
            Some((labels, chunks)) if is_repeat.unwrap_or_else(|| *labels == series.labels) => {
                self.merged_series += 1;
                self.dropped_chunks += chunks.add(series.chunks);
                None
            }
            _ => {
                let done = self.finish();
                self.held = Some((series.labels, Chunks::new(series.chunks)));
                done
            }
        }
    }

    /// Drops what is held.
    fn clear(&mut self) {
        self.held = None;
        self.last = None;
    }

    /// Ends the run, and returns its one series.
    #[inline]
    fn finish(&mut self) -> Option<Series> {
        let (labels, chunks) = self.held.take()?;
        let (chunks, dropped) = chunks.finish();
        self.dropped_chunks += dropped;
        Some(Series::new(labels, chunks))
    }
}

/// The chunks of one series, to which those of its duplicates are added.
///
/// What is not known to be there already is put behind, out of order, and sorted in when it has become as much as what is in
/// order. So each chunk takes part in few sorts, whatever order the duplicates come in; a pass over all chunks for each duplicate
/// would take the square of how many duplicates there are.
pub(super) struct Chunks {
    /// Sorted, each once, if that `is_in_order`; as the series has them until then.
    front: Vec<Chunk>,
    is_in_order: bool,
    /// Some of these may be there more than once.
    behind: Vec<Chunk>,
}

impl Chunks {
    pub(super) const fn new(chunks: Vec<Chunk>) -> Self {
        Self { front: chunks, is_in_order: false, behind: Vec::new() }
    }

    /// Adds those of a duplicate. Returns how many were dropped since they are there already.
    pub(super) fn add(&mut self, mut duplicates: Vec<Chunk>) -> u64 {
        let before = duplicates.len() as u64;
        // Most often replicas have the same chunks.
        if self.front == duplicates {
            return before;
        }
        let mut dropped = put_in_order(&mut duplicates);
        if !mem::replace(&mut self.is_in_order, true) {
            dropped += put_in_order(&mut self.front);
        }
        let mut rest = &*self.front;
        let known = duplicates.len();
        duplicates.retain(|duplicate| {
            rest = from(rest, duplicate);
            rest.first() != Some(duplicate)
        });
        dropped += (known - duplicates.len()) as u64;
        if self.behind.is_empty() && self.front.last() < duplicates.first() {
            self.front.append(&mut duplicates);
            return dropped;
        }
        self.behind.append(&mut duplicates);
        if self.behind.len() >= self.front.len() { dropped + self.sort_in() } else { dropped }
    }

    /// Returns all of them, sorted, each once, and how many were dropped besides.
    pub(super) fn finish(mut self) -> (Vec<Chunk>, u64) {
        let dropped = if !self.is_in_order {
            put_in_order(&mut self.front)
        } else if self.behind.is_empty() {
            0
        } else {
            self.sort_in()
        };
        (self.front, dropped)
    }

    fn sort_in(&mut self) -> u64 {
        self.front.append(&mut self.behind);
        sort(&mut self.front)
    }
}

/// The chunks of a sorted slice from `chunk` on. Searched for from the front in steps that double: mostly it is near.
fn from<'a>(chunks: &'a [Chunk], chunk: &Chunk) -> &'a [Chunk] {
    let mut end = 1;
    while chunks.get(end - 1).is_some_and(|other| other < chunk) {
        end *= 2;
    }
    let start = end / 2;
    let end = end.min(chunks.len());
    let Some(between) = chunks.get(start..end) else { return &[] };
    &chunks[start + between.partition_point(|other| other < chunk)..]
}

/// Sorts chunks and drops those that are there twice. Returns how many that were.
#[inline]
fn put_in_order(chunks: &mut Vec<Chunk>) -> u64 {
    if chunks.is_sorted_by(|a, b| a < b) { 0 } else { sort(chunks) }
}

#[cold]
fn sort(chunks: &mut Vec<Chunk>) -> u64 {
    let before = chunks.len();
    // The stable sort finds what is sorted already.
    chunks.sort();
    chunks.dedup();
    (before - chunks.len()) as u64
}
