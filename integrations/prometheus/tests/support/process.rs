//! Running programs: the gateway, Prometheus, and asking them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::{
    ChunkedReadResponse, LabelMatcher, Query, ReadRequest, ReadResponse, ResponseType,
};
use prost::Message;

use super::{Answer, bits, samples};

const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway that runs.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    log: mpsc::Receiver<String>,
}

impl Gateway {
    pub fn start(blocks: &Path, arguments: &[&str]) -> Self {
        Self::start_with(&[&["--blocks", blocks.to_str().unwrap()], arguments].concat())
    }

    pub fn start_with(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_losertree-gateway"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || errors.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let address = loop {
            let line = log.recv_timeout(PATIENCE).expect("the gateway starts");
            if let Some(rest) = line.strip_prefix("remote read on http://") {
                break rest.split('/').next().unwrap().parse().unwrap();
            }
        };
        Self { child, address, log }
    }

    /// What it has written to standard error since this was asked before.
    pub fn log(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it in order, and returns whether it was balanced and what it printed.
    pub fn stop(mut self) -> (bool, String) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap().success(), printed)
    }

    pub fn assert_stops_balanced(self) {
        let (is_balanced, printed) = self.stop();
        assert!(is_balanced, "{printed}");
        assert!(printed.contains("open 0"), "{printed}");
        assert!(printed.contains("0 bytes of buffers and 0 bytes of lists"), "{printed}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Prometheus that runs.
pub struct Prometheus {
    child: Child,
    pub address: SocketAddr,
}

impl Prometheus {
    /// Starts it on a directory; with the address of what it is to read from, if any.
    pub fn start(data: &Path, remote_read: Option<SocketAddr>) -> Self {
        let text = remote_read.map_or_else(String::new, |address| {
            format!("remote_read:\n- url: http://{address}/api/v1/read\n  read_recent: true\n")
        });
        Self::configured(data, &text)
    }

    /// Starts it with a configuration.
    pub fn configured(data: &Path, text: &str) -> Self {
        let config = data.with_extension("yml");
        fs::write(&config, text).unwrap();
        // Another program may take the port between the two lines. Not on a machine that runs tests.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(data.with_extension("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--storage.tsdb.retention.time=100y", "--web.enable-admin-api"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let prometheus = Self { child, address };
        let start = Instant::now();
        while get(address, "/-/ready").is_none_or(|(status, _)| status != 200) {
            assert!(start.elapsed() < PATIENCE, "Prometheus is ready");
            thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The answer to a path of its API, as JSON.
    pub fn api(&self, path: &str) -> serde_json::Value {
        let (status, body) = get(self.address, path).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body["data"].clone()
    }

    /// Deletes series in a range.
    pub fn delete(&self, selector: &str, range: Interval) {
        let path = format!(
            "/api/v1/admin/tsdb/delete_series?match[]={}&start={}&end={}",
            escape(selector),
            range.min_ms / 1000,
            range.max_ms / 1000
        );
        let (status, body) = send(self.address, "POST", &path, &[], b"").unwrap();
        assert_eq!(status, 204, "{}", String::from_utf8_lossy(&body));
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// The most memory that a process has had, in bytes.
pub fn peak_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// How much time of processors a process has had, in steps of 10 ms.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in parentheses, may contain anything.
    let fields: Vec<_> = stat[stat.rfind(')').unwrap()..].split(' ').collect();
    let ticks: u64 = fields[12..14].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// A text as a part of a URL.
pub fn escape(text: &str) -> String {
    let escape = |byte: u8| {
        if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect()
}

pub fn copy_dir(from: &Path, to: &Path) -> PathBuf {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
    to.to_owned()
}

pub fn get(address: SocketAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    send(address, "GET", path, &[], b"").ok()
}

/// Sends a request, and receives a whole answer: one that is broken off is an error.
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let stream = begin(address, method, path, headers, body)?;
    receive(stream)
}

pub fn begin(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    stream.write_all(&[head.as_bytes(), body].concat())?;
    Ok(stream)
}

pub fn receive(stream: TcpStream) -> std::io::Result<(u16, Vec<u8>)> {
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let (mut len, mut is_chunked) = (None, false);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            len = value.trim().parse::<usize>().ok();
        }
        is_chunked |= header == "transfer-encoding: chunked";
    }
    let mut body = Vec::new();
    if is_chunked {
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let len = usize::from_str_radix(line.trim(), 16).map_err(|_| broken())?;
            let start = body.len();
            body.resize(start + len + 2, 0);
            reader.read_exact(&mut body[start..])?;
            body.truncate(start + len);
            if len == 0 {
                break;
            }
        }
    } else if let Some(len) = len {
        body.resize(len, 0);
        reader.read_exact(&mut body)?;
    } else {
        reader.read_to_end(&mut body)?;
    }
    Ok((status, body))
}

/// A query by remote read: types of matchers are 0 to 3 for `=`, `!=`, `=~`, `!~`.
pub fn query(matchers: &[(&str, i32, &str)], range: Interval) -> Query {
    let matcher = |(name, kind, value): &(&str, i32, &str)| LabelMatcher {
        r#type: *kind,
        name: (*name).into(),
        value: (*value).into(),
    };
    Query {
        start_timestamp_ms: range.min_ms,
        end_timestamp_ms: range.max_ms,
        matchers: matchers.iter().map(matcher).collect(),
    }
}

pub fn request(queries: Vec<Query>, kind: ResponseType) -> Vec<u8> {
    let request = ReadRequest { queries, accepted_response_types: vec![kind as i32] };
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

pub fn read(address: SocketAddr, queries: Vec<Query>, kind: ResponseType) -> std::io::Result<(u16, Vec<u8>)> {
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Read-Version", "0.1.0"),
    ];
    send(address, "POST", "/api/v1/read", &headers, &request(queries, kind))
}

fn labels(labels: &[losertree_prometheus::remote::proto::Label]) -> losertree::Labels {
    assert!(labels.is_sorted_by(|one, next| one.name < next.name), "labels are sorted");
    assert!(labels.iter().all(|label| !label.value.is_empty()));
    losertree::Labels::from_pairs(labels.iter().map(|label| (&label.name, &label.value))).unwrap()
}

/// The answers to the queries of a streamed answer. Checks frames, order and chunks.
pub fn streamed(mut body: &[u8], queries: usize) -> Vec<Answer> {
    let mut answers = vec![Answer::new(); queries];
    let mut last: Option<(i64, losertree::Labels)> = None;
    while !body.is_empty() {
        let len = prost::decode_length_delimiter(&mut body).unwrap();
        let (crc, rest) = body.split_at(4);
        let (message, rest) = rest.split_at(len);
        assert_eq!(crc, crc32c::crc32c(message).to_be_bytes(), "the checksum of a frame");
        body = rest;
        let frame = ChunkedReadResponse::decode(message).unwrap();
        for series in &frame.chunked_series {
            let labels = labels(&series.labels);
            let place = (frame.query_index, labels.clone());
            assert!(last.as_ref().is_none_or(|last| *last <= place), "series are sorted");
            last = Some(place);
            let all = answers[usize::try_from(frame.query_index).unwrap()].entry(labels).or_default();
            for chunk in &series.chunks {
                assert_eq!(chunk.r#type, 1);
                let samples = samples(&[&[1], &*chunk.data].concat());
                assert_eq!(samples.first().map(|sample| sample.time_ms), Some(chunk.min_time_ms));
                assert_eq!(samples.last().map(|sample| sample.time_ms), Some(chunk.max_time_ms));
                assert!(all.last().is_none_or(|last| last.0 < chunk.min_time_ms), "chunks do not overlap");
                all.extend(samples.iter().map(|sample| (sample.time_ms, bits(sample.value))));
            }
        }
    }
    answers
}

/// The answers to the queries of an answer of samples.
pub fn sampled(body: &[u8]) -> Vec<Answer> {
    let message = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let response = ReadResponse::decode(message.as_slice()).unwrap();
    let answer = |result: &losertree_prometheus::remote::proto::QueryResult| {
        let mut answer = Answer::new();
        for series in &result.timeseries {
            let samples = series
                .samples
                .iter()
                .map(|sample| (sample.timestamp, bits(sample.value)))
                .collect::<Vec<_>>();
            assert!(samples.is_sorted_by(|one, next| one.0 < next.0));
            assert_eq!(answer.insert(labels(&series.labels), samples), None, "each series comes once");
        }
        answer
    };
    response.results.iter().map(answer).collect()
}
