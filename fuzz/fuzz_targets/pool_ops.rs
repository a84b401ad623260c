//! A pool of bytes beside its model, under any steps of its users.
#![no_main]

use libfuzzer_sys::fuzz_target;
use losertree_testkit::{PoolStep, PoolTrial};

fuzz_target!(|input: &[u8]| {
    let Some((kind, steps)) = input.split_first() else { return };
    let mut trial = PoolTrial::new(*kind);
    for bytes in steps.as_chunks::<{ PoolStep::BYTES }>().0 {
        trial.step(PoolStep::from_bytes(*bytes));
    }
    trial.finish();
});
