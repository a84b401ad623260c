//! Merges that hand offset-value codes on: every code is the right one, whichever way an item has taken.

use std::cell::Cell;
use std::cmp::Ordering;
use std::convert::Infallible;
use std::fmt::Debug;

use futures::executor::block_on;
use futures::{StreamExt, TryStreamExt, stream};
use losertree::key::{ByOffsetCode, Coded, OffsetCode};
use losertree::tree::LoserTree;
use losertree::{
    Labels, ProxyResponseLoserTree, SortKey, from_iter, from_stream, merge, merge_by_key, merge_coded,
    merge_with, try_merge_with,
};
use losertree_testkit::{Item, Random, Runs, TestKey, assert_merged, inputs, merged};
use quickcheck::QuickCheck;

/// Checks that the codes are those of the items, one against the other.
#[track_caller]
fn assert_codes<K: SortKey + Debug>(coded: &[Coded<Item<K>>]) {
    let mut before: Option<&Item<K>> = None;
    for Coded { item, code } in coded {
        let expected = before.map_or(OffsetCode::UNKNOWN, |before| OffsetCode::after(before, item).unwrap());
        assert_eq!(*code, expected, "{item:?} after {before:?}");
        before = Some(item);
    }
}

/// Checks codes and items of what should be the merge of `runs`.
#[track_caller]
fn assert_coded<K: TestKey>(coded: Vec<Coded<Item<K>>>, runs: &[Vec<Item<K>>]) {
    assert_codes(&coded);
    assert_merged(&coded.into_iter().map(|coded| coded.item).collect::<Vec<_>>(), runs);
}

fn with_codes<K: TestKey>(runs: &Runs<K>) -> Vec<Vec<Coded<Item<K>>>> {
    runs.clone().into_vec().into_iter().map(|run| Coded::with_codes(run).collect()).collect()
}

fn every_way_hands_codes_on<K: TestKey>(runs: Runs<K>, taken: usize, seed: u64) -> bool {
    let plain = || runs.clone().into_vec();
    let check = |coded| assert_coded(coded, runs.as_slice());

    check(merge(plain()).coded().collect());
    check(merge_by_key(plain(), |item| item.key.clone()).coded().collect());
    check(merge_coded(with_codes(&runs)).collect());
    check(merge_coded(with_codes(&runs)).by_ref().collect());
    check(merge_coded(with_codes(&runs)).fold(Vec::new(), |mut all, item| {
        all.push(item);
        all
    }));
    let fallible = with_codes(&runs).into_iter().map(|run| run.into_iter().map(Ok::<_, Infallible>));
    check(try_merge_with(fallible, ByOffsetCode).map(Result::unwrap).collect());

    let sources = with_codes(&runs)
        .into_iter()
        .map(|run| from_stream(stream::iter(run.into_iter().map(Ok::<_, Infallible>))));
    let asynchronous = ProxyResponseLoserTree::builder().sources(sources).order(ByOffsetCode).build();
    check(block_on(asynchronous.try_collect()).unwrap());

    // In the middle of a merge, the next item is the first one.
    let mut merge = merge(plain());
    let taken = taken % (runs.items() + 1);
    let mut first: Vec<_> = merge.by_ref().take(taken).collect();
    let rest: Vec<_> = merge.coded().collect();
    assert_codes(&rest);
    first.extend(rest.into_iter().map(|coded| coded.item));
    assert_merged(&first, runs.as_slice());

    // A merge of merges.
    let mut random = Random::seed(seed);
    let mut groups = Vec::new();
    let mut left = plain();
    while !left.is_empty() {
        let group = left.drain(..=random.below(left.len())).collect::<Vec<_>>();
        groups.push(losertree::merge(group).coded());
    }
    check(merge_coded(groups).collect());
    true
}

#[test]
fn codes_are_handed_on() {
    fn check<K: TestKey>() {
        QuickCheck::new().tests(150).quickcheck(every_way_hands_codes_on::<K> as fn(_, _, _) -> bool);
    }
    check::<String>();
    check::<Vec<u8>>();
    check::<(Vec<u8>, Option<String>)>();
}

/// Equal items are found by their codes, with few sources and with many.
#[test]
fn duplicates_are_known_by_their_codes() {
    fn check<K: TestKey + PartialEq>(runs: Runs<K>) -> bool {
        let mut distinct = merged(runs.as_slice());
        distinct.dedup_by(|b, a| a.key.compare(&b.key).is_eq());
        assert!(merge(runs.clone().into_vec()).dedup().eq(distinct.iter().cloned()));
        assert!(merge_coded(with_codes(&runs)).dedup().map(|coded| coded.item).eq(distinct.iter().cloned()));
        let by_code = merge_coded(with_codes(&runs)).filter(|coded| !coded.code.is_equal());
        assert!(by_code.map(|coded| coded.item).eq(distinct));
        true
    }
    QuickCheck::new().quickcheck(check::<String> as fn(_) -> bool);
    QuickCheck::new().quickcheck(check::<Vec<u8>> as fn(_) -> bool);
}

/// Codes that are wrong change the order and nothing else.
#[test]
fn wrong_codes_lose_nothing() {
    let mut random = Random::seed(3);
    for _ in 0..500 {
        let runs = Runs::<Vec<u8>>::random(&mut random, 30);
        let mut lies = with_codes(&runs);
        for coded in lies.iter_mut().flatten() {
            let others =
                [OffsetCode::EQUAL, OffsetCode::UNKNOWN, OffsetCode::sharing(&coded.item, 0, usize::MAX / 2)];
            coded.code = others[random.below(3)];
        }
        let mut out: Vec<_> = merge_with(lies, ByOffsetCode).map(|coded| coded.item.identity()).collect();
        let mut all: Vec<_> = runs.as_slice().iter().flatten().map(Item::identity).collect();
        out.sort_unstable();
        all.sort_unstable();
        assert_eq!(out, all);
    }
}

thread_local! {
    static READS: Cell<usize> = const { Cell::new(0) };
}

/// A key that counts how often it is read.
#[derive(Debug, Clone)]
struct Counted(Labels);

impl SortKey for Counted {
    const CODE_BITS: u32 = Labels::CODE_BITS;
    const EXACT: bool = false;
    const PARTS: usize = 1;

    fn code(&self) -> u64 {
        self.0.code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        READS.set(READS.get() + 2);
        self.0.compare(&other.0)
    }

    fn part(&self, _index: usize) -> &[u8] {
        READS.set(READS.get() + 1);
        self.0.packed()
    }
}

/// How many keys `merge` reads. Each comparison with a key before reads one, and so does keeping it; each comparison of two
/// items reads two.
fn reads(merge: impl FnOnce() -> usize) -> usize {
    READS.set(0);
    assert_eq!(merge(), LABEL_SETS);
    READS.get()
}

const LABEL_SETS: usize = 4_000;

fn label_runs(sources: usize) -> Vec<Vec<Counted>> {
    let label = |text: String| {
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        Counted(Labels::from_pairs(pairs).unwrap())
    };
    let runs = inputs::labels(4, sources, LABEL_SETS, 1);
    let sorted = |mut run: Vec<Counted>| {
        run.sort_by(|a, b| a.0.cmp(&b.0));
        run
    };
    runs.into_iter().map(|run| sorted(run.into_iter().map(label).collect())).collect()
}

/// P10: one comparison with the key before for each item, and never more than one a match.
#[test]
fn most_matches_read_no_key() {
    for sources in [5, 8, 9, 16, 64] {
        let runs = label_runs(sources);
        let levels = sources.next_power_of_two().ilog2() as usize;
        // For the first matches, codes against nothing are made of bytes, too.
        let start = 3 * (sources - 1);
        let computed = reads(|| merge(runs.clone()).count());
        assert!(computed <= start + 2 * (levels + 1) * LABEL_SETS, "{computed} of {sources} sources");
        // Less than half of the matches, for sets that have much in common.
        assert!(computed <= start + (2 + levels) * LABEL_SETS, "{computed} of {sources} sources");

        let coded: Vec<Vec<_>> = runs.iter().map(|run| Coded::with_codes(run.clone()).collect()).collect();
        let handed_in = reads(|| merge_coded(coded.clone()).count());
        assert!(handed_in <= computed - 2 * (LABEL_SETS - sources), "{handed_in} instead of {computed}");
    }
}

/// The tournament finds the smallest head even where a source goes backwards, so that nobody has to know how it is
/// played.
#[test]
fn a_head_that_comes_before_the_last_winner_wins() {
    let heads = (b'b'..=b'z').map(|letter| Some(vec![letter; 20]));
    let mut tree = LoserTree::new(losertree::key::Natural, heads);
    let (source, _) = tree.pop().unwrap();
    tree.set_head(source, Some(vec![b'a'; 20]));
    assert_eq!(tree.winner(), Some((source, &vec![b'a'; 20])));
    tree.set_head(3, Some(vec![b'a'; 19]));
    assert_eq!(tree.pop(), Some((3, vec![b'a'; 19])));
    assert_eq!(tree.pop(), Some((source, vec![b'a'; 20])));
    assert_eq!(tree.pop(), Some((1, vec![b'c'; 20])));
}

/// Once there are offset-value codes, the tournament knows which items are equal to the ones before, unless they are of the same
/// source: an adaptor compares these.
#[test]
fn to_drop_duplicates_reads_few_keys() {
    for sources in [5, 16] {
        // Label sets tie in each match, so the codes begin soon. Until then, an item takes one comparison, of two keys.
        let start = 16 * usize::next_power_of_two(2 * sources);
        // All of each source in another one, too.
        let runs = label_runs(sources);
        let twice = || runs.iter().chain(&runs).cloned();
        let mut all: Vec<_> = twice()
            .enumerate()
            .flat_map(|(source, run)| run.into_iter().map(move |key| (key, source)))
            .collect();
        all.sort_by(|(a, i), (b, j)| a.0.cmp(&b.0).then(i.cmp(j)));
        let stays = all.windows(2).filter(|pair| pair[0].1 == pair[1].1).count();
        assert!(stays < LABEL_SETS / 2);
        READS.set(0);
        assert_eq!(merge(twice()).count(), 2 * LABEL_SETS);
        let plain = READS.take();
        let distinct = merge(twice()).dedup().count();
        let most = plain + start + 2 * stays;
        assert!((plain..=most).contains(&READS.take()), "sync, {sources} sources");
        assert!(distinct <= LABEL_SETS);
        let sources = || twice().map(from_iter);
        assert_eq!(block_on(ProxyResponseLoserTree::new(sources()).count()), 2 * LABEL_SETS);
        let plain = READS.take();
        assert_eq!(block_on(ProxyResponseLoserTree::new(sources()).dedup().count()), distinct);
        let most = plain + start + 2 * stays;
        assert!((plain..=most).contains(&READS.take()), "async");
    }
}
