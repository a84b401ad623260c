//! P16: time and memory depend on the sources that are open, not on those that ever were. Ties go by order of joining.

// A test fails by panicking, and its numbers are small.
#![allow(clippy::cast_possible_truncation)]

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use futures::executor::block_on;
use futures::{FutureExt, StreamExt};
use losertree::stream::{OrderCheck, PollClose, PollNext, SourceEnd};
use losertree::{LeakLedger, ProxyResponseLoserTree, Response, SortKey, Source, SourceError, Warning};
use losertree_testkit::{Comparisons, Item, Random, Script, Stage, TestError, Wake, assert_no_square};

/// A source of a few items that are there, which takes no memory besides.
struct Few<T>(std::array::IntoIter<T, 1>);

impl<T: Unpin> Source for Few<T> {
    type Item = T;
    type Error = Infallible;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
        Poll::Ready(self.0.next().map(Ok))
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
        Poll::Ready(Ok(()))
    }
}

fn one<T>(item: T) -> Few<T> {
    Few([item].into_iter())
}

/// Pushes so many sources of one item each to a merge in which `waiting` others wait, and one is taken for each that comes. Measures
/// what each tenth takes.
fn come_and_go<T: SortKey + Unpin, R>(
    sources: u64,
    waiting: u64,
    item: impl Fn(u64) -> T,
    measure: impl Fn(&mut dyn FnMut()) -> R,
) -> Vec<R> {
    let built = (0..waiting).map(|_| u64::MAX).chain([0]);
    let mut merge = ProxyResponseLoserTree::builder().sources(built.map(|key| one(item(key)))).build();
    let mut number = 0;
    let mut tenth = || {
        for _ in 0..sources / 10 {
            number += 1;
            assert_eq!(merge.push(one(item(number))).ok(), Some((number + waiting) as usize));
            assert!(block_on(merge.next()).is_some_and(|next| next.is_ok()));
        }
    };
    let tenths = (0..10).map(|_| measure(&mut tenth)).collect();
    let (stats, built) = (merge.stats(), waiting as usize + 1);
    assert_eq!(stats.items, sources);
    // Those of the builder, the last 64, and those of whom the places have not been let go.
    assert!((built + 64..built * 3 + 80).contains(&stats.sources.len()), "{}", stats.sources.len());
    assert!(stats.sources.is_sorted_by_key(|source| source.origin.index()));
    let listed = &stats.sources[built..];
    assert_eq!(stats.forgotten.sources + listed.len() as u64, sources);
    assert_eq!(listed.iter().map(|source| source.items).sum::<u64>() + stats.forgotten.items, sources);
    tenths
}

/// Memory by tenths: nothing is left of those that have gone, and the last ones take what the first ones did.
fn assert_flat(tenths: &[allocation_counter::AllocationInfo]) {
    for tenth in &tenths[2..] {
        assert_eq!(tenth.bytes_current, 0, "{tenths:?}");
        assert_eq!((tenth.bytes_max, tenth.count_total), (tenths[1].bytes_max, tenths[1].count_total));
    }
}

// F55
#[test]
fn a_million_sources_of_which_three_are_open_take_what_three_do() {
    assert_flat(&come_and_go(1_000_000, 1, |number| number, |work| allocation_counter::measure(work)));
}

#[test]
fn keys_that_are_bytes_take_what_those_do_that_are_there() {
    // Of one length, since a copy of the last key is kept.
    let key = |number: u64| {
        format!("{:020}", (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) / 2) | (number & (1 << 63)))
    };
    for waiting in [1, 2, 9] {
        assert_flat(&come_and_go(50_000, waiting, key, |work| allocation_counter::measure(work)));
    }
}

/// A key of bytes that counts how often they are read.
struct Read {
    bytes: [u8; 8],
    reads: Arc<AtomicUsize>,
}

impl SortKey for Read {
    const CODE_BITS: u32 = 0;
    const EXACT: bool = false;
    const PARTS: usize = 1;

    fn code(&self) -> u64 {
        0
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.reads.fetch_add(2, SeqCst);
        self.bytes.cmp(&other.bytes)
    }

    fn part(&self, _index: usize) -> &[u8] {
        self.reads.fetch_add(1, SeqCst);
        &self.bytes
    }
}

/// How often keys are compared, or read, for each source that comes and goes; the most of all tenths.
#[test]
fn a_push_plays_one_path() {
    let sources = 20_000;
    // Smaller than what waits; sometimes before, sometimes behind the one that waits to be taken.
    let value = |number: u64| if number == u64::MAX { number } else { number * 7_919 % 1_000 };
    for waiting in [1, 2, 3, 7, 15, 100, 1_000] {
        let levels = usize::try_from((waiting + 2_u64).next_power_of_two().ilog2()).unwrap();
        let comparisons = Comparisons::new();
        let counted = come_and_go(
            sources,
            waiting,
            |number| comparisons.key(value(number)),
            |work| {
                comparisons.take();
                work();
                comparisons.take() / 2_000
            },
        );
        // What waits, what has come and what has been taken, and places that have not been let go: one level more.
        assert!(counted.iter().all(|count| *count <= 4 * (levels + 1) + 2), "{waiting}: {counted:?}");

        let reads = Arc::new(AtomicUsize::new(0));
        let item = |number| Read { bytes: value(number).to_be_bytes(), reads: reads.clone() };
        let counted = come_and_go(sources, waiting, item, |work| {
            reads.store(0, SeqCst);
            work();
            reads.load(SeqCst) / 2_000
        });
        assert!(counted.iter().all(|count| *count <= 2 * 4 * (levels + 1) + 10), "{waiting}: {counted:?}");
    }
}

/// Sources join at random: what comes next is the smallest head of those that are open, and of equal ones that of the source that
/// joined first, also after places were let go.
#[test]
fn ties_go_by_order_of_joining() {
    for seed in 0..300 {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        // One that lasts to the end, so that the merge does not end before.
        let mut model = vec![VecDeque::from([Item::new(u64::MAX, 0, 0)])];
        let lasting = stage.source(Script::of(model[0].clone()));
        let ledger = LeakLedger::sites();
        let builder = ProxyResponseLoserTree::builder().source(lasting).ledger(&ledger).kept_stats(3);
        let is_checked = random.chance(0.5);
        let mut merge =
            if is_checked { builder.order_check(OrderCheck::Fail).build() } else { builder.build() };
        let mut driver = stage.driver(seed);
        for _ in 0..100 {
            if random.chance(0.6) {
                let index = model.len();
                let mut keys: Vec<_> = (0..random.below(4)).map(|_| random.next_u64() % 3).collect();
                keys.sort_unstable();
                let run: Vec<_> =
                    keys.into_iter().enumerate().map(|(at, key)| Item::new(key, index, at)).collect();
                let source = stage.source(Script::of(run.clone()).with_pauses(random, 0.2));
                assert_eq!(merge.push(source).ok(), Some(index));
                model.push(run.into());
            }
            let smallest =
                model.iter().filter_map(|run| run.front()).min_by_key(|head| (head.key, head.source));
            let expected = *smallest.unwrap();
            if expected.source == 0 {
                continue;
            }
            model[expected.source].pop_front();
            let next = driver.complete(merge.next_with_source()).expect("it comes");
            assert_eq!(next, Some(Ok((expected.source, expected))));
        }
        let stats = merge.stats();
        // The last three that are gone, those that are open, and some whose places have not been let go.
        assert!(stats.sources.len() < 40, "{}", stats.sources.len());
        assert_eq!(driver.complete(merge.close()), Ok(Ok(())));
        stage.log().assert_closed();
        ledger.assert_all_closed();
    }
}

/// Whatever becomes of sources that join and go, each is closed once, and told of.
#[test]
fn sources_that_fail_or_are_slow_to_close_hold_nobody_up() {
    for seed in 0..100 {
        let random = &mut Random::seed(seed);
        let stage = Stage::new();
        let lasting = stage.source(Script::of([Item::new(u64::MAX, 0, 0)]));
        let mut merge = ProxyResponseLoserTree::builder()
            .source(lasting)
            .warn_with(|error: SourceError<TestError>| Item::new(7, error.path().index().unwrap(), 0))
            .build();
        let mut driver = stage.driver(seed);
        let (mut failed, mut slow) = (0, 0);
        for index in 1..200 {
            let script = Script::of([Item::new(1, index, 0)]);
            let script = match random.below(4) {
                0 => {
                    failed += 1;
                    script.fail()
                }
                1 => {
                    slow += 1;
                    script.close_pending(Wake::Never)
                }
                _ => script.close_pending(Wake::AtOnce),
            };
            assert_eq!(merge.push(stage.source(script)).ok(), Some(index));
            let next = driver.run_up_to(&mut merge, 1).oks();
            assert!(next[0].key < u64::MAX);
        }
        // The warnings that were not yielded yet.
        let run = driver.run_up_to(&mut merge, failed);
        assert!(run.items.iter().all(Result::is_ok));
        let stats = merge.stats();
        let open = stats.sources.iter().filter(|source| source.end.is_none()).count();
        assert!(open > slow && open <= slow + 10, "{open} of {slow}");
        let failures = stats.sources.iter().filter(|source| source.end == Some(SourceEnd::Failed)).count();
        assert_eq!(failures as u64 + stats.forgotten.failed, failed as u64);
        assert!(stats.is_partial);
        drop(merge);
        stage.log().assert_released();
    }
}

/// A merge whose sources all panic while they are closed takes its time for each of them, and not for all whenever one does.
#[test]
fn sources_that_panic_do_not_cost_the_square() {
    struct Panics;
    impl Source for Panics {
        type Item = u64;
        type Error = Infallible;
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
            Poll::Pending
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
            // Without the report of the panic hook.
            resume_unwind(Box::new("as asked for"))
        }
    }
    let merge = |sources| ProxyResponseLoserTree::new((0..sources).map(|_| Panics));
    assert_no_square(4_000, merge, |mut merge| {
        let mut panics = 0;
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| block_on(merge.close()))) {
            drop(panic);
            panics += 1;
        }
        assert_eq!(panics, merge.stats().sources.len());
        merge
    });
}

/// Sources of which each has something waiting that takes no part in the order are handed back in a time that grows with their number.
#[test]
fn handing_back_sources_that_have_something_to_say_does_not_cost_the_square() {
    let merge = |sources: usize| {
        let says = || losertree::from_iter([Response::from(Warning::new("slow"))]);
        let mut merge = ProxyResponseLoserTree::new((0..sources).map(|_| says()));
        // Each poll comes to 128 sources, and yields one warning; the others wait.
        for _ in 0..sources.div_ceil(128) {
            drop(merge.next().now_or_never());
        }
        merge
    };
    assert_no_square(4_000, merge, |merge| {
        let undrained = merge.into_sources();
        assert!(undrained.iter().filter(|source| source.head.is_some()).count() > undrained.len() / 2);
        undrained
    });
}
