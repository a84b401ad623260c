//! One signature for everything that merges.

use std::hint::black_box;
use std::iter::Cloned;
use std::slice;

use losertree_testkit::{Runs, merged};

use super::counted::{Counted, comparisons};
use super::workload::Key;

/// Something that merges keys of this type.
pub(crate) trait Merger<K: Key> {
    const NAME: &'static str;
    const ROLE: Role;

    /// Sets up a merge.
    fn open(runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>>;

    /// Merges all, by `next` unless the contender has something else.
    #[inline]
    fn each<V: Visit<K>>(runs: &[Vec<K>], visit: &mut V) {
        for item in Self::open(runs) {
            visit.visit(item);
        }
    }
}

/// What a contender is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Merges lazily, as this library does.
    Peer,
    /// A peer that must have all items in memory before it gives the first one.
    Bulk,
    Ours,
    /// Ours, where all items are in memory.
    OursInBulk,
    /// Ours, for comparison: does less than the row is about.
    Reference,
}

/// What a merge of keys of type `K` gives.
pub(crate) trait Merged<K> {
    /// Returns something of the item to be summed up, so that no merge is optimised away.
    fn digest(&self) -> u64;

    fn into_key(self) -> K;
}

impl<K: Key> Merged<K> for K {
    #[inline]
    fn digest(&self) -> u64 {
        Key::digest(self)
    }

    fn into_key(self) -> K {
        self
    }
}

/// What is done with the items of a merge.
pub(crate) trait Visit<K> {
    fn visit(&mut self, item: impl Merged<K>);
}

struct Sum(u64);

impl<K> Visit<K> for Sum {
    #[inline]
    fn visit(&mut self, item: impl Merged<K>) {
        self.0 = self.0.wrapping_add(item.digest());
    }
}

impl<K> Visit<K> for Vec<K> {
    fn visit(&mut self, item: impl Merged<K>) {
        self.push(item.into_key());
    }
}

/// The sources of all contenders.
pub(crate) fn sources<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = Cloned<slice::Iter<'_, K>>> {
    runs.iter().map(|run| run.iter().cloned())
}

/// Merges, or begins to, and returns a checksum.
pub(crate) type Run<K> = fn(&[Vec<K>]) -> u64;

/// A [`Merger`] for one type of keys.
pub(crate) struct Contender<K> {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) merge: Run<K>,
    /// Sets up a merge, takes the first item, drops the rest, and returns the digest of the item.
    pub(crate) first: Run<K>,
    collect: fn(&[Vec<K>]) -> Vec<K>,
    merge_counted: Run<Counted<K>>,
    first_counted: Run<Counted<K>>,
}

impl<K: Key> Contender<K> {
    pub(crate) fn of<M: Merger<K> + Merger<Counted<K>>>() -> Self {
        Self {
            name: <M as Merger<K>>::NAME,
            role: <M as Merger<K>>::ROLE,
            merge: merge::<M, K>,
            first: first::<M, K>,
            collect: collect::<M, K>,
            merge_counted: merge::<M, Counted<K>>,
            first_counted: first::<M, Counted<K>>,
        }
    }

    /// The same, only for comparison.
    pub(crate) const fn for_reference(self) -> Self {
        Self { role: Role::Reference, ..self }
    }

    /// What a part of a merge is timed by.
    pub(crate) fn part(&self, part: Part) -> Run<K> {
        match part {
            Part::Whole => self.merge,
            Part::First => self.first,
        }
    }

    /// Counts how often two keys are compared. Codes are not keys.
    pub(crate) fn comparisons(&self, part: Part, runs: &[Vec<Counted<K>>]) -> u64 {
        let before = comparisons();
        match part {
            Part::Whole => (self.merge_counted)(runs),
            Part::First => (self.first_counted)(runs),
        };
        comparisons() - before
    }
}

/// Which part of a merge is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it; a unit is an item.
    Whole,
    /// Construction, the first item, and dropping the rest; a unit is a source.
    First,
}

#[inline(never)]
fn merge<M: Merger<K>, K: Key>(runs: &[Vec<K>]) -> u64 {
    let mut sum = Sum(0);
    M::each(black_box(runs), &mut sum);
    black_box(sum.0)
}

#[inline(never)]
fn first<M: Merger<K>, K: Key>(runs: &[Vec<K>]) -> u64 {
    black_box(M::open(black_box(runs)).next().map_or(0, |item| item.digest()))
}

fn collect<M: Merger<K>, K: Key>(runs: &[Vec<K>]) -> Vec<K> {
    let mut items = Vec::new();
    M::each(runs, &mut items);
    items
}

/// Asserts that each contender merges `runs` as the oracle does.
pub(crate) fn check<K: Key>(contenders: &[Contender<K>], runs: &[Vec<K>]) {
    let expected = expected(runs);
    for contender in contenders {
        let actual = (contender.collect)(runs);
        let differs = actual.iter().zip(&expected).position(|(a, b)| a != b);
        assert!(
            differs.is_none() && actual.len() == expected.len(),
            "{} merges {} sources wrongly: {} items for {}, first difference at {differs:?}",
            contender.name,
            runs.len(),
            actual.len(),
            expected.len(),
        );
    }
}

/// Asserts that each contender finds the first item that the oracle does, where checking all would take long.
pub(crate) fn check_first<K: Key>(contenders: &[Contender<K>], runs: &[Vec<K>]) {
    let first = runs.iter().filter_map(|run| run.first()).min().map_or(0, Key::digest);
    for contender in contenders {
        assert_eq!((contender.first)(runs), first, "{} begins wrongly", contender.name);
    }
}

fn expected<K: Key>(runs: &[Vec<K>]) -> Vec<K> {
    let runs = Runs::from_keys(runs.to_vec());
    merged(runs.as_slice()).into_iter().map(|item| item.key).collect()
}
