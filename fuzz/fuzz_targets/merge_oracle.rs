//! The sync merges against the oracle: identities are compared, so stability shows.
#![no_main]

use std::cell::Cell;
use std::cmp::Ordering;
use std::rc::Rc;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use losertree::key::{Natural, Order, Reversed};
use losertree::{Merge, Phase, TryMerge, merge, merge_by, merge_by_key, merge_with};
use losertree_fuzz::{Key, Kind, Unfused, let_scripted_panics_unwind, unless_it_panics, with_keys};
use losertree_testkit::{Comparisons, Item, assert_same, merged_by};

#[derive(Debug, Arbitrary)]
struct Input {
    kind: Kind,
    how: How,
    /// Whether the sources are left unsorted.
    unsorted: bool,
    sources: Vec<Source>,
    acts: Vec<Act>,
    end: End,
}

#[derive(Debug, Arbitrary)]
struct Source {
    keys: Vec<u8>,
    /// Where the source panics, when there are no ends that cannot be repeated after a panic.
    panic_after: Option<u8>,
    /// After how many items the source fails, where sources can.
    fails_after: Option<u8>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum How {
    Merge,
    By,
    ByKey,
    Reversed,
    Try,
    TryReversed,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Act {
    Next,
    NextWithSource,
    Peek,
    /// Takes a block of so many items at most.
    Block(u8),
    SizeHint,
    /// Goes on with a clone.
    Clone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum End {
    Next,
    Fold,
    IntoSources,
    Dedup,
    DedupBy,
    Coalesce,
    Drop,
}

type Runs<K> = Vec<Vec<Item<K>>>;

fuzz_target!(init: let_scripted_panics_unwind(), |input: Input| with_keys!(input.kind, play(&input)));

fn play<K: Key>(input: &Input) {
    let comparisons = Comparisons::new();
    let ascending = |a: &Item<K>, b: &Item<K>| a.key.compare(&b.key);
    let descending = |a: &Item<K>, b: &Item<K>| b.key.compare(&a.key);
    match input.how {
        How::Merge => check(&comparisons, input, ascending, merge),
        How::By => check(&comparisons, input, ascending, |sources| merge_by(sources, ascending)),
        How::ByKey => check(&comparisons, input, ascending, |sources| {
            merge_by_key(sources, |item: &Item<K>| item.key.clone())
        }),
        How::Reversed => {
            check(&comparisons, input, descending, |sources| merge_with(sources, Reversed(Natural)));
        }
        How::Try => check_try(&comparisons, input, ascending, Natural),
        How::TryReversed => check_try(&comparisons, input, descending, Reversed(Natural)),
    }
}

fn check<K, O, F>(
    comparisons: &Comparisons,
    input: &Input,
    compare: F,
    make: impl FnOnce(Vec<Unfused<Item<K>>>) -> Merge<Unfused<Item<K>>, O>,
) where
    K: Key,
    O: Order<Item<K>> + Clone,
    F: Fn(&Item<K>, &Item<K>) -> Ordering + Copy,
{
    let runs = runs(comparisons, input, compare);
    // An end that is one call gives nothing back when it panics.
    let may_panic = matches!(input.end, End::Next | End::IntoSources | End::Drop);
    let pulled = Rc::new(Cell::new(0));
    let sources = runs.iter().zip(&input.sources).map(|(run, source)| {
        let panic_after = source.panic_after.map(usize::from).filter(|_| may_panic);
        Unfused::new(run.clone(), stray(comparisons), panic_after, &pulled)
    });
    let merge = make(sources.collect());
    drive(comparisons, input, compare, &runs, &pulled, merge);
}

/// Takes a merge to its end.
fn drive<K, I, O, F>(
    comparisons: &Comparisons,
    input: &Input,
    compare: F,
    runs: &Runs<K>,
    pulled: &Cell<usize>,
    mut merge: Merge<I, O>,
) where
    K: Key,
    I: Iterator<Item = Item<K>> + Clone,
    O: Order<Item<K>> + Clone,
    F: Fn(&Item<K>, &Item<K>) -> Ordering + Copy,
{
    assert_eq!(pulled.get(), 0, "constructors pull nothing");

    comparisons.take();
    let mut yielded = Vec::new();
    let mut is_cloned = false;
    for act in &input.acts {
        match act {
            Act::Next => yielded.extend(patiently(|| merge.next())),
            Act::NextWithSource => {
                if let Some((source, item)) = patiently(|| merge.next_with_source()) {
                    assert_eq!(source, item.source);
                    yielded.push(item);
                }
            }
            Act::Peek => {
                let peeked = patiently(|| merge.peek().map(Item::identity));
                let next = patiently(|| merge.next());
                assert_eq!(peeked, next.as_ref().map(Item::identity));
                yielded.extend(next);
            }
            Act::Block(max) => {
                let begin = yielded.len();
                let block = unless_it_panics(|| merge.next_block(&mut yielded, (*max).into()));
                // What was appended before a panic counts.
                let appended = yielded.len() - begin;
                assert!(block.is_none_or(|taken| taken == appended) && appended <= (*max).into());
            }
            Act::SizeHint => {
                let left = items(runs) - yielded.len();
                let (low, high) = merge.size_hint();
                assert!(low <= left && high.is_none_or(|high| left <= high));
            }
            Act::Clone => {
                merge = merge.clone();
                is_cloned = true;
            }
        }
        // The clones share their count.
        let most = runs.len() + yielded.len();
        assert!(is_cloned || pulled.get() <= most, "more was pulled than promised");
    }
    let taken = yielded.len();
    let mut spent = comparisons.take();
    // What the adaptors compare besides the merge: one pair for each item.
    let mut adaptor = 0;
    let mut is_all = false;
    match input.end {
        End::Next => {
            yielded.extend(std::iter::from_fn(|| patiently(|| merge.next())));
            assert!(merge.next().is_none(), "a merge is fused");
            is_all = true;
        }
        End::Fold => {
            yielded = merge.fold(yielded, |mut yielded, item| {
                yielded.push(item);
                yielded
            });
            is_all = true;
        }
        End::Drop => drop(merge),
        End::IntoSources => check_undrained(merge, &yielded, runs),
        // What becomes of the items of an unsorted merge is as unspecified as their order.
        End::Dedup | End::DedupBy | End::Coalesce if input.unsorted => return,
        End::Dedup | End::DedupBy | End::Coalesce => {
            let (firsts, absorbed) = coalesced(&merged_by(runs, compare)[taken..], input.end, compare);
            comparisons.take();
            let mut seen = Vec::new();
            let actual = match input.end {
                End::Dedup => hinted(merge.dedup()),
                End::DedupBy => hinted(merge.dedup_by(is_near)),
                _ => hinted(merge.coalesce(|held, item| seen.push((held.identity(), item.identity())))),
            };
            if input.end != End::DedupBy {
                adaptor = items(runs);
            }
            spent += comparisons.take();
            assert_same(&actual, &firsts);
            assert!(input.end != End::Coalesce || seen == absorbed);
            comparisons.take();
        }
    }
    spent += comparisons.take();

    // Each clone asks for as much again as its original.
    let merging = if O::EXACT { 0 } else { runs.len().saturating_sub(1) + items(runs) * levels(runs.len()) };
    assert!(is_cloned || spent <= merging + adaptor, "{spent} comparisons, {merging} + {adaptor} promised");
    if input.unsorted {
        check_unsorted(&yielded, runs, is_all);
    } else {
        let mut merged = merged_by(runs, compare);
        merged.truncate(if is_all { merged.len() } else { taken });
        assert_same(&yielded, &merged);
    }
}

/// Asserts that a merge gives back exactly what it has not yielded.
fn check_undrained<K: Key, I: Iterator<Item = Item<K>>, O: Order<Item<K>>>(
    merge: Merge<I, O>,
    yielded: &[Item<K>],
    runs: &[Vec<Item<K>>],
) {
    let mut rest: Runs<K> = vec![Vec::new(); runs.len()];
    for undrained in merge.into_sources() {
        assert!(!undrained.has_ended);
        let mut source = undrained.source;
        rest[undrained.index].extend(undrained.head);
        rest[undrained.index].extend(std::iter::from_fn(|| patiently(|| source.next())));
    }
    for (source, (run, rest)) in runs.iter().zip(&rest).enumerate() {
        let yielded = yielded.iter().filter(|item| item.source == source).count();
        assert!(run[yielded..].iter().map(Item::identity).eq(rest.iter().map(Item::identity)));
    }
}

/// Asserts that nothing was lost, repeated or overtaken by an item of its own source.
fn check_unsorted<K: Key>(yielded: &[Item<K>], runs: &[Vec<Item<K>>], is_all: bool) {
    for (source, run) in runs.iter().enumerate() {
        let of_source: Vec<_> =
            yielded.iter().filter(|item| item.source == source).map(Item::identity).collect();
        assert!(of_source.iter().zip(run).all(|(item, expected)| *item == expected.identity()));
        assert!(of_source.len() == run.len() || !is_all && of_source.len() < run.len());
    }
}

/// Collects, and asserts that the size hint holds at every step.
fn hinted<T>(mut iterator: impl Iterator<Item = T>) -> Vec<T> {
    let mut hints = vec![iterator.size_hint()];
    let mut items = Vec::new();
    while let Some(item) = iterator.next() {
        items.push(item);
        hints.push(iterator.size_hint());
    }
    for (taken, (low, high)) in hints.into_iter().enumerate() {
        let left = items.len() - taken;
        assert!(low <= left && high.is_none_or(|high| left <= high));
    }
    items
}

/// The rule of the `dedup_by` here: not an equivalence, so it shows that the first of a run is compared.
fn is_near<K: Key>(held: &Item<K>, item: &Item<K>) -> bool {
    held.key.code().abs_diff(item.key.code()) < 3
}

type Identities = Vec<((usize, usize), (usize, usize))>;

/// What coalescing leaves of merged items, and which of them absorb which.
fn coalesced<K: Key>(
    merged: &[Item<K>],
    end: End,
    compare: impl Fn(&Item<K>, &Item<K>) -> Ordering,
) -> (Vec<Item<K>>, Identities) {
    let mut firsts: Vec<Item<K>> = Vec::new();
    let mut absorbed = Vec::new();
    for item in merged {
        match firsts.last() {
            Some(held) if end == End::DedupBy && is_near(held, item) => {}
            Some(held) if end != End::DedupBy && compare(held, item).is_eq() => {
                absorbed.push((held.identity(), item.identity()));
            }
            _ => firsts.push(item.clone()),
        }
    }
    (firsts, absorbed)
}

fn check_try<K, O>(
    comparisons: &Comparisons,
    input: &Input,
    compare: impl Fn(&Item<K>, &Item<K>) -> Ordering + Copy,
    order: O,
) where
    K: Key,
    O: Order<Item<K>>,
{
    let mut runs = runs(comparisons, input, compare);
    let pulled = Rc::new(Cell::new(0));
    let mut fails = Vec::new();
    let mut sources = Vec::new();
    for (index, (run, source)) in runs.iter_mut().zip(&input.sources).enumerate() {
        let fail = source.fails_after.map(usize::from).filter(|after| *after <= run.len());
        let mut items: Vec<_> = run.iter().cloned().map(Ok).collect();
        if let Some(after) = fail {
            items.insert(after, Err(index));
            run.truncate(after);
        }
        fails.push(fail);
        sources.push(Unfused::new(items, Ok(stray(comparisons)), None, &pulled));
    }
    let merge = losertree::try_merge_with(sources, order);
    assert_eq!(pulled.get(), 0, "constructors pull nothing");
    drive_try(input, compare, &runs, &fails, &pulled, merge);
}

/// Takes a merge, of which each source fails after so many items, to its end.
fn drive_try<K, I, O>(
    input: &Input,
    compare: impl Fn(&Item<K>, &Item<K>) -> Ordering + Copy,
    runs: &Runs<K>,
    fails: &[Option<usize>],
    pulled: &Rc<Cell<usize>>,
    mut merge: TryMerge<I, Item<K>, usize, O>,
) where
    K: Key,
    I: Iterator<Item = Result<Item<K>, usize>>,
    O: Order<Item<K>>,
{
    // Filling meets the first error by index, merging that of the item that was yielded last.
    let at_first = fails.iter().position(|fail| *fail == Some(0));
    let failed = |yielded: &[Item<K>]| match yielded.last() {
        None => at_first,
        Some(last) => Some(last.source).filter(|source| fails[*source] == Some(last.sequence + 1)),
    };
    let mut yielded: Vec<Item<K>> = Vec::new();
    let mut acts = input.acts.iter();
    loop {
        let act = acts.next();
        if input.end == End::IntoSources && act.is_none() {
            let rest = merge.into_sources().into_iter().map(|undrained| {
                usize::from(undrained.head.is_some()) + undrained.source.filter(Result::is_ok).count()
            });
            // The sources after a failed one may have more, of which `runs` does not know. An error that was met and not
            // told has released them all.
            assert!(rest.sum::<usize>() >= items(runs) - yielded.len() || failed(&yielded).is_some());
            break;
        }
        let begin = yielded.len();
        let next = match act {
            Some(Act::Block(max)) if *max > 0 => {
                let taken = merge.next_block(&mut yielded, (*max).into());
                assert_eq!(yielded.len() - begin, *taken.as_ref().unwrap_or(&0));
                if matches!(taken, Ok(0)) { None } else { Some(taken.map(drop)) }
            }
            _ => merge.next_with_source().map(|next| {
                next.map(|(source, item)| {
                    assert_eq!(source, item.source);
                    yielded.push(item);
                })
            }),
        };
        for end in begin..yielded.len() {
            assert_eq!(failed(&yielded[..end]), None, "the error comes at once");
        }
        match next {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                assert_eq!(error.source_error().copied(), failed(&yielded));
                assert_eq!(error.path().index(), failed(&yielded));
                let phase = if yielded.is_empty() { Phase::Filling } else { Phase::Merging };
                assert_eq!(error.phase(), Some(phase));
                assert_eq!(Rc::strong_count(pulled), 1, "all sources are dropped before the error comes");
                assert!(merge.next().is_none() && merge.next().is_none());
                assert!(merge.into_sources().is_empty());
                break;
            }
            None => {
                assert_eq!((failed(&yielded), yielded.len()), (None, items(runs)));
                assert!(merge.next().is_none());
                break;
            }
        }
    }
    if input.unsorted {
        check_unsorted(&yielded, runs, false);
    } else {
        let merged = merged_by(runs, compare);
        assert_same(&yielded, &merged[..yielded.len().min(merged.len())]);
    }
}

fn runs<K: Key>(
    comparisons: &Comparisons,
    input: &Input,
    compare: impl Fn(&Item<K>, &Item<K>) -> Ordering,
) -> Runs<K> {
    let run = |(index, source): (usize, &Source)| {
        let keys = source.keys.iter().map(|byte| K::of(*byte, comparisons));
        let mut run: Vec<_> = keys.map(|key| Item::new(key, index, 0)).collect();
        if !input.unsorted {
            run.sort_by(&compare);
        }
        for (sequence, item) in run.iter_mut().enumerate() {
            item.sequence = sequence;
        }
        run
    };
    input.sources.iter().enumerate().map(run).collect()
}

/// An item of no source, which no merge may get to see.
fn stray<K: Key>(comparisons: &Comparisons) -> Item<K> {
    Item::new(K::of(0, comparisons), usize::MAX, usize::MAX)
}

/// Asks again if a source panics: nothing is lost then.
fn patiently<T>(mut ask: impl FnMut() -> T) -> T {
    loop {
        if let Some(answer) = unless_it_panics(&mut ask) {
            return answer;
        }
    }
}

fn items<K>(runs: &[Vec<Item<K>>]) -> usize {
    runs.iter().map(Vec::len).sum()
}

/// ⌈log2 K⌉.
const fn levels(sources: usize) -> usize {
    sources.next_power_of_two().ilog2() as usize
}
