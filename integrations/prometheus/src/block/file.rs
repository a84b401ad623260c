use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::shared;
use super::{BlockError, Problem};

/// A file of a block, which is read by position, by several at once.
#[derive(Debug)]
pub(crate) struct BlockFile {
    file: File,
    path: Arc<Path>,
    len: u64,
}

impl BlockFile {
    pub(crate) fn open(path: PathBuf) -> Result<Self, BlockError> {
        let path = shared(path);
        let opened = File::open(&path).and_then(|file| {
            let meta = file.metadata()?;
            if meta.is_file() { Ok((file, meta.len())) } else { Err(io::Error::other("is not a file")) }
        });
        match opened {
            Ok((file, len)) => Ok(Self { file, path, len }),
            Err(error) => Err(BlockError::new(&path, 0, error)),
        }
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn error(&self, offset: u64, problem: impl Into<Problem>) -> BlockError {
        BlockError::new(&self.path, offset, problem)
    }

    /// Fails unless so many bytes lie within the file from there on.
    pub(crate) fn check(&self, offset: u64, len: u64, what: &'static str) -> Result<(), BlockError> {
        let available = self.len.saturating_sub(offset);
        if len <= available {
            Ok(())
        } else {
            Err(self.error(offset, Problem::Truncated { what, len, available }))
        }
    }

    /// Fills `buffer` with the bytes from there on.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| self.error(offset, error))
    }

    /// A few bytes from there on.
    pub(crate) fn array<const N: usize>(
        &self,
        offset: u64,
        what: &'static str,
    ) -> Result<[u8; N], BlockError> {
        self.check(offset, N as u64, what)?;
        let mut array = [0; N];
        self.read_at(offset, &mut array)?;
        Ok(array)
    }

    /// A reader of the bytes from there on.
    pub(crate) const fn reader(&self, offset: u64) -> FileReader<'_> {
        FileReader { file: &self.file, offset }
    }

    /// Reads a part of the file into memory of its own. It must not be longer than the limit.
    pub(crate) fn part(
        &self,
        offset: u64,
        len: u64,
        limit: u64,
        what: &'static str,
    ) -> Result<Vec<u8>, BlockError> {
        self.check(offset, len, what)?;
        if len > limit {
            return Err(self.error(offset, Problem::TooLong { what, len, limit }));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a file from a position on.
pub(crate) struct FileReader<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
