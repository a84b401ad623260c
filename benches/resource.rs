//! What resources cost that give themselves back and keep records.
//!
//! ```text
//! cargo bench --bench resource
//! cargo bench --bench resource -- ratios
//! ```
//!
//! The second command has the contenders take turns, and prints medians and their ratios: what else the machine
//! does slows down all of them alike.

// Fails by panicking.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use losertree::stream::{PollClose, PollNext};
use std::convert::Infallible;
use std::hint::black_box;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use criterion::Criterion;
use futures::StreamExt;
use futures::executor::block_on;
use losertree::resource::BytePool;
use losertree::{LeakLedger, ProxyResponseLoserTree, Source};
use losertree_testkit::inputs;

/// What is leased.
const LEN: usize = 4_000;
const CAPACITY: usize = 4_096;
/// How often a thread leases and returns in one sample.
const ROUNDS: usize = 20_000;
const THREADS: usize = 2;
/// The fan-in of the merges that keep a ledger.
const SOURCES: usize = 16;

/// The peer: buffers under a mutex, without a budget, figures, a queue or an owner.
// Aligned, so that it is not by chance that it lies in one cache line.
#[derive(Default)]
#[repr(align(64))]
struct Plain {
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Plain {
    #[inline]
    fn take(&self) -> Vec<u8> {
        let idle = self.buffers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Vec::with_capacity(CAPACITY))
    }

    #[inline]
    fn put(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

fn use_plain(plain: &Plain) {
    for _ in 0..ROUNDS {
        plain.put(black_box(plain.take()));
    }
}

/// A buffer of the peer that returns itself, and so has to know where to: the least that a lease can be.
struct Owned {
    plain: Arc<Plain>,
    buffer: Vec<u8>,
}

impl Drop for Owned {
    #[inline]
    fn drop(&mut self) {
        self.plain.put(mem::take(&mut self.buffer));
    }
}

fn use_owned(plain: &Arc<Plain>) {
    for _ in 0..ROUNDS {
        drop(black_box(Owned { buffer: plain.take(), plain: Arc::clone(plain) }));
    }
}

/// A peer of the same kind: sizes, a budget, figures and buffers that return themselves, under a mutex, as plainly
/// as they can be written. Nobody can wait, nothing is trimmed and there is no ledger.
#[repr(align(64))]
struct Kind {
    budget: usize,
    sizes: Vec<usize>,
    state: Mutex<KindState>,
}

#[derive(Default)]
struct KindState {
    used: usize,
    peak: usize,
    idle_bytes: usize,
    gets: Flow,
    puts: Flow,
    refusals: Flow,
    idle: Vec<Vec<Vec<u8>>>,
}

#[derive(Default)]
struct Flow {
    count: u64,
    bytes: u64,
}

impl Flow {
    const fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}

struct KindLease {
    pool: Arc<Kind>,
    buffer: Vec<u8>,
    class: usize,
}

impl Kind {
    fn new() -> Arc<Self> {
        let sizes: Vec<_> = (10..=20).map(|bits| 1 << bits).collect();
        let idle = sizes.iter().map(|_| Vec::new()).collect();
        let state = Mutex::new(KindState { idle, ..KindState::default() });
        Arc::new(Self { budget: 64 << 20, sizes, state })
    }

    #[inline]
    fn lease(self: &Arc<Self>, len: usize) -> Option<KindLease> {
        let class = self.sizes.iter().position(|size| *size >= len)?;
        let size = self.sizes[class];
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if size > self.budget - state.used {
            state.refusals.add(size);
            return None;
        }
        state.used += size;
        state.peak = state.peak.max(state.used);
        state.gets.add(size);
        let buffer = state.idle[class].pop();
        if buffer.is_some() {
            state.idle_bytes -= size;
        }
        drop(state);
        let buffer = buffer.unwrap_or_else(|| Vec::with_capacity(size));
        Some(KindLease { pool: Arc::clone(self), buffer, class })
    }
}

impl Drop for KindLease {
    #[inline]
    fn drop(&mut self) {
        let mut buffer = mem::take(&mut self.buffer);
        buffer.clear();
        let size = self.pool.sizes[self.class];
        let mut state = self.pool.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.used -= size;
        state.idle_bytes += size;
        state.puts.add(size);
        state.idle[self.class].push(buffer);
    }
}

fn use_kind(pool: &Arc<Kind>) {
    for _ in 0..ROUNDS {
        drop(black_box(pool.lease(black_box(LEN)).unwrap()));
    }
}

fn use_pool(pool: &BytePool) {
    for _ in 0..ROUNDS {
        drop(black_box(pool.try_lease(black_box(LEN)).unwrap()));
    }
}

fn pool(ledger: &LeakLedger) -> BytePool {
    BytePool::builder().ledger(ledger).build().unwrap()
}

/// All threads at once, from a common start.
fn contending(run: impl Fn() + Sync) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(&run);
        }
    });
}

struct Ready(std::vec::IntoIter<u64>);

impl Source for Ready {
    type Item = u64;
    type Error = Infallible;

    #[inline]
    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
        Poll::Ready(Ok(()))
    }
}

/// Merges and closes, with a ledger.
fn merge(runs: Vec<Vec<u64>>, ledger: &LeakLedger) -> u64 {
    let sources = runs.into_iter().map(|run| Ready(run.into_iter()));
    let merge = ProxyResponseLoserTree::builder().sources(sources).ledger(ledger).build();
    block_on(merge.fold(0_u64, async |sum, item| sum.wrapping_add(item.unwrap())))
}

fn levels() -> [(&'static str, LeakLedger); 4] {
    [
        ("off", LeakLedger::off()),
        ("off again", LeakLedger::off()),
        ("counts", LeakLedger::counts()),
        ("sites", LeakLedger::sites()),
    ]
}

type Contender<'a> = (String, Box<dyn Fn() -> Duration + 'a>);

fn timed<'a>(name: &str, run: impl Fn() + 'a) -> Contender<'a> {
    let timed = move || {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    (name.to_owned(), Box::new(timed))
}

/// Each row is a comparison to its first contender.
fn rows() -> Vec<(String, Vec<Contender<'static>>)> {
    let pools = || [("pool", LeakLedger::off()), ("pool, ledger counts", LeakLedger::counts())];
    let plain = Arc::<Plain>::default;
    let mut alone = vec![
        timed("mutex", {
            let plain = plain();
            move || use_plain(&plain)
        }),
        timed("mutex, owned buffers", {
            let plain = plain();
            move || use_owned(&plain)
        }),
        timed("mutex, of the same kind", {
            let pool = Kind::new();
            move || use_kind(&pool)
        }),
    ];
    alone.extend(pools().map(|(name, ledger)| {
        let pool = pool(&ledger);
        timed(name, move || use_pool(&pool))
    }));
    let mut contended = vec![
        timed("mutex", {
            let plain = plain();
            move || contending(|| use_plain(&plain))
        }),
        timed("mutex, owned buffers", {
            let plain = plain();
            move || contending(|| use_owned(&plain))
        }),
        timed("mutex, of the same kind", {
            let pool = Kind::new();
            move || contending(|| use_kind(&pool))
        }),
    ];
    contended.extend(pools().map(|(name, ledger)| {
        let pool = pool(&ledger);
        timed(name, move || contending(|| use_pool(&pool)))
    }));
    let mut rows = vec![("lease and return".to_owned(), alone), ("two threads".to_owned(), contended)];
    for items in [100, 1_000] {
        let contenders = levels().map(|(name, ledger)| {
            let run: Box<dyn Fn() -> Duration> = Box::new(move || {
                let runs = inputs::uniform(1, SOURCES, SOURCES * items);
                let start = Instant::now();
                black_box(merge(runs, &ledger));
                start.elapsed()
            });
            (name.to_owned(), run)
        });
        rows.push((format!("merge of {SOURCES} × {items}, ledger"), contenders.into()));
    }
    rows
}

fn ratios() {
    const SAMPLES: usize = 301;
    println!("| | contender | median | ratio to the first |");
    println!("|---|---|---|---|");
    for (row, contenders) in rows() {
        let mut samples = vec![Vec::with_capacity(SAMPLES); contenders.len()];
        for _ in 0..SAMPLES {
            for ((_, run), samples) in contenders.iter().zip(&mut samples) {
                samples.push(run());
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
            println!("| {row} | {name} | {:.1} µs | {:.3} |", median * 1e6, median / medians[0]);
        }
    }
}

fn groups() {
    let mut criterion = Criterion::default().configure_from_args();
    for (row, contenders) in rows() {
        let mut group = criterion.benchmark_group(row);
        for (name, run) in contenders {
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
