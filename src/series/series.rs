use std::cmp::Ordering;

use bytes::Bytes;

use super::labels::Labels;
use crate::key::SortKey;

/// A set of labels with the chunks of samples found for it.
///
/// # Ordering
///
/// As a [`SortKey`], a series is ordered by its labels alone. Series with equal keys need not be equal: the
/// answers of two stores for one series are, and they come out of a merge next to each other, in the order
/// of the stores. There is no [`Ord`], for it would have to agree with [`Eq`], which compares chunks too.
///
/// # Serialization
///
/// With the feature `serde`: the fields by their names, the [labels](Labels#impl-Serialize-for-Labels) as a map.
///
/// # Examples
///
/// ```
/// use losertree::{Chunk, Labels, Series, SortKey};
///
/// let labels = Labels::from_pairs([("__name__", "up")])?;
/// let here = Series::new(labels.clone(), vec![Chunk::new(0, 59_999, "a")]);
/// let there = Series::new(labels, vec![Chunk::new(0, 59_999, "b")]);
/// assert!(here.compare(&there).is_eq());
/// assert_ne!(here, there);
/// # Ok::<(), losertree::series::LabelsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Series {
    /// What the series is called.
    pub labels: Labels,
    /// Its samples. Stores give them by time; nothing here depends on that.
    pub chunks: Vec<Chunk>,
}

impl Series {
    /// Creates a series.
    #[must_use]
    pub const fn new(labels: Labels, chunks: Vec<Chunk>) -> Self {
        Self { labels, chunks }
    }

    /// Returns how many bytes of memory this is: the series itself, its packed labels, its chunks and their data.
    ///
    /// What it shares with others is counted in full, and the spare capacity of the vector is not counted; so
    /// equal series have equal sizes.
    ///
    /// # Complexity
    ///
    /// Linear in the number of chunks.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Chunk::size_bytes).sum();
        size_of::<Self>() + self.labels.packed().len() + chunks
    }
}

/// By the labels alone.
impl SortKey for Series {
    const CODE_BITS: u32 = Labels::CODE_BITS;
    const EXACT: bool = Labels::EXACT;
    const PARTS: usize = 1;

    #[inline]
    fn code(&self) -> u64 {
        self.labels.code()
    }

    #[inline]
    fn compare(&self, other: &Self) -> Ordering {
        self.labels.compare(&other.labels)
    }

    #[inline]
    fn part(&self, _index: usize) -> &[u8] {
        self.labels.packed()
    }
}

/// A piece of a series: samples of a span of time, encoded in some way that this library does not look into.
///
/// Cheap to clone: clones share the data.
///
/// # Ordering
///
/// By start, then by end, then by the data, which makes chunks equal only if they are identical.
///
/// # Serialization
///
/// With the feature `serde`: the fields by their names, the data as bytes, which are an array of numbers in JSON.
///
/// # Examples
///
/// ```
/// use losertree::Chunk;
///
/// let early = Chunk::new(0, 59_999, "…");
/// let late = Chunk::new(60_000, 119_999, "…");
/// assert!(early < late);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Chunk {
    /// The time of the first sample, in milliseconds since the epoch.
    pub min_time_ms: i64,
    /// The time of the last sample, in milliseconds since the epoch.
    pub max_time_ms: i64,
    /// The encoded samples.
    pub data: Bytes,
}

impl Chunk {
    /// Creates a chunk.
    #[must_use]
    pub fn new(min_time_ms: i64, max_time_ms: i64, data: impl Into<Bytes>) -> Self {
        Self { min_time_ms, max_time_ms, data: data.into() }
    }

    /// Returns how many bytes of memory this is: the chunk itself and its data.
    ///
    /// Data that clones share is counted with each of them, and memory that is kept only because the data is a
    /// part of it is not counted.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.data.len()
    }
}
