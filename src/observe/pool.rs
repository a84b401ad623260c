use std::sync::Arc;

use super::group::Observed;
use super::names;
use crate::resource::{BytePool, Flow};

/// The flows of pools: gets, puts, refusals, waits, allocations.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts([Flow; 5]);

#[derive(Debug, Default)]
pub(super) struct Levels {
    budget: usize,
    used: usize,
    reserved: usize,
    peak: usize,
    idle: usize,
    outstanding: usize,
    waiting: usize,
}

impl Observed for BytePool {
    type Counts = Counts;
    type Levels = Levels;

    fn is_last_handle(&mut self) -> bool {
        Self::is_last_handle(self)
    }

    fn add_to(&self, counts: &mut Counts, levels: &mut Levels) {
        let figures = self.snapshot();
        let flows = [figures.gets, figures.puts, figures.refusals, figures.waits, figures.allocations];
        for (sum, flow) in counts.0.iter_mut().zip(flows) {
            sum.count += flow.count;
            sum.bytes += flow.bytes;
        }
        levels.budget += figures.budget_bytes;
        levels.used += figures.used_bytes;
        levels.reserved += figures.reserved_bytes;
        levels.peak += figures.peak_bytes;
        levels.idle += figures.idle_bytes;
        levels.outstanding += figures.outstanding;
        levels.waiting += figures.waiting;
    }

    fn publish(name: &Arc<str>, counts: &Counts, levels: &Levels) {
        let series = [
            (&names::POOL_GETS, &names::POOL_GET_BYTES),
            (&names::POOL_PUTS, &names::POOL_PUT_BYTES),
            (&names::POOL_REFUSALS, &names::POOL_REFUSED_BYTES),
            (&names::POOL_WAITS, &names::POOL_WAITED_BYTES),
            (&names::POOL_ALLOCATIONS, &names::POOL_ALLOCATED_BYTES),
        ];
        for ((count, bytes), flow) in series.into_iter().zip(counts.0) {
            count.counter(name).absolute(flow.count);
            bytes.counter(name).absolute(flow.bytes);
        }
        names::POOL_BUDGET.set_count(name, levels.budget);
        names::POOL_USED.set_count(name, levels.used);
        names::POOL_RESERVED.set_count(name, levels.reserved);
        names::POOL_PEAK.set_count(name, levels.peak);
        names::POOL_IDLE.set_count(name, levels.idle);
        names::POOL_OUTSTANDING.set_count(name, levels.outstanding);
        names::POOL_WAITING.set_count(name, levels.waiting);
    }
}
