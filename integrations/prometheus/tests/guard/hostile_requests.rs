//! Requests that are made to cost much: each is refused by a limit that is named, takes little memory and time, and a good query beside
//! it has its answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::ResponseType::{Samples, StreamedXorChunks};
use losertree_prometheus::remote::proto::{LabelMatcher, Query, ReadRequest};
use prost::Message;

use crate::support::process::{
    Gateway, get, listen, message, peak_bytes, query, read, receive, request, sampled, send, streamed,
};
use crate::support::*;

const MINUTES: i64 = 130;

/// A gateway on blocks of some series, and what is in them.
pub(crate) fn served(series: usize, arguments: &[&str]) -> (tempfile::TempDir, Gateway, Answer) {
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(series), START_MS, MINUTES));
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let gateway = Gateway::start(&data, arguments);
    (dir, gateway, wanted)
}

/// A good query, which asks for everything, has all of it.
pub(crate) fn assert_answers(address: SocketAddr, wanted: &Answer) {
    let (status, body) =
        read(address, vec![query(&[("__name__", 2, ".+")], always())], StreamedXorChunks).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    assert!(streamed(&body, 1) == [wanted.clone()], "all of it");
}

/// Asks good queries while something else is done. Returns how many had their answers.
pub(crate) fn beside<T>(address: SocketAddr, wanted: &Answer, other: impl FnOnce() -> T) -> (T, usize) {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut count = 0;
            loop {
                let is_last = is_done.load(Ordering::Relaxed);
                assert_answers(address, wanted);
                count += 1;
                if is_last {
                    return count;
                }
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(other));
        is_done.store(true, Ordering::Relaxed);
        let count = asking.join().unwrap();
        (done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), count)
    })
}

fn post(address: SocketAddr, body: &[u8]) -> (u16, String) {
    let (status, body) = send(address, "POST", "/api/v1/read", &[], body).unwrap();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn compressed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

fn asks(queries: Vec<Query>) -> Vec<u8> {
    request(queries, StreamedXorChunks)
}

#[test]
fn requests_that_would_cost_much_are_refused_by_a_limit_that_is_named() {
    if !has_prometheus() {
        return;
    }
    let (_dir, gateway, wanted) = served(100, &["--budget-mib", "16"]);
    let address = gateway.address;
    let zeros = |len: usize| compressed(&vec![0; len]);
    // Names of ten letters, of which there are a million: 11 MB. And of one letter, which are shorter than the limit of a request.
    let names =
        |count: usize, name: &dyn Fn(usize) -> String| (0..count).map(name).collect::<Vec<_>>().join("|");
    let million = names(1_000_000, &|number| format!("v{number:09}"));
    let short = names(1_000_000, &|number| "abcdefghij"[number % 10..][..1].to_owned());
    let regex = |pattern: &str| asks(vec![query(&[("from", 2, pattern)], always())]);
    let empty_matcher = || LabelMatcher::default();
    let matchers = |count: usize| {
        let query = Query { matchers: vec![empty_matcher(); count], ..Query::default() };
        asks(vec![query])
    };
    let types = |count: usize| {
        let request = ReadRequest { queries: Vec::new(), accepted_response_types: vec![7; count] };
        compressed(&request.encode_to_vec())
    };
    // One that says it is short, and is long: a piece that is copied again and again.
    let mut liar = vec![10, 0, b'a'];
    for _ in 0..100_000 {
        liar.extend([0b1111_1110, 1, 0]);
    }
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("says it has 4 GiB", vec![0xff, 0xff, 0xff, 0xff, 0x0f], 413, "2097152 bytes"),
        ("has 200 MiB, compressed to 10", zeros(200 << 20), 413, "1048576 bytes"),
        ("has 20 MiB, compressed to 1", zeros(20 << 20), 413, "2097152 bytes"),
        ("says it is short and is long", liar, 400, "snappy"),
        ("is longer than a request may be", vec![1; 3 << 20], 413, "1048576 bytes"),
        ("a million values", regex(&million), 413, "bytes, which is the limit"),
        ("a million short values", regex(&short), 400, "longer than the limit, 65536 bytes"),
        (
            "a value of a megabyte",
            asks(vec![query(&[("from", 0, &"a".repeat(3 << 20))], always())]),
            413,
            "2097152 bytes",
        ),
        ("a million queries of two bytes", compressed(&[0x0a, 0].repeat(1_000_000)), 413, "2097152 bytes"),
        ("many queries", asks(vec![Query::default(); 65]), 400, "65 queries, more than the limit of 64"),
        ("half a million matchers", matchers(500_000), 413, "2097152 bytes"),
        ("many matchers", matchers(129), 400, "129 matchers in a query, more than the limit of 128"),
        ("a million types of answers", types(1_000_000), 413, "2097152 bytes"),
        ("groups in groups", compressed(&[0x0b].repeat(1_000_000)), 400, "malformed"),
        (
            "counts upon counts",
            regex("((a{1000}){1000}){1000}"),
            400,
            "4194304 bytes of memory, which is the limit",
        ),
        (
            "classes upon classes",
            regex(&r"\pL".repeat(20_000)),
            400,
            "64 classes of Unicode, which is the limit",
        ),
        ("groups upon groups", regex(&format!("{}a{}", "(".repeat(20_000), ")".repeat(20_000))), 400, "nest"),
        (
            "many that are large",
            asks((0..64).map(|_| query(&vec![("from", 2, "[a-z]{500}[0-9]{500}"); 128], always())).collect()),
            400,
            "4194304 bytes of memory, which is the limit",
        ),
    ];
    let before = peak_bytes(gateway.pid());
    let ((), count) = beside(address, &wanted, || {
        for (what, body, status, part) in &cases {
            let start = Instant::now();
            let (found, text) = post(address, body);
            assert!(found == *status && text.contains(part), "{what}: {found}: {text}");
            assert!(text.len() < 4096, "{what}: an error is short, and has {} bytes", text.len());
            assert!(start.elapsed() < Duration::from_secs(60), "{what}: {:?}", start.elapsed());
        }
        // All at once, too.
        thread::scope(|scope| {
            for _ in 0..2 {
                for (what, body, status, _) in &cases {
                    scope.spawn(move || assert_eq!(post(address, body).0, *status, "{what}"));
                }
            }
        });
    });
    assert!(count > 0);
    let peak = peak_bytes(gateway.pid());
    assert!(peak < (16 << 20) + (160 << 20), "{before} bytes before, and {peak} at most");
    gateway.assert_stops_balanced();
}

#[test]
fn heads_of_requests_that_are_too_large_are_refused() {
    if !has_prometheus() {
        return;
    }
    let (_dir, gateway, wanted) = served(50, &["--head-seconds", "2"]);
    let address = gateway.address;
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // It may be refused before all of it is sent.
        let _ = stream.write_all(head.as_bytes());
        receive(stream).map(|(status, body)| (status, String::from_utf8_lossy(&body).into_owned()))
    };
    let headers = |count: usize, value: &str| {
        let all: String = (0..count).map(|number| format!("X-{number}: {value}\r\n")).collect();
        format!("GET /-/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{all}\r\n")
    };
    let path =
        |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "a".repeat(len));
    let long = "a".repeat(1000);
    let ((), _) = beside(address, &wanted, || {
        assert_eq!(ask(&headers(40, "a")).unwrap().0, 200);
        for (what, head, status, part) in [
            ("headers", headers(80, "a"), 431, "64 headers, which is the limit"),
            ("bytes", headers(40, &long), 431, "32768 bytes, which is the limit"),
            ("a path", path(3000), 414, "2048 bytes of a path, which is the limit"),
        ] {
            let (found, text) = ask(&head).unwrap();
            assert!(found == status && text.contains(part), "{what}: {found}: {text}");
        }
        // So many that nobody looks at them: the status alone, and the log says the rest.
        for head in [headers(5000, "a"), headers(60, &"a".repeat(4000)), path(100_000)] {
            // The rest of what was sent may have the connection reset before the answer is read.
            assert!(
                ask(&head).is_err() || ask(&head).is_ok_and(|(status, _)| status == 431 || status == 414)
            );
        }
        for wrong in
            ["GET / HTTP/9.9\r\n\r\n", "nonsense\r\n\r\n", "GET /\0 HTTP/1.1\r\n\r\n", "\r\n\r\n\r\n\r\n"]
        {
            assert!(ask(wrong).is_err() || ask(wrong).is_ok_and(|(status, _)| status == 400), "{wrong:?}");
        }
        for path in [
            "/../../etc/passwd",
            "/api/v1/read/",
            "//api/v1/read",
            "/%2e%2e/metrics",
            "/metrics%00",
            "/API/V1/READ",
        ] {
            assert_eq!(get(address, path).unwrap().0, 404, "{path}");
        }
        assert_eq!(get(address, "/-/ready?a=b").unwrap().0, 200);
        // A request with two lengths, or a length and chunks, is not one that somebody before us has understood in the same way.
        for lengths in [
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "Content-Length: a\r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            let head = format!("POST /api/v1/read HTTP/1.1\r\nHost: a\r\n{lengths}\r\n12");
            assert!(ask(&head).is_err() || ask(&head).is_ok_and(|(status, _)| status == 400), "{lengths:?}");
        }
    });
    gateway.wait_for("32768 bytes or 64 headers");
    gateway.assert_stops_balanced();
}

#[test]
fn a_query_that_matches_everything_keeps_within_a_budget_of_16_mib() {
    if !has_prometheus() {
        return;
    }
    let (_dir, gateway, wanted) = served(3000, &["--budget-mib", "16"]);
    let address = gateway.address;
    // The file that has given least.
    let mut files = std::collections::BTreeMap::new();
    for from in wanted.keys().filter_map(|labels| labels.get("from")) {
        *files.entry(from.into_owned()).or_insert(0) += 1;
    }
    let (few, _) = files.into_iter().min_by_key(|(_, count)| *count).unwrap();
    let some: Answer = wanted
        .iter()
        .filter(|(labels, _)| labels.get("from").is_some_and(|from| *from == *few))
        .map(|(labels, samples)| (labels.clone(), samples.clone()))
        .collect();
    assert!(some.len() < wanted.len() / 2);
    let everything = [("__name__", 3, ""), ("nothing", 3, ".+"), ("from", 2, ".*")];
    thread::scope(|scope| {
        for number in 0..24 {
            let wanted = &wanted;
            scope.spawn(move || {
                let kind = if number % 2 == 0 { Samples } else { StreamedXorChunks };
                // Several times in one request: a longer answer than the budget.
                let queries = vec![query(&everything, Interval::new(0, START_MS * 2)); 3];
                match read(address, queries, kind) {
                    Ok((200, body)) => {
                        let answers = if kind == Samples { sampled(&body) } else { streamed(&body, 3) };
                        assert!(answers.iter().all(|answer| answer == wanted), "all of it");
                    }
                    // One message does not fit, beside others or at all.
                    Ok((status @ (413 | 503), body)) => {
                        let text = String::from_utf8_lossy(&body);
                        assert!(kind == Samples && text.contains("budget"), "{status}: {text}");
                    }
                    other => panic!("{:?}", other.map(|(status, _)| status)),
                }
            });
        }
        // And who asks for a little has it, meanwhile.
        for _ in 0..10 {
            let little = vec![query(&[("from", 0, &few)], always())];
            let (status, body) = read(address, little, StreamedXorChunks).unwrap();
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            assert!(streamed(&body, 1) == [some.clone()]);
        }
    });
    // The budget, headers of blocks, the program, and what is on its way to the sockets.
    let peak = peak_bytes(gateway.pid());
    assert!(peak < (16 << 20) + (64 << 20), "{peak} bytes");
    gateway.assert_stops_balanced();
}

/// Requests of which a byte is missing: what has come of them is in memory.
#[test]
fn requests_that_never_end_take_no_more_memory_than_they_may() {
    if !has_prometheus() {
        return;
    }
    // None is broken off because it takes too long.
    let arguments = ["--max-receiving-mib", "4", "--body-seconds", "600", "--budget-mib", "16"];
    let (_dir, gateway, wanted) = served(50, &arguments);
    let address = gateway.address;
    let whole = message("POST", "/api/v1/read", &[], &vec![7; 900 << 10]);
    let before = peak_bytes(gateway.pid());
    let (streams, count) = beside(address, &wanted, || {
        (0..60)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
                // One that was broken off does not take all of it.
                let _ = stream.write_all(&whole[..whole.len() - 1]);
                stream
            })
            .collect::<Vec<_>>()
    });
    assert!(count > 0);
    let start = Instant::now();
    assert_answers(address, &wanted);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let is_broken_off = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let read = stream.read(&mut [0]);
        !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    // What was sent may still be on its way: sockets have room for it.
    loop {
        let broken_off = streams.iter().filter(|stream| is_broken_off(stream)).count();
        if broken_off >= 50 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{broken_off}");
        thread::sleep(Duration::from_millis(20));
    }
    gateway.wait_for("requests take 4194304 bytes, which is the limit");
    let grown = peak_bytes(gateway.pid()) - before;
    assert!(grown < 40 << 20, "{grown} bytes more");
    drop(streams);
    gateway.assert_stops_balanced();
}

/// An expression that is linear in time, and takes it: some thousand steps for each byte of each value.
#[test]
fn an_expression_that_takes_its_time_with_each_value_ends_with_its_query() {
    const VALUES: usize = 4_000;
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::new();
    // No two places look alike, so that the engine cannot remember what it has seen.
    let mut state = 1u64;
    for number in 0..VALUES {
        let bits = (0..1_500).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if state >> 63 == 0 { 'a' } else { 'b' }
        });
        let value: String = bits.collect();
        text += &format!("a{{b=\"{value}{number}\"}} 1 {}\n", START_MS / 1000);
    }
    text += &format!("c 1 {}\n# EOF\n", START_MS / 1000);
    let data = make_blocks(dir.path(), &text);
    let gateway = Gateway::start(&data, &["--query-seconds", "2", "--concurrency", "2"]);
    let pattern = [700, 800, 900, 1000].map(|count| format!(".*a[ab]{{{count}}}[^ab0-9].*")).join("|");
    // Where the engine has to give up remembering, it has room for each group in each state: gigabytes, if groups were wanted.
    let pattern = format!("(?:{pattern}){}", "(x)?".repeat(4_000));
    let slow = asks(vec![query(&[("b", 2, &pattern)], always())]);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (status, text) = post(gateway.address, &slow);
                assert!(status == 504 && text.contains("2s, which is the limit"), "{status}: {text}");
            });
        }
        thread::sleep(Duration::from_millis(200));
        // Two have their turns, and two wait for theirs.
        let little = vec![query(&[("__name__", 0, "c")], always())];
        let (status, body) = read(gateway.address, little, StreamedXorChunks).unwrap();
        assert_eq!((status, streamed(&body, 1)[0].len()), (200, 1));
    });
    let peak = peak_bytes(gateway.pid());
    assert!(peak < 192 << 20, "{peak} bytes");
    gateway.assert_stops_balanced();
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
}

#[test]
fn every_bound_is_in_the_table_with_its_default() {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_losertree-gateway")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/limits.md")).unwrap();
    // Options that bound something are of a number with a unit.
    let units = ["<NUMBER>", "<BYTES>", "<KIB>", "<MIB>", "<GIB>", "<SECONDS>"];
    let mut option = None;
    let mut count = 0;
    for line in help.lines().map(str::trim) {
        if let Some((name, _)) = line.strip_prefix("--").and_then(|rest| rest.split_once(' ')) {
            option = units.iter().any(|unit| line.ends_with(unit)).then(|| format!("`--{name}`"));
        }
        let default = line.split_once("[default: ").and_then(|(_, rest)| rest.split_once(']'));
        let (Some(name), Some((default, _))) = (&option, default) else { continue };
        count += 1;
        if name == "`--sync-seconds`" {
            // How often something is done, and no bound.
            continue;
        }
        let row = page.lines().find(|line| line.starts_with(&format!("| {name} |")));
        let cell = row.unwrap_or_else(|| panic!("{name} is in the table")).split('|').nth(2).unwrap();
        let number: String = cell.chars().filter(char::is_ascii_digit).collect();
        assert_eq!(number, default, "{name}: {cell}");
    }
    assert!(count > 20, "{help}");
}

/// A server that sends what it is told to, to whoever comes.
fn server(answer: Vec<u8>) -> String {
    let address = listen(move |_, client| {
        let _ = client.write_all(&answer);
    });
    format!("http://{address}")
}

#[test]
fn answers_of_servers_that_would_cost_much_are_refused_by_a_limit_that_is_named() {
    if !has_prometheus() {
        return;
    }
    let streamed_answer = |message: &[u8]| {
        let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-streamed-protobuf\r\n\r\n".to_vec();
        prost::encode_length_delimiter(message.len(), &mut answer).unwrap();
        answer.extend(crc32c::crc32c(message).to_be_bytes());
        answer.extend(message);
        answer
    };
    let answer_of = |body: &[u8]| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n";
        [head.as_bytes(), body].concat()
    };
    let in_field = |field: u8, message: &[u8]| {
        let mut outer = vec![field << 3 | 2];
        prost::encode_length_delimiter(message.len(), &mut outer).unwrap();
        outer.extend(message);
        outer
    };
    let empty = |count: usize| [0x0a, 0].repeat(count);
    let cases = [
        (
            "millions of series in a frame",
            streamed_answer(&empty(4 << 20)),
            "a frame, decoded, has more than 67108864",
        ),
        (
            "millions of labels in a frame",
            streamed_answer(&in_field(1, &empty(4 << 20))),
            "a frame, decoded, has more than",
        ),
        ("a frame of no message", streamed_answer(&[0x0b]), "malformed"),
        (
            "millions of series",
            answer_of(&compressed(&in_field(1, &empty(4 << 20)))),
            "an answer, decoded, has more than",
        ),
        ("says it has 4 GiB", answer_of(&[0xff, 0xff, 0xff, 0xff, 0x0f]), "an answer has more than 67108864"),
        (
            "zeros without end",
            answer_of(&compressed(&vec![0; 100 << 20])),
            "an answer has more than 67108864",
        ),
    ];
    for (what, answer, part) in cases {
        let (_dir, gateway, wanted) = served(20, &["--store", &server(answer), "--partial-response", "warn"]);
        let all = vec![query(&[("__name__", 2, ".+")], Interval::new(0, START_MS * 2))];
        let (status, body) = read(gateway.address, all, Samples).unwrap();
        assert_eq!(status, 200, "{what}: {}", String::from_utf8_lossy(&body));
        assert!(sampled(&body) == [wanted], "{what}: all that the blocks have");
        gateway.wait_for(part);
        let peak = peak_bytes(gateway.pid());
        assert!(peak < 160 << 20, "{what}: {peak} bytes");
        gateway.assert_stops_balanced();
    }
}
