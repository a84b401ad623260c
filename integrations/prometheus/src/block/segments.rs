use std::fs;
use std::path::Path;

use super::cursor::Cursor;
use super::error::shared;
use super::file::BlockFile;
use super::{BlockError, Problem};

const MAGIC: u32 = 0x85BD_40DD;
/// The magic number, the version and zeros.
const HEADER_BYTES: u64 = 8;

/// The files that have the chunks of a block.
#[derive(Debug)]
pub(crate) struct Segments {
    files: Vec<BlockFile>,
}

impl Segments {
    pub(crate) fn open(dir: &Path) -> Result<Self, BlockError> {
        let dir = dir.join("chunks");
        let listed = |error| BlockError::new(&shared(dir.clone()), 0, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(listed)? {
            let name = entry.map_err(listed)?.file_name();
            // Others are not finished, or no segments.
            if let Some(number) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            {
                names.extend(number.parse::<u64>().map(|number| (number, dir.join(&name))));
            }
        }
        names.sort();
        let open = |(_, path)| {
            let file = BlockFile::open(path)?;
            Self::check(&file)?;
            Ok(file)
        };
        Ok(Self { files: names.into_iter().map(open).collect::<Result<_, _>>()? })
    }

    fn check(file: &BlockFile) -> Result<(), BlockError> {
        let header = file.array::<{ HEADER_BYTES as usize }>(0, "the header")?;
        let found = Cursor::new(&header).u32("the header").map_err(|problem| file.error(0, problem))?;
        if found != MAGIC {
            return Err(file.error(0, Problem::Magic { found, expected: MAGIC }));
        }
        if header[4] == 1 { Ok(()) } else { Err(file.error(4, Problem::Version(header[4].into()))) }
    }

    /// Returns a file by its number in references, if the place in it can be that of a chunk.
    pub(crate) fn get(&self, segment: u32, offset: u32) -> Result<&BlockFile, Problem> {
        let reference = u64::from(segment) << 32 | u64::from(offset);
        let file = self.files.get(segment as usize);
        let file = file.filter(|file| (HEADER_BYTES..file.len()).contains(&offset.into()));
        file.ok_or(Problem::Reference { what: "chunk", reference })
    }
}
