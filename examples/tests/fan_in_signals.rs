//! The example program `fan_in` is asked to end, wherever it is: it closes its stores and gives the summary.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use crate::fan_in_run::{Run, command, file};
use crate::signal::Signal;

const GOOD: &str = "examples/data/blackbox-probe.prom";

/// Waits for a program whose output is of no interest.
fn ended(child: Child) -> Run {
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    Run { code: output.status.code(), out: String::from_utf8(output.stdout).unwrap(), err }
}

#[track_caller]
fn assert_interrupted(run: &Run, signal: Signal, sources: usize) {
    assert_eq!(run.code, Some(signal.exit_code()), "{}", run.err);
    assert!(run.figure("series out").ends_with("(interrupted)"), "{}", run.err);
    assert!(!run.err.contains("error"), "{}", run.err);
    run.assert_closed(sources, 0);
}

#[test]
fn while_it_waits_for_input() {
    for signal in [Signal::Int, Signal::Term] {
        let mut command = command(&[GOOD, "-", GOOD]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It stays open: more may come.
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"up 1\n").unwrap();
        signal.send(&child);
        let run = ended(child);
        assert_interrupted(&run, signal, 3);
        assert_eq!(run.out, "");
        drop(input);
    }
}

#[test]
fn while_it_waits_for_a_pipe_that_nobody_writes_to() {
    let (dir, _) = file("other", "");
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = command(&["--partial", GOOD, pipe.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Signal::Int.send(&child);
    assert_interrupted(&ended(child), Signal::Int, 2);
}

#[test]
fn while_the_reader_of_its_output_does_nothing() {
    let mut child = command(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // More follows than a pipe can hold.
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    Signal::Int.send(&child);
    let run = ended(child);
    assert_interrupted(&run, Signal::Int, 13);
    assert!(run.figure("examples/data/redis-exporter.prom").ends_with("closed early"), "{}", run.err);
}
