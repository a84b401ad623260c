//! The example program `store_gateway` is asked to end: it closes its queries, and its ledger is balanced.

use std::process::{Command, Stdio};

use crate::program;
use crate::signal::Signal;

/// More queries than the program is given time for.
const ENDLESS: u64 = 10_000_000;

#[test]
fn it_ends_in_order_when_it_is_asked_to() {
    for signal in [Signal::Int, Signal::Term] {
        let child = Command::new(program::program("store_gateway"))
            .current_dir(program::ROOT)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .args(["--no-progress", "--blocks", "4", "--series", "2000", "--queries", &ENDLESS.to_string()])
            .args(["--frame-timeout-ms", "60000"])
            .spawn()
            .unwrap();
        // It waits for the signal once it serves queries.
        signal.send(&child);
        let output = child.wait_with_output().unwrap();
        let (table, messages) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(signal.exit_code()), "{table}{messages}");
        assert!(!messages.contains("error"), "{messages}");

        let figure = |title: &str| {
            let line = table.lines().find_map(|line| line.trim_start().strip_prefix(title));
            line.unwrap_or_else(|| panic!("no {title:?} in {table}")).trim()
        };
        let count = |title: &str| figure(title).parse::<u64>().unwrap();
        let ended =
            ["stopped early", "limit reached", "cancelled", "failed in a block", "interrupted"].map(count);
        let complete = count("queries            complete");
        assert_eq!(complete + ended.iter().sum::<u64>() + count("not run"), ENDLESS, "{table}");
        assert!(count("not run") > 0, "{table}");
        assert_eq!(
            ["pool used", "gate pending", "tasks alive", "stalled", "unexpected"].map(count),
            [0; 5],
            "{table}"
        );
        assert!(
            figure("ledger").starts_with("balanced: ") && figure("ledger").ends_with("open 0"),
            "{table}"
        );
        assert!(figure("block syncs").contains("stuck 0"), "{table}");
    }
}
