use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::metric::{Metric, describe, names};
use crate::resource::{BytePool, Ending, Flow, LeakLedger, ReaderGate};

/// Publishes the metrics of pools, gates and ledgers to the recorder of the `metrics` facade.
///
/// Add each instance once, under the name that is its label, and call [`publish`](Self::publish) before the
/// metrics are read. Several instances can have one name; their metrics are added up, and of times the
/// longest is published. So the gates of a thousand blocks need not be a thousand time series.
///
/// # Closing
///
/// A publisher keeps a handle to each instance. One that nobody else has a handle to, nor a lease, reader or
/// entry of, is let go of the next time that metrics are published: its gauges no longer count, its
/// counters stay, so nothing goes back when a pool is made anew. Until then the idle buffers of such a pool
/// stay allocated.
///
/// # Examples
///
/// ```
/// use losertree::LeakLedger;
/// use losertree::observe::Publisher;
/// use losertree::resource::{BytePool, ReaderGate};
///
/// let pool = BytePool::builder().build()?;
/// let ledger = LeakLedger::counts();
/// let publisher = Publisher::new();
/// publisher.pool("chunks", &pool).ledger("queries", &ledger);
/// let gates = ["block 1", "block 2"].map(ReaderGate::new);
/// for gate in &gates {
///     publisher.gate("blocks", gate);
/// }
///
/// // In the handler of a scrape:
/// publisher.publish();
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Publisher {
    groups: Mutex<Groups>,
}

#[derive(Debug, Default)]
struct Groups {
    pools: BTreeMap<Arc<str>, Group<BytePool>>,
    gates: BTreeMap<Arc<str>, Group<ReaderGate>>,
    ledgers: BTreeMap<Arc<str>, Group<LeakLedger>>,
}

impl Publisher {
    /// Creates a publisher of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a pool. Its metrics get the label `pool`.
    #[allow(clippy::must_use_candidate)]
    pub fn pool(&self, name: impl Into<Arc<str>>, pool: &BytePool) -> &Self {
        self.lock().pools.entry(name.into()).or_default().add(pool.clone());
        self
    }

    /// Adds a gate. Its metrics get the label `gate`.
    #[allow(clippy::must_use_candidate)]
    pub fn gate(&self, name: impl Into<Arc<str>>, gate: &ReaderGate) -> &Self {
        self.lock().gates.entry(name.into()).or_default().add(gate.clone());
        self
    }

    /// Adds a ledger. Its metrics get the label `ledger`. One at level off has none.
    #[allow(clippy::must_use_candidate)]
    pub fn ledger(&self, name: impl Into<Arc<str>>, ledger: &LeakLedger) -> &Self {
        self.lock().ledgers.entry(name.into()).or_default().add(ledger.clone());
        self
    }

    /// Publishes the metrics of this moment, and the descriptions of all metrics.
    ///
    /// # Complexity
    ///
    /// One snapshot of each instance, and a look-up in the recorder for each series.
    pub fn publish(&self) {
        describe();
        let mut groups = self.lock();
        publish_all(&mut groups.pools);
        publish_all(&mut groups.gates);
        publish_all(&mut groups.ledgers);
        // They have no counters to remember, and there may be one for each block that ever was.
        groups.gates.retain(|_, gates| !gates.is_empty());
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        // What may panic under the lock is the recorder, between changes.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn publish_all<T: Observed<Counts: Clone>>(groups: &mut BTreeMap<Arc<str>, Group<T>>) {
    for (name, group) in groups {
        group.publish(name);
    }
}

/// A resource whose metrics can be read.
trait Observed {
    /// What only grows, summed over instances.
    type Counts: Default;
    /// What goes up and down, summed over instances.
    type Levels: Default;

    /// Whether nobody else has a handle, and so nothing changes any more.
    fn is_last_handle(&mut self) -> bool;
    fn add_to(&self, counts: &mut Self::Counts, levels: &mut Self::Levels);
    fn publish(name: &Arc<str>, counts: &Self::Counts, levels: &Self::Levels);
}

/// All instances of one name.
struct Group<T: Observed> {
    live: Vec<T>,
    /// The counts of those that are gone: a counter does not go back.
    retired: T::Counts,
}

impl<T: Observed<Counts: Clone>> Group<T> {
    fn add(&mut self, instance: T) {
        self.live.push(instance);
    }

    /// Publishes the sums, and lets go of the instances that nobody else has.
    fn publish(&mut self, name: &Arc<str>) {
        let Self { live, retired } = self;
        live.retain_mut(|instance| {
            let is_gone = instance.is_last_handle();
            if is_gone {
                // After the look at the handles: so these are its last values.
                instance.add_to(retired, &mut T::Levels::default());
            }
            !is_gone
        });
        let (mut counts, mut levels) = (retired.clone(), T::Levels::default());
        for instance in live {
            instance.add_to(&mut counts, &mut levels);
        }
        T::publish(name, &counts, &levels);
    }

    const fn is_empty(&self) -> bool {
        self.live.is_empty()
    }
}

impl<T: Observed> Default for Group<T> {
    fn default() -> Self {
        Self { live: Vec::new(), retired: T::Counts::default() }
    }
}

impl<T: Observed> fmt::Debug for Group<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("live", &self.live.len()).finish_non_exhaustive()
    }
}

/// The flows of pools: gets, puts, refusals, waits, what was passed on, allocations.
#[derive(Debug, Clone, Copy, Default)]
struct PoolCounts([Flow; 6]);

/// In the order of [`POOL_LEVELS`].
#[derive(Debug, Default)]
struct PoolLevels([usize; POOL_LEVELS.len()]);

const POOL_LEVELS: [&Metric; 11] = [
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
    type Counts = PoolCounts;
    type Levels = PoolLevels;

    fn is_last_handle(&mut self) -> bool {
        Self::is_last_handle(self)
    }

    fn add_to(&self, counts: &mut PoolCounts, levels: &mut PoolLevels) {
        let pool = self.snapshot();
        let flows = [pool.gets, pool.puts, pool.refusals, pool.waits, pool.passed_on, pool.allocations];
        for (sum, flow) in counts.0.iter_mut().zip(flows) {
            sum.merge(flow);
        }
        let values = [
            pool.budget_bytes,
            pool.used_bytes,
            pool.reserved_bytes,
            pool.long_held_bytes,
            pool.peak_bytes,
            pool.idle_bytes,
            pool.outstanding,
            pool.waiting,
            pool.uncollected,
            pool.uncollected_bytes,
            pool.absent,
        ];
        for (sum, value) in levels.0.iter_mut().zip(values) {
            // Two pools may have all the budget that there is.
            *sum = sum.saturating_add(value);
        }
    }

    fn publish(name: &Arc<str>, counts: &PoolCounts, levels: &PoolLevels) {
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
        for (metric, value) in POOL_LEVELS.into_iter().zip(levels.0) {
            metric.set_count(name, value);
        }
    }
}

#[derive(Debug, Default)]
struct GateLevels {
    pending: usize,
    oldest: Duration,
    closing: Duration,
}

/// Of several gates of one name the readers are added up, and the times are those of the slowest.
impl Observed for ReaderGate {
    type Counts = ();
    type Levels = GateLevels;

    fn is_last_handle(&mut self) -> bool {
        Self::is_last_handle(self)
    }

    fn add_to(&self, (): &mut (), levels: &mut GateLevels) {
        levels.pending = levels.pending.saturating_add(self.pending());
        levels.oldest = levels.oldest.max(self.oldest_age().unwrap_or_default());
        levels.closing = levels.closing.max(self.closing_for().unwrap_or_default());
    }

    fn publish(name: &Arc<str>, (): &(), levels: &GateLevels) {
        names::GATE_PENDING.set_count(name, levels.pending);
        names::GATE_OLDEST.set_seconds(name, levels.oldest);
        names::GATE_CLOSING.set_seconds(name, levels.closing);
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct LedgerCounts {
    opened: u64,
    ended: [u64; Ending::ALL.len()],
}

#[derive(Debug, Default)]
struct LedgerLevels {
    open: usize,
    oldest: Duration,
}

impl Observed for LeakLedger {
    type Counts = LedgerCounts;
    type Levels = LedgerLevels;

    fn is_last_handle(&mut self) -> bool {
        Self::is_last_handle(self)
    }

    fn add_to(&self, counts: &mut LedgerCounts, levels: &mut LedgerLevels) {
        let ledger = self.snapshot();
        counts.opened += ledger.opened;
        for (sum, ended) in counts.ended.iter_mut().zip(ledger.ended()) {
            *sum += ended;
        }
        levels.open += usize::try_from(ledger.open).unwrap_or(usize::MAX);
        let oldest = ledger.open_entries.iter().map(|entry| entry.age).max();
        levels.oldest = levels.oldest.max(oldest.unwrap_or_default());
    }

    fn publish(name: &Arc<str>, counts: &LedgerCounts, levels: &LedgerLevels) {
        names::LEDGER_OPENED.counter(name).absolute(counts.opened);
        for (ending, count) in Ending::ALL.into_iter().zip(counts.ended) {
            names::LEDGER_ENDED.counter_of(name, "ending", ending.as_str()).absolute(count);
        }
        names::LEDGER_OPEN.set_count(name, levels.open);
        names::LEDGER_OLDEST.set_seconds(name, levels.oldest);
    }
}
