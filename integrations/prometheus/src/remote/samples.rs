//! An answer of samples: one message, compressed as it is made, of which only what is compressed is kept.
//!
//! A message of snappy is its length and then pieces of up to 64 KiB that do not refer to each other. So the pieces can be made before
//! the length is known, and so can the results before their lengths are, which are pieces of their own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use losertree::Series;
use losertree::resource::{BytePool, PoolError, Reservation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::wire::{len_tag, put_labels, put_len, put_sample, sample_field_len};
use crate::block::cursor::{put_uvarint, uvarint_len};
use crate::block::xor::{self, Sample};
use crate::block::{Interval, Problem};

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
    /// Others were waiting for memory, and it was not its turn to.
    #[error("other answers have waited for memory for {patience:?}")]
    Turn {
        /// For how long it has waited.
        patience: Duration,
    },
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

/// Where the memory comes from of answers that are kept until they are sent. Cheap to clone.
///
/// Nothing else is charged to it, so that no answer waits for what it needs itself, and one that can never fit is found at once.
///
/// One answer at a time may wait for memory and keep meanwhile what it has: two would wait for each other. One whose turn it is not gives
/// up what it has, waits for its turn with nothing in its hands, and is made anew: once at most.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    pub(crate) pool: BytePool,
    turns: Arc<Semaphore>,
    patience: Duration,
}

impl Answers {
    pub(crate) fn new(pool: BytePool, patience: Duration) -> Self {
        Self { pool, turns: Arc::new(Semaphore::new(1)), patience }
    }

    /// Waits for the turn to wait for memory.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, SamplesError> {
        match timeout(self.patience, Arc::clone(&self.turns).acquire_owned()).await {
            // The semaphore is never closed.
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(SamplesError::Turn { patience: self.patience }),
        }
    }
}

/// Makes an answer of samples.
#[derive(Debug)]
pub(crate) struct SamplesWriter {
    answers: Answers,
    /// Of waiting for memory.
    turn: Option<OwnedSemaphorePermit>,
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
    pub(crate) fn new(answers: &Answers) -> Self {
        Self {
            answers: answers.clone(),
            turn: None,
            held: answers.pool.reservation(),
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

    /// Waits until the budget has room for what was compressed. If it is not the turn of this answer to wait, it has to be made
    /// anew: then it returns `false`.
    pub(crate) async fn charge(&mut self) -> Result<bool, SamplesError> {
        let bytes = std::mem::take(&mut self.uncharged);
        match self.held.try_grow(bytes) {
            Err(PoolError::Exhausted { .. }) => {}
            grown => return Ok(grown.map(|()| true)?),
        }
        if self.turn.is_none() {
            self.turn = Arc::clone(&self.answers.turns).try_acquire_owned().ok();
        }
        if self.turn.is_some() {
            self.held.grow_timeout(bytes, self.answers.patience).await?;
        }
        Ok(self.turn.is_some())
    }

    /// Gives up all that it has, and waits for its turn.
    pub(crate) async fn again(self) -> Result<Self, SamplesError> {
        let answers = self.answers.clone();
        // Now, and not at the end.
        drop(self);
        let turn = answers.turn().await?;
        Ok(Self { turn: Some(turn), ..Self::new(&answers) })
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
