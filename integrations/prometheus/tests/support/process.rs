//! Running programs: the gateway, Prometheus, and asking them.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::{
    ChunkedReadResponse, LabelMatcher, Query, ReadRequest, ReadResponse, ResponseType,
};
use prost::Message;

use super::{Answer, bits, samples};

/// For how long it is waited for what must come, on a machine that may have much else to do.
const PATIENCE: Duration = Duration::from_secs(120);
/// For how long an answer may say nothing: longer than Prometheus takes for a query, which is two minutes at most, and than a
/// query waits for its turn behind some hundreds on a slow machine.
const ANSWER_PATIENCE: Duration = Duration::from_secs(600);

/// A gateway that runs.
pub struct Gateway {
    child: Child,
    pub address: SocketAddr,
    /// Where it serves the StoreAPI, if it does.
    pub store_api: Option<SocketAddr>,
    log: mpsc::Receiver<String>,
    /// What it has written before it listened.
    first: std::cell::RefCell<Vec<String>>,
}

impl Gateway {
    pub fn start(blocks: &Path, arguments: &[&str]) -> Self {
        Self::start_with(&[&["--blocks", blocks.to_str().unwrap()], arguments].concat())
    }

    pub fn start_with(arguments: &[&str]) -> Self {
        Self::spawn(Command::new(env!("CARGO_BIN_EXE_losertree-gateway")), arguments)
    }

    /// Starts it by another program.
    pub fn start_by(program: &[&str], blocks: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_losertree-gateway"));
        Self::spawn(command, &[&["--blocks", blocks.to_str().unwrap()], arguments].concat())
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        let mut child = command
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, log) = mpsc::channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || errors.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        let (mut first, mut store_api) = (Vec::new(), None);
        let address = loop {
            let line = log.recv_timeout(PATIENCE).expect("the gateway starts");
            first.push(line.clone());
            let listens = |what| {
                let rest = line.strip_prefix(what)?.trim_start_matches('s').split('/').nth(2)?;
                Some(rest.parse::<SocketAddr>().unwrap())
            };
            store_api = store_api.or_else(|| listens("StoreAPI on http"));
            if let Some(address) = listens("remote read on http") {
                break address;
            }
        };
        Self { child, address, store_api, log, first: first.into() }
    }

    /// What it has written to standard error since this was asked before.
    pub fn log(&self) -> Vec<String> {
        self.first.take().into_iter().chain(self.log.try_iter()).collect()
    }

    /// Waits until it has written that, and returns what it has written until then.
    pub fn wait_for(&self, part: &str) -> String {
        let mut log = String::new();
        let start = Instant::now();
        loop {
            for line in self.log() {
                log += &line;
                log.push('\n');
            }
            if log.contains(part) {
                return log;
            }
            assert!(start.elapsed() < PATIENCE, "it says {part:?}: {log}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a line of its log that has all these parts.
    pub fn assert_logs(&self, what: &str, parts: &[&str]) {
        let mut others = self.first.take();
        loop {
            if others.last().is_some_and(|line| parts.iter().all(|part| line.contains(part))) {
                return;
            }
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) => others.push(line),
                Err(late) => panic!("{what}: {late}: {others:?}"),
            }
        }
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

    /// The address by which another one asks it for series.
    pub fn store_api_url(&self) -> String {
        format!("http://{}", self.store_api.unwrap())
    }

    /// Waits until nothing is open in it: soon, since nobody asks any more.
    pub fn assert_nothing_open(&self) {
        self.wait_for_metrics("nothing is open", |line| {
            line.starts_with("losertree_ledger_open_entries") && line.ends_with(" 0")
        });
    }

    /// Waits until a line of its metrics is so.
    pub fn wait_for_metric(&self, wanted: &str) {
        self.wait_for_metrics(wanted, |line| line == wanted);
    }

    fn wait_for_metrics(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        let start = Instant::now();
        loop {
            let metrics = String::from_utf8(get(self.address, "/metrics").unwrap().1).unwrap();
            if metrics.lines().any(&is_so) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{what}: {metrics}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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
        Self::with_flags(data, text, &[])
    }

    /// Starts it with a configuration, and more flags than all have.
    pub fn with_flags(data: &Path, text: &str, flags: &[&str]) -> Self {
        Self::started(data, text, flags, |address| {
            get(address, "/-/ready").is_some_and(|(status, _)| status == 200)
        })
    }

    /// Starts it with a configuration and arguments, and waits until it is ready.
    pub fn started(
        data: &Path,
        text: &str,
        arguments: &[&str],
        is_ready: impl Fn(SocketAddr) -> bool,
    ) -> Self {
        let config = data.with_extension("yml");
        fs::write(&config, text).unwrap();
        let log = data.with_extension("log");
        // It takes a port that is free, and its log says which one. A port that was free before may be somebody else's by now.
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .args(["--storage.tsdb.retention.time=100y", "--web.enable-admin-api"])
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut prometheus = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let start = Instant::now();
        let address = loop {
            // It may be in the middle of a line.
            let said = fs::read_to_string(&log).unwrap();
            if let Some(address) = said.split_inclusive('\n').find_map(listens) {
                break address;
            }
            let has_ended = prometheus.child.try_wait().unwrap();
            assert!(has_ended.is_none() && start.elapsed() < PATIENCE, "Prometheus listens: {said}");
            thread::sleep(Duration::from_millis(20));
        };
        prometheus.address = address;
        while !is_ready(address) {
            assert!(start.elapsed() < PATIENCE, "Prometheus is ready");
            thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The answer to a path of its API, as JSON: the data, or the error.
    pub fn api(&self, path: &str) -> Result<serde_json::Value, String> {
        let (status, body) = get(self.address, path).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        if status == 200 { Ok(body["data"].clone()) } else { Err(format!("{status}: {}", body["error"])) }
    }

    /// Writes all that it has into blocks, and returns their directory.
    pub fn snapshot(&self, data: &Path) -> PathBuf {
        let (status, body) = send(self.address, "POST", "/api/v1/admin/tsdb/snapshot", &[], b"").unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        data.join("snapshots").join(body["data"]["name"].as_str().unwrap())
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

/// The address in a whole line of the log of Prometheus that says where it listens.
fn listens(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.strip_suffix('\n')?.split_once("msg=\"Listening on\"")?;
    let (_, address) = rest.split_once(" address=")?;
    address.split(' ').next()?.parse().ok()
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
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    // Browsers want to know.
    let host = address.to_string();
    let headers = [&[("Host", host.as_str())], headers].concat();
    stream.write_all(&message(method, path, &headers, body))?;
    Ok(stream)
}

/// A request as it is sent.
pub fn message(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head.push_str("Host: test\r\n");
    }
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

pub fn receive(stream: impl Read) -> std::io::Result<(u16, Vec<u8>)> {
    receive_all(stream).map(|(status, _, body)| (status, body))
}

/// The status, the head as text in lower case, and the body.
pub fn receive_all(stream: impl Read) -> std::io::Result<(u16, String, Vec<u8>)> {
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    let (mut len, mut is_chunked) = (None, false);
    let mut head = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let header = line.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        head += &header;
        head.push('\n');
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
    Ok((status, head, body))
}

/// A server that does something with each request: with its head, and with the connection.
///
/// Each connection has a thread of its own. One on which nothing is said, as clients have some in reserve, keeps nobody waiting. A
/// request is read to its end, wherever it is cut into pieces: what nobody has read when a connection is closed may undo the answer.
pub fn listen(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (client, answer) = (client.unwrap(), Arc::clone(&answer));
            thread::spawn(move || {
                let mut client = BufReader::new(client);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if !client.read_line(&mut head).is_ok_and(|len| len > 0) {
                        return;
                    }
                }
                let lines = head.lines().filter_map(|line| line.split_once(':'));
                let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
                let len = lengths.next().map_or(0, |(_, len)| len.trim().parse().unwrap());
                if client.read_exact(&mut vec![0; len]).is_ok() {
                    answer(&head, client.get_mut());
                }
            });
        }
    });
    address
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

/// A chunk as it is streamed: its range, the number of its encoding, its data.
pub type StreamedChunk = (i64, i64, i32, Vec<u8>);

/// The chunks of a streamed answer to one query, of whatever encoding. Checks that they do not overlap.
pub fn streamed_chunks(mut body: &[u8]) -> BTreeMap<losertree::Labels, Vec<StreamedChunk>> {
    let mut all = BTreeMap::<_, Vec<StreamedChunk>>::new();
    while !body.is_empty() {
        let len = prost::decode_length_delimiter(&mut body).unwrap();
        let (message, rest) = body[4..].split_at(len);
        body = rest;
        for series in ChunkedReadResponse::decode(message).unwrap().chunked_series {
            let chunks = series.chunks.into_iter();
            let chunks =
                chunks.map(|chunk| (chunk.min_time_ms, chunk.max_time_ms, chunk.r#type, chunk.data.to_vec()));
            all.entry(labels(&series.labels)).or_default().extend(chunks);
        }
    }
    assert!(
        all.values().all(|chunks| chunks.is_sorted_by(|one, next| one.1 < next.0)),
        "chunks do not overlap"
    );
    all
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
