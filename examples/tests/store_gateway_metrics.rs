//! The metrics that the example program `store_gateway` serves while it runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::exposition;
use crate::program;

/// More queries than the program is given time for.
const ENDLESS: &str = "100000";

/// The program with few data.
fn gateway(address: &str, queries: &str) -> Command {
    let mut command = Command::new(program::program("store_gateway"));
    command
        .current_dir(program::ROOT)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .args(["--no-progress", "--blocks", "4", "--series", "2000", "--queries", queries])
        .args(["--frame-timeout-ms", "60000", "--metrics", address]);
    command
}

/// Kills the run when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The body of what is answered.
fn get(address: &str, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    if head.starts_with("HTTP/1.1 200 ") { Ok(body.to_owned()) } else { Err(head.to_owned()) }
}

#[test]
fn metrics_are_served_while_it_runs() {
    let mut running = Running(gateway("127.0.0.1:0", ENDLESS).stderr(Stdio::piped()).spawn().unwrap());
    let mut messages = BufReader::new(running.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = messages.next().unwrap();
    let address = address.strip_prefix("metrics on http://").unwrap().strip_suffix("/metrics").unwrap();
    let value = |series: &str| {
        let text = get(address, "/metrics").unwrap();
        exposition::parse(text.as_bytes(), exposition::Format::default()).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse::<f64>().unwrap())
    };
    // The connection is taken by the system before the run is ready to answer.
    let gets = r#"losertree_pool_gets_total{pool="chunks"}"#;
    let before = value(gets);
    for series in [
        r#"losertree_pool_used_bytes{pool="chunks"}"#,
        r#"losertree_gate_pending_readers{gate="blocks"}"#,
        r#"losertree_ledger_opened_total{ledger="gateway"}"#,
        r#"losertree_merges_total{merge="query",end="closed"}"#,
        r#"losertree_merge_duration_seconds_bucket{merge="query",le="+Inf"}"#,
    ] {
        while value(series) == 0.0 {
            assert_eq!(running.0.try_wait().unwrap(), None, "it has ended without {series}");
        }
    }
    assert!(value(gets) > before);
    assert!(get(address, "/").unwrap_err().starts_with("HTTP/1.1 404 "));

    let taken = gateway(address, ENDLESS).output().unwrap();
    let message = String::from_utf8(taken.stderr).unwrap();
    assert_eq!((taken.status.code(), taken.stdout.len()), (Some(1), 0));
    assert!(message.starts_with(&format!("error: cannot serve metrics on {address}: ")), "{message}");
}

#[test]
fn connection_that_stays_open_does_not_outlive_the_run() {
    let mut running = gateway("127.0.0.1:0", "400").stderr(Stdio::piped()).spawn().unwrap();
    let mut messages = BufReader::new(running.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = messages.next().unwrap();
    let address = address.strip_prefix("metrics on http://").unwrap().strip_suffix("/metrics").unwrap();
    // It is answered, and then says nothing more.
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let output = running.wait_with_output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{table}{:?}", messages.collect::<Vec<_>>());
    assert!(table.contains("tasks alive        0\n"), "{table}");
}
