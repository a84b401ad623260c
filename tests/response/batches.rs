//! Batches: series packed into frames, by their number and their size.

use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::{self, FusedStream};
use losertree::response::{batches, deduplicate};
use losertree::{Chunk, ProxyResponseLoserTree, Response, Series, Warning};
use losertree_testkit::{CountingWaker, Random, Script, Stage, Wake, deduplicated};
use quickcheck::QuickCheck;

use crate::frames::{
    Failed, Fitful, Frame, assert_size_hints, chunk, random_answer, random_frames, series, with_errors,
};

const BUDGET: usize = 128;
const NO_LIMIT: usize = usize::MAX;

/// Takes the batches apart.
fn unpacked(frames: &[Frame]) -> Vec<Frame> {
    let unpack = |frame: &Frame| match frame {
        Ok(Response::Batch(batch)) => batch.iter().map(|series| Ok(series.clone().into())).collect(),
        other => vec![other.clone()],
    };
    frames.iter().flat_map(unpack).collect()
}

fn bytes(batch: &[Series]) -> usize {
    batch.iter().map(Series::size_bytes).sum()
}

/// The series of a batch.
fn batch_of(frame: &Frame) -> Option<&[Series]> {
    match frame {
        Ok(Response::Batch(batch)) => Some(batch),
        _ => None,
    }
}

/// Any frames, with errors among them after which the stream goes on.
fn any_frames(random: &mut Random) -> Vec<Frame> {
    let length = random.below(60);
    let answer = random_answer(random, length, 60);
    let frames = random_frames(random, answer);
    with_errors(random, frames)
}

/// Asserts that nothing is lost, and that no batch exceeds a limit; and, unless it is prompt, that none could
/// have taken the next series too.
fn assert_packed(out: &[Frame], frames: &[Frame], max_series: usize, max_bytes: usize, is_ready_only: bool) {
    let (max_series, max_bytes) = (max_series.max(1), max_bytes.max(1));
    assert_eq!(unpacked(out), unpacked(frames));
    for frame in out {
        match frame {
            Ok(Response::Batch(batch)) => {
                assert!((1..=max_series).contains(&batch.len()));
                assert!(bytes(batch) <= max_bytes || batch.len() == 1);
            }
            Ok(Response::Series(series)) => panic!("in no batch: {series:?}"),
            _ => {}
        }
    }
    for pair in out.windows(2) {
        let (Some(batch), Some(next)) = (batch_of(&pair[0]), batch_of(&pair[1])) else { continue };
        let could_be_longer = batch.len() < max_series && bytes(batch) + next[0].size_bytes() <= max_bytes;
        assert!(is_ready_only || !could_be_longer);
    }
}

// F12
#[test]
fn batches_are_as_long_as_they_may_be_and_no_longer() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let frames = any_frames(&mut random);
        let max_series = [0, 1, 2, 3, 10, NO_LIMIT][random.below(6)];
        let max_bytes = [0, 1, 200, 500, 1_000, NO_LIMIT][random.below(6)];
        let is_ready_only = random.chance(0.5);
        let input = Fitful::new(frames.clone(), &mut random, 0.3);
        let stream = batches(input, max_series, max_bytes);
        let mut stream = if is_ready_only { stream.ready_only() } else { stream };
        let out = Stage::new().driver(seed).run(&mut stream).finished();
        assert!(stream.is_terminated());
        assert_packed(&out, &frames, max_series, max_bytes, is_ready_only);
        true
    }
    QuickCheck::new().tests(3_000).quickcheck(property as fn(u64) -> bool);
}

// F13
/// What is not a series neither counts nor joins a batch; the batch before it comes before it.
#[test]
fn a_batch_ends_where_something_else_comes() {
    let others: [Frame; 3] =
        [Ok(Warning::new("slow").into()), Ok(Response::Hints("h".into())), Err(Failed(0))];
    let one = |index| -> Frame { Ok(series(index, []).into()) };
    let batch = |range: std::ops::Range<usize>| -> Frame {
        Ok(Response::Batch(range.map(|index| series(index, [])).collect()))
    };
    for other in others {
        let input = [
            other.clone(),
            one(0),
            one(1),
            other.clone(),
            other.clone(),
            one(2),
            one(3),
            one(4),
            other.clone(),
        ];
        let out = Stage::new().driver(0).run(&mut batches(stream::iter(input), 2, NO_LIMIT)).finished();
        let expected = [
            other.clone(),
            batch(0..2),
            other.clone(),
            other.clone(),
            batch(2..4),
            batch(4..5),
            other.clone(),
        ];
        assert_eq!(out, expected);
    }
}

#[test]
fn a_series_larger_than_the_limit_is_a_batch_of_its_own() {
    let small = |index| series(index, []);
    let large = |index| series(index, vec![chunk(0, 9, "a"); 10]);
    let limit = 2 * small(0).size_bytes();
    assert!(large(0).size_bytes() > limit);
    let input = [small(0), large(1), large(2), small(3), small(4), small(5)];
    let frames: Vec<Frame> = input.map(|series| Ok(series.into())).into();
    let out = Stage::new().driver(0).run(&mut batches(stream::iter(frames), NO_LIMIT, limit)).finished();
    let expected: [Frame; 5] =
        [vec![small(0)], vec![large(1)], vec![large(2)], vec![small(3), small(4)], vec![small(5)]]
            .map(|batch| Ok(Response::Batch(batch)));
    assert_eq!(out, expected);
}

/// A full batch does not wait for what comes after it.
#[test]
fn a_full_batch_is_yielded_at_once_and_a_partial_one_if_it_is_to_be_prompt() {
    let one = |index| Ok::<_, Failed>(Response::from(series(index, [])));
    let batch = |range: std::ops::Range<usize>| {
        Poll::Ready(Some(Ok(Response::Batch(range.map(|index| series(index, [])).collect()))))
    };
    let three = 3 * series(0, []).size_bytes();
    for (is_ready_only, max_series, max_bytes) in
        [(false, 3, NO_LIMIT), (true, 3, NO_LIMIT), (false, NO_LIMIT, three), (true, NO_LIMIT, three)]
    {
        let (sender, receiver) = futures::channel::mpsc::unbounded::<Frame>();
        let stream = batches(receiver, max_series, max_bytes);
        let mut stream = if is_ready_only { stream.ready_only() } else { stream };
        let mut poll = || stream.poll_next_unpin(&mut Context::from_waker(std::task::Waker::noop()));
        assert_eq!(poll(), Poll::Pending);
        (0..3).for_each(|index| sender.unbounded_send(one(index)).unwrap());
        assert_eq!(poll(), batch(0..3));
        (3..5).for_each(|index| sender.unbounded_send(one(index)).unwrap());
        assert_eq!(poll(), if is_ready_only { batch(3..5) } else { Poll::Pending });
        sender.unbounded_send(one(5)).unwrap();
        assert_eq!(poll(), if is_ready_only { batch(5..6) } else { batch(3..6) });
        assert_eq!(poll(), Poll::Pending);
        drop(sender);
        assert_eq!(poll(), Poll::Ready(None));
        assert_eq!(poll(), Poll::Ready(None));
    }
}

#[test]
fn a_prompt_batch_has_what_one_poll_takes() {
    let frames = (0..300).map(|index| Ok::<_, Failed>(Response::from(series(index, []))));
    let mut stream = batches(stream::iter(frames), NO_LIMIT, NO_LIMIT).ready_only();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut next = || stream.poll_next_unpin(&mut cx).map(|frame| frame.map(|it| it.unwrap().series_count()));
    assert_eq!(
        [(); 4].map(|()| next()),
        [Some(BUDGET), Some(BUDGET), Some(300 - 2 * BUDGET), None].map(Poll::Ready)
    );
}

/// The series that ended the batch before is one of those that a poll takes.
#[test]
fn a_prompt_batch_counts_the_series_that_it_begins_with() {
    let large = series(0, [Chunk::new(0, 9, vec![0; 1 << 20])]);
    // There is no room for another beside it, and for all of the others together.
    let max_bytes = large.size_bytes() + 1;
    let frames = [large].into_iter().chain((1..300).map(|index| series(index, [])));
    let frames = frames.map(|series| Ok::<_, Failed>(Response::from(series)));
    let mut stream = batches(stream::iter(frames), NO_LIMIT, max_bytes).ready_only();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut next = || stream.poll_next_unpin(&mut cx).map(|frame| frame.map(|it| it.unwrap().series_count()));
    assert_eq!([(); 2].map(|()| next()), [Some(1), Some(BUDGET)].map(Poll::Ready));
}

/// The batches depend on the series alone, unless they are to be prompt.
#[test]
fn schedules_do_not_change_the_batches() {
    let mut random = Random::seed(3);
    let answer = random_answer(&mut random, 300, 300);
    let mut frames = |pauses: f64| {
        let frames = random_frames(&mut random, answer.clone());
        let series = frames.into_iter().filter(|frame| frame.series_count() > 0).map(Ok::<_, Failed>);
        let input = Fitful::new(series.collect::<Vec<_>>(), &mut random, pauses);
        Stage::new().driver(0).run(&mut batches(input, 7, 1_500)).finished()
    };
    let expected = frames(0.0);
    assert!(expected.len() > 30);
    for _ in 0..100 {
        assert_eq!(frames(0.5), expected);
    }
}

// F35
#[test]
fn one_poll_takes_a_bounded_number_of_frames() {
    for (is_empty, is_ready_only) in [(false, false), (true, false), (true, true)] {
        let mut taken = 0;
        let endless = stream::repeat_with(|| {
            taken += 1;
            let batch = if is_empty { vec![] } else { vec![series(0, [])] };
            Ok::<_, Failed>(Response::Batch(batch))
        });
        let task = CountingWaker::new();
        let waker = task.waker();
        let mut cx = Context::from_waker(&waker);
        let stream = batches(endless, NO_LIMIT, NO_LIMIT);
        let mut stream = if is_ready_only { stream.ready_only() } else { stream };
        for _ in 0..10 {
            assert_eq!(stream.poll_next_unpin(&mut cx), Poll::Pending);
            assert_eq!(task.take(), 1, "pending, and not woken: it would sleep for ever");
        }
        drop(stream);
        // A frame and its series.
        assert_eq!(taken, 10 * BUDGET / if is_empty { 1 } else { 2 });
    }
}

#[test]
fn size_hints_are_right_at_every_step() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let frames = any_frames(&mut random);
        assert_size_hints(batches(Fitful::steady(frames), 1 + random.below(5), 500));
        true
    }
    QuickCheck::new().tests(500).quickcheck(property as fn(u64) -> bool);
}

/// All three: merged, deduplicated and packed, under random schedules; and closed from the outside.
#[test]
fn what_a_query_sends_is_what_the_oracle_gives() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let answers: Vec<Vec<Response>> = (0..random.below(5))
            .map(|_| random_answer(&mut random, 20, 15).into_iter().map(Response::from).collect())
            .collect();
        let expected = deduplicated(answers.iter().flatten());
        let stage = Stage::new();
        let sources = stage.sources_of(answers, &mut random, 0.3);
        let merge = ProxyResponseLoserTree::new(sources);
        let mut stream = batches(deduplicate(merge), 4, NO_LIMIT);
        let out = stage.driver(seed).run(&mut stream).ok();
        stage.log().assert_closed();
        assert_eq!(out.len(), expected.len().div_ceil(4));
        let series = out.into_iter().flat_map(|frame| match frame {
            Response::Batch(batch) => batch,
            other => panic!("no batch: {other:?}"),
        });
        series.eq(expected)
    }
    QuickCheck::new().tests(500).quickcheck(property as fn(u64) -> bool);
}

#[test]
fn the_merge_can_be_taken_out_and_closed() {
    for taken in 0..4 {
        let stage = Stage::new();
        let scripts = (0..3).map(|_| {
            let answer: Vec<Response> = (0..10).map(|index| series(index, []).into()).collect();
            Script::of(answer).pending(Wake::Later).close_pending(Wake::Later)
        });
        let merge = ProxyResponseLoserTree::new(stage.sources(scripts.collect::<Vec<_>>()));
        let mut stream = batches(deduplicate(merge), 3, NO_LIMIT);
        let run = stage.driver(1).run_up_to(&mut stream, taken);
        assert_eq!(run.items.len(), taken);
        let mut merge = stream.into_inner().into_inner();
        stage.driver(2).complete(merge.close()).unwrap().unwrap();
        stage.log().assert_closed();
    }
}

#[test]
fn it_shows_what_it_holds() {
    let (sender, receiver) = futures::channel::mpsc::unbounded::<Frame>();
    sender.unbounded_send(Ok(series(0, []).into())).unwrap();
    let mut stream = batches(receiver, 3, NO_LIMIT);
    assert!(stream.poll_next_unpin(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    let shown = format!("{stream:?}");
    assert!(shown.contains("held_series: 1") && shown.contains("max_series: 3"), "{shown}");
    stream.get_mut().close();
    assert!(sender.is_closed() && !stream.get_ref().is_terminated());
}
