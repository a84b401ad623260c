//! Pool, gate and ledger under real threads: whatever they do, the ledger is balanced in the end.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use losertree::LeakLedger;
use losertree::resource::{BytePool, ReaderGate};
use losertree_testkit::Random;

const THREADS: u64 = 4;
const ROUNDS: usize = 5_000;
const BUDGET: usize = 300;

/// Sizes of 16 to 256 bytes, and not enough for all threads to have large ones.
fn pool(ledger: &LeakLedger, collect_within: Duration) -> BytePool {
    let builder = BytePool::builder().smallest_bytes(16).largest_bytes(256).budget_bytes(BUDGET);
    builder.collect_within(collect_within).ledger(ledger).build().unwrap()
}

/// What one thread does to a pool, at random.
fn use_pool(pool: &BytePool, mut random: Random) {
    for round in 0..ROUNDS {
        let len = random.below(257);
        let fill = u8::try_from(round % 251).unwrap();
        let lease = match random.below(4) {
            0 => pool.try_lease(len).ok(),
            1 => {
                // Polled once and given up, granted in between or not.
                let mut wait = pin!(pool.lease(len));
                let _ = wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                thread::yield_now();
                None
            }
            _ => Some(block_on(pool.lease(len)).unwrap()),
        };
        if let Some(mut lease) = lease {
            assert!(lease.is_empty() && lease.capacity() >= len);
            lease.set_len(len).unwrap();
            assert!(lease.iter().all(|byte| *byte == 0));
            lease.fill(fill);
            if random.chance(0.5) {
                thread::yield_now();
            }
            if random.chance(0.3) {
                // Never waits while holding, so nobody can block anybody.
                let _ = lease.try_resize(random.below(257));
            }
            assert!(lease.iter().all(|byte| *byte == fill), "nobody else writes here");
            if random.chance(0.3) {
                let bytes = lease.freeze();
                let part = bytes.slice(..bytes.len() / 2);
                drop(bytes);
                assert!(part.iter().all(|byte| *byte == fill));
            }
        }
        if random.chance(0.02) {
            pool.trim();
        }
    }
}

#[test]
fn the_pool_is_balanced_in_the_end() {
    // By turns nothing is passed on, or everything that is not collected at once.
    for (ledger, collect_within) in [
        (LeakLedger::counts(), Duration::MAX),
        (LeakLedger::sites(), Duration::MAX),
        (LeakLedger::counts(), Duration::ZERO),
        (LeakLedger::sites(), Duration::ZERO),
    ] {
        let pool = pool(&ledger, collect_within);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let figures = pool.snapshot();
                    assert!(figures.used_bytes + figures.idle_bytes <= BUDGET, "{figures:?}");
                    assert_eq!(figures.gets.bytes - figures.puts.bytes, figures.used_bytes as u64);
                    assert_eq!(figures.gets.count - figures.puts.count, figures.outstanding as u64);
                    thread::yield_now();
                }
            });
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    scope.spawn({
                        let pool = &pool;
                        move || use_pool(pool, Random::seed(thread))
                    })
                })
                .collect();
            let results: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
            is_over.store(true, Ordering::Relaxed);
            assert!(results.iter().all(Result::is_ok));
        });
        let figures = pool.snapshot();
        assert_eq!((figures.used_bytes, figures.outstanding, figures.waiting), (0, 0, 0));
        assert_eq!((figures.uncollected, figures.uncollected_bytes, figures.absent), (0, 0, 0));
        assert_eq!(figures.passed_on.count > 0, collect_within.is_zero(), "{figures:?}");
        assert_eq!(figures.gets, figures.puts);
        assert!(figures.waits.count > 0 && figures.refusals.count > 0, "there was contention: {figures:?}");
        assert!(ledger.snapshot().is_all_closed());
        // Nothing is left that would keep the whole of it from being leased.
        let _whole = [pool.try_lease(256).unwrap(), pool.try_lease(32).unwrap()];
    }
}

#[test]
fn a_gate_is_empty_when_it_has_closed() {
    for seed in 0..200 {
        let ledger = LeakLedger::sites();
        let gate = ReaderGate::with_ledger("block", &ledger);
        let inside = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 1..THREADS {
                let (gate, inside) = (&gate, &inside);
                let mut random = Random::seed(seed * THREADS + thread);
                scope.spawn(move || {
                    while let Ok(guard) = gate.enter() {
                        inside.fetch_add(1, Ordering::SeqCst);
                        for _ in 0..random.below(3) {
                            thread::yield_now();
                        }
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(guard);
                    }
                });
            }
            for _ in 0..seed % 20 {
                thread::yield_now();
            }
            block_on(gate.close());
            assert_eq!((inside.load(Ordering::SeqCst), gate.pending()), (0, 0));
        });
        assert!(ledger.snapshot().is_all_closed());
    }
}
