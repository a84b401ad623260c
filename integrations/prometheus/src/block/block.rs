use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use losertree::resource::{ReaderGate, ReaderGuard};
use losertree::response::Store;
use losertree::{BoxSource, LeakLedger, Response, Source};

use super::error::shared;
use super::index::Index;
use super::memory::Memory;
use super::reader::BlockReader;
use super::segments::Segments;
use super::source::BlockSource;
use super::tombstones::Tombstones;
use super::{BlockError, Interval, Meta};
use crate::{Matcher, StoreError};

/// What a query asks of blocks: series that all matchers match, with their samples in a closed range of time.
#[derive(Debug, Clone)]
pub struct Selector {
    /// Of which each has to match.
    pub matchers: Arc<[Matcher]>,
    /// The range, both ends of which are in it.
    pub range: Interval,
    /// Labels that are taken off, after the matchers have seen them: those by which replicas differ.
    pub without: Arc<[String]>,
}

/// A block that is open: its files, what is kept of them in memory, and the gate that readers pass.
///
/// # Memory
///
/// Of the index, the strings of its symbols, 4 bytes for each of these, and 12 bytes for each pair of a label and a value; of the
/// tombstones, 16 bytes for each range and 48 for each series that has some. Nothing for each series:
/// [`memory_bytes`](Self::memory_bytes) is all.
pub struct Block {
    meta: Meta,
    pub(super) dir: Arc<Path>,
    pub(super) external: BTreeMap<String, String>,
    pub(super) index: Index,
    pub(super) segments: Segments,
    pub(super) tombstones: Tombstones,
    gate: ReaderGate,
}

impl Block {
    /// Opens the block of a directory. Blocks the thread.
    ///
    /// All its series have the labels that `thanos.labels` of `meta.json` names, and `external` ones besides; these override what a
    /// series has of its own, and `external` overrides the file. Readers are booked in the ledger.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if a file cannot be read, or what is read of it is wrong. Series, postings and chunks are checked when a
    /// query reads them.
    pub fn open(
        dir: &Path,
        external: &BTreeMap<String, String>,
        ledger: &LeakLedger,
    ) -> Result<Self, BlockError> {
        let meta = Meta::read(dir)?;
        let mut labels = meta.thanos.labels.clone();
        labels.extend(external.iter().map(|(name, value)| (name.clone(), value.clone())));
        // An empty value is no label, but it overrides all the same.
        Ok(Self {
            index: Index::open(dir)?,
            segments: Segments::open(dir)?,
            tombstones: Tombstones::read(dir)?,
            gate: ReaderGate::with_ledger(format!("block {}", meta.ulid), ledger),
            external: labels,
            dir: shared(dir.into()),
            meta,
        })
    }

    /// Returns what `meta.json` says.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Returns the directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the labels that all its series have.
    #[must_use]
    pub const fn external_labels(&self) -> &BTreeMap<String, String> {
        &self.external
    }

    /// Returns the gate that its readers pass. The block can be removed when it is closed.
    #[must_use]
    pub const fn gate(&self) -> &ReaderGate {
        &self.gate
    }

    /// Returns how many bytes of memory it takes as long as it is open.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes() + self.tombstones.memory_bytes()
    }

    /// Returns the names of all labels, external ones included, in order.
    #[must_use]
    pub fn label_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.index.names().map(Into::into).collect();
        names.extend(
            self.external.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.clone()),
        );
        names.retain(|name| self.external.get(name).is_none_or(|value| !value.is_empty()));
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Returns the values of a label, external ones included, in order.
    #[must_use]
    pub fn label_values(&self, name: &str) -> Vec<String> {
        match self.external.get(name) {
            Some(value) => Some(value).filter(|value| !value.is_empty()).cloned().into_iter().collect(),
            None => self.index.values(name).map(|(value, _)| value.into()).collect(),
        }
    }

    /// Whether a query can find something here, by the time and the external labels.
    #[must_use]
    pub fn can_match(&self, selector: &Selector) -> bool {
        let is_matched =
            |matcher: &Matcher| self.external.get(matcher.name()).is_none_or(|value| matcher.matches(value));
        self.meta.overlaps(selector.range.min_ms, selector.range.max_ms)
            && selector.matchers.iter().all(is_matched)
    }

    /// Lets a reader in, by the name of what it reads for.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if the gate is closed.
    #[track_caller]
    pub fn enter(&self, reader: impl Into<Arc<str>>) -> Result<ReaderGuard, BlockError> {
        self.gate.enter_as(reader).map_err(|closed| BlockError::new(&self.dir, 0, closed))
    }

    /// Makes a reader for a query. Nothing is read before it is asked.
    ///
    /// Its buffers are of so many bytes, or as many as a chunk has that is longer.
    #[must_use]
    pub fn read(
        self: &Arc<Self>,
        guard: ReaderGuard,
        selector: Selector,
        memory: &Memory,
        buffer_bytes: usize,
    ) -> BlockReader {
        BlockReader::new(Arc::clone(self), guard, selector, memory.clone(), buffer_bytes)
    }

    /// Makes a store for a query, which reads on the threads of the runtime that are for what blocks. Without chunks, if only
    /// labels are wanted.
    pub(crate) fn store(
        self: &Arc<Self>,
        guard: ReaderGuard,
        selector: Selector,
        memory: &Memory,
        buffer_bytes: usize,
        skip_chunks: bool,
    ) -> Store<BoxSource<'static, Response, StoreError>> {
        let mut reader = self.read(guard, selector, memory, buffer_bytes);
        if skip_chunks {
            reader = reader.without_chunks();
        }
        let source = BlockSource::new(reader).map_err(StoreError::from);
        Store::opened(format!("block {}", self.meta.ulid), source.boxed()).supports_without_replica_labels()
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block")
            .field("dir", &self.dir)
            .field("meta", &self.meta)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}
