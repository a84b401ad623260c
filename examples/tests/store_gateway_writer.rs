//! The blocks of the example `store_gateway`: what is written can be read, and what cannot be read is not written.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use futures::executor::block_on;
use losertree::resource::BytePool;
use losertree::response::ProxyQuery;
use losertree::{Labels, LeakLedger, Series};
use quickcheck::QuickCheck;
use tempfile::TempDir;

use crate::block::format::{HEADER_BYTES, MAX_CHUNK_BYTES, MAX_LABELS_BYTES, WINDOW_BYTES};
use crate::block::{Block, BlockError, BlockFiles, BlockWriter, FileName, Problem};

const NAME: FileName = FileName { block: 7, generation: 1 };

/// Labels of so many bytes, in their packed form.
fn labels(name: &str, packed_bytes: usize) -> Labels {
    let labels = Labels::try_from([(name, "x".repeat(packed_bytes - name.len() - 2))]).unwrap();
    assert_eq!(labels.packed().len(), packed_bytes);
    labels
}

/// So many samples, a millisecond apart.
fn samples(count: usize) -> Vec<(i64, f64)> {
    (0_i64..).zip(0_u16..).map(|(time, value)| (time, value.into())).take(count).collect()
}

/// All series that are read from a block by a query, and the lengths of their chunks.
fn read(dir: &Path, name: FileName) -> Vec<(Labels, usize)> {
    let ledger = LeakLedger::sites();
    let pool = BytePool::builder().smallest_bytes(64).largest_bytes(WINDOW_BYTES).build().unwrap();
    let block = Arc::new(Block::new(BlockFiles::open(dir, name).unwrap(), &ledger));
    let stores = [block.read("query".into(), &pool, None).unwrap()];
    let query = ProxyQuery::builder().stores(stores).ledger(&ledger).build();
    let all: Vec<_> = block_on(query.try_collect()).unwrap();
    let read = all.into_iter().map(|response| {
        let Series { labels, chunks, .. } = response.into_series().unwrap();
        (labels, chunks.iter().map(|chunk| chunk.data.len()).sum())
    });
    read.collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(written: Result<T, BlockError>) -> String {
    let error = written.unwrap_err();
    assert!(error.to_string().contains("block-07"), "{error}");
    error.problem.to_string()
}

// F62
#[test]
fn what_fills_the_limits_is_written_and_read() {
    let dir = TempDir::new().unwrap();
    let mut writer = BlockWriter::create(dir.path(), NAME).unwrap();
    let most = MAX_CHUNK_BYTES / 16;
    let expected = [
        (labels("a", MAX_LABELS_BYTES), most),
        (labels("b", 3), 1),
        (labels("c", MAX_LABELS_BYTES - 1), most - 1),
    ];
    for (labels, count) in &expected {
        writer.series(labels, &samples(*count)).unwrap();
    }
    writer.finish().unwrap();
    let expected: Vec<_> = expected.into_iter().map(|(labels, count)| (labels, count * 16)).collect();
    assert_eq!(read(dir.path(), NAME), expected);
    let files = BlockFiles::open(dir.path(), NAME).unwrap();
    let next = BlockWriter::next_generation(dir.path(), &files).unwrap();
    assert_eq!(read(dir.path(), next.name), expected);

    // Nothing at all can be read, too.
    BlockWriter::create(dir.path(), NAME).unwrap().finish().unwrap();
    assert_eq!(read(dir.path(), NAME), []);
}

// F62
#[test]
fn what_is_accepted_is_what_is_read() {
    // Around the limits, in and out of order.
    fn agrees(series: Vec<(u8, u8, Vec<i8>, bool)>) -> bool {
        let dir = TempDir::new().unwrap();
        let mut writer = BlockWriter::create(dir.path(), NAME).unwrap();
        let mut accepted = Vec::new();
        for (index, (name, length, times, is_long)) in series.into_iter().enumerate() {
            let name = format!("{:02}{}", index / 2, name % 4);
            let labels = labels(
                &name,
                if length % 8 == 0 { MAX_LABELS_BYTES - 8 + usize::from(length / 8) } else { 9 },
            );
            let mut samples: Vec<_> = times.iter().map(|time| (i64::from(*time), 0.5)).collect();
            if length % 8 != 1 {
                samples.sort_by_key(|(time, _)| *time);
                samples.dedup();
            }
            if is_long {
                samples.extend((1000..).map(|time| (time, 0.5)).take(MAX_CHUNK_BYTES / 16 - 4));
            }
            if writer.series(&labels, &samples).is_ok() {
                accepted.push((labels, samples.len() * 16));
            }
        }
        writer.finish().unwrap();
        read(dir.path(), NAME) == accepted
    }
    QuickCheck::new().tests(300).quickcheck(agrees as fn(Vec<(u8, u8, Vec<i8>, bool)>) -> bool);
}

// F62
#[test]
fn what_could_not_be_read_is_refused_and_leaves_no_trace() {
    let dir = TempDir::new().unwrap();
    let mut writer = BlockWriter::create(dir.path(), NAME).unwrap();
    let one = samples(1);
    writer.series(&labels("b", 5), &one).unwrap();

    let too_long = labels("c", MAX_LABELS_BYTES + 1);
    let problem =
        format!("labels of {} bytes, where at most {MAX_LABELS_BYTES} are possible", MAX_LABELS_BYTES + 1);
    assert_eq!(refused(writer.series(&too_long, &one)), problem);
    // A label of 8,200 bytes alone.
    let long = writer.series(&labels("c", 8203), &one).unwrap_err();
    assert!(matches!(long.problem, Problem::Length { what: "labels", len: 8203, .. }), "{long}");

    let (count, limit) = (MAX_CHUNK_BYTES / 16 + 1, MAX_CHUNK_BYTES);
    let problem = format!("a chunk of {} bytes, where at most {limit} are possible", count * 16);
    assert_eq!(refused(writer.series(&labels("c", 5), &samples(count))), problem);

    for before in [labels("b", 5), labels("b", 4), labels("a", 5)] {
        let problem = refused(writer.series(&before, &one));
        assert_eq!(problem, format!("{before} does not come after {}, the series before it", labels("b", 5)));
    }
    let unsorted = "samples that are not in the order of their times: 5 ms does not come after ";
    for times in [[3, 7, 5], [3, 5, 5]] {
        let problem = refused(writer.series(&labels("c", 5), &times.map(|time| (time, 0.5))));
        assert_eq!(problem, format!("{unsorted}{} ms", times[1]));
    }
    assert_eq!(refused(writer.series(&labels("c", 5), &[])), "a series without samples");

    // It can go on, and what was refused is not there.
    writer.series(&labels("c", 5), &one).unwrap();
    writer.finish().unwrap();
    assert_eq!(read(dir.path(), NAME), [(labels("b", 5), 16), (labels("c", 5), 16)]);
}

// F62
#[test]
fn a_generation_is_not_made_of_a_file_that_has_become_shorter() {
    let dir = TempDir::new().unwrap();
    let mut writer = BlockWriter::create(dir.path(), NAME).unwrap();
    writer.series(&labels("a", 100), &samples(9)).unwrap();
    writer.finish().unwrap();
    for path in [NAME.index(dir.path()), NAME.chunks(dir.path())] {
        let files = BlockFiles::open(dir.path(), NAME).unwrap();
        let whole = fs::read(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(HEADER_BYTES as u64 + 20).unwrap();
        let problem = refused(BlockWriter::next_generation(dir.path(), &files));
        assert_eq!(
            problem,
            format!("the file ends here, before the {} bytes that it should have", whole.len())
        );
        // Without an index nobody takes it for the newest generation.
        let next = FileName { generation: 2, ..NAME };
        assert!(!next.index(dir.path()).exists());
        fs::write(&path, whole).unwrap();
    }
    let files = BlockFiles::open(dir.path(), NAME).unwrap();
    BlockWriter::next_generation(dir.path(), &files).unwrap();

    // There is none after the last.
    let last = FileName { generation: u64::MAX, ..NAME };
    BlockWriter::create(dir.path(), last).unwrap().finish().unwrap();
    let files = BlockFiles::open(dir.path(), last).unwrap();
    assert_eq!(
        refused(BlockWriter::next_generation(dir.path(), &files)),
        "there is no generation after this one"
    );
}

// F62
#[test]
fn names_are_read_as_they_are_written() {
    for (block, generation) in [(0, 1), (7, 3), (99, 10), (100, 1), (255, u64::MAX), (usize::MAX, 1)] {
        let name = FileName { block, generation };
        assert_eq!(FileName::parse(&format!("{name}.index")), Some((name, "index")));
        assert_eq!(FileName::parse(&format!("{name}.chunks.tmp")), Some((name, "chunks.tmp")));
    }
    // Who found these would look for others, which are not there.
    for other in [
        "block-7.g1.index",
        "block-+7.g1.index",
        "block-07.g01.index",
        "block-07.g+1.index",
        "block-007.g1.index",
    ] {
        assert_eq!(FileName::parse(other), None, "{other}");
    }
}
