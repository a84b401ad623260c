//! What the example program `store_gateway` takes of memory: the budget of its pool, not what is in its blocks.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::program;

const MIB: u64 = 1 << 20;
const BUDGET_MIB: u64 = 4;
/// What is not in the pool: the ledger, the merges and tasks, and what the allocator cannot use.
const BESIDE_POOL: u64 = 4 * MIB;

/// A figure of the table of a run over the default number of series, 200,000, each in two blocks.
fn figures<const N: usize>(data: &Path, queries: &str, titles: [&str; N]) -> [u64; N] {
    let output = Command::new(program::program("store_gateway"))
        .current_dir(program::ROOT)
        .stdin(Stdio::null())
        .args(["--no-progress", "--budget-mib", &BUDGET_MIB.to_string(), "--queries", queries])
        .args(["--frame-timeout-ms", "60000", "--data"])
        .arg(data)
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}{}", String::from_utf8_lossy(&output.stderr));
    titles.map(|title| {
        let line = table.lines().find_map(|line| line.trim_start().strip_prefix(title));
        let figure = line.and_then(|line| line.split_whitespace().next());
        figure.unwrap_or_else(|| panic!("no {title:?} in {table}")).parse().unwrap()
    })
}

#[test]
fn memory_is_bounded_by_the_budget() {
    let dir = TempDir::new().unwrap();
    figures(dir.path(), "0", []);
    let files = fs::read_dir(dir.path()).unwrap();
    let on_disk: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk > 100 * MIB, "{on_disk} bytes can be kept in memory by chance");
    let [idle] = figures(dir.path(), "0", ["memory peak"]);
    let [complete, pool_peak, peak] =
        figures(dir.path(), "12", ["queries            complete", "pool peak", "memory peak"]);
    assert!(complete > 0 && pool_peak > MIB && pool_peak <= BUDGET_MIB * MIB);
    assert!(peak <= idle + pool_peak + BESIDE_POOL, "{peak} bytes, {idle} without queries, pool {pool_peak}");
}
