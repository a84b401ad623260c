//! What is dropped unclosed is closed in the background, at every stage and on every runtime, or dropped in time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;
use futures::{FutureExt, Stream, StreamExt};
use losertree::error::{Phase, Timeout};
use losertree::resource::LedgerSnapshot;
use losertree::response::{ProxyQuery, Store as QueryStore};
use losertree::stream::{BackgroundError, Closable, CloseOnDrop, CloseSourceOnDrop, Closer, is_closing};
use losertree::{
    CloseError, Labels, LeakLedger, ProxyResponseLoserTree, Response, Series, Source, from_stream,
};
use losertree_testkit::{
    Checked, Closing, Driver, End, Log, Random, Script, ScriptedSource, Stage, Tasks, TestError, Wake,
    poll_times, silence_scripted_panics,
};

type Store = Checked<ScriptedSource<u64>>;
type Merge = ProxyResponseLoserTree<Store>;

type Timers = Arc<Mutex<Vec<(Duration, oneshot::Sender<()>)>>>;

/// Tasks that are polled when the test says so, and a timer that goes off when it does.
struct Background {
    tasks: Tasks,
    spawned: Arc<AtomicUsize>,
    /// What sets off the timers, in the order in which they were made, and their durations.
    timers: Timers,
    closer: Closer,
}

impl Background {
    fn new(seed: u64) -> Self {
        let tasks = Tasks::new(seed);
        let spawned = Arc::new(AtomicUsize::new(0));
        let timers = Arc::new(Mutex::new(Vec::new()));
        let spawn = {
            let (tasks, spawned) = (tasks.clone(), Arc::clone(&spawned));
            move |task| {
                spawned.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(task);
            }
        };
        let sleep = {
            let timers = Arc::clone(&timers);
            move |limit| {
                let (set_off, timer) = oneshot::channel();
                timers.lock().unwrap().push((limit, set_off));
                timer.map(|_| ()).boxed()
            }
        };
        Self { tasks, spawned, timers, closer: Closer::new(spawn, sleep) }
    }

    fn spawned(&self) -> usize {
        self.spawned.load(Ordering::SeqCst)
    }

    /// Runs the tasks, and rings for the sources in the order that `seed` decides, until nothing moves any more.
    fn run(&self, stage: &Stage, seed: u64) {
        let random = &mut Random::seed(seed);
        self.tasks.run_until_idle();
        while stage.bell().ring_one(random).is_some() {
            self.tasks.run_until_idle();
        }
        stage.log().assert_no_missed_wakes();
    }

    fn set_off_timers(&self) {
        for (_, timer) in self.timers.lock().unwrap().drain(..) {
            let _ = timer.send(());
        }
        self.tasks.run_until_idle();
    }
}

/// A merge in the ledger.
fn merge_of(stage: &Stage, scripts: impl IntoIterator<Item = Script<u64>>, ledger: &LeakLedger) -> Merge {
    ProxyResponseLoserTree::builder().sources(stage.sources(scripts)).ledger(ledger).build()
}

/// What has gone wrong in the background.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<BackgroundError<TestError>>>>);

impl Told {
    fn tell(&self) -> impl FnOnce(BackgroundError<TestError>) + Send + Sync + use<> {
        let told = self.clone();
        move |error| told.0.lock().unwrap().push(error)
    }

    #[track_caller]
    fn only(&self) -> BackgroundError<TestError> {
        let told = std::mem::take(&mut *self.0.lock().unwrap());
        assert_eq!(told.len(), 1, "{told:?}");
        told.into_iter().next().unwrap()
    }

    #[track_caller]
    fn assert_nothing(&self) {
        assert_eq!(*self.0.lock().unwrap(), []);
    }
}

/// How many were closed in order, in the background and dropped unclosed.
fn endings(record: &LedgerSnapshot) -> [u64; 3] {
    assert_eq!((record.open, record.lost), (0, 0), "{record}");
    [record.closed, record.closed_in_background, record.dropped_unclosed]
}

fn poll_close<S: Source + Unpin>(source: &mut S) -> Poll<Result<(), CloseError<S::Error>>> {
    Pin::new(source).poll_close(&mut Context::from_waker(Waker::noop()))
}

// F64
#[test]
fn a_merge_is_closed_wherever_it_is_dropped() {
    let script = |random: &mut Random, index: u64| Script::of([index, 9, 9]).with_pauses(random, 0.4);
    let guard_of = |stage: &Stage, seed, ledger: &LeakLedger, closer: &Closer| {
        let random = &mut Random::seed(seed);
        let scripts: Vec<_> = (0..5).map(|index| script(random, index)).collect();
        CloseOnDrop::new(merge_of(stage, scripts, ledger), closer)
    };
    for seed in 0..20 {
        let (stage, background) = (Stage::new(), Background::new(seed));
        let mut guard = guard_of(&stage, seed, &LeakLedger::off(), &background.closer);
        let mut driver = stage.driver(seed);
        assert_eq!(driver.run(&mut guard).end, End::Finished);
        for polls in 0..driver.polls() {
            let (stage, background, ledger, told) =
                (Stage::new(), Background::new(seed), LeakLedger::sites(), Told::default());
            let mut guard = guard_of(&stage, seed, &ledger, &background.closer).on_error(told.tell());
            let mut driver = stage.driver(seed).max_polls(polls);
            assert_eq!(driver.run(&mut guard).end, End::OutOfPolls);
            let before = (ledger.snapshot(), stage.log().polls());
            drop(guard);
            // Nobody has been polled or closed where it was dropped.
            assert_eq!((ledger.snapshot().closed, stage.log().polls()), (before.0.closed, before.1));
            assert_eq!((background.spawned(), background.closer.closings()), (1, 1));
            background.run(&stage, seed);
            assert_eq!((background.tasks.alive(), background.closer.closings()), (0, 0));
            assert_eq!(endings(&ledger.snapshot()), [before.0.closed, before.0.open, 0]);
            stage.log().assert_closed();
            told.assert_nothing();
        }
    }
}

/// All levels are recorded as what they are.
#[test]
fn a_merge_of_merges_is_closed_in_the_background_through_all_levels() {
    for seed in 0..20 {
        for taken in 0..6 {
            let (stage, background, ledger) = (Stage::new(), Background::new(seed), LeakLedger::sites());
            let random = &mut Random::seed(seed);
            let mut scripts = |first: u64| {
                (first..first + 2)
                    .map(|index| Script::of([index, 9]).with_pauses(random, 0.4))
                    .collect::<Vec<_>>()
            };
            let lower = [merge_of(&stage, scripts(0), &ledger), merge_of(&stage, scripts(2), &ledger)];
            let upper = lower.map(ProxyResponseLoserTree::into_source);
            let upper = ProxyResponseLoserTree::builder().sources(upper).ledger(&ledger).build();
            let mut guard = CloseOnDrop::new(upper, &background.closer);
            let mut driver = stage.driver(seed);
            assert_eq!(driver.run_up_to(&mut guard, taken).oks().len(), taken);
            let before = ledger.snapshot();
            drop(guard);
            background.run(&stage, seed);
            assert_eq!(endings(&ledger.snapshot()), [before.closed, before.open, 0]);
            stage.log().assert_closed();
        }
    }
}

#[test]
fn a_query_is_closed_wherever_it_is_dropped() {
    let series = |key: usize| {
        let labels = Labels::from_pairs([("__name__", format!("s{key}"))]).unwrap();
        Response::from(Series::new(labels, vec![]))
    };
    for taken in 0..8 {
        for batch in [false, true] {
            let (stage, background, ledger) = (Stage::new(), Background::new(3), LeakLedger::sites());
            let store = |first: usize| {
                let script = Script::of((0..3).map(|at| series(3 * at + first))).close_pending(Wake::Later);
                QueryStore::opened(format!("store-{first}"), stage.source(script))
            };
            let query = ProxyQuery::builder().stores((0..3).map(store)).ledger(&ledger);
            let query = if batch { query.batches(2, usize::MAX).build() } else { query.build() };
            let mut guard = CloseOnDrop::new(query, &background.closer);
            let tasks = &background.tasks;
            let mut stream = futures::stream::poll_fn(|cx| tasks.poll(cx, |cx| guard.poll_next_unpin(cx)));
            let driver = Driver::new(stage.bell().clone(), Log::new(), Random::seed(1));
            let _ = { driver }.run_up_to(&mut stream, if batch { taken / 2 } else { taken });
            drop(stream);
            let before = ledger.snapshot();
            drop(guard);
            background.run(&stage, 5);
            assert_eq!(endings(&ledger.snapshot()), [before.closed, before.open, 0]);
            stage.log().assert_closed();
        }
    }
}

#[test]
fn a_merge_that_was_being_closed_is_closed_on() {
    let scripts = || (0..6).map(|index| Script::of([index, 9]).with_pauses(&mut Random::seed(index), 0.6));
    for seed in 0..20 {
        for polls in 0.. {
            let (stage, background, ledger) = (Stage::new(), Background::new(seed), LeakLedger::sites());
            let mut guard = CloseOnDrop::new(merge_of(&stage, scripts(), &ledger), &background.closer);
            let mut driver = stage.driver(seed);
            let is_closed = driver.poll_times(guard.close(), polls).is_ok();
            let before = ledger.snapshot();
            drop(guard);
            background.run(&stage, seed);
            assert_eq!(endings(&ledger.snapshot()), [before.closed, before.open, 0]);
            stage.log().assert_closed();
            // What is closed needs no task.
            assert_eq!(background.spawned(), usize::from(!is_closed));
            if is_closed {
                assert!(polls > 1, "the schedule closes at once");
                break;
            }
        }
    }
}

#[test]
fn what_has_ended_or_was_closed_is_only_dropped() {
    let stage = Stage::new();
    let (background, ledger) = (Background::new(0), LeakLedger::sites());
    let guard = || {
        let scripts = [Script::of([1, 2]), Script::of([3]).close_pending(Wake::Later)];
        CloseOnDrop::new(merge_of(&stage, scripts, &ledger), &background.closer)
    };
    let mut driver = stage.driver(0);

    let mut read_to_the_end = guard();
    assert_eq!(driver.run(&mut read_to_the_end).oks(), [1, 2, 3]);
    drop(read_to_the_end);

    let mut closed = guard();
    assert_eq!(driver.complete(closed.close()), Ok(Ok(())));
    drop(closed);

    let mut closed_by_the_trait = guard();
    assert_eq!(driver.complete(Closable::close(&mut closed_by_the_trait)), Ok(Ok(())));
    // As for the merge, once more is the same.
    assert_eq!(driver.complete(closed_by_the_trait.close()), Ok(Ok(())));
    drop(closed_by_the_trait);

    assert_eq!(background.spawned(), 0);
    assert_eq!(endings(&ledger.snapshot()), [6, 0, 0]);
    stage.log().assert_closed();
}

#[test]
fn what_was_taken_out_is_not_closed() {
    let (stage, background, ledger) = (Stage::new(), Background::new(0), LeakLedger::sites());
    let guard =
        CloseOnDrop::new(merge_of(&stage, [Script::of([1]), Script::of([2])], &ledger), &background.closer);
    drop(guard.into_inner());
    assert_eq!(background.spawned(), 0);
    assert_eq!(endings(&ledger.snapshot()), [0, 0, 2]);
}

/// The guard is what it holds: its methods, its size hint and what is asked through that.
#[test]
fn the_guard_is_a_merge() {
    let (stage, background, ledger) = (Stage::new(), Background::new(0), LeakLedger::sites());
    let guard = || {
        let scripts = [Script::of([1, 3]), Script::of([2, 4]).close_pending(Wake::Later)];
        CloseOnDrop::new(merge_of(&stage, scripts, &ledger), &background.closer)
    };
    let mut driver = stage.driver(0);
    let mut merge = guard();
    assert_eq!(driver.complete(merge.next_with_source()), Ok(Some(Ok((0, 1)))));
    assert_eq!((merge.stats().items, merge.size_hint()), (1, (0, None)));
    assert_eq!(driver.run_up_to(&mut merge, 3).oks(), [2, 3, 4]);
    assert!(poll_times(merge.next(), 1).is_err());
    assert!(is_closing(&merge));
    assert!(driver.run(&mut merge).items.is_empty());

    // Something that knows only that it is a stream has it closed, and not in the background.
    let mut source = from_stream(guard().map(|item| item));
    assert_eq!(driver.complete(std::future::poll_fn(|cx| Pin::new(&mut source).poll_close(cx))), Ok(Ok(())));
    drop(source);
    assert_eq!(background.spawned(), 0);
    stage.log().assert_closed();
    assert_eq!(endings(&ledger.snapshot()), [4, 0, 0]);
}

#[test]
fn what_is_late_is_dropped_and_told() {
    for limit in [None, Some(Duration::from_millis(300))] {
        let (stage, background, ledger, told) =
            (Stage::new(), Background::new(0), LeakLedger::sites(), Told::default());
        let scripts = [Script::of([1]), Script::of([2]).close_pending(Wake::Never).named("store-b")];
        let merge = merge_of(&stage, scripts, &ledger);
        let closer =
            limit.map_or(background.closer.clone(), |limit| background.closer.clone().time_limit(limit));
        drop(CloseOnDrop::new(merge, &closer).on_error(told.tell()));
        background.run(&stage, 0);
        assert_eq!((ledger.snapshot().open, closer.closings()), (1, 1));
        told.assert_nothing();
        let limit = limit.unwrap_or(Duration::from_secs(10));
        assert_eq!(background.timers.lock().unwrap()[0].0, limit);
        background.set_off_timers();
        assert_eq!(endings(&ledger.snapshot()), [0, 1, 1]);
        assert_eq!(ledger.snapshot().last_unclosed[0].entry.what, "source 1 \"store-b\"");
        let BackgroundError::TimedOut(timed_out) = told.only() else { panic!("it was late") };
        assert_eq!((timed_out.timeout, timed_out.after), (Timeout::Close, limit));
        assert_eq!((background.tasks.alive(), closer.closings()), (0, 0));
        stage.log().assert_released();
    }
}

/// Without a timer that wakes, what is late is dropped when something else wakes the task.
#[test]
fn a_timer_that_panics_costs_no_more_than_the_timer() {
    silence_scripted_panics();
    let sleeps: [fn(Duration) -> futures::future::BoxFuture<'static, ()>; 2] = [
        |_| std::panic::resume_unwind(Box::new("no timer")),
        |_| async { std::panic::resume_unwind(Box::new("a broken timer")) }.boxed(),
    ];
    for sleep in sleeps {
        for (limit, is_late) in [(Duration::MAX, false), (Duration::ZERO, true)] {
            let (stage, tasks, ledger, told) =
                (Stage::new(), Tasks::new(0), LeakLedger::sites(), Told::default());
            let spawn = {
                let tasks = tasks.clone();
                move |task| tasks.spawn(task)
            };
            let closer = Closer::new(spawn, sleep).time_limit(limit);
            let merge = merge_of(&stage, [Script::of([1]).close_pending(Wake::Later)], &ledger);
            drop(CloseOnDrop::new(merge, &closer).on_error(told.tell()));
            tasks.run_until_idle();
            assert_eq!(tasks.alive(), usize::from(!is_late));
            stage.bell().ring_all();
            tasks.run_until_idle();
            let expected = if is_late { [0, 0, 1] } else { [0, 1, 0] };
            assert_eq!(endings(&ledger.snapshot()), expected);
            assert_eq!(told.0.lock().unwrap().len(), usize::from(is_late));
        }
    }
}

#[test]
fn errors_are_told_and_are_in_the_ledger() {
    let (stage, background, ledger, told) =
        (Stage::new(), Background::new(0), LeakLedger::sites(), Told::default());
    // One is met before and not yielded, two in closing.
    let scripts = [
        Script::of([1]).fail().close_fails(),
        Script::of([2]).close_pending(Wake::Later).close_fails(),
        Script::of([3]),
    ];
    let mut guard =
        CloseOnDrop::new(merge_of(&stage, scripts, &ledger), &background.closer).on_error(told.tell());
    assert_eq!(stage.driver(0).run_up_to(&mut guard, 1).oks(), [1]);
    drop(guard);
    background.run(&stage, 0);
    let BackgroundError::Failed(error) = told.only() else { panic!("it was closed") };
    let failures: Vec<_> =
        error.errors().iter().map(|error| (error.path().index().unwrap(), error.phase().unwrap())).collect();
    assert_eq!(failures, [(0, Phase::Merging), (0, Phase::Closing), (1, Phase::Closing)]);
    assert_eq!(endings(&ledger.snapshot()), [0, 1, 0]);
    assert_eq!(ledger.snapshot().failed, 2);
    stage.log().assert_closed();
}

#[test]
fn sources_that_panic_in_the_background_cost_themselves_only() {
    silence_scripted_panics();
    for seed in 0..20 {
        let (stage, background, ledger, told) =
            (Stage::new(), Background::new(seed), LeakLedger::sites(), Told::default());
        let random = &mut Random::seed(seed);
        let scripts: Vec<_> = (0..9)
            .map(|index| {
                let script = Script::of([index, 9]).with_pauses(random, 0.4);
                match index % 3 {
                    0 => script.close_panics(),
                    1 => script.drop_panics(),
                    _ => script,
                }
            })
            .collect();
        let mut guard =
            CloseOnDrop::new(merge_of(&stage, scripts, &ledger), &background.closer).on_error(told.tell());
        let _ = stage.driver(seed).run_up_to(&mut guard, (seed % 5) as usize);
        drop(guard);
        background.run(&stage, seed);
        assert_eq!((background.tasks.alive(), background.closer.closings()), (0, 0));
        assert_eq!(told.only(), BackgroundError::Panicked);
        let record = ledger.snapshot();
        // One whose drop panics is recorded so too, though it was closed.
        assert_eq!((record.open, record.lost, record.dropped_unclosed), (0, 0, 6), "{record}");
        assert_eq!(record.closed + record.closed_in_background, 3);
        stage.log().assert_released();
        for (index, source) in stage.log().sources().iter().enumerate() {
            assert_eq!(source.close.is_complete(), index % 3 != 0, "source {index}");
        }
    }
}

/// The panic unwinds through whoever reads, which drops the guard.
#[test]
fn a_reader_that_unwinds_has_the_others_closed() {
    silence_scripted_panics();
    let (stage, background, ledger, told) =
        (Stage::new(), Background::new(0), LeakLedger::sites(), Told::default());
    let scripts = [Script::of([1]).panic(), Script::of([2]).close_pending(Wake::Later), Script::of([3])];
    let mut guard =
        CloseOnDrop::new(merge_of(&stage, scripts, &ledger), &background.closer).on_error(told.tell());
    let reader = async move { guard.next().await };
    assert!(catch_unwind(AssertUnwindSafe(|| block_on(reader))).is_err());
    background.run(&stage, 0);
    assert_eq!(endings(&ledger.snapshot()), [0, 2, 1]);
    // It has panicked before, where everybody could see it.
    told.assert_nothing();
    stage.log().assert_released();
}

/// Whatever the functions do, a drop returns, also while the thread unwinds.
#[test]
fn a_function_that_panics_or_drops_the_task_drops_what_was_to_be_closed() {
    silence_scripted_panics();
    let spawns: [fn(futures::future::BoxFuture<'static, ()>); 3] = [
        |_task| std::panic::resume_unwind(Box::new("no runtime")),
        |task| {
            drop(task);
            std::panic::resume_unwind(Box::new("the runtime is broken"))
        },
        drop,
    ];
    for spawn in spawns {
        for unwinds in [false, true] {
            let (stage, ledger, told) = (Stage::new(), LeakLedger::sites(), Told::default());
            let closer = Closer::new(spawn, |_| unreachable!("nothing runs"));
            let scripts = [Script::of([1]), Script::of([2]).drop_panics(), Script::of([3])];
            let guard = CloseOnDrop::new(merge_of(&stage, scripts, &ledger), &closer).on_error(told.tell());
            let dropped = catch_unwind(AssertUnwindSafe(move || {
                let _guard = guard;
                if unwinds {
                    std::panic::resume_unwind(Box::new("the reader"));
                }
            }));
            assert_eq!(dropped.is_err(), unwinds);
            assert_eq!(told.only(), BackgroundError::Dropped);
            assert_eq!((endings(&ledger.snapshot()), closer.closings()), ([0, 0, 3], 0));
            stage.log().assert_released();
        }
    }
}

#[test]
fn a_panic_of_who_is_told_is_caught() {
    let (stage, background, ledger) = (Stage::new(), Background::new(0), LeakLedger::sites());
    let merge = merge_of(&stage, [Script::of([1]).close_fails()], &ledger);
    drop(
        CloseOnDrop::new(merge, &background.closer)
            .on_error(|error| std::panic::resume_unwind(Box::new(error.to_string()))),
    );
    background.run(&stage, 0);
    assert_eq!((background.tasks.alive(), background.closer.closings()), (0, 0));
    assert_eq!(ledger.snapshot().failed, 1);
}

#[test]
fn who_waits_for_the_closer_waits_for_all() {
    let (stage, background) = (Stage::new(), Background::new(0));
    let tasks = background.tasks.clone();
    let mut idle = background.closer.idle();
    let mut poll_idle =
        move || tasks.poll(&mut Context::from_waker(Waker::noop()), |cx| Pin::new(&mut idle).poll(cx));
    assert!(poll_idle().is_ready());
    for closings in [1, 3] {
        for _ in 0..closings {
            let merge = merge_of(&stage, [Script::of([1]).close_pending(Wake::Later)], &LeakLedger::off());
            drop(CloseOnDrop::new(merge, &background.closer.clone()));
        }
        let waiting = stage.log().sources().len() - closings;
        for left in (1..=closings).rev() {
            assert!(poll_idle().is_pending());
            assert_eq!(background.closer.closings(), left);
            assert!(stage.bell().ring(waiting + left - 1));
        }
        assert!(poll_idle().is_ready());
    }
    stage.log().assert_closed();
}

#[test]
fn a_source_is_closed_wherever_it_is_dropped() {
    let script = |seed| Script::of([1, 2, 3]).with_pauses(&mut Random::seed(seed), 0.5);
    for seed in 0..30 {
        for polls in 0..40 {
            let (stage, background, told) = (Stage::new(), Background::new(seed), Told::default());
            let source = CloseSourceOnDrop::new(stage.source(script(seed)), &background.closer);
            let mut source = source.on_error(told.tell());
            let mut driver = stage.driver(seed);
            let _ = driver.poll_times(read_and_close(&mut source), polls);
            let before = (stage.log().sources()[0].close.is_complete(), stage.log().polls());
            drop(source);
            assert_eq!(stage.log().polls(), before.1);
            background.run(&stage, seed);
            // The checker has found no poll that the contract does not allow, half-way through the closing neither.
            stage.log().assert_closed();
            assert_eq!(background.spawned(), usize::from(!before.0));
            assert_eq!((background.tasks.alive(), background.closer.closings()), (0, 0));
            told.assert_nothing();
        }
    }
}

/// Reads a source to its end and closes it, as a merge does.
fn read_and_close<S: Source + Unpin>(
    source: &mut S,
) -> impl Future<Output = Result<(), CloseError<S::Error>>> + Unpin {
    let mut has_ended = false;
    std::future::poll_fn(move |cx| {
        while !has_ended {
            match Pin::new(&mut *source).poll_next(cx) {
                Poll::Ready(next) => has_ended = next.is_none_or(|next| next.is_err()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut *source).poll_close(cx)
    })
}

/// Somebody else goes on with the closing, and the source is not polled before it has woken.
#[test]
fn a_source_that_was_being_closed_is_polled_when_it_has_woken() {
    let (stage, background) = (Stage::new(), Background::new(0));
    let script = Script::of([1]).close_pending(Wake::Later).close_pending(Wake::Twice);
    let mut source = CloseSourceOnDrop::new(stage.source(script), &background.closer);
    for _ in 0..3 {
        assert!(poll_close(&mut source).is_pending());
    }
    drop(source);
    background.tasks.run_until_idle();
    assert_eq!(stage.log().sources()[0].close_polls, 1);
    background.run(&stage, 0);
    assert_eq!(stage.log().sources()[0].close_polls, 3);
    stage.log().assert_closed();
}

#[test]
fn a_source_that_has_panicked_is_only_dropped() {
    silence_scripted_panics();
    for script in [Script::of([1]).panic(), Script::of([1]).close_panics()] {
        let (stage, background) = (Stage::new(), Background::new(0));
        let mut source = CloseSourceOnDrop::new(stage.source(script), &background.closer);
        let read = read_and_close(&mut source);
        assert!(catch_unwind(AssertUnwindSafe(|| block_on(read))).is_err());
        drop(source);
        assert_eq!(background.spawned(), 0);
        stage.log().assert_released();
    }
    // In the background.
    let (stage, background, told) = (Stage::new(), Background::new(0), Told::default());
    let source = stage.source(Script::of([1]).close_pending(Wake::Later).close_panics().drop_panics());
    drop(CloseSourceOnDrop::new(source, &background.closer).on_error(told.tell()));
    background.run(&stage, 0);
    assert_eq!((background.tasks.alive(), background.closer.closings()), (0, 0));
    assert_eq!(told.only(), BackgroundError::Panicked);
    stage.log().assert_released();
}

#[test]
fn a_source_fails_in_the_background() {
    let (stage, background, told) = (Stage::new(), Background::new(0), Told::default());
    let source = stage.source(Script::of([1]).close_pending(Wake::Later).close_fails());
    drop(CloseSourceOnDrop::new(source, &background.closer).on_error(told.tell()));
    background.run(&stage, 0);
    let BackgroundError::Failed(error) = told.only() else { panic!("it was closed") };
    assert_eq!(error.errors().len(), 1);
    assert_eq!(stage.log().sources()[0].close, Closing::Failed);
    stage.log().assert_closed();
}

#[test]
fn guarded_sources_are_merged_and_taken_out() {
    let (stage, background, ledger) = (Stage::new(), Background::new(0), LeakLedger::sites());
    let guarded = |script: Script<u64>| CloseSourceOnDrop::new(stage.source(script), &background.closer);
    let random = &mut Random::seed(1);
    let scripts: Vec<_> = (0..8_u64)
        .map(|index| Script::of([index, index + 8]).with_pauses(random, 0.5).named("store"))
        .collect();
    let mut merge =
        ProxyResponseLoserTree::builder().sources(scripts.into_iter().map(guarded)).ledger(&ledger).build();
    let mut driver: Driver = stage.driver(1);
    assert_eq!(driver.run(&mut merge).oks(), (0..16).collect::<Vec<_>>());
    assert!(merge.stats().sources.iter().all(|source| source.origin.name() == Some("store")));
    drop(merge);
    assert_eq!(endings(&ledger.snapshot()), [8, 0, 0]);
    stage.log().assert_closed();

    drop(guarded(Script::of([1])).into_inner());
    assert_eq!(background.spawned(), 0);
    stage.log().assert_released();
}

/// What is closed in the background and drops what it should have closed has lost that, as anywhere else.
#[test]
fn what_is_lost_in_the_background_is_recorded_as_lost() {
    let (stage, background, ledger) = (Stage::new(), Background::new(0), LeakLedger::sites());
    // This passes no question on, so the merge behind it is not closed.
    let mut inner = merge_of(&stage, [Script::of([1, 2]), Script::of([3])], &ledger);
    let lossy = from_stream(futures::stream::poll_fn(move |cx| inner.poll_next_unpin(cx)));
    drop(CloseOnDrop::new(
        ProxyResponseLoserTree::builder().source(lossy).ledger(&ledger).build(),
        &background.closer,
    ));
    background.run(&stage, 0);
    let record = ledger.snapshot();
    assert_eq!((record.lost, record.closed_in_background, record.open), (2, 1, 0), "{record}");
}

/// The same of something that says that it is closed, and has not closed what is in it; wherever it is closed.
#[test]
fn what_is_closed_without_what_is_in_it_has_lost_that() {
    struct Forgetful {
        _merge: Merge,
    }
    impl Closable for Forgetful {
        type Error = TestError;

        fn poll_close_all(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CloseError<TestError>>> {
            Poll::Ready(Ok(()))
        }
    }
    for is_closed_before in [false, true] {
        let (stage, background, ledger) = (Stage::new(), Background::new(0), LeakLedger::sites());
        let forgetful = Forgetful { _merge: merge_of(&stage, [Script::of([1])], &ledger) };
        let mut guard = CloseOnDrop::new(forgetful, &background.closer);
        if is_closed_before {
            block_on(guard.close()).unwrap();
        }
        drop(guard);
        background.run(&stage, 0);
        let record = ledger.snapshot();
        assert_eq!((record.lost, record.open), (1, 0), "{record}");
    }
}

#[test]
fn guards_can_be_sent_shared_moved_and_printed() {
    fn plain<T: Send + Sync + Unpin + std::fmt::Debug>() {}
    fn error<T: Send + Sync + std::error::Error + 'static>() {}
    plain::<Closer>();
    plain::<losertree::stream::Idle>();
    plain::<CloseOnDrop<Merge>>();
    plain::<CloseSourceOnDrop<Store>>();
    error::<BackgroundError<TestError>>();
}

#[cfg(feature = "tracing")]
#[test]
fn what_is_closed_in_the_background_is_in_the_span_of_the_guard() {
    use futures::stream;
    use losertree::closing;

    tracing::subscriber::with_default(tracing_subscriber::registry(), || {
        let background = Background::new(0);
        let closed_in = Arc::new(Mutex::new(None));
        let note = Arc::clone(&closed_in);
        let source = closing(stream::iter([Ok::<_, TestError>(1_u64)]), move |_| async move {
            *note.lock().unwrap() = tracing::Span::current().id();
            Ok(())
        });
        let query = tracing::info_span!("query");
        let guard =
            query.in_scope(|| CloseOnDrop::new(ProxyResponseLoserTree::new([source]), &background.closer));
        tracing::info_span!("connection").in_scope(|| drop(guard));
        background.tasks.run_until_idle();
        assert_eq!(background.tasks.alive(), 0);
        assert!(query.id().is_some());
        assert_eq!(*closed_in.lock().unwrap(), query.id());
    });
}

#[cfg(feature = "tokio")]
mod on_tokio {
    use super::*;
    use std::thread;
    use tokio::runtime::{Builder, Runtime};
    use tokio::time::{Instant, timeout};

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_dropped_after_the_limit() {
        for limit in [None, Some(Duration::from_secs(3))] {
            let (stage, ledger, told) = (Stage::new(), LeakLedger::sites(), Told::default());
            let closer = Closer::current().unwrap();
            let closer = limit.map_or(closer.clone(), |limit| closer.time_limit(limit));
            let scripts = [
                Script::of([1]).close_pending(Wake::AtOnce),
                Script::of([2]).close_pending(Wake::Never),
                Script::of([3]).close_pending(Wake::AtOnce),
            ];
            let mut guard =
                CloseOnDrop::new(merge_of(&stage, scripts, &ledger), &closer).on_error(told.tell());
            assert_eq!(guard.next().await, Some(Ok(1)));
            let start = Instant::now();
            drop(guard);
            closer.idle().await;
            let limit = limit.unwrap_or(Duration::from_secs(10));
            assert!(start.elapsed() >= limit && start.elapsed() < limit + Duration::from_millis(5));
            assert_eq!(endings(&ledger.snapshot()), [0, 2, 1]);
            let BackgroundError::TimedOut(timed_out) = told.only() else { panic!("it was late") };
            assert_eq!(timed_out.after, limit);
            stage.log().assert_released();
        }
    }

    /// A handler that is given up by a timeout around it has no chance to close.
    #[tokio::test(start_paused = true)]
    async fn a_future_that_times_out_has_its_merge_closed() {
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let closer = Closer::current().unwrap().time_limit(Duration::MAX);
        let scripts = [Script::of([1, 2]), Script::of([2]).pending(Wake::Never).close_pending(Wake::AtOnce)];
        let mut guard = CloseOnDrop::new(merge_of(&stage, scripts, &ledger), &closer);
        let handler = async move { while guard.next().await.is_some() {} };
        assert!(timeout(Duration::from_secs(1), handler).await.is_err());
        closer.idle().await;
        // The first source has ended before that.
        assert_eq!(endings(&ledger.snapshot()), [1, 1, 0]);
        stage.log().assert_closed();
    }

    #[test]
    fn there_is_no_closer_of_the_current_runtime_outside_of_one() {
        assert!(Closer::current().is_err());
    }

    /// Dropped on a thread that belongs to no runtime, by a guard that was made on one.
    #[test]
    fn a_guard_is_dropped_on_any_thread() {
        let runtime = runtime();
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let closer = Closer::tokio(runtime.handle().clone());
        let merge = merge_of(&stage, [Script::of([1]).close_pending(Wake::AtOnce)], &ledger);
        let guard = CloseOnDrop::new(merge, &closer);
        thread::spawn(move || drop(guard)).join().unwrap();
        runtime.block_on(closer.idle());
        assert_eq!(endings(&ledger.snapshot()), [0, 1, 0]);
        stage.log().assert_closed();
    }

    #[test]
    fn what_is_dropped_after_the_runtime_is_only_dropped() {
        for is_of_one_thread in [false, true] {
            let runtime = if is_of_one_thread {
                Builder::new_current_thread().enable_all().build().unwrap()
            } else {
                runtime()
            };
            let (stage, ledger, told) = (Stage::new(), LeakLedger::sites(), Told::default());
            let closer = Closer::tokio(runtime.handle().clone());
            let merge = merge_of(&stage, [Script::of([1]), Script::of([2])], &ledger);
            let guard = CloseOnDrop::new(merge, &closer).on_error(told.tell());
            drop(runtime);
            drop(guard);
            assert_eq!((endings(&ledger.snapshot()), closer.closings()), ([0, 0, 2], 0));
            assert_eq!(told.only(), BackgroundError::Dropped);
            stage.log().assert_released();
        }
    }

    #[test]
    fn a_runtime_that_is_shut_down_half_way_drops_what_is_left() {
        let runtime = runtime();
        let (stage, ledger, told) = (Stage::new(), LeakLedger::sites(), Told::default());
        let closer = Closer::tokio(runtime.handle().clone());
        let merge = merge_of(&stage, [Script::of([1]), Script::of([2]).close_pending(Wake::Never)], &ledger);
        drop(CloseOnDrop::new(merge, &closer).on_error(told.tell()));
        while ledger.snapshot().open > 1 {
            thread::yield_now();
        }
        drop(runtime);
        assert_eq!((endings(&ledger.snapshot()), closer.closings()), ([0, 1, 1], 0));
        assert_eq!(told.only(), BackgroundError::Dropped);
        stage.log().assert_released();
    }

    /// It closes all the same, and what never closes is dropped with the runtime.
    #[test]
    fn a_runtime_without_a_clock_has_no_limit() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (stage, ledger) = (Stage::new(), LeakLedger::sites());
        let closer = Closer::tokio(runtime.handle().clone()).time_limit(Duration::from_secs(1));
        let script = || Script::of([1]).close_pending(Wake::AtOnce).close_pending(Wake::AtOnce);
        for _ in 0..3 {
            drop(CloseOnDrop::new(merge_of(&stage, [script(), script()], &ledger), &closer));
        }
        runtime.block_on(closer.idle());
        assert_eq!(endings(&ledger.snapshot()), [0, 6, 0]);
        stage.log().assert_closed();
    }

    #[test]
    fn a_source_is_closed_on_tokio() {
        let runtime = runtime();
        let stage = Stage::new();
        let closer = Closer::tokio(runtime.handle().clone());
        let script = Script::of([1]).close_pending(Wake::AtOnce);
        let opening = async {
            let _source = CloseSourceOnDrop::new(stage.source(script), &closer);
            std::future::pending::<()>().await;
        };
        // The others are never opened.
        assert!(runtime.block_on(async { timeout(Duration::from_millis(1), opening).await }).is_err());
        runtime.block_on(closer.idle());
        stage.log().assert_closed();
    }
}
