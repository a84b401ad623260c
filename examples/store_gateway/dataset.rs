//! What the blocks have: the series of real scrapes, replicated over labels.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use losertree::series::LabelsError;
use losertree::{Labels, Series};

use crate::block::{BlockSeries, MAX_SAMPLES};
use crate::exposition;

/// In how many blocks a series is.
const COPIES: u64 = 2;
const START_MS: i64 = 1_795_305_600_000;
const BLOCK_MS: i64 = 2 * 60 * 60 * 1000;
/// A series has so many samples and up to [`MORE_SAMPLES`] more.
const SAMPLES: i64 = 4;
const MORE_SAMPLES: i64 = 16;
const _: () = assert!(SAMPLES + MORE_SAMPLES <= MAX_SAMPLES);

/// Why there are no blocks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatasetError {
    #[error("{path}: {error}")]
    Io { path: String, error: io::Error },
    #[error("{path}:{line}: {problem}")]
    Scrape { path: String, line: usize, problem: exposition::Problem },
    #[error("cannot replicate a series: {0}")]
    Labels(#[from] LabelsError),
    #[error("there are no series in {0}")]
    NoSeries(String),
}

/// Makes so many different series and puts them into blocks, each into two, with samples of different times.
pub(crate) fn blocks(blocks: u64, series: u64) -> Result<Vec<Arc<[BlockSeries]>>, DatasetError> {
    let templates = templates(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data"))?;
    (0..blocks).map(|block| series_of(block, blocks, series, &templates)).collect()
}

/// The series that are in one block, in order.
fn series_of(
    block: u64,
    blocks: u64,
    series: u64,
    templates: &[Template],
) -> Result<Arc<[BlockSeries]>, DatasetError> {
    let copies = COPIES.min(blocks);
    let start_ms = START_MS + i64::try_from(block).unwrap_or_default() * BLOCK_MS;
    let mut all = Vec::new();
    for copy in 0..copies {
        let home = (block + blocks - copy * (blocks / copies)) % blocks;
        for number in (home..series).step_by(usize::try_from(blocks).unwrap_or(usize::MAX)) {
            let template = &templates[usize::try_from(number % templates.len() as u64).unwrap_or_default()];
            let labels = template.replicate(number / templates.len() as u64)?;
            let more = i64::try_from(number % (MORE_SAMPLES.cast_unsigned() + 1)).unwrap_or_default();
            all.push(BlockSeries { labels, start_ms, samples: SAMPLES + more, value: template.value });
        }
    }
    all.sort_unstable_by(|one, other| one.labels.cmp(&other.labels));
    Ok(all.into())
}

/// A series of a scrape, to be replicated.
#[derive(Debug)]
struct Template {
    labels: Labels,
    exporter: String,
    value: f64,
}

impl Template {
    fn replicate(&self, replica: u64) -> Result<Labels, LabelsError> {
        let mut builder = Labels::builder();
        for (name, value) in &self.labels {
            builder.label(name, value);
        }
        let (cluster, shard) = (format!("c{:03}", replica / 4), (replica % 4).to_string());
        builder.label("exporter", &self.exporter).label("cluster", cluster).label("shard", shard);
        builder.build()
    }
}

/// Reads the scrapes.
fn templates(dir: &Path) -> Result<Vec<Template>, DatasetError> {
    let mut scrapes: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(in_file(dir))? {
        scrapes.push(entry.map_err(in_file(dir))?.path());
    }
    scrapes.retain(|path| path.extension().is_some_and(|extension| extension == "prom"));
    scrapes.sort();
    let mut templates = BTreeMap::new();
    for path in &scrapes {
        let scrape = fs::read(path).map_err(in_file(path))?;
        let malformed = |exposition::Malformed { line, problem }| DatasetError::Scrape {
            path: path.display().to_string(),
            line,
            problem,
        };
        let exporter = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for series in exposition::parse(&scrape, exposition::Format::default()).map_err(malformed)? {
            let labels = series.labels.without(&["exporter", "cluster", "shard"]);
            templates.insert((exporter.clone(), labels), value_of(&series));
        }
    }
    if templates.is_empty() {
        return Err(DatasetError::NoSeries(dir.display().to_string()));
    }
    let template = |((exporter, labels), value)| Template { labels, exporter, value };
    Ok(templates.into_iter().map(template).collect())
}

/// The value in the one chunk of a scraped series, which is text: `value [timestamp]`.
fn value_of(series: &Series) -> f64 {
    let text = series.chunks.first().and_then(|chunk| str::from_utf8(&chunk.data).ok()).unwrap_or_default();
    text.split(' ').next().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
}

fn in_file(path: &Path) -> impl Fn(io::Error) -> DatasetError {
    move |error| DatasetError::Io { path: path.display().to_string(), error }
}
