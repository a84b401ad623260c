//! Faults that were found and mended: each of these tests has failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use losertree::{Phase, ProxyResponseLoserTree, merge, merge_by, try_merge};
use losertree_testkit::{Comparisons, End, Script, Stage};

fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// P13. The lower bound of an endless merge is `usize::MAX`, and the item held back is added to it.
#[test]
fn the_size_hint_of_deduplication_overflows() {
    let mut dedup = merge([0_u64..]).dedup();
    dedup.next();
    assert_eq!(dedup.size_hint(), (1, None));
}

/// P13: "comparator that panics: no item lost". The item has left the merge when it is compared with the one
/// held back, by value, and is dropped by the unwinding.
#[test]
fn a_comparator_that_panics_costs_deduplication_an_item() {
    let comparisons = Comparisons::new();
    let merge = || {
        let seen = comparisons.clone();
        let mut counting = comparisons.counting(u64::cmp);
        merge_by([[1_u64, 2, 3, 4]], move |a: &u64, b: &u64| {
            let order = counting(a, b);
            assert_ne!(seen.count(), 2, "panics in the second call");
            order
        })
    };
    let mut dedup = merge().dedup();
    let mut out = Vec::new();
    loop {
        match caught(|| dedup.next()) {
            Some(Some(item)) => out.push(item),
            Some(None) => break,
            None => {}
        }
    }
    assert_eq!(out, [1, 2, 3, 4]);
}

/// The phase of an error is that of its source: here, the first item was being waited for.
#[test]
fn after_a_panic_at_the_start_an_error_names_the_wrong_phase() {
    let mut calls = 0;
    let panicking = std::iter::from_fn(move || {
        calls += 1;
        assert!(calls > 1, "panics in the first call");
        None
    });
    let failing = std::iter::once(Err::<u64, _>("gone"));
    let sources: [Box<dyn Iterator<Item = _>>; 2] = [Box::new(panicking), Box::new(failing)];
    let mut merge = try_merge(sources);
    assert!(caught(|| merge.next()).is_none());
    let error = merge.next().unwrap().unwrap_err();
    assert_eq!((error.path().index(), error.phase()), (Some(1), Some(Phase::Filling)));
}

/// P8, F17. Should the drop of a head panic, the error is lost, and items of sources that are gone already
/// come after it.
#[test]
fn a_merge_of_results_goes_on_after_an_error_if_a_drop_panics() {
    struct Bad(u64);
    impl losertree::SortKey for Bad {
        const CODE_BITS: u32 = 64;
        const EXACT: bool = true;

        fn code(&self) -> u64 {
            self.0
        }

        fn compare(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }
    impl Drop for Bad {
        fn drop(&mut self) {
            assert!(self.0 != 5 || std::thread::panicking(), "panics when dropped");
        }
    }
    let sources = [vec![Ok(Bad(5))], vec![Ok(Bad(6)), Ok(Bad(7))], vec![Ok(Bad(1)), Err("gone")]];
    let mut merge = try_merge(sources);
    assert!(merge.next().unwrap().is_ok());
    let second = caught(|| merge.next().map(|next| next.is_err()));
    assert!(second.is_none() || second == Some(Some(true)));
    // Either the error, or the end, but no more items.
    assert!(merge.all(|next| next.is_err()), "an item after the error");
}

/// A warning that panics costs neither the item before it nor what the other sources have.
#[test]
fn a_warning_that_panics_costs_no_item() {
    let stage = Stage::new();
    let sources = stage.sources([Script::new().item(1).fail(), Script::of([2])]);
    let builder = ProxyResponseLoserTree::builder().sources(sources);
    let mut merge = builder.warn_with(|_| panic!("no warning")).build();
    let run = stage.driver(1).run(&mut merge);
    assert!(matches!(run.end, End::Panicked(_)));
    assert_eq!(run.oks(), [1]);
    let undrained = merge.into_sources();
    let seen: Vec<_> = undrained.iter().map(|it| (it.index, it.head, it.has_ended)).collect();
    // The source that failed was closed before.
    assert_eq!(seen, [(1, Some(2), false)]);
}
