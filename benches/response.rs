//! What it costs to make one series of its replicas, and to pack series into batches, on top of the merge.
//!
//! ```text
//! cargo bench --bench response
//! cargo bench --bench response -- ratios
//! ```
//!
//! The second command has the contenders take turns, and prints medians and their ratios: what else the machine
//! does slows down all of them alike.

// Fails by panicking.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::convert::Infallible;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use criterion::Criterion;
use futures::executor::block_on;
use futures::{Stream, StreamExt};
use losertree::response::{ShardMatcher, batches, deduplicate};
use losertree::stream::MergeError;
use losertree::{Chunk, Labels, ProxyResponseLoserTree, Response, Series, Source};
use losertree_testkit::{deduplicated, inputs};

/// The fan-in.
const SOURCES: [usize; 3] = [4, 16, 64];
/// How many series the sources have together, replicas counted.
const SERIES: usize = 1 << 13;
const CHUNKS: usize = 4;
const CHUNK_BYTES: usize = 200;
const BATCH: usize = 128;

/// What a pair of replicas has of each series.
#[derive(Debug, Clone, Copy)]
enum Replicas {
    /// There is one replica.
    None,
    /// Both have the same chunks, each in memory of its own.
    Same,
    /// One lacks the first chunk, and the other the last.
    Overlapping,
}

struct Ready(std::vec::IntoIter<Response>);

impl Source for Ready {
    type Item = Response;
    type Error = Infallible;

    #[inline]
    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Response, Infallible>>> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

type Answers = Vec<Vec<Response>>;

fn answers(sources: usize, replicas: Replicas) -> Answers {
    let count = if matches!(replicas, Replicas::None) { 1 } else { 2 };
    let answer = |(source, run): (usize, Vec<String>)| {
        let mut series: Vec<_> = run.iter().map(|text| series(text, source, replicas)).collect();
        series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
        series.into_iter().map(Response::from).collect()
    };
    inputs::labels(4, sources, SERIES, count).into_iter().enumerate().map(answer).collect()
}

fn series(text: &str, source: usize, replicas: Replicas) -> Series {
    let pairs = text.split_terminator('\0').filter_map(|pair| pair.split_once('='));
    let chunk = |index: usize| {
        let start = 7_200_000 * i64::try_from(index).unwrap();
        Chunk::new(start, start + 7_199_999, vec![u8::try_from(index).unwrap(); CHUNK_BYTES])
    };
    // The replicas of a series are in neighbouring sources.
    let first = if matches!(replicas, Replicas::Overlapping) { source % 2 } else { 0 };
    Series::new(Labels::from_pairs(pairs).unwrap(), (first..first + CHUNKS).map(chunk).collect())
}

fn merge(answers: Answers) -> ProxyResponseLoserTree<Ready> {
    ProxyResponseLoserTree::new(answers.into_iter().map(|answer| Ready(answer.into_iter())))
}

/// Takes and drops all responses, and counts their series.
fn drain(stream: impl Stream<Item = Result<Response, MergeError<Infallible>>>) -> usize {
    block_on(stream.fold(0, async |count, response| count + black_box(response.unwrap()).series_count()))
}

type Contender<'a> = (&'static str, Box<dyn Fn() -> Duration + 'a>);

/// Times what is done to the answers, which are cloned before.
fn timed<'a>(name: &'static str, answers: &'a Answers, run: impl Fn(Answers) -> usize + 'a) -> Contender<'a> {
    let timed = move || {
        let answers = answers.clone();
        let start = Instant::now();
        black_box(run(answers));
        start.elapsed()
    };
    (name, Box::new(timed))
}

/// Finds the series of a shard, without a merge.
fn match_shards(shard: &ShardMatcher, answers: &Answers) -> Duration {
    let start = Instant::now();
    let series = answers.iter().flatten().filter_map(Response::as_series);
    black_box(series.filter(|series| shard.matches(&series.labels)).count());
    start.elapsed()
}

/// All but the last take series out of the same merge.
fn contenders(answers: &Answers) -> Vec<Contender<'_>> {
    let expected = deduplicated(answers.iter().flatten()).len();
    assert_eq!(drain(deduplicate(merge(answers.clone()))), expected);
    assert_eq!(drain(batches(deduplicate(merge(answers.clone())), BATCH, usize::MAX)), expected);
    let shard = ShardMatcher::without(["pod"], 0, 2).unwrap();
    vec![
        timed("merge", answers, |answers| drain(merge(answers))),
        timed("merge again", answers, |answers| drain(merge(answers))),
        timed("deduplicated", answers, |answers| drain(deduplicate(merge(answers)))),
        timed("batches", answers, |answers| drain(batches(merge(answers), BATCH, usize::MAX))),
        timed("deduplicated batches", answers, |answers| {
            drain(batches(deduplicate(merge(answers)), BATCH, usize::MAX))
        }),
        ("shards matched", Box::new(move || match_shards(&shard, answers))),
    ]
}

fn inputs() -> Vec<(String, Answers)> {
    let replicas = [Replicas::None, Replicas::Same, Replicas::Overlapping];
    let row = |sources| replicas.map(|it| (format!("response/{sources}/{it:?}"), answers(sources, it)));
    SOURCES.into_iter().flat_map(row).collect()
}

fn ratios() {
    const SAMPLES: usize = 101;
    println!("| | contender | ns per series | ratio to the first |");
    println!("|---|---|---|---|");
    for (row, answers) in inputs() {
        let contenders = contenders(&answers);
        let mut samples = vec![Vec::with_capacity(SAMPLES); contenders.len()];
        for round in 0..SAMPLES {
            for place in 0..contenders.len() {
                // Each contender goes first in its turn: nobody always finds the same caches.
                let index = (place + round) % contenders.len();
                samples[index].push((contenders[index].1)());
            }
        }
        let medians: Vec<_> = samples
            .iter_mut()
            .map(|samples| {
                samples.sort_unstable();
                samples[SAMPLES / 2].as_secs_f64()
            })
            .collect();
        for ((name, _), median) in contenders.iter().zip(&medians) {
            let each = median * 1e9 / f64::from(u32::try_from(SERIES).unwrap());
            println!("| {row} | {name} | {each:.1} | {:.3} |", median / medians[0]);
        }
    }
}

fn groups() {
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    for (row, answers) in inputs() {
        let mut group = criterion.benchmark_group(row);
        for (name, run) in contenders(&answers) {
            group
                .bench_function(name, |bencher| bencher.iter_custom(|times| (0..times).map(|_| run()).sum()));
        }
        group.finish();
    }
    criterion.final_summary();
}

fn main() {
    if std::env::args().any(|argument| argument == "ratios") { ratios() } else { groups() }
}
