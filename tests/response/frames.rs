//! Responses at random, and a stream of them that is as unforgiving as the contract allows.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use losertree::{Chunk, Labels, Response, Series, Warning};
use losertree_testkit::Random;

/// What went wrong, and which time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed(pub(crate) usize);

pub(crate) type Frame = Result<Response, Failed>;

pub(crate) fn labels(index: usize) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("pod", &format!("pod-{index:04}"))]).expect("two names")
}

pub(crate) fn series(index: usize, chunks: impl Into<Vec<Chunk>>) -> Series {
    Series::new(labels(index), chunks.into())
}

pub(crate) fn chunk(min_time_ms: i64, max_time_ms: i64, data: &'static str) -> Chunk {
    Chunk::new(min_time_ms, max_time_ms, data)
}

/// A series with few different chunks, in no order.
pub(crate) fn random_series(random: &mut Random, index: usize) -> Series {
    let chunks: Vec<_> = (0..random.below(5))
        .map(|_| {
            let start = [i64::MIN, -1, 0, 1, i64::MAX][random.below(5)];
            let data = ["", "a", "b", "ab"][random.below(4)];
            chunk(start, start.saturating_add([0, 1][random.below(2)]), data)
        })
        .collect();
    series(index, chunks)
}

/// The answer of one store: sorted series, some of them more than once.
pub(crate) fn random_answer(random: &mut Random, length: usize, of: usize) -> Vec<Series> {
    let mut indices: Vec<_> = (0..length).map(|_| random.below(of)).collect();
    indices.sort_unstable();
    indices.into_iter().map(|index| random_series(random, index)).collect()
}

/// The series in frames: alone or in batches, with warnings and hints in between.
pub(crate) fn random_frames(random: &mut Random, series: Vec<Series>) -> Vec<Response> {
    let mut frames = Vec::new();
    let mut rest = VecDeque::from(series);
    while !rest.is_empty() || random.chance(0.3) {
        match random.below(8) {
            0 => frames.push(Warning::new(format!("warning {}", frames.len())).into()),
            1 => frames.push(Response::Hints(format!("hints {}", frames.len()).into())),
            2..=4 => {
                let length = random.below(5).min(rest.len());
                frames.push(Response::Batch(rest.drain(..length).collect()));
            }
            _ => frames.extend(rest.pop_front().map(Response::from)),
        }
    }
    frames
}

/// Gives its items with pauses between them, in which it wakes at once, and panics when polled after its end.
#[derive(Debug, Clone)]
pub(crate) struct Fitful<T> {
    /// `None` is a pause.
    steps: VecDeque<Option<T>>,
    has_ended: bool,
}

impl<T> Fitful<T> {
    pub(crate) fn new(items: impl IntoIterator<Item = T>, random: &mut Random, pauses: f64) -> Self {
        let mut steps = VecDeque::new();
        for item in items {
            while random.chance(pauses) {
                steps.push_back(None);
            }
            steps.push_back(Some(item));
        }
        Self { steps, has_ended: false }
    }

    pub(crate) fn steady(items: impl IntoIterator<Item = T>) -> Self {
        Self::new(items, &mut Random::seed(0), 0.0)
    }
}

impl<T: Unpin> Stream for Fitful<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        assert!(!self.has_ended, "polled after its end");
        match self.steps.pop_front() {
            Some(Some(item)) => Poll::Ready(Some(item)),
            Some(None) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.has_ended = true;
                Poll::Ready(None)
            }
        }
    }
}

/// These responses, with errors among them after which the stream goes on.
pub(crate) fn with_errors(random: &mut Random, answer: Vec<Response>) -> Vec<Frame> {
    let mut frames: Vec<Frame> = answer.into_iter().map(Ok).collect();
    for error in 0..random.below(3) {
        frames.insert(random.below(frames.len() + 1), Err(Failed(error)));
    }
    frames
}

/// Asserts that what a stream says of its length is right at every step.
#[track_caller]
pub(crate) fn assert_size_hints(mut stream: impl Stream<Item = Frame> + Unpin) {
    let mut hints = vec![stream.size_hint()];
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while stream.poll_next_unpin(&mut cx) != Poll::Ready(None) {
        hints.push(stream.size_hint());
    }
    assert_eq!(stream.size_hint(), (0, Some(0)));
    for (left, (low, high)) in hints.into_iter().rev().enumerate() {
        assert!(low <= left && high.is_none_or(|high| left <= high), "{low}, {high:?}: {left}");
    }
}
