use losertree::SortKey;
use quickcheck::{Arbitrary, Gen};

use crate::{Domain, Item, Random, TestKey};

/// The most sources that are generated.
const MOST_SOURCES: usize = 40;

/// The input of a merge: sorted runs of items, one for each source.
///
/// An [`Arbitrary`] value, so that a property can take it as its argument:
///
/// ```
/// use losertree_testkit::{Item, Runs, assert_merged};
/// use quickcheck::quickcheck;
///
/// fn merges(runs: Runs<u64>) -> bool {
///     let merged: Vec<Item<u64>> = losertree::merge(runs.clone().into_vec()).collect();
///     assert_merged(&merged, runs.as_slice());
///     true
/// }
/// quickcheck(merges as fn(Runs<u64>) -> bool);
/// ```
///
/// Every run is sorted by its keys, and every item carries its own source and sequence number; shrinking
/// keeps both true. Generated are 0 to 40 sources of very different lengths, some of them empty, with keys
/// from one [`Domain`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs<K>(Vec<Vec<Item<K>>>);

impl<K: SortKey> Runs<K> {
    /// Makes runs of the keys of each source: sorts them, and numbers the items.
    #[must_use]
    pub fn from_keys(keys: Vec<Vec<K>>) -> Self {
        let run = |(source, mut keys): (usize, Vec<K>)| {
            keys.sort_by(SortKey::compare);
            let item = |(sequence, key)| Item::new(key, source, sequence);
            keys.into_iter().enumerate().map(item).collect()
        };
        Self(keys.into_iter().enumerate().map(run).collect())
    }
}

impl<K: TestKey> Runs<K> {
    /// Generates runs without quickcheck: `size` is about how long a long one is.
    #[must_use]
    pub fn random(random: &mut Random, size: usize) -> Self {
        let domain = Domain::ALL[random.below(Domain::ALL.len())];
        let sources = match random.below(4) {
            0 => random.below(4),
            1 | 2 => random.below(10),
            _ => random.below(MOST_SOURCES + 1),
        };
        let mut keys = Vec::with_capacity(sources);
        for _ in 0..sources {
            let length = skewed(random, size);
            keys.push((0..length).map(|_| K::generate(random, domain)).collect());
        }
        Self::from_keys(keys)
    }
}

impl<K> Runs<K> {
    /// Returns the runs.
    #[must_use]
    pub fn as_slice(&self) -> &[Vec<Item<K>>] {
        &self.0
    }

    /// Returns the runs.
    #[must_use]
    pub fn into_vec(self) -> Vec<Vec<Item<K>>> {
        self.0
    }

    /// Returns how many sources there are.
    #[must_use]
    pub const fn sources(&self) -> usize {
        self.0.len()
    }

    /// Returns how many items there are in all sources together.
    #[must_use]
    pub fn items(&self) -> usize {
        self.0.iter().map(Vec::len).sum()
    }
}

impl<K: Clone> Runs<K> {
    /// Returns the keys alone.
    #[must_use]
    pub fn keys(&self) -> Vec<Vec<K>> {
        self.0.iter().map(|run| run.iter().map(|item| item.key.clone()).collect()).collect()
    }
}

impl<K: TestKey> Arbitrary for Runs<K> {
    fn arbitrary(g: &mut Gen) -> Self {
        Self::random(&mut Random::seed(u64::arbitrary(g)), g.size())
    }

    /// Fewer sources first, then shorter ones, then simpler keys.
    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let keys = self.keys();
        let fewer = without_some(keys.clone());
        let all = keys.clone();
        let shorter = (0..all.len()).flat_map(move |source| {
            let all = all.clone();
            without_some(all[source].clone()).map(move |run| replaced(&all, source, run))
        });
        let simpler = (0..keys.len()).flat_map(move |source| {
            let all = keys.clone();
            (0..all[source].len()).flat_map(move |sequence| {
                let all = all.clone();
                all[source][sequence]
                    .simpler()
                    .map(move |key| replaced(&all, source, replaced(&all[source], sequence, key)))
            })
        });
        Box::new(fewer.chain(shorter).chain(simpler).map(Self::from_keys))
    }
}

/// A length that is often 0, mostly short, and seldom long.
const fn skewed(random: &mut Random, size: usize) -> usize {
    match random.below(8) {
        0 | 1 => 0,
        2 | 3 => random.below(3),
        4..=6 => random.below(size / 8 + 2),
        _ => random.below(size + 1),
    }
}

fn replaced<T: Clone>(all: &[T], index: usize, with: T) -> Vec<T> {
    let mut all = all.to_vec();
    all[index] = with;
    all
}

/// All that is left of `all` without a half of it, without a quarter, and so on down to single ones.
fn without_some<T: Clone + 'static>(all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    let sizes = std::iter::successors(Some(all.len()), |size| Some(size / 2)).take_while(|size| *size > 0);
    let cuts = sizes.flat_map({
        let length = all.len();
        move |size| (0..length).step_by(size).map(move |from| from..length.min(from + size))
    });
    cuts.map(move |cut| [&all[..cut.start], &all[cut.end..]].concat())
}
