use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::file::BlockFile;
use super::{BlockError, Problem};

/// What `meta.json` says of a block.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Meta {
    /// The name of the block, which is that of its directory.
    pub ulid: String,
    /// The time of the first sample, in milliseconds since the epoch.
    #[serde(rename = "minTime")]
    pub min_time_ms: i64,
    /// The time before which the last sample is: it is not in the block's range.
    #[serde(rename = "maxTime")]
    pub max_time_ms: i64,
    /// The version of the format of the block: 1.
    pub version: u64,
    /// How much is in it.
    #[serde(default)]
    pub stats: Stats,
    /// What it was made of.
    #[serde(default)]
    pub compaction: Compaction,
    /// What Thanos has added.
    #[serde(default)]
    pub thanos: Thanos,
}

/// How much is in a block.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Stats {
    /// Samples.
    pub num_samples: u64,
    /// Series.
    pub num_series: u64,
    /// Chunks.
    pub num_chunks: u64,
}

/// What a block was made of.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Compaction {
    /// How often its samples were compacted.
    pub level: u64,
    /// The blocks that it replaces.
    pub parents: Vec<Parent>,
    /// Nothing is left in it.
    pub deletable: bool,
}

/// A block that was replaced by another.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Parent {
    /// Its name.
    pub ulid: String,
}

/// What Thanos has added to a block.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Thanos {
    /// Labels that all series of the block have besides their own, and that override these.
    pub labels: BTreeMap<String, String>,
    /// Whether its chunks are aggregates.
    pub downsample: Downsample,
}

/// Whether the chunks of a block are aggregates.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Downsample {
    /// The time that an aggregate spans, in milliseconds; 0 for samples as they were scraped.
    pub resolution: i64,
}

impl Meta {
    /// The longest file that is read.
    const LIMIT_BYTES: u64 = 16 << 20;

    /// Reads `meta.json` of a block.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if it is not there, longer than 16 MiB, not JSON, of another version, of a downsampled block, or with times
    /// that are not in order.
    pub fn read(dir: &Path) -> Result<Self, BlockError> {
        let file = BlockFile::open(dir.join("meta.json"))?;
        let bytes = file.part(0, file.len(), Self::LIMIT_BYTES, "meta.json")?;
        let meta: Self = serde_json::from_slice(&bytes).map_err(|error| file.error(0, error))?;
        if meta.version != 1 {
            return Err(file.error(0, Problem::Version(meta.version)));
        }
        if meta.thanos.downsample.resolution != 0 {
            return Err(file
                .error(0, Problem::Invalid("the block is downsampled, and only raw samples can be served")));
        }
        if meta.min_time_ms > meta.max_time_ms {
            return Err(file.error(0, Problem::Invalid("the block ends before it begins")));
        }
        Ok(meta)
    }

    /// Whether a sample of the block can lie in a closed range of time.
    #[must_use]
    pub const fn overlaps(&self, start_ms: i64, end_ms: i64) -> bool {
        self.min_time_ms <= end_ms && start_ms < self.max_time_ms
    }
}
