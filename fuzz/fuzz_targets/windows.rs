//! Merges of batches against the oracle: identities are compared, so stability shows.
#![no_main]

use std::cell::Cell;
use std::cmp::Ordering;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use losertree::key::{By, Natural, Reversed};
use losertree::merge::window::{RowOrder, WindowMerge};
use losertree_fuzz::{Key, Kind, let_scripted_panics_unwind, scripted_panic, unless_it_panics, with_keys};
use losertree_testkit::{Comparisons, Item, assert_same, merged_by};

#[derive(Debug, Arbitrary)]
struct Input {
    kind: Kind,
    how: How,
    /// Whether the sources are left unsorted.
    unsorted: bool,
    /// After how many comparisons the comparator panics, once, if there is one.
    panic_after: Option<u16>,
    sources: Vec<Source>,
    steps: Vec<Step>,
}

#[derive(Debug, Arbitrary)]
struct Source {
    keys: Vec<u8>,
    /// How often the keys are repeated, as powers of two.
    repeats: u8,
    /// How many rows the batches have, in turn.
    batches: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum How {
    Natural,
    Reversed,
    By,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Step {
    /// Takes so many rows at most.
    Take(u16),
    /// Has what is decided merged again, with a source that has nothing.
    Push,
    /// Has only so many more rows come, until the next step.
    Limit(u16),
    Release,
}

const MOST_ROWS: usize = 60_000;

fuzz_target!(init: let_scripted_panics_unwind(), |input: Input| with_keys!(input.kind, play(&input)));

fn play<K: Key>(input: &Input) {
    let compare = |a: &Item<K>, b: &Item<K>| {
        let ascending = a.key.compare(&b.key);
        if input.how == How::Reversed { ascending.reverse() } else { ascending }
    };
    let comparisons = Comparisons::new();
    let Some(runs) = runs(&comparisons, input, compare) else { return };
    comparisons.take();
    let calls = Cell::new(0_usize);
    let failing = |a: &Item<K>, b: &Item<K>| {
        calls.set(calls.get() + 1);
        if input.panic_after.is_some_and(|after| calls.get() == 1 + usize::from(after)) {
            scripted_panic("the comparator");
        }
        compare(a, b)
    };
    let (out, batches) = match input.how {
        How::Natural => merge(input, &runs, Natural),
        How::Reversed => merge(input, &runs, Reversed(Natural)),
        How::By => merge(input, &runs, By::new(failing)),
    };
    let rows: usize = runs.iter().map(Vec::len).sum();
    // What is withdrawn is merged again, and what has panicked.
    let is_straight = !input.steps.iter().any(|step| matches!(step, Step::Push | Step::Limit(_)))
        && (input.panic_after.is_none() || input.how != How::By);
    if is_straight {
        let levels = runs.len().next_power_of_two().ilog2() as usize;
        let spent = if input.how == How::By { calls.get() } else { comparisons.take() };
        let most = rows * (2 * levels + 6) + batches * 2 * levels + runs.len();
        assert!(spent <= most, "{spent} comparisons, {most} promised");
    }
    if input.unsorted {
        check_unsorted(&out, &runs);
    } else {
        assert_same(&out, &merged_by(&runs, compare));
    }
}

/// Merges all, and returns how many batches there were.
fn merge<K: Key, O: RowOrder<Vec<Item<K>>>>(
    input: &Input,
    runs: &[Vec<Item<K>>],
    order: O,
) -> (Vec<Item<K>>, usize) {
    let mut merge = WindowMerge::new(order, runs.len());
    let mut left: Vec<_> = runs
        .iter()
        .zip(&input.sources)
        .map(|(run, source)| (run.as_slice(), source.batches.iter().cycle()))
        .collect();
    let mut steps = input.steps.iter();
    let (mut out, mut batches) = (Vec::new(), 0);
    loop {
        while let Some(&source) = merge.needs().last() {
            match left.get_mut(source) {
                Some((run, sizes)) if !run.is_empty() => {
                    // Some batches are empty, but not for ever.
                    let rows = sizes.next().map_or(run.len(), |rows| usize::from(*rows) % 9000);
                    let rows = if batches % 3 == 0 { rows.max(1) } else { rows }.min(run.len());
                    let batch;
                    (batch, *run) = run.split_at(rows);
                    batches += 1;
                    assert!(merge.supply(source, batch.to_vec()).is_ok());
                }
                _ => merge.end(source),
            }
        }
        if merge.is_done() {
            return (out, batches);
        }
        let most = match steps.next() {
            Some(Step::Take(most)) => usize::from(*most),
            Some(Step::Push) => {
                merge.push();
                continue;
            }
            Some(Step::Limit(rows)) => {
                merge.limit(u64::from(*rows));
                let taken = unless_it_panics(|| {
                    let window = merge.next_window(usize::MAX);
                    window.append_to(&mut out);
                    window.rows()
                });
                assert!(taken.is_none_or(|taken| taken <= usize::from(*rows)));
                merge.limit(u64::MAX);
                continue;
            }
            Some(Step::Release) => {
                for source in 0..runs.len() {
                    let needs = merge.needs().contains(&source);
                    assert!(merge.release(source).is_none() || needs);
                }
                continue;
            }
            None => usize::MAX,
        };
        let taken = unless_it_panics(|| {
            let window = merge.next_window(most);
            window.append_to(&mut out);
            window.rows()
        });
        assert!(taken.is_none_or(|taken| taken <= most));
    }
}

/// Asserts that nothing was lost, repeated or overtaken by a row of its own source.
fn check_unsorted<K: Key>(out: &[Item<K>], runs: &[Vec<Item<K>>]) {
    let mut next = vec![0; runs.len()];
    for item in out {
        assert_eq!(item.sequence, next[item.source]);
        next[item.source] += 1;
    }
    assert!(runs.iter().zip(next).all(|(run, next)| run.len() == next));
}

fn runs<K: Key>(
    comparisons: &Comparisons,
    input: &Input,
    compare: impl Fn(&Item<K>, &Item<K>) -> Ordering,
) -> Option<Vec<Vec<Item<K>>>> {
    let repeats = |source: &Source| 1_usize << (source.repeats % 14);
    let rows: usize = input.sources.iter().map(|source| source.keys.len() * repeats(source)).sum();
    if rows > MOST_ROWS {
        return None;
    }
    let run = |(index, source): (usize, &Source)| {
        let keys = source.keys.iter().cycle().take(source.keys.len() * repeats(source));
        let mut run: Vec<_> = keys.map(|byte| Item::new(K::of(*byte, comparisons), index, 0)).collect();
        if !input.unsorted {
            run.sort_by(&compare);
        }
        for (sequence, item) in run.iter_mut().enumerate() {
            item.sequence = sequence;
        }
        run
    };
    Some(input.sources.iter().enumerate().map(run).collect())
}
