//! Keys and inputs.

use std::cmp::Ordering;
use std::fmt::Debug;

use bytes::Bytes;
use losertree::key::{Coded, OffsetCode};
use losertree::{Labels, SortKey};
use losertree_testkit::inputs;

use super::contender::Merged;
use super::scrapes;

/// How many sources are merged.
pub(crate) const SOURCES: [usize; 6] = [2, 4, 16, 64, 256, 1024];

/// How many items are merged, so that one merge takes a few milliseconds.
const NUMBERS: usize = 1 << 16;

/// Four megabytes of label sets do not fit into a second-level cache, nor would they in a service. So their
/// figures vary more than those of numbers, with whatever else uses the memory.
const LABEL_SETS: usize = 1 << 14;

/// A key that each contender can merge.
///
/// Sources give clones of keys out of a slice. For [`Labels`] that counts a reference up, and dropping the
/// clone counts it down again: the same for each contender, and no less than what a service would do.
pub(crate) trait Key: SortKey + Ord + Clone + Debug + Send + Sync + Unpin + 'static {
    /// Returns something of the key to be summed up.
    fn digest(&self) -> u64;
}

impl Key for u64 {
    fn digest(&self) -> u64 {
        *self
    }
}

impl Key for Labels {
    fn digest(&self) -> u64 {
        self.packed().len() as u64
    }
}

impl Key for Bytes {
    fn digest(&self) -> u64 {
        self.len() as u64
    }
}

impl Key for String {
    fn digest(&self) -> u64 {
        self.len() as u64
    }
}

impl Key for i128 {
    fn digest(&self) -> u64 {
        u64::try_from(self.unsigned_abs() >> 64).unwrap_or(u64::MAX)
    }
}

/// A key of which sources give references: nothing is cloned.
impl<K: Key> Key for &'static K {
    fn digest(&self) -> u64 {
        Key::digest(*self)
    }
}

/// A number and a payload of so many further words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<const WORDS: usize> {
    key: u64,
    payload: [u64; WORDS],
}

impl<const WORDS: usize> Ord for Record<WORDS> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<const WORDS: usize> PartialOrd for Record<WORDS> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const WORDS: usize> PartialEq for Record<WORDS> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<const WORDS: usize> Eq for Record<WORDS> {}

impl<const WORDS: usize> SortKey for Record<WORDS> {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = true;

    fn code(&self) -> u64 {
        self.key
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl<const WORDS: usize> Key for Record<WORDS> {
    fn digest(&self) -> u64 {
        self.key ^ self.payload[WORDS - 1]
    }
}

/// A float in its total order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Float(f64);

impl Ord for Float {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Float {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Float {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Float {}

impl SortKey for Float {
    const CODE_BITS: u32 = f64::CODE_BITS;
    const EXACT: bool = f64::EXACT;

    fn code(&self) -> u64 {
        self.0.code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.compare(&other.0)
    }
}

impl Key for Float {
    fn digest(&self) -> u64 {
        self.0.to_bits()
    }
}

/// A row that is ordered by two fields: of more than 64 bits, so that its code is that of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    group: u64,
    time: u64,
    payload: [u64; 6],
}

impl SortKey for Row {
    const CODE_BITS: u32 = <(u64, u64)>::CODE_BITS;
    const EXACT: bool = <(u64, u64)>::EXACT;

    fn code(&self) -> u64 {
        (self.group, self.time).code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Key for Row {
    fn digest(&self) -> u64 {
        self.time ^ self.payload[5]
    }
}

/// A key that this library would rather have in another form.
pub(crate) trait Ingest: Key {
    type Packed: Key;

    fn pack(&self) -> Self::Packed;

    fn unpack(packed: &Self::Packed) -> Self;
}

/// Label sets as what parses them has them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pairs(Vec<(String, String)>);

/// Without a code. This library merges them packed.
impl SortKey for Pairs {
    const CODE_BITS: u32 = 0;
    const EXACT: bool = false;

    fn code(&self) -> u64 {
        0
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Key for Pairs {
    fn digest(&self) -> u64 {
        self.0.len() as u64
    }
}

impl Ingest for Pairs {
    type Packed = Labels;

    fn pack(&self) -> Labels {
        labels(self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    fn unpack(packed: &Labels) -> Self {
        Self(packed.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }
}

/// A key in the form that this library would rather have.
pub(crate) struct Packed<K: Ingest>(K::Packed);

impl<K: Ingest> Packed<K> {
    pub(crate) fn of(key: &K) -> Self {
        Self(key.pack())
    }
}

impl<K: Ingest> SortKey for Packed<K> {
    const CODE_BITS: u32 = K::Packed::CODE_BITS;
    const EXACT: bool = K::Packed::EXACT;
    const PARTS: usize = K::Packed::PARTS;

    fn code(&self) -> u64 {
        self.0.code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.compare(&other.0)
    }

    fn part(&self, index: usize) -> &[u8] {
        self.0.part(index)
    }
}

impl<K: Ingest> Merged<K> for Packed<K> {
    fn digest(&self) -> u64 {
        Key::digest(&self.0)
    }

    fn into_key(self) -> K {
        K::unpack(&self.0)
    }
}

/// A key whose source knows what it has in common with the one before.
pub(crate) trait HandsIn: Key {
    type Item: Key;

    fn item(&self) -> Self::Item;

    fn known_code(&self) -> OffsetCode;

    fn of(item: Self::Item, code: OffsetCode) -> Self;
}

/// A label set with its code, of which all but this library make nothing.
#[derive(Debug, Clone)]
pub(crate) struct CodedLabels(Coded<Labels>);

impl HandsIn for CodedLabels {
    type Item = Labels;

    fn item(&self) -> Labels {
        self.0.item.clone()
    }

    fn known_code(&self) -> OffsetCode {
        self.0.code
    }

    fn of(item: Labels, code: OffsetCode) -> Self {
        Self(Coded { item, code })
    }
}

impl Key for CodedLabels {
    fn digest(&self) -> u64 {
        Key::digest(&self.0.item)
    }
}

impl Ord for CodedLabels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.item.cmp(&other.0.item)
    }
}

impl PartialOrd for CodedLabels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for CodedLabels {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for CodedLabels {}

impl SortKey for CodedLabels {
    const CODE_BITS: u32 = Labels::CODE_BITS;
    const EXACT: bool = Labels::EXACT;

    fn code(&self) -> u64 {
        self.0.item.code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.0.item.compare(&other.0.item)
    }
}

/// What a merge of such keys gives.
pub(crate) struct Known<K: HandsIn>(K::Item, OffsetCode);

impl<K: HandsIn> Known<K> {
    pub(crate) fn alone(item: K::Item) -> Self {
        Self(item, OffsetCode::EQUAL)
    }

    pub(crate) fn of(coded: Coded<K::Item>) -> Self {
        Self(coded.item, coded.code)
    }
}

impl<K: HandsIn> Merged<K> for Known<K> {
    fn digest(&self) -> u64 {
        Key::digest(&self.0)
    }

    fn into_key(self) -> K {
        K::of(self.0, self.1)
    }
}

/// A kind of input.
pub(crate) struct Workload<K> {
    pub(crate) name: &'static str,
    pub(crate) items: usize,
    make: fn(sources: usize, items: usize) -> Vec<Vec<K>>,
}

impl<K> Workload<K> {
    /// Makes the runs that so many sources give: the same each time.
    pub(crate) fn runs(&self, sources: usize) -> Vec<Vec<K>> {
        self.of(sources, self.items)
    }

    /// The same, of which sources give references. The keys are never freed.
    pub(crate) fn referred(&self, sources: usize) -> Vec<Vec<&'static K>>
    where
        K: 'static,
    {
        self.runs(sources).into_iter().map(|run| run.leak().iter().collect()).collect()
    }

    /// Makes runs of so many items in total.
    pub(crate) fn of(&self, sources: usize, items: usize) -> Vec<Vec<K>> {
        (self.make)(sources, items)
    }
}

type Numbers = Workload<u64>;

/// Numbers at random: each item is as likely to come from any source.
pub(crate) const UNIFORM: Numbers =
    Workload { name: "uniform", items: NUMBERS, make: |k, n| inputs::uniform(1, k, n) };

/// Numbers of which a source has 64 in a row on average.
pub(crate) const RUNS: Numbers =
    Workload { name: "runs", items: NUMBERS, make: |k, n| inputs::long_runs(2, k, n) };

/// Numbers of which 16 are distinct.
pub(crate) const DUPS: Numbers =
    Workload { name: "dups", items: NUMBERS, make: |k, n| inputs::duplicates(3, k, n) };

/// Numbers of which one source has nine in ten.
pub(crate) const SKEWED: Numbers =
    Workload { name: "skewed", items: NUMBERS, make: |k, n| inputs::skewed(6, k, n) };

/// Numbers of which each source has a range of its own.
pub(crate) const DISJOINT: Numbers =
    Workload { name: "disjoint", items: NUMBERS, make: |k, n| inputs::disjoint(7, k, n) };

/// Records of 64 bytes.
pub(crate) const RECORDS_64: Workload<Record<7>> =
    Workload { name: "records_64", items: NUMBERS, make: |k, n| records(inputs::uniform(8, k, n)) };

/// Records of 256 bytes.
pub(crate) const RECORDS_256: Workload<Record<31>> =
    Workload { name: "records_256", items: NUMBERS, make: |k, n| records(inputs::uniform(8, k, n)) };

/// Label sets, each of one source.
pub(crate) const LABELS: Workload<Labels> =
    Workload { name: "labels", items: LABEL_SETS, make: |k, n| packed(inputs::labels(4, k, n, 1)) };

/// Label sets, each of one source, which knows their codes.
pub(crate) const CODED: Workload<CodedLabels> = Workload {
    name: "coded",
    items: LABEL_SETS,
    make: |k, n| {
        let coded = |run: Vec<Labels>| Coded::with_codes(run).map(CodedLabels).collect();
        packed(inputs::labels(4, k, n, 1)).into_iter().map(coded).collect()
    },
};

/// Label sets, each of two sources.
pub(crate) const REPLICAS: Workload<Labels> =
    Workload { name: "replicas", items: LABEL_SETS, make: |k, n| packed(inputs::labels(5, k, n, 2)) };

/// Label sets that are not packed yet.
pub(crate) const PAIRS: Workload<Pairs> =
    Workload { name: "pairs", items: LABEL_SETS, make: |k, n| sorted(inputs::labels(4, k, n, 1), pairs) };

/// Strings of about 240 bytes with long shared prefixes.
pub(crate) const STRINGS: Workload<Bytes> =
    Workload { name: "strings", items: LABEL_SETS, make: |k, n| sorted(inputs::labels(9, k, n, 1), bytes) };

/// What the shipped scrapes have: a source for each.
pub(crate) const SCRAPES: Workload<Labels> =
    Workload { name: "scrapes", items: 0, make: |_, _| scrapes::alone() };

/// The shipped scrapes as so many machines have them.
pub(crate) const MACHINES: Workload<Labels> =
    Workload { name: "machines", items: 0, make: |k, _| scrapes::fleet(k, 1) };

/// The same, where each machine is known to two sources.
pub(crate) const MACHINES_TWICE: Workload<Labels> =
    Workload { name: "machines_twice", items: 0, make: |k, _| scrapes::fleet(k, 2) };

/// Label sets of pods, whose names are random at the end.
pub(crate) const PODS: Workload<Labels> =
    Workload { name: "pods", items: LABEL_SETS, make: |k, n| packed(inputs::pods(10, k, n)) };

pub(crate) const IDENTIFIERS: Workload<String> =
    Workload { name: "identifiers", items: LABEL_SETS, make: |k, n| inputs::identifiers(11, k, n) };

pub(crate) const URLS: Workload<String> =
    Workload { name: "urls", items: LABEL_SETS, make: |k, n| inputs::urls(12, k, n) };

pub(crate) const WORDS: Workload<String> =
    Workload { name: "words", items: LABEL_SETS, make: |k, n| inputs::words(13, k, n) };

pub(crate) const PATHS: Workload<String> =
    Workload { name: "paths", items: LABEL_SETS, make: |k, n| inputs::paths(14, k, n) };

/// Numbers of 128 bits, most of which differ in the first 64.
pub(crate) const WIDE: Workload<i128> = Workload {
    name: "i128",
    items: NUMBERS,
    make: |k, n| {
        let wide = |number: u64| i128::from(number.cast_signed()) << 64 | i128::from(number.rotate_left(17));
        let mut runs: Vec<Vec<_>> =
            inputs::uniform(15, k, n).into_iter().map(|run| run.into_iter().map(wide).collect()).collect();
        for run in &mut runs {
            run.sort_unstable();
        }
        runs
    },
};

/// Floats in their total order, of which one in a hundred is not a number.
pub(crate) const FLOATS: Workload<Float> = Workload {
    name: "f64",
    items: NUMBERS,
    make: |k, n| {
        // Far below 2^52.
        #[allow(clippy::cast_precision_loss)]
        let float = |number: u64| {
            Float(if number.is_multiple_of(100) { f64::NAN } else { (number >> 16) as f64 - 1e14 })
        };
        let mut runs: Vec<Vec<_>> =
            inputs::uniform(16, k, n).into_iter().map(|run| run.into_iter().map(float).collect()).collect();
        for run in &mut runs {
            run.sort_unstable();
        }
        runs
    },
};

/// Rows of 64 bytes by two fields, of which the first has 64 values.
pub(crate) const ROWS: Workload<Row> = Workload {
    name: "rows",
    items: NUMBERS,
    make: |k, n| {
        let row = |number: u64| Row { group: number % 64, time: number >> 8, payload: [number; 6] };
        let mut runs: Vec<Vec<_>> =
            inputs::uniform(17, k, n).into_iter().map(|run| run.into_iter().map(row).collect()).collect();
        for run in &mut runs {
            run.sort_unstable();
        }
        runs
    },
};

/// Numbers.
pub(crate) const fn numbers() -> [Numbers; 3] {
    [UNIFORM, RUNS, DUPS]
}

/// Label sets.
pub(crate) const fn label_sets() -> [Workload<Labels>; 2] {
    [LABELS, REPLICAS]
}

fn records<const WORDS: usize>(runs: Vec<Vec<u64>>) -> Vec<Vec<Record<WORDS>>> {
    let record = |key| Record { key, payload: [key; WORDS] };
    runs.into_iter().map(|run| run.into_iter().map(record).collect()).collect()
}

fn sorted<K: Ord>(runs: Vec<Vec<String>>, make: fn(&str) -> K) -> Vec<Vec<K>> {
    let sorted = |run: Vec<String>| {
        let mut run: Vec<_> = run.iter().map(|text| make(text)).collect();
        run.sort_unstable();
        run
    };
    runs.into_iter().map(sorted).collect()
}

fn packed(runs: Vec<Vec<String>>) -> Vec<Vec<Labels>> {
    sorted(runs, |text| labels(split(text)))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn pairs(text: &str) -> Pairs {
    Pairs(split(text).map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Reads `name=value`, each ended by a NUL.
fn split(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_terminator('\0').filter_map(|pair| pair.split_once('='))
}

fn labels<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
    match Labels::from_pairs(pairs) {
        Ok(labels) => labels,
        Err(error) => panic!("this is no label set: {error}"),
    }
}
