use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label, SharedString, Unit};

/// A metric: its name and what it means.
#[derive(Debug)]
pub(crate) struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    help: &'static str,
    /// The label that tells instances apart.
    label: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric {
    pub(crate) fn counter(&self, instance: &Arc<str>) -> Counter {
        metrics::counter!(self.name, self.labels(instance))
    }

    /// A counter with one more label. Each value of the label is a series.
    pub(crate) fn counter_of(
        &self,
        instance: &Arc<str>,
        label: &'static str,
        value: &'static str,
    ) -> Counter {
        let mut labels = self.labels(instance);
        labels.push(Label::from_static_parts(label, value));
        metrics::counter!(self.name, labels)
    }

    pub(crate) fn gauge(&self, instance: &Arc<str>) -> Gauge {
        metrics::gauge!(self.name, self.labels(instance))
    }

    pub(crate) fn histogram(&self, instance: &Arc<str>) -> Histogram {
        metrics::histogram!(self.name, self.labels(instance))
    }

    fn labels(&self, instance: &Arc<str>) -> Vec<Label> {
        vec![Label::new(self.label, SharedString::from_shared(Arc::clone(instance)))]
    }

    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => metrics::describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => metrics::describe_gauge!(self.name, self.unit, self.help),
            Kind::Histogram => metrics::describe_histogram!(self.name, self.unit, self.help),
        }
    }

    pub(super) fn set_count(&self, instance: &Arc<str>, value: usize) {
        // Exact up to 2^53, which is 8 PiB.
        #[allow(clippy::cast_precision_loss)]
        self.gauge(instance).set(value as f64);
    }

    pub(super) fn set_seconds(&self, instance: &Arc<str>, value: Duration) {
        self.gauge(instance).set(value.as_secs_f64());
    }
}

/// Describes every metric, with its unit, to the recorder that is installed.
///
/// A [`Publisher`](super::Publisher) does so each time it publishes. Call this where there is none, after the
/// recorder was installed.
pub fn describe() {
    names::ALL.iter().for_each(Metric::describe);
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident, $unit:ident, $label:literal, $name:literal, $help:literal;)*) => {
        /// All metrics. Keep `docs/metrics.md` in step; `tests/metrics.rs` compares them.
        pub(crate) mod names {
            use metrics::Unit;
            use super::{Metric, Kind};

            $(pub(crate) const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, help: $help, label: $label };)*

            pub(in crate::observe) const ALL: &[Metric] = &[$($constant),*];
        }
    };
}

metrics! {
    POOL_BUDGET: Gauge, Bytes, "pool", "losertree_pool_budget_bytes", "What the pool may hold.";
    POOL_USED: Gauge, Bytes, "pool", "losertree_pool_used_bytes", "What is leased or reserved.";
    POOL_RESERVED: Gauge, Bytes, "pool", "losertree_pool_reserved_bytes", "What of it is reserved.";
    POOL_LONG_HELD: Gauge, Bytes, "pool", "losertree_pool_long_held_bytes", "What is leased or reserved for long.";
    POOL_PEAK: Gauge, Bytes, "pool", "losertree_pool_peak_bytes", "The most that was ever used.";
    POOL_IDLE: Gauge, Bytes, "pool", "losertree_pool_idle_bytes", "What is kept for the next lease.";
    POOL_OUTSTANDING: Gauge, Count, "pool", "losertree_pool_outstanding_leases", "Leases that are out.";
    POOL_WAITING: Gauge, Count, "pool", "losertree_pool_waiting_leases",
        "Leases and growths of reservations that are being waited for.";
    POOL_UNCOLLECTED: Gauge, Count, "pool", "losertree_pool_uncollected_leases",
        "Leases and growths of reservations that were granted to a waiter who has not collected them.";
    POOL_UNCOLLECTED_BYTES: Gauge, Bytes, "pool", "losertree_pool_uncollected_bytes", "What these are charged.";
    POOL_ABSENT: Gauge, Count, "pool", "losertree_pool_absent_waiters",
        "Waiters whose grant was passed on and who have not come back.";
    POOL_GETS: Counter, Count, "pool", "losertree_pool_gets_total", "Leases granted.";
    POOL_GET_BYTES: Counter, Bytes, "pool", "losertree_pool_get_bytes_total", "What was leased.";
    POOL_PUTS: Counter, Count, "pool", "losertree_pool_puts_total", "Leases that came back.";
    POOL_PUT_BYTES: Counter, Bytes, "pool", "losertree_pool_put_bytes_total", "What came back.";
    POOL_REFUSALS: Counter, Count, "pool", "losertree_pool_refusals_total",
        "Leases and growths refused, for want of budget or because somebody waits.";
    POOL_REFUSED_BYTES: Counter, Bytes, "pool", "losertree_pool_refused_bytes_total", "What was refused.";
    POOL_WAITS: Counter, Count, "pool", "losertree_pool_waits_total",
        "Leases and growths of reservations that had to wait.";
    POOL_WAITED_BYTES: Counter, Bytes, "pool", "losertree_pool_waited_bytes_total", "What had to be waited for.";
    POOL_PASSED_ON: Counter, Count, "pool", "losertree_pool_passed_on_total",
        "Leases and growths of reservations that were not collected in time and passed on to others.";
    POOL_PASSED_ON_BYTES: Counter, Bytes, "pool", "losertree_pool_passed_on_bytes_total", "What was passed on.";
    POOL_ALLOCATIONS: Counter, Count, "pool", "losertree_pool_allocations_total", "Buffers allocated.";
    POOL_ALLOCATED_BYTES: Counter, Bytes, "pool", "losertree_pool_allocated_bytes_total", "What was allocated.";

    GATE_PENDING: Gauge, Count, "gate", "losertree_gate_pending_readers", "Readers inside.";
    GATE_OLDEST: Gauge, Seconds, "gate", "losertree_gate_oldest_reader_seconds",
        "For how long the oldest reader has been inside.";
    GATE_CLOSING: Gauge, Seconds, "gate", "losertree_gate_closing_seconds",
        "For how long the gate has been closing; 0 when it is open, or closed and empty.";

    LEDGER_OPEN: Gauge, Count, "ledger", "losertree_ledger_open_entries", "What is open.";
    LEDGER_OLDEST: Gauge, Seconds, "ledger", "losertree_ledger_oldest_entry_seconds",
        "For how long the oldest of it has been open; 0 below level sites.";
    LEDGER_OPENED: Counter, Count, "ledger", "losertree_ledger_opened_total", "What was opened.";
    LEDGER_ENDED: Counter, Count, "ledger", "losertree_ledger_ended_total", "What ended, by how it ended.";

    MERGES: Counter, Count, "merge", "losertree_merges_total", "Merges that ended, by how they ended.";
    MERGES_PARTIAL: Counter, Count, "merge", "losertree_merges_partial_total",
        "Merges that ended with a partial answer.";
    MERGE_ITEMS: Counter, Count, "merge", "losertree_merge_items_total", "Items yielded by merges that ended.";
    MERGE_DURATION: Histogram, Seconds, "merge", "losertree_merge_duration_seconds",
        "The time from the build of a merge to its end.";
    SOURCES_RELEASED: Counter, Count, "merge", "losertree_sources_released_total",
        "Sources that were closed or handed back, by how they ended.";
    SOURCES_DROPPED: Counter, Count, "merge", "losertree_sources_dropped_unclosed_total",
        "Sources that were dropped without having been closed.";
    SOURCES_LOST: Counter, Count, "merge", "losertree_sources_lost_total",
        "Sources that were dropped unclosed by something that was itself closed in order: a close was lost in between.";
}
