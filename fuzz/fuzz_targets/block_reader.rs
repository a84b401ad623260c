//! The block files of the example `store_gateway`, whole, changed and made up.
#![no_main]

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use losertree::resource::BytePool;
use losertree::response::{ResponseSet, ResponseSetOptions};
use losertree::{Labels, LeakLedger, Source};

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

    let read = open(index, chunks).map(|files| read(files, &input));
    assert!(!is_whole || matches!(read, Ok(true)));
});

/// Reads the block, and judges what comes out. Returns whether that ended as it should.
fn read(files: BlockFiles, input: &Input<'_>) -> bool {
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
                let series = response.as_series().expect("a block gives nothing else");
                let written = &input.series[given];
                assert_eq!(series.labels, labels(written));
                // An index that lies under a right checksum may name an empty chunk where zeros are.
                let data = &series.chunks[0].data;
                assert!(written.chunk == data || (written.lie.is_some() && data.is_empty()));
                given += 1;
            }
            Poll::Ready(None) => {
                assert_eq!(given, input.series.len());
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

fn open(index: Vec<u8>, chunks: Vec<u8>) -> Result<BlockFiles, BlockError> {
    let index = BlockFile::from_bytes("index", index, INDEX_MAGIC)?;
    let chunks = BlockFile::from_bytes("chunks", chunks, CHUNKS_MAGIC)?;
    BlockFiles::new(FileName { block: 0, generation: 1 }, index, chunks)
}

fn labels(written: &Written<'_>) -> Labels {
    Labels::from_pairs([("name", written.labels)]).expect("one name")
}

/// Whether a series is within the limits of the format.
fn fits(written: &Written<'_>) -> bool {
    let entry = ENTRY_FIXED_BYTES + labels(written).packed().len() + CRC_BYTES;
    entry <= WINDOW_BYTES && written.chunk.len() + CRC_BYTES <= FRAME_BYTES
}

fn write(written: &Written<'_>, index: &mut Vec<u8>, chunks: &mut Vec<u8>) {
    let labels = labels(written);
    let mut entry = Entry {
        labels_len: u32::try_from(labels.packed().len()).expect("inputs are short"),
        chunk_len: u32::try_from(written.chunk.len()).expect("inputs are short"),
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
