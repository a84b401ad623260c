//! Deduplication of responses: each series once, each of its chunks once, whatever came in which order.

use std::convert::Infallible;
use std::task::{Context, Poll};

use allocation_counter::measure;
use futures::stream::{self, FusedStream};
use futures::{Stream, StreamExt};
use losertree::response::{Deduplicate, ResponseDeduplicator, deduplicate};
use losertree::{Chunk, LeakLedger, ProxyResponseLoserTree, Response, Series, Warning};
use losertree_testkit::{
    CountingWaker, Random, Script, Stage, TestError, Wake, assert_no_square, deduplicated,
};
use quickcheck::QuickCheck;
use twox_hash::XxHash64;

use crate::frames::{
    Failed, Fitful, Frame, assert_size_hints, chunk, random_answer, random_frames, random_series, series,
    with_errors,
};

const BUDGET: usize = 128;

fn count_chunks<'a>(series: impl IntoIterator<Item = &'a Series>) -> u64 {
    series.into_iter().map(|series| series.chunks.len() as u64).sum()
}

/// The rules, one by one: runs of equal labels become one series each, which comes with what follows the run;
/// all that is not a series comes at once; an error takes the run with it.
fn expected(frames: &[Frame]) -> Vec<Frame> {
    let mut out = Vec::new();
    let mut run: Vec<Response> = Vec::new();
    let end = |run: &mut Vec<Response>| deduplicated(&std::mem::take(run)).pop().map(|done| Ok(done.into()));
    for frame in frames {
        let unpacked = match frame {
            Ok(Response::Batch(batch)) => batch.clone(),
            Ok(Response::Series(series)) => vec![series.clone()],
            other => {
                run.truncate(if other.is_err() { 0 } else { run.len() });
                out.push(other.clone());
                continue;
            }
        };
        for series in unpacked {
            if run.first().is_some_and(|first| first.as_series().unwrap().labels != series.labels) {
                out.extend(end(&mut run));
            }
            run.push(series.into());
        }
    }
    out.extend(end(&mut run));
    out
}

/// Any frames, in any order, with errors among them after which the stream goes on.
fn any_frames(random: &mut Random) -> Vec<Frame> {
    let length = random.below(40);
    let mut all = random_answer(random, length, 8);
    if random.chance(0.3) {
        random.shuffle(&mut all);
    }
    let frames = random_frames(random, all);
    with_errors(random, frames)
}

// F12, F20, F42
#[test]
fn every_frame_goes_by_the_rules() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let frames = any_frames(&mut random);
        let mut stream = deduplicate(Fitful::new(frames.clone(), &mut random, 0.3));
        let out = Stage::new().driver(seed).run(&mut stream).finished();
        assert!(stream.is_terminated());
        out == expected(&frames)
    }
    QuickCheck::new().tests(3_000).quickcheck(property as fn(u64) -> bool);
}

fn split(responses: &[Response]) -> (Vec<Series>, Vec<Response>) {
    let series = responses.iter().filter_map(Response::as_series).cloned().collect();
    let others = responses.iter().filter(|response| response.as_series().is_none()).cloned().collect();
    (series, others)
}

/// The answers of stores without batches, with warnings and hints in between.
fn answers(random: &mut Random) -> Vec<Vec<Response>> {
    (0..random.below(10))
        .map(|_| {
            let length = random.below(30);
            let answer = random_answer(random, length, 20);
            random_frames(random, answer)
                .into_iter()
                .flat_map(|frame| match frame {
                    Response::Batch(batch) => batch.into_iter().map(Response::from).collect(),
                    other => vec![other],
                })
                .collect()
        })
        .collect()
}

#[test]
fn a_merge_of_replicas_gives_what_the_oracle_gives() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let answers = answers(&mut random);
        let stage = Stage::new();
        let sources = stage.sources_of(answers.clone(), &mut random, 0.3);
        let merge = ProxyResponseLoserTree::new(sources);
        // Of the merge or of any stream.
        let mut stream = if random.chance(0.5) { merge.deduplicate() } else { deduplicate(merge) };
        let out = stage.driver(seed).run(&mut stream).ok();
        stage.log().assert_closed();

        let (series, others) = split(&out);
        let (all_series, mut all_others) = split(&answers.concat());
        assert_eq!(series, deduplicated(answers.iter().flatten()));
        // Warnings of different sources come as they come; none is lost, and none comes twice.
        let mut others: Vec<_> = others.iter().map(|other| format!("{other:?}")).collect();
        others.sort_unstable();
        let mut expected: Vec<_> = all_others.drain(..).map(|other| format!("{other:?}")).collect();
        expected.sort_unstable();
        assert_eq!(others, expected);

        assert_eq!(stream.merged_series(), (all_series.len() - series.len()) as u64);
        assert_eq!(stream.dropped_chunks(), count_chunks(&all_series) - count_chunks(&series));
        true
    }
    QuickCheck::new().tests(1_000).quickcheck(property as fn(u64) -> bool);
}

/// What the tournament knows is of its last item. It is of no use where that is not the last response: somebody else has
/// taken one, the merge has given one of its own, or an empty batch has come in between.
#[test]
fn what_the_tournament_knows_changes_nothing() {
    let run = |seed, deduplicate: fn(Merge) -> ResponseDeduplicator<Merge>| {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        let scripts: Vec<_> = (0..8)
            .map(|_| {
                let answer = random_answer(random, 10, 40);
                let script = Script::of(random_frames(random, answer));
                if random.chance(0.3) { script.fail() } else { script }
            })
            .collect();
        let merge = ProxyResponseLoserTree::builder()
            .sources(stage.sources(scripts))
            .warn_with(|error| series(error.path().index().unwrap(), [chunk(1_000, 1_999, "missing")]).into())
            .build();
        let mut stream = deduplicate(merge);
        let mut driver = stage.driver(seed);
        let mut out = Vec::new();
        loop {
            if random.chance(0.2) {
                driver.complete(stream.get_mut().next()).unwrap();
            }
            let Some(next) = driver.complete(stream.next()).unwrap() else { return out };
            out.push(next.unwrap());
        }
    };
    for seed in 0..1_000 {
        assert_eq!(run(seed, Merge::deduplicate), run(seed, deduplicate), "seed {seed}");
    }
}

// F20
#[test]
fn a_thousand_schedules_and_orders_of_stores_give_one_output() {
    let mut random = Random::seed(20);
    let mut answers: Vec<Vec<Response>> = (0..5)
        .map(|_| random_answer(&mut random, 40, 25).into_iter().map(Response::from).collect())
        .collect();
    let expected = deduplicated(answers.iter().flatten());
    assert!(expected.iter().any(|series| series.chunks.len() > 6), "no series has chunks of several stores");
    for seed in 0..1_000 {
        random.shuffle(&mut answers);
        let stage = Stage::new();
        let sources = stage.sources_of(answers.clone(), &mut random, 0.5);
        let mut stream = deduplicate(ProxyResponseLoserTree::new(sources));
        let out = stage.driver(seed).run(&mut stream).ok();
        assert!(out.iter().map(|response| response.as_series().unwrap()).eq(&expected), "seed {seed}");
    }
}

// F50
/// Identical is what is identical: neither the hash of the data nor its length decides.
#[test]
fn different_chunks_of_one_hash_both_stay() {
    let one = b"abcdefghijklmnop";
    let other = b"ABCDEFGH\x8d\xd6\xbf\x0b\x9c\xe9\x28\xbd";
    assert_eq!(XxHash64::oneshot(0, one), XxHash64::oneshot(0, other), "the hash that Thanos uses");

    let [one, other] = [one, other].map(|data| Chunk::new(0, 9, data.as_slice()));
    let stores = [vec![one.clone()], vec![other.clone()], vec![one.clone(), other.clone()]];
    let frames = stores.map(|chunks| Ok::<_, Failed>(series(0, chunks).into()));
    let mut stream = deduplicate(stream::iter(frames));
    let out = Stage::new().driver(0).run(&mut stream).ok();
    assert_eq!(out, [series(0, [other, one]).into()]);
    assert_eq!((stream.merged_series(), stream.dropped_chunks()), (2, 2));
}

#[test]
fn chunks_of_one_data_at_different_times_both_stay() {
    let chunks = [chunk(0, 8, "x"), chunk(0, 9, "x"), chunk(1, 9, "x")];
    let frames = chunks.clone().map(|chunk| Ok::<_, Failed>(series(0, [chunk]).into()));
    let out = Stage::new().driver(0).run(&mut deduplicate(stream::iter(frames))).ok();
    assert_eq!(out, [series(0, chunks).into()]);
}

#[test]
fn a_series_alone_comes_out_sorted_too() {
    let (early, late) = (chunk(-5, 0, "b"), chunk(0, 1, "a"));
    let chunks = [late.clone(), early.clone(), late.clone(), early.clone()];
    let mut stream = deduplicate(stream::iter([Ok::<_, Failed>(series(0, chunks).into())]));
    let out = Stage::new().driver(0).run(&mut stream).ok();
    assert_eq!(out, [series(0, [early, late]).into()]);
    assert_eq!((stream.merged_series(), stream.dropped_chunks()), (0, 2));
}

// F42
/// Whichever source fails whenever: a series that has come out is whole, and after the error comes nothing.
#[test]
fn nothing_incomplete_comes_out_with_an_error() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let answers: Vec<Vec<Response>> = (0..4)
            .map(|_| random_answer(&mut random, 10, 10).into_iter().map(Response::from).collect())
            .collect();
        let stage = Stage::new();
        let failing = random.below(4);
        let scripts = answers.iter().enumerate().map(|(index, answer)| {
            let good = if index == failing { random.below(answer.len() + 1) } else { answer.len() };
            let script = Script::of(answer[..good].to_vec());
            if index == failing { script.fail() } else { script }.with_pauses(&mut random, 0.3)
        });
        let sources = stage.sources(scripts.collect::<Vec<_>>());
        let mut stream = deduplicate(ProxyResponseLoserTree::new(sources));
        let mut out = stage.driver(seed).run(&mut stream).finished();
        stage.log().assert_closed();

        assert!(out.pop().unwrap().is_err(), "the error comes last");
        let out: Vec<_> = out.into_iter().map(|item| item.unwrap().into_series().unwrap()).collect();
        // What the failing store has not sent is missing, but not from the middle.
        out == deduplicated(answers.iter().flatten())[..out.len()]
    }
    QuickCheck::new().tests(1_000).quickcheck(property as fn(u64) -> bool);
}

type Polled = Poll<Option<Frame>>;

#[test]
fn warnings_and_hints_do_not_wait_for_the_series_that_is_held() {
    let (sender, receiver) = futures::channel::mpsc::unbounded::<Frame>();
    let mut stream = deduplicate(receiver);
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    let mut poll = || -> Polled { stream.poll_next_unpin(&mut cx) };
    let send = |response: Response| sender.unbounded_send(Ok(response)).unwrap();

    send(series(0, [chunk(0, 9, "a")]).into());
    assert_eq!(poll(), Poll::Pending);
    send(Warning::new("slow").into());
    assert_eq!(poll(), Poll::Ready(Some(Ok(Warning::new("slow").into()))));
    send(Response::Hints("hints".into()));
    assert_eq!(poll(), Poll::Ready(Some(Ok(Response::Hints("hints".into())))));
    assert_eq!(poll(), Poll::Pending);
    send(Response::Batch(vec![series(0, [chunk(10, 19, "b")]), series(1, [])]));
    let merged = series(0, [chunk(0, 9, "a"), chunk(10, 19, "b")]);
    assert_eq!(poll(), Poll::Ready(Some(Ok(merged.into()))));
    assert_eq!(poll(), Poll::Pending);
    drop(sender);
    assert_eq!(poll(), Poll::Ready(Some(Ok(series(1, []).into()))));
    assert_eq!(poll(), Poll::Ready(None));
    assert_eq!(poll(), Poll::Ready(None));
}

/// Polls a stream that never yields so often, and asserts that each poll takes 128 frames and asks for the next.
fn assert_yields_to_the_executor(polls: usize, frame: impl Fn() -> Response) {
    let mut taken = 0;
    let endless = stream::repeat_with(|| {
        taken += 1;
        Ok::<_, Failed>(frame())
    });
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    let mut stream = deduplicate(endless);
    for _ in 0..polls {
        assert_eq!(stream.poll_next_unpin(&mut cx), Poll::Pending);
        assert_eq!(task.take(), 1, "pending, and not woken: it would sleep for ever");
    }
    drop(stream);
    assert_eq!(taken, polls * BUDGET);
}

// F35
#[test]
fn one_poll_takes_a_bounded_number_of_frames() {
    assert_yields_to_the_executor(10, || series(0, [chunk(0, 9, "a")]).into());
    assert_yields_to_the_executor(10, || Response::Batch(vec![]));
}

// F35
#[test]
fn one_poll_takes_a_bounded_part_of_a_batch() {
    let batch = Response::Batch(vec![series(0, [chunk(0, 9, "a")]); 10 * BUDGET - 1]);
    let mut stream = deduplicate(stream::iter([Ok::<_, Failed>(batch)]));
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    for _ in 0..10 {
        assert_eq!(stream.poll_next_unpin(&mut cx), Poll::Pending);
        assert_eq!(task.take(), 1);
    }
    assert_eq!(stream.poll_next_unpin(&mut cx), Poll::Ready(Some(Ok(series(0, [chunk(0, 9, "a")]).into()))));
    assert_eq!(task.take(), 0);
}

/// Also without yielding in between it is one: the next poll has all the budget again.
#[test]
fn a_yielded_series_renews_the_budget() {
    let frames = (0..BUDGET * 4).map(|index| Ok::<_, Failed>(series(index / 2, []).into()));
    let mut stream = deduplicate(stream::iter(frames));
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    for index in 0..BUDGET * 2 {
        assert_eq!(stream.poll_next_unpin(&mut cx), Poll::Ready(Some(Ok(series(index, []).into()))));
    }
    assert_eq!(task.take(), 0);
}

#[test]
fn size_hints_are_right_at_every_step() {
    fn property(seed: u64) -> bool {
        assert_size_hints(deduplicate(Fitful::steady(any_frames(&mut Random::seed(seed)))));
        true
    }
    QuickCheck::new().tests(500).quickcheck(property as fn(u64) -> bool);
}

type Merge = ProxyResponseLoserTree<
    losertree_testkit::Checked<losertree_testkit::ScriptedSource<Response>>,
    losertree::key::Natural,
>;

/// A merge of three stores that takes some time to close, after `taken` series.
fn half_way(stage: &Stage, ledger: &LeakLedger, taken: usize) -> ResponseDeduplicator<Merge> {
    let mut random = Random::seed(taken as u64);
    let scripts = (0..3).map(|_| {
        let answer = (0..10).map(|index| random_series(&mut random, index).into());
        Script::of(answer.collect::<Vec<Response>>()).with_pauses(&mut random, 0.3).close_pending(Wake::Later)
    });
    let merge = ProxyResponseLoserTree::builder()
        .sources(stage.sources(scripts.collect::<Vec<_>>()))
        .ledger(ledger)
        .build();
    let mut stream = deduplicate(merge);
    assert_eq!(stage.driver(1).run_up_to(&mut stream, taken).ok_so_far().len(), taken);
    stream
}

/// The items of a run that was not to reach the end.
trait SoFar<T> {
    fn ok_so_far(self) -> Vec<T>;
}

impl<T, E: std::fmt::Debug> SoFar<T> for losertree_testkit::Run<Result<T, E>> {
    fn ok_so_far(self) -> Vec<T> {
        self.items.into_iter().map(Result::unwrap).collect()
    }
}

#[test]
fn the_merge_can_be_taken_out_and_closed_or_dropped_at_any_point() {
    for taken in 0..10 {
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let mut merge = half_way(&stage, &ledger, taken).into_inner();
        stage.driver(2).complete(merge.close()).unwrap().unwrap();
        stage.log().assert_closed();
        drop(merge);
        ledger.assert_balanced();

        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let mut stream = half_way(&stage, &ledger, taken);
        stage.driver(2).complete(stream.get_mut().close()).unwrap().unwrap();
        stage.log().assert_closed();

        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        drop(half_way(&stage, &ledger, taken));
        stage.log().assert_released();
        assert_eq!(ledger.snapshot().open, 0);
    }
}

#[test]
fn it_shows_what_it_holds() {
    let frames =
        [series(0, []), series(0, []), series(7, [])].map(|series| Ok::<_, TestError>(series.into()));
    let mut stream = deduplicate(Fitful::steady(frames));
    assert!(!stream.is_terminated());
    assert!(stream.poll_next_unpin(&mut Context::from_waker(std::task::Waker::noop())).is_ready());
    let shown = format!("{stream:?}");
    assert!(shown.contains("pod-0007") && shown.contains("merged_series: 1"), "{shown}");
    assert!(format!("{:?}", stream.get_ref()).starts_with("Fitful"));
}

/// Takes all that is ready.
fn drain(stream: &mut (impl Stream<Item = Result<Response, Infallible>> + Unpin)) -> usize {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut count = 0;
    loop {
        match stream.poll_next_unpin(&mut cx) {
            Poll::Ready(Some(_)) => count += 1,
            Poll::Ready(None) => return count,
            Poll::Pending => {}
        }
    }
}

// P10
/// Series alone, in order, cost no allocation; replicas with the same chunks or some of them, and chunks out of order,
/// neither.
#[test]
fn what_need_not_grow_allocates_nothing() {
    let in_order: Vec<_> = (0..50).map(|at| chunk(at, at + 9, "x")).collect();
    let backwards: Vec<_> = in_order.iter().rev().cloned().collect();
    let of = |copies: usize, chunks: &Vec<Chunk>| {
        let one = |index| Ok::<Response, Infallible>(series(index / copies, chunks.clone()).into());
        deduplicate(Fitful::steady((0..600).map(one)))
    };
    for (copies, chunks) in [(1, &in_order), (1, &backwards), (3, &in_order)] {
        let mut stream = of(copies, chunks);
        let mut count = 0;
        let counted = measure(|| count = drain(&mut stream));
        assert_eq!((count, counted.count_total), (600 / copies, 0), "{copies} copies: {counted:?}");
        assert_eq!(stream.dropped_chunks(), 50 * (600 - 600 / copies) as u64);
    }

    let some: Vec<_> = in_order.iter().skip(20).step_by(3).cloned().collect();
    let one = |index: usize| {
        let chunks = if index.is_multiple_of(2) { &in_order } else { &some };
        Ok::<Response, Infallible>(series(index / 2, chunks.clone()).into())
    };
    let mut stream = deduplicate(Fitful::steady((0..600).map(one)));
    let mut count = 0;
    let counted = measure(|| count = drain(&mut stream));
    assert_eq!((count, counted.count_total), (300, 0), "{counted:?}");
    assert_eq!(stream.dropped_chunks(), 300 * some.len() as u64);
}

/// A series that is in very many stores, each of which has other chunks of it: ascending, descending, one between the others, in any
/// order, and the same ones over and over beside one of its own.
#[test]
fn chunks_of_many_stores_do_not_cost_the_square() {
    const CHUNKS: usize = 10;
    let time_of: [fn(usize, usize, usize) -> usize; 5] = [
        |_, store, nth| CHUNKS * store + nth,
        |stores, store, nth| CHUNKS * (stores - store) + nth,
        |stores, store, nth| stores * nth + store,
        |stores, store, nth| (CHUNKS * store + nth) * 48_271 % (CHUNKS * stores + 1),
        |_, store, nth| if nth == 0 { CHUNKS * (store + 1) } else { nth },
    ];
    for time_of in time_of {
        let answer = |stores: usize| -> Vec<Frame> {
            let chunks = |store| {
                (0..CHUNKS).map(move |nth| time_of(stores, store, nth)).map(|time| {
                    let time = i64::try_from(time).unwrap();
                    chunk(time, time, "data")
                })
            };
            let labels = series(0, []).labels;
            let of = |store| Ok(Series::new(labels.clone(), chunks(store).collect()).into());
            (0..stores).map(of).collect()
        };
        assert_no_square(
            2_000,
            |stores| deduplicate(stream::iter(answer(stores))),
            |deduplicated| {
                let answer: Vec<_> = futures::executor::block_on(deduplicated.collect());
                let [Ok(Response::Series(series))] = &*answer else { panic!("one series") };
                assert!(series.chunks.is_sorted_by(|a, b| a < b));
                answer
            },
        );
    }
}
