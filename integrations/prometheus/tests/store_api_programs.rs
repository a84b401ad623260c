//! The StoreAPI between programs: a client and a server in Python, several gateways, and a real Prometheus on top.

#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Read;
use std::path::Path;

use losertree::Labels;
use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::ResponseType::{Samples, StreamedXorChunks};
use serde_json::{Value, json};
use support::process::{Gateway, Prometheus, begin, copy_dir, query, read, request, sampled, streamed};
use support::python::{Client, Server};
use support::*;

const MINUTES: i64 = 200;

fn range() -> Interval {
    Interval::new(0, START_MS * 2)
}

/// A gateway for each of two blocks, which serve the StoreAPI.
fn halves(dir: &Path, data: &Path) -> [Gateway; 2] {
    let dirs = block_dirs(data);
    assert_eq!(dirs.len(), 2);
    [0, 1].map(|half| {
        let served = dir.join(format!("half-{half}"));
        fs::create_dir(&served).unwrap();
        copy_dir(&dirs[half], &served.join(dirs[half].file_name().unwrap()));
        Gateway::start(&served, &["--grpc-listen", "127.0.0.1:0"])
    })
}

/// A gateway over two others.
fn over(halves: &[Gateway; 2], arguments: &[&str]) -> Gateway {
    let urls = halves.each_ref().map(Gateway::store_api_url);
    let stores = ["--store-api", &urls[0], "--store-api", &urls[1], "--grpc-listen", "127.0.0.1:0"];
    Gateway::start_with(&[&stores, arguments].concat())
}

fn bytes_of(base64: &str) -> Vec<u8> {
    let mut bits = 0_u32;
    let mut count = 0;
    let mut bytes = Vec::new();
    for byte in base64.bytes().take_while(|byte| *byte != b'=') {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

/// The samples of an answer that the client in Python has received. Checks the order of series and chunks.
fn answer_of(got: &Value) -> Answer {
    assert!(got["code"].is_null(), "{got}");
    let mut answer = Answer::new();
    let mut last: Option<Labels> = None;
    for series in got["series"].as_array().unwrap() {
        let pairs = series["labels"].as_array().unwrap();
        let pairs = pairs.iter().map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()));
        let pairs: Vec<_> = pairs.collect();
        assert!(pairs.is_sorted_by(|one, next| one.0 < next.0), "{pairs:?}");
        let labels = Labels::from_pairs(pairs).unwrap();
        assert!(last.as_ref().is_none_or(|last| *last <= labels), "{labels} is sorted");
        let all = answer.entry(labels.clone()).or_default();
        for chunk in series["chunks"].as_array().unwrap() {
            assert_eq!(chunk["type"], 0);
            let data = bytes_of(chunk["data"].as_str().unwrap());
            let samples = samples(&[&[1], &data[..]].concat());
            assert_eq!(samples.first().map(|sample| sample.time_ms), chunk["min"].as_i64());
            all.extend(samples.iter().map(|sample| (sample.time_ms, bits(sample.value))));
        }
        last = Some(labels);
    }
    answer
}

#[test]
fn a_client_in_python_gets_what_remote_read_gives() {
    let Some(mut client) = Client::start() else { return };
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(1000), START_MS, MINUTES));
    let gateway = Gateway::start(&data, &["--grpc-listen", "127.0.0.1:0", "--external-label", "cluster=eu"]);
    let address = gateway.store_api.unwrap().to_string();
    let some = Interval::new(START_MS + 7 * MINUTE_MS, START_MS + 150 * MINUTE_MS + 1);
    for (matchers, range) in [
        (&[("__name__", 2, ".+")][..], range()),
        (&[("from", 0, "prometheus"), ("le", 1, "")], some),
        (&[("cluster", 0, "eu"), ("__name__", 3, "go_.*")], some),
        (&[("cluster", 0, "us")], range()),
    ] {
        let got = client.ask(&json!({
            "address": address, "method": "Series", "min_time": range.min_ms, "max_time": range.max_ms,
            "matchers": matchers, "partial_response_disabled": true,
        }));
        let (status, body) = read(gateway.address, vec![query(matchers, range)], StreamedXorChunks).unwrap();
        assert_eq!(status, 200);
        assert!(answer_of(&got) == streamed(&body, 1).remove(0), "{matchers:?}");
    }
    let all = client.ask(&json!({
        "address": address, "method": "Series", "min_time": 0, "max_time": START_MS * 2, "skip_chunks": true,
        "matchers": [["__name__", 2, ".+"]],
    }));
    let all: Vec<Labels> = answer_of(&all).into_keys().collect();
    assert!(all.len() > 900);
    let values = |name: &str| -> Vec<String> {
        let values = all.iter().filter_map(|labels| labels.get(name).map(std::borrow::Cow::into_owned));
        values.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    };
    let got = client.ask(&json!({
        "address": address, "method": "LabelValues", "label": "le", "start": 0, "end": START_MS * 2,
    }));
    assert_eq!(got, json!({"values": values("le"), "warnings": []}));
    let got = client.ask(&json!({
        "address": address, "method": "LabelNames", "start": 0, "end": START_MS * 2,
        "matchers": [["__name__", 0, "go_goroutines"]],
    }));
    assert!(got["names"].as_array().unwrap().contains(&"cluster".into()), "{got}");
    let got = client.ask(&json!({"address": address, "method": "Info"}));
    assert_eq!(got["sets"], json!([{"cluster": "eu"}]));
    assert_eq!(
        (&got["type"], &got["sharding"], &got["without"]),
        (&json!("store"), &json!(true), &json!(true))
    );
    // What cannot be done has a status that says so.
    let got = client.ask(&json!({"address": address, "method": "Series", "hints": {}}));
    assert_eq!(got["code"], "UNIMPLEMENTED", "{got}");
    let got = client.ask(&json!({"address": address, "method": "Series", "matchers": [["a", 2, "("]]}));
    assert_eq!(got["code"], "INVALID_ARGUMENT", "{got}");
    gateway.assert_stops_balanced();
}

#[test]
fn a_client_in_python_that_cancels_leaves_nothing_open_at_any_level() {
    let Some(mut client) = Client::start() else { return };
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(1000), START_MS, MINUTES));
    let lower = halves(dir.path(), &data);
    let upper = over(&lower, &[]);
    let address = upper.store_api.unwrap().to_string();
    let ask = |client: &mut Client, cancel_after: Value| {
        client.ask(&json!({
            "address": address, "method": "Series", "min_time": 0, "max_time": START_MS * 2,
            "matchers": [["__name__", 2, ".+"]], "partial_response_disabled": true, "cancel_after": cancel_after,
        }))
    };
    for messages in 1..=20 {
        let got = ask(&mut client, messages.into());
        assert_eq!(got["series"].as_array().unwrap().len(), messages, "{got}");
        for gateway in [&upper, &lower[0], &lower[1]] {
            gateway.assert_nothing_open();
        }
    }
    assert!(answer_of(&ask(&mut client, Value::Null)) == dump(&data, "{__name__=~'.+'}", always()));
    upper.assert_stops_balanced();
    lower.into_iter().for_each(Gateway::assert_stops_balanced);
}

#[test]
fn a_server_in_python_that_misbehaves_fails_a_query_or_is_left_out() {
    let Some(mut client) = Client::start() else { return };
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(200), START_MS, MINUTES));
    let dumped = dump(&data, "{__name__=~'.+'}", always());
    let good = Server::start("good").unwrap();
    let all = || vec![query(&[("__name__", 2, ".+")], range())];
    for (mode, part) in [
        ("good", ""),
        ("hangs", "timeout"),
        ("hangs-later", "timeout"),
        ("order", "comes before"),
        ("encoding", "encoding 9"),
        ("garbage", "cannot be decoded"),
        ("fails", "INTERNAL: it is all broken"),
        ("raises", "UNKNOWN: "),
        ("warns", "a disk is missing"),
        ("closes", "connection"),
    ] {
        let server = Server::start(mode).unwrap();
        let seconds = if part == "timeout" { "2" } else { "30" };
        let stores = ["--store-api", &good.url, "--store-api", &server.url, "--store-seconds", seconds];
        let arguments = [&stores[..], &["--grpc-listen", "127.0.0.1:0"]].concat();
        let gateway = Gateway::start(&data, &arguments);
        let address = gateway.store_api.unwrap().to_string();
        let mut ask = |aborts: bool| {
            client.ask(&json!({
                "address": address, "method": "Series", "min_time": 0, "max_time": START_MS * 2,
                "matchers": [["__name__", 2, ".+"]], "partial_response_disabled": aborts,
            }))
        };
        let has_all = |answer: &Answer| {
            let has_good = ["python_a", "python_b"].iter().all(|name| {
                answer.keys().any(|labels| labels.get("__name__").is_some_and(|found| found == *name))
            });
            has_good && dumped.iter().all(|(labels, samples)| answer.get(labels) == Some(samples))
        };
        let got = ask(true);
        let (status, body) = read(gateway.address, all(), Samples).unwrap();
        if part.is_empty() {
            assert!(has_all(&answer_of(&got)));
            assert!(status == 200 && has_all(&sampled(&body)[0]));
            gateway.assert_stops_balanced();
            continue;
        }
        // By gRPC and by remote read, with the server and what is wrong with it.
        let text = got["text"].as_str().unwrap_or_default();
        assert_eq!(got["code"], "ABORTED", "{mode}: {got}");
        assert!(text.contains(part) && text.contains(&server.url), "{mode}: {text}");
        let text = String::from_utf8_lossy(&body);
        assert!(status == 500 && text.contains(part) && text.contains(&server.url), "{mode}: {text}");
        // Or a warning, and all that the others have.
        let got = ask(false);
        assert!(has_all(&answer_of(&got)), "{mode}");
        let warnings = got["warnings"].as_array().unwrap();
        let text = warnings.first().and_then(Value::as_str).unwrap_or_default();
        assert!(
            warnings.len() == 1 && text.contains(part) && text.contains(&server.url),
            "{mode}: {warnings:?}"
        );
        gateway.assert_nothing_open();
        gateway.assert_stops_balanced();
        let gateway = Gateway::start(&data, &[&stores[..], &["--partial-response", "warn"]].concat());
        let (status, body) = read(gateway.address, all(), Samples).unwrap();
        assert!(status == 200 && has_all(&sampled(&body)[0]), "{mode}: {}", String::from_utf8_lossy(&body));
        gateway.assert_logs(mode, &["partial", part, &server.url]);
        gateway.assert_stops_balanced();
    }
}

#[test]
fn an_answer_without_end_does_not_harm_who_asks() {
    if Client::start().is_none() {
        return;
    }
    let all = || vec![query(&[("__name__", 2, ".+")], range())];
    let good = Server::start("good").unwrap();
    let endless = Server::start("endless").unwrap();
    let arguments = ["--store-api", &good.url, "--store-api", &endless.url, "--max-series", "2000"];
    // It fails by no strategy, and so there is nothing to be left out.
    for strategy in ["warn", "abort"] {
        let gateway = Gateway::start_with(&[&arguments[..], &["--partial-response", strategy]].concat());
        let (status, body) = read(gateway.address, all(), Samples).unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(status == 413 && text.contains("2000 series"), "{strategy}: {status}: {text}");
        gateway.assert_nothing_open();
        gateway.assert_stops_balanced();
    }
    let gateway = Gateway::start_with(&arguments);
    // A client that goes away is enough, too.
    drop(begin(gateway.address, "POST", "/api/v1/read", &[], &request(all(), StreamedXorChunks)).unwrap());
    gateway.assert_nothing_open();
    gateway.assert_stops_balanced();
}

#[test]
fn promql_through_gateways_of_gateways_gives_the_same_answers() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(2000), START_MS, MINUTES));
    let lower = halves(dir.path(), &data);
    let upper = over(&lower, &[]);
    let first = Prometheus::start(&copy_dir(&data, &dir.path().join("one")), None);
    fs::create_dir(dir.path().join("empty")).unwrap();
    let second = Prometheus::start(&dir.path().join("empty"), Some(upper.address));
    promql::assert_same(&first, &second, MINUTES);
    drop(second);
    for gateway in [&upper, &lower[0], &lower[1]] {
        gateway.assert_nothing_open();
    }
    upper.assert_stops_balanced();
    lower.into_iter().for_each(Gateway::assert_stops_balanced);
}

#[test]
fn a_gateway_that_is_killed_half_way_is_an_error_or_a_warning() {
    const QUERIES: usize = 64;
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(2000), START_MS, MINUTES));
    let mut lower = halves(dir.path(), &data);
    let killed = lower[1].store_api_url();
    let aborting = over(&lower, &[]);
    let warning = over(&lower, &["--partial-response", "warn"]);
    let all = || query(&[("__name__", 2, ".+")], range());
    let (len, wanted) = {
        let (_, body) = read(warning.address, vec![all()], StreamedXorChunks).unwrap();
        (body.len(), streamed(&body, 1).remove(0))
    };
    let left = {
        let (_, body) = read(lower[0].address, vec![all()], StreamedXorChunks).unwrap();
        streamed(&body, 1).remove(0)
    };
    assert!(wanted.len() > 1900 && left != wanted);
    // More than sockets have room for: it is under way when one of the two is killed.
    let many = request((0..QUERIES).map(|_| all()).collect(), StreamedXorChunks);
    let started = [&aborting, &warning].map(|gateway| {
        let mut stream = begin(gateway.address, "POST", "/api/v1/read", &[], &many).unwrap();
        // The first answer and the beginning of the next.
        let mut first = vec![0; len * 3 / 2];
        stream.read_exact(&mut first).unwrap();
        std::io::Cursor::new(first).chain(stream)
    });
    lower[1].kill();
    let mut answers = started.into_iter().map(|mut whole| process::receive(&mut whole));
    let broken = answers.next().unwrap();
    assert!(broken.is_err(), "an answer that is not whole is broken off");
    let (status, body) = answers.next().unwrap().unwrap();
    assert_eq!(status, 200);
    let answers = streamed(&body, QUERIES);
    let has_left = |answer: &Answer| {
        left.iter().all(|(labels, samples)| {
            answer
                .get(labels)
                .is_some_and(|all| samples.iter().all(|sample| all.binary_search(sample).is_ok()))
        })
    };
    assert!(answers.iter().all(has_left), "what the other one has is in each");
    assert!(answers[0] == wanted, "the first one was whole before");
    assert!(answers[QUERIES - 1] == left, "the last one has nothing but that");
    warning.assert_logs("one was killed", &["partial", &killed]);
    // New queries are refused with its name, or are partial.
    let (status, body) = read(aborting.address, vec![all()], Samples).unwrap();
    let text = String::from_utf8_lossy(&body);
    assert!(status == 500 && text.contains(&killed), "{status}: {text}");
    let (status, body) = read(warning.address, vec![all()], Samples).unwrap();
    assert!(status == 200 && sampled(&body) == [left]);
    // And PromQL is what the strategy says: Prometheus tells who asks that an answer of another server is missing.
    fs::create_dir(dir.path().join("empty")).unwrap();
    let text = process::escape("count by (from) ({__name__=~'.+'})");
    let path = format!("/api/v1/query?query={text}&time={}", (START_MS + 60 * MINUTE_MS) / 1000);
    let [aborted, partial, one] = [&aborting, &warning, &lower[0]].map(|gateway| {
        let prometheus = Prometheus::start(&dir.path().join("empty"), Some(gateway.address));
        let (status, body) = process::get(prometheus.address, &path).unwrap();
        assert_eq!(status, 200);
        serde_json::from_slice::<Value>(&body).unwrap()
    });
    assert!(aborted["warnings"].to_string().contains(&killed), "{aborted}");
    assert_eq!(aborted["data"]["result"], json!([]));
    assert!(partial["warnings"].is_null(), "{partial}");
    assert_eq!(partial["data"], one["data"]);
    assert!(one["data"]["result"].as_array().is_some_and(|result| result.len() > 3), "{one}");
    for gateway in [&aborting, &warning, &lower[0]] {
        gateway.assert_nothing_open();
    }
    aborting.assert_stops_balanced();
    warning.assert_stops_balanced();
    let [left, _] = lower;
    left.assert_stops_balanced();
}

#[test]
fn two_hundred_calls_at_once_are_answered_within_the_budget() {
    const CALLS: usize = 200;
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(200), START_MS, MINUTES));
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let arguments = ["--grpc-listen", "127.0.0.1:0", "--budget-mib", "8"];
    let lower = Gateway::start(&data, &arguments);
    let upper = Gateway::start_with(&[&["--store-api", &lower.store_api_url()], &arguments[..]].concat());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let asked = grpc::request(&[("__name__", 2, ".+")], range());
    for gateway in [&lower, &upper] {
        let address = gateway.store_api.unwrap();
        runtime.block_on(async {
            let calls = (0..CALLS).map(|_| tokio::spawn(grpc::ask(address, asked.clone())));
            for call in calls.collect::<Vec<_>>() {
                assert!(call.await.unwrap().answer() == wanted);
            }
        });
        gateway.assert_nothing_open();
        // The budget, the program, and what connections have in their buffers.
        let peak = process::peak_bytes(gateway.pid());
        assert!(peak < 64 << 20, "{peak} bytes");
    }
    upper.assert_stops_balanced();
    lower.assert_stops_balanced();
}

#[test]
fn a_gateway_that_is_stopped_ends_calls_in_its_grace_time() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(1000), START_MS, MINUTES));
    let lower = Gateway::start(&data, &["--grpc-listen", "127.0.0.1:0", "--grace-seconds", "2"]);
    let upper = Gateway::start_with(&["--store-api", &lower.store_api_url()]);
    let all = || query(&[("__name__", 2, ".+")], range());
    let many = request((0..64).map(|_| all()).collect(), StreamedXorChunks);
    // Nobody reads these further, so the calls below wait.
    let streams: Vec<_> = (0..4)
        .map(|_| {
            let mut stream = begin(upper.address, "POST", "/api/v1/read", &[], &many).unwrap();
            let mut first = [0; 12];
            stream.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            std::io::Cursor::new(first).chain(stream)
        })
        .collect();
    lower.assert_stops_balanced();
    for mut stream in streams {
        assert!(process::receive(&mut stream).is_err(), "an answer that is not whole is broken off");
    }
    upper.assert_stops_balanced();
}
