//! One signature for everything that merges.

use std::hint::black_box;
use std::iter::Cloned;
use std::slice;

use losertree_testkit::{Runs, merged};

use super::workload::Key;

/// Something that merges, for keys of any type.
pub(crate) trait Merger {
    const NAME: &'static str;

    /// Sets up a merge.
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K>;

    /// Merges all, by `next` unless the contender has something else.
    #[inline]
    fn each<K: Key>(runs: &[Vec<K>], mut visit: impl FnMut(K)) {
        for item in Self::open(runs) {
            visit(item);
        }
    }
}

/// The sources of all contenders.
pub(crate) fn sources<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = Cloned<slice::Iter<'_, K>>> {
    runs.iter().map(|run| run.iter().cloned())
}

/// A [`Merger`] for one type of keys.
pub(crate) struct Contender<K> {
    pub(crate) name: &'static str,
    /// Merges, and returns a checksum.
    pub(crate) merge: fn(&[Vec<K>]) -> u64,
    /// Sets up a merge, and returns the digest of the first item.
    pub(crate) first: fn(&[Vec<K>]) -> u64,
    collect: fn(&[Vec<K>]) -> Vec<K>,
}

impl<K: Key> Contender<K> {
    pub(crate) fn of<M: Merger>() -> Self {
        Self { name: M::NAME, merge: merge::<M, K>, first: first::<M, K>, collect: collect::<M, K> }
    }
}

#[inline(never)]
fn merge<M: Merger, K: Key>(runs: &[Vec<K>]) -> u64 {
    let mut sum = 0_u64;
    M::each(black_box(runs), |item| sum = sum.wrapping_add(item.digest()));
    black_box(sum)
}

#[inline(never)]
fn first<M: Merger, K: Key>(runs: &[Vec<K>]) -> u64 {
    black_box(M::open(black_box(runs)).next().map_or(0, |item| item.digest()))
}

fn collect<M: Merger, K: Key>(runs: &[Vec<K>]) -> Vec<K> {
    let mut items = Vec::new();
    M::each(runs, |item| items.push(item));
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

fn expected<K: Key>(runs: &[Vec<K>]) -> Vec<K> {
    let runs = Runs::from_keys(runs.to_vec());
    merged(runs.as_slice()).into_iter().map(|item| item.key).collect()
}
