//! The gate: who is inside is known, and closing it completes exactly when the last one has left.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::FutureExt;
use losertree::LeakLedger;
use losertree::resource::{GateClose, ReaderGate};
use losertree_testkit::{CountingWaker, Random, assert_no_square};

fn is_closed_for(close: &mut GateClose, task: &CountingWaker) -> bool {
    Pin::new(close).poll(&mut Context::from_waker(&task.waker())).is_ready()
}

#[test]
fn who_is_inside_is_known_in_order() {
    let gate = ReaderGate::new("block 7");
    assert_eq!((gate.pending(), gate.is_closed(), gate.readers()), (0, false, vec![]));
    let line = line!() + 1;
    let first = gate.enter().unwrap();
    let second = gate.enter_as("query 12").unwrap();
    let third = gate.clone().enter_as(String::from("query 13")).unwrap();
    assert_eq!(gate.pending(), 3);
    let readers = gate.readers();
    let told: Vec<_> =
        readers.iter().map(|reader| (reader.name.as_deref(), reader.location.line())).collect();
    assert_eq!(told, [(None, line), (Some("query 12"), line + 1), (Some("query 13"), line + 2)]);
    assert!(readers.iter().all(|reader| reader.location.file() == file!()));
    assert!(readers.is_sorted_by(|a, b| a.age >= b.age));
    assert!(readers[0].to_string().starts_with(&format!("a reader, entered at {}:{line}:", file!())));
    assert!(readers[1].to_string().starts_with("query 12, entered at "));
    drop(second);
    let names: Vec<_> = gate.readers().into_iter().map(|reader| reader.name).collect();
    assert_eq!(names, [None, Some("query 13".into())]);
    drop((first, third));
    assert_eq!(gate.pending(), 0);
    assert!(!gate.is_closed(), "empty is not closed");
    drop(gate.enter().unwrap());
}

// F2
#[test]
fn closing_completes_when_the_last_reader_has_left() {
    let gate = ReaderGate::new("block 7");
    let mut readers: Vec<_> = (0..5).map(|_| gate.enter().unwrap()).collect();
    let task = CountingWaker::new();
    drop(gate.close());
    let mut close = gate.close();
    assert!(!gate.is_closed(), "nobody has polled");
    readers.push(gate.enter().unwrap());
    while readers.len() > 1 {
        assert!(!is_closed_for(&mut close, &task));
        assert!(gate.is_closed() && gate.enter().is_err(), "from the first poll on");
        drop(readers.remove(readers.len() / 2));
        assert_eq!((task.wakes(), gate.pending()), (0, readers.len()), "somebody is inside");
    }
    drop(readers);
    assert_eq!((task.wakes(), task.kept()), (1, 0));
    assert!(is_closed_for(&mut close, &task));
    assert_eq!(task.wakes(), 1);
}

#[test]
fn an_empty_gate_closes_at_once() {
    let gate = ReaderGate::new("block 7");
    let task = CountingWaker::new();
    assert!(is_closed_for(&mut gate.close(), &task));
    assert!(is_closed_for(&mut gate.close(), &task), "and again");
    assert_eq!((task.wakes(), task.kept()), (0, 0));
}

#[test]
fn nobody_enters_a_closed_gate() {
    let ledger = LeakLedger::counts();
    let gate = ReaderGate::with_ledger("block 7", &ledger);
    let inside = gate.enter().unwrap();
    assert_eq!(gate.close().now_or_never(), None);
    let error = gate.enter().unwrap_err();
    assert_eq!(
        (&*error.name, error.to_string().as_str()),
        ("block 7", "\"block 7\" is closed to new readers")
    );
    assert_eq!(gate.clone().enter_as("late").unwrap_err(), error);
    assert_eq!((gate.pending(), ledger.snapshot().opened), (1, 1), "who was turned away is not counted");
    drop(inside);
    assert!(gate.enter().is_err(), "it stays closed");
}

#[test]
fn several_wait_and_all_are_woken_once() {
    let gate = ReaderGate::new("block 7");
    let reader = gate.enter().unwrap();
    let tasks: Vec<_> = (0..4).map(|_| CountingWaker::new()).collect();
    let mut closes: Vec<_> = tasks.iter().map(|_| gate.close()).collect();
    for (close, task) in closes.iter_mut().zip(&tasks) {
        assert!(!is_closed_for(close, task));
    }
    // Two have moved on: one to another task, one for good.
    let moved = CountingWaker::new();
    assert!(!is_closed_for(&mut closes[1], &moved));
    drop(closes.remove(2));
    assert_eq!((tasks[1].kept(), tasks[2].kept(), moved.kept()), (0, 0, 1));
    drop(reader);
    let wakes: Vec<_> = tasks.iter().map(CountingWaker::wakes).collect();
    assert_eq!((wakes, moved.wakes()), (vec![1, 0, 0, 1], 1));
    assert!(closes.iter_mut().all(|close| is_closed_for(close, &moved)));
}

#[test]
fn a_dropped_close_leaves_it_closed_and_another_one_can_wait() {
    let gate = ReaderGate::new("block 7");
    let reader = gate.enter().unwrap();
    let task = CountingWaker::new();
    for _ in 0..3 {
        let mut close = gate.close();
        assert!(!is_closed_for(&mut close, &task));
        drop(close);
        assert_eq!(task.kept(), 0, "the gate holds on to nobody who has gone");
    }
    assert!(gate.is_closed());
    let mut close = gate.close();
    assert!(!is_closed_for(&mut close, &task));
    drop(reader);
    assert_eq!(task.wakes(), 1);
    assert!(is_closed_for(&mut close, &task));
}

// F2
#[test]
fn a_reader_that_panics_leaves() {
    let ledger = LeakLedger::sites();
    let gate = ReaderGate::with_ledger("block 7", &ledger);
    let task = CountingWaker::new();
    let mut close = None;
    let panic = catch_unwind(AssertUnwindSafe(|| {
        let _reader = gate.enter().unwrap();
        let _other = gate.enter().unwrap();
        assert!(!is_closed_for(close.insert(gate.close()), &task));
        resume_unwind(Box::new("as asked for"));
    }));
    assert!(panic.is_err());
    assert_eq!((gate.pending(), task.wakes()), (0, 1));
    ledger.assert_balanced();
}

#[test]
fn readers_are_recorded_while_they_are_inside() {
    let ledger = LeakLedger::sites();
    let gate = ReaderGate::with_ledger(String::from("block 7"), &ledger);
    let line = line!() + 1;
    let reader = gate.enter_as("query 12").unwrap();
    let record = ledger.snapshot();
    let [open] = &*record.open_entries else { panic!("{record}") };
    assert_eq!(
        (&*open.what, open.location.file(), open.location.line()),
        ("reader of \"block 7\"", file!(), line)
    );
    drop(reader);
    assert!(ledger.snapshot().is_all_closed());
    assert_eq!(ledger.snapshot().closed, 1);
}

struct Acting<F: Fn() + Send + Sync>(F);

impl<F: Fn() + Send + Sync> Wake for Acting<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

fn waits(close: &mut GateClose, act: impl Fn() + Send + Sync + 'static) {
    let waker = Waker::from(Arc::new(Acting(act)));
    assert_eq!(Pin::new(close).poll(&mut Context::from_waker(&waker)), Poll::Pending);
}

// F47
#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    let gate = ReaderGate::new("block 7");
    let reader = gate.enter().unwrap();
    let task = CountingWaker::new();
    let mut closes = [gate.close(), gate.close(), gate.close()];
    assert!(!is_closed_for(&mut closes[0], &task));
    waits(&mut closes[1], || resume_unwind(Box::new("as asked for")));
    assert!(!is_closed_for(&mut closes[2], &task));
    drop(reader);
    assert_eq!(task.wakes(), 2);
}

/// What is thrown panics once more when it is dropped, and so on.
struct Bomb(usize);

impl Drop for Bomb {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            resume_unwind(Box::new(Self(left)));
        }
    }
}

// F47
#[test]
fn what_a_waker_throws_may_panic_when_it_is_dropped() {
    for depth in [1, 2, 100] {
        let gate = ReaderGate::new("block 7");
        let reader = gate.enter().unwrap();
        let task = CountingWaker::new();
        let mut closes = [gate.close(), gate.close()];
        waits(&mut closes[0], move || resume_unwind(Box::new(Bomb(depth))));
        assert!(!is_closed_for(&mut closes[1], &task));
        drop(reader);
        assert_eq!(task.wakes(), 1);
    }
}

/// A waker whose drop panics, once it is armed.
struct Brittle(Arc<AtomicBool>);

impl Wake for Brittle {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Brittle {
    fn drop(&mut self) {
        if self.0.load(Ordering::Relaxed) {
            resume_unwind(Box::new("as asked for"));
        }
    }
}

#[test]
fn giving_up_may_drop_a_waker_that_panics() {
    let gate = ReaderGate::new("block 7");
    let _reader = gate.enter().unwrap();
    let is_armed = Arc::new(AtomicBool::new(false));
    let mut close = gate.close();
    let waker = Waker::from(Arc::new(Brittle(Arc::clone(&is_armed))));
    assert_eq!(Pin::new(&mut close).poll(&mut Context::from_waker(&waker)), Poll::Pending);
    drop(waker);
    is_armed.store(true, Ordering::Relaxed);
    // Would abort the process if it were to get out while another panic unwinds.
    assert!(catch_unwind(AssertUnwindSafe(|| drop(close))).is_ok());
}

/// A waker that uses the gate when it is dropped, which would block for ever under the lock.
#[test]
fn wakers_are_dropped_without_the_lock() {
    struct Using(ReaderGate, CountingWaker);
    impl Wake for Using {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Using {
        fn drop(&mut self) {
            self.1.waker().wake();
            assert!(self.0.is_closed());
        }
    }
    let gate = ReaderGate::new("block 7");
    let reader = gate.enter().unwrap();
    let dropped = CountingWaker::new();
    let mut close = gate.close();
    let mut poll = || {
        let waker = Waker::from(Arc::new(Using(gate.clone(), dropped.clone())));
        assert!(Pin::new(&mut close).poll(&mut Context::from_waker(&waker)).is_pending());
    };
    poll();
    poll();
    assert_eq!(dropped.wakes(), 1, "replaced");
    poll();
    drop(reader);
    assert_eq!(dropped.wakes(), 3, "woken");
    let gate = ReaderGate::new("block 8");
    let _reader = gate.enter().unwrap();
    let mut close = gate.close();
    let waker = Waker::from(Arc::new(Using(gate.clone(), dropped.clone())));
    assert!(Pin::new(&mut close).poll(&mut Context::from_waker(&waker)).is_pending());
    drop(waker);
    drop(close);
    assert_eq!(dropped.wakes(), 4, "given up");
}

#[test]
fn who_is_woken_finds_everything_in_order() {
    let ledger = LeakLedger::counts();
    let gate = ReaderGate::with_ledger("block 7", &ledger);
    let reader = gate.enter().unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let mut close = gate.close();
    let (waker_seen, waker_gate, waker_ledger) = (Arc::clone(&seen), gate.clone(), ledger.clone());
    waits(&mut close, move || {
        assert_eq!((waker_gate.pending(), waker_ledger.snapshot().open), (0, 0));
        waker_seen.fetch_add(1, Ordering::Relaxed);
    });
    drop(reader);
    assert_eq!(seen.load(Ordering::Relaxed), 1);
}

/// Closers come, are polled by another task, give up in any order, and are woken.
#[test]
fn many_closers_cost_no_square() {
    let prepare = |closers| {
        let gate = ReaderGate::new("block 7");
        let reader = gate.enter().unwrap();
        let mut closes: Vec<_> = (0..closers).map(|_| gate.close()).collect();
        Random::seed(closers as u64).shuffle(&mut closes);
        (reader, closes)
    };
    assert_no_square(5_000, prepare, |(reader, mut closes)| {
        let tasks = [CountingWaker::new(), CountingWaker::new()];
        for task in &tasks {
            assert!(!closes.iter_mut().any(|close| is_closed_for(close, task)));
        }
        let left = closes.len() / 2;
        closes.truncate(left);
        drop(reader);
        assert_eq!(tasks.map(|task| task.wakes()), [0, left]);
        assert!(closes.iter_mut().all(|close| is_closed_for(close, &CountingWaker::new())));
    });
}

#[test]
fn guards_outlive_all_handles_of_the_gate() {
    let counted = allocation_counter::measure(|| {
        let gate = ReaderGate::new("block 7");
        let guards = [gate.enter().unwrap(), gate.enter_as("query 12").unwrap()];
        let mut close = gate.close();
        drop(gate);
        waits(&mut close, || {});
        drop(guards);
    });
    assert_eq!(counted.bytes_current, 0);
}

#[test]
fn printing() {
    let gate = ReaderGate::new("block 7");
    let guard = gate.enter().unwrap();
    for is_closed in [false, true] {
        let shown = format!("ReaderGate {{ name: \"block 7\", is_closed: {is_closed}, pending: 1, .. }}");
        assert_eq!(format!("{gate:?}"), shown);
        assert_eq!(format!("{:?}", gate.close()), format!("GateClose {{ gate: {shown}, .. }}"));
        assert_eq!(gate.close().now_or_never(), None);
    }
    assert_eq!(format!("{guard:?}"), "ReaderGuard { gate: \"block 7\", .. }");
}

/// Readers come and go and closers wait and give up, at random: each closer that is left is woken once, by the
/// last reader.
#[test]
fn any_order_of_events() {
    for seed in 0..500 {
        let mut random = Random::seed(seed);
        let gate = ReaderGate::new("block 7");
        let mut guards: Vec<_> = (0..random.below(6)).map(|_| gate.enter().unwrap()).collect();
        let mut closers: Vec<(GateClose, CountingWaker)> = Vec::new();
        for _ in 0..30 {
            match random.below(5) {
                0 if !guards.is_empty() => drop(guards.swap_remove(random.below(guards.len()))),
                1 => closers.push((gate.close(), CountingWaker::new())),
                2 if !closers.is_empty() => {
                    let (close, task) = closers.swap_remove(random.below(closers.len()));
                    drop(close);
                    assert_eq!(task.kept(), 0);
                }
                3 if !closers.is_empty() => {
                    let at = random.below(closers.len());
                    let (close, task) = &mut closers[at];
                    if task.wakes() == 0 || random.chance(0.5) {
                        let is_ready = is_closed_for(close, task);
                        assert_eq!(is_ready, guards.is_empty());
                    }
                }
                _ if random.chance(0.5) => guards.extend(gate.enter()),
                _ => {}
            }
            assert_eq!((gate.pending(), gate.readers().len()), (guards.len(), guards.len()));
            for (_, task) in &closers {
                assert!(task.wakes() == 0 || guards.is_empty(), "woken with readers inside");
                assert!(task.kept() == 0 || !guards.is_empty(), "not woken by the last one");
                assert!(task.wakes() <= 1);
            }
        }
    }
}
