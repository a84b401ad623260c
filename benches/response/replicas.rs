//! What it costs to make one series of its replicas, and to pack series into batches, on top of the merge.

use std::convert::Infallible;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use futures::{Stream, StreamExt, TryStreamExt};
use losertree::SourceError;
use losertree::response::{Deduplicate, ShardMatcher, batches};
use losertree::{Chunk, Labels, ProxyResponseLoserTree, Response, Series};
use losertree_testkit::{deduplicated, inputs};

use crate::row::{Answers, Contender, Ready, Row, timed};

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
fn drain(stream: impl Stream<Item = Result<Response, SourceError<Infallible>>>) -> usize {
    block_on(stream.fold(0, async |count, response| count + black_box(response.unwrap()).series_count()))
}

/// Reads the chunks as well, as everything must that compares them by what is in them.
fn read(merge: ProxyResponseLoserTree<Ready>) -> usize {
    let sum = |chunk: &Chunk| chunk.data.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    drain(merge.inspect_ok(|response| {
        let chunks = response.as_series().map_or(&[][..], |series| &series.chunks);
        black_box(chunks.iter().map(sum).sum::<usize>());
    }))
}

/// Finds the series of a shard, without a merge.
fn match_shards(shard: &ShardMatcher, answers: &Answers) -> Duration {
    let start = Instant::now();
    let series = answers.iter().flatten().filter_map(Response::as_series);
    black_box(series.filter(|series| shard.matches(&series.labels)).count());
    start.elapsed()
}

/// All but the last take series out of the same merge.
fn contenders(answers: &Rc<Answers>) -> Vec<Contender> {
    let expected = deduplicated(answers.iter().flatten()).len();
    assert_eq!(drain(merge(answers.to_vec()).deduplicate()), expected);
    assert_eq!(drain(batches(merge(answers.to_vec()).deduplicate(), BATCH, usize::MAX)), expected);
    let shard = ShardMatcher::without(["pod"], 0, 2).unwrap();
    let unmerged = Rc::clone(answers);
    vec![
        timed("merge", answers, |answers| drain(merge(answers))),
        timed("merge again", answers, |answers| drain(merge(answers))),
        timed("merge, chunks read", answers, |answers| read(merge(answers))),
        timed("deduplicated", answers, |answers| drain(merge(answers).deduplicate())),
        timed("batches", answers, |answers| drain(batches(merge(answers), BATCH, usize::MAX))),
        timed("deduplicated batches", answers, |answers| {
            drain(batches(merge(answers).deduplicate(), BATCH, usize::MAX))
        }),
        ("shards matched", Box::new(move || match_shards(&shard, &unmerged))),
    ]
}

pub(crate) fn rows() -> Vec<Row> {
    let replicas = [Replicas::None, Replicas::Same, Replicas::Overlapping];
    let row = |sources| {
        replicas.map(|it| {
            let contenders = contenders(&Rc::new(answers(sources, it)));
            Row { name: format!("response/{sources}/{it:?}"), series: SERIES, contenders }
        })
    };
    SOURCES.into_iter().flat_map(row).collect()
}
