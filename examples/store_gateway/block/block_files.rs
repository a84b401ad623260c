use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::format::{CHUNKS_MAGIC, INDEX_MAGIC};
use super::{BlockError, BlockFile, Problem};

/// Which generation of which block, as in `block-07.g3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileName {
    pub(crate) block: usize,
    pub(crate) generation: u64,
}

impl FileName {
    /// Reads the name of a file: which block and generation, and what kind of file.
    pub(crate) fn parse(file: &str) -> Option<(Self, &str)> {
        let (block, rest) = file.strip_prefix("block-")?.split_once(".g")?;
        let (generation, kind) = rest.split_once('.')?;
        let name = Self { block: block.parse().ok()?, generation: generation.parse().ok()? };
        // Other ways to write the numbers name other files.
        file.starts_with(&format!("{name}.")).then_some((name, kind))
    }

    pub(crate) fn index(self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}.index"))
    }

    pub(crate) fn chunks(self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}.chunks"))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block-{:02}.g{}", self.block, self.generation)
    }
}

/// The two files of a block, which fit together as far as their headers say.
#[derive(Debug)]
pub(crate) struct BlockFiles {
    pub(crate) name: FileName,
    pub(crate) index: BlockFile,
    pub(crate) chunks: BlockFile,
}

impl BlockFiles {
    /// Opens a block and checks the headers.
    pub(crate) fn open(dir: &Path, name: FileName) -> Result<Self, BlockError> {
        let index = BlockFile::open(&name.index(dir), INDEX_MAGIC)?;
        let chunks = BlockFile::open(&name.chunks(dir), CHUNKS_MAGIC)?;
        Self::new(name, index, chunks)
    }

    /// Puts two files together.
    pub(crate) fn new(name: FileName, index: BlockFile, chunks: BlockFile) -> Result<Self, BlockError> {
        let (said, found) = (index.header(), chunks.header());
        for (what, offset, expected, found) in [
            ("generation", 8, said.generation, found.generation),
            ("number of series", 16, said.series, found.series),
        ] {
            if expected != found {
                return Err(chunks.error(offset, Problem::Mismatch { what, expected, found }));
            }
        }
        Ok(Self { name, index, chunks })
    }

    /// Deletes the files. Only of a block that nobody reads.
    pub(crate) fn remove(&self, dir: &Path) -> Result<(), BlockError> {
        let remove =
            |path: PathBuf, file: &BlockFile| fs::remove_file(path).map_err(|error| file.error(0, error));
        remove(self.name.index(dir), &self.index)?;
        remove(self.name.chunks(dir), &self.chunks)
    }
}
