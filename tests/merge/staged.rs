//! Sources that are read ahead: the same items, and nothing lost on the way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use losertree::{merge, merge_by, try_merge_with};
use losertree_testkit::{Item, Runs, assert_merged, merged, silence_scripted_panics};
use quickcheck::quickcheck;

use crate::probe::Books;

fn by_key(a: &Item<u64>, b: &Item<u64>) -> std::cmp::Ordering {
    a.key.cmp(&b.key)
}

#[test]
fn the_output_is_the_same() {
    fn property(runs: Runs<u64>, items: usize, taken: usize) -> bool {
        let items = [0, 1, 2, items % 100, usize::MAX][items % 5];
        let taken = taken % (runs.items() + 1);
        // From the start, from any later place, staged twice, and folded.
        let mut plain = merge(runs.clone().into_vec());
        let mut out: Vec<_> = plain.by_ref().take(taken).collect();
        out.extend(plain.staged(items));
        assert_merged(&out, runs.as_slice());
        assert_merged(
            &merge_by(runs.clone().into_vec(), by_key).staged(items).collect::<Vec<_>>(),
            runs.as_slice(),
        );
        let mut out = Vec::new();
        let mut twice = merge(runs.clone().into_vec()).staged(items).staged(3);
        out.extend(twice.by_ref().take(taken));
        twice.for_each(|item| out.push(item));
        assert_merged(&out, runs.as_slice());
        true
    }
    quickcheck(property as fn(Runs<u64>, usize, usize) -> bool);
}

/// P11, with its own bound: K · `items` + n.
#[test]
fn a_source_is_read_in_stretches_and_only_when_one_is_used_up() {
    fn property(runs: Runs<u64>, items: u8) -> bool {
        let books = Books::default();
        let mut merge = merge(books.sources(runs.as_slice().to_vec())).staged(items.into());
        assert_eq!(books.total(), 0);
        let items = usize::from(items).max(1);
        let mut taken = vec![0; runs.sources()];
        for (count, item) in (1..).zip(merge.by_ref()) {
            taken[item.source] += 1;
            for (source, (run, pulled)) in runs.as_slice().iter().zip(books.pulled()).enumerate() {
                // The source of the last item has not been asked for its successor.
                let asked = taken[source] + usize::from(source != item.source);
                assert_eq!(pulled, run.len().min(asked.next_multiple_of(items)));
            }
            assert!(books.total() <= items * runs.sources() + count);
        }
        // The probes panic if they are asked again.
        assert_eq!((merge.next(), merge.peek()), (None, None));
        books.dropped().len() == runs.sources()
    }
    quickcheck(property as fn(Runs<u64>, u8) -> bool);
}

#[test]
fn a_source_is_dropped_the_moment_it_ends() {
    let books = Books::default();
    let mut merge = merge(books.sources([vec![1, 5], vec![2, 3, 4]])).staged(4);
    assert_eq!((merge.next(), books.ended(), books.dropped()), (Some(1), vec![0, 1], vec![0, 1]));
    assert!(merge.eq(2..6));
}

#[test]
fn what_was_read_ahead_comes_back_with_its_source() {
    fn property(runs: Runs<u64>, items: u8, taken: usize, peeks: bool) -> bool {
        let expected = merged(runs.as_slice());
        let mut merge = merge(runs.clone().into_vec()).staged(items.into());
        let mut out: Vec<_> = merge.by_ref().take(taken % (expected.len() + 1)).collect();
        if peeks {
            merge.peek();
        }
        let rest: Vec<Vec<_>> = merge
            .into_sources()
            .into_iter()
            .map(|undrained| undrained.head.into_iter().chain(undrained.source).collect())
            .collect();
        for rest in &rest {
            assert!(rest.is_sorted_by_key(|item| item.sequence));
        }
        out.extend(merge_by(rest, |a, b| (a.key, a.source).cmp(&(b.key, b.source))));
        out == expected
    }
    quickcheck(property as fn(Runs<u64>, u8, usize, bool) -> bool);
}

#[test]
fn size_hints_are_exact_and_clones_independent() {
    fn property(runs: Runs<u64>, items: u8) -> bool {
        let expected = merged(runs.as_slice());
        let mut merge = merge(runs.as_slice().iter().map(|run| run.iter().copied())).staged(items.into());
        for taken in 0..=expected.len() {
            let left = expected.len() - taken;
            assert_eq!(merge.size_hint(), (left, Some(left)));
            if taken % 7 == 3 {
                assert_eq!(merge.clone().collect::<Vec<_>>(), expected[taken..]);
            }
            assert_eq!(merge.next().as_ref(), expected.get(taken));
        }
        (merge.next(), merge.size_hint()) == (None, (0, Some(0)))
    }
    quickcheck(property as fn(Runs<u64>, u8) -> bool);
    let mut endless = merge([0_u64.., 5..]).staged(16);
    endless.next();
    assert_eq!(endless.size_hint(), (usize::MAX, None));
}

#[test]
fn a_panic_while_reading_ahead_costs_no_item() {
    fn property(runs: Runs<u64>, items: u8, places: Vec<u8>) -> bool {
        let books = Books::default();
        let sources = runs.as_slice().iter().enumerate().map(|(index, run)| {
            let source = books.source(run.clone());
            match places.get(index) {
                Some(place) => source.panicking_at(usize::from(*place) % (run.len() + 1)),
                None => source,
            }
        });
        let mut merge = merge(sources.collect::<Vec<_>>()).staged(items.into());
        let mut out = Vec::new();
        loop {
            match catch_unwind(AssertUnwindSafe(|| merge.next())) {
                Ok(Some(item)) => out.push(item),
                Ok(None) => break,
                Err(_) => {}
            }
        }
        assert_merged(&out, runs.as_slice());
        true
    }
    silence_scripted_panics();
    quickcheck(property as fn(Runs<u64>, u8, Vec<u8>) -> bool);
}

/// The error comes where it comes without reading ahead.
#[test]
fn an_error_keeps_its_place() {
    fn property(runs: Runs<u64>, items: u8, places: Vec<u8>) -> bool {
        let results = || {
            runs.as_slice().iter().enumerate().map(|(index, run)| {
                let place = places.get(index).map(|place| usize::from(*place));
                run.iter().map(move |item| if place == Some(item.sequence) { Err(index) } else { Ok(*item) })
            })
        };
        let order = || losertree::key::By::new(by_key);
        let plain: Vec<_> = try_merge_with(results(), order()).collect();
        let staged: Vec<_> = try_merge_with(results(), order()).staged(items.into()).collect();
        plain == staged
    }
    quickcheck(property as fn(Runs<u64>, u8, Vec<u8>) -> bool);
}
