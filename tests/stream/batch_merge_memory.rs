//! What an async merge of batches holds, for how long, and who pays for it.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::executor::block_on;
use futures::task::AtomicWaker;
use losertree::error::Cause;
use losertree::resource::BytePool;
use losertree::stream::{OrderCheck, PollClose, PollNext};
use losertree::{BatchMerge, Source, SourceError};
use losertree_testkit::{Item, Random, Runs, Script, Stage, assert_merged, assert_same, merged};
use quickcheck::quickcheck;

/// What a source has lent: copies of rows are not.
#[derive(Debug, Default)]
struct Lent {
    outstanding: AtomicUsize,
    waits: AtomicWaker,
}

/// A batch that belongs to its source until it is dropped, or a copy of a row of one.
#[derive(Debug)]
struct Buffer {
    keys: Vec<u64>,
    lent: Option<Arc<Lent>>,
}

impl Buffer {
    fn copy_row(&self, row: usize) -> Self {
        Self { keys: vec![self.keys[row]], lent: None }
    }
}

impl Deref for Buffer {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.keys
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(lent) = &self.lent {
            lent.outstanding.fetch_sub(1, SeqCst);
            lent.waits.wake();
        }
    }
}

/// Gives one batch after the other out of one buffer: it is not to be asked before that is back. It is closed when it is.
struct Lender {
    batches: std::vec::IntoIter<Vec<u64>>,
    lent: Arc<Lent>,
    /// How many batches were somewhere when the closing of each began, or it was dropped without.
    kept: Arc<Mutex<Vec<usize>>>,
    is_closing: bool,
}

impl Lender {
    fn of(batches: Vec<Vec<u64>>, kept: &Arc<Mutex<Vec<usize>>>) -> Self {
        Self { batches: batches.into_iter(), lent: Arc::default(), kept: kept.clone(), is_closing: false }
    }
}

impl Source for Lender {
    type Item = Buffer;
    type Error = &'static str;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
        assert_eq!(self.lent.outstanding.load(SeqCst), 0, "the batch before is held");
        let Some(keys) = self.batches.next() else { return Poll::Ready(None) };
        self.lent.outstanding.fetch_add(1, SeqCst);
        Poll::Ready(Some(Ok(Buffer { keys, lent: Some(self.lent.clone()) })))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.lent.waits.register(cx.waker());
        let outstanding = self.lent.outstanding.load(SeqCst);
        if !std::mem::replace(&mut self.is_closing, true) {
            self.kept.lock().unwrap().push(outstanding);
        }
        if outstanding == 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        if !self.is_closing {
            self.kept.lock().unwrap().push(self.lent.outstanding.load(SeqCst));
        }
    }
}

fn random_batches(random: &mut Random) -> Vec<Vec<u64>> {
    let mut keys: Vec<_> = (0..random.below(30)).map(|_| random.below(50) as u64).collect();
    keys.sort_unstable();
    let mut batches = Vec::new();
    while !keys.is_empty() || random.chance(0.2) {
        let rest = keys.split_off(random.below(keys.len().min(6) + 1));
        batches.push(std::mem::replace(&mut keys, rest));
    }
    batches
}

/// P15: a batch is let go with its last row, before its source is asked for more, closed or dropped.
#[test]
fn a_batch_is_let_go_with_its_last_row() {
    for seed in 0..300 {
        let random = &mut Random::seed(seed);
        let all: Vec<_> = (0..random.below(6)).map(|_| random_batches(random)).collect();
        let kept = Arc::default();
        let sources: Vec<_> = all.iter().map(|batches| Lender::of(batches.clone(), &kept)).collect();
        let lent: Vec<_> = sources.iter().map(|source| source.lent.clone()).collect();
        let merge = BatchMerge::builder()
            .sources(sources)
            .window_rows([1, 2, 5, usize::MAX][random.below(4)])
            .order_check(OrderCheck::Fail, Buffer::copy_row);
        let mut merge =
            if random.chance(0.3) { merge.limit(random.below(60) as u64).build() } else { merge.build() };
        let mut taken = vec![0; all.len()];
        let is_closed_early = random.chance(0.3);
        while let Some(next) = block_on(merge.next_window()) {
            let window = next.unwrap().into_window().unwrap();
            let mut is_used_up = vec![false; all.len()];
            for run in window.runs() {
                let source = run.source();
                taken[source] += run.len();
                let mut ends = all[source].iter().scan(0, |end, batch| {
                    *end += batch.len();
                    Some(*end)
                });
                is_used_up[source] = ends.any(|end| end == taken[source]);
            }
            drop(window);
            for (lent, is_used_up) in lent.iter().zip(is_used_up) {
                assert!(lent.outstanding.load(SeqCst) <= usize::from(!is_used_up));
            }
            if is_closed_early && random.chance(0.2) {
                break;
            }
        }
        block_on(merge.close()).unwrap();
        assert_eq!(*kept.lock().unwrap(), vec![0; all.len()]);
    }
}

/// P15: sources that fail, and the others that are closed for it, get all that they have lent back.
#[test]
fn nothing_is_kept_when_a_source_goes_backwards_or_a_batch_is_refused() {
    for is_refused in [false, true] {
        let kept = Arc::default();
        let sources = [vec![vec![1, 4], vec![3]], vec![vec![2, 9], vec![9]], vec![vec![5]]];
        let sources = sources.map(|batches| Lender::of(batches, &kept));
        let merge = BatchMerge::builder().sources(sources);
        let mut merge = if is_refused {
            merge
                .charge_with(|batch: &Buffer| if **batch == [3] { Err("refused".into()) } else { Ok(()) })
                .build()
        } else {
            merge.order_check(OrderCheck::Fail, Buffer::copy_row).build()
        };
        let mut keys = Vec::new();
        let error = loop {
            match block_on(merge.next_window()).unwrap() {
                Ok(next) => keys.extend(next.into_window().unwrap().items().copied()),
                Err(error) => break error,
            }
        };
        assert_eq!((&*keys, error.path().index()), (&[1, 2, 4][..], Some(0)));
        assert!(block_on(merge.next_window()).is_none());
        assert_eq!(*kept.lock().unwrap(), [0, 0, 0]);
    }
}

/// A window shares its batches. A source that waits for them waits for it too, and nothing else does.
#[test]
fn a_window_keeps_its_batches_and_outlives_the_merge() {
    let kept = Arc::default();
    let mut merge =
        BatchMerge::new([Lender::of(vec![vec![1, 2, 9]], &kept), Lender::of(vec![vec![3]], &kept)]);
    let window = block_on(merge.next_window()).unwrap().unwrap().into_window().unwrap();
    let other = window.batch(0).unwrap().clone();
    drop(window);
    let mut close = Box::pin(async { merge.close().await });
    let waker = futures::task::noop_waker();
    assert!(close.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(close);
    assert_eq!(other.keys, [1, 2, 9]);
    drop(other);
    block_on(merge.close()).unwrap();
    // Only that of the window was out.
    let mut kept = kept.lock().unwrap().clone();
    kept.sort_unstable();
    assert_eq!(kept, [0, 1]);
}

/// P5: batches are dropped before the sources that have lent them.
#[test]
fn dropping_the_merge_drops_its_batches_first() {
    for windows in 0..6 {
        let kept = Arc::default();
        let sources = (0..5).map(|first| Lender::of(vec![vec![first, first + 3], vec![first + 9]], &kept));
        let mut merge = BatchMerge::builder()
            .sources(sources)
            .window_rows(2)
            .order_check(OrderCheck::Report, Buffer::copy_row)
            .build();
        for _ in 0..windows {
            drop(block_on(merge.next_window()));
        }
        drop(merge);
        assert_eq!(*kept.lock().unwrap(), [0; 5]);
    }
}

/// A batch whose drop panics, as its rows come.
struct Fragile(Vec<u64>);

impl Deref for Fragile {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.0
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::resume_unwind(Box::new("the batch panics"));
        }
    }
}

/// P5, P13: batches that panic when they are dropped, all of them, cost neither the merge nor a source.
#[test]
fn batches_that_panic_when_they_are_dropped_are_contained() {
    for is_closed in [false, true] {
        let sources = (0..4).map(|first| losertree::from_iter([Fragile(vec![first, 10])]));
        let ledger = losertree::LeakLedger::sites();
        let mut merge = BatchMerge::builder()
            .sources(sources)
            .ledger(&ledger)
            .window_rows(1)
            .order_check(OrderCheck::Fail, |batch: &Fragile, row| Fragile(vec![batch[row]]))
            .build();
        let window = block_on(merge.next_window());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(window))).is_ok(), "others hold the batch");
        if is_closed {
            block_on(merge.close()).unwrap();
            assert_eq!(ledger.snapshot().closed, 4);
        }
        drop(merge);
        ledger.assert_balanced();
    }
}

/// What is held is charged, to the batch, and given back with the last that holds it.
#[test]
fn charges_are_those_of_the_batches_held() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        let batches: Vec<Vec<Vec<Item<u64>>>> =
            runs.as_slice().iter().map(|run| run.chunks(4).map(<[_]>::to_vec).collect()).collect();
        let held = Arc::new(AtomicUsize::new(0));
        let charged = held.clone();
        let mut merge = BatchMerge::builder()
            .sources(stage.sources_of(batches, random, 0.2))
            .window_rows(3)
            .charge_with(move |batch: &Vec<Item<u64>>| {
                charged.fetch_add(batch.len(), SeqCst);
                Ok(Charge(charged.clone(), batch.len()))
            })
            .build();
        let mut driver = stage.driver(seed);
        let mut items = Vec::new();
        while let Some(next) = driver.complete(merge.next_window()).unwrap() {
            let window = next.unwrap().into_window().unwrap();
            items.extend(window.items().copied());
            drop(window);
            // Whole batches of those that have rows left: of the rest of the last one, what was handed out is held too.
            assert!(held.load(SeqCst) <= 4 * runs.as_slice().len());
            let left = runs.as_slice().concat().len() - items.len();
            assert!(left > 0 || held.load(SeqCst) == 0);
        }
        assert_merged(&items, runs.as_slice());
        assert_eq!(held.load(SeqCst), 0);
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

struct Charge(Arc<AtomicUsize>, usize);

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, SeqCst);
    }
}

/// A refusal ends the merge in order, also where failures are tolerated.
#[test]
fn a_refusal_ends_the_merge_behind_the_decided_rows() {
    for seed in 0..60 {
        let random = &mut Random::seed(seed);
        let runs = Runs::<u64>::random(random, 12);
        let stage = Stage::new();
        let scripts: Vec<_> = runs
            .as_slice()
            .iter()
            .map(|run| Script::of(run.chunks(3).map(<[_]>::to_vec)).with_pauses(random, 0.2))
            .collect();
        let pool = BytePool::builder()
            .smallest_bytes(16)
            .largest_bytes(64)
            .budget_bytes(64 + random.below(500))
            .build()
            .unwrap();
        let of_pool = pool.clone();
        let merge = BatchMerge::builder().sources(stage.sources(scripts)).window_rows(2).charge_with(
            move |batch: &Vec<Item<u64>>| {
                let mut charge = of_pool.reservation();
                charge.try_grow(24 * batch.len()).map_err(|error| SourceError::new(Cause::Pool(error)))?;
                Ok(charge)
            },
        );
        let mut merge = if seed % 2 == 0 { merge.warn().build() } else { merge.build() };
        let mut items = Vec::new();
        let mut refusals = 0;
        for next in stage
            .driver(seed)
            .run(&mut futures::StreamExt::map(&mut merge, |next| {
                next.map(|next| next.into_window().unwrap().items().copied().collect::<Vec<_>>())
            }))
            .finished()
        {
            assert_eq!(refusals, 0, "nothing comes behind it");
            match next {
                Ok(rows) => items.extend(rows),
                Err(error) => {
                    assert!(matches!(error.cause(), Cause::Pool(_)) && error.path().index().is_some());
                    refusals += 1;
                }
            }
        }
        let expected = merged(runs.as_slice());
        assert_same(&items, &expected[..items.len()]);
        assert!(refusals == 1 || items.len() == expected.len());
        assert_eq!(pool.snapshot().used_bytes, 0);
        stage.log().assert_closed();
    }
}
