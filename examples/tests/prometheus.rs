//! A Prometheus that scrapes texts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::odd_lines::{Found, Verdict};

/// The version that `fan_in` reads like, and that the verdicts are of.
const VERSION: &str = "2.42.";
/// The label that says which text a series is of. No text has it.
const CASE: &str = "odd_lines_case";
/// What Prometheus would give every series of its own accord, unless the text does.
const OWN: [(&str, &str); 2] = [("instance", "odd-lines-instance"), ("job", "odd-lines-job")];
/// What Prometheus says of each scrape, by series without any other label.
const REPORT: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];
const INTERVAL: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(120);

/// Killed when it is dropped.
struct Running {
    server: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

/// The labels of a series, and the times of its samples in milliseconds.
pub(crate) type Timed = (BTreeMap<String, String>, Vec<i64>);

/// What Prometheus makes of texts.
pub(crate) struct Scraped {
    pub(crate) verdicts: Vec<Verdict>,
    /// What it says of those that it refuses. It names parts of texts by memory that has been used for others since.
    pub(crate) errors: Vec<String>,
    /// For each text, the series whose samples have times of their own.
    pub(crate) times: Vec<Vec<Timed>>,
}

/// Has Prometheus (`$PROMETHEUS`, or the one that is installed) scrape each text as a target of its own, twice: by a
/// job that takes timestamps for what they are, and by one that does not, so that what is old is not too old.
pub(crate) fn scrape(texts: Vec<Vec<u8>>) -> Scraped {
    let count = texts.len();
    let prometheus = start(&serve(texts), count);
    let end = Instant::now() + PATIENCE;
    let (mut verdicts, mut errors) = (vec![None; count], vec![String::new(); count]);
    let (plain, honored) = loop {
        let [plain, honored] = targets(prometheus.address);
        if plain.len() == count && honored.len() == count {
            break (plain, honored);
        }
        assert!(Instant::now() < end, "scraped {} and {} of {count} texts", plain.len(), honored.len());
        thread::sleep(Duration::from_millis(200));
    };
    for (case, error) in plain {
        // The other way round it need not be: what is too old is not looked at any further.
        let honored = &honored[&case];
        assert!(
            !error.is_empty() || honored.is_empty(),
            "text {case} is refused only with its timestamps: {honored:?}"
        );
        let accepted = error.is_empty().then(Vec::new);
        (verdicts[case], errors[case]) = (Some(accepted.map_or(Verdict::Refused, Verdict::Accepted)), error);
    }
    // A target is reported on before its samples can be queried. Those that Prometheus has of each scrape come with them.
    let end = Instant::now() + PATIENCE;
    while targets_with_samples(prometheus.address) < 2 * count {
        assert!(Instant::now() < end, "samples of {count} texts can be queried");
        thread::sleep(Duration::from_millis(100));
    }
    let mut verdicts: Vec<Verdict> = verdicts.into_iter().map(Option::unwrap).collect();
    for (case, labels, result) in query(prometheus.address, &format!("{{{CASE}=~'.+',{CASE}_timed=''}}")) {
        let Verdict::Accepted(found) = &mut verdicts[case] else { panic!("text {case} was refused") };
        found.push((labels, result["value"][1].as_str().unwrap().to_owned()) as Found);
    }
    for verdict in &mut verdicts {
        if let Verdict::Accepted(found) = verdict {
            found.sort();
        }
    }
    let mut times = vec![Vec::new(); count];
    for (case, labels, result) in
        query(prometheus.address, &format!("{{{CASE}=~'.+',{CASE}_timed!=''}}[10m]"))
    {
        let seconds = |sample: &Value| sample[0].as_f64().unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "times of this age are exact")]
        let millis = |sample: &Value| (seconds(sample) * 1000.0).round() as i64;
        times[case].push((labels, result["values"].as_array().unwrap().iter().map(millis).collect()));
    }
    Scraped { verdicts, errors, times }
}

/// Serves each text under its number, to whoever asks.
fn serve(texts: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let texts = Arc::new(texts);
    // It ends with the test.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let texts = Arc::clone(&texts);
            thread::spawn(move || answer(stream.unwrap(), &texts));
        }
    });
    address
}

fn answer(mut stream: TcpStream, texts: &[Vec<u8>]) {
    let mut head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    // A connection may be closed without having been used.
    let Some(first) = head.next() else { return };
    head.take_while(|line| !line.is_empty()).for_each(drop);
    let number = first.strip_prefix("GET /").and_then(|rest| rest.split(' ').next()).unwrap();
    let text = &texts[number.parse::<usize>().unwrap()];
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    // One that has gone is shutting down.
    drop(stream.write_all(&[head.as_bytes(), text].concat()));
}

fn start(target: &str, count: usize) -> Running {
    let program = std::env::var_os("PROMETHEUS").unwrap_or_else(|| "prometheus".into());
    let version = Command::new(&program).arg("--version").output();
    let version = version.expect("Prometheus is installed: it is the Debian package `prometheus`").stdout;
    let version = String::from_utf8(version).unwrap();
    assert!(version.contains(&format!("version {VERSION}")), "not Prometheus {VERSION}: {version}");

    let job = |name: &str, honor_timestamps| {
        let target = |case: usize| {
            let mut labels = json!({ "__metrics_path__": format!("/{case}"), CASE: case.to_string() });
            for (name, value) in OWN {
                labels[name] = value.into();
            }
            if honor_timestamps {
                labels[format!("{CASE}_timed")] = "yes".into();
            }
            json!({ "targets": [target], "labels": labels })
        };
        json!({
            "job_name": name,
            "honor_labels": true,
            "honor_timestamps": honor_timestamps,
            "scrape_interval": format!("{}s", INTERVAL.as_secs()),
            "scrape_timeout": format!("{}s", INTERVAL.as_secs()),
            "static_configs": (0..count).map(target).collect::<Vec<_>>(),
        })
    };
    let dir = TempDir::new().unwrap();
    let config = json!({ "scrape_configs": [job("plain", false), job("timed", true)] });
    let config_file = dir.path().join("prometheus.json");
    fs::write(&config_file, config.to_string()).unwrap();
    // It takes a port that is free, and its log says which one. A port that was free before may be somebody else's by now.
    let log = dir.path().join("prometheus.log");
    let server = Command::new(&program)
        .arg(format!("--config.file={}", config_file.display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg("--web.listen-address=127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut running = Running { server, address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), _dir: dir };
    let end = Instant::now() + PATIENCE;
    running.address = loop {
        let said = fs::read_to_string(&log).unwrap();
        // It may be in the middle of a line.
        if let Some(address) = said.split_inclusive('\n').find_map(listens) {
            break address;
        }
        let has_ended = running.server.try_wait().unwrap();
        assert!(has_ended.is_none() && Instant::now() < end, "Prometheus does not start: {said}");
        thread::sleep(Duration::from_millis(100));
    };
    while get(running.address, "/-/ready").is_none() {
        assert!(Instant::now() < end, "Prometheus does not start");
        thread::sleep(Duration::from_millis(100));
    }
    running
}

/// The address in a whole line of the log of Prometheus that says where it listens.
fn listens(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.strip_suffix('\n')?.split_once("msg=\"Listening on\"")?;
    let (_, address) = rest.split_once(" address=")?;
    address.split(' ').next()?.parse().ok()
}

/// The errors of the targets that have been scraped, by their number, of either job.
fn targets(address: SocketAddr) -> [BTreeMap<usize, String>; 2] {
    let mut scraped = [BTreeMap::new(), BTreeMap::new()];
    let answer = api(address, "targets?state=active");
    for target in answer["activeTargets"].as_array().unwrap() {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let error = match text(&target["health"]).as_str() {
            "up" => String::new(),
            "down" => text(&target["lastError"]),
            _ => continue,
        };
        // The machine is busy. It is scraped again.
        if error.contains("deadline exceeded") {
            continue;
        }
        let is_timed = text(&target["scrapePool"]) == "timed";
        scraped[usize::from(is_timed)].insert(text(&target["labels"][CASE]).parse().unwrap(), error);
    }
    scraped
}

/// What a query has.
fn results(address: SocketAddr, query: &str) -> Vec<Value> {
    let mut path = "query?query=".to_owned();
    for byte in query.bytes() {
        write!(path, "%{byte:02X}").unwrap();
    }
    serde_json::from_value(api(address, &path)["result"].take()).unwrap()
}

/// Of how many targets samples can be queried.
fn targets_with_samples(address: SocketAddr) -> usize {
    results(address, &format!("count by ({CASE}, {CASE}_timed) ({{{CASE}=~'.+'}})")).len()
}

/// The series that a query has, as the texts have them: their case, their labels, and the result.
fn query(address: SocketAddr, query: &str) -> Vec<(usize, BTreeMap<String, String>, Value)> {
    let mut series = Vec::new();
    for result in results(address, query) {
        let labels = serde_json::from_value(result["metric"].clone());
        let mut labels: BTreeMap<String, String> = labels.unwrap();
        let case = labels.remove(CASE).unwrap().parse().unwrap();
        labels.remove(&format!("{CASE}_timed"));
        let own = OWN.map(|(name, value)| labels.get(name).is_some_and(|found| found == value));
        for ((name, _), _) in OWN.iter().zip(own).filter(|(_, is_own)| *is_own) {
            labels.remove(*name);
        }
        let is_report =
            labels.len() == 1 && own == [true; 2] && REPORT.contains(&labels["__name__"].as_str());
        if !is_report {
            series.push((case, labels, result));
        }
    }
    series
}

fn api(address: SocketAddr, what: &str) -> Value {
    let body = get(address, &format!("/api/v1/{what}"));
    let mut answer: Value = serde_json::from_str(&body.expect("an answer of the API")).unwrap();
    answer["data"].take()
}

/// The body of what is answered, if all is well.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).unwrap();
    // In this version answers come in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split_whitespace().nth(1).is_some_and(|status| status == "200").then(|| body.to_owned())
}
