//! The books: levels, endings, the report, and that no path forgets an entry.

// A test fails by panicking.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use losertree::LeakLedger;
use losertree::resource::{Ending, LedgerLevel, LedgerSnapshot};

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
        let books = ledger.snapshot();
        assert_eq!(books.open, u64::from(level > LedgerLevel::Off));
        assert_eq!(books.open_entries.len(), usize::from(level == LedgerLevel::Sites));
        if let [open] = &*books.open_entries {
            assert_eq!(open.what, "store-a");
            assert_eq!((open.location.file(), open.location.line()), (file!(), line));
            assert!(open.to_string().starts_with(&format!("store-a, opened at {}:{line}:", file!())));
        }
        entry.end(Ending::Closed);
        ledger.assert_balanced();
        let books = ledger.snapshot();
        assert_eq!((books.open, books.open_entries.len()), (0, 0));
        assert_eq!(books.closed, u64::from(level > LedgerLevel::Off));
    }
}

#[test]
fn each_ending_is_booked_as_such() {
    let ledger = LeakLedger::counts();
    for (index, ending) in Ending::ALL.into_iter().enumerate() {
        for _ in 0..=index {
            ledger.open("x").end(ending);
        }
    }
    drop(ledger.open("forgotten"));
    let books = ledger.snapshot();
    assert_eq!(
        (books.opened, books.closed, books.failed, books.handed_back, books.dropped_unclosed, books.open),
        (11, 1, 2, 3, 5, 0)
    );
    assert!(books.is_balanced());
    assert!(!books.is_all_closed());
    assert_eq!(books.to_string(), "opened 11, closed 1, failed 2, handed back 3, dropped unclosed 5, open 0");
}

#[test]
fn an_open_entry_fails_the_assertion_with_a_report() {
    let ledger = LeakLedger::sites();
    let closed = ledger.open("closed in time");
    let entry = ledger.open("source 3 \"store-a\"");
    closed.end(Ending::Closed);
    let panic = catch_unwind(|| ledger.assert_balanced()).expect_err("it is not balanced");
    let text = panic.downcast_ref::<String>().expect("a message");
    assert!(text.contains("open 1"), "{text}");
    assert!(text.contains("source 3 \"store-a\", opened at tests/ledger.rs:"), "{text}");
    assert!(!text.contains("closed in time"), "{text}");
    drop(entry);
    ledger.assert_balanced();
}

#[test]
fn clones_share_the_books() {
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
                        let books = ledger.snapshot();
                        assert!(books.open >= 1, "{books}");
                        assert!(books.closed + books.failed + books.dropped_unclosed <= books.opened);
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
        let books = ledger.snapshot();
        assert_eq!((books.opened, books.dropped_unclosed), (2_000, 4 * 167));
    }
}
