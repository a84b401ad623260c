//! The example program `store_gateway`, as its users see it: the table, messages and exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

use tempfile::TempDir;

use crate::block::{
    self,
    format::{Entry, HEADER_BYTES, seal},
};
use crate::program;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::program("store_gateway"));

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program on few data. No query is given up because the machine is busy with other things.
fn gateway(data: &Path, more: &[&str]) -> Run {
    run(data, &[&["--frame-timeout-ms", "60000"], more].concat())
}

fn run(data: &Path, more: &[&str]) -> Run {
    let output = Command::new(&*PROGRAM)
        .current_dir(program::ROOT)
        .stdin(Stdio::null())
        .args(["--no-progress", "--data"])
        .arg(data)
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
fn the_ledger_is_balanced_and_files_are_used_again() {
    let dir = TempDir::new().unwrap();
    let first = gateway(dir.path(), QUERIES);
    first.assert_served();
    assert!(first.err.starts_with("writing 4 blocks"), "{}", first.err);
    let written = || -> SystemTime { fs::metadata(dir.path().join("manifest")).unwrap().modified().unwrap() };
    let before = written();
    let second = gateway(dir.path(), QUERIES);
    second.assert_served();
    assert_eq!(second.err, "");
    assert_eq!(written(), before);
    // Of each block the newest generation, and nothing of an interrupted run.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4 * 2 + 1);
    let other = gateway(dir.path(), &["--queries", "40", "--seed", "1", "--concurrency", "3"]);
    other.assert_served();
    assert_eq!(other.figure("admission waits"), "0");
}

/// The budget has room for one query at a time.
#[test]
fn queries_that_have_no_room_wait_for_it() {
    let dir = TempDir::new().unwrap();
    let many = ["--blocks", "32", "--budget-mib", "1", "--concurrency", "40"];
    let run = gateway(dir.path(), &[QUERIES, &many].concat());
    run.assert_served();
    assert_ne!(run.figure("admission waits"), "0");
}

#[test]
fn forgotten_close_is_named() {
    let dir = TempDir::new().unwrap();
    // Enough for the budget to be used up, so that the run lasts until a block is replaced.
    let run =
        run(dir.path(), &["--queries", "80", "--leak", "--budget-mib", "1", "--frame-timeout-ms", "300"]);
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

/// A copy of a directory of blocks, with one file changed.
fn changed(from: &Path, suffix: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let mut name = None;
    let mut change = Some(change);
    let mut files: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files {
        let file = path.file_name().unwrap().to_str().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        if file.starts_with("block-02") && file.ends_with(suffix) {
            bytes = change.take().unwrap()(bytes);
            name = Some(file.to_owned());
        }
        fs::write(dir.path().join(file), bytes).unwrap();
    }
    (dir, name.unwrap())
}

/// A directory of blocks that no run has touched but the one that wrote it.
static BLOCKS: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = TempDir::new().unwrap();
    let run = gateway(dir.path(), &["--queries", "0"]);
    assert_eq!(run.code, Some(0), "{}{}", run.out, run.err);
    dir
});

/// Asserts that a changed file fails the run, is named with an offset, and that nothing is left open.
#[track_caller]
fn assert_named(suffix: &str, problem: &str, at: Option<u64>, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let (dir, file) = changed(BLOCKS.path(), suffix, change);
    // One whole answer, and queries that stop and fail beside it.
    let run = gateway(dir.path(), &["--queries", "6"]);
    assert_eq!(run.code, Some(1), "{}{}", run.out, run.err);
    // A block sync may have made the next generation of it before it was read.
    let (block, kind) = (&file[..file.find(".g").unwrap()], suffix);
    let line = run.err.lines().find(|line| line.contains(problem));
    let line = line.unwrap_or_else(|| panic!("no {problem:?} in {}", run.err));
    assert!(line.contains(&format!("{block}.g")), "{line}");
    let offset =
        line.split_once(&format!("{kind}: byte ")).unwrap_or_else(|| panic!("no offset in {line}")).1;
    let offset: u64 = offset.split_once(':').unwrap().0.parse().unwrap();
    assert!(at.is_none_or(|at| at == offset), "{line}");
    if !run.out.is_empty() {
        run.assert_ledger_balanced();
    }
}

fn entry_len(bytes: &[u8]) -> usize {
    Entry::decode(bytes).unwrap().labels_len as usize + block::format::ENTRY_FIXED_BYTES + 4
}

#[test]
fn empty_files_are_named() {
    for suffix in [".index", ".chunks"] {
        assert_named(suffix, "the file ends here", Some(0), |_| Vec::new());
    }
}

#[test]
fn truncated_files_are_named() {
    for suffix in [".index", ".chunks"] {
        for sixteenths in 1..16 {
            let truncate = |mut bytes: Vec<u8>| {
                bytes.truncate(bytes.len() * sixteenths / 16);
                bytes
            };
            assert_named(suffix, "the file ends here", None, truncate);
        }
    }
}

#[test]
fn wrong_bytes_are_named() {
    let flip = |place: fn(usize) -> usize| {
        move |mut bytes: Vec<u8>| {
            let place = place(bytes.len());
            bytes[place] ^= 0x10;
            bytes
        }
    };
    assert_named(".index", "not a file of this format", Some(0), flip(|_| 3));
    assert_named(".chunks", "the checksum is wrong", Some(0), flip(|_| 20));
    assert_named(".index", "the checksum is wrong", Some(36), flip(|_| HEADER_BYTES + 40));
    assert_named(".chunks", "the checksum is wrong", Some(36), flip(|_| HEADER_BYTES + 1));
    assert_named(".index", "the checksum is wrong", None, flip(|len| len - 1));
    assert_named(".chunks", "the checksum is wrong", None, flip(|len| len - 1));
    assert_named(".chunks", "1 bytes more than", None, |mut bytes| {
        bytes.push(0);
        bytes
    });
}

#[test]
fn huge_lengths_are_named() {
    // Those of the labels come before any checksum can be read, those of the chunk are under a right one.
    assert_named(".index", "labels of 4294967295 bytes", Some(36), |mut bytes| {
        bytes[HEADER_BYTES..HEADER_BYTES + 4].fill(0xFF);
        bytes
    });
    assert_named(".index", "a chunk of 4294967295 bytes", Some(36), |mut bytes| {
        let end = HEADER_BYTES + entry_len(&bytes[HEADER_BYTES..]);
        bytes[HEADER_BYTES + 4..HEADER_BYTES + 8].fill(0xFF);
        let sealed = seal(bytes[HEADER_BYTES..end - 4].to_vec());
        bytes[HEADER_BYTES..end].copy_from_slice(&sealed);
        bytes
    });
}

#[test]
fn swapped_series_are_named() {
    assert_named(".index", "does not come after", None, |mut bytes| {
        let second = HEADER_BYTES + entry_len(&bytes[HEADER_BYTES..]);
        let end = second + entry_len(&bytes[second..]);
        // The chunks stay in place: only the labels change places.
        let (one, other) = (bytes[HEADER_BYTES..second].to_vec(), bytes[second..end].to_vec());
        let fixed = block::format::ENTRY_FIXED_BYTES;
        let swapped = |place: &[u8], labels: &[u8]| {
            let labels = &labels[fixed..labels.len() - 4];
            let labels_len = u32::try_from(labels.len()).unwrap();
            Entry { labels_len, ..Entry::decode(place).unwrap() }.encode(labels)
        };
        let swapped = [swapped(&one, &other), swapped(&other, &one)].concat();
        bytes[HEADER_BYTES..end].copy_from_slice(&swapped);
        bytes
    });
}

#[cfg(not(feature = "metrics"))]
#[test]
fn metrics_need_the_feature() {
    let run = gateway(BLOCKS.path(), &["--metrics", "127.0.0.1:0"]);
    assert_eq!((run.code, &*run.out), (Some(1), ""));
    assert!(run.err.contains("without the feature `metrics`"), "{}", run.err);
}

#[test]
fn command_line_is_checked() {
    let dir = TempDir::new().unwrap();
    assert_eq!(gateway(dir.path(), &["--queries", "many"]).code, Some(2));
    let nowhere = gateway(dir.path(), &["--metrics", "nowhere"]);
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.err.contains("invalid value 'nowhere' for '--metrics <ADDR>'"), "{}", nowhere.err);
    for option in ["--blocks", "--series", "--concurrency", "--budget-mib", "--frame-timeout-ms"] {
        let none = run(dir.path(), &[option, "0"]);
        assert_eq!((none.code, &*none.out), (Some(2), ""));
        let message = format!("error: invalid value '0' for '{option} <");
        assert!(none.err.starts_with(&message) && none.err.contains("0 is not in 1.."), "{}", none.err);
    }
    let version = gateway(dir.path(), &["--version"]);
    assert_eq!(
        (version.code, version.out),
        (Some(0), format!("store_gateway {}\n", env!("CARGO_PKG_VERSION")))
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing has been written");
    let help = gateway(dir.path(), &["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("Exit codes:"));
    let cannot = gateway(Path::new("/dev/null/blocks"), QUERIES);
    assert_eq!(cannot.code, Some(1));
    assert!(cannot.err.contains("/dev/null/blocks"), "{}", cannot.err);
}
