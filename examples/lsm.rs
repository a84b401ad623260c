//! Reads a log-structured merge tree: sorted runs on disk under a table in memory. Of the entries of a key the newest wins, and
//! a tombstone hides those under it.
//!
//! `cargo run --example lsm` reads three small runs that are in the program, `cargo run --example lsm -- RUN...` reads files, the
//! newest first. A line of a run is a key, a tab and the value; a key alone is a tombstone. Lines are sorted by key, byte by byte.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use losertree::key::ByKeyRef;
use losertree::{SourceError, try_merge_with};

/// What a run says of a key: its value, or that it was deleted.
struct Entry {
    key: String,
    value: Option<String>,
}

/// Reads of a disk can fail.
type Run = Box<dyn Iterator<Item = io::Result<Entry>>>;

/// The entries of a run, one after the other.
fn run(lines: impl BufRead + 'static) -> Run {
    Box::new(lines.lines().map(|line| {
        let line = line?;
        let (key, value) = line.split_once('\t').map_or((&*line, None), |(key, value)| (key, Some(value)));
        if key.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line without a key: {line:?}"),
            ));
        }
        Ok(Entry { key: key.to_owned(), value: value.map(str::to_owned) })
    }))
}

/// All keys that have a value, in order, each with the newest one. The runs are given from the newest to the oldest.
///
/// Equal keys come in the order of the runs, so the first of them is the newest; that is what `dedup` keeps. The entry is
/// dropped after that if it is a tombstone: before, it would let through what it is to hide.
fn scan(runs: Vec<Run>) -> impl Iterator<Item = Result<(String, String), SourceError<io::Error>>> {
    try_merge_with(runs, ByKeyRef::new(|entry: &Entry| entry.key.as_str()))
        .dedup()
        .filter_map(|entry| entry.map(|Entry { key, value }| Some((key, value?))).transpose())
}

fn main() -> ExitCode {
    let files: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let runs: io::Result<Vec<Run>> = if files.is_empty() {
        // The table in memory, a run that it was before, and an old one.
        Ok(["apple\tgreen\ncherry\n", "banana\tyellow\ncherry\tred\n", "apple\tred\nbanana\ndate\tbrown\n"]
            .map(|text| run(text.as_bytes()))
            .into())
    } else {
        files.iter().map(|file| Ok(run(BufReader::new(File::open(file)?)))).collect()
    };
    let runs = match runs {
        Ok(runs) => runs,
        Err(error) => {
            eprintln!("error: cannot open a run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut out = io::stdout().lock();
    for entry in scan(runs) {
        let written = match entry {
            Ok((key, value)) => writeln!(out, "{key}\t{value}"),
            // Which of the runs, and why.
            Err(error) => {
                eprintln!("error: {}", error.report());
                return ExitCode::FAILURE;
            }
        };
        if let Err(error) = written {
            eprintln!("error: cannot write: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
