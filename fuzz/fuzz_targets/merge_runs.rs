//! Merges of runs in memory against the oracle: identities are compared, so stability shows.
#![no_main]

use std::cell::Cell;
use std::cmp::Ordering;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use losertree::key::{By, ByKey, Natural, Reversed};
use losertree::merge::par_merge_runs_with;
use losertree::{merge_runs, merge_runs_with, par_merge_runs};
use losertree_fuzz::{Key, Kind, let_scripted_panics_unwind, scripted_panic, unless_it_panics, with_keys};
use losertree_testkit::{Comparisons, Item, assert_same, merged_by};

#[derive(Debug, Arbitrary)]
struct Input {
    kind: Kind,
    how: How,
    /// Whether the runs are left unsorted.
    unsorted: bool,
    /// After how many comparisons the comparator panics, if there is one.
    panic_after: Option<u16>,
    /// What is there already.
    before: u8,
    runs: Vec<Run>,
}

#[derive(Debug, Arbitrary)]
struct Run {
    keys: Vec<u8>,
    /// How often the keys are repeated, as powers of two: a byte is to make a long run.
    repeats: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum How {
    Natural,
    Reversed,
    By,
    ByKey,
    Parallel,
    ParallelReversed,
}

/// More are no use: there are several portions, and several parts, before.
const MOST_ITEMS: usize = 100_000;

fuzz_target!(init: let_scripted_panics_unwind(), |input: Input| with_keys!(input.kind, play(&input)));

fn play<K: Key + Send + Sync>(input: &Input) {
    let is_reversed = matches!(input.how, How::Reversed | How::ParallelReversed);
    let compare = |a: &Item<K>, b: &Item<K>| {
        let ascending = a.key.compare(&b.key);
        if is_reversed { ascending.reverse() } else { ascending }
    };
    let comparisons = Comparisons::new();
    let Some(runs) = runs(&comparisons, input, compare) else { return };
    let items: usize = runs.iter().map(Vec::len).sum();
    let stray = Item::new(K::of(0, &comparisons), usize::MAX, usize::MAX);
    let before = vec![stray; usize::from(input.before)];
    let mut out = before.clone();

    let calls = Cell::new(0_usize);
    let failing = |a: &Item<K>, b: &Item<K>| {
        calls.set(calls.get() + 1);
        if input.panic_after.is_some_and(|after| calls.get() > usize::from(after)) {
            scripted_panic("the comparator");
        }
        compare(a, b)
    };
    comparisons.take();
    // Only the one that has the failing comparator may panic.
    let is_done = unless_it_panics(|| match input.how {
        How::Natural => merge_runs(&runs, &mut out),
        How::Reversed => merge_runs_with(&runs, &mut out, Reversed(Natural)),
        How::By => merge_runs_with(&runs, &mut out, By::new(failing)),
        How::ByKey => merge_runs_with(&runs, &mut out, ByKey::new(|item: &Item<K>| item.key.clone())),
        How::Parallel => par_merge_runs(&runs, &mut out),
        How::ParallelReversed => par_merge_runs_with(&runs, &mut out, Reversed(Natural)),
    })
    .is_some();
    let spent = if input.how == How::By { calls.get() } else { comparisons.take() };
    let is_exact = K::EXACT && input.how != How::By;
    let levels = runs.len().next_power_of_two().ilog2() as usize;
    // In parallel the splits come on top.
    let is_parallel = matches!(input.how, How::Parallel | How::ParallelReversed);
    let most = if is_exact { 0 } else { items * (levels + 1) + runs.len() };
    assert!(is_parallel || spent <= most, "{spent} comparisons, {most} promised");

    assert!(is_done || input.how == How::By);
    assert_same(&out[..before.len()], &before);
    let out = &out[before.len()..];
    assert_eq!(out.len() == items, is_done || items == 0);
    if input.unsorted {
        check_unsorted(out, &runs, is_done);
    } else {
        assert_same(out, &merged_by(&runs, compare)[..out.len()]);
    }
}

/// Asserts that nothing was lost, repeated or overtaken by an item of its own run.
fn check_unsorted<K: Key>(out: &[Item<K>], runs: &[Vec<Item<K>>], is_all: bool) {
    let mut next = vec![0; runs.len()];
    for item in out {
        assert_eq!(item.sequence, next[item.source]);
        next[item.source] += 1;
    }
    assert!(runs.iter().zip(next).all(|(run, next)| run.len() == next || !is_all));
}

fn runs<K: Key>(
    comparisons: &Comparisons,
    input: &Input,
    compare: impl Fn(&Item<K>, &Item<K>) -> Ordering,
) -> Option<Vec<Vec<Item<K>>>> {
    let repeats = |run: &Run| 1_usize << (run.repeats % 16);
    let items: usize = input.runs.iter().map(|run| run.keys.len() * repeats(run)).sum();
    if items > MOST_ITEMS {
        return None;
    }
    let run = |(index, run): (usize, &Run)| {
        let keys = run.keys.iter().cycle().take(run.keys.len() * repeats(run));
        let mut run: Vec<_> = keys.map(|byte| Item::new(K::of(*byte, comparisons), index, 0)).collect();
        if !input.unsorted {
            run.sort_by(&compare);
        }
        for (sequence, item) in run.iter_mut().enumerate() {
            item.sequence = sequence;
        }
        run
    };
    Some(input.runs.iter().enumerate().map(run).collect())
}
