//! Sources of blocks: merged as the items that they have, and polled once for each block.

use losertree::stream::{PollClose, PollNext};
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures::{StreamExt, stream};
use losertree::{BlockSource, LeakLedger, ProxyResponseLoserTree, Source, closing, from_stream};
use losertree_testkit::{
    CountingWaker, Item, Random, Runs, Script, Stage, Step, assert_merged, merged, silence_scripted_panics,
};
use quickcheck::quickcheck;

type Block = Vec<Item<u64>>;

/// Cuts a run into blocks of random sizes, some of them empty.
fn blocks(run: &[Item<u64>], random: &mut Random) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut rest = run;
    while !rest.is_empty() || random.chance(0.3) {
        let (block, after) = rest.split_at(random.below(rest.len().min(5) + 1));
        blocks.push(block.to_vec());
        rest = after;
    }
    blocks
}

fn all_blocks(runs: &Runs<u64>, random: &mut Random) -> Vec<Vec<Block>> {
    runs.as_slice().iter().map(|run| blocks(run, random)).collect()
}

#[test]
fn blocks_of_any_size_are_merged_as_their_items() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        let sources = stage.sources_of(all_blocks(&runs, random), random, 0.3);
        // What is boxed and what is not gives the same.
        let flat = sources.into_iter().map(|source| source.boxed().flatten());
        let mut merge = ProxyResponseLoserTree::new(flat);
        assert_merged(&stage.driver(seed).run(&mut merge).ok(), runs.as_slice());
        stage.log().assert_closed();
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// P9, P11: the block source is polled for a block when the item is yielded after which it has no other, and not before.
#[test]
fn a_block_source_is_polled_once_for_each_block_and_not_early() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let random = &mut Random::seed(seed);
        let all = all_blocks(&runs, random);
        let stage = Stage::new();
        let sources = stage.sources_of(all.clone(), random, 0.0);
        let mut merge = ProxyResponseLoserTree::new(sources.into_iter().map(BlockSource::flatten));
        let mut taken = vec![0; runs.sources()];
        // How many polls it takes to have the item at this place.
        let polls = |source: usize, place: usize| {
            let ends = all[source].iter().scan(0, |end, block| {
                *end += block.len();
                Some(*end)
            });
            ends.take_while(|end| *end <= place).count() + 1
        };
        for item in merged(runs.as_slice()) {
            assert_eq!(futures::executor::block_on(merge.next()), Some(Ok(item)));
            taken[item.source] += 1;
            for (source, figures) in stage.log().sources().iter().enumerate() {
                assert_eq!(figures.next_polls, polls(source, taken[source]), "source {source}");
            }
        }
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

/// P7: an item is lost neither with a future that is dropped, nor with a block that is empty.
#[test]
fn every_next_can_be_dropped() {
    for seed in 0..30 {
        let random = &mut Random::seed(seed);
        let runs = Runs::<u64>::random(random, 12);
        for patience in 1..4 {
            let stage = Stage::new();
            let sources = stage.sources_of(all_blocks(&runs, random), random, 0.4);
            let mut merge = ProxyResponseLoserTree::new(sources.into_iter().map(BlockSource::flatten));
            let mut driver = stage.driver(seed);
            let mut items = Vec::new();
            loop {
                match driver.poll_times(merge.next(), patience) {
                    Ok(Some(item)) => items.push(item.unwrap()),
                    Ok(None) => break,
                    Err(unfinished) => drop(unfinished),
                }
            }
            assert_merged(&items, runs.as_slice());
            stage.log().assert_closed();
        }
    }
}

// F9, F42
#[test]
fn an_error_comes_after_the_items_of_the_blocks_before_it() {
    for is_partial in [false, true] {
        let stage = Stage::new();
        let bad = Script::of([vec![1, 4], vec![], vec![6]]).fail();
        let sources = stage.sources([bad.named("bad"), Script::of([vec![2], vec![9, 10]])]);
        let mut builder =
            ProxyResponseLoserTree::builder().sources(sources.into_iter().map(BlockSource::flatten));
        if is_partial {
            builder = builder.warn_with(|error| {
                assert_eq!(error.path().name().as_deref(), Some("bad"));
                0
            });
        }
        let run = stage.driver(1).run(&mut builder.build());
        let items: Vec<_> = run.finished().into_iter().map(Result::ok).collect();
        let expected = if is_partial { vec![1, 2, 4, 6, 0, 9, 10] } else { vec![1, 2, 4, 6] };
        let mut expected: Vec<_> = expected.into_iter().map(Some).collect();
        if !is_partial {
            expected.push(None);
        }
        assert_eq!(items, expected);
        stage.log().assert_closed();
    }
}

/// P12, F30, F35: one poll takes at most 32 empty blocks of a source.
#[test]
fn empty_blocks_do_not_end_a_source_and_yield_to_the_executor() {
    let stage = Stage::new();
    let source = Script::of(vec![vec![]; 1_000]).item(vec![7]).items(vec![vec![]; 100]);
    let mut merge = ProxyResponseLoserTree::new([stage.source(source).flatten()]);
    let task = CountingWaker::new();
    let waker = task.waker();
    let mut cx = Context::from_waker(&waker);
    let (mut pending, mut items) = (0, Vec::new());
    loop {
        let before = stage.log().polls();
        task.take();
        let polled = merge.poll_next_unpin(&mut cx);
        // The poll that yields the item also polls for the one after it.
        assert!(stage.log().polls() - before <= 64);
        match polled {
            Poll::Ready(Some(item)) => items.push(item.unwrap()),
            Poll::Ready(None) => break,
            Poll::Pending => {
                pending += 1;
                assert_eq!(task.take(), 1, "pending, and not woken");
            }
        }
    }
    assert_eq!((items, pending), (vec![7], 1_000 / 32 + (100 - 32) / 32));
    stage.log().assert_closed();
}

/// Lends its one block, and is not asked for another before that is back, nor closed.
struct Lender {
    lent: Rc<()>,
    next: u64,
}

struct Lent(Rc<()>, u64);

impl IntoIterator for Lent {
    type Item = u64;
    type IntoIter = std::iter::Map<std::iter::Zip<std::ops::Range<u64>, std::iter::Repeat<Rc<()>>>, Part>;

    fn into_iter(self) -> Self::IntoIter {
        (self.1..self.1 + 3).zip(std::iter::repeat(self.0)).map(|(item, _)| item)
    }
}

type Part = fn((u64, Rc<()>)) -> u64;

impl Lender {
    fn assert_given_back(&self) {
        assert_eq!(Rc::strong_count(&self.lent), 1, "the block is still held");
    }
}

impl Source for Lender {
    type Item = Lent;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
        self.assert_given_back();
        self.next += 10;
        Poll::Ready((self.next < 100).then(|| Ok(Lent(Rc::clone(&self.lent), self.next))))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
        self.assert_given_back();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        self.assert_given_back();
    }
}

// F3
#[test]
fn a_block_is_dropped_before_the_source_is_asked_for_another_closed_or_dropped() {
    let merge =
        || ProxyResponseLoserTree::new((0..3).map(|next| Lender { lent: Rc::new(()), next }.flatten()));
    futures::executor::block_on(async {
        assert_eq!(merge().count().await, 3 * 9 * 3);
        for taken in 0..20 {
            let mut closed = merge();
            assert_eq!(closed.by_ref().take(taken).count().await, taken);
            closed.close().await.unwrap();
            let mut dropped = merge();
            assert_eq!(dropped.by_ref().take(taken).count().await, taken);
            drop(dropped);
        }
    });
}

#[test]
fn what_is_left_of_a_block_comes_back_with_its_source() {
    fn property(runs: Runs<u64>, seed: u64, taken: usize) -> bool {
        let random = &mut Random::seed(seed);
        let expected = merged(runs.as_slice());
        let taken = taken % (expected.len() + 1);
        let ledger = LeakLedger::sites();
        let all = all_blocks(&runs, random);
        let source = |blocks: Vec<Block>| from_stream(stream::iter(blocks.into_iter().map(Ok::<_, ()>)));
        let mut merge = ProxyResponseLoserTree::builder()
            .sources(all.into_iter().map(|blocks| source(blocks).flatten()))
            .ledger(&ledger)
            .build();
        let mut items: Vec<_> =
            futures::executor::block_on(merge.by_ref().take(taken).map(Result::unwrap).collect());
        let rest =
            merge.into_sources().into_iter().filter(|undrained| !undrained.has_ended).map(|undrained| {
                let (block, source) = undrained.source.into_parts();
                let stream: Vec<_> =
                    futures::executor::block_on(source.into_inner().map(Result::unwrap).collect());
                undrained.head.into_iter().chain(block.into_iter().flatten()).chain(stream.concat()).collect()
            });
        let rest: Vec<Vec<_>> = rest.collect();
        items.extend(losertree::merge_by(rest, |a, b| (a.key, a.source).cmp(&(b.key, b.source))));
        assert_eq!(items, expected);
        ledger.assert_balanced();
        true
    }
    quickcheck(property as fn(Runs<u64>, u64, usize) -> bool);
}

/// P2: a panic of a block source costs the items of that source only, and everything is released.
#[test]
fn a_block_source_that_panics_is_released() {
    silence_scripted_panics();
    for at in 0..4 {
        let stage = Stage::new();
        let mut bad = Script::of([vec![1_u64, 4], vec![], vec![6, 8]]);
        bad.steps.insert(at.min(3), Step::Panic);
        let sources = stage.sources([Script::of([vec![2, 3, 5, 7]]), bad]);
        let mut merge = ProxyResponseLoserTree::new(sources.into_iter().map(BlockSource::flatten));
        let mut driver = stage.driver(1);
        let run = driver.run(&mut merge);
        assert!(matches!(run.end, losertree_testkit::End::Panicked(_)), "{run:?}");
        assert!(driver.run(&mut merge).finished().is_empty());
        drop(merge);
        stage.log().assert_released();
    }
}

#[test]
fn a_stream_of_blocks_is_closed_by_its_function() {
    let ledger = LeakLedger::sites();
    let store = |blocks: Vec<Vec<u64>>| {
        let stream = stream::iter(blocks.into_iter().map(Ok::<_, Infallible>));
        closing(stream, |stream| async move {
            drop(stream);
            Ok(())
        })
        .flatten()
        .named("store")
    };
    let mut merge = ProxyResponseLoserTree::builder()
        .sources([store(vec![vec![1, 4], vec![9]]), store(vec![vec![], vec![2]])])
        .ledger(&ledger)
        .limit(3)
        .build();
    let items: Vec<_> = futures::executor::block_on(merge.by_ref().map(Result::unwrap).collect());
    assert_eq!((items, ledger.snapshot().closed), (vec![1, 2, 4], 2));
}
