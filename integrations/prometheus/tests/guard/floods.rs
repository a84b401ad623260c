//! Clients of which there are many, or that take their time. Good queries beside them have their answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::ResponseType::StreamedXorChunks;

use crate::hostile_requests::{assert_answers, beside, served};
use crate::support::process::{Gateway, begin, get, message, peak_bytes, query, receive, request, streamed};
use crate::support::*;

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    stream
}

/// How many of them are closed.
fn closed(streams: &[TcpStream]) -> usize {
    let is_closed = |mut stream: &TcpStream| match stream.read(&mut [0; 512]) {
        Ok(len) => len == 0,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    };
    streams.iter().filter(|stream| is_closed(stream)).count()
}

fn metric(address: SocketAddr, name: &str) -> u64 {
    let text = String::from_utf8(get(address, "/metrics").unwrap().1).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |value| value.trim().parse().unwrap())
}

/// Sends a message from 127.0.0.2.
pub(crate) fn from_another_address(to: SocketAddr, message: &[u8]) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(150))).unwrap();
    (&stream).write_all(message).unwrap();
    stream
}

/// There may be many clients in this process.
fn allow_many_files() {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    assert!(files >= 2_500, "these tests need some thousand open files, and the system allows {files}");
}

const CLOSED: &str = "losertree_gateway_connections_closed_total";

#[test]
fn a_thousand_clients_that_connect_and_say_nothing_keep_nobody_out() {
    const CLIENTS: usize = 1000;
    if !has_prometheus() {
        return;
    }
    allow_many_files();
    // With room for all of them, and with room for a few.
    for (limit, least) in [("1200", 0), ("100", CLIENTS - 110)] {
        // None of them is closed because it was silent for too long, however long this takes.
        let arguments = ["--max-connections", limit, "--budget-mib", "16", "--head-seconds", "600"];
        let (_dir, gateway, wanted) = served(100, &arguments);
        let address = gateway.address;
        let (silent, count) =
            beside(address, &wanted, || (0..CLIENTS).map(|_| connect(address)).collect::<Vec<_>>());
        assert!(count > 0);
        let start = Instant::now();
        assert_answers(address, &wanted);
        // Not after the ten minutes that they may be silent.
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
        // All have come before that query. The last that have to go for them may be told so just now.
        while closed(&silent) < least {
            assert!(start.elapsed() < Duration::from_secs(120), "{} of {CLIENTS}", closed(&silent));
            thread::sleep(Duration::from_millis(20));
        }
        let closed_now = closed(&silent);
        assert!(closed_now >= least && closed_now <= least + 100, "{closed_now} of {CLIENTS} with {limit}");
        if least > 0 {
            gateway.wait_for("100 are open, which is the limit");
            let counted = metric(address, &format!("{CLOSED}{{reason=\"connections\"}}"));
            assert!(counted >= least as u64, "{counted}");
        }
        let peak = peak_bytes(gateway.pid());
        assert!(peak < 96 << 20, "{peak} bytes");
        drop(silent);
        gateway.assert_stops_balanced();
    }
}

#[test]
fn clients_that_are_silent_too_long_are_closed_by_the_limit_of_time() {
    if !has_prometheus() {
        return;
    }
    let (_dir, gateway, wanted) = served(50, &["--head-seconds", "2"]);
    let address = gateway.address;
    let silent: Vec<_> = (0..50).map(|_| connect(address)).collect();
    // Some of them say a part of what there is to say.
    for stream in silent.iter().step_by(2) {
        (&*stream).write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
    }
    assert_answers(address, &wanted);
    let start = Instant::now();
    while closed(&silent) < 50 {
        assert!(start.elapsed() < Duration::from_secs(60), "{} are closed", closed(&silent));
        thread::sleep(Duration::from_millis(100));
    }
    assert_answers(address, &wanted);
    gateway.wait_for("the head of a request did not come within 2s, which is the limit");
    gateway.assert_stops_balanced();
}

#[test]
fn two_hundred_that_read_a_byte_a_second_keep_nobody_from_an_answer() {
    const CLIENTS: usize = 200;
    if !has_prometheus() {
        return;
    }
    let arguments = ["--concurrency", "16", "--budget-mib", "16", "--patience-seconds", "600"];
    let stalls = ["--stall-seconds", "60", "--busy-stall-seconds", "1"];
    let (_dir, gateway, wanted) = served(1000, &[&arguments[..], &stalls].concat());
    let address = gateway.address;
    // More than sockets have room for.
    let all = || query(&[("__name__", 2, ".+")], always());
    let request = request(vec![all(); 64], StreamedXorChunks);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let slow: Vec<_> =
            (0..CLIENTS).map(|_| begin(address, "POST", "/api/v1/read", &[], &request).unwrap()).collect();
        let reading = scope.spawn(|| {
            let slow = slow;
            while !stop.load(Ordering::Relaxed) {
                for mut stream in &slow {
                    stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                    let _ = stream.read(&mut [0]);
                }
                thread::sleep(Duration::from_secs(1));
            }
            slow
        });
        thread::sleep(Duration::from_millis(500));
        // It waits behind as many as there are turns for in a second. Alone, they would have a minute each: more than twelve
        // minutes together.
        let start = Instant::now();
        for _ in 0..3 {
            assert_answers(address, &wanted);
        }
        let time = start.elapsed();
        assert!(time < Duration::from_secs(600), "{time:?}");
        drop(stopping);
        drop(reading.join().unwrap());
    });
    gateway.wait_for("bytes of its answer within 1s, less than 65536");
    assert!(metric(address, &format!("{CLOSED}{{reason=\"stall_time\"}}")) > 0);
    gateway.assert_stops_balanced();
}

#[test]
fn two_hundred_that_write_a_byte_now_and_then_keep_nobody_out() {
    const CLIENTS: usize = 200;
    if !has_prometheus() {
        return;
    }
    let arguments = ["--max-connections", "50", "--head-seconds", "600", "--body-seconds", "3"];
    let (_dir, gateway, wanted) = served(100, &arguments);
    let address = gateway.address;
    let body = request(vec![query(&[], Interval::new(0, 1))], StreamedXorChunks);
    let whole = message("POST", "/api/v1/read", &[], &body);
    let head = whole.len() - body.len();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        scope.spawn(|| {
            // One half is slow with the head, and the other one with the body.
            let slow: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let stream = connect(address);
                    let sent = if number % 2 == 0 { 1 } else { head };
                    let _ = (&stream).write_all(&whole[..sent]);
                    (stream, sent)
                })
                .collect();
            for more in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                for (stream, sent) in &slow {
                    let at = (sent + more).min(whole.len() - 2);
                    let mut stream = stream;
                    let _ = stream.write_all(&whole[at..=at]);
                }
                thread::sleep(Duration::from_millis(500));
            }
        });
        thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        // Some bodies are waited for until their time is over.
        let is_408 = || metric(address, "losertree_gateway_requests_total{code=\"408\"}") > 0;
        while start.elapsed() < Duration::from_secs(6) || !is_408() {
            assert!(start.elapsed() < Duration::from_secs(120), "no body was given up");
            let start = Instant::now();
            assert_answers(address, &wanted);
            // Not after the ten minutes that a head may take.
            assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
            thread::sleep(Duration::from_millis(100));
        }
        drop(stopping);
    });
    gateway.assert_stops_balanced();
}

#[test]
fn a_flood_of_connections_that_come_and_go_costs_nobody_an_answer() {
    if !has_prometheus() {
        return;
    }
    let (_dir, gateway, wanted) = served(100, &["--max-connections", "40"]);
    let address = gateway.address;
    let start = Instant::now();
    let (count, answers) = beside(address, &wanted, || {
        let mut count = 0;
        while start.elapsed() < Duration::from_secs(4) {
            // Some in order, some reset, some with garbage.
            let mut stream = connect(address);
            if count % 3 == 0 {
                let _ = stream.write_all(b"\x16\x03\x01\x02\x00garbage\r\n\r\n");
            }
            count += 1;
        }
        count
    });
    assert!(count > 100 && answers > 0, "{count} connections, {answers} answers");
    assert_eq!(metric(address, "losertree_gateway_blocks_held"), 0);
    gateway.assert_stops_balanced();
}

#[test]
fn a_flood_beyond_the_files_that_the_system_allows_keeps_nobody_out() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(50), START_MS, 130));
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let gateway = Gateway::start_by(
        &["sh", "-c", "ulimit -n 128; exec \"$0\" \"$@\""],
        &data,
        &["--sync-seconds", "1"],
    );
    let address = gateway.address;
    gateway.wait_for("not more than 96 connections");
    let (silent, _) = beside(address, &wanted, || (0..300).map(|_| connect(address)).collect::<Vec<_>>());
    assert_answers(address, &wanted);
    thread::sleep(Duration::from_millis(1_500));
    let log = gateway.log().join("\n");
    assert!(!log.contains("too many") && !log.contains("Too many open files"), "{log}");
    drop(silent);
    gateway.assert_stops_balanced();
}

#[test]
fn those_that_ask_for_everything_again_and_again_leave_room_for_others() {
    const CLIENTS: usize = 150;
    if !has_prometheus() {
        return;
    }
    allow_many_files();
    let arguments =
        ["--concurrency", "2", "--max-waiting", "30", "--max-connections", "60", "--budget-mib", "16"];
    let (_dir, gateway, wanted) = served(1000, &arguments);
    let address = gateway.address;
    let all = || query(&[("__name__", 2, ".+")], always());
    let stop = AtomicBool::new(false);
    let crowded = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let all = vec![all(); 4];
                    if let Ok((503, body)) = process::read(address, all, StreamedXorChunks) {
                        let text = String::from_utf8_lossy(&body);
                        assert!(text.contains("30 requests of this address wait for their turn"), "{text}");
                        crowded.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(100));
                    }
                }
            });
        }
        thread::sleep(Duration::from_secs(1));
        let asked = message("POST", "/api/v1/read", &[], &request(vec![all()], StreamedXorChunks));
        for _ in 0..3 {
            let start = Instant::now();
            let (status, body) = receive(from_another_address(address, &asked)).unwrap();
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            assert!(streamed(&body, 1) == [wanted.clone()], "all of it");
            assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
        }
        drop(stopping);
    });
    assert!(crowded.load(Ordering::Relaxed) > 0);
    gateway.assert_stops_balanced();
}
