//! The most that is allocated and reserved while merging, against DataFusion's merge of the same.
//!
//! All is on one thread, so the numbers are the same each time. `--nocapture` prints them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_precision_loss, clippy::print_stdout)]

mod support;

#[path = "support/data.rs"]
mod data;

use std::sync::Arc;

use data::{BATCH, Keys, Sorted};
use datafusion_execution::memory_pool::{MemoryPool, PeakRecordingPool, UnboundedMemoryPool};
use datafusion_physical_plan::ExecutionPlan;
use futures::StreamExt;
use peak_alloc::PeakAlloc;
use support::{Step, context, ours, theirs};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// The most that is allocated, beyond what was before, and the most that is reserved.
fn peaks(plan: impl FnOnce() -> Box<dyn ExecutionPlan>) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pool = Arc::new(PeakRecordingPool::new(Arc::new(UnboundedMemoryPool::default())));
    let context = context(BATCH, Some(Arc::clone(&pool) as Arc<dyn MemoryPool>));
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    runtime.block_on(async {
        let plan = plan();
        let mut stream = plan.execute(0, context).unwrap();
        while let Some(batch) = stream.next().await {
            drop(batch.unwrap());
        }
    });
    (ALLOCATED.peak_usage() - before, pool.peak_reserved())
}

fn greatest(a: (usize, usize), b: (usize, usize)) -> (usize, usize) {
    (a.0.max(b.0), a.1.max(b.1))
}

#[test]
fn no_more_memory_is_taken_than_datafusion_takes() {
    println!(
        "{:<18} {:>3} {:>7} {:>21} {:>21}",
        "keys", "k", "payload", "allocated, of theirs", "reserved, of theirs"
    );
    let (mut most, mut beyond) = ((0.0_f64, 0.0_f64), 0);
    for (keys, name) in Keys::ALL {
        for k in [2_usize, 4, 16] {
            for payload in [1, 10] {
                // Where the ends of batches fall decides how many are held: the most of several numbers of rows.
                let (mut their_peaks, mut our_peaks) = ((0, 0), (0, 0));
                for rows in [BATCH, BATCH + 5_000, 3 * BATCH / k.div_ceil(8) + 1_000] {
                    let Sorted { ordering, input, .. } = keys.sorted(k, payload, k * rows, Step::Copy);
                    their_peaks = greatest(
                        their_peaks,
                        peaks(|| Box::new(theirs(&ordering, Arc::clone(&input), None))),
                    );
                    our_peaks = greatest(our_peaks, peaks(|| Box::new(ours(&ordering, input, None))));
                }
                let ratio = |ours: usize, theirs: usize| ours as f64 / theirs as f64;
                let (allocated, reserved) =
                    (ratio(our_peaks.0, their_peaks.0), ratio(our_peaks.1, their_peaks.1));
                println!(
                    "{name:<18} {k:>3} {payload:>7} {:>12} {allocated:>8.2} {:>12} {reserved:>8.2}",
                    our_peaks.0, our_peaks.1
                );
                most = (most.0.max(allocated), most.1.max(reserved));
                beyond = beyond.max(our_peaks.0.saturating_sub(their_peaks.0));
                assert!(reserved <= 1.05, "{name} {k} {payload}: {our_peaks:?} of {their_peaks:?}");
                assert!(allocated <= 1.05, "{name} {k} {payload}: {our_peaks:?} of {their_peaks:?}");
            }
        }
    }
    println!("at most {:.2} and {:.2}; {beyond} bytes more are allocated at most", most.0, most.1);
}
