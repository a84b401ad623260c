//! An answer of samples: one message, compressed as it is made, of which only what is compressed is kept.
//!
//! A message of snappy is its length and then pieces of up to 64 KiB that do not refer to each other. So the pieces can be made before
//! the length is known, and so can the results before their lengths are, which are pieces of their own.

use bytes::Bytes;
use losertree::Series;
use losertree::resource::{PoolError, Reservation};

use super::wire::{len_tag, put_labels, put_len, put_sample, sample_field_len};
use crate::block::cursor::{put_uvarint, uvarint_len};
use crate::block::xor::{self, Sample};
use crate::block::{Interval, Memory, Problem};

/// The most that a piece has before it is compressed.
const PIECE_BYTES: usize = 64 << 10;
/// How many samples are written before it is looked at whether that makes a piece.
const PART_SAMPLES: usize = 1 << 10;
const XOR: u8 = 1;

/// Why an answer cannot be one message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SamplesError {
    /// The budget has no room for it.
    #[error("the answer does not fit into the memory budget as one message: {0}")]
    Budget(#[from] PoolError),
    /// A message of snappy cannot be so long.
    #[error("the answer is longer than 4 GiB")]
    TooLong,
    /// A chunk is not of samples that can be decoded.
    #[error("chunks of encoding {encoding} cannot be sent as samples, only streamed")]
    Encoding {
        /// The number of the encoding.
        encoding: u8,
    },
    /// A chunk cannot be decoded.
    #[error("a chunk cannot be decoded: {0}")]
    Chunk(#[from] Problem),
}

/// Makes an answer of samples.
#[derive(Debug)]
pub(crate) struct SamplesWriter {
    memory: Memory,
    held: Reservation,
    /// How much was compressed and not charged yet.
    uncharged: usize,
    encoder: snap::raw::Encoder,
    /// What is compressed, of all results.
    pieces: Vec<Bytes>,
    /// What was not compressed yet.
    raw: Vec<u8>,
    scratch: Vec<u8>,
    labels: Vec<u8>,
    samples: Vec<Sample>,
    /// How long the whole is, and the result that is being written.
    total: u64,
    result: u64,
    /// Where the head of that result belongs.
    head_at: usize,
}

impl SamplesWriter {
    pub(crate) fn new(memory: &Memory) -> Self {
        Self {
            held: memory.lists.reservation(),
            memory: memory.clone(),
            uncharged: 0,
            encoder: snap::raw::Encoder::new(),
            pieces: Vec::new(),
            raw: Vec::new(),
            scratch: Vec::new(),
            labels: Vec::new(),
            samples: Vec::new(),
            total: 0,
            result: 0,
            head_at: 0,
        }
    }

    /// Begins the result of the next query.
    pub(crate) fn begin(&mut self) {
        self.head_at = self.pieces.len();
        // For the head.
        self.pieces.push(Bytes::new());
        self.result = 0;
    }

    /// Ends the result of a query.
    pub(crate) fn end(&mut self) -> Result<(), SamplesError> {
        self.compress(self.raw.len())?;
        let mut head = vec![0];
        head.push(len_tag(1));
        put_uvarint(&mut head, self.result);
        self.total += head.len() as u64 - 1 + self.result;
        // A literal piece, of up to 60 bytes: its length is in its first byte.
        head[0] = ((head.len() - 2) as u8) << 2;
        self.pieces[self.head_at] = head.into();
        if self.total > u64::from(u32::MAX) { Err(SamplesError::TooLong) } else { Ok(()) }
    }

    /// Adds a series, whose chunks do not overlap: its samples in a range of time, if there are some.
    pub(crate) fn put(&mut self, series: &Series, range: Interval) -> Result<(), SamplesError> {
        self.samples.clear();
        for chunk in &series.chunks {
            let (encoding, data) = chunk.data.split_first().unwrap_or((&0, &[]));
            if *encoding != XOR {
                return Err(SamplesError::Encoding { encoding: *encoding });
            }
            for sample in xor::decode(data)? {
                let sample = sample?;
                if range.contains(sample.time_ms) {
                    self.samples.push(sample);
                }
            }
        }
        if self.samples.is_empty() {
            return Ok(());
        }
        self.labels.clear();
        put_labels(&mut self.labels, &series.labels);
        let samples: usize =
            self.samples.iter().map(|sample| sample_field_len(sample.time_ms, sample.value)).sum();
        let before = self.raw.len();
        put_len(&mut self.raw, 1, self.labels.len() + samples);
        self.raw.extend_from_slice(&self.labels);
        self.result += (self.raw.len() - before + samples) as u64;
        for part in 0..self.samples.len().div_ceil(PART_SAMPLES) {
            let start = part * PART_SAMPLES;
            for sample in &self.samples[start..self.samples.len().min(start + PART_SAMPLES)] {
                put_sample(&mut self.raw, sample.time_ms, sample.value);
            }
            if self.raw.len() >= PIECE_BYTES {
                self.compress(self.raw.len() / PIECE_BYTES * PIECE_BYTES)?;
            }
        }
        Ok(())
    }

    /// Waits until the budget has room for what was compressed.
    pub(crate) async fn charge(&mut self) -> Result<(), SamplesError> {
        let bytes = std::mem::take(&mut self.uncharged);
        if bytes == 0 {
            return Ok(());
        }
        Ok(self.memory.grow(&mut self.held, bytes).await?)
    }

    /// Compresses what comes first of what is written.
    fn compress(&mut self, len: usize) -> Result<(), SamplesError> {
        let len = len.min(self.raw.len());
        for piece in self.raw[..len].chunks(PIECE_BYTES) {
            self.scratch.resize(snap::raw::max_compress_len(piece.len()), 0);
            // The buffer is as long as it has to be, and the piece is not too long.
            let compressed =
                self.encoder.compress(piece, &mut self.scratch).map_err(|_| SamplesError::TooLong)?;
            // Without the length of the piece.
            let start = uvarint_len(piece.len() as u64);
            let compressed = &self.scratch[start..compressed];
            self.uncharged += compressed.len() + size_of::<Bytes>();
            self.pieces.push(Bytes::copy_from_slice(compressed));
        }
        self.raw.drain(..len);
        Ok(())
    }

    /// Returns the message in pieces, and what they are charged to.
    pub(crate) fn finish(mut self) -> (Vec<Bytes>, Reservation) {
        let mut head = Vec::new();
        put_uvarint(&mut head, self.total);
        self.pieces.insert(0, head.into());
        (self.pieces, self.held)
    }
}
