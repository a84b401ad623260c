use std::collections::HashMap;
use std::path::Path;

use super::cursor::{Cursor, check_crc};
use super::file::BlockFile;
use super::interval::normalize;
use super::{BlockError, Interval, Problem};

/// What was deleted from a block: ranges of time, by reference of the series.
#[derive(Debug, Default)]
pub(crate) struct Tombstones {
    by_series: HashMap<u64, Vec<Interval>>,
}

const MAGIC: u32 = 0x0130_BA30;
const HEADER_BYTES: usize = 5;
const CRC_BYTES: usize = 4;
/// The longest file that is read.
const LIMIT_BYTES: u64 = 256 << 20;

impl Tombstones {
    /// Reads the file `tombstones`. Without one, nothing was deleted.
    pub(crate) fn read(dir: &Path) -> Result<Self, BlockError> {
        let file = match BlockFile::open(dir.join("tombstones")) {
            Err(BlockError { problem: Problem::Io(error), .. })
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                return Ok(Self::default());
            }
            opened => opened?,
        };
        let bytes = file.part(0, file.len(), LIMIT_BYTES, "tombstones")?;
        let mut cursor = Cursor::new(&bytes);
        let mut by_series = HashMap::<u64, Vec<Interval>>::new();
        let read =
            Self::stones(&mut cursor, |series, interval| by_series.entry(series).or_default().push(interval));
        read.map_err(|problem| file.error(cursor.position() as u64, problem))?;
        by_series.values_mut().for_each(normalize);
        Ok(Self { by_series })
    }

    fn stones(cursor: &mut Cursor<'_>, mut add: impl FnMut(u64, Interval)) -> Result<(), Problem> {
        let found = cursor.u32("the magic number")?;
        if found != MAGIC {
            return Err(Problem::Magic { found, expected: MAGIC });
        }
        let version = cursor.byte("the version")?;
        if version != 1 {
            return Err(Problem::Version(version.into()));
        }
        let len = cursor.remaining().checked_sub(CRC_BYTES);
        let len = len.ok_or(Problem::Truncated {
            what: "the checksum",
            len: 4,
            available: cursor.remaining() as u64,
        })?;
        // The checksum is that of the tombstones alone, without the version.
        let mut rest = cursor.clone();
        let bytes = rest.take(len as u64, "the tombstones")?;
        check_crc(bytes, rest.u32("the checksum")?, "the tombstones")?;
        while cursor.position() < HEADER_BYTES + len {
            let series = cursor.uvarint("a tombstone")?;
            let min_ms = cursor.varint("a tombstone")?;
            add(series, Interval::new(min_ms, cursor.varint("a tombstone")?));
        }
        Ok(())
    }

    /// What was deleted from a series, in order.
    pub(crate) fn of(&self, series: u64) -> &[Interval] {
        if self.by_series.is_empty() { &[] } else { self.by_series.get(&series).map_or(&[], Vec::as_slice) }
    }

    /// How many bytes of memory this is, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let entry = size_of::<(u64, Vec<Interval>)>() + 1;
        let intervals: usize =
            self.by_series.values().map(|intervals| intervals.capacity() * size_of::<Interval>()).sum();
        self.by_series.capacity() * entry + intervals
    }
}
