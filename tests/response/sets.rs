//! Response sets against the oracle: whatever the store sends, the options are, and the order is in which the store, the
//! task and the reader get their turns.

use losertree::SourceError;
use losertree::error::Cause;
use losertree_testkit::one_cause;
use std::pin::Pin;

use futures::stream::{self, Stream};
use losertree::resource::BytePool;
use losertree::response::Received;
use losertree::response::{ResponseSet, ResponseSetOptions, RetrievalStrategy, SeriesOrder, Store};
use losertree::{Chunk, Labels, Response, Series, Source, Warning};
use losertree_testkit::{
    Answer, Checked, Driver, Random, Script, ScriptedSource, SetRules, Stage, Tasks, TestError, Wake,
    random_store,
};
use quickcheck::QuickCheck;

type Scripted = Checked<ScriptedSource<Response>>;
type Set = ResponseSet<Scripted>;

fn pool(budget_bytes: usize) -> BytePool {
    BytePool::builder()
        .smallest_bytes(16)
        .largest_bytes(64)
        .budget_bytes(budget_bytes.max(64))
        .build()
        .unwrap()
}

/// A set, the tasks it may have, and what drives both.
struct Play {
    stage: Stage,
    tasks: Tasks,
    driver: Driver,
    set: Set,
}

impl Play {
    fn new(options: &ResponseSetOptions, script: Script<Response>, is_spawned: bool, seed: u64) -> Self {
        let stage = Stage::new();
        let tasks = Tasks::new(seed);
        let options = if is_spawned {
            let tasks = tasks.clone();
            options.clone().spawn_with(move |task| tasks.spawn(task))
        } else {
            options.clone()
        };
        let set = ResponseSet::new(Store::opened("store", stage.source(script)), &options);
        let driver = stage.driver(seed);
        Self { stage, tasks, driver, set }
    }

    /// All that the set gives, and its error.
    fn read(&mut self) -> (Vec<Response>, Option<Cause<TestError>>) {
        let mut stream = fused(&mut self.set, &self.tasks);
        let mut items = self.driver.run(&mut stream).finished();
        let error = items.pop_if(|last| last.is_err()).map(Result::unwrap_err);
        (items.into_iter().map(Result::unwrap).collect(), error)
    }

    fn close(&mut self) -> Result<(), Cause<TestError>> {
        let (set, tasks) = (&mut self.set, &self.tasks);
        let close = std::future::poll_fn(|cx| tasks.poll(cx, |cx| Pin::new(&mut *set).poll_close(cx)));
        one_cause(self.driver.complete(close).expect("no deadlock"))
    }

    fn end(self) {
        drop(self.set);
        self.tasks.run_until_idle();
        assert_eq!(self.tasks.alive(), 0, "no task is left");
        self.stage.log().assert_closed();
    }
}

/// A set as a stream that keeps to the contract: it is not polled after its end or its error.
fn fused<'a>(
    set: &'a mut Set,
    tasks: &'a Tasks,
) -> impl Stream<Item = Result<Response, Cause<TestError>>> + Unpin + 'a {
    let mut has_failed = false;
    stream::poll_fn(move |cx| {
        if has_failed {
            return std::task::Poll::Ready(None);
        }
        let polled = tasks.poll(cx, |cx| Pin::new(&mut *set).poll_next(cx));
        has_failed = matches!(polled, std::task::Poll::Ready(Some(Err(_))));
        polled.map_err(SourceError::into_cause)
    })
}

fn random_script(random: &mut Random) -> Script<Response> {
    let most_series = [0, 3, 10, 40][random.below(4)];
    let mut script = random_store(random, "store", most_series);
    if random.chance(0.3) {
        let at = random.below(script.steps.len() + 1);
        script.steps.truncate(at);
        script = script.fail();
    }
    script.with_pauses(random, 0.3)
}

fn check(
    rules: &SetRules,
    options: &ResponseSetOptions,
    script: &Script<Response>,
    spawned: bool,
    seed: u64,
) {
    let mut play = Play::new(options, script.clone(), spawned, seed);
    let (responses, error) = play.read();
    let received = play.set.received();
    assert_eq!(Answer { responses, error, received }, rules.answer(0, script), "{rules:?}");
    assert_eq!(play.close(), Ok(()));
    play.end();
}

// F11, F12
#[test]
fn what_a_set_gives_is_what_the_oracle_says() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let rules = SetRules::random(&mut random);
        let script = random_script(&mut random);
        check(&rules, &rules.options(), &script, random.chance(0.5), seed);
        true
    }
    QuickCheck::new().tests(20_000).quickcheck(property as fn(u64) -> bool);
}

/// An eager set fails when its pool has no room; a lazy one that holds nothing back waits, or goes on uncharged.
#[test]
fn a_pool_changes_nothing_but_the_error_of_eager_sets() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let mut rules = SetRules::random(&mut random);
        if rules.retrieval == RetrievalStrategy::Lazy {
            rules.order = [SeriesOrder::Trusted, SeriesOrder::Checked][random.below(2)];
        }
        let budget = [64, 300, 1_000, 1 << 20][random.below(4)];
        rules.budget_bytes = Some(budget);
        let pool = pool(budget);
        let script = random_script(&mut random);
        check(&rules, &rules.options().pool(&pool), &script, random.chance(0.5), seed);
        let figures = pool.snapshot();
        assert_eq!((figures.used_bytes, figures.reserved_bytes, figures.waiting), (0, 0, 0));
        true
    }
    QuickCheck::new().tests(5_000).quickcheck(property as fn(u64) -> bool);
}

/// Early: after any number of responses, of which those are right that came.
#[test]
fn a_set_that_is_closed_or_dropped_at_any_point_releases_all() {
    fn property(seed: u64) -> bool {
        let mut random = Random::seed(seed);
        let rules = SetRules::random(&mut random);
        let script = random_script(&mut random).with_pauses(&mut random, 0.3);
        let expected = rules.answer(0, &script);
        let pool = pool(1_000);
        let is_charged = random.chance(0.5);
        let options = if is_charged { rules.options().pool(&pool) } else { rules.options() };
        let mut play = Play::new(&options, script, random.chance(0.5), seed);
        let length = random.below(expected.responses.len() + 1);
        let run = play.driver.run_up_to(&mut fused(&mut play.set, &play.tasks), length);
        let got = run.oks();
        // A pool that is too small can be why there are fewer.
        assert!(is_charged || got == expected.responses[..length]);
        if random.chance(0.5) {
            // What was met ahead of what was read is told.
            if let Err(cause) = play.close() {
                assert!(is_charged || Some(cause) == expected.error);
            }
            let given: u64 = play.stage.log().items() as u64;
            assert_eq!(play.set.received().frames, given, "every frame is counted");
            play.end();
        } else {
            drop(play.set);
            assert!(play.stage.log().sources()[0].dropped, "at once");
            play.tasks.run_until_idle();
            assert_eq!(play.tasks.alive(), 0);
            play.stage.log().assert_released();
        }
        let figures = pool.snapshot();
        assert_eq!((figures.used_bytes, figures.reserved_bytes, figures.waiting), (0, 0, 0));
        true
    }
    QuickCheck::new().tests(5_000).quickcheck(property as fn(u64) -> bool);
}

#[test]
fn the_errors_of_closing_are_told() {
    for is_spawned in [false, true] {
        for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
            let script = Script::new().close_pending(Wake::Later).close_fails();
            let mut play = Play::new(&ResponseSetOptions::new().retrieval(retrieval), script, is_spawned, 1);
            assert_eq!(play.read(), (vec![], None));
            assert!(matches!(play.close(), Err(Cause::Source(_))));
            play.end();
        }
    }
}

/// A source that is open already is closed, not dropped, also if nobody has asked it for anything.
#[test]
fn a_store_that_is_open_is_closed_though_it_was_never_polled() {
    for is_spawned in [false, true] {
        for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
            let script = Script::new().close_pending(Wake::Later);
            let mut play = Play::new(&ResponseSetOptions::new().retrieval(retrieval), script, is_spawned, 1);
            assert_eq!(play.close(), Ok(()));
            play.end();
        }
    }
}

fn labels(text: &str) -> Labels {
    text.parse().unwrap()
}

fn series(text: &str) -> Response {
    Series::new(labels(text), vec![Chunk::new(0, 9, "data")]).into()
}

// F11
/// `Restored` gives series while the labels that it removes come last, and holds back from the first one on of which that
/// is not so.
#[test]
fn restored_streams_as_long_as_it_can() {
    let options =
        ResponseSetOptions::new().without_replica_labels(["replica"]).series_order(SeriesOrder::Restored);
    let script = Script::of([
        series(r#"{pod="a", replica="1"}"#),
        series(r#"{pod="b", replica="1"}"#),
        series(r#"{pod="c", replica="1", zone="y"}"#),
        series(r#"{pod="c", replica="2", zone="x"}"#),
    ])
    .pending(Wake::Never);
    let mut play = Play::new(&options, script, false, 1);
    let run = play.driver.run(&mut fused(&mut play.set, &play.tasks));
    let got: Vec<_> = run.oks().iter().map(|got| got.as_series().unwrap().labels.to_string()).collect();
    assert_eq!(got, [r#"{pod="a"}"#, r#"{pod="b"}"#], "the others may have to be sorted");
    drop(play.set);
    play.stage.log().assert_released();
}

// F11
#[test]
fn restored_fails_only_where_a_series_was_given_too_early() {
    let options =
        ResponseSetOptions::new().without_replica_labels(["replica"]).series_order(SeriesOrder::Restored);
    let of = |scripts: &[&str]| Script::of(scripts.iter().map(|text| series(text)));
    // Two that change places after the first were given.
    let mut play = Play::new(
        &options,
        of(&[
            r#"{pod="a", replica="1"}"#,
            r#"{pod="c", replica="1", zone="y"}"#,
            r#"{pod="c", replica="2", zone="x"}"#,
        ]),
        false,
        1,
    );
    let (got, error) = play.read();
    assert_eq!((got.len(), error), (3, None));
    assert!(play.set.received().is_resorted);
    assert_eq!(play.close(), Ok(()));
    play.end();
    // One that belongs before the one that was given.
    let mut play =
        Play::new(&options, of(&[r#"{a="", b="", replica="1"}"#, r#"{a="", replica="1"}"#]), false, 1);
    let (got, error) = play.read();
    assert_eq!((got.len(), error), (1, Some(Cause::OutOfOrder { position: 1 })));
    assert!(!play.set.received().is_resorted);
    assert_eq!(play.close(), Ok(()));
    play.end();
}

// F35
/// Frames of which nothing is left cost as much as others: no poll takes more than its budget of them.
#[test]
fn one_poll_takes_no_more_frames_than_it_may() {
    let frames =
        (0..1_000).flat_map(|_| (0..100).map(|_| Response::Batch(vec![])).chain([Warning::new("w").into()]));
    let script = Script::of(frames);
    for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let options = ResponseSetOptions::new().retrieval(retrieval).buffer_frames(100_000);
        let mut play = Play::new(&options, script.clone(), true, 1);
        let mut most = 0;
        let mut warnings = 0;
        let mut stream = stream::poll_fn(|cx| {
            let before = (play.stage.log().items(), play.tasks.polls());
            let polled = play.tasks.poll(cx, |cx| Pin::new(&mut play.set).poll_next(cx));
            let (items, polls) = (play.stage.log().items() - before.0, play.tasks.polls() - before.1);
            most = most.max(items.div_ceil(polls + 1));
            warnings += usize::from(polled.is_ready());
            polled
        });
        drop(play.driver.run(&mut stream).finished());
        assert_eq!(warnings, 1_001);
        assert!(most <= 128, "{most} frames in a poll");
        assert_eq!(play.close(), Ok(()));
        play.end();
    }
}

// F35
/// Frames that give nothing are no way round the budget, whatever else is done to them.
#[test]
fn one_poll_takes_no_more_empty_batches_than_it_may() {
    for order in [SeriesOrder::Trusted, SeriesOrder::Checked] {
        let script = Script::of((0..1_000).map(|_| Response::Batch(vec![])));
        let mut play = Play::new(&ResponseSetOptions::new().series_order(order), script, false, 1);
        let mut most = 0;
        let mut stream = stream::poll_fn(|cx| {
            let before = play.stage.log().items();
            let polled = Pin::new(&mut play.set).poll_next(cx);
            most = most.max(play.stage.log().items() - before);
            polled
        });
        assert!(play.driver.run(&mut stream).finished().is_empty());
        assert!(most <= 128, "{most} frames in a poll: {order:?}");
        assert_eq!(play.close(), Ok(()));
        play.end();
    }
}

/// What was held back is charged once, from when it is held until it was used up.
#[test]
fn series_that_were_held_back_stay_charged_and_are_charged_once() {
    let script = Script::of((0..10).map(|pod| series(&format!(r#"{{pod="{pod}"}}"#))));
    let bytes = series(r#"{pod="0"}"#).as_series().unwrap().size_bytes();
    for is_spawned in [false, true] {
        for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
            let pool = pool(100 * bytes);
            let options =
                ResponseSetOptions::new().series_order(SeriesOrder::Sorted).retrieval(retrieval).pool(&pool);
            let mut play = Play::new(&options, script.clone(), is_spawned, 1);
            for _ in 0..9 {
                let run = play.driver.run_up_to(&mut fused(&mut play.set, &play.tasks), 1);
                assert_eq!(run.oks().len(), 1);
                play.tasks.run_until_idle();
                assert_eq!(pool.snapshot().reserved_bytes, 10 * bytes);
            }
            assert_eq!(play.close(), Ok(()));
            assert_eq!(pool.snapshot().reserved_bytes, 0);
            assert_eq!(pool.snapshot().peak_bytes, 10 * bytes);
            play.end();
        }
    }
}

/// The counts are those of what the store has sent, whatever becomes of it.
// F12
#[test]
fn counts_are_of_series_not_of_frames() {
    let batch = |range: std::ops::Range<usize>| {
        let batch =
            range.map(|pod| series(&format!(r#"{{pod="{pod}", replica="r"}}"#)).into_series().unwrap());
        Response::Batch(batch.collect())
    };
    let script = Script::of([batch(0..3), Warning::new("slow").into(), batch(3..3), batch(3..5)]);
    let bytes: usize = script
        .steps
        .iter()
        .map(|step| match step {
            losertree_testkit::Step::Item(frame) => frame.size_bytes(),
            _ => 0,
        })
        .sum();
    let shard = losertree::response::ShardMatcher::by(["pod"], 0, 2).unwrap();
    let options = ResponseSetOptions::new().shard(shard).count_samples(|_| 7);
    let mut play = Play::new(&options, script, false, 1);
    drop(play.read());
    let expected = Received {
        frames: 4,
        bytes: bytes as u64,
        series: 5,
        chunks: 5,
        samples: Some(35),
        is_held_back: false,
        is_resorted: false,
    };
    assert_eq!(play.set.received(), expected);
    assert_eq!(play.close(), Ok(()));
    play.end();
}

/// A set whose task is gone says so, gives what it has before, and can be closed.
#[test]
fn a_set_whose_task_is_gone_closes_its_store_itself() {
    let script = Script::of([series(r#"{pod="a"}"#)]).pending(Wake::Never).close_pending(Wake::Later);
    let mut play = Play::new(&ResponseSetOptions::new(), script, true, 1);
    let run = play.driver.run_up_to(&mut fused(&mut play.set, &play.tasks), 1);
    assert_eq!(run.oks().len(), 1);
    play.tasks.shut_down();
    assert_eq!(play.read(), (vec![], Some(Cause::Abandoned)));
    assert_eq!(play.close(), Ok(()));
    play.end();
}
