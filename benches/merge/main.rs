//! Benchmarks of the merges by criterion.
//!
//! ```text
//! cargo bench --bench merge                        all of it, about five minutes
//! cargo bench --bench merge -- sync_merge          one group: build, replay, sync_merge, async_ready, close
//! cargo bench --bench merge -- 'uniform.*/16$'     by workload and number of sources
//! ```
//!
//! Inputs come from fixed seeds and are made outside of what is timed. Before anything is timed, each
//! contender is checked against the oracle.
//!
//! Criterion times one contender after the other, so on a busy machine the ratios between them drift. The
//! bench `scoreboard` interleaves them.

mod async_ready;
mod build;
mod close;
#[path = "../common/mod.rs"]
mod common;
mod replay;
mod sync_merge;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(400))
        .sample_size(15)
        .nresamples(5_000)
        .configure_from_args();
    build::bench(&mut criterion);
    replay::bench(&mut criterion);
    sync_merge::bench(&mut criterion);
    async_ready::bench(&mut criterion);
    close::bench(&mut criterion);
    criterion.final_summary();
}
