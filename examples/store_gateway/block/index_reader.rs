use losertree::Labels;
use losertree::resource::ByteLease;

use super::format::{
    CRC_BYTES, ENTRY_FIXED_BYTES, Entry, HEADER_BYTES, MAX_CHUNK_BYTES, MAX_LABELS_BYTES, bounded, sealed,
};
use super::{BlockError, BlockFiles, Problem};

/// Reads the index of a block from its first entry to its last, through a window of leased memory.
#[derive(Debug)]
pub(super) struct IndexReader {
    window: ByteLease,
    /// How much of the window has been read out.
    read: usize,
    /// Where in the file the next entry begins.
    offset: u64,
    series_left: u64,
    /// Where in the other file the next chunk begins.
    chunk_offset: u64,
    before: Option<Labels>,
    /// How often the window was filled.
    pub(super) fills: u64,
}

impl IndexReader {
    pub(super) fn new(files: &BlockFiles, window: ByteLease) -> Self {
        Self {
            window,
            read: 0,
            offset: HEADER_BYTES as u64,
            series_left: files.index.header().series,
            chunk_offset: HEADER_BYTES as u64,
            before: None,
            fills: 0,
        }
    }

    /// Reads the next entry and its labels.
    pub(super) fn next(&mut self, files: &BlockFiles) -> Result<Option<(Entry, Labels)>, BlockError> {
        let size = files.index.header().file_bytes;
        if self.series_left == 0 {
            // Nothing may be left in either file.
            files.index.check_end(self.offset, size)?;
            files.chunks.check_end(self.chunk_offset, files.chunks.header().file_bytes)?;
            return Ok(None);
        }
        let start = self.offset;
        let error = |problem| files.index.error(start, problem);
        let least = ENTRY_FIXED_BYTES + CRC_BYTES;
        let left = size - start;
        if left < least as u64 {
            return Err(files.index.error(size, Problem::Truncated { expected_bytes: start + least as u64 }));
        }
        self.fill(files, least)?;
        let truncated = || error(Problem::Truncated { expected_bytes: start + least as u64 });
        let entry = Entry::decode(self.ahead()).ok_or_else(truncated)?;

        // Before the labels are looked at: what is left of the file and the window are both bounds.
        let limit = (left - least as u64).min(MAX_LABELS_BYTES as u64);
        bounded("labels", entry.labels_len.into(), limit).map_err(error)?;
        let labels_len = entry.labels_len as usize;
        self.fill(files, least + labels_len)?;
        let bytes = self.ahead().get(..least + labels_len).ok_or_else(truncated)?;
        let content = sealed(bytes).ok_or_else(|| error(Problem::Checksum))?;
        let labels = Labels::from_packed(&content[ENTRY_FIXED_BYTES..]);
        let labels = labels.map_err(|problem| error(problem.into()))?;
        if let Some(before) = self.before.as_ref().filter(|before| **before >= labels) {
            return Err(error(Problem::Order { before: before.to_string(), labels: labels.to_string() }));
        }
        self.check_chunk(&entry, files).map_err(error)?;

        self.before = Some(labels.clone());
        self.read += least + labels_len;
        self.offset += (least + labels_len) as u64;
        self.chunk_offset += u64::from(entry.chunk_len) + CRC_BYTES as u64;
        self.series_left -= 1;
        Ok(Some((entry, labels)))
    }

    /// Checks that the chunk begins where the one before ends, and ends within its file.
    fn check_chunk(&self, entry: &Entry, files: &BlockFiles) -> Result<(), Problem> {
        let (expected, found) = (self.chunk_offset, entry.chunk_offset);
        if expected != found {
            return Err(Problem::ChunkOffset { expected, found });
        }
        let left = files.chunks.header().file_bytes - expected;
        let limit = left.saturating_sub(CRC_BYTES as u64).min(MAX_CHUNK_BYTES as u64);
        bounded("a chunk", entry.chunk_len.into(), limit)
    }

    /// What is in the window and was not read out.
    fn ahead(&self) -> &[u8] {
        &self.window[self.read..]
    }

    /// Has at least `len` bytes in the window. The caller knows that the file and the window have them.
    fn fill(&mut self, files: &BlockFiles, len: usize) -> Result<(), BlockError> {
        let kept = self.ahead().len();
        if kept >= len {
            return Ok(());
        }
        let error = |problem: Problem| files.index.error(self.offset, problem);
        self.window.copy_within(self.read.., 0);
        self.window.set_len(kept).map_err(|full| error(std::io::Error::other(full).into()))?;
        self.read = 0;
        let from = self.offset + kept as u64;
        let left = files.index.header().file_bytes - from;
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.window.remaining());
        self.window.read_from(files.index.at(from), wanted).map_err(|failed| error(failed.into()))?;
        self.fills += 1;
        Ok(())
    }
}
