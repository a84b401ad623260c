use std::cmp::Ordering;

use super::{Chunk, Labels};
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
