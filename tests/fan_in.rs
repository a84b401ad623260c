//! The example program `fan_in`, as its users see it: output, messages and exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on should panic")]

mod program;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use tempfile::TempDir;

const REPLICA_A: &str = "examples/data/node-replica-a.prom";
const REPLICA_B: &str = "examples/data/node-replica-b.prom";

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| program::program("fan_in"));

/// The program, to be run in the directory of the package.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(&*PROGRAM);
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn fan_in(args: &[&str]) -> Run {
    run(&mut command(args))
}

impl Run {
    /// Asserts that the program has succeeded and closed all of its sources; returns what it printed.
    #[track_caller]
    fn output(self, sources: usize) -> String {
        assert_eq!(self.code, Some(0), "{}", self.err);
        self.assert_closed(sources, 0);
        self.out
    }

    /// Asserts that `sources` were opened, of which `failed` have failed and the others were closed.
    #[track_caller]
    fn assert_closed(&self, sources: usize, failed: usize) {
        let closed = sources - failed;
        let books = format!(
            "opened {sources}, closed {closed}, closed in background 0, failed {failed}, handed back 0, \
             dropped unclosed 0, lost 0, open 0"
        );
        assert_eq!(self.figure("ledger"), books, "{}", self.err);
        assert_eq!(self.figure("sources"), sources.to_string());
        assert!(!self.figure("time").is_empty());
    }

    /// A line of the summary, without its title.
    #[track_caller]
    fn figure(&self, title: &str) -> &str {
        let line = self.err.lines().rev().find_map(|line| line.strip_prefix(title));
        line.unwrap_or_else(|| panic!("no {title:?} in {}", self.err)).trim()
    }
}

/// The labels of a line by name, `__name__` among them, and its sample.
type Line = (Vec<(String, String)>, String);

/// Reads lines of the exposition format in a way of its own. Well-formed ones only.
fn read(text: &str) -> Vec<Line> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(read_line).collect()
}

fn read_line(line: &str) -> Line {
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

/// What the program must print for these inputs: each series with its different samples, by timestamp and text.
fn oracle(inputs: &[String], removed: &[&str]) -> Vec<Line> {
    let mut lines: Vec<Line> = inputs.iter().flat_map(|input| read(input)).collect();
    for (labels, _) in &mut lines {
        labels.retain(|(name, _)| !removed.contains(&name.as_str()));
    }
    let time = |sample: &str| sample.split(' ').nth(1).map_or(0, |time| time.parse::<i64>().unwrap());
    lines.sort_by(|a, b| (&a.0, time(&a.1), &a.1).cmp(&(&b.0, time(&b.1), &b.1)));
    lines.dedup();
    lines
}

/// How many series there are in sorted lines.
fn series(lines: &[Line]) -> usize {
    lines.chunk_by(|a, b| a.0 == b.0).count()
}

fn contents(paths: &[&str]) -> Vec<String> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    paths.iter().map(|path| fs::read_to_string(package.join(path)).unwrap()).collect()
}

/// The paths of the shipped scrapes, as the program names them.
fn shipped() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut paths: Vec<String> = names
        .filter(|name| name.split('.').next_back() == Some("prom"))
        .map(|name| format!("examples/data/{name}"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 13);
    paths
}

/// A directory with a file.
fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn without_arguments_the_shipped_scrapes_are_merged() {
    let paths = shipped();
    let inputs = contents(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let run = fan_in(&[]);
    let expected = oracle(&inputs, &[]);
    let all: usize = inputs.iter().map(|input| read(input).len()).sum();
    assert_eq!(run.figure("series in"), all.to_string());
    assert_eq!(run.figure("series out"), series(&expected).to_string());
    assert_eq!(run.figure("merged duplicates"), (all - series(&expected)).to_string());
    for (path, content) in paths.iter().zip(&inputs) {
        let row: Vec<&str> = run.figure(path).split_whitespace().collect();
        assert_eq!([row[0], row[2]], [&read(content).len().to_string(), "exhausted"]);
        assert!(row[1].parse::<u64>().unwrap() > 0);
    }
    let out = run.output(13);
    assert_eq!(out.lines().count(), expected.len());
    assert_eq!(read(&out), expected);
}

#[test]
fn count_prints_the_number_alone_from_any_directory() {
    let elsewhere = tempfile::tempdir().unwrap();
    let paths = shipped();
    let inputs = contents(&paths.iter().map(String::as_str).collect::<Vec<_>>());
    let run = run(command(&["--count"]).current_dir(&elsewhere));
    assert_eq!(run.output(13), format!("{}\n", series(&oracle(&inputs, &[]))));
    assert_eq!(fan_in(&["--count", "--limit", "7"]).output(13), "7\n");
    assert_eq!(fan_in(&["--count", "--replica-label", "replica", REPLICA_A, REPLICA_B]).output(2), "538\n");
}

#[test]
fn replicas_become_one_in_whichever_order_they_are_named() {
    for files in [[REPLICA_A, REPLICA_B], [REPLICA_B, REPLICA_A]] {
        for removed in [&["replica"][..], &["cluster", "replica"]] {
            let mut args: Vec<&str> = removed.iter().flat_map(|name| ["--replica-label", name]).collect();
            args.extend(files);
            let run = fan_in(&args);
            assert_eq!(run.figure("series in"), "1076");
            assert_eq!(run.figure("series out"), "538");
            assert_eq!(run.figure("merged duplicates"), "538");
            assert_eq!(read(&run.output(2)), oracle(&contents(&[REPLICA_A, REPLICA_B]), removed));
        }
    }
}

#[test]
fn a_series_comes_once_with_each_of_its_samples() {
    let (_dir, path) = file("a.prom", "up 2\nup 1\ndown 3\nup 0 7\n");
    let (_other_dir, other) = file("b.prom", "up 4\ndown 5\nup 1\nup 9 -1\n");
    let out = fan_in(&[&path, &other, &path]).output(3);
    assert_eq!(out, "down 3\ndown 5\nup 9 -1\nup 1\nup 2\nup 4\nup 0 7\n");
}

#[test]
fn the_limit_counts_what_comes_out_and_closes_the_stores() {
    let all = fan_in(&["--replica-label", "replica", REPLICA_A, REPLICA_B]).output(2);
    let run = fan_in(&["--replica-label", "replica", "--limit", "5", REPLICA_A, REPLICA_B]);
    assert!(run.figure(REPLICA_A).ends_with("closed early"));
    assert_eq!(run.figure("series out"), "5");
    let (all_lines, first) = (read(&all), read(&run.output(2)));
    assert!(all_lines.starts_with(&first));
    assert_eq!(series(&first), 5);

    assert_eq!(
        fan_in(&["--replica-label", "replica", "--limit", "539", REPLICA_A, REPLICA_B]).output(2),
        all
    );
}

#[test]
fn limit_zero_prints_nothing_and_reads_nothing() {
    let run = fan_in(&["--limit", "0", REPLICA_A, "no-such-file"]);
    assert_eq!(run.figure(REPLICA_A).split_whitespace().collect::<Vec<_>>(), ["0", "0", "closed", "early"]);
    assert_eq!(run.output(2), "");
}

#[test]
fn output_can_be_input() {
    for args in [&[][..], &["--replica-label", "replica"]] {
        let once = fan_in(args).output(13);
        let (_dir, path) = file("once", &once);
        let twice = run(command(&["-"]).stdin(File::open(path).unwrap()));
        assert!(twice.figure("stdin").ends_with("exhausted"));
        assert!(twice.output(1) == once);
    }
}

#[test]
fn text_is_kept() {
    let lines = [
        r#"a{v="\\ \" \n \\n }# , ="} 5.00"#,
        "b 1e+06 -3",
        "c +Inf",
        "d:e_total NaN 1395066363000",
        r#"f{tab="	",unicode="é 日本 ☃"} -0"#,
        r#"{"g.h"} 1"#,
        r#"{"g.h","i \" j"="k",l="m"} 1"#,
        r#"n{empty=""} 123456789012345678901234567890"#,
    ];
    let spaced = lines.iter().rev().map(|line| ["  ", &line.replace("} ", "}  \t"), "\t\r\n"].concat());
    let mut text = "# TYPE a counter\r\n\n \t\n# EOF\n".to_owned();
    text.extend(spaced);
    // No line end after the last line.
    text += "z{ b = \"2\" , a = \"1\" , } 3";
    let (_dir, path) = file("input", text);
    let out = fan_in(&[&path]).output(1);
    assert_eq!(out, lines.join("\n") + "\nz{a=\"1\",b=\"2\"} 3\n");
}

#[test]
fn an_empty_store_is_fine() {
    let (_dir, path) = file("empty", "");
    assert_eq!(fan_in(&[&path]).output(1), "");
    assert_eq!(fan_in(&[&path, REPLICA_A, "--count"]).output(2), "538\n");
}

#[test]
fn a_malformed_line_ends_the_run_and_is_named() {
    let shape = "expected `name{labels} value [timestamp]`";
    for (line, message) in [
        (&b"this is not a metric"[..], shape),
        (b"up{a=\"1\"}", shape),
        (b"up", shape),
        (b"up 1 2 3", shape),
        (b"up{a=\"1} 5", "bad name or labels: expected label"),
        (b"up{a=\"\\q\"} 5", "bad name or labels: expected label"),
        (b"?!? 5", "bad name or labels: expected a name"),
        (b"up abc", "bad value \"abc\""),
        (b"up 1e999", "bad value \"1e999\""),
        (b"up 1 1.5", "bad timestamp \"1.5\""),
        (b"up{__name__=\"down\"} 5", "bad labels: label name \"__name__\" occurs twice"),
        (b"up 1\rdown 2", "carriage return inside the line"),
        (b"up{a=\"\xff\"} 5", "not UTF-8"),
    ] {
        let content = [b"# comment\n\nup 1\n", line, b"\nbad too\n"].concat();
        let (_dir, path) = file("malformed", content);
        let run = fan_in(&[REPLICA_A, &path, REPLICA_B]);
        assert_eq!(run.code, Some(1));
        assert_eq!(run.out, "");
        let error = format!("error: source 1 {path:?} failed while opening: {path}:4: {message}");
        assert_eq!(run.err.lines().next().unwrap(), error);
        assert!(run.figure(&path).ends_with("failed"));
        run.assert_closed(3, 1);
    }
}

#[test]
fn partial_warns_and_gives_the_rest() {
    let (_dir, path) = file("malformed", "up 1\nup x\n");
    let run = fan_in(&["--partial", &path, REPLICA_A, "no-such-file", "."]);
    assert_eq!(run.code, Some(0));
    assert_eq!(read(&run.out), oracle(&contents(&[REPLICA_A]), &[]));
    let warnings: Vec<&str> = run.err.lines().take_while(|line| line.starts_with("warning: ")).collect();
    let cause = format!("failed while opening: {path}:2: bad value \"x\"");
    assert_eq!(warnings.len(), 3);
    assert_eq!(warnings[0], format!("warning: source 0 {path:?}: {cause}"));
    assert!(warnings[1].contains("source 2 \"no-such-file\": ") && warnings[1].contains("cannot open"));
    assert!(warnings[2].contains("source 3 \".\": "));
    assert!(run.figure("series out").starts_with("538 (partial"));
    run.assert_closed(4, 3);
}

#[test]
fn a_missing_file_is_named() {
    let run = fan_in(&[REPLICA_A, "no-such-file"]);
    assert_eq!((run.code, run.out.as_str()), (Some(1), ""));
    assert!(run.err.starts_with("error: source 1 \"no-such-file\" "), "{}", run.err);
    assert!(run.err.contains("cannot open no-such-file: "), "{}", run.err);
    run.assert_closed(2, 1);
}

#[test]
fn a_wrong_command_line_is_refused() {
    for (args, message) in [
        (&["-", REPLICA_A, "-"][..], "`-`"),
        (&["--limit", "many"], "--limit"),
        (&["--replica-label", "__name__"], "--replica-label"),
        (&["--replica-label", ""], "--replica-label"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let run = fan_in(args);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""));
        assert!(run.err.starts_with("error: ") && run.err.contains(message), "{}", run.err);
    }
}

#[test]
fn a_reader_may_go_away() {
    let mut child = command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // More follows than a pipe can hold.
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, fan_in(&["--limit", "1"]).out);
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    let run = Run { code: child.wait().unwrap().code(), out: String::new(), err };
    assert!(!run.err.contains("error"), "{}", run.err);
    assert!(run.figure("examples/data/redis-exporter.prom").ends_with("closed early"));
    run.output(13);
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    for args in [&[][..], &["--count"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let child = command(args).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(err.starts_with("error: cannot write to standard output: "), "{err}");
        let run = Run { code: output.status.code(), out: String::new(), err };
        assert_eq!(run.code, Some(1));
        run.assert_closed(13, 0);
    }
}

#[test]
fn help_helps() {
    let run = fan_in(&["--help"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    for word in
        ["--replica-label", "--limit", "--partial", "--count", "--help", "FILE", "Exit codes", "Examples"]
    {
        assert!(run.out.contains(word), "{word}");
    }
    assert!(run.out.lines().all(|line| line.chars().count() <= 110));
}
