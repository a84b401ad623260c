//! Every documented metric appears, with the right value, and the alert rules use no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use losertree::observe::Publisher;
use losertree::resource::{BytePool, Ending, ReaderGate};
use losertree::{LeakLedger, ProxyResponseLoserTree};
use losertree_testkit::{Script, Stage, poll_times, silence_scripted_panics};
use metrics::{Unit, with_local_recorder};
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};

/// Series, written as `name{label="value"}`, and their values; of a histogram the number of values.
type Series = BTreeMap<String, f64>;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("the file can be read")
}

/// What was recorded since the last look. Counters are those of this look alone, unlike in Prometheus.
#[allow(clippy::cast_precision_loss)]
fn series(snapshotter: &Snapshotter) -> Series {
    let metrics = snapshotter.snapshot().into_vec().into_iter();
    let series = metrics.map(|(key, _, _, value)| {
        let labels: Vec<_> =
            key.key().labels().map(|label| format!("{}={:?}", label.key(), label.value())).collect();
        let value = match value {
            DebugValue::Counter(value) => value as f64,
            DebugValue::Gauge(value) => value.into_inner(),
            DebugValue::Histogram(values) => values.len() as f64,
        };
        (format!("{}{{{}}}", key.key().name(), labels.join(",")), value)
    });
    series.collect()
}

#[track_caller]
fn assert_series(series: &Series, expected: &[(&str, f64)]) {
    for (name, value) in expected {
        let found = series.get(*name).unwrap_or_else(|| panic!("no {name} among {series:#?}"));
        assert!((found - value).abs() < 1e-9, "{name} is {found}, not {value}");
    }
}

fn pool() -> BytePool {
    let builder = BytePool::builder().smallest_bytes(64).largest_bytes(1024).budget_bytes(2048);
    builder.build().expect("a pool")
}

#[test]
fn a_pool_is_published() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, || {
        let pool = pool();
        let publisher = Publisher::new();
        publisher.pool("chunks", &pool);
        let big = pool.try_lease(1000).expect("there is room");
        let small = pool.try_lease(100).expect("there is room");
        assert!(pool.try_lease(1024).is_err());
        let Err(wait) = poll_times(pool.lease(1024), 1) else { panic!("there is no room") };
        drop(small);
        publisher.publish();
        assert_series(
            &series(&snapshotter),
            &[
                (r#"losertree_pool_budget_bytes{pool="chunks"}"#, 2048.0),
                // The one that waits has been granted its lease.
                (r#"losertree_pool_used_bytes{pool="chunks"}"#, 2048.0),
                (r#"losertree_pool_reserved_bytes{pool="chunks"}"#, 0.0),
                (r#"losertree_pool_long_held_bytes{pool="chunks"}"#, 0.0),
                (r#"losertree_pool_peak_bytes{pool="chunks"}"#, 2048.0),
                // The small buffer was dropped to make room for that.
                (r#"losertree_pool_idle_bytes{pool="chunks"}"#, 0.0),
                (r#"losertree_pool_outstanding_leases{pool="chunks"}"#, 2.0),
                (r#"losertree_pool_waiting_leases{pool="chunks"}"#, 0.0),
                (r#"losertree_pool_uncollected_leases{pool="chunks"}"#, 1.0),
                (r#"losertree_pool_uncollected_bytes{pool="chunks"}"#, 1024.0),
                (r#"losertree_pool_absent_waiters{pool="chunks"}"#, 0.0),
                (r#"losertree_pool_gets_total{pool="chunks"}"#, 3.0),
                (r#"losertree_pool_get_bytes_total{pool="chunks"}"#, 2176.0),
                (r#"losertree_pool_puts_total{pool="chunks"}"#, 1.0),
                (r#"losertree_pool_put_bytes_total{pool="chunks"}"#, 128.0),
                (r#"losertree_pool_refusals_total{pool="chunks"}"#, 1.0),
                (r#"losertree_pool_refused_bytes_total{pool="chunks"}"#, 1024.0),
                (r#"losertree_pool_waits_total{pool="chunks"}"#, 1.0),
                (r#"losertree_pool_waited_bytes_total{pool="chunks"}"#, 1024.0),
                (r#"losertree_pool_allocations_total{pool="chunks"}"#, 2.0),
                (r#"losertree_pool_allocated_bytes_total{pool="chunks"}"#, 1152.0),
            ],
        );
        let Err(wait2) = poll_times(pool.lease(1024), 1) else { panic!("there is no room") };
        publisher.publish();
        assert_series(&series(&snapshotter), &[(r#"losertree_pool_waiting_leases{pool="chunks"}"#, 1.0)]);
        drop((big, wait, wait2));
        let mut received = pool.reservation();
        received.try_grow(300).expect("there is room");
        publisher.publish();
        let reserved = [
            (r#"losertree_pool_used_bytes{pool="chunks"}"#, 300.0),
            (r#"losertree_pool_reserved_bytes{pool="chunks"}"#, 300.0),
            (r#"losertree_pool_outstanding_leases{pool="chunks"}"#, 0.0),
        ];
        assert_series(&series(&snapshotter), &reserved);
    });
}

/// Publishing is a use of the pool, by which what is not collected is passed on to others.
#[test]
fn what_is_passed_on_is_published() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, || {
        let pool = BytePool::builder().smallest_bytes(64).largest_bytes(1024).budget_bytes(1024);
        let pool = pool.collect_within(Duration::ZERO).build().expect("a pool");
        let publisher = Publisher::new();
        publisher.pool("chunks", &pool);
        let held = pool.try_lease(1024).expect("there is room");
        let [parked, next] = [1024, 512].map(|len| {
            let Err(wait) = poll_times(pool.lease(len), 1) else { panic!("there is no room") };
            wait
        });
        drop(held);
        publisher.publish();
        assert_series(
            &series(&snapshotter),
            &[
                (r#"losertree_pool_waiting_leases{pool="chunks"}"#, 0.0),
                (r#"losertree_pool_uncollected_leases{pool="chunks"}"#, 1.0),
                (r#"losertree_pool_uncollected_bytes{pool="chunks"}"#, 512.0),
                (r#"losertree_pool_absent_waiters{pool="chunks"}"#, 1.0),
                (r#"losertree_pool_passed_on_total{pool="chunks"}"#, 1.0),
                (r#"losertree_pool_passed_on_bytes_total{pool="chunks"}"#, 1024.0),
                (r#"losertree_pool_gets_total{pool="chunks"}"#, 3.0),
                (r#"losertree_pool_puts_total{pool="chunks"}"#, 2.0),
            ],
        );
        drop((parked, next));
    });
}

/// Pools of one name, each of which has all the budget that there is.
#[test]
fn sums_stop_at_the_largest_number() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, || {
        let publisher = Publisher::new();
        let pools = [(); 2].map(|()| BytePool::builder().budget_bytes(usize::MAX).build().expect("a pool"));
        let reservations = pools.each_ref().map(|pool| {
            publisher.pool("chunks", pool);
            let (mut held, mut refused) = (pool.reservation(), pool.reservation());
            held.try_grow(usize::MAX).expect("there is room");
            assert!(refused.try_grow(usize::MAX).is_err());
            held
        });
        publisher.publish();
        #[allow(clippy::cast_precision_loss)]
        let most = usize::MAX as f64;
        let figures = series(&snapshotter);
        for name in ["budget_bytes", "used_bytes", "reserved_bytes", "peak_bytes", "refused_bytes_total"] {
            assert_series(&figures, &[(&format!("losertree_pool_{name}{{pool=\"chunks\"}}"), most)]);
        }
        drop(reservations);
    });
}

#[test]
fn a_gate_is_published() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, || {
        let (gate, other) = (ReaderGate::new("block 7"), ReaderGate::new("block 8"));
        let publisher = Publisher::new();
        publisher.gate("blocks", &gate).gate("blocks", &other);
        let readers =
            [gate.enter().expect("open"), gate.enter().expect("open"), other.enter().expect("open")];
        publisher.publish();
        let open = series(&snapshotter);
        assert_series(
            &open,
            &[
                (r#"losertree_gate_pending_readers{gate="blocks"}"#, 3.0),
                (r#"losertree_gate_closing_seconds{gate="blocks"}"#, 0.0),
            ],
        );
        assert!(open[r#"losertree_gate_oldest_reader_seconds{gate="blocks"}"#] > 0.0);

        assert_eq!(gate.closing_for(), None);
        assert_eq!(gate.close().now_or_never(), None);
        let closing = gate.closing_for().expect("readers are inside");
        publisher.publish();
        let seconds = series(&snapshotter)[r#"losertree_gate_closing_seconds{gate="blocks"}"#];
        assert!(seconds >= closing.as_secs_f64());
        // Closing once more does not start the clock anew.
        assert_eq!(gate.close().now_or_never(), None);
        assert!(gate.closing_for().expect("still inside").as_secs_f64() >= seconds);

        drop(readers);
        assert_eq!(gate.closing_for(), None);
        drop((gate, other));
        publisher.publish();
        let gone = [
            (r#"losertree_gate_pending_readers{gate="blocks"}"#, 0.0),
            (r#"losertree_gate_oldest_reader_seconds{gate="blocks"}"#, 0.0),
            (r#"losertree_gate_closing_seconds{gate="blocks"}"#, 0.0),
        ];
        assert_series(&series(&snapshotter), &gone);
    });
}

#[test]
fn a_ledger_is_published() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, || {
        let ledger = LeakLedger::sites();
        let publisher = Publisher::new();
        publisher.ledger("queries", &ledger).ledger("none", &LeakLedger::off());
        for (count, ending) in (1..).zip(Ending::ALL) {
            (0..count).for_each(|_| ledger.open("x").end(ending));
        }
        let open = ledger.open("x");
        publisher.publish();
        let figures = series(&snapshotter);
        assert_series(
            &figures,
            &[
                (r#"losertree_ledger_open_entries{ledger="queries"}"#, 1.0),
                (r#"losertree_ledger_opened_total{ledger="queries"}"#, 22.0),
                (r#"losertree_ledger_ended_total{ledger="queries",ending="closed"}"#, 1.0),
                (r#"losertree_ledger_ended_total{ledger="queries",ending="closed_in_background"}"#, 2.0),
                (r#"losertree_ledger_ended_total{ledger="queries",ending="failed"}"#, 3.0),
                (r#"losertree_ledger_ended_total{ledger="queries",ending="handed_back"}"#, 4.0),
                (r#"losertree_ledger_ended_total{ledger="queries",ending="dropped_unclosed"}"#, 5.0),
                (r#"losertree_ledger_ended_total{ledger="queries",ending="lost"}"#, 6.0),
                (r#"losertree_ledger_opened_total{ledger="none"}"#, 0.0),
            ],
        );
        assert!(figures[r#"losertree_ledger_oldest_entry_seconds{ledger="queries"}"#] > 0.0);
        drop(open);
    });
}

/// Instances of one name are added up, and what is gone stays in the counters.
#[test]
fn a_pool_made_anew_goes_on_counting() {
    // The snapshots of the debugging recorder take the counts away, so each look gets a new one.
    let look = |publisher: &Publisher| {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        with_local_recorder(&recorder, || publisher.publish());
        series(&snapshotter)
    };
    let expect = |gets: f64, puts: f64, used: f64, budget: f64| {
        [
            (r#"losertree_pool_gets_total{pool="a"}"#, gets),
            (r#"losertree_pool_puts_total{pool="a"}"#, puts),
            (r#"losertree_pool_used_bytes{pool="a"}"#, used),
            (r#"losertree_pool_budget_bytes{pool="a"}"#, budget),
        ]
    };
    let publisher = Publisher::new();
    let first = pool();
    publisher.pool("a", &first);
    let lease = first.try_lease(64).expect("there is room");
    let second = pool();
    publisher.pool("a", &second);
    drop(second.try_lease(64).expect("there is room"));
    assert_series(&look(&publisher), &expect(2.0, 1.0, 64.0, 4096.0));
    // A lease is a handle: the pool is in use.
    drop(first);
    assert_series(&look(&publisher), &expect(2.0, 1.0, 64.0, 4096.0));
    drop(lease);
    assert_series(&look(&publisher), &expect(2.0, 2.0, 0.0, 2048.0));
    drop(second);
    for _ in 0..2 {
        assert_series(&look(&publisher), &expect(2.0, 2.0, 0.0, 0.0));
    }
}

#[test]
fn merges_are_published_when_they_end() {
    silence_scripted_panics();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let with_name = |name, script: [Script<u64>; 3]| {
        ProxyResponseLoserTree::builder().sources(Stage::new().sources(script)).name(name)
    };
    with_local_recorder(&recorder, || {
        let mut partial = with_name("select", [of([1, 4]), of([2]).fail(), of([3])]).warn_with(|_| 0).build();
        let stage = Stage::new();
        let _ = stage.driver(0).run(&mut partial);
        let ended = series(&snapshotter);
        drop(partial);
        // Dropping what has ended counts nothing twice.
        let again = series(&snapshotter);
        assert_series(
            &ended,
            &[
                (r#"losertree_merges_total{merge="select",end="closed"}"#, 1.0),
                (r#"losertree_merges_partial_total{merge="select"}"#, 1.0),
                (r#"losertree_merge_items_total{merge="select"}"#, 4.0),
                (r#"losertree_merge_duration_seconds{merge="select"}"#, 1.0),
                (r#"losertree_sources_released_total{merge="select",end="exhausted"}"#, 2.0),
                (r#"losertree_sources_released_total{merge="select",end="failed"}"#, 1.0),
                (r#"losertree_sources_released_total{merge="select",end="closed_in_background"}"#, 0.0),
                (r#"losertree_sources_dropped_unclosed_total{merge="select"}"#, 0.0),
                (r#"losertree_sources_lost_total{merge="select"}"#, 0.0),
            ],
        );
        assert!(again.values().all(|value| *value == 0.0), "{again:#?}");

        let mut limited = with_name("limited", [of([1, 4]), of([2]), of([3])]).limit(1).build();
        let _ = stage.driver(0).run(&mut limited);
        let mut dropped = with_name("dropped", [of([1, 4]), of([2, 5]).drop_panics(), of([3])]).build();
        let _ = stage.driver(0).run_up_to(&mut dropped, 2);
        drop(dropped);
        drop(with_name("back", [of([1, 4]), of([2]), of([3])]).build().into_sources());
        assert_series(
            &series(&snapshotter),
            &[
                (r#"losertree_merges_total{merge="limited",end="closed"}"#, 1.0),
                (r#"losertree_sources_released_total{merge="limited",end="closed_early"}"#, 3.0),
                (r#"losertree_merges_total{merge="dropped",end="dropped_unclosed"}"#, 1.0),
                (r#"losertree_merge_items_total{merge="dropped"}"#, 2.0),
                (r#"losertree_merges_partial_total{merge="dropped"}"#, 0.0),
                (r#"losertree_sources_dropped_unclosed_total{merge="dropped"}"#, 3.0),
                (r#"losertree_merges_total{merge="back",end="handed_back"}"#, 1.0),
                (r#"losertree_sources_released_total{merge="back",end="handed_back"}"#, 3.0),
            ],
        );
    });
}

fn of(items: impl IntoIterator<Item = u64>) -> Script<u64> {
    Script::of(items)
}

/// The rows of the table in `docs/metrics.md`: name, type, unit.
fn documented() -> BTreeSet<(String, String, String)> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `losertree_"));
    rows.map(|row| {
        let mut cells = row.split('|').skip(1).map(|cell| cell.trim().trim_matches('`').to_owned());
        let mut next = || cells.next().expect("a cell");
        (next(), next(), next())
    })
    .collect()
}

#[test]
fn what_is_described_is_what_is_documented() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    with_local_recorder(&recorder, || {
        // A description is seen where there is a series.
        let publisher = Publisher::new();
        publisher.pool("x", &pool()).gate("x", &ReaderGate::new("x")).ledger("x", &LeakLedger::counts());
        publisher.publish();
        drop(ProxyResponseLoserTree::new(Stage::new().sources([of([1])])));
    });
    let mut described = BTreeSet::new();
    for (key, unit, help, _) in snapshotter.snapshot().into_vec() {
        let name = key.key().name();
        assert!(help.is_some_and(|help| help.ends_with('.')), "{name} has no description");
        let kind = match key.kind() {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let unit = unit.expect("a unit");
        let suffix = match (kind, unit) {
            ("counter", Unit::Bytes) => "_bytes_total",
            ("counter", _) => "_total",
            (_, Unit::Bytes) => "_bytes",
            (_, Unit::Seconds) => "_seconds",
            _ => "",
        };
        assert!(name.ends_with(suffix), "{name} does not end in {suffix}");
        described.insert((name.to_owned(), kind.to_owned(), unit.as_str().to_owned()));
    }
    assert_eq!(described, documented());
}

/// The names that begin with `losertree_` in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("losertree_")).collect()
}

#[test]
fn alert_rules_use_documented_metrics() {
    let documented: BTreeSet<_> = documented().into_iter().map(|(name, ..)| name).collect();
    for file in ["docs/alerts/losertree.rules.yml", "docs/alerts/tests.yml", "docs/alerts/README.md"] {
        let text = read(file);
        for name in names(&text) {
            assert!(documented.contains(name), "{file} uses {name}, which is not in docs/metrics.md");
        }
    }
    let rules = read("docs/alerts/losertree.rules.yml");
    assert!(names(&rules).len() > 5, "the reading of the rules is broken");
}
