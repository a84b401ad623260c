//! What threads do to each other, in every order up to a bound: models for loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p losertree --release --test loom
//! ```
//!
//! Explored are all interleavings with at most [`PREEMPTIONS`] preemptions ([`FEWER_PREEMPTIONS`] where
//! that would take too long); `LOOM_MAX_PREEMPTIONS` sets another
//! bound. A lost wake-up is a deadlock, which loom reports, and so is a leaked pool or ledger.
#![cfg(loom)]
// A test fails by panicking.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use losertree::error::Cause;
use losertree::stream::{PollClose, PollNext};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::StreamExt;
use loom::future::block_on;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use losertree::resource::{BytePool, Ending, ReaderGate};
use losertree::response::{ResponseSet, ResponseSetOptions, Store};
use losertree::{LeakLedger, ProxyResponseLoserTree, Response, Source, SourceError, Warning};

const PREEMPTIONS: usize = 4;
/// Of models that have three threads and take many steps.
const FEWER_PREEMPTIONS: usize = 2;

fn model(run: impl Fn() + Send + Sync + 'static) {
    bounded(PREEMPTIONS, run);
}

fn bounded(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.check(run);
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().unwrap();
    }
}

/// A pool of so many buffers of 16 bytes.
fn pool(buffers: usize, ledger: &LeakLedger) -> BytePool {
    let builder = BytePool::builder().smallest_bytes(16).largest_bytes(16).budget_bytes(16 * buffers);
    builder.ledger(ledger).build().unwrap()
}

/// The same, which passes on at once what was granted and not collected.
fn hasty_pool(buffers: usize) -> BytePool {
    let builder = BytePool::builder().smallest_bytes(16).largest_bytes(16).budget_bytes(16 * buffers);
    builder.collect_within(Duration::ZERO).build().unwrap()
}

fn assert_all_is_back(pool: &BytePool) {
    let figures = pool.snapshot();
    assert_eq!((figures.used_bytes, figures.outstanding, figures.waiting), (0, 0, 0));
    assert_eq!((figures.uncollected, figures.absent), (0, 0));
    assert_eq!(figures.gets, figures.puts);
}

#[test]
fn two_wait_for_one_buffer() {
    model(|| {
        let pool = pool(1, &LeakLedger::off());
        let held = pool.try_lease(1).unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || drop(block_on(pool.lease(1)).unwrap()))
            })
            .collect();
        drop(held);
        join(waiting);
        assert_all_is_back(&pool);
        assert_eq!(pool.snapshot().allocations.count, 1);
    });
}

#[test]
fn two_wait_for_one_buffer_and_take_it_from_each_other() {
    model(|| {
        let pool = hasty_pool(1);
        let held = pool.try_lease(1).unwrap();
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let pool = pool.clone();
                thread::spawn(move || drop(block_on(pool.lease(1)).unwrap()))
            })
            .collect();
        drop(held);
        join(waiting);
        assert_all_is_back(&pool);
    });
}

#[test]
fn passing_on_races_the_one_who_comes_back() {
    model(|| {
        let pool = hasty_pool(1);
        let held = pool.try_lease(1).unwrap();
        let mut parked = Box::pin(pool.lease(1));
        assert!(parked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let behind = {
            let pool = pool.clone();
            thread::spawn(move || drop(block_on(pool.lease(1)).unwrap()))
        };
        let uses = {
            let pool = pool.clone();
            thread::spawn(move || {
                drop(held);
                // Who is parked may have it by now, while the other one sleeps.
                let _ = pool.snapshot();
            })
        };
        drop(block_on(parked).unwrap());
        uses.join().unwrap();
        behind.join().unwrap();
        assert_all_is_back(&pool);
    });
}

#[test]
fn what_nobody_collects_reaches_who_sleeps() {
    model(|| {
        let pool = hasty_pool(1);
        let held = pool.try_lease(1).unwrap();
        let mut parked = Box::pin(pool.lease(1));
        assert!(parked.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let behind = {
            let pool = pool.clone();
            thread::spawn(move || drop(block_on(pool.lease(1)).unwrap()))
        };
        drop(held);
        // A lease, or a refusal: a use of the pool in either case.
        drop(pool.try_lease(1));
        behind.join().unwrap();
        drop(parked);
        assert_all_is_back(&pool);
    });
}

/// The waker is cloned without the lock, so the grant may come in between.
#[test]
fn another_waker_races_the_grant() {
    model(|| {
        let pool = pool(1, &LeakLedger::off());
        let held = pool.try_lease(1).unwrap();
        let mut wait = Box::pin(pool.lease(1));
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let returns = thread::spawn(move || drop(held));
        drop(block_on(wait).unwrap());
        returns.join().unwrap();
        assert_all_is_back(&pool);
    });
}

#[test]
fn another_waker_races_the_last_reader() {
    model(|| {
        let gate = ReaderGate::new("block");
        let guard = gate.enter().unwrap();
        let mut close = Box::pin(gate.close());
        assert!(close.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let reader = thread::spawn(move || drop(guard));
        block_on(close);
        reader.join().unwrap();
        assert_eq!(gate.pending(), 0);
    });
}

#[test]
fn leases_and_returns_of_two_threads() {
    model(|| {
        let pool = pool(1, &LeakLedger::off());
        let other = {
            let pool = pool.clone();
            thread::spawn(move || {
                drop(pool.try_lease(1));
                drop(block_on(pool.lease(1)).unwrap());
            })
        };
        drop(block_on(pool.lease(1)).unwrap());
        drop(pool.try_lease(1));
        other.join().unwrap();
        assert_all_is_back(&pool);
        let figures = pool.snapshot();
        assert_eq!(figures.gets.count + figures.refusals.count, 4);
    });
}

#[test]
fn a_cancel_races_the_grant() {
    model(|| {
        let pool = pool(1, &LeakLedger::off());
        let held = pool.try_lease(1).unwrap();
        let mut given_up = Box::pin(pool.lease(1));
        assert!(given_up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let behind = {
            let pool = pool.clone();
            thread::spawn(move || drop(block_on(pool.lease(1)).unwrap()))
        };
        let returns = thread::spawn(move || drop(held));
        drop(given_up);
        behind.join().unwrap();
        returns.join().unwrap();
        assert_all_is_back(&pool);
    });
}

#[test]
fn shrinking_lets_in_who_waits() {
    model(|| {
        let builder = BytePool::builder().smallest_bytes(16).largest_bytes(32).budget_bytes(32);
        let pool = builder.build().unwrap();
        let mut held = pool.try_lease(32).unwrap();
        let waits = {
            let pool = pool.clone();
            thread::spawn(move || drop(block_on(pool.lease(16)).unwrap()))
        };
        held.try_resize(16).unwrap();
        waits.join().unwrap();
        drop(held);
        assert_all_is_back(&pool);
    });
}

#[test]
fn a_reservation_that_is_dropped_races_its_grant() {
    model(|| {
        let pool = pool(2, &LeakLedger::off());
        let held = pool.try_lease(1).unwrap();
        let mut dropped = pool.reservation();
        dropped.try_grow(3).unwrap();
        assert!(dropped.poll_grow(&mut Context::from_waker(Waker::noop()), 20).is_pending());
        let behind = {
            let mut behind = pool.reservation();
            thread::spawn(move || block_on(poll_fn(|cx| behind.poll_grow(cx, 32))).unwrap())
        };
        let returns = thread::spawn(move || drop(held));
        drop(dropped);
        behind.join().unwrap();
        returns.join().unwrap();
        assert_all_is_back(&pool);
        assert_eq!(pool.snapshot().reserved_bytes, 0);
    });
}

#[test]
fn the_last_of_frozen_bytes_returns_the_buffer_once() {
    model(|| {
        let ledger = LeakLedger::counts();
        let pool = pool(1, &ledger);
        let bytes = pool.try_lease(1).unwrap().freeze();
        let copy = bytes.clone();
        let other = thread::spawn(move || drop(copy));
        drop(bytes);
        drop(block_on(pool.lease(1)).unwrap());
        other.join().unwrap();
        assert_all_is_back(&pool);
        assert!(ledger.snapshot().is_all_closed());
        // Two leases, and a wait for the second, unless the first had come back.
        let waits = ledger.snapshot().closed - 2;
        assert!(pool.snapshot().waits.count <= waits && waits <= 1);
    });
}

#[test]
fn closing_races_the_last_readers() {
    model(|| {
        let ledger = LeakLedger::counts();
        let gate = ReaderGate::with_ledger("block", &ledger);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let guard = gate.enter().unwrap();
                thread::spawn(move || drop(guard))
            })
            .collect();
        block_on(gate.close());
        assert_eq!((gate.pending(), ledger.snapshot().open), (0, 0));
        join(readers);
    });
}

#[test]
fn a_closer_that_gives_up_races_the_last_reader() {
    model(|| {
        let gate = ReaderGate::new("block");
        let guard = gate.enter().unwrap();
        let reader = thread::spawn(move || drop(guard));
        let other = {
            let gate = gate.clone();
            thread::spawn(move || block_on(gate.close()))
        };
        {
            let close = pin!(gate.close());
            let _ = close.poll(&mut Context::from_waker(Waker::noop()));
        }
        other.join().unwrap();
        reader.join().unwrap();
        assert_eq!(gate.pending(), 0);
    });
}

#[test]
fn entering_races_closing() {
    model(|| {
        let gate = ReaderGate::new("block");
        let inside = Arc::new(AtomicUsize::new(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (gate, inside) = (gate.clone(), Arc::clone(&inside));
                thread::spawn(move || {
                    if let Ok(_guard) = gate.enter() {
                        inside.fetch_add(1, Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        block_on(gate.close());
        assert_eq!(inside.load(Ordering::Relaxed), 0, "what a reader did is seen by who has closed");
        assert!(gate.enter().is_err());
        join(readers);
        assert_eq!(inside.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn entries_race_a_snapshot() {
    for ledger in [LeakLedger::counts as fn() -> LeakLedger, LeakLedger::sites] {
        model(move || {
            let ledger = ledger();
            let kept = ledger.open("kept");
            let passed_on = ledger.open("passed on");
            let ends = thread::spawn(move || passed_on.end(Ending::Failed));
            let opens = {
                let ledger = ledger.clone();
                thread::spawn(move || {
                    let short = ledger.open("short");
                    short.note("used", None);
                    short.end(Ending::Closed);
                })
            };
            let record = ledger.snapshot();
            assert!(record.open >= 1, "never too small: {record}");
            assert_eq!(record.open, record.opened - record.closed - record.failed);
            assert!(record.open_entries.len() <= 3);
            ends.join().unwrap();
            opens.join().unwrap();
            assert_eq!(ledger.snapshot().open, 1);
            drop(kept);
            ledger.assert_balanced();
        });
    }
}

/// A source of one item, which another thread brings.
struct Remote {
    desk: Arc<Mutex<Desk>>,
    is_taken: bool,
}

#[derive(Default)]
struct Desk {
    items: Vec<u64>,
    waker: Option<Waker>,
}

impl Remote {
    fn new(desk: &Arc<Mutex<Desk>>) -> Self {
        Self { desk: Arc::clone(desk), is_taken: false }
    }

    fn poll_take(&self, cx: &Context<'_>) -> Poll<u64> {
        let mut desk = self.desk.lock().unwrap();
        if let Some(item) = desk.items.pop() {
            return Poll::Ready(item);
        }
        desk.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn bring(desk: &Mutex<Desk>, item: u64) {
    let waker = {
        let mut desk = desk.lock().unwrap();
        desk.items.push(item);
        desk.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl Source for Remote {
    type Item = u64;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        if self.is_taken {
            return Poll::Ready(None);
        }
        self.poll_take(cx).map(|item| {
            self.is_taken = true;
            Some(Ok(item))
        })
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.poll_take(cx).map(|_| Ok(()))
    }
}

#[test]
fn sources_wake_a_merge_that_goes_to_sleep() {
    model(|| {
        let desks: Vec<_> = (0..2).map(|_| Arc::new(Mutex::new(Desk::default()))).collect();
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let desk = Arc::clone(&desks[index]);
                thread::spawn(move || bring(&desk, index as u64))
            })
            .collect();
        let mut merge = ProxyResponseLoserTree::new(desks.iter().map(Remote::new));
        assert_eq!(block_on(merge.next()), Some(Ok(0)));
        drop(merge);
        join(threads);
    });
}

#[test]
fn a_source_wakes_again_and_again() {
    model(|| {
        let desk = Arc::new(Mutex::new(Desk::default()));
        let other = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                bring(&desk, 7);
                // For the end, which closes.
                bring(&desk, 8);
            })
        };
        let merge = ProxyResponseLoserTree::new([Remote::new(&desk)]);
        let items: Vec<_> = block_on(merge.collect());
        other.join().unwrap();
        assert!(items == [Ok(7)] || items == [Ok(8)]);
    });
}

/// A store of so many frames that are there, or that another thread brings; counts how often it was closed and dropped.
struct Frames {
    left: usize,
    remote: Option<Remote>,
    /// Whether closing it never completes.
    is_stuck: bool,
    ends: Arc<Ends>,
}

#[derive(Default)]
struct Ends {
    closed: AtomicUsize,
    dropped: AtomicUsize,
}

impl Ends {
    fn count(&self) -> (usize, usize) {
        (self.closed.load(Ordering::Acquire), self.dropped.load(Ordering::Acquire))
    }
}

impl Source for Frames {
    type Item = Response;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(remote) = &self.remote {
            std::task::ready!(remote.poll_take(cx));
        }
        self.left -= 1;
        Poll::Ready(Some(Ok(Warning::new("a frame").into())))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
        if self.is_stuck {
            return Poll::Pending;
        }
        self.ends.closed.fetch_add(1, Ordering::AcqRel);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.ends.dropped.fetch_add(1, Ordering::AcqRel);
    }
}

/// A lazy set, its task on a thread of its own.
struct Lazy {
    set: ResponseSet<Frames>,
    ends: Arc<Ends>,
    threads: Arc<Mutex<Vec<thread::JoinHandle<()>>>>,
}

/// A set has room for so many frames.
fn room_for(frames: usize) -> ResponseSetOptions {
    ResponseSetOptions::new().buffer_frames(frames)
}

impl Lazy {
    fn new(frames: usize, remote: Option<Remote>, options: ResponseSetOptions, is_run: bool) -> Self {
        Self::of(Frames { left: frames, remote, is_stuck: false, ends: Arc::default() }, options, is_run)
    }

    fn of(frames: Frames, options: ResponseSetOptions, is_run: bool) -> Self {
        let (ends, threads) = (frames.ends.clone(), Arc::new(Mutex::new(Vec::new())));
        let store = Store::opened("store", frames);
        let spawned = threads.clone();
        let options = options.spawn_with(move |task| {
            let run = move || if is_run { block_on(task) } else { drop(task) };
            spawned.lock().unwrap().push(thread::spawn(run));
        });
        Self { set: ResponseSet::new(store, &options), ends, threads }
    }

    fn next(&mut self) -> Option<Result<Response, Cause<Infallible>>> {
        let next = block_on(poll_fn(|cx| Pin::new(&mut self.set).poll_next(cx)));
        next.map(|next| next.map_err(SourceError::into_cause))
    }

    fn close(&mut self) -> Result<(), Cause<Infallible>> {
        block_on(poll_fn(|cx| Pin::new(&mut self.set).poll_close(cx))).map_err(|error| {
            let [error] = error.into_errors().try_into().expect("one error");
            error.into_cause()
        })
    }

    /// Drops the set and waits for its thread. Returns how often the store was closed and dropped.
    fn end(self) -> (usize, usize) {
        drop(self.set);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        join(threads);
        self.ends.count()
    }
}

#[test]
fn frames_pass_from_a_task_to_its_set() {
    model(|| {
        let mut lazy = Lazy::new(2, None, room_for(1), true);
        assert!(lazy.next().unwrap().is_ok());
        assert!(lazy.next().unwrap().is_ok());
        assert!(lazy.next().is_none());
        lazy.close().unwrap();
        assert_eq!(lazy.ends.count(), (1, 1), "who has closed finds the store gone");
        assert_eq!(lazy.end(), (1, 1));
    });
}

#[test]
fn closing_a_set_races_its_task() {
    for frames in [0, 2] {
        model(move || {
            let mut lazy = Lazy::new(frames, None, room_for(1), true);
            // So that the task is under way.
            let _ = Pin::new(&mut lazy.set).poll_next(&mut Context::from_waker(Waker::noop()));
            lazy.close().unwrap();
            assert_eq!(lazy.ends.count(), (1, 1));
            assert_eq!(lazy.end(), (1, 1));
        });
    }
}

#[test]
fn dropping_a_set_races_its_task() {
    for frames in [0, 2] {
        model(move || {
            // A task that has begun to close is not to wait for that.
            let store = Frames { left: frames, remote: None, is_stuck: true, ends: Arc::default() };
            let mut lazy = Lazy::of(store, room_for(1), true);
            let _ = Pin::new(&mut lazy.set).poll_next(&mut Context::from_waker(Waker::noop()));
            assert_eq!(lazy.end(), (0, 1));
        });
    }
}

#[test]
fn dropping_a_set_races_a_frame_that_comes() {
    model(|| {
        let desk = Arc::new(Mutex::new(Desk::default()));
        let mut lazy = Lazy::new(1, Some(Remote::new(&desk)), room_for(1), true);
        let _ = Pin::new(&mut lazy.set).poll_next(&mut Context::from_waker(Waker::noop()));
        bring(&desk, 1);
        assert_eq!(lazy.end().1, 1);
    });
}

#[test]
fn frames_that_a_third_thread_brings_reach_the_set() {
    bounded(FEWER_PREEMPTIONS, || {
        let desk = Arc::new(Mutex::new(Desk::default()));
        let mut lazy = Lazy::new(1, Some(Remote::new(&desk)), room_for(1), true);
        let other = thread::spawn(move || bring(&desk, 1));
        assert!(lazy.next().unwrap().is_ok());
        assert!(lazy.next().is_none());
        lazy.close().unwrap();
        assert_eq!(lazy.end(), (1, 1));
        other.join().unwrap();
    });
}

#[test]
fn a_set_outlives_its_task() {
    model(|| {
        let mut lazy = Lazy::new(1, None, room_for(1), false);
        assert_eq!(lazy.next(), Some(Err(Cause::Abandoned)));
        assert_eq!(lazy.close(), Ok(()));
        assert_eq!(lazy.end(), (1, 1));
    });
}

/// Room for two frames, and memory for one: the second waits until the first is used up, or another has given its back.
#[test]
fn a_task_that_finds_no_memory_goes_on() {
    let frame = Response::from(Warning::new("a frame")).size_bytes();
    let budget = frame.div_ceil(16);
    for is_returned in [false, true] {
        bounded(FEWER_PREEMPTIONS, move || {
            let pool = pool(if is_returned { budget + 1 } else { budget }, &LeakLedger::off());
            let returns = is_returned.then(|| {
                let held = pool.try_lease(1).unwrap();
                thread::spawn(move || drop(held))
            });
            let mut lazy = Lazy::new(2, None, room_for(2).pool(&pool), true);
            assert!(lazy.next().unwrap().is_ok());
            assert!(lazy.next().unwrap().is_ok());
            assert!(lazy.next().is_none());
            assert_eq!(pool.snapshot().waiting, 0);
            lazy.close().unwrap();
            assert_eq!(lazy.end(), (1, 1));
            join(returns.into_iter().collect());
            assert_all_is_back(&pool);
        });
    }
}
