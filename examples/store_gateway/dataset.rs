//! The directory of blocks: writing it from scrapes, and finding the blocks in it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use losertree::series::LabelsError;
use losertree::{Labels, Series};

use crate::args::Args;
use crate::block::{BlockError, BlockWriter, FileName};
use crate::exposition;

/// In how many blocks a series is.
const COPIES: u64 = 2;
const START_MS: i64 = 1_795_305_600_000;
const BLOCK_MS: i64 = 2 * 60 * 60 * 1000;
const STEP_MS: i64 = 15_000;
/// Says what the blocks were written for. Written last: without it the directory is incomplete.
const MANIFEST: &str = "manifest";

/// Why there are no blocks to open.
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
    #[error("{dir}: block {block} is missing")]
    Missing { dir: String, block: usize },
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// A directory of blocks.
#[derive(Debug)]
pub(crate) struct Dataset {
    pub(crate) dir: PathBuf,
    pub(crate) blocks: u64,
    pub(crate) series: u64,
}

impl Dataset {
    pub(crate) fn new(args: &Args) -> Self {
        Self { dir: args.dir(), blocks: args.blocks, series: args.series }
    }

    /// Whether the blocks are there.
    pub(crate) fn is_written(&self) -> bool {
        fs::read_to_string(self.dir.join(MANIFEST)).is_ok_and(|manifest| manifest == self.manifest())
    }

    fn manifest(&self) -> String {
        format!("losertree store_gateway 1\nblocks {}\nseries {}\n", self.blocks, self.series)
    }

    /// Writes all blocks, and says so after each of them.
    pub(crate) fn write(&self, progress: impl Fn()) -> Result<(), DatasetError> {
        fs::create_dir_all(&self.dir).map_err(in_file(&self.dir))?;
        let manifest = self.dir.join(MANIFEST);
        match fs::remove_file(&manifest) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(in_file(&manifest)(error)),
            _ => {}
        }
        for Found { path, .. } in self.files()? {
            fs::remove_file(&path).map_err(in_file(&path))?;
        }
        let templates = templates(&Path::new(env!("CARGO_MANIFEST_DIR")).join("data"))?;
        for block in 0..self.blocks {
            self.write_block(block, &templates)?;
            progress();
        }
        fs::write(&manifest, self.manifest()).map_err(in_file(&manifest))
    }

    /// Writes the series that are in one block. Only those are in memory.
    fn write_block(&self, block: u64, templates: &[Template]) -> Result<(), DatasetError> {
        let copies = COPIES.min(self.blocks);
        let mut all = Vec::new();
        for copy in 0..copies {
            let home = (block + self.blocks - copy * (self.blocks / copies)) % self.blocks;
            let mut series = home;
            while series < self.series {
                let template = usize::try_from(series % templates.len() as u64).unwrap_or_default();
                let replica = series / templates.len() as u64;
                all.push((templates[template].replicate(replica)?, series, templates[template].value));
                series += self.blocks;
            }
        }
        all.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        let name = FileName { block: usize::try_from(block).unwrap_or_default(), generation: 1 };
        let mut writer = BlockWriter::create(&self.dir, name)?;
        let start = START_MS + i64::try_from(block).unwrap_or_default() * BLOCK_MS;
        let mut samples = Vec::new();
        for (labels, series, value) in &all {
            samples.clear();
            let count = 4 + i64::try_from(series % 17).unwrap_or_default();
            samples.extend((0..count).map(|step| (start + step * STEP_MS, *value)));
            writer.series(labels, &samples)?;
        }
        Ok(writer.finish()?)
    }

    /// Lists the newest generation of each block, and deletes what an earlier run has left of others.
    pub(crate) fn names(&self) -> Result<Vec<FileName>, DatasetError> {
        let files = self.files()?;
        let mut newest = BTreeMap::new();
        for Found { name, .. } in files.iter().filter(|file| file.kind == "index") {
            let generation = newest.entry(name.block).or_insert(name.generation);
            *generation = name.generation.max(*generation);
        }
        for Found { path, name, kind } in &files {
            let is_whole = kind == "index" || kind == "chunks";
            if newest.get(&name.block) != Some(&name.generation) || !is_whole {
                fs::remove_file(path).map_err(in_file(path))?;
            }
        }
        (0..usize::try_from(self.blocks).unwrap_or_default())
            .map(|block| match newest.get(&block) {
                Some(&generation) => Ok(FileName { block, generation }),
                None => Err(DatasetError::Missing { dir: self.dir.display().to_string(), block }),
            })
            .collect()
    }

    /// Lists all files of blocks, by their names alone: others are left alone.
    fn files(&self) -> Result<Vec<Found>, DatasetError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(in_file(&self.dir))? {
            let path = entry.map_err(in_file(&self.dir))?.path();
            let name = path.file_name().and_then(|name| FileName::parse(name.to_str()?));
            if let Some((name, kind)) = name.map(|(name, kind)| (name, kind.to_owned())) {
                files.push(Found { path, name, kind });
            }
        }
        Ok(files)
    }
}

/// A file of a block.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    name: FileName,
    /// What follows the name: index or chunks, or those with `.tmp`.
    kind: String,
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
