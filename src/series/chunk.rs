use bytes::Bytes;

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
