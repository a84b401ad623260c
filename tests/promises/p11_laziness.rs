//! P11: constructors pull nothing, and after n items at most K + n have been pulled. A source is dropped
//! when it ends, and not asked again.

use losertree::key::{By, ByKey, Natural, Reversed};
use losertree::stream::OrderCheck;
use losertree::{ProxyResponseLoserTree, SortKey, merge, merge_by, merge_by_key, merge_with, try_merge};
use losertree_testkit::{End, Item, Random, Runs, Script, Stage, Wake, assert_merged, inputs, merged};
use quickcheck::quickcheck;

use crate::probe::Books;

/// What must have been pulled from each source after these items are out: its items and one more, which is
/// its head, save that the source of the last item has not been asked for a head yet.
fn pulled_after<K>(runs: &[Vec<Item<K>>], out: &[Item<K>]) -> Vec<usize> {
    let Some(last) = out.last() else { return vec![0; runs.len()] };
    let taken = |source| out.iter().filter(|item| item.source == source).count();
    let pulled =
        |(source, run): (usize, &Vec<_>)| run.len().min(taken(source) + usize::from(source != last.source));
    runs.iter().enumerate().map(pulled).collect()
}

#[test]
fn constructors_pull_nothing() {
    let books = Books::default();
    let sources = || books.sources([vec![1], vec![], vec![2, 3]]);
    drop(merge(sources()));
    drop(merge_by(sources(), Ord::cmp));
    drop(merge_by_key(sources(), |item| *item));
    drop(merge_with(sources(), Reversed(Natural)));
    drop(merge(sources()).dedup());
    drop(merge(sources()).dedup_by(|a, b| a == b));
    drop(merge(sources()).coalesce(|sum, item| *sum += item));
    let fallible = sources().into_iter().map(|source| source.map(Ok::<_, ()>));
    drop(try_merge(fallible));
    assert_eq!(merge(sources()).next_block(&mut Vec::new(), 0), 0);
    assert_eq!(merge(sources()).size_hint(), (3, Some(3)));
    assert_eq!(merge(sources()).into_sources().len(), 3);
    assert_eq!((books.total(), books.ended().len()), (0, 0));
}

#[test]
fn each_item_pulls_its_predecessors_successor_and_no_more() {
    fn property(runs: Runs<u64>) -> bool {
        let books = Books::default();
        let mut merge = merge(books.sources(runs.clone().into_vec()));
        let mut out = Vec::new();
        while let Some(item) = merge.next() {
            out.push(item);
            assert_eq!(books.pulled(), pulled_after(runs.as_slice(), &out));
            assert!(books.total() <= runs.sources() + out.len());
            merge.size_hint();
            assert_eq!(books.pulled(), pulled_after(runs.as_slice(), &out));
        }
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
}

#[test]
fn a_block_pulls_what_its_items_would_have_and_no_more() {
    fn property(runs: Runs<u64>, max: u8) -> bool {
        let books = Books::default();
        let mut merge = merge(books.sources(runs.clone().into_vec()));
        let (mut out, max) = (Vec::new(), usize::from(max) + 1);
        while merge.next_block(&mut out, max) == max {
            assert_eq!(books.pulled(), pulled_after(runs.as_slice(), &out));
        }
        assert_merged(&out, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<u64>, u8) -> bool);
    let runs = Runs::from_keys(inputs::long_runs(1, 4, 400));
    assert!(property(runs, 6));
}

#[test]
fn a_streak_pulls_no_more() {
    for sources in [2, 3, 5, 20] {
        let runs = Runs::from_keys(inputs::long_runs(1, sources, 400));
        let books = Books::default();
        let mut out = Vec::new();
        for item in merge(books.sources(runs.as_slice().to_vec())) {
            out.push(item);
            assert_eq!(books.pulled(), pulled_after(runs.as_slice(), &out));
        }
        assert_merged(&out, runs.as_slice());
    }
}

#[test]
fn peeking_pulls_what_the_next_item_would_have_and_no_more() {
    fn property(runs: Runs<String>) -> bool {
        let (books, plain_books) = (Books::default(), Books::default());
        let mut peeking = merge(books.sources(runs.clone().into_vec()));
        let mut plain = merge(plain_books.sources(runs.into_vec()));
        loop {
            let peeked = peeking.peek().cloned();
            let at_peek = books.pulled();
            assert_eq!(peeking.peek().cloned(), peeked);
            let (item, expected) = (peeking.next(), plain.next());
            assert_eq!((&item, &peeked), (&expected, &expected));
            assert_eq!(at_peek, plain_books.pulled());
            assert_eq!(books.pulled(), at_peek);
            if item.is_none() {
                return true;
            }
        }
    }
    quickcheck(property as fn(Runs<String>) -> bool);
}

#[test]
fn a_source_is_dropped_the_moment_it_ends() {
    fn property(runs: Runs<u64>) -> bool {
        let books = Books::default();
        let mut merge = merge(books.sources(runs.clone().into_vec()));
        while merge.next().is_some() {
            assert_eq!(books.dropped(), books.ended());
        }
        assert_eq!(books.dropped().len(), runs.sources());
        // The probes panic if they are asked again.
        assert_eq!((merge.next(), merge.peek()), (None, None));
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
}

#[test]
fn a_fold_asks_no_source_again_and_drops_each_at_its_end() {
    fn property(runs: Runs<u64>, taken: u8) -> bool {
        let books = Books::default();
        let mut merge = merge(books.sources(runs.clone().into_vec()));
        let taken = merge.by_ref().take(usize::from(taken)).count();
        let rest = merge.fold(0, |count, _| {
            assert_eq!(books.dropped(), books.ended());
            assert!(books.total() <= runs.sources() + taken + count + 1);
            count + 1
        });
        assert_eq!(taken + rest, runs.items());
        assert_eq!(books.dropped().len(), runs.sources());
        true
    }
    quickcheck(property as fn(Runs<u64>, u8) -> bool);
}

#[test]
fn the_others_are_dropped_with_the_merge_in_source_order() {
    let books = Books::default();
    let mut merge = merge(books.sources([vec![5, 6], vec![1], vec![], vec![2, 3], vec![9]]));
    assert_eq!((merge.next(), merge.next()), (Some(1), Some(2)));
    assert_eq!(books.dropped(), [2, 1]);
    drop(merge);
    assert_eq!(books.dropped(), [2, 1, 0, 3, 4]);
}

/// An infinite source is fine, and so is one that is never reached.
#[test]
fn sources_may_be_endless() {
    let mut merge = merge([Box::new(0_u64..) as Box<dyn Iterator<Item = u64>>, Box::new(5..7)]);
    assert_eq!(merge.by_ref().take(9).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 5, 6, 6]);
    assert_eq!(merge.size_hint(), (usize::MAX, None));
}

#[test]
fn deduplication_reads_one_item_ahead() {
    fn property(runs: Runs<u64>) -> bool {
        let books = Books::default();
        let all = merged(runs.as_slice());
        let dedup = merge(books.sources(runs.clone().into_vec())).dedup();
        let mut first = 0;
        for item in dedup {
            assert_eq!(item, all[first]);
            let next = first + all[first..].iter().take_while(|next| next.key == item.key).count();
            // All of the run, and the first of the next run, which is held back.
            let read = all.len().min(next + 1);
            let mut pulled = pulled_after(runs.as_slice(), &all[..read]);
            if next == all.len() {
                // There was none, which it takes asking all to know.
                pulled = runs.as_slice().iter().map(Vec::len).collect();
            }
            assert_eq!(books.pulled(), pulled);
            first = next;
        }
        assert_eq!(first, all.len());
        true
    }
    quickcheck(property as fn(Runs<u64>) -> bool);
}

#[test]
fn a_failing_source_stops_the_pulling() {
    let books = Books::default();
    let runs = [vec![Ok(1), Ok(9)], vec![Ok(2), Err("gone"), Ok(3)], vec![Ok(4)]];
    let mut merge = try_merge(books.sources(runs));
    assert_eq!((merge.next(), merge.next()), (Some(Ok(1)), Some(Ok(2))));
    assert_eq!(books.pulled(), [2, 1, 1]);
    assert!(merge.next().unwrap().is_err());
    assert_eq!((books.pulled(), books.dropped()), (vec![2, 2, 1], vec![0, 1, 2]));
    assert!(merge.next().is_none());
    assert_eq!(books.pulled(), [2, 2, 1]);
}

#[test]
fn a_failure_at_the_start_spares_the_later_sources() {
    let books = Books::default();
    let runs = [vec![Ok(1)], vec![Err("gone")], vec![Ok(4)]];
    assert!(try_merge(books.sources(runs)).next().unwrap().is_err());
    assert_eq!(books.pulled(), [1, 1, 0]);
}

#[test]
fn the_async_merge_polls_nothing_before_it_is_polled() {
    let stage = Stage::new();
    let scripts = || (0..40).map(|item: u64| Script::of([item]).named("store"));
    drop(ProxyResponseLoserTree::new(stage.sources(scripts())));
    let builder = || ProxyResponseLoserTree::builder().sources(stage.sources(scripts()));
    drop(builder().limit(3).build());
    drop(builder().order(By::new(u64::cmp)).build());
    drop(builder().order(ByKey::new(|item: &u64| *item)).order_check(OrderCheck::Fail).build());
    let mut merge = builder().build();
    merge.push(stage.source(Script::of([3]))).unwrap();
    let _ = (merge.stats(), format!("{merge:?}"), merge.next_with_source());
    drop(merge.next_ready(&mut Vec::new(), 5));
    drop(merge);
    drop(builder().build().into_sources());
    assert_eq!(stage.log().polls(), 0);
    stage.log().assert_released();
}

#[test]
fn the_async_merge_pulls_at_most_one_item_ahead_of_each_source() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), 0.3);
        let mut merge = ProxyResponseLoserTree::new(sources);
        let mut driver = stage.driver(seed);
        for out in 1..=runs.items() {
            assert_eq!(driver.run_up_to(&mut merge, 1).items.len(), 1);
            assert!(stage.log().items() <= runs.sources() + out, "{out} yielded");
        }
        // Checked sources report a poll after the end.
        assert_eq!(driver.run(&mut merge).finished().len(), 0);
        stage.log().assert_closed();
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

#[test]
fn blocks_of_the_async_merge_pull_at_most_one_item_ahead_of_each_source() {
    fn property(runs: Runs<u64>, seed: u64) -> bool {
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), 0.1);
        let mut merge = ProxyResponseLoserTree::new(sources);
        let mut driver = stage.driver(seed);
        let mut out = Vec::new();
        while let Ok(Ok(1..)) = driver.complete(merge.next_ready(&mut out, 9)) {
            assert!(stage.log().items() <= runs.sources() + out.len());
        }
        assert_merged(&out, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<u64>, u64) -> bool);
}

#[test]
fn up_to_a_limit_the_last_item_pulls_nothing() {
    fn property(runs: Runs<u64>, seed: u64, limit: u8) -> bool {
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), 0.3);
        let mut merge = ProxyResponseLoserTree::builder().sources(sources).limit(limit.into()).build();
        let out = stage.driver(seed).run(&mut merge).ok();
        let limit = usize::from(limit);
        assert_eq!(out.len(), limit.min(runs.items()));
        let most = if limit == 0 { 0 } else { runs.sources() + limit - 1 };
        assert!(stage.log().items() <= most, "limit {limit}: {} pulled", stage.log().items());
        stage.log().assert_closed();
        true
    }
    quickcheck(property as fn(Runs<u64>, u64, u8) -> bool);
}

/// While a source is waited for, the others are left alone.
#[test]
fn waiting_for_one_source_pulls_nothing_from_the_others() {
    let stage = Stage::new();
    let mut merge = ProxyResponseLoserTree::new(stage.sources([
        Script::of([1, 2, 3]),
        Script::new().item(1).pending(Wake::Never).item(2),
        Script::of([5, 6]),
    ]));
    // The two ones are known to be the smallest; what comes after them is not.
    let run = stage.driver(1).restless(0.5).run(&mut merge);
    let out: Vec<_> = run.items.into_iter().map(Result::unwrap).collect();
    assert_eq!((out, run.end), (vec![1, 1], End::Deadlock { stuck: vec![1] }));
    let items: Vec<_> = stage.log().sources().iter().map(|figures| figures.items).collect();
    assert_eq!(items, [2, 1, 1]);
}

/// A key is asked for its code when its item is there, not before.
#[test]
fn keys_are_not_compared_before_they_are_needed() {
    struct Unwanted;
    impl SortKey for Unwanted {
        const CODE_BITS: u32 = 0;
        const EXACT: bool = false;

        fn code(&self) -> u64 {
            panic!("nobody has asked")
        }

        fn compare(&self, _other: &Self) -> std::cmp::Ordering {
            panic!("nobody has asked")
        }
    }
    let merge = merge([vec![Unwanted], vec![Unwanted]]);
    assert_eq!(merge.size_hint(), (2, Some(2)));
    assert_eq!(merge.into_sources().len(), 2);
}
