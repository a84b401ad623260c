use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::describe;
use super::group::{Group, Observed};
use crate::resource::{BytePool, LeakLedger, ReaderGate};

/// Publishes the figures of pools, gates and ledgers to the recorder of the `metrics` facade.
///
/// Add each instance once, under the name that is its label, and call [`publish`](Self::publish) before the
/// metrics are read. Several instances can have one name; their figures are added up, and of times the
/// longest is published. So the gates of a thousand blocks need not be a thousand time series.
///
/// # Closing
///
/// A publisher keeps a handle to each instance. One that nobody else has a handle to, nor a lease, reader or
/// entry of, is let go of the next time that figures are published: its gauges no longer count, its
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

    /// Adds a pool. Its figures get the label `pool`.
    #[allow(clippy::must_use_candidate)]
    pub fn pool(&self, name: impl Into<Arc<str>>, pool: &BytePool) -> &Self {
        self.lock().pools.entry(name.into()).or_default().add(pool.clone());
        self
    }

    /// Adds a gate. Its figures get the label `gate`.
    #[allow(clippy::must_use_candidate)]
    pub fn gate(&self, name: impl Into<Arc<str>>, gate: &ReaderGate) -> &Self {
        self.lock().gates.entry(name.into()).or_default().add(gate.clone());
        self
    }

    /// Adds a ledger. Its figures get the label `ledger`. One at level off has none.
    #[allow(clippy::must_use_candidate)]
    pub fn ledger(&self, name: impl Into<Arc<str>>, ledger: &LeakLedger) -> &Self {
        self.lock().ledgers.entry(name.into()).or_default().add(ledger.clone());
        self
    }

    /// Publishes the figures of this moment, and the descriptions of all metrics.
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
