//! The example program `lsm`: the newest entry wins, tombstones hide, and a run that fails is named.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::program;

/// Runs the program over these runs, the newest first. Returns whether it succeeded, its output and its errors.
fn lsm(runs: &[&[u8]]) -> (bool, String, String) {
    let directory = TempDir::new().unwrap();
    let files: Vec<PathBuf> = (0..runs.len()).map(|index| directory.path().join(index.to_string())).collect();
    for (file, run) in files.iter().zip(runs) {
        fs::write(file, run).unwrap();
    }
    let output = Command::new(program::program("lsm")).args(files).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_newest_wins_and_tombstones_hide() {
    let (succeeded, out, err) = lsm(&[]);
    assert_eq!((succeeded, &*out, &*err), (true, "apple\tgreen\nbanana\tyellow\ndate\tbrown\n", ""));
    // A tombstone in the middle hides what is older, and is hidden by what is newer.
    let (succeeded, out, err) = lsm(&[b"a\t1\nz\t\n", b"a\nb\nb2\n", b"a\t3\nb\t3\nc\t3\n"]);
    assert_eq!((succeeded, &*out, &*err), (true, "a\t1\nc\t3\nz\t\n", ""));
}

#[test]
fn a_run_that_fails_is_named_with_the_cause() {
    let (succeeded, out, err) = lsm(&[b"a\t1\nc\t1\n", b"b\t2\n\ttwo\n"]);
    assert_eq!((succeeded, &*out), (false, "a\t1\n"));
    assert_eq!(err, "error: source 1 failed while merging: a line without a key: \"\\ttwo\"\n");
    let (succeeded, out, err) = lsm(&[b"a\t1\n", b"\xff\n"]);
    assert_eq!((succeeded, &*out), (false, ""));
    assert!(err.starts_with("error: source 1 failed before its first item: "), "{err}");
}
