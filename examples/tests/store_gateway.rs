//! The example program `store_gateway`, as its users see it: the table, messages and exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use crate::program;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::program("store_gateway"));

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program on few data. No query is given up because the machine is busy with other things.
fn gateway(more: &[&str]) -> Run {
    run(&[&["--frame-timeout-ms", "60000"], more].concat())
}

fn run(more: &[&str]) -> Run {
    let output = Command::new(&*PROGRAM)
        .current_dir(program::ROOT)
        .stdin(Stdio::null())
        .arg("--no-progress")
        .args(if more.contains(&"--blocks") { &[][..] } else { &["--blocks", "4"] })
        .args(if more.contains(&"--series") { &[][..] } else { &["--series", "2000"] })
        .args(more)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

impl Run {
    /// A line of the table, without its title.
    #[track_caller]
    fn figure(&self, title: &str) -> &str {
        let line = self.out.lines().find_map(|line| line.trim_start().strip_prefix(title));
        line.unwrap_or_else(|| panic!("no {title:?} in {}{}", self.out, self.err)).trim()
    }

    #[track_caller]
    fn assert_ledger_balanced(&self) {
        assert_eq!(self.figure("pool used"), "0");
        let (gets, puts) = self.figure("pool gets, puts").split_once(" = ").unwrap();
        assert_eq!(gets, puts);
        assert_eq!(self.figure("gate pending"), "0");
        assert_eq!(self.figure("tasks alive"), "0");
        assert!(self.figure("ledger").starts_with("balanced"), "{}", self.out);
        assert!(self.figure("ledger").ends_with("open 0"), "{}", self.out);
        assert!(self.figure("block syncs").contains("stuck 0"), "{}", self.out);
    }

    /// Asserts that every query has ended as it was to.
    #[track_caller]
    fn assert_served(&self) {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.assert_ledger_balanced();
        for (outcome, count) in [
            ("queries            complete", "2"),
            ("stopped early", "20"),
            ("limit reached", "8"),
            ("cancelled", "6"),
            ("failed in a block", "4"),
            ("stalled", "0"),
            ("unexpected", "0"),
        ] {
            assert_eq!(self.figure(outcome), count, "{outcome}: {}", self.out);
        }
    }
}

const QUERIES: &[&str] = &["--queries", "40"];

#[test]
fn the_ledger_is_balanced() {
    let run = gateway(QUERIES);
    run.assert_served();
    assert_eq!(run.err, "");
    let other = gateway(&["--queries", "40", "--seed", "1", "--concurrency", "3"]);
    other.assert_served();
    assert_eq!(other.figure("admission waits"), "0");
}

/// The budget has no room for all queries at a time.
#[test]
fn queries_that_have_no_room_wait_for_it() {
    let many = ["--blocks", "32", "--budget-mib", "1", "--concurrency", "40"];
    let run = gateway(&[QUERIES, &many].concat());
    run.assert_served();
    assert_ne!(run.figure("admission waits"), "0");
}

#[test]
fn forgotten_close_is_named() {
    // Enough for the budget to be used up, so that the run lasts until a block is replaced.
    let many = ["--blocks", "32", "--queries", "160", "--budget-mib", "1"];
    let run = run(&[&many[..], &["--leak", "--frame-timeout-ms", "300"]].concat());
    assert_ne!(run.figure("pool waits"), "0");
    assert_eq!(run.code, Some(1), "{}{}", run.out, run.err);
    assert_ne!(run.figure("pool used"), "0");
    assert!(run.figure("pool gets, puts").contains('≠'));
    assert_ne!(run.figure("gate pending"), "0");
    assert_ne!(run.figure("tasks alive"), "0");
    assert!(run.figure("ledger").starts_with("NOT BALANCED"));
    assert!(!run.figure("block syncs").contains("stuck 0"));
    assert!(!run.figure("block syncs").ends_with("longest wait 0.0ns"), "what waits still counts");
    assert!(run.err.contains("block sync is stuck: block-"), "{}", run.err);
    assert!(run.err.contains("bytes of the pool are still leased"), "{}", run.err);

    // The lines that are named are those that open what is leaked.
    let file = "examples/store_gateway/query.rs";
    let code = fs::read_to_string(Path::new(program::ROOT).join(file)).unwrap();
    for (what, opening) in [("source ", ".build();"), ("reader of ", "gateway.stores(")] {
        let line = 1 + code.lines().position(|line| line.contains(opening)).unwrap();
        let place = format!("opened at {file}:{line}:");
        assert!(run.err.contains(&place), "{what}: no {place:?} in {}", run.err);
    }
}

#[cfg(not(feature = "metrics"))]
#[test]
fn metrics_need_the_feature() {
    let run = gateway(&["--metrics", "127.0.0.1:0"]);
    assert_eq!((run.code, &*run.out), (Some(1), ""));
    assert!(run.err.contains("without the feature `metrics`"), "{}", run.err);
}

#[test]
fn command_line_is_checked() {
    assert_eq!(gateway(&["--queries", "many"]).code, Some(2));
    let nowhere = gateway(&["--metrics", "nowhere"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.err.contains("invalid value 'nowhere' for '--metrics <ADDR>'"), "{}", nowhere.err);
    for option in ["--blocks", "--series", "--concurrency", "--budget-mib", "--frame-timeout-ms"] {
        let none = run(&[option, "0"]);
        assert_eq!((none.code, &*none.out), (Some(2), ""));
        let message = format!("error: invalid value '0' for '{option} <");
        assert!(none.err.starts_with(&message) && none.err.contains("0 is not in 1.."), "{}", none.err);
    }
    let version = gateway(&["--version"]);
    assert_eq!(
        (version.code, version.out),
        (Some(0), format!("store_gateway {}\n", env!("CARGO_PKG_VERSION")))
    );
    let help = gateway(&["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("Exit codes:"));
}
