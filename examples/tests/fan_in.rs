//! The example program `fan_in`, as its users see it: output, messages and exit codes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;

use crate::fan_in_run::{Line, Run, command, fan_in, file, read, run};
use crate::program;

const REPLICA_A: &str = "examples/data/node-replica-a.prom";
const REPLICA_B: &str = "examples/data/node-replica-b.prom";

/// What the program must print for these inputs: each series with its different samples, by timestamp and text.
fn oracle(inputs: &[String], removed: &[&str]) -> Vec<Line> {
    let mut lines: Vec<Line> = inputs.iter().flat_map(|input| read(input)).collect();
    for (labels, _) in &mut lines {
        labels.retain(|(name, value)| !removed.contains(&name.as_str()) && !value.is_empty());
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
    let package = Path::new(program::ROOT);
    paths.iter().map(|path| fs::read_to_string(package.join(path)).unwrap()).collect()
}

/// The paths of the shipped scrapes, as the program names them.
fn shipped() -> Vec<String> {
    let dir = Path::new(program::ROOT).join("examples/data");
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut paths: Vec<String> = names
        .filter(|name| name.split('.').next_back() == Some("prom"))
        .map(|name| format!("examples/data/{name}"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 13);
    paths
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
    let (_other_dir, other) = file("b.prom", "up 4\ndown 5\nup 1\nup 9 6\n");
    let out = fan_in(&[&path, &other, &path]).output(3);
    assert_eq!(out, "down 3\ndown 5\nup 1\nup 2\nup 4\nup 9 6\nup 0 7\n");
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
        "b 1e+06 0300",
        "c +Inf",
        "d:e_total NaN 1395066363000",
        "f{cr=\"\r\",nul=\"\0\",tab=\"\t\",unicode=\"é 日本 ☃\"} -0",
        r#"n{blank=" "} 123456789012345678901234567890"#,
    ];
    let spaced = lines.iter().rev().map(|line| [&line.replace("} ", "}  \t"), "\t \n"].concat());
    let mut text = "# TYPE a counter\n\n \t\n# EOF\n".to_owned();
    text.extend(spaced);
    // No line end after the last line.
    text += "z{ b = \"2\" , a = \"1\" , } 3";
    let (_dir, path) = file("input", text);
    let out = fan_in(&[&path]).output(1);
    assert_eq!(out, lines.join("\n") + "\nz{a=\"1\",b=\"2\"} 3\n");
}

#[test]
fn names_in_quotes_are_read_if_that_is_asked_for() {
    let lines = [r#"a{"b c"="1"} 1"#, r#"{"g.h"} 1"#, r#"{"g.h","i \" j"="k",l="m"} 1"#, r#"{"é"} 1"#];
    let text = concat!(
        "# TYPE \"g.h\" counter\n# HELP \"g.h\" x\n{\"é\"} 1\n{l=\"m\" \"i \\\" j\"=\"k\" , \"g.h\"} 1\n",
        "{\"g.h\",} 1\na{\"b c\"=\"1\"} 1\n"
    );
    let (_dir, path) = file("input", text);
    let out = fan_in(&["--utf8-names", &path]).output(1);
    assert_eq!(out, lines.join("\n") + "\n");
    let (_dir, again) = file("again", &out);
    assert_eq!(fan_in(&["--utf8-names", &again]).output(1), out);

    let named = |line: &str, args: &[&str]| {
        let (_dir, path) = file("input", line);
        let run = fan_in(&[args, &[&path]].concat());
        assert_eq!(run.code, Some(1));
        run.err.lines().next().unwrap().split_once(":1: ").unwrap().1.to_owned()
    };
    let hint = "name in quotes, which Prometheus has since version 3 (--utf8-names)";
    for line in lines {
        assert_eq!(named(line, &[]), hint);
    }
    for (line, message) in [
        (r#"{"a","b"} 1"#, r#"a second name of the metric: "b""#),
        (r#"a{"b"} 1"#, r#"a second name of the metric: "b""#),
        (r#"{a="b"} 1"#, "the metric has no name"),
        (r#"{""} 1"#, "the metric has no name"),
        (r#"{"a" b="1"} 1"#, "expected `=`, found 'b'"),
    ] {
        assert_eq!(named(line, &["--utf8-names"]), message);
    }
}

// F60
#[test]
fn a_label_with_an_empty_value_is_none() {
    let (_dir, a) = file("a.prom", "node_up{node=\"n1\",zone=\"\"} 1\n");
    let (_other_dir, b) = file("b.prom", "node_up{node=\"n1\"} 1\n");
    let run = fan_in(&[&a, &b]);
    assert_eq!((run.figure("series out"), run.figure("merged duplicates")), ("1", "1"));
    assert_eq!(run.output(2), "node_up{node=\"n1\"} 1\n");

    let out = fan_in(&["--keep-empty-labels", &a, &b]).output(2);
    assert_eq!(out, "node_up{node=\"n1\"} 1\nnode_up{node=\"n1\",zone=\"\"} 1\n");
    let (_dir, both) = file("both.prom", "a{b=\"1\",b=\"\"} 1\n");
    assert_eq!(fan_in(&[&both]).output(1), "a 1\n");
    assert!(fan_in(&["--keep-empty-labels", &both]).err.contains("label name \"b\" occurs twice"));
}

#[test]
fn an_empty_store_is_fine() {
    let (_dir, path) = file("empty", "");
    assert_eq!(fan_in(&[&path]).output(1), "");
    assert_eq!(fan_in(&[&path, REPLICA_A, "--count"]).output(2), "538\n");
}

const CARRIAGE_RETURN: &str = "carriage return, which Prometheus refuses: lines end with a line feed alone";
const BYTE_ORDER_MARK: &str =
    "the file begins with a byte order mark, which Prometheus refuses: UTF-8 needs none";

#[test]
fn a_malformed_line_ends_the_run_and_is_named() {
    let cases: [(&[u8], &str); 44] = [
        (b"this is not a metric", "bad value \"is\""),
        (b"up{a=\"1\"}", "expected a value, found the end of the line"),
        (b"up", "expected a value, found the end of the line"),
        (b"up{a=\"1\"", "expected a label name or `}`, found the end of the line"),
        (b"up 1 2 3", "expected the end of the line, found '3'"),
        (b"up{a=\"1\"} {", "expected a value, found '{'"),
        (b"up 1{a=\"1\"}", "expected a timestamp or the end of the line, found '{'"),
        (b"up{a='1'} 5", "expected a value in double quotes, found '\\''"),
        (b"up{a:\"1\"} 5", "expected `=`, found ':'"),
        (b"up{,a=\"1\"} 5", "expected a label name or `}`, found ','"),
        (b"up{\xc3\xa9=\"1\"} 5", "expected a label name or `}`, found 'é'"),
        (b"up{a=\"1} 5", "expected a closing quote, found the end of the file"),
        (b"up{a=\"1\\", "expected a character behind the backslash, found the end of the line"),
        (
            b"up{a=\"1} 5\nup{a=\"2\"} 6",
            "expected a label name or `}`, found '2' (a label value before it goes over a line end: is its closing quote \
             missing?)",
        ),
        (b"?!? 5", "expected the name of a metric, found '?'"),
        (b"\xff 5", "expected the name of a metric, found byte FF"),
        (b"{a=\"1\"} 5", "expected the name of a metric, found '{'"),
        (b" up 5", "blanks before the name of a metric, which Prometheus refuses"),
        (b"up{__name__=\"\"} 5", "the metric has no name"),
        (b"up{__name__=\"down\"} 5", "bad labels: label name \"__name__\" occurs twice"),
        (b"up{a=\"\xff\"} 5", "label value is not UTF-8"),
        (b"up abc", "bad value \"abc\""),
        (b"up 1e999", "bad value \"1e999\""),
        (b"up +nan", "bad value \"+nan\""),
        (b"up -NaN", "bad value \"-NaN\""),
        (b"up 1 -1", "bad timestamp \"-1\": it is in whole milliseconds, without a sign"),
        (b"up 1 +1", "bad timestamp \"+1\": it is in whole milliseconds, without a sign"),
        (b"up 1 2x", "bad timestamp \"2x\": it is in whole milliseconds, without a sign"),
        (
            b"up 1 9223372036854775808",
            "bad timestamp \"9223372036854775808\": it is in whole milliseconds, without a sign",
        ),
        (
            b"up 1 1520879607.789",
            "timestamp \"1520879607.789\" is not in whole milliseconds: those of OpenMetrics are in seconds",
        ),
        (b"up 1 # {trace=\"a\"} 0.5", "exemplar behind a sample, which only OpenMetrics has"),
        (b"up 1 2 # {trace=\"a\"} 0.5", "exemplar behind a sample, which only OpenMetrics has"),
        (b"up 1 # why", "comment behind a sample: it needs a line of its own"),
        (b"# TYPE up unknown", "type \"unknown\", which only OpenMetrics has"),
        (b"# TYPE up counters", "unknown type \"counters\""),
        (b"# TYPE 5 counter", "expected the name of a metric, found '5'"),
        (b"# HELP ", "expected the name of a metric, found the end of the line"),
        (b"# HELP up \xff", "help text is not UTF-8"),
        (b"# TYPE up counter\r", CARRIAGE_RETURN),
        (b"up 1\r", CARRIAGE_RETURN),
        (b"up 1 2\r", CARRIAGE_RETURN),
        (b"up{a=\"1\",}\r", CARRIAGE_RETURN),
        (b"\r", CARRIAGE_RETURN),
        (b"\xef\xbb\xbfup 1", BYTE_ORDER_MARK),
    ];
    let (_dir, good) = file("good", "up 1\n");
    for (line, message) in cases {
        let content = [b"# comment\n\nup 1\n", line, b"\nbad too\n"].concat();
        let (_dir, path) = file("malformed", content);
        let run = fan_in(&[&good, &path, &good]);
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
    // In the order in which the stores have failed, which depends on how fast they are.
    let mut warnings: Vec<&str> = run.err.lines().take_while(|line| line.starts_with("warning: ")).collect();
    warnings.sort_unstable();
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
fn a_file_in_another_encoding_is_named() {
    let up =
        |encode: fn(u16) -> [u8; 2]| "\u{FEFF}up 1\n".encode_utf16().flat_map(encode).collect::<Vec<u8>>();
    for (content, message) in [
        (b"\xef\xbb\xbf# HELP up x\nup 1\n".to_vec(), BYTE_ORDER_MARK),
        (up(u16::to_le_bytes), "the file is UTF-16, where UTF-8 is expected"),
        (up(u16::to_be_bytes), "the file is UTF-16, where UTF-8 is expected"),
    ] {
        let (_dir, path) = file("input", content);
        let run = fan_in(&[&path]);
        assert_eq!(run.code, Some(1));
        assert!(run.err.lines().next().unwrap().ends_with(&format!("{path}:1: {message}")), "{}", run.err);
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let run = fan_in(&["--version"]);
    assert_eq!((run.code, run.out), (Some(0), format!("fan_in {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn help_helps() {
    let run = fan_in(&["--help"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    for word in [
        "--replica-label",
        "--limit",
        "--partial",
        "--count",
        "--keep-empty-labels",
        "--utf8-names",
        "--help",
        "FILE",
        "Exit codes",
        "Examples",
    ] {
        assert!(run.out.contains(word), "{word}");
    }
    assert!(run.out.lines().all(|line| line.chars().count() <= 110));
}
