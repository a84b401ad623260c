//! Response sets on real threads: queries that are read, dropped and closed at random leave nothing.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream;
use losertree::resource::BytePool;
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseSet, ResponseSetOptions, RetrievalStrategy, Store,
};
use losertree::{BoxSource, CloseError, LeakLedger, Phase, Response, Source, closing, from_stream};
use losertree_testkit::{Checked, Log, Random, poll_times};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::yield_now;

use crate::timed::{series, tasks};

/// How long it goes on at least, and for how many rounds of all together.
const RUNS_FOR: Duration = Duration::from_secs(2);
const ROUNDS: usize = 20;
/// On a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

type Inner = BoxSource<'static, Response, io::Error>;

/// A store that is fed by a task of its own, and yields now and then in all its phases.
fn store(log: &Log, stores: usize, index: usize, random: &mut Random) -> (Store<Checked<Inner>>, usize) {
    let length = random.below(20);
    let (opens_slowly, closes_slowly) = (random.chance(0.5), random.chance(0.5));
    let fails = random.chance(0.1);
    let (sender, receiver) = mpsc::channel(1 + random.below(3));
    let stream = stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    let source = closing(stream.boxed(), move |stream| async move {
        if closes_slowly {
            yield_now().await;
        }
        drop(stream);
        Ok(())
    });
    let source = Checked::new(source.boxed(), log);
    let feed = async move {
        for nth in 0..length {
            if sender.send(Ok(series(nth * stores + index))).await.is_err() {
                return;
            }
        }
        if fails {
            let _ = sender.send(Err(io::ErrorKind::ConnectionReset.into())).await;
        }
    };
    let store = Store::new(format!("store-{index}"), async move {
        if opens_slowly {
            yield_now().await;
        }
        tokio::spawn(feed);
        Ok(source)
    });
    (store, length)
}

async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        yield_now().await;
    }
}

/// One query: read to some point, then given up in some way, or read to its end.
async fn query(random: &mut Random) {
    let log = Log::new();
    let ledger = LeakLedger::sites();
    let pool = BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(700).build().unwrap();
    let count = 1 + random.below(5);
    let (stores, lengths): (Vec<_>, Vec<_>) =
        (0..count).map(|index| store(&log, count, index, random)).unzip();
    let strategy = [RetrievalStrategy::Lazy, RetrievalStrategy::Eager][usize::from(random.chance(0.2))];
    let mut sets = ResponseSetOptions::new().retrieval(strategy).buffer_frames(1 + random.below(4));
    if strategy == RetrievalStrategy::Lazy && random.chance(0.5) {
        sets = sets.pool(&pool);
    }
    let mut query = ProxyQuery::builder()
        .stores(stores)
        .response_sets(sets)
        .partial_response(PartialResponseStrategy::Warn)
        .ledger(&ledger)
        .build();
    let taken = if random.chance(0.3) { usize::MAX } else { random.below(30) };
    let mut came = 0;
    for _ in 0..taken {
        match query.next().await {
            Some(Ok(Response::Series(_))) => came += 1,
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("{error}"),
            None => break,
        }
    }
    if taken == usize::MAX {
        assert_eq!(came, lengths.iter().sum::<usize>());
    }
    if random.chance(0.5) {
        // Begun and given up; perhaps resumed.
        drop(poll_times(Box::pin(query.close()), random.below(3)));
    }
    if random.chance(0.5) {
        query.close().await.ok();
        assert!(ledger.snapshot().is_all_closed());
        assert!(log.sources().iter().all(|source| source.dropped), "closed is released");
    }
    drop(query);
    ledger.assert_balanced();
    eventually("a store is not dropped", || log.sources().iter().all(|source| source.dropped)).await;
    eventually("memory is not given back", || pool.snapshot().used_bytes == 0).await;
    log.assert_clean();
}

/// One set by itself, which is closed and then kept.
async fn set(random: &mut Random) {
    let log = Log::new();
    let pool = BytePool::builder().smallest_bytes(16).largest_bytes(64).budget_bytes(10_000).build().unwrap();
    let (store, length) = store(&log, 1, 0, random);
    let options = ResponseSetOptions::new().buffer_frames(1 + random.below(4)).pool(&pool);
    let mut set = ResponseSet::new(store, &options);
    for index in 0..random.below(length + 3) {
        match poll_fn(|cx| Pin::new(&mut set).poll_next(cx)).await {
            Some(Ok(response)) => assert_eq!(response, series(index)),
            Some(Err(error)) if error.source_error().is_none() => panic!("{error:?}"),
            Some(Err(_)) | None => break,
        }
    }
    // What was met ahead of what was read is told, and nothing else goes wrong.
    let closed = poll_fn(|cx| Pin::new(&mut set).poll_close(cx)).await;
    for error in closed.err().into_iter().flat_map(CloseError::into_errors) {
        assert!(error.source_error().is_some() && error.phase() == Some(Phase::Merging), "{error:?}");
    }
    assert_eq!(pool.snapshot().used_bytes, 0);
    assert!(log.sources()[0].dropped);
    log.assert_clean();
}

/// Takes a while to be dropped, and says when it was.
struct DroppedSlowly(Arc<AtomicBool>);

impl Drop for DroppedSlowly {
    fn drop(&mut self) {
        thread::sleep(Duration::from_micros(500));
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A set whose store never ends and never waits, so that it is at work when the set is closed or dropped.
async fn busy_set(random: &mut Random) {
    let is_dropped = Arc::new(AtomicBool::new(false));
    let pool = BytePool::builder().budget_bytes(1 << 30).build().unwrap();
    let dropped_slowly = DroppedSlowly(Arc::clone(&is_dropped));
    let stream = stream::repeat_with(move || {
        let _ = &dropped_slowly;
        Ok::<_, io::Error>(series(0))
    });
    let options = ResponseSetOptions::new().buffer_frames(1 << 16).buffer_bytes(1 << 30).pool(&pool);
    let mut set = ResponseSet::new(Store::opened("store", from_stream(stream)), &options);
    for _ in 0..random.below(50) {
        poll_fn(|cx| Pin::new(&mut set).poll_next(cx)).await.unwrap().unwrap();
    }
    if random.chance(0.5) {
        poll_fn(|cx| Pin::new(&mut set).poll_close(cx)).await.unwrap();
        assert!(is_dropped.load(Ordering::SeqCst), "closed is released");
        assert_eq!(pool.snapshot().used_bytes, 0, "closed gives back its memory");
    } else {
        drop(set);
        eventually("a store is not dropped", || is_dropped.load(Ordering::SeqCst)).await;
        eventually("memory is not given back", || pool.snapshot().used_bytes == 0).await;
    }
}

/// Gives up one thing after another, and counts them.
async fn consume(seed: u64, until: Instant, rounds: &AtomicUsize) {
    let mut random = Random::seed(seed);
    while Instant::now() < until || rounds.load(Ordering::Relaxed) < ROUNDS {
        match random.below(4) {
            0 => set(&mut random).await,
            1 => busy_set(&mut random).await,
            _ => query(&mut random).await,
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn whatever_threads_do_everything_is_released() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let until = Instant::now() + RUNS_FOR;
    let rounds = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        // A task is woken on the worker that wakes it; another thread at once.
        let on_threads = [0, 1].map(|seed| {
            let (runtime, rounds) = (&runtime, &rounds);
            scope.spawn(move || runtime.block_on(consume(seed, until, rounds)))
        });
        let in_tasks = async {
            let tasks = (2..6).map(|seed| {
                let rounds = Arc::clone(&rounds);
                tokio::spawn(async move { consume(seed, until, &rounds).await })
            });
            for task in tasks.collect::<Vec<_>>() {
                tokio::time::timeout(PATIENCE, task).await.expect("it hangs").unwrap();
            }
        };
        runtime.block_on(in_tasks);
        for thread in on_threads {
            thread.join().unwrap();
        }
        eprintln!("{} rounds", rounds.load(Ordering::Relaxed));
    });
    runtime.block_on(eventually("a task is left", || tasks() == 0));
}
