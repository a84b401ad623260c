use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use losertree::Labels;

use super::format::{CHUNKS_MAGIC, CRC_BYTES, Entry, HEADER_BYTES, Header, INDEX_MAGIC, seal};
use super::{BlockError, BlockFile, BlockFiles, FileName};

/// Writes a generation of a block, series by series, in ascending order of their labels.
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
        Ok(Self { dir, name, index, chunks, series: 0 })
    }

    /// Writes a series and its samples: times in milliseconds, and values.
    pub(crate) fn series(&mut self, labels: &Labels, samples: &[(i64, f64)]) -> Result<(), BlockError> {
        let mut chunk = Vec::new();
        for (time_ms, value) in samples {
            chunk.extend_from_slice(&time_ms.to_le_bytes());
            chunk.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        let too_long = |output: &Output| output.error(io::ErrorKind::FileTooLarge.into());
        let entry = Entry {
            labels_len: u32::try_from(labels.packed().len()).map_err(|_| too_long(&self.index))?,
            chunk_len: u32::try_from(chunk.len()).map_err(|_| too_long(&self.chunks))?,
            chunk_offset: self.chunks.written,
            min_time_ms: samples.first().map_or(0, |(time_ms, _)| *time_ms),
            max_time_ms: samples.last().map_or(0, |(time_ms, _)| *time_ms),
        };
        self.chunks.write(&seal(chunk))?;
        self.index.write(&entry.encode(labels.packed()))?;
        self.series += 1;
        Ok(())
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
        let name = FileName { generation: files.name.generation + 1, ..files.name };
        let copy = |file: &BlockFile, path: &Path, magic| {
            let mut output = Output::create(path)?;
            let header = Header { generation: name.generation, ..*file.header() };
            let body = header.file_bytes - HEADER_BYTES as u64;
            let mut body = file.at(HEADER_BYTES as u64).take(body);
            io::copy(&mut body, &mut output.file).map_err(|error| output.error(error))?;
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

    fn error(&self, error: io::Error) -> BlockError {
        BlockError { file: self.path.display().to_string(), offset: self.written, problem: error.into() }
    }
}
