//! P13: comparators and sources that panic, at every point. No item is lost or repeated: the merge can be
//! continued, or gives back all that it holds.

use std::cmp::Ordering;

use losertree::key::By;
use losertree::merge::Undrained;
use losertree::stream::SourceEnd;
use losertree::tree::LoserTree;
use losertree::{ProxyResponseLoserTree, SortKey, merge, merge_by, merge_by_key, try_merge_with};
use losertree_testkit::{
    Comparisons, End, Item, Random, Runs, Script, Stage, assert_merged, inputs, merged, panic_at,
};
use quickcheck::{Gen, QuickCheck};

use crate::panics::{caught, drained, quiet};
use crate::probe::{Books, Probe, assert_complete};

type Items = Vec<Item<u64>>;

fn natural(a: &Item<u64>, b: &Item<u64>) -> Ordering {
    a.compare(b)
}

/// A comparator that panics in its `n`-th call, and in no other.
fn panic_once(n: usize) -> impl FnMut(&Item<u64>, &Item<u64>) -> Ordering {
    let mut calls = 0;
    move |a, b| {
        calls += 1;
        assert!(calls != n, "the comparator panics as asked, in call {calls}");
        natural(a, b)
    }
}

/// Takes items until the end, and calls again after a panic; returns how many panics there were.
fn persevere(mut next: impl FnMut() -> Option<Item<u64>>) -> (Items, usize) {
    let (mut out, mut panics) = (Vec::new(), 0);
    loop {
        match caught(&mut next) {
            Some(Some(item)) => out.push(item),
            Some(None) => return (out, panics),
            None => panics += 1,
        }
    }
}

/// Calls a check with small runs, and each number up to that of the comparisons that a merge of them takes.
fn for_each_comparison(check: fn(&Runs<u64>, usize)) {
    quiet();
    let property = move |runs: Runs<u64>| {
        let comparisons = Comparisons::new();
        let merge = merge_by(runs.clone().into_vec(), comparisons.counting(natural));
        assert_eq!(merge.count(), runs.items());
        for n in 1..=comparisons.count() {
            check(&runs, n);
        }
        true
    };
    for runs in [vec![vec![1, 4], vec![2, 2], vec![], vec![2, 9], vec![0]], vec![vec![3; 4]; 9]] {
        assert!(property(Runs::from_keys(runs)));
    }
    for seed in 0..40 {
        let runs = Runs::random(&mut Random::seed(seed), 12);
        assert!(property(runs));
    }
}

#[test]
fn a_merge_goes_on_after_its_comparator_panicked() {
    for_each_comparison(|runs, n| {
        let mut merge = merge_by(runs.clone().into_vec(), panic_once(n));
        let (out, panics) = persevere(|| merge.next());
        assert_merged(&out, runs.as_slice());
        assert_eq!(panics, 1);

        let mut merge = merge_by(runs.clone().into_vec(), panic_once(n));
        let (out, panics) = persevere(|| {
            let peeked = merge.peek().copied();
            let item = merge.next();
            assert_eq!(item, peeked);
            item
        });
        assert_merged(&out, runs.as_slice());
        assert_eq!(panics, 1);

        let fallible = runs.as_slice().iter().map(|run| run.iter().copied().map(Ok::<_, ()>));
        let mut merge = try_merge_with(fallible, By::new(panic_once(n)));
        let (out, panics) = persevere(|| merge.next().map(Result::unwrap));
        assert_merged(&out, runs.as_slice());
        assert_eq!(panics, 1);
    });
}

/// In a streak an item passes by the tournament, but not while its code is being asked for.
#[test]
fn a_merge_goes_on_after_a_code_panicked_in_a_streak() {
    quiet();
    for sources in [1, 2, 3, 5, 20] {
        let runs = Runs::from_keys(inputs::long_runs(1, sources, 200));
        // One code for each item.
        for n in 1..=runs.items() {
            let mut calls = 0;
            let mut merge = merge_by_key(runs.as_slice().to_vec(), |item: &Item<u64>| {
                calls += 1;
                assert!(calls != n, "the key panics as asked, in call {calls}");
                item.key
            });
            let (out, panics) = persevere(|| merge.next());
            assert_merged(&out, runs.as_slice());
            assert_eq!(panics, 1);
        }
    }
}

fn rest(undrained: Vec<Undrained<Probe<Item<u64>>, Item<u64>>>) -> Items {
    undrained.into_iter().flat_map(|it| it.head.into_iter().chain(it.source)).collect()
}

#[test]
fn a_merge_whose_comparator_panics_for_ever_gives_all_back() {
    for_each_comparison(|runs, n| {
        let books = Books::default();
        let mut merge = merge_by(books.sources(runs.as_slice().to_vec()), panic_at(n, natural));
        let mut out = Vec::new();
        while let Some(next) = caught(|| merge.next()) {
            out.push(next.expect("it panics before the end"));
        }
        // Asking again neither helps nor harms.
        assert!(caught(|| merge.peek().copied()).is_none());
        out.extend(rest(merge.into_sources()));
        assert_complete(&out, runs.as_slice());
        assert_eq!(books.dropped().len(), runs.sources());
    });
}

/// F26: dropping compares nothing, so it cannot panic.
#[test]
fn a_merge_whose_comparator_panics_releases_its_sources() {
    for_each_comparison(|runs, n| {
        let books = Books::default();
        let merge = merge_by(books.sources(runs.as_slice().to_vec()), panic_at(n, natural));
        let mut out = Vec::new();
        assert!(caught(|| merge.for_each(|item| out.push(item))).is_none());
        assert_eq!(books.dropped().len(), runs.sources());
        assert_eq!(out, merged(runs.as_slice())[..out.len()]);

        let books = Books::default();
        let mut merge = merge_by(books.sources(runs.as_slice().to_vec()), panic_at(n, natural));
        while caught(|| merge.next()).is_some() {}
        drop(merge);
        assert_eq!(books.dropped().len(), runs.sources());
    });
}

#[test]
fn a_tree_goes_on_after_its_order_panicked() {
    for_each_comparison(|runs, n| {
        let mut sources: Vec<_> = runs.as_slice().iter().map(|run| run.iter().copied()).collect();
        // The first half from the start, the others pushed later; each question may be what panics.
        let half = sources.len() / 2;
        let heads: Vec<_> = sources[..half].iter_mut().map(Iterator::next).collect();
        let mut tree = caught(|| LoserTree::new(By::new(panic_once(n)), heads)).expect("no comparison");
        caught(|| tree.settle());
        for source in &mut sources[half..] {
            let head = source.next();
            caught(|| tree.push(head)).expect("no comparison");
            caught(|| tree.runner_up().map(|_| ()));
        }
        let (out, panics) = persevere(|| {
            tree.runner_up();
            let (source, winner) = tree.winner().map(|(source, head)| (source, *head))?;
            let head = sources[source].next();
            // The winner is known, so taking it plays nothing.
            let taken = caught(|| tree.set_head(source, head)).expect("no comparison");
            assert_eq!(taken, Some(winner));
            taken
        });
        assert!(panics <= 1);
        assert_merged(&out, runs.as_slice());

        let mut sources: Vec<_> = runs.as_slice().iter().map(|run| run.iter().copied()).collect();
        let heads = sources.iter_mut().map(Iterator::next);
        let mut tree = LoserTree::new(By::new(panic_at(n, natural)), heads);
        let mut out = Vec::new();
        while let Some((source, item)) = caught(|| tree.pop()).flatten() {
            out.push(item);
            tree.set_head(source, sources[source].next());
        }
        out.extend(tree.into_heads().into_iter().flatten());
        out.extend(sources.into_iter().flatten());
        assert_complete(&out, runs.as_slice());
    });
}

/// Makes sources, one of which panics when asked for the item at this place.
fn with_panicking(books: &Books, runs: &Runs<u64>, panicking: usize, place: usize) -> Vec<Probe<Item<u64>>> {
    let sources = books.sources(runs.as_slice().to_vec()).into_iter();
    sources
        .map(|source| if source.index == panicking { source.panicking_at(place) } else { source })
        .collect()
}

/// The source panics when asked for one of its items or for its end, and goes on when asked again.
#[test]
fn a_merge_goes_on_after_a_source_panicked() {
    fn property(runs: Runs<u64>) -> bool {
        quiet();
        for panicking in 0..runs.sources() {
            for place in 0..=runs.as_slice()[panicking].len() {
                let books = Books::default();
                let mut stepwise = merge(with_panicking(&books, &runs, panicking, place));
                let (out, panics) = persevere(|| stepwise.next());
                assert_merged(&out, runs.as_slice());
                assert_eq!(panics, 1);

                let books = Books::default();
                let folded = merge(with_panicking(&books, &runs, panicking, place));
                let mut out = Vec::new();
                assert!(caught(|| folded.for_each(|item| out.push(item))).is_none());
                assert_eq!(out, merged(runs.as_slice())[..out.len()]);
                assert_eq!(books.dropped().len(), runs.sources());
            }
        }
        true
    }
    QuickCheck::new().rng(Gen::new(10)).tests(30).quickcheck(property as fn(Runs<u64>) -> bool);
}

#[test]
fn an_async_merge_whose_comparator_panics_gives_all_back_or_closes_all() {
    for_each_comparison(|runs, n| {
        for gives_back in [false, true] {
            let stage = Stage::new();
            let sources = stage.sources(runs.as_slice().iter().map(|run| Script::of(run.clone())));
            let order = By::new(panic_at(n, natural));
            let mut merge = ProxyResponseLoserTree::builder().sources(sources).order(order).build();
            let run = stage.driver(1).run(&mut merge);
            assert!(matches!(run.end, End::Panicked(_)), "{:?}", run.end);
            let mut out: Items = run.items.into_iter().map(Result::unwrap).collect();
            assert_eq!(out, merged(runs.as_slice())[..out.len()]);
            if gives_back {
                for it in merge.into_sources() {
                    assert!(!it.has_ended);
                    out.extend(it.head);
                    out.extend(drained(it.source));
                }
                assert_complete(&out, runs.as_slice());
            } else {
                assert!(merge.push(stage.source(Script::new())).is_err());
                assert_eq!(stage.driver(1).run(&mut merge).ok(), []);
                let ends = merge.stats().sources;
                assert!(ends.iter().all(|source| source.end != Some(SourceEnd::Panicked)));
                stage.log().assert_released();
                let closed = stage.log().sources();
                assert!(closed[..runs.sources()].iter().all(|figures| !figures.dropped_unclosed()));
            }
        }
    });
}
