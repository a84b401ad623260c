//! The ledger: levels, endings, the report, and that no path forgets an entry.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use futures::StreamExt;
use losertree::resource::{BytePool, Ending, LedgerLevel, LedgerSnapshot, ReaderGate};
use losertree::{LeakLedger, ProxyResponseLoserTree};
use losertree_testkit::{Script, Stage, Wake, poll_times};

#[test]
fn each_level_writes_down_what_it_says() {
    for (ledger, level) in [
        (LeakLedger::off(), LedgerLevel::Off),
        (LeakLedger::counts(), LedgerLevel::Counts),
        (LeakLedger::sites(), LedgerLevel::Sites),
        (LeakLedger::default(), LedgerLevel::Counts),
    ] {
        assert_eq!(ledger.level(), level);
        let line = line!() + 1;
        let entry = ledger.open("store-a");
        let record = ledger.snapshot();
        assert_eq!(record.open, u64::from(level > LedgerLevel::Off));
        assert_eq!(record.open_entries.len(), usize::from(level == LedgerLevel::Sites));
        if let [open] = &*record.open_entries {
            assert_eq!(open.what, "store-a");
            assert_eq!((open.location.file(), open.location.line()), (file!(), line));
            assert!(open.to_string().starts_with(&format!("store-a, opened at {}:{line}:", file!())));
        }
        entry.end(Ending::Closed);
        ledger.assert_balanced();
        let record = ledger.snapshot();
        assert_eq!((record.open, record.open_entries.len()), (0, 0));
        assert_eq!(record.closed, u64::from(level > LedgerLevel::Off));
    }
}

/// How the one open entry was last used.
#[track_caller]
fn last_use(ledger: &LeakLedger) -> Option<(&'static str, Option<u64>)> {
    let record = ledger.snapshot();
    let [entry] = &*record.open_entries else { panic!("{record}") };
    let last_use = entry.last_use?;
    assert!(last_use.age <= entry.age, "{entry}");
    Some((last_use.doing, last_use.number))
}

#[test]
fn the_last_use_that_was_noted_is_reported() {
    let ledger = LeakLedger::sites();
    let entry = ledger.open("store-a");
    assert_eq!(last_use(&ledger), None);
    assert!(ledger.snapshot().to_string().ends_with("s ago"));
    entry.note("connecting", None);
    assert_eq!(last_use(&ledger), Some(("connecting", None)));
    thread::sleep(Duration::from_millis(2));
    let before = ledger.snapshot().open_entries[0].last_use.unwrap().age;
    entry.note("waiting for item", Some(4));
    assert_eq!(last_use(&ledger), Some(("waiting for item", Some(4))));
    let record = ledger.snapshot();
    let last_use = record.open_entries[0].last_use.unwrap();
    assert!(before >= Duration::from_millis(2) && last_use.age < record.open_entries[0].age);
    let text = format!("s ago, last used {:.1?} ago: waiting for item 4", last_use.age);
    assert!(record.to_string().ends_with(&text), "{record}");
    entry.end(Ending::Closed);
    for ledger in [LeakLedger::off(), LeakLedger::counts()] {
        ledger.open("store-a").note("connecting", None);
    }
}

#[test]
fn leases_readers_and_reservations_note_their_uses() {
    let ledger = LeakLedger::sites();
    let pool = BytePool::builder().smallest_bytes(64).largest_bytes(64).budget_bytes(100).ledger(&ledger);
    let pool = pool.build().unwrap();
    let mut lease = pool.try_lease(64).unwrap();
    assert_eq!(last_use(&ledger), None);
    lease.extend_from_slice(b"abc").unwrap();
    assert_eq!(last_use(&ledger), Some(("filled up to byte", Some(3))));
    lease.read_from(&b"de"[..], 7).unwrap_err();
    assert_eq!(last_use(&ledger), Some(("filled up to byte", Some(5))), "what was read before the error");
    lease.clear();
    lease.set_len(17).unwrap();
    lease.extend_from_slice(&[0; 64]).unwrap_err();
    let bytes = lease.freeze();
    assert_eq!(last_use(&ledger), Some(("frozen, filled up to byte", Some(17))));
    drop(bytes);

    let mut reservation = pool.reservation();
    reservation.try_grow(90).unwrap();
    assert_eq!(last_use(&ledger), Some(("grown to", Some(90))));
    reservation.shrink(30);
    assert_eq!(last_use(&ledger), Some(("shrunk to", Some(60))));
    let mut other = BytePool::clone(&pool).reservation();
    other.try_grow(20).unwrap();
    assert!(reservation.poll_grow(&mut Context::from_waker(Waker::noop()), 25).is_pending());
    let [of_reservation, _] = &*ledger.snapshot().open_entries else { panic!("two are open") };
    assert_eq!(of_reservation.last_use.unwrap().doing, "waiting to grow by");
    drop(other);
    assert_eq!(last_use(&ledger), Some(("granted, not collected: bytes", Some(25))));
    drop(reservation);

    let gate = ReaderGate::with_ledger("block 7", &ledger);
    let reader = gate.enter().unwrap();
    reader.note("reading chunk", Some(3));
    assert_eq!(last_use(&ledger), Some(("reading chunk", Some(3))));
}

#[test]
fn sources_say_what_they_are_waited_for() {
    let ledger = LeakLedger::sites();
    let stage = Stage::new();
    let script = Script::of([1_u64, 2]).pending(Wake::Later).item(3).close_pending(Wake::Later);
    let mut merge =
        ProxyResponseLoserTree::builder().sources(stage.sources([script])).ledger(&ledger).build();
    assert_eq!(last_use(&ledger), None, "it has not been polled");
    assert!(poll_times(merge.next(), 1).is_ok());
    assert_eq!(last_use(&ledger), Some(("not waited for since item", Some(1))));
    assert!(poll_times(merge.next(), 1).is_ok());
    assert_eq!(last_use(&ledger), Some(("waiting for item", Some(3))));
    assert!(poll_times(merge.next(), 1).is_err());
    stage.bell().ring_all();
    assert!(poll_times(merge.next(), 1).is_ok());
    assert_eq!(last_use(&ledger), Some(("closing", None)));
    stage.bell().ring_all();
    assert!(matches!(poll_times(merge.next(), 1), Ok(None)));
    ledger.assert_balanced();
}

#[test]
fn what_is_open_is_grouped_by_the_line_that_opened_it() {
    let ledger = LeakLedger::sites();
    assert_eq!(ledger.snapshot().open_sites, []);
    let one = ledger.open("one");
    let line = line!() + 1;
    let many: Vec<_> = (0..5).map(|number| ledger.open(number)).collect();
    many[0].note("used", None);
    many[4].note("used", Some(9));
    drop(one);
    let last = ledger.open("last");
    let record = ledger.snapshot();
    let sites = &*record.open_sites;
    let counts: Vec<_> = sites.iter().map(|site| (site.count, &*site.oldest.what)).collect();
    assert_eq!(counts, [(5, "0"), (1, "last")]);
    let text = sites[0].to_string();
    let start = format!("5 opened at {}:{line}:", file!());
    assert!(text.starts_with(&start) && text.contains(", the first of them 0, "), "{text}");
    assert!(text.ends_with(" ago: used"), "{text}");
    assert!(sites[1].to_string().ends_with("s ago"), "{}", sites[1]);
    drop(last);
}

#[test]
fn of_much_that_is_open_the_oldest_are_told() {
    let ledger = LeakLedger::sites();
    let snapshot = || allocation_counter::measure(|| drop(ledger.snapshot().to_string()));
    let early = ledger.open("early");
    let mut many: Vec<_> = (0..100).map(|number| ledger.open(format_args!("number {number}"))).collect();
    let few_allocations = snapshot();
    let late = ledger.open("late");
    many.extend((100..20_000).map(|number| ledger.open(format_args!("number {number}"))));

    let record = ledger.snapshot();
    assert_eq!(record.open, 20_002);
    let told: Vec<_> = record.open_entries.iter().map(|entry| &*entry.what).collect();
    let expected: Vec<_> =
        ["early".to_owned()].into_iter().chain((0..15).map(|number| format!("number {number}"))).collect();
    assert_eq!(told, expected);
    assert_eq!(ledger.open_entries(0), []);
    let asked: Vec<_> = ledger.open_entries(103).into_iter().map(|entry| entry.what).collect();
    assert_eq!(
        (asked.len(), &*asked[100], &*asked[101], &*asked[102]),
        (103, "number 99", "late", "number 100")
    );
    assert_eq!(ledger.open_entries(usize::MAX).len(), 20_002);

    // One line for each line of code, and the one with the oldest entry first.
    let report = record.to_string();
    let lines: Vec<_> = report.lines().collect();
    assert_eq!(lines.len(), 5, "{report}");
    assert!(
        lines[1].starts_with("  1 opened at ") && lines[1].contains(", the first of them early, "),
        "{report}"
    );
    assert!(
        lines[2].starts_with("  100 opened at ") && lines[3].contains(", the first of them late, "),
        "{report}"
    );
    assert!(lines[4].starts_with("  19900 opened at ") && lines[4].contains(" number 100, "), "{report}");
    let allocations = snapshot();
    assert!(
        allocations.count_total < few_allocations.count_total + 30,
        "{allocations:?}, {few_allocations:?}"
    );
    drop((early, late, many));
    ledger.assert_balanced();
}

#[rustfmt::skip]
#[test]
fn a_report_has_some_tens_of_lines() {
    let ledger = LeakLedger::sites();
    let l = &ledger;
    // Each in a column of its own.
    let open = [
        l.open(0), l.open(1), l.open(2), l.open(3), l.open(4), l.open(5), l.open(6), l.open(7), l.open(8), l.open(9),
        l.open(10), l.open(11), l.open(12), l.open(13), l.open(14), l.open(15), l.open(16), l.open(17), l.open(18),
        l.open(19), l.open(20), l.open(21), l.open(22), l.open(23), l.open(24), l.open(25), l.open(26), l.open(27),
    ];
    let more: Vec<_> = (0..1_000).map(|number| l.open(number)).collect();
    (0..100).for_each(|number| drop(l.open(number)));
    (0..100).for_each(|number| l.open(number).end(Ending::Lost));
    let report = ledger.snapshot().to_string();
    let lines: Vec<_> = report.lines().collect();
    assert_eq!(lines.len(), 1 + 24 + 1 + 2 * 16, "{report}");
    for (number, line) in lines[1..25].iter().enumerate() {
        assert!(line.contains(&format!(", the first of them {number}, ")), "{line}");
    }
    assert_eq!(lines[25], "  and 1004 more, opened at 5 other lines");
    assert_eq!(message(|| ledger.assert_balanced()).lines().count(), lines.len());
    assert_eq!(ledger.snapshot().open_sites.len(), 29);
    drop((open, more));
}

#[test]
fn each_ending_is_recorded_as_such() {
    let ledger = LeakLedger::counts();
    for (count, ending) in (1..).zip(Ending::ALL) {
        (0..count).for_each(|_| ledger.open("x").end(ending));
    }
    drop(ledger.open("forgotten"));
    let record = ledger.snapshot();
    assert_eq!((record.opened, record.open), (22, 0));
    assert_eq!((record.closed, record.closed_in_background, record.failed, record.handed_back), (1, 2, 3, 4));
    assert_eq!((record.dropped_unclosed, record.lost), (6, 6));
    assert_eq!(
        record.to_string(),
        "opened 22, closed 1, closed in background 2, failed 3, handed back 4, dropped unclosed 6, lost 6, open 0"
    );
}

/// The message of a panic.
#[track_caller]
fn message(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
    panic.downcast_ref::<String>().expect("a message").clone()
}

#[test]
fn the_assertions_hold_for_what_their_names_say() {
    for ledger in [LeakLedger::counts as fn() -> LeakLedger, LeakLedger::sites] {
        for ending in Ending::ALL {
            let ledger = ledger();
            ledger.open("x").end(ending);
            let record = ledger.snapshot();
            let (is_balanced, is_all_closed) = match ending {
                Ending::Closed | Ending::ClosedInBackground | Ending::Failed | Ending::HandedBack => {
                    (true, true)
                }
                Ending::DroppedUnclosed => (true, false),
                Ending::Lost => (false, false),
            };
            assert_eq!(
                (record.is_balanced(), record.is_all_closed()),
                (is_balanced, is_all_closed),
                "{ending}"
            );
            assert_eq!(catch_unwind(|| ledger.assert_balanced()).is_ok(), is_balanced, "{ending}");
            assert_eq!(catch_unwind(|| ledger.assert_all_closed()).is_ok(), is_all_closed, "{ending}");
        }
        let ledger = ledger();
        let _open = ledger.open("x");
        assert!(message(|| ledger.assert_balanced()).starts_with("the ledger is not balanced: opened 1,"));
        let text = message(|| ledger.assert_all_closed());
        assert!(text.starts_with("not everything in the ledger was closed: opened 1,"), "{text}");
        ledger.open("y").end(Ending::Lost);
        for text in [message(|| ledger.assert_balanced()), message(|| ledger.assert_all_closed())] {
            assert!(text.contains(", 1 lost (dropped unclosed by what was itself closed in order"), "{text}");
        }
    }
    let off = LeakLedger::off();
    off.open("x").end(Ending::Lost);
    off.assert_balanced();
    off.assert_all_closed();
}

#[test]
fn what_was_not_closed_is_named() {
    let ledger = LeakLedger::sites();
    let line = line!() + 1;
    let lost = ledger.open("source 3 \"store-a\"");
    lost.note("waiting for item", Some(7));
    lost.end(Ending::Lost);
    drop(ledger.open("source 4"));
    for ending in [Ending::Closed, Ending::ClosedInBackground, Ending::Failed, Ending::HandedBack] {
        ledger.open("in order").end(ending);
    }
    let record = ledger.snapshot();
    let [lost, dropped] = &*record.last_unclosed else { panic!("{record}") };
    assert_eq!((lost.ending, dropped.ending), (Ending::Lost, Ending::DroppedUnclosed));
    assert_eq!((&*lost.entry.what, &*dropped.entry.what), ("source 3 \"store-a\"", "source 4"));
    assert_eq!((lost.entry.location.file(), lost.entry.location.line()), (file!(), line));
    assert!(lost.ended <= lost.entry.age);
    let text = lost.to_string();
    assert!(text.starts_with(&format!("source 3 \"store-a\", opened at {}:{line}:", file!())), "{text}");
    assert!(text.contains(" ago: waiting for item 7, lost ") && text.ends_with(" ago"), "{text}");
    assert!(dropped.to_string().contains(", dropped unclosed "), "{dropped}");
    let report = message(|| ledger.assert_all_closed());
    assert_eq!(report.lines().count(), 3, "{report}");
    let lines: Vec<_> = report.lines().skip(1).map(str::trim_start).collect();
    assert!(lines[0].starts_with("source 3 ") && lines[1].starts_with("source 4, "), "{report}");
}

/// Many that are dropped by users who go away do not make it forget the one that was lost.
#[test]
fn of_what_was_not_closed_the_last_are_remembered() {
    let ledger = LeakLedger::sites();
    let mut kept = 0;
    for number in 0..100 {
        ledger.open(format_args!("lost {number}")).end(Ending::Lost);
        let counted = allocation_counter::measure(|| {
            (0..100).for_each(|dropped| drop(ledger.open(format_args!("dropped {number} {dropped}"))));
        });
        if number >= 16 {
            kept += counted.bytes_current;
        }
    }
    let record = ledger.snapshot();
    let told: Vec<_> = record.last_unclosed.iter().map(|unclosed| &*unclosed.entry.what).collect();
    let expected: Vec<_> = (84..100)
        .map(|number| format!("lost {number}"))
        .chain((84..100).map(|dropped| format!("dropped 99 {dropped}")))
        .collect();
    assert_eq!(told, expected);
    assert_eq!((record.lost, record.dropped_unclosed), (100, 10_000));
    assert!(kept < 1_000, "{kept} bytes more are kept");
    assert!(LeakLedger::counts().snapshot().last_unclosed.is_empty());
}

#[test]
fn an_open_entry_fails_the_assertion_with_a_report() {
    let ledger = LeakLedger::sites();
    let closed = ledger.open("closed in time");
    let entry = ledger.open("source 3 \"store-a\"");
    closed.end(Ending::Closed);
    let text = message(|| ledger.assert_balanced());
    assert!(text.contains("open 1"), "{text}");
    assert!(text.contains("source 3 \"store-a\", opened at tests/resource/ledger.rs:"), "{text}");
    assert!(!text.contains("closed in time"), "{text}");
    drop(entry);
    ledger.assert_balanced();
}

#[test]
fn clones_share_the_records() {
    let ledger = LeakLedger::counts();
    let entry = ledger.clone().open("x");
    assert_eq!(ledger.snapshot().open, 1);
    drop(entry);
    assert_eq!(ledger.clone().snapshot().dropped_unclosed, 1);
}

#[test]
fn a_description_that_panics_opens_nothing() {
    struct Nameless;
    impl fmt::Display for Nameless {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("no name")
        }
    }
    let ledger = LeakLedger::sites();
    assert!(catch_unwind(AssertUnwindSafe(|| ledger.open(Nameless))).is_err());
    assert_eq!(ledger.snapshot(), LedgerSnapshot::default());
    // At the lower levels the description is not written down, and so not asked for.
    LeakLedger::counts().open(Nameless).end(Ending::Closed);
}

#[test]
fn entries_of_many_threads_add_up() {
    for ledger in [LeakLedger::counts(), LeakLedger::sites()] {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..500_usize {
                        let entry = ledger.open(round);
                        let record = ledger.snapshot();
                        assert!(record.open >= 1, "{record}");
                        assert!(record.closed + record.failed + record.dropped_unclosed <= record.opened);
                        if round % 3 == 0 {
                            drop(entry);
                        } else {
                            entry.end(Ending::Closed);
                        }
                    }
                });
            }
        });
        ledger.assert_balanced();
        let record = ledger.snapshot();
        assert_eq!((record.opened, record.dropped_unclosed), (2_000, 4 * 167));
    }
}
