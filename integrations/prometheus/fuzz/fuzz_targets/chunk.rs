//! Chunks of any bytes: what can be decoded is the same when it was encoded anew.

#![no_main]

use libfuzzer_sys::fuzz_target;
use losertree_prometheus::block::xor::{self, MAX_SAMPLES, Sample, XorEncoder};

fuzz_target!(|data: &[u8]| {
    let Ok(samples) = xor::decode(data) else { return };
    let mut failed = false;
    let decoded: Vec<Sample> = samples
        .filter_map(|sample| {
            assert!(!failed, "an error is the end");
            failed |= sample.is_err();
            sample.ok()
        })
        .collect();
    assert!(decoded.len() <= MAX_SAMPLES);
    let mut encoder = XorEncoder::new();
    assert!(decoded.iter().all(|sample| encoder.push(*sample)));
    let again: Result<Vec<Sample>, _> = xor::decode(encoder.finish()).expect("a chunk").collect();
    assert_eq!(again.expect("whole"), decoded);
});
