//! Merges of iterators.

use super::contender::{Contender, Merger, sources};
use super::heaps::{NaiveHeap, TunedHeap};
use super::workload::Key;

/// All of them.
pub(crate) fn all<K: Key>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<Naive>(),
        Contender::of::<Tuned>(),
        Contender::of::<Itertools>(),
        Contender::of::<Next>(),
        Contender::of::<Fold>(),
        Contender::of::<By>(),
    ]
}

struct Naive;

impl Merger for Naive {
    const NAME: &'static str = "naive_heap";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        NaiveHeap::new(sources(runs))
    }
}

struct Tuned;

impl Merger for Tuned {
    const NAME: &'static str = "tuned_heap";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        TunedHeap::new(sources(runs))
    }
}

struct Itertools;

impl Merger for Itertools {
    const NAME: &'static str = "itertools";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        itertools::kmerge(sources(runs))
    }
}

/// This library, through plain `next`.
pub(crate) struct Next;

impl Merger for Next {
    const NAME: &'static str = "losertree";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        losertree::merge(sources(runs))
    }
}

struct Fold;

impl Merger for Fold {
    const NAME: &'static str = "losertree_fold";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        losertree::merge(sources(runs))
    }

    #[inline]
    fn each<K: Key>(runs: &[Vec<K>], visit: impl FnMut(K)) {
        Self::open(runs).for_each(visit);
    }
}

/// This library with a comparator: without codes.
struct By;

impl Merger for By {
    const NAME: &'static str = "losertree_by";

    #[inline]
    fn open<K: Key>(runs: &[Vec<K>]) -> impl Iterator<Item = K> {
        losertree::merge_by(sources(runs), K::cmp)
    }
}
