//! Merges of iterators.

use losertree::key::Coded;

use super::contender::{Contender, Merged, Merger, Role, Visit, sources};
use super::heaps::{MinHeap, NaiveHeap, TunedHeap};
use super::workload::{HandsIn, Ingest, Key, Known, Packed};

/// All of them.
pub(crate) fn all<K: Key>() -> Vec<Contender<K>> {
    let mut all = peers();
    all.extend([
        Contender::of::<Next>(),
        Contender::of::<Fold>(),
        Contender::of::<NextBlock>(),
        Contender::of::<By>(),
        Contender::of::<Runs>(),
    ]);
    all
}

/// All of them, and those that take what sources give in blocks.
pub(crate) fn in_blocks<K: Key>() -> Vec<Contender<K>> {
    let mut all = all();
    all.extend([Contender::of::<Chunked>(), Contender::of::<Blocks>()]);
    all
}

/// Those that are of interest where there are more items than the caches hold.
pub(crate) fn large<K: Key>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<Naive>(),
        Contender::of::<Itertools>(),
        Contender::of::<Next>(),
        Contender::of::<Chunked>(),
        Contender::of::<Blocks>(),
    ]
}

/// Those that give the first item at once.
pub(crate) fn lazy<K: Key>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<Naive>(),
        Contender::of::<Tuned>(),
        Contender::of::<Itertools>(),
        Contender::of::<Next>(),
        Contender::of::<By>(),
    ]
}

/// Those of others.
fn peers<K: Key>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<Naive>(),
        Contender::of::<Tuned>(),
        Contender::of::<Plus>(),
        Contender::of::<Itertools>(),
        Contender::of::<ItertoolsBy>(),
        Contender::of::<Sort>(),
        Contender::of::<SortUnstable>(),
    ]
}

/// Those of others on keys as they come, and this library on keys that it packs first.
pub(crate) fn packing<K: Ingest>() -> Vec<Contender<K>> {
    let mut all = peers();
    all.push(Contender::of::<Packing>());
    all
}

/// Declares a contender by how it is opened.
macro_rules! merger {
    ($(#[$doc:meta])* $vis:vis $type:ident, $name:literal, $role:expr, $runs:ident => $open:expr) => {
        $(#[$doc])*
        $vis struct $type;

        impl<K: Key> Merger<K> for $type {
            const NAME: &'static str = $name;
            const ROLE: Role = $role;

            #[inline]
            fn open($runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
                $open
            }
        }
    };
}

merger!(Naive, "naive_heap", Role::Peer, runs => NaiveHeap::new(sources(runs)));
merger!(Tuned, "tuned_heap", Role::Peer, runs => TunedHeap::new(sources(runs)));
merger!(Plus, "binary_heap_plus", Role::Peer, runs => MinHeap::new(sources(runs)));
merger!(Itertools, "itertools", Role::Peer, runs => itertools::kmerge(sources(runs)));
merger!(ItertoolsBy, "itertools_by", Role::Peer, runs => itertools::kmerge_by(sources(runs), |a: &K, b: &K| a < b));
merger!(Sort, "concat_sort", Role::Bulk, runs => {
    let mut all = runs.concat();
    all.sort();
    all.into_iter()
});
merger!(SortUnstable, "concat_sort_unstable", Role::Bulk, runs => {
    let mut all = runs.concat();
    all.sort_unstable();
    all.into_iter()
});

merger!(
    /// This library, through plain `next`.
    pub(crate) Next, "losertree", Role::Ours, runs => losertree::merge(sources(runs))
);

/// How many items are in a block.
pub(crate) const AHEAD: usize = 32;

merger!(
    /// This library, with batches made of the items of each source.
    Chunked, "losertree chunks", Role::Ours, runs => {
        losertree::merge_batches(sources(runs).map(|mut source| {
            std::iter::from_fn(move || {
                let batch: Vec<_> = source.by_ref().take(BATCH).collect();
                (!batch.is_empty()).then_some(batch)
            })
        }))
        .collect()
        .into_iter()
    }
);

/// How many items are in a batch that is made of them.
const BATCH: usize = 1024;

merger!(
    /// This library over sources that give blocks, each of which is allocated.
    Blocks, "losertree_blocks", Role::Ours, runs => {
        losertree::merge(runs.iter().map(|run| run.chunks(AHEAD).flat_map(<[K]>::to_vec)))
    }
);

struct Fold;

impl<K: Key> Merger<K> for Fold {
    const NAME: &'static str = "losertree_fold";
    const ROLE: Role = Role::Ours;

    #[inline]
    fn open(runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
        Next::open(runs)
    }

    #[inline]
    fn each<V: Visit<K>>(runs: &[Vec<K>], visit: &mut V) {
        Self::open(runs).for_each(|item| visit.visit(item));
    }
}

struct NextBlock;

impl<K: Key> Merger<K> for NextBlock {
    const NAME: &'static str = "losertree_next_block";
    const ROLE: Role = Role::Ours;

    #[inline]
    fn open(runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
        Next::open(runs)
    }

    #[inline]
    fn each<V: Visit<K>>(runs: &[Vec<K>], visit: &mut V) {
        let mut merge = losertree::merge(sources(runs));
        let mut block = Vec::with_capacity(AHEAD);
        while merge.next_block(&mut block, AHEAD) > 0 {
            for item in block.drain(..) {
                visit.visit(item);
            }
        }
    }
}

merger!(
    /// This library, on runs that are in memory.
    Runs, "losertree_runs", Role::OursInBulk, runs => {
        let mut all = Vec::new();
        losertree::merge_runs(runs, &mut all);
        all.into_iter()
    }
);

merger!(
    /// This library with a comparator: without codes.
    By, "losertree_by", Role::Reference, runs => losertree::merge_by(sources(runs), K::cmp)
);

/// Packs the pairs that its sources refer to, where a peer clones them.
struct Packing;

impl<K: Ingest> Merger<K> for Packing {
    const NAME: &'static str = "losertree_packing";
    const ROLE: Role = Role::Ours;

    #[inline]
    fn open(runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
        losertree::merge(runs.iter().map(|run| run.iter().map(Packed::of)))
    }
}

/// Items whose sources know their codes: peers merge the items alone, this library with codes and without.
pub(crate) fn handing_in<K: HandsIn>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<NaiveItems>(),
        Contender::of::<ItertoolsItems>(),
        Contender::of::<NextItems>(),
        Contender::of::<HandingIn>(),
    ]
}

/// Declares a merge of items that come with codes.
macro_rules! of_items {
    ($type:ident, $name:literal, $role:expr, $runs:ident => $open:expr) => {
        struct $type;

        impl<K: HandsIn> Merger<K> for $type {
            const NAME: &'static str = $name;
            const ROLE: Role = $role;

            #[inline]
            fn open($runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
                $open.map(Known::alone)
            }
        }
    };
}

fn items<K: HandsIn>(runs: &[Vec<K>]) -> impl Iterator<Item = impl Iterator<Item = K::Item>> {
    runs.iter().map(|run| run.iter().map(K::item))
}

of_items!(NaiveItems, "naive_heap", Role::Peer, runs => NaiveHeap::new(items(runs)));
of_items!(ItertoolsItems, "itertools", Role::Peer, runs => itertools::kmerge(items(runs)));
of_items!(NextItems, "losertree", Role::Ours, runs => losertree::merge(items(runs)));

struct HandingIn;

impl<K: HandsIn> Merger<K> for HandingIn {
    const NAME: &'static str = "losertree_coded";
    const ROLE: Role = Role::Ours;

    #[inline]
    fn open(runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
        let coded = |key: &K| Coded { item: key.item(), code: key.known_code() };
        losertree::merge_coded(runs.iter().map(move |run| run.iter().map(coded))).map(Known::of)
    }
}

/// Merges of batches of so many rows, of which all fill a vector.
pub(crate) fn batches<K: Key, const ROWS: usize>() -> Vec<Contender<K>> {
    vec![
        Contender::of::<NaiveBatches<ROWS>>(),
        Contender::of::<ItertoolsBatches<ROWS>>(),
        Contender::of::<Sort>(),
        Contender::of::<NextBatches<ROWS>>(),
        Contender::of::<Windows<ROWS>>(),
    ]
}

/// The rows of batches, one by one.
fn flat<K: Key, const ROWS: usize>(runs: &[Vec<K>]) -> impl Iterator<Item = impl Iterator<Item = K>> {
    runs.iter().map(|run| run.chunks(ROWS).flatten().cloned())
}

/// Declares a merge of batches by how it fills a vector.
macro_rules! of_batches {
    ($(#[$doc:meta])* $type:ident, $name:literal, $role:expr, $rows:ident, ($runs:ident, $out:ident) => $fill:expr) => {
        $(#[$doc])*
        struct $type<const $rows: usize>;

        impl<K: Key, const $rows: usize> Merger<K> for $type<$rows> {
            const NAME: &'static str = $name;
            const ROLE: Role = $role;

            #[inline]
            fn open($runs: &[Vec<K>]) -> impl Iterator<Item: Merged<K>> {
                let mut $out = Vec::with_capacity($runs.iter().map(Vec::len).sum());
                $fill;
                $out.into_iter()
            }
        }
    };
}

of_batches!(NaiveBatches, "naive_heap", Role::Peer, ROWS, (runs, out) => {
    for item in NaiveHeap::new(flat::<K, ROWS>(runs)) {
        out.push(item);
    }
});
of_batches!(ItertoolsBatches, "itertools", Role::Peer, ROWS, (runs, out) => {
    for item in itertools::kmerge(flat::<K, ROWS>(runs)) {
        out.push(item);
    }
});
of_batches!(
    /// This library, item by item.
    NextBatches, "losertree", Role::Ours, ROWS, (runs, out) => {
        for item in losertree::merge(flat::<K, ROWS>(runs)) {
            out.push(item);
        }
    }
);
of_batches!(
    /// This library, batch by batch.
    Windows, "losertree window", Role::Ours, ROWS, (runs, out) => {
        losertree::merge_batches(runs.iter().map(|run| run.chunks(ROWS))).next_block(&mut out, usize::MAX)
    }
);
