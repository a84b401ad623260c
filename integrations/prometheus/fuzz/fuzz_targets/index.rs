//! An index of any bytes: an error, or series in order. Checksums are not looked at here, so that what is behind them is reached.

#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use losertree::LeakLedger;
use losertree::resource::BytePool;
use losertree_prometheus::block::{Block, BlockReader, Interval, Memory, Selector};
use losertree_prometheus::{MatchOp, Matcher};

const META: &str =
    r#"{"ulid":"01HFAKEFAKEFAKEFAKEFAKEFAK","minTime":0,"maxTime":4611686018427387904,"version":1}"#;

fuzz_target!(|data: &[u8]| {
    let dir = std::env::temp_dir().join(format!("losertree-fuzz-index-{}", std::process::id()));
    fs::create_dir_all(dir.join("chunks")).expect("a directory");
    fs::write(dir.join("meta.json"), META).expect("a file");
    fs::write(dir.join("chunks/000001"), b"\x85\xbd\x40\xdd\x01\0\0\0").expect("a file");
    fs::write(dir.join("index"), data).expect("a file");
    let Ok(block) = Block::open(&dir, &BTreeMap::new(), &LeakLedger::off()) else { return };
    let block = Arc::new(block);
    let pool = || BytePool::builder().largest_bytes(1 << 20).budget_bytes(8 << 20).build().expect("a pool");
    let memory = Memory::new(pool(), pool(), Duration::ZERO);
    for (op, value) in [(MatchOp::NotEqual, ""), (MatchOp::Regex, ".*"), (MatchOp::Equal, "up")] {
        let matcher = Matcher::new("__name__", op, value).expect("a matcher");
        let selector = Selector {
            matchers: Arc::new([matcher]),
            range: Interval::new(0, i64::MAX),
            without: Arc::new([]),
        };
        let guard = block.enter("fuzz").expect("it is open");
        let mut reader: BlockReader = block.read(guard, selector, &memory, 4 << 10);
        while let Ok(Some(batch)) = reader.next_batch() {
            assert!(!batch.is_empty());
        }
        drop(reader);
        assert_eq!(memory.buffers.snapshot().used_bytes + memory.lists.snapshot().used_bytes, 0);
    }
});
