//! Queries over queries at random: lazy and eager sets, tasks that are never polled, stores that are slow, stuck, fail or panic in
//! every phase, limits and early ends, on a clock that is paused. Whatever happens, what comes out is in order and once, every failure
//! is told once, and everything is closed.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::future::BoxFuture;
use losertree::error::CloseError;
use losertree::resource::BytePool;
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ProxyQueryBuilder, ResponseSetOptions, RetrievalStrategy, Store,
};
use losertree::stream::MergeSource;
use losertree::{LeakLedger, Response, Source, SourceError, SourcePath};
use losertree_testkit::{Checked, Closing, Ending, Random};

use crate::timed::{
    Cast, Plan, Step, TimedSource, assert_no_timer, fail, frame, seconds, series, tasks, wait,
};

type Lower = MergeSource<ProxyQuery<Checked<TimedSource>>>;
type Middle = MergeSource<ProxyQuery<Lower>>;
type Upper = ProxyQuery<Middle>;

const KEYS: usize = 40;

/// What a leaf is known to do before it is asked.
#[derive(Debug, Clone, Default)]
struct Fate {
    keys: Vec<usize>,
    failures: usize,
}

struct World {
    random: Random,
    cast: Cast,
    pool: BytePool,
    ledger: LeakLedger,
    /// Tasks that nobody polls.
    idle: Arc<Mutex<Vec<BoxFuture<'static, ()>>>>,
    fates: Vec<Fate>,
    only_warns: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::seed(seed);
        let budget_bytes = [200, 2_000, 1 << 20][random.below(3)];
        let pool = BytePool::builder().smallest_bytes(16).largest_bytes(16).budget_bytes(budget_bytes);
        Self {
            random,
            cast: Cast::default(),
            pool: pool.build().unwrap(),
            ledger: LeakLedger::sites(),
            idle: Arc::default(),
            fates: Vec::new(),
            only_warns: seed.is_multiple_of(2),
        }
    }

    fn pause(&mut self, steps: &mut Vec<Step>) {
        if self.random.chance(0.3) {
            steps.push(wait(self.random.below(4) as u64));
        }
    }

    /// Something that goes wrong, or not, and whether it does.
    fn fault(&mut self, chance: f64) -> Option<Step> {
        let is_bad = self.random.chance(chance);
        is_bad.then(|| [fail(), Step::Panic, Step::Stuck].swap_remove_at(self.random.below(3)))
    }

    fn leaf(&mut self) -> Store<Checked<TimedSource>> {
        let is_idle = self.random.chance(0.15);
        let (mut open, mut answer, mut close) = (vec![], vec![], vec![]);
        let mut fate = Fate::default();
        // A task that is never polled has used up the time of opening when the set goes on in its place.
        if !is_idle {
            self.pause(&mut open);
        }
        open.extend(self.fault(0.1));
        let is_opened = !matches!(open.last(), Some(Step::Fail(_) | Step::Panic | Step::Stuck));
        fate.failures += usize::from(!is_opened);
        let mut keys: Vec<_> = (0..self.random.below(8)).map(|_| self.random.below(KEYS)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            self.pause(&mut answer);
            answer.push(frame(*key));
        }
        let fault = self.fault(0.25);
        let can_close = is_opened && !matches!(fault, Some(Step::Panic));
        if is_opened {
            fate.keys = keys;
            fate.failures += usize::from(fault.is_some());
        }
        answer.extend(fault);
        self.pause(&mut close);
        let fault = self.fault(0.2);
        fate.failures += usize::from(can_close && fault.is_some());
        close.extend(fault);
        self.fates.push(fate);
        let name = format!("leaf-{}", self.fates.len() - 1);
        let mut options =
            self.options().open_timeout(seconds(5)).frame_timeout(seconds(7)).close_timeout(seconds(11));
        if is_idle {
            let idle = self.idle.clone();
            options = options.spawn_with(move |task| idle.lock().unwrap().push(task));
        }
        self.cast.store(Plan { name, open, answer, close }).with_options(options)
    }

    fn options(&mut self) -> ResponseSetOptions {
        if self.random.chance(0.4) {
            return ResponseSetOptions::new().retrieval(RetrievalStrategy::Eager);
        }
        let options = ResponseSetOptions::new().buffer_frames(1 + self.random.below(4));
        if self.random.chance(0.5) { options.pool(&self.pool) } else { options }
    }

    fn query<S>(&mut self, stores: Vec<Store<S>>) -> ProxyQueryBuilder<S>
    where
        S: Source<Item = Response, Error = io::Error> + Unpin + Send + 'static,
    {
        let warns = self.only_warns || self.random.chance(0.7);
        let strategy = if warns { PartialResponseStrategy::Warn } else { PartialResponseStrategy::Abort };
        let mut builder = ProxyQuery::builder()
            .stores(stores)
            .response_sets(self.options())
            .partial_response(strategy)
            .ledger(&self.ledger);
        if self.random.chance(0.3) {
            builder = builder.batches(1 + self.random.below(4), usize::MAX);
        }
        builder
    }

    fn lower(&mut self, index: usize) -> Store<Lower> {
        let stores = (0..=self.random.below(3)).map(|_| self.leaf()).collect();
        self.query(stores).build().into_store(format!("q-{index}"))
    }

    fn middle(&mut self, index: usize) -> Store<Middle> {
        let stores = (0..=self.random.below(3)).map(|index| self.lower(index)).collect();
        self.query(stores).build().into_store(format!("r-{index}"))
    }

    fn upper(&mut self, limit: u64) -> Upper {
        let stores = (0..=self.random.below(3)).map(|index| self.middle(index)).collect();
        self.query(stores).limit(limit).build()
    }

    /// Asserts that each failure that a store has raised was told once, and none that it cannot have raised.
    fn assert_told(&self, told: &[SourcePath], is_complete: bool) {
        for (leaf, (fate, seen)) in self.fates.iter().zip(self.cast.log.sources()).enumerate() {
            let name = format!("leaf-{leaf}");
            let is_of_leaf = |path: &&SourcePath| {
                path.places().len() == 3 && path.places().last().unwrap().name() == Some(&*name)
            };
            let told = told.iter().filter(is_of_leaf).count();
            let raised = usize::from(matches!(seen.ending, Some(Ending::Failed | Ending::Panicked)))
                + usize::from(seen.close == Closing::Failed);
            assert!((raised..=fate.failures).contains(&told), "{name}: {told} {fate:?} {seen:?}");
            assert!(!is_complete || told == fate.failures, "{name}: {told} {fate:?} {seen:?}");
        }
    }
}

trait SwapRemoveAt<T> {
    fn swap_remove_at(self, at: usize) -> T;
}

impl<T, const N: usize> SwapRemoveAt<T> for [T; N] {
    fn swap_remove_at(self, at: usize) -> T {
        Vec::from(self).swap_remove(at)
    }
}

async fn trial(seed: u64) {
    let mut world = World::new(seed);
    let limit = if seed.is_multiple_of(5) { world.random.below(20) as u64 } else { u64::MAX };
    let mut query = world.upper(limit);
    let ends_early = seed.is_multiple_of(3);
    let most = if ends_early { world.random.below(15) } else { usize::MAX };
    let (mut answer, mut told, mut aborted, mut steps) = (Vec::new(), Vec::new(), false, 0);
    let mut has_ended = false;
    while steps < most {
        steps += 1;
        match query.next().await {
            Some(Ok(Response::Series(series))) => answer.push(series),
            Some(Ok(Response::Batch(batch))) => answer.extend(batch),
            Some(Ok(Response::Warning(warning))) => {
                assert!(warning.is_failure(), "{warning:?}");
                told.push(warning.origin().clone());
            }
            Some(Ok(other)) => panic!("{other:?}"),
            Some(Err(error)) => {
                assert!(!std::mem::replace(&mut aborted, true), "{error:?}");
                told.push(error.path().clone());
            }
            None => {
                has_ended = true;
                break;
            }
        }
    }
    assert!(answer.is_sorted_by(|a, b| a.labels < b.labels), "in order, and each once");
    assert!(answer.len() as u64 <= limit);
    let is_closed = has_ended || !seed.is_multiple_of(7);
    if is_closed {
        let closed = query.close().await;
        let errors: Vec<SourceError<io::Error>> = closed.err().map_or(vec![], CloseError::into_errors);
        let has_told = !told.is_empty();
        told.extend(errors.iter().map(|error| error.path().clone()));
        let is_complete = has_ended && world.only_warns && limit == u64::MAX;
        world.assert_told(&told, is_complete);
        if is_complete {
            let keys: BTreeSet<_> = world.fates.iter().flat_map(|fate| fate.keys.iter().copied()).collect();
            let expected: Vec<_> = keys.into_iter().map(|key| series(key).into_series().unwrap()).collect();
            assert_eq!(answer, expected);
        }
        if has_ended && !aborted {
            assert_eq!(query.stats().is_partial, has_told, "{told:?}");
        }
        world.ledger.assert_balanced();
    } else {
        drop(query);
    }
    assert_eq!(world.ledger.snapshot().open, 0);
    world.idle.lock().unwrap().clear();
    tokio::task::yield_now().await;
    assert_eq!((tasks(), world.pool.snapshot().used_bytes), (0, 0));
    world.cast.assert_released();
}

#[tokio::test(start_paused = true)]
async fn queries_of_queries_tell_everything_once_and_close_everything() {
    for seed in 0..1_500 {
        eprintln!("seed {seed}");
        trial(seed).await;
    }
    assert_no_timer().await;
}
