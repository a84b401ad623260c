/// What a source has received so far, in its own figures. Returned by [`Source::received`](super::Source::received).
///
/// # Examples
///
/// ```
/// use losertree::stream::Received;
///
/// let received = Received { bytes: 4096, ..Received::default() };
/// assert_eq!(received.samples, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// How many frames: messages of whatever brings the items.
    pub frames: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many series, those in batches and those of other shards included.
    pub series: u64,
    /// How many chunks.
    pub chunks: u64,
    /// How many samples, if they are counted.
    pub samples: Option<u64>,
    /// Whether series were held back until the last had come, rather than given as they came.
    pub is_held_back: bool,
    /// Whether those were out of order, and were sorted.
    pub is_resorted: bool,
}

impl Received {
    /// What two sources together have received.
    pub(super) fn plus(self, other: Self) -> Self {
        let samples = self.samples.into_iter().chain(other.samples).reduce(u64::saturating_add);
        Self {
            frames: self.frames.saturating_add(other.frames),
            bytes: self.bytes.saturating_add(other.bytes),
            series: self.series.saturating_add(other.series),
            chunks: self.chunks.saturating_add(other.chunks),
            samples,
            is_held_back: self.is_held_back || other.is_held_back,
            is_resorted: self.is_resorted || other.is_resorted,
        }
    }
}
