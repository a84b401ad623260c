//! The block files of the example `store_gateway`, whole, changed and made up.
#![no_main]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use losertree::resource::BytePool;
use losertree::response::{ResponseSet, ResponseSetOptions};
use losertree::{Labels, LeakLedger, Series, Source};

#[path = "../../examples/store_gateway/block/mod.rs"]
#[allow(dead_code, unused_imports)]
mod block;

use block::format::{
    CHUNKS_MAGIC, CRC_BYTES, ENTRY_FIXED_BYTES, Entry, FRAME_BYTES, HEADER_BYTES, Header, INDEX_MAGIC,
    WINDOW_BYTES, seal,
};
use block::{Block, BlockError, BlockFile, BlockFiles, FileName};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    series: Vec<Written<'a>>,
    changes: Vec<Change<'a>>,
    stop_after: u8,
    closes: bool,
}

#[derive(Debug, Arbitrary)]
struct Written<'a> {
    labels: &'a str,
    chunk: &'a [u8],
    lie: Option<(u8, u32)>,
}

#[derive(Debug, Arbitrary)]
enum Change<'a> {
    Cut { is_index: bool, len: u16 },
    Flip { is_index: bool, place: u16, bits: u8 },
    Replace { is_index: bool, bytes: &'a [u8] },
    Append { is_index: bool, bytes: &'a [u8] },
}

fuzz_target!(|input: Input<'_>| {
    let (mut index, mut chunks) = (Vec::new(), Vec::new());
    for written in &input.series {
        write(written, &mut index, &mut chunks);
    }
    let series = input.series.len() as u64;
    let file = |body: Vec<u8>, magic| {
        let file_bytes = (HEADER_BYTES + body.len()) as u64;
        [Header { generation: 1, series, file_bytes }.encode(magic), body].concat()
    };
    let (mut index, mut chunks) = (file(index, INDEX_MAGIC), file(chunks, CHUNKS_MAGIC));
    let whole = (index.clone(), chunks.clone());
    input.changes.iter().for_each(|change| apply(change, &mut index, &mut chunks));
    let is_whole = (&index, &chunks) == (&whole.0, &whole.1)
        && input.series.iter().all(|written| written.lie.is_none() && fits(written))
        && input.series.is_sorted_by(|a, b| labels(a) < labels(b));

    let read = open(&index, &chunks).map(|files| read(files, Unread::new(&index, &chunks), &input));
    assert!(!is_whole || matches!(read, Ok(true)));
});

/// What of the two files has not come out of the reader yet.
struct Unread<'a> {
    index: &'a [u8],
    chunks: &'a [u8],
    chunk_offset: u64,
}

impl<'a> Unread<'a> {
    /// The bodies of files, whose headers are right.
    fn new(index: &'a [u8], chunks: &'a [u8]) -> Self {
        let body = |file: &'a [u8]| file.get(HEADER_BYTES..).unwrap_or_default();
        Self { index: body(index), chunks: body(chunks), chunk_offset: HEADER_BYTES as u64 }
    }

    /// Takes off what a series is written as. Panics if something else stands there.
    ///
    /// That is all that can be said of changed files: a length that lies, or the chance of a fuzzer that looks at
    /// comparisons, can hit upon a right checksum (that of four bytes of 255 is four bytes of 255).
    fn take(&mut self, series: &Series) {
        let [chunk] = &series.chunks[..] else { panic!("a series of {} chunks", series.chunks.len()) };
        let entry = Entry {
            labels_len: len(series.labels.packed()),
            chunk_len: len(&chunk.data),
            chunk_offset: self.chunk_offset,
            min_time_ms: chunk.min_time_ms,
            max_time_ms: chunk.max_time_ms,
        };
        self.index =
            self.index.strip_prefix(&*entry.encode(series.labels.packed())).expect("an entry is another");
        let frame = seal(chunk.data.to_vec());
        self.chunks = self.chunks.strip_prefix(&*frame).expect("a chunk is another");
        self.chunk_offset += frame.len() as u64;
    }

    fn is_empty(&self) -> bool {
        self.index.is_empty() && self.chunks.is_empty()
    }
}

/// Reads the block, and judges what comes out. Returns whether that ended as it should.
fn read(files: BlockFiles, mut unread: Unread<'_>, input: &Input<'_>) -> bool {
    let ledger = LeakLedger::sites();
    let pool = BytePool::builder().smallest_bytes(64).largest_bytes(WINDOW_BYTES).ledger(&ledger).build();
    let pool = pool.expect("the sizes fit");
    let block = Arc::new(Block::new(files, &ledger));
    let store = block.read("fuzz".into(), &pool, None).expect("the gate is open");
    // Receives one series when it is asked for one.
    let mut source = ResponseSet::new(store, &ResponseSetOptions::new().buffer_frames(1));
    let mut cx = Context::from_waker(Waker::noop());
    let mut given = 0;
    let ended_well = loop {
        if given == usize::from(input.stop_after) && given > 0 {
            break true;
        }
        match Pin::new(&mut source).poll_next(&mut cx) {
            // It has woken itself: there is memory enough.
            Poll::Pending => {}
            Poll::Ready(Some(Ok(response))) => {
                unread.take(response.as_series().expect("a block gives nothing else"));
                given += 1;
            }
            Poll::Ready(None) => {
                assert!(unread.is_empty());
                break true;
            }
            Poll::Ready(Some(Err(_))) => break false,
        }
    };
    assert!(pool.snapshot().peak_bytes <= WINDOW_BYTES + FRAME_BYTES);
    if input.closes {
        assert!(Pin::new(&mut source).poll_close(&mut cx).ready_and(|closed| closed.is_ok()));
        assert_eq!((pool.snapshot().used_bytes, block.gate.pending()), (0, 0));
    }
    drop(source);
    let figures = pool.snapshot();
    assert_eq!((figures.used_bytes, block.gate.pending()), (0, 0));
    assert_eq!(figures.gets, figures.puts);
    ledger.assert_balanced();
    ended_well
}

trait IsReadyAnd<T> {
    fn ready_and(self, check: impl FnOnce(T) -> bool) -> bool;
}

impl<T> IsReadyAnd<T> for Poll<T> {
    fn ready_and(self, check: impl FnOnce(T) -> bool) -> bool {
        match self {
            Self::Ready(value) => check(value),
            Self::Pending => false,
        }
    }
}

fn open(index: &[u8], chunks: &[u8]) -> Result<BlockFiles, BlockError> {
    let index = BlockFile::from_bytes("index", index.to_vec(), INDEX_MAGIC)?;
    let chunks = BlockFile::from_bytes("chunks", chunks.to_vec(), CHUNKS_MAGIC)?;
    BlockFiles::new(FileName { block: 0, generation: 1 }, index, chunks)
}

fn labels(written: &Written<'_>) -> Labels {
    Labels::from_pairs([("name", written.labels)]).expect("one name")
}

fn len(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("inputs are short")
}

/// Whether a series is within the limits of the format.
fn fits(written: &Written<'_>) -> bool {
    let entry = ENTRY_FIXED_BYTES + labels(written).packed().len() + CRC_BYTES;
    entry <= WINDOW_BYTES && written.chunk.len() + CRC_BYTES <= FRAME_BYTES
}

fn write(written: &Written<'_>, index: &mut Vec<u8>, chunks: &mut Vec<u8>) {
    let labels = labels(written);
    let mut entry = Entry {
        labels_len: len(labels.packed()),
        chunk_len: len(written.chunk),
        chunk_offset: (HEADER_BYTES + chunks.len()) as u64,
        min_time_ms: 0,
        max_time_ms: 0,
    };
    match written.lie {
        Some((0..=84, value)) => entry.labels_len = value,
        Some((85..=169, value)) => entry.chunk_len = value,
        Some((_, value)) => entry.chunk_offset = value.into(),
        None => {}
    }
    index.extend(entry.encode(labels.packed()));
    chunks.extend(seal(written.chunk.to_vec()));
}

fn apply(change: &Change<'_>, index: &mut Vec<u8>, chunks: &mut Vec<u8>) {
    let is_index = match *change {
        Change::Cut { is_index, .. }
        | Change::Flip { is_index, .. }
        | Change::Replace { is_index, .. }
        | Change::Append { is_index, .. } => is_index,
    };
    let file = if is_index { index } else { chunks };
    match *change {
        Change::Cut { len, .. } => file.truncate(len.into()),
        Change::Flip { place, bits, .. } => {
            if let Some(byte) = file.get_mut(usize::from(place)) {
                *byte ^= bits;
            }
        }
        Change::Replace { bytes, .. } => *file = bytes.to_vec(),
        Change::Append { bytes, .. } => file.extend_from_slice(bytes),
    }
}
