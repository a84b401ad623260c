//! An index and a segment of any bytes: an error, or series in order. Checksums are not looked at here, so that what is behind them is reached.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use losertree::LeakLedger;
use losertree::resource::BytePool;
use losertree_prometheus::block::{Block, BlockReader, Interval, Memory, Selector};
use losertree_prometheus::{MatchOp, Matcher};

const META: &str =
    r#"{"ulid":"01HFAKEFAKEFAKEFAKEFAKEFAK","minTime":0,"maxTime":4611686018427387904,"version":1}"#;

const SEGMENT: &[u8] = b"\x85\xbd\x40\xdd\x01\0\0\0";

fuzz_target!(|data: &[u8]| {
    let dir = std::env::temp_dir().join(format!("losertree-fuzz-index-{}", std::process::id()));
    fs::create_dir_all(dir.join("chunks")).expect("a directory");
    fs::write(dir.join("meta.json"), META).expect("a file");
    // The first two bytes say how much of the rest is the segment, after its header; then comes the index.
    let (len, rest) =
        data.split_first_chunk().map_or((0, data), |(len, rest)| (u16::from_be_bytes(*len), rest));
    let (segment, index) = rest.split_at(usize::from(len).min(rest.len()));
    fs::write(dir.join("chunks/000001"), [SEGMENT, segment].concat()).expect("a file");
    fs::write(dir.join("index"), index).expect("a file");
    read(&dir, &BTreeMap::new(), &[]);
    // Labels that are added and taken off, so that series have to be sorted and chunks say their replica.
    read(&dir, &BTreeMap::from([("aa".into(), "x".into())]), &["b".into()]);
});

fn read(dir: &Path, external: &BTreeMap<String, String>, without: &[String]) {
    let Ok(block) = Block::open(dir, external, &LeakLedger::off()) else { return };
    let block = Arc::new(block);
    let pool = || BytePool::builder().largest_bytes(1 << 20).budget_bytes(8 << 20).build().expect("a pool");
    let memory = Memory::new(pool(), pool(), Duration::ZERO);
    for (op, value) in [(MatchOp::NotEqual, ""), (MatchOp::Regex, ".*"), (MatchOp::Equal, "up")] {
        let matcher = Matcher::new("__name__", op, value).expect("a matcher");
        let selector = Selector {
            matchers: Arc::new([matcher]),
            range: Interval::new(0, i64::MAX),
            without: without.into(),
        };
        let guard = block.enter("fuzz").expect("it is open");
        let mut reader: BlockReader = block.read(guard, selector, &memory, 4 << 10);
        while let Ok(Some(batch)) = reader.next_batch() {
            assert!(!batch.is_empty());
            for chunk in batch.iter().flat_map(|series| &series.chunks) {
                // An encoding, or the mark of a replica with what belongs to it.
                let is_marked = chunk.data.first() == Some(&0xff) && chunk.data.len() >= 6;
                assert!(matches!(chunk.data.first(), Some(1..0x80)) || is_marked && !without.is_empty());
            }
        }
        drop(reader);
        assert_eq!(memory.buffers.snapshot().used_bytes + memory.lists.snapshot().used_bytes, 0);
    }
}
