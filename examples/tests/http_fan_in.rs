//! The example program `http_fan_in`, as its users see it: every store is told, by whichever client it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::program;

/// The program, which does not outlive a test that fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(args: &[&str]) -> Running {
    let child = Command::new(program::program("http_fan_in"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    Running(child.unwrap())
}

fn text(mut from: impl Read) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

// F64
#[test]
fn every_store_is_told_also_when_the_client_disconnects() {
    let mut run = start(&[]);
    let out = text(run.0.stdout.take().unwrap());
    assert_eq!(text(run.0.stderr.take().unwrap()), "");
    assert!(run.0.wait().unwrap().success(), "{out}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "a client has read to the end: 40 lines",
            "a client has disconnected after 10 lines",
            "8 of 8 stores were told",
            "ledger: opened 8, closed 4, closed in background 4, failed 0, handed back 0, dropped unclosed 0, lost 0, open 0",
        ]
    );
}

/// Two clients, of which the first disconnects while the server runs and the second is still reading when it is ended.
#[cfg(unix)]
#[test]
fn it_serves_until_it_is_interrupted_and_ends_in_order() {
    let mut server = start(&["--addr", "127.0.0.1:0"]);
    let mut err = BufReader::new(server.0.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    let address = line.strip_prefix("serving on http://").unwrap().split('/').next().unwrap();
    let address: SocketAddr = address.parse().unwrap();
    let ask = || {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = BufReader::new(client).lines().map(Result::unwrap);
        assert_eq!(answer.next().as_deref(), Some("HTTP/1.0 200 OK"));
        let first = answer.by_ref().skip_while(|line| !line.is_empty()).nth(1);
        assert_eq!(first.as_deref(), Some(r#"{__name__="up", instance="000000", store="store-a"}"#));
        answer
    };
    drop(ask());
    let reading = ask();
    let interrupted = Command::new("kill").args(["-INT", &server.0.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let status = server.0.wait().unwrap();
    let out = text(server.0.stdout.take().unwrap());
    assert_eq!(text(err), "");
    assert!(status.success(), "{out}");
    assert!(
        out.starts_with("8 of 8 stores were told\nledger: opened 8, closed 0, closed in background 8, "),
        "{out}"
    );
    drop(reading);
}
