use losertree::LabelsBuilder;

use super::Problem;
use super::cursor::Cursor;
use super::index::Index;
use super::window::Window;
use super::{BlockError, Interval};

/// What an index says of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkMeta {
    pub(crate) range: Interval,
    /// The number of the segment file, and the byte in it.
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// The bytes of a series in an index, which were checked as a whole.
pub(crate) struct SeriesEntry<'i, 'w> {
    index: &'i Index,
    bytes: &'w [u8],
    /// Where in the file it is.
    offset: u64,
}

/// The longest number of a length.
const LEN_BYTES: usize = 10;
const CRC_BYTES: usize = 4;

impl<'i, 'w> SeriesEntry<'i, 'w> {
    pub(crate) fn read(index: &'i Index, window: &'w mut Window, series: u32) -> Result<Self, BlockError> {
        let file = &index.file;
        let offset = index.series_offset(series).map_err(|problem| file.error(0, problem))?;
        let error = |problem| file.error(offset, problem);
        let end = index.series_end();
        let mut cursor = Cursor::new(window.get(file, offset, LEN_BYTES, end)?);
        let len = cursor.uvarint("a series").map_err(error)?;
        let start = cursor.position();
        let available = end.saturating_sub(offset + start as u64);
        if available < CRC_BYTES as u64 || len > available - CRC_BYTES as u64 {
            return Err(error(Problem::Truncated { what: "a series", len, available }));
        }
        let all = start + len as usize + CRC_BYTES;
        let mut cursor = Cursor::new(window.get(file, offset, all, end)?);
        let checked = cursor.take(start as u64, "a series").and_then(|_| {
            let bytes = cursor.take(len, "a series")?;
            super::cursor::check_crc(bytes, cursor.u32("a series")?, "a series")?;
            Ok(bytes)
        });
        Ok(Self { index, bytes: checked.map_err(error)?, offset })
    }

    fn error(&self, problem: Problem) -> BlockError {
        self.index.file.error(self.offset, problem)
    }

    /// Puts the labels into a builder, and the chunks that overlap a range of time into a list.
    pub(crate) fn decode(
        &self,
        labels: Option<&mut LabelsBuilder>,
        range: Interval,
        chunks: &mut Vec<ChunkMeta>,
    ) -> Result<(), BlockError> {
        self.parse(labels, range, chunks).map_err(|problem| self.error(problem))
    }

    /// The name and the value of its first label.
    pub(crate) fn first_label(&self) -> Result<Option<(&'i str, &'i str)>, BlockError> {
        let mut cursor = Cursor::new(self.bytes);
        let first = cursor.uvarint("a label").and_then(|count| {
            if count == 0 {
                return Ok(None);
            }
            let name = self.index.symbol(cursor.uvarint("a label")?)?;
            Ok(Some((name, self.index.symbol(cursor.uvarint("a label")?)?)))
        });
        first.map_err(|problem| self.error(problem))
    }

    /// The value of one of its labels.
    pub(crate) fn label(&self, wanted: &str) -> Result<Option<&'i str>, BlockError> {
        let find = || {
            let mut cursor = Cursor::new(self.bytes);
            for _ in 0..cursor.uvarint("the number of labels")? {
                let (name, value) = (cursor.uvarint("a label")?, cursor.uvarint("a label")?);
                if self.index.symbol(name)? == wanted {
                    return self.index.symbol(value).map(Some);
                }
            }
            Ok(None)
        };
        find().map_err(|problem| self.error(problem))
    }

    fn parse(
        &self,
        mut labels: Option<&mut LabelsBuilder>,
        wanted: Interval,
        chunks: &mut Vec<ChunkMeta>,
    ) -> Result<(), Problem> {
        let mut cursor = Cursor::new(self.bytes);
        for _ in 0..cursor.uvarint("the number of labels")? {
            let (name, value) = (cursor.uvarint("a label")?, cursor.uvarint("a label")?);
            if let Some(labels) = &mut labels {
                labels.label(self.index.symbol(name)?, self.index.symbol(value)?);
            }
        }
        let overflow = || Problem::Invalid("a time or a place of a chunk is out of range");
        let (mut last_ms, mut reference) = (0_i64, 0_u64);
        for number in 0..cursor.uvarint("the number of chunks")? {
            let (min_ms, place) = if number == 0 {
                (Some(cursor.varint("a chunk")?), None)
            } else {
                (last_ms.checked_add_unsigned(cursor.uvarint("a chunk")?), Some(reference))
            };
            let min_ms = min_ms.ok_or_else(overflow)?;
            let max_ms = min_ms.checked_add_unsigned(cursor.uvarint("a chunk")?).ok_or_else(overflow)?;
            reference = match place {
                None => cursor.uvarint("a chunk")?,
                Some(before) => before.checked_add_signed(cursor.varint("a chunk")?).ok_or_else(overflow)?,
            };
            last_ms = max_ms;
            let range = Interval::new(min_ms, max_ms);
            if range.overlaps(wanted) {
                let segment = (reference >> 32) as u32;
                let offset = (reference & u64::from(u32::MAX)) as u32;
                chunks.push(ChunkMeta { range, segment, offset });
            }
        }
        if cursor.remaining() == 0 {
            Ok(())
        } else {
            Err(Problem::Invalid("a series is longer than its contents"))
        }
    }
}
