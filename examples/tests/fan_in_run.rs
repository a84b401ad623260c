//! Runs of the example program `fan_in`, and what they print.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::program;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::program("fan_in"));

/// The program, to be run in the directory of the package.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(&*PROGRAM);
    command.args(args).current_dir(program::ROOT).stdin(Stdio::null());
    command
}

pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn fan_in(args: &[&str]) -> Run {
    run(&mut command(args))
}

impl Run {
    /// Asserts that the program has succeeded and closed all of its sources; returns what it printed.
    #[track_caller]
    pub(crate) fn output(self, sources: usize) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.assert_closed(sources, 0);
        self.out
    }

    /// Asserts that `sources` were opened, of which `failed` have failed and the others were closed.
    #[track_caller]
    pub(crate) fn assert_closed(&self, sources: usize, failed: usize) {
        let closed = sources - failed;
        let record = format!(
            "opened {sources}, closed {closed}, closed in background 0, failed {failed}, handed back 0, \
             dropped unclosed 0, lost 0, open 0"
        );
        assert_eq!(self.figure("ledger"), record, "{}", self.err);
        assert_eq!(self.figure("sources"), sources.to_string());
        assert!(!self.figure("time").is_empty());
    }

    /// A line of the summary, without its title.
    #[track_caller]
    pub(crate) fn figure(&self, title: &str) -> &str {
        let line = self.err.lines().rev().find_map(|line| line.strip_prefix(title));
        line.unwrap_or_else(|| panic!("no {title:?} in {}", self.err)).trim()
    }
}

/// The labels of a line by name, `__name__` among them, and its sample.
pub(crate) type Line = (Vec<(String, String)>, String);

/// Reads lines of the exposition format in a way of its own. Well-formed ones only.
pub(crate) fn read(text: &str) -> Vec<Line> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(read_line).collect()
}

pub(crate) fn read_line(line: &str) -> Line {
    let (name, mut rest) = line.split_at(line.find(['{', ' ']).unwrap());
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    while let Some(more) = rest.strip_prefix(['{', ',']).filter(|more| !more.starts_with('}')) {
        let (name, quoted) = more.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        rest = loop {
            match characters.next().unwrap() {
                (end, '"') => break &quoted[end + 1..],
                (_, '\\') => value.push(match characters.next().unwrap().1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
    }
    labels.sort();
    (labels, rest.trim_start_matches([',', '{', '}']).trim().to_owned())
}

/// A directory with a file.
pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}
