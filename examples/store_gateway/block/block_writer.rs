use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use losertree::Labels;

use super::format::{
    CHUNKS_MAGIC, CRC_BYTES, Entry, HEADER_BYTES, Header, INDEX_MAGIC, MAX_CHUNK_BYTES, MAX_LABELS_BYTES,
    bounded, seal,
};
use super::{BlockError, BlockFile, BlockFiles, FileName, Problem};

/// Writes a generation of a block, series by series, in ascending order of their labels.
///
/// It refuses what could not be read, before it has written any of it, and can go on with other series.
///
/// The files have a temporary name until [`finish`](Self::finish) gives them theirs, the index last: an index
/// that is there is complete, and so are its chunks.
#[derive(Debug)]
pub(crate) struct BlockWriter<'a> {
    dir: &'a Path,
    name: FileName,
    index: Output,
    chunks: Output,
    series: u64,
    before: Option<Labels>,
}

#[derive(Debug)]
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
}

impl<'a> BlockWriter<'a> {
    pub(crate) fn create(dir: &'a Path, name: FileName) -> Result<Self, BlockError> {
        let index = Output::create(&name.index(dir))?;
        let chunks = Output::create(&name.chunks(dir))?;
        Ok(Self { dir, name, index, chunks, series: 0, before: None })
    }

    /// Writes a series and its samples: times in milliseconds, and values.
    pub(crate) fn series(&mut self, labels: &Labels, samples: &[(i64, f64)]) -> Result<(), BlockError> {
        let mut chunk = Vec::new();
        for (time_ms, value) in samples {
            chunk.extend_from_slice(&time_ms.to_le_bytes());
            chunk.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        self.check_labels(labels).map_err(|problem| self.index.error(problem))?;
        let times = check_chunk(samples, chunk.len()).map_err(|problem| self.chunks.error(problem))?;
        let (min_time_ms, max_time_ms) = times;
        let [labels_len, chunk_len] = [labels.packed().len(), chunk.len()].map(u32::try_from);
        let entry = Entry {
            // Neither is longer than its limit.
            labels_len: labels_len.unwrap_or_default(),
            chunk_len: chunk_len.unwrap_or_default(),
            chunk_offset: self.chunks.written,
            min_time_ms,
            max_time_ms,
        };
        self.chunks.write(&seal(chunk))?;
        self.index.write(&entry.encode(labels.packed()))?;
        self.series += 1;
        self.before = Some(labels.clone());
        Ok(())
    }

    fn check_labels(&self, labels: &Labels) -> Result<(), Problem> {
        bounded("labels", labels.packed().len() as u64, MAX_LABELS_BYTES as u64)?;
        match &self.before {
            Some(before) if before >= labels => {
                Err(Problem::Order { before: before.to_string(), labels: labels.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Writes the headers and gives the files their names.
    pub(crate) fn finish(self) -> Result<(), BlockError> {
        let header = |file: &Output| Header {
            generation: self.name.generation,
            series: self.series,
            file_bytes: file.written,
        };
        let (index, chunks) = (header(&self.index), header(&self.chunks));
        self.chunks.finish(&chunks.encode(CHUNKS_MAGIC), &self.name.chunks(self.dir))?;
        self.index.finish(&index.encode(INDEX_MAGIC), &self.name.index(self.dir))
    }

    /// Writes the next generation of a block, with the same series, and opens it.
    pub(crate) fn next_generation(dir: &Path, files: &BlockFiles) -> Result<BlockFiles, BlockError> {
        let generation = files.name.generation.checked_add(1);
        let generation = generation.ok_or_else(|| files.index.error(0, Problem::LastGeneration))?;
        let name = FileName { generation, ..files.name };
        let copy = |file: &BlockFile, path: &Path, magic| {
            let mut output = Output::create(path)?;
            let header = Header { generation, ..*file.header() };
            let body = header.file_bytes - HEADER_BYTES as u64;
            let copied = io::copy(&mut file.at(HEADER_BYTES as u64).take(body), &mut output.file);
            let copied = copied.map_err(|error| output.error(error))?;
            if copied < body {
                let expected_bytes = header.file_bytes;
                return Err(file.error(HEADER_BYTES as u64 + copied, Problem::Truncated { expected_bytes }));
            }
            output.finish(&header.encode(magic), path)
        };
        copy(&files.chunks, &name.chunks(dir), CHUNKS_MAGIC)?;
        copy(&files.index, &name.index(dir), INDEX_MAGIC)?;
        BlockFiles::open(dir, name)
    }
}

impl Output {
    /// Creates the file with room for the header.
    fn create(path: &Path) -> Result<Self, BlockError> {
        let mut path = path.to_owned();
        path.as_mut_os_string().push(".tmp");
        match File::create(&path) {
            Ok(file) => {
                let mut output = Self { path, file: BufWriter::new(file), written: 0 };
                output.write(&[0; HEADER_BYTES])?;
                Ok(output)
            }
            Err(error) => {
                Err(BlockError { file: path.display().to_string(), offset: 0, problem: error.into() })
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BlockError> {
        self.file.write_all(bytes).map_err(|error| self.error(error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self, header: &[u8], path: &Path) -> Result<(), BlockError> {
        debug_assert_eq!(header.len(), HEADER_BYTES, "{CRC_BYTES} bytes of checksum included");
        let mut write = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(header)?;
            self.file.flush()?;
            fs::rename(&self.path, path)
        };
        write().map_err(|error| self.error(error))
    }

    fn error(&self, problem: impl Into<Problem>) -> BlockError {
        BlockError { file: self.path.display().to_string(), offset: self.written, problem: problem.into() }
    }
}

/// Checks the samples of a chunk of so many bytes, and returns the times of the first and the last of them.
fn check_chunk(samples: &[(i64, f64)], chunk_bytes: usize) -> Result<(i64, i64), Problem> {
    bounded("a chunk", chunk_bytes as u64, MAX_CHUNK_BYTES as u64)?;
    let mut times = samples.iter().map(|(time_ms, _)| *time_ms);
    let first_ms = times.next().ok_or(Problem::NoSamples)?;
    let last_ms = times.try_fold(first_ms, |before_ms, time_ms| {
        if before_ms < time_ms { Ok(time_ms) } else { Err(Problem::SampleOrder { before_ms, time_ms }) }
    })?;
    Ok((first_ms, last_ms))
}
