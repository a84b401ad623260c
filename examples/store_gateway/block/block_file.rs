use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::format::{HEADER_BYTES, Header};
use super::{BlockError, Problem};

/// One file of a block, open for reading, with a header that is right.
///
/// It is shared by all queries that read the block: reads say where, so there is no position to share.
pub(crate) struct BlockFile {
    name: String,
    data: Box<dyn ReadAt>,
    header: Header,
}

/// Something that can be read from any place, by several at once.
trait ReadAt: Send + Sync {
    /// Reads some bytes from `offset` on; 0 at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl BlockFile {
    /// Opens a file and checks its header.
    pub(crate) fn open(path: &Path, magic: [u8; 8]) -> Result<Self, BlockError> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| file.metadata().map(|metadata| (file, metadata.len())));
        match opened {
            Ok((file, size)) => Self::check(name, Box::new(file), size, magic),
            Err(error) => Err(BlockError { file: name, offset: 0, problem: error.into() }),
        }
    }

    /// Takes bytes for the contents of a file. Tests do.
    #[allow(dead_code, reason = "the program has files")]
    pub(crate) fn from_bytes(name: &str, bytes: Vec<u8>, magic: [u8; 8]) -> Result<Self, BlockError> {
        let size = bytes.len() as u64;
        Self::check(name.to_owned(), Box::new(bytes), size, magic)
    }

    fn check(name: String, data: Box<dyn ReadAt>, size: u64, magic: [u8; 8]) -> Result<Self, BlockError> {
        let header = Header { generation: 0, series: 0, file_bytes: size };
        let mut file = Self { name, data, header };
        let mut bytes = [0; HEADER_BYTES];
        if size < HEADER_BYTES as u64 {
            return Err(file.error(size, Problem::Truncated { expected_bytes: HEADER_BYTES as u64 }));
        }
        file.at(0).read_exact(&mut bytes).map_err(|error| file.error(0, error))?;
        file.header = Header::decode(&bytes, magic).map_err(|problem| file.error(0, problem))?;
        let expected_bytes = file.header.file_bytes;
        if size < expected_bytes {
            return Err(file.error(size, Problem::Truncated { expected_bytes }));
        }
        file.check_end(expected_bytes, size)?;
        Ok(file)
    }

    /// Checks that there is nothing after `end`.
    pub(super) fn check_end(&self, end: u64, size: u64) -> Result<(), BlockError> {
        if end < size {
            return Err(self.error(end, Problem::Excess { excess_bytes: size - end }));
        }
        Ok(())
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// A reader from `offset` on.
    pub(crate) fn at(&self, offset: u64) -> impl Read {
        At { data: &*self.data, offset }
    }

    pub(super) fn error(&self, offset: u64, problem: impl Into<Problem>) -> BlockError {
        BlockError { file: self.name.clone(), offset, problem: problem.into() }
    }
}

impl fmt::Debug for BlockFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockFile")
            .field("name", &self.name)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}

struct At<'a> {
    data: &'a dyn ReadAt,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.data.read_at(bytes, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

impl ReadAt for File {
    #[cfg(unix)]
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, bytes, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, bytes, offset)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        (&self[start..]).read(bytes)
    }
}
