use std::sync::Arc;

use super::group::Observed;
use super::{Figure, names};
use crate::resource::{BytePool, Flow};

/// The flows of pools: gets, puts, refusals, waits, what was passed on, allocations.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts([Flow; 6]);

/// In the order of [`LEVELS`].
#[derive(Debug, Default)]
pub(super) struct Levels([usize; LEVELS.len()]);

const LEVELS: [&Figure; 11] = [
    &names::POOL_BUDGET,
    &names::POOL_USED,
    &names::POOL_RESERVED,
    &names::POOL_LONG_HELD,
    &names::POOL_PEAK,
    &names::POOL_IDLE,
    &names::POOL_OUTSTANDING,
    &names::POOL_WAITING,
    &names::POOL_UNCOLLECTED,
    &names::POOL_UNCOLLECTED_BYTES,
    &names::POOL_ABSENT,
];

impl Observed for BytePool {
    type Counts = Counts;
    type Levels = Levels;

    fn is_last_handle(&mut self) -> bool {
        Self::is_last_handle(self)
    }

    fn add_to(&self, counts: &mut Counts, levels: &mut Levels) {
        let figures = self.snapshot();
        let flows = [
            figures.gets,
            figures.puts,
            figures.refusals,
            figures.waits,
            figures.passed_on,
            figures.allocations,
        ];
        for (sum, flow) in counts.0.iter_mut().zip(flows) {
            sum.merge(flow);
        }
        let values = [
            figures.budget_bytes,
            figures.used_bytes,
            figures.reserved_bytes,
            figures.long_held_bytes,
            figures.peak_bytes,
            figures.idle_bytes,
            figures.outstanding,
            figures.waiting,
            figures.uncollected,
            figures.uncollected_bytes,
            figures.absent,
        ];
        for (sum, value) in levels.0.iter_mut().zip(values) {
            // Two pools may have all the budget that there is.
            *sum = sum.saturating_add(value);
        }
    }

    fn publish(name: &Arc<str>, counts: &Counts, levels: &Levels) {
        let series = [
            (&names::POOL_GETS, &names::POOL_GET_BYTES),
            (&names::POOL_PUTS, &names::POOL_PUT_BYTES),
            (&names::POOL_REFUSALS, &names::POOL_REFUSED_BYTES),
            (&names::POOL_WAITS, &names::POOL_WAITED_BYTES),
            (&names::POOL_PASSED_ON, &names::POOL_PASSED_ON_BYTES),
            (&names::POOL_ALLOCATIONS, &names::POOL_ALLOCATED_BYTES),
        ];
        for ((count, bytes), flow) in series.into_iter().zip(counts.0) {
            count.counter(name).absolute(flow.count);
            bytes.counter(name).absolute(flow.bytes);
        }
        for (figure, value) in LEVELS.into_iter().zip(levels.0) {
            figure.set_count(name, value);
        }
    }
}
