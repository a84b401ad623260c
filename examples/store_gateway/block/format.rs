//! The format of a block: two files, of which the index says what is in the chunks.
//!
//! Numbers are little-endian. `crc` is the CRC-32 (IEEE) of everything before it in the same box.
//!
//! ```text
//! block-07.g3.index
//!   ┌──────────┬────────────┬────────┬────────────┬─────┐
//!   │ ltindex1 │ generation │ series │ file_bytes │ crc │                             header, 36 bytes
//!   │    8     │     8      │   8    │     8      │  4  │
//!   ├──────────┴─┬──────────┴─┬──────┴───────┬────┴─────┼──────────┬────────┬─────┐
//!   │ labels_len │ chunk_len  │ chunk_offset │ min_time │ max_time │ labels │ crc │   one series
//!   │     4      │     4      │      8       │    8     │    8     │  len   │  4  │
//!   ├────────────┴────────────┴──────────────┴──────────┴──────────┴────────┴─────┤
//!   │ …, strictly ascending by labels, up to file_bytes                           │
//!   └─────────────────────────────────────────────────────────────────────────────┘
//! block-07.g3.chunks
//!   ┌──────────┬────────────┬────────┬────────────┬─────┐
//!   │ ltchunk1 │ generation │ series │ file_bytes │ crc │   header, the same generation and series
//!   ├──────────┴──────┬─────┼────────┴────────┬───┴─┬───┘
//!   │ samples of the  │ crc │ samples of the  │ crc │ …     one chunk for each series, without gaps
//!   │ first series    │  4  │ second series   │  4  │
//!   └─────────────────┴─────┴─────────────────┴─────┘
//! ```
//!
//! Labels are in the packed form of [`Labels`](losertree::Labels). A chunk is its samples, each the time in
//! milliseconds (`i64`) and the bits of the value (`f64`).
//!
//! Every byte is under a checksum, every length is checked against the size of the file before anything is
//! leased or read for it, and the two files must fit together to the byte. Labels have at most
//! [`MAX_LABELS_BYTES`], a chunk at most [`MAX_CHUNK_BYTES`] and at least one sample, and samples ascend by time. A reader
//! refuses what it would have no memory for, and a writer all that a reader or a query would refuse.

use super::Problem;

pub(crate) const INDEX_MAGIC: [u8; 8] = *b"ltindex1";
pub(crate) const CHUNKS_MAGIC: [u8; 8] = *b"ltchunk1";
/// The length of a checksum.
pub(crate) const CRC_BYTES: usize = 4;
pub(crate) const HEADER_BYTES: usize = 8 + 3 * 8 + CRC_BYTES;
/// An entry of the index before its labels.
pub(crate) const ENTRY_FIXED_BYTES: usize = 2 * 4 + 3 * 8;
/// The longest entry of an index: a reader leases this much for its window.
pub(crate) const WINDOW_BYTES: usize = 8 << 10;
/// The longest labels, in their packed form.
pub(crate) const MAX_LABELS_BYTES: usize = WINDOW_BYTES - ENTRY_FIXED_BYTES - CRC_BYTES;
/// The longest chunk, its checksum included.
pub(crate) const FRAME_BYTES: usize = 4 << 10;
/// The longest chunk.
pub(crate) const MAX_CHUNK_BYTES: usize = FRAME_BYTES - CRC_BYTES;

/// What both files begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) generation: u64,
    pub(crate) series: u64,
    /// The length of the whole file.
    pub(crate) file_bytes: u64,
}

impl Header {
    pub(crate) fn encode(&self, magic: [u8; 8]) -> Vec<u8> {
        let mut bytes = magic.to_vec();
        for number in [self.generation, self.series, self.file_bytes] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        seal(bytes)
    }

    pub(crate) fn decode(bytes: &[u8], magic: [u8; 8]) -> Result<Self, Problem> {
        if !bytes.starts_with(&magic) {
            return Err(Problem::Magic);
        }
        let mut fields = sealed(bytes).ok_or(Problem::Checksum)?.get(magic.len()..).unwrap_or_default();
        let mut number = || take(&mut fields).map(u64::from_le_bytes).ok_or(Problem::Checksum);
        Ok(Self { generation: number()?, series: number()?, file_bytes: number()? })
    }
}

/// An entry of the index before its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) labels_len: u32,
    pub(crate) chunk_len: u32,
    pub(crate) chunk_offset: u64,
    pub(crate) min_time_ms: i64,
    pub(crate) max_time_ms: i64,
}

impl Entry {
    /// Encodes the whole entry. `labels_len` is that of `labels`, unless a test lies.
    pub(crate) fn encode(&self, labels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRY_FIXED_BYTES + labels.len() + CRC_BYTES);
        bytes.extend_from_slice(&self.labels_len.to_le_bytes());
        bytes.extend_from_slice(&self.chunk_len.to_le_bytes());
        bytes.extend_from_slice(&self.chunk_offset.to_le_bytes());
        bytes.extend_from_slice(&self.min_time_ms.to_le_bytes());
        bytes.extend_from_slice(&self.max_time_ms.to_le_bytes());
        bytes.extend_from_slice(labels);
        seal(bytes)
    }

    /// Decodes the fixed part. `None` if there are too few bytes.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        Some(Self {
            labels_len: u32::from_le_bytes(take(&mut bytes)?),
            chunk_len: u32::from_le_bytes(take(&mut bytes)?),
            chunk_offset: u64::from_le_bytes(take(&mut bytes)?),
            min_time_ms: i64::from_le_bytes(take(&mut bytes)?),
            max_time_ms: i64::from_le_bytes(take(&mut bytes)?),
        })
    }
}

/// Checks a length, and returns what it is bounded by if it is too long.
pub(crate) const fn bounded(what: &'static str, len: u64, limit: u64) -> Result<(), Problem> {
    if len > limit { Err(Problem::Length { what, len, limit }) } else { Ok(()) }
}

/// Puts the checksum behind the bytes.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The bytes before the checksum, if it is theirs.
pub(crate) fn sealed(bytes: &[u8]) -> Option<&[u8]> {
    let (content, crc) = bytes.split_last_chunk()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*crc)).then_some(content)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}
