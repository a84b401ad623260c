use crate::stream::{Counters, ForgottenSources, MergeStats, SourceEnd, SourceStats};

/// What a store, or several together, have sent so far.
///
/// A response set gives it as [`Counters`], so that it comes up through merges of merges.
///
/// # Examples
///
/// ```
/// use losertree::response::Received;
///
/// let received = Received { bytes: 4096, ..Received::default() };
/// assert_eq!(received.samples, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// How many frames: messages of whatever brings the series.
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

const FRAMES: &str = "frames";
const BYTES: &str = "bytes";
const SERIES: &str = "series";
const CHUNKS: &str = "chunks";
const SAMPLES: &str = "samples";
const HELD_BACK: &str = "held_back";
const RESORTED: &str = "resorted";

impl From<Received> for Counters {
    fn from(received: Received) -> Self {
        let counts = [
            (FRAMES, received.frames),
            (BYTES, received.bytes),
            (SERIES, received.series),
            (CHUNKS, received.chunks),
            (HELD_BACK, received.is_held_back.into()),
            (RESORTED, received.is_resorted.into()),
        ];
        counts.into_iter().chain(received.samples.map(|samples| (SAMPLES, samples))).collect()
    }
}

impl Received {
    /// Returns what is in the counters of response sets. `None` if they are those of other sources.
    #[must_use]
    pub fn from_counters(counters: &Counters) -> Option<Self> {
        Some(Self {
            frames: counters.get(FRAMES)?,
            bytes: counters.get(BYTES)?,
            series: counters.get(SERIES)?,
            chunks: counters.get(CHUNKS)?,
            samples: counters.get(SAMPLES),
            is_held_back: counters.get(HELD_BACK)? > 0,
            is_resorted: counters.get(RESORTED)? > 0,
        })
    }
}

/// What the statistics of a merge say of response sets.
pub trait ResponseStats {
    /// Returns what was received; `None` of sources that are neither response sets nor merges of them.
    fn received(&self) -> Option<Received>;
}

impl ResponseStats for SourceStats {
    fn received(&self) -> Option<Received> {
        Received::from_counters(&self.counters)
    }
}

impl ResponseStats for ForgottenSources {
    fn received(&self) -> Option<Received> {
        Received::from_counters(&self.counters)
    }
}

/// Of all sources together.
impl ResponseStats for MergeStats {
    fn received(&self) -> Option<Received> {
        Received::from_counters(&self.counters())
    }
}

/// Returns how many sources of a merge have given all that they had, which was no series: warnings and hints are not what was asked
/// for. A source that is no response set is empty if it has given no item.
#[must_use]
pub fn empty_sources(stats: &MergeStats) -> usize {
    let is_empty = |source: &&SourceStats| {
        let given = source.received().map_or(source.items, |received| received.series);
        source.end == Some(SourceEnd::Exhausted) && given == 0
    };
    stats.sources.iter().filter(is_empty).count()
}
