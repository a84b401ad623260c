//! The program, asked as a client asks it, and by a real Prometheus.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::format_push_string)]

mod support;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use losertree_prometheus::block::Interval;
use losertree_prometheus::remote::proto::ResponseType::{Samples, StreamedXorChunks};
use support::process::{
    Gateway, Prometheus, begin, copy_dir, get, query, read, request, sampled, send, streamed,
};
use support::*;

const MINUTES: i64 = 200;

fn blocks(dir: &Path, series: usize) -> std::path::PathBuf {
    make_blocks(dir, &open_metrics(&scraped(series), START_MS, MINUTES))
}

#[test]
fn both_types_of_answers_have_every_sample() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 1000);
    let gateway = Gateway::start(&data, &[]);
    let some = Interval::new(START_MS + 7 * MINUTE_MS, START_MS + 150 * MINUTE_MS + 1);
    let queries = || {
        vec![
            query(&[("__name__", 2, ".+")], always()),
            query(&[("from", 0, "prometheus"), ("le", 1, "")], some),
            query(&[("nothing", 0, "x")], always()),
            query(&[("__name__", 2, "go_.*")], Interval::new(5, 4)),
        ]
    };
    let wanted = [
        dump(&data, "{__name__=~'.+'}", always()),
        dump(&data, "{from='prometheus',le!=''}", some),
        Answer::new(),
        Answer::new(),
    ];
    assert!(wanted[0].len() > 900 && wanted[1].len() > 10);
    let (status, body) = read(gateway.address, queries(), StreamedXorChunks).unwrap();
    // Whole chunks, though the range may begin or end in them.
    let ranges = [always(), some, always(), always()];
    let clipped: Vec<_> =
        streamed(&body, 4).into_iter().zip(ranges).map(|(answer, range)| clip(answer, range)).collect();
    assert_eq!((status, clipped), (200, wanted.to_vec()));
    let (status, body) = read(gateway.address, queries(), Samples).unwrap();
    assert_eq!((status, sampled(&body)), (200, wanted.to_vec()));
    assert_eq!(get(gateway.address, "/-/healthy").unwrap().0, 200);
    assert_eq!(get(gateway.address, "/-/ready").unwrap().0, 200);
    let metrics = String::from_utf8(get(gateway.address, "/metrics").unwrap().1).unwrap();
    assert!(metrics.contains("losertree_gateway_requests_total{code=\"200\"} 2"), "{metrics}");
    assert!(metrics.contains("losertree_gateway_blocks "), "{metrics}");
    gateway.assert_stops_balanced();
}

/// So many series are asked for by `PromQL`: 2,000, unless the variable `PROMQL_SERIES` says otherwise. 50,000 take some minutes.
fn promql_series() -> usize {
    std::env::var("PROMQL_SERIES").map_or(2_000, |number| number.parse().unwrap())
}

#[test]
fn promql_through_the_gateway_gives_the_same_answers() {
    const MINUTES: i64 = 6 * 60;
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let series = replicated(promql_series());
    let data = make_blocks(dir.path(), &open_metrics(&series, START_MS, MINUTES));
    // Some is deleted, so that there are tombstones: whole series, and a part of others.
    let first = Prometheus::start(&copy_dir(&data, &dir.path().join("one")), None);
    first.delete("{__name__=~'go_memstats_m.*'}", Interval::new(START_MS, START_MS + 500 * MINUTE_MS));
    first.delete("{from='prometheus'}", Interval::new(START_MS + 20 * MINUTE_MS, START_MS + 50 * MINUTE_MS));
    first
        .delete("{from='prometheus'}", Interval::new(START_MS + 130 * MINUTE_MS, START_MS + 131 * MINUTE_MS));
    // As Prometheus has it on its disk.
    let served = copy_dir(&dir.path().join("one"), &dir.path().join("served"));
    // What is sent as samples is kept, compressed, until it is sent: a quarter of the budget has room for about ten bytes a sample.
    let budget = (64 + series.len() / 50).to_string();
    let gateway = Gateway::start(&served, &["--budget-mib", &budget]);
    fs::create_dir(dir.path().join("empty")).unwrap();
    let second = Prometheus::start(&dir.path().join("empty"), Some(gateway.address));
    eprintln!("{} series", series.len());
    promql::assert_same(&first, &second, MINUTES);

    // What Prometheus streams by remote read, decoded, is what we do.
    let some = Interval::new(START_MS + 3 * MINUTE_MS, START_MS + 140 * MINUTE_MS);
    for (matchers, range) in [
        (&[("__name__", 2, ".+")][..], Interval::new(0, START_MS * 2)),
        (&[("from", 0, "prometheus")], some),
        (&[("from", 3, "p.*"), ("quantile", 0, "")], some),
    ] {
        let (_, theirs) = read(first.address, vec![query(matchers, range)], StreamedXorChunks).unwrap();
        let (_, ours) = read(gateway.address, vec![query(matchers, range)], StreamedXorChunks).unwrap();
        // Chunks that Prometheus encodes anew, because of a tombstone, end with the range; others do not.
        let answer = |body: &[u8]| clip(streamed(body, 1).remove(0), range);
        let (theirs, ours) = (answer(&theirs), answer(&ours));
        assert!(theirs.len() > 10);
        assert!(ours.keys().eq(theirs.keys()));
        for (labels, theirs) in &theirs {
            assert_eq!(ours[labels], *theirs, "{labels}");
        }
    }
    drop(second);
    gateway.assert_stops_balanced();
}

#[test]
fn blocks_come_and_go_while_they_are_read() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 300);
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let served = dir.path().join("served");
    fs::create_dir(&served).unwrap();
    let dirs = block_dirs(&data);
    assert!(dirs.len() >= 2);
    // Each block alone is a part of the answer.
    let parts: Vec<Answer> = dirs
        .iter()
        .map(|block| {
            let mut part = Answer::new();
            let all = selector(&[("__name__", losertree_prometheus::MatchOp::Regex, ".+")], always());
            add(
                &mut part,
                &read_series(block, &std::collections::BTreeMap::new(), &all, &memory(), 64 << 10).unwrap(),
            );
            part
        })
        .collect();
    let gateway = Gateway::start(&served, &["--sync-seconds", "1", "--budget-mib", "8"]);
    let address = gateway.address;
    let stop = std::sync::atomic::AtomicBool::new(false);
    // How many blocks answers were of, and how many answers there were.
    let seen = std::sync::Mutex::new((std::collections::BTreeSet::new(), 0));
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let ask = |kind| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (status, body) =
                    read(address, vec![query(&[("__name__", 2, ".+")], always())], kind).unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                let answer = if kind == Samples { sampled(&body) } else { streamed(&body, 1) }.remove(0);
                // All of some blocks, whatever becomes of them.
                let blocks: Vec<usize> = (0..parts.len())
                    .filter(|block| {
                        parts[*block].iter().all(|(labels, samples)| {
                            answer.get(labels).is_some_and(|all| {
                                samples.iter().all(|sample| all.binary_search(sample).is_ok())
                            })
                        })
                    })
                    .collect();
                let samples: usize =
                    blocks.iter().flat_map(|block| parts[*block].values()).map(Vec::len).sum();
                assert_eq!(answer.values().map(Vec::len).sum::<usize>(), samples, "nothing but whole blocks");
                let mut seen = seen.lock().unwrap();
                seen.0.insert(blocks.len());
                seen.1 += 1;
            }
        };
        let clients: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || ask(if number % 2 == 0 { Samples } else { StreamedXorChunks })))
            .collect();
        let start = Instant::now();
        let has_seen_enough = || {
            let seen = seen.lock().unwrap();
            seen.0.len() > 1 && seen.1 >= 50
        };
        while start.elapsed() < Duration::from_secs(9) || !has_seen_enough() {
            assert!(start.elapsed() < Duration::from_secs(120), "{:?}", seen.lock().unwrap());
            for block in &dirs {
                let name = block.file_name().unwrap();
                let (hidden, shown) = (served.join("hidden"), served.join(name));
                copy_dir(block, &hidden);
                fs::rename(&hidden, &shown).unwrap();
                thread::sleep(Duration::from_millis(700));
            }
            for block in &dirs {
                fs::remove_dir_all(served.join(block.file_name().unwrap())).unwrap();
                thread::sleep(Duration::from_millis(700));
            }
        }
        drop(stopping);
        for client in clients {
            client.join().unwrap();
        }
    });
    // In the end all of them: they are found again.
    for block in &dirs {
        copy_dir(block, &served.join(block.file_name().unwrap()));
    }
    let start = Instant::now();
    loop {
        let (_, body) =
            read(address, vec![query(&[("__name__", 2, ".+")], always())], StreamedXorChunks).unwrap();
        if streamed(&body, 1) == [wanted.clone()] {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "all blocks are found");
        thread::sleep(Duration::from_millis(200));
    }
    gateway.wait_for_metric("losertree_gateway_blocks_held 0");
    gateway.assert_stops_balanced();
}

#[test]
fn clients_that_go_away_leave_nothing_open() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 2000);
    let gateway =
        Gateway::start(&data, &["--budget-mib", "32", "--concurrency", "4", "--grace-seconds", "60"]);
    let all = || vec![query(&[("__name__", 2, ".+")], always())];
    for number in 0..40 {
        let kind = if number % 2 == 0 { Samples } else { StreamedXorChunks };
        let mut stream = begin(gateway.address, "POST", "/api/v1/read", &[], &request(all(), kind)).unwrap();
        let mut some = vec![0; number * 100];
        stream.read_exact(&mut some).unwrap();
    }
    // They have made room.
    let (status, body) = read(gateway.address, all(), StreamedXorChunks).unwrap();
    assert_eq!((status, streamed(&body, 1)[0].len() > 1900), (200, true));
    // One that runs while the gateway is stopped has its answer to the end, for it is read in time. It runs when its answer begins.
    let mut stream =
        begin(gateway.address, "POST", "/api/v1/read", &[], &request(all(), StreamedXorChunks)).unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).unwrap();
    let reading = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        process::receive(first.chain(stream))
    });
    gateway.assert_stops_balanced();
    let (status, whole) = reading.join().unwrap().unwrap();
    assert_eq!((status, whole.len()), (200, body.len()));
}

#[test]
fn what_is_wrong_is_refused_and_costs_nobody_else_anything() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 200);
    let gateway = Gateway::start(&data, &["--max-series", "150"]);
    let post = |body: &[u8]| {
        let (status, body) = send(gateway.address, "POST", "/api/v1/read", &[], body).unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let refused = |(status, text): (u16, String), wanted: u16, part: &str| {
        assert_eq!(status, wanted, "{text}");
        assert!(text.contains(part), "{text}");
    };
    refused(post(b"hello"), 400, "snappy");
    refused(post(&[]), 400, "snappy");
    // A length of 4 GiB, and nothing behind.
    refused(post(&[0xff, 0xff, 0xff, 0xff, 0x0f]), 413, "limit");
    refused(post(&vec![0; 2 << 20]), 413, "limit");
    refused(post(&snap::raw::Encoder::new().compress_vec(b"\xff\xff").unwrap()), 400, "ReadRequest");
    let one = |matchers: &[_]| request(vec![query(matchers, always())], StreamedXorChunks);
    refused(post(&one(&[("a", 2, "(")])), 400, "\"a\"");
    refused(post(&one(&[("a", 2, "((a{1000}){1000}){1000}")])), 400, "\"a\"");
    refused(post(&one(&[("a", 9, "")])), 400, "type 9");
    refused(post(&one(&vec![("a", 0, "b"); 200])), 400, "matchers");
    refused(post(&request(vec![query(&[], always()); 65], Samples)), 400, "queries");
    refused(post(&one(&[("__name__", 2, &"a".repeat(70_000))])), 400, "limit");
    // The limit is met after the first byte: the answer is broken off, and does not look whole.
    let all = vec![query(&[("__name__", 2, ".+")], always())];
    assert!(
        read(gateway.address, all.clone(), StreamedXorChunks).is_ok_and(|(status, _)| status == 413)
            || read(gateway.address, all.clone(), StreamedXorChunks).is_err()
    );
    refused(
        read(gateway.address, all, Samples)
            .map(|(status, body)| (status, String::from_utf8_lossy(&body).into_owned()))
            .unwrap(),
        413,
        "150 series",
    );
    let few = Gateway::start(&data, &["--max-samples", "1000"]);
    let one = |name: &str| vec![query(&[("__name__", 0, "go_goroutines"), ("from", 0, name)], always())];
    let (status, body) = read(few.address, vec![query(&[("__name__", 2, ".+")], always())], Samples).unwrap();
    refused((status, String::from_utf8_lossy(&body).into_owned()), 413, "1000 samples");
    assert_eq!(read(few.address, one("prometheus"), Samples).unwrap().0, 200);
    few.assert_stops_balanced();
    assert_eq!(send(gateway.address, "GET", "/api/v1/read", &[], b"").unwrap().0, 405);
    assert_eq!(get(gateway.address, "/../../etc/passwd").unwrap().0, 404);
    let (status, body) =
        read(gateway.address, vec![query(&[("from", 0, "prometheus")], always())], Samples).unwrap();
    assert_eq!((status, sampled(&body)[0].is_empty()), (200, false));
    gateway.assert_stops_balanced();
}

#[test]
fn a_block_that_is_damaged_fails_queries_that_read_it_and_no_others() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 1000);
    let dirs = block_dirs(&data);
    // A byte of a chunk in the middle.
    let segment = dirs[0].join("chunks/000001");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&segment, bytes).unwrap();
    let gateway = Gateway::start(&data, &[]);
    let all = |range| vec![query(&[("__name__", 2, ".+")], range)];
    // Samples are whole or an error with file and byte; what was streamed does not end in order.
    let (status, body) = read(gateway.address, all(always()), Samples).unwrap();
    let text = String::from_utf8(body).unwrap();
    assert!(status == 500 && text.contains("000001: byte ") && text.contains("checksum"), "{status}: {text}");
    assert!(read(gateway.address, all(always()), StreamedXorChunks).is_err());
    let later = Interval::new(START_MS + 121 * MINUTE_MS, START_MS + 1000 * MINUTE_MS);
    let (status, body) = read(gateway.address, all(later), StreamedXorChunks).unwrap();
    assert_eq!((status, streamed(&body, 1)[0].len() > 900), (200, true));
    gateway.assert_stops_balanced();
    // One that cannot be opened at all is left out, with a word.
    fs::write(dirs[0].join("index"), b"nothing").unwrap();
    let gateway = Gateway::start(&data, &[]);
    let (status, _) = read(gateway.address, all(always()), Samples).unwrap();
    assert_eq!(status, 200);
    gateway.assert_stops_balanced();
}

#[test]
fn wrong_arguments_are_explained() {
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_losertree-gateway"))
            .args(arguments)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (ok, text) = run(&["--help"]);
    assert!(ok && text.contains("--blocks <DIR>"), "{text}");
    for (arguments, part) in [
        (&["--concurrency", "2"][..], "--blocks"),
        (&["--blocks", "/nowhere"], "/nowhere"),
        (&["--blocks", "/tmp", "--listen", "0.0.0.0:0"], "--allow-remote"),
        (&["--blocks", "/tmp", "--listen", "nonsense"], "nonsense"),
        (&["--blocks", "/tmp", "--external-label", "a"], "NAME=VALUE"),
        (&["--blocks", "/tmp", "--external-label", "1a=b"], "no name of a label"),
        (&["--blocks", "/tmp", "--external-label", "a=b", "--external-label", "a=c"], "given twice"),
        (&["--blocks", "/tmp", "--budget-mib", "1"], "4.."),
        (&["--blcks", "/tmp"], "--blocks"),
        (&["--blocks", "/tmp", "--store", "ftp://a"], "http://"),
        (&["--store", "http://user:secret@a"], "user's name"),
        (&["--config", "/nowhere"], "--config /nowhere"),
        (&["--store", "http://a:99999"], "http://a:99999\" cannot be asked: its port is none"),
        (&["--store", "https://[::1]:/api/v1/read"], "its port is none"),
        (&["--store-api", "http://a:99999"], "its port is none"),
        (&["--store", "http://a,cluster"], "http://a: expected NAME=VALUE"),
        (&["--store", "http://a,0=b"], "http://a: \"0\" is no name of a label"),
        (&["--store", "http://a,b=c,b=d"], "http://a: the label b is given twice"),
        (&["--store-api", "a:10901"], "--store-api: \"a:10901\""),
        (&["--store-api", "http://a"], "it names no port"),
        (&["--store-api", "ftp://a:1"], "http://"),
        (&["--store-api", "http://a:1/api/v1/read"], "it has a path"),
        (&["--store-api", "http://user:secret@a:1"], "user's name"),
        (&["--store-api", "http://a:1,b=c,b=d"], "http://a:1: the label b is given twice"),
        (&["--blocks", "/tmp", "--grpc-listen", "0.0.0.0:0"], "--allow-remote"),
        (&["--blocks", "/tmp", "--grpc-listen", "10901"], "10901"),
    ] {
        let (ok, text) = run(arguments);
        assert!(!text.contains("secret"), "{text}");
        assert!(!ok && text.contains(part), "{arguments:?}: {text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    let path = config.to_str().unwrap();
    for (text, part) in [
        ("blocks = ", "gateway.toml"),
        ("blcks = '/tmp'", "there is no option \"blcks\""),
        ("config = 'x'", "there is no option"),
        ("blocks = 1.5", "float"),
        ("blocks = '/nowhere'", "--blocks /nowhere"),
        ("blocks = '/tmp'\nbudget-mib = 1", "--budget-mib"),
        ("blocks = '/tmp'\nexternal-label = ['a=b', 'a=c']", "given twice"),
        ("store = ['http://a,b=c,b=d']", "http://a: the label b is given twice"),
        ("store-api = ['http://a:1,b=c,b=d']", "http://a:1: the label b is given twice"),
        ("blocks = '/tmp'\ngrpc-listen = '0.0.0.0:0'", "--allow-remote"),
    ] {
        fs::write(&config, text).unwrap();
        let (ok, printed) = run(&["--config", path]);
        assert!(!ok && printed.contains(part), "{text}: {printed}");
    }
    // What is given as an argument overrides the file.
    fs::write(
        &config,
        "blocks = '/nowhere'\nlisten = '127.0.0.1:1'\ngrpc-listen = '127.0.0.1:0'\nexternal-label = ['cluster=eu']\nsync-seconds = 5\n",
    )
    .unwrap();
    let gateway = Gateway::start(dir.path(), &["--config", path]);
    assert!(gateway.store_api.is_some());
    // In the same file, as in the arguments, servers that are asked.
    fs::write(&config, format!("store-api = ['{},cluster=eu']\n", gateway.store_api_url())).unwrap();
    let upper = Gateway::start_with(&["--config", path]);
    let all = vec![query(&[("__name__", 2, ".+")], Interval::new(0, START_MS * 2))];
    assert_eq!(read(upper.address, all, Samples).unwrap().0, 200);
    upper.assert_stops_balanced();
    gateway.assert_stops_balanced();
}

#[test]
fn what_is_shown_without_arguments_is_removed_in_the_end_and_what_was_left_behind_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let name = |process: u32| format!("losertree-gateway-{process}");
    let (left, alive) = (dir.path().join(name(ended.id())), dir.path().join(name(std::process::id())));
    let others = ["losertree-gateway-", "losertree-gateway-1x", "losertree-gateway--1"]
        .map(|name| dir.path().join(name));
    let set_up = || {
        for dir in [&left, &alive].into_iter().chain(&others) {
            fs::create_dir_all(dir.join("data")).unwrap();
            fs::write(dir.join("data/metrics.txt"), "a 1").unwrap();
        }
    };
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    set_up();
    let mut wanted = vec![alive.clone()];
    wanted.extend(others.iter().cloned());
    wanted.sort();
    let start = |path: &std::ffi::OsStr| {
        std::process::Command::new(env!("CARGO_BIN_EXE_losertree-gateway"))
            .env("TMPDIR", dir.path())
            .env("PATH", path)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    // There is no promtool: nothing can be shown, and nothing is left behind.
    let output = start(std::ffi::OsStr::new("/nowhere")).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("error: promtool: "), "{text}");
    assert!(text.contains(&format!("removed {}, which was left behind", left.display())), "{text}");
    assert_eq!(names(), wanted);
    if !has_prometheus() {
        return;
    }
    set_up();
    let mut shown = start(&std::env::var_os("PATH").unwrap());
    let mut log = std::io::BufRead::lines(std::io::BufReader::new(shown.stderr.take().unwrap()));
    // It serves, or somebody else has its port.
    let serves = "remote read on http://127.0.0.1:9095/";
    let has_begun = |line: &String| line.starts_with(serves) || line.contains("--listen 127.0.0.1:9095");
    let line = log.by_ref().map_while(Result::ok).find(has_begun).unwrap();
    if line.starts_with(serves) {
        assert_eq!(names().len(), wanted.len() + 1);
    }
    let _ = std::process::Command::new("kill").args(["-TERM", &shown.id().to_string()]).status();
    let rest: Vec<_> = log.map_while(Result::ok).collect();
    assert_eq!(shown.wait().unwrap().success(), line.starts_with(serves), "{line}, {rest:?}");
    assert_eq!(names(), wanted);
}

#[test]
fn other_servers_are_asked_and_are_one_with_blocks() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 800);
    let dirs = block_dirs(&data);
    assert_eq!(dirs.len(), 2);
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    for (dir, block) in [&one, &two].into_iter().zip(&dirs) {
        fs::create_dir(dir).unwrap();
        copy_dir(block, &dir.join(block.file_name().unwrap()));
    }
    let lower = Gateway::start(&one, &[]);
    let prometheus = Prometheus::start(&two, None);
    let (lower_at, prometheus_at) =
        (format!("http://{}", lower.address), format!("http://{}", prometheus.address));
    // One of the blocks is there twice: by itself, and through another gateway.
    let upper = Gateway::start(&one, &["--store", &lower_at, "--store", &prometheus_at]);
    let servers = Gateway::start_with(&["--store", &lower_at, "--store", &prometheus_at]);
    let all = || vec![query(&[("__name__", 2, ".+")], Interval::new(0, START_MS * 2))];
    for gateway in [&upper, &servers] {
        let (status, body) = read(gateway.address, all(), StreamedXorChunks).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        assert!(streamed(&body, 1) == [wanted.clone()]);
        let (status, body) = read(gateway.address, all(), Samples).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        assert!(sampled(&body) == [wanted.clone()]);
    }
    // Who goes away closes what is below, too.
    for _ in 0..10 {
        drop(
            begin(servers.address, "POST", "/api/v1/read", &[], &request(all(), StreamedXorChunks)).unwrap(),
        );
    }
    upper.assert_stops_balanced();
    servers.assert_stops_balanced();
    lower.assert_stops_balanced();
}

/// A server that sends what it is told to, to whoever comes, and then hangs up or hangs.
fn server(answer: Vec<u8>, hangs: bool) -> String {
    let address = process::listen(move |_, client| {
        let _ = std::io::Write::write_all(client, &answer);
        if hangs {
            let _ = client.read(&mut [0; 4096]);
        }
    });
    format!("http://{address}")
}

#[test]
fn servers_that_misbehave_fail_a_query_or_are_left_out() {
    use losertree_prometheus::remote::proto::{Chunk, ChunkedReadResponse, ChunkedSeries, Label};
    use prost::Message;
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 200);
    let dumped = dump(&data, "{__name__=~'.+'}", always());
    let all = || vec![query(&[("__name__", 2, ".+")], Interval::new(0, START_MS * 2))];
    let label = |value: &str| vec![Label { name: "__name__".into(), value: value.into() }];
    let frame = |name: &str| {
        let mut encoder = losertree_prometheus::block::xor::XorEncoder::new();
        encoder.push(losertree_prometheus::block::xor::Sample { time_ms: START_MS, value: 1.0 });
        let data = encoder.finish().to_vec().into();
        let chunks = vec![Chunk { min_time_ms: START_MS, max_time_ms: START_MS, r#type: 1, data }];
        let series = ChunkedSeries { labels: label(name), chunks };
        let message = ChunkedReadResponse { chunked_series: vec![series], query_index: 0 }.encode_to_vec();
        let mut frame = Vec::new();
        prost::encode_length_delimiter(message.len(), &mut frame).unwrap();
        frame.extend(crc32c::crc32c(&message).to_be_bytes());
        frame.extend(message);
        frame
    };
    let stream = |body: &[u8]| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse\r\n\r\n";
        [head.as_bytes(), body].concat()
    };
    let mut wrong = frame("a");
    *wrong.last_mut().unwrap() ^= 1;
    let cases = [
        ("hangs before it answers", server(Vec::new(), true), 500, "timeout"),
        ("hangs in the middle", server(stream(&frame("a")), true), 500, "timeout"),
        ("ends in a frame", server(stream(&frame("a")[..9]), false), 500, "ends"),
        ("closes at once", server(Vec::new(), false), 500, "connection"),
        ("sends garbage", server(vec![7; 1000], false), 500, "connection"),
        ("garbage for frames", server(stream(&[0xff; 100]), false), 500, "length"),
        (
            "a frame without end",
            server(stream(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0]), false),
            500,
            "limit",
        ),
        ("a wrong checksum", server(stream(&wrong), false), 500, "checksum"),
        ("a chunk of garbage", server_of_chunks(1, &[(0, 9, b"\xff\xff\x01")]), 500, "cannot be decoded"),
        (
            "series out of order",
            server(stream(&[frame("b"), frame("a")].concat()), false),
            500,
            "comes before",
        ),
        (
            "an error",
            server(b"HTTP/1.1 418 Teapot\r\nContent-Length: 7\r\n\r\nno tea\n".to_vec(), false),
            500,
            "no tea",
        ),
        (
            "another type",
            server(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 0\r\n\r\n".to_vec(),
                false,
            ),
            500,
            "text/html",
        ),
        ("nobody", "http://127.0.0.1:9".into(), 500, "connect"),
    ];
    for (what, address, wanted, part) in &cases {
        // A server that is slow for once is not one that hangs.
        let seconds = if *part == "timeout" { "1" } else { "60" };
        let arguments = ["--store", address, "--store-seconds", seconds];
        let gateway = Gateway::start(&data, &arguments);
        let (status, body) = read(gateway.address, all(), Samples).unwrap();
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, *wanted, "{what}: {text}");
        assert!(text.contains(part) && text.contains(address), "{what}: {text}");
        // Streamed, it has a status or is broken off.
        assert!(
            read(gateway.address, all(), StreamedXorChunks).is_ok_and(|(status, _)| status == *wanted)
                || read(gateway.address, all(), StreamedXorChunks).is_err(),
            "{what}"
        );
        gateway.assert_stops_balanced();
        let gateway = Gateway::start(&data, &[&arguments[..], &["--partial-response", "warn"]].concat());
        let (status, body) = read(gateway.address, all(), Samples).unwrap();
        assert_eq!(status, 200, "{what}: {}", String::from_utf8_lossy(&body));
        let answer = sampled(&body).remove(0);
        assert!(
            dumped.iter().all(|(labels, samples)| answer.get(labels) == Some(samples)),
            "{what}: all that the blocks have"
        );
        gateway.assert_logs(what, &["partial", part]);
        gateway.assert_stops_balanced();
    }
}

#[test]
fn servers_that_cannot_stream_are_asked_for_samples() {
    use losertree_prometheus::remote::proto::{Label, QueryResult, ReadResponse, Sample, TimeSeries};
    use prost::Message;
    let all = || vec![query(&[("__name__", 2, ".+")], Interval::new(0, START_MS * 2))];
    let label = |value: &str| vec![Label { name: "__name__".into(), value: value.into() }];
    let series = |name: &str| TimeSeries {
        labels: label(name),
        samples: vec![Sample { timestamp: START_MS, value: 2.0 }],
    };
    let message = ReadResponse { results: vec![QueryResult { timeseries: vec![series("b"), series("a")] }] }
        .encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let gateway = Gateway::start_with(&["--store", &server([head.as_bytes(), &body].concat(), false)]);
    let (_, body) = read(gateway.address, all(), StreamedXorChunks).unwrap();
    let names: Vec<_> = streamed(&body, 1)[0].keys().map(ToString::to_string).collect();
    assert_eq!(names, [r#"{__name__="a"}"#, r#"{__name__="b"}"#]);
    gateway.assert_stops_balanced();
}

#[test]
fn replicas_that_scrape_at_different_moments_become_one() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let series = scraped(50);
    // The second one is later by 17 s, and was restarted in between; the first one is gone for a while, too.
    let minutes = |from: i64, to: i64, offset_ms: i64, replica: &str| {
        let mut text = String::new();
        for (name, labels, value) in &series {
            for minute in from..to {
                let seconds = (START_MS + minute * MINUTE_MS + offset_ms) / 1000;
                text += &format!("{name}{{{labels}twin=\"{replica}\"}} {value} {seconds}\n");
            }
        }
        text
    };
    let parts = [
        minutes(0, 60, 0, "a"),
        minutes(70, 110, 0, "a"),
        minutes(0, 30, 17_000, "b"),
        minutes(35, 110, 17_000, "b"),
    ];
    let data = make_blocks(dir.path(), &(parts.concat() + "# EOF\n"));
    let gateway = Gateway::start(&data, &["--replica-label", "twin"]);
    let all = || vec![query(&[("__name__", 2, ".+")], always())];
    let replicas = dump(&data, "{__name__=~'.+'}", always());
    for kind in [StreamedXorChunks, Samples] {
        let (status, body) = read(gateway.address, all(), kind).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let answer = if kind == Samples { sampled(&body) } else { streamed(&body, 1) }.remove(0);
        assert_eq!(answer.len(), series.len());
        for (labels, samples) in &answer {
            let of_replica = |replica: &str| {
                let mut labels: std::collections::BTreeMap<_, _> = labels.iter().collect();
                labels.insert("twin".into(), replica.into());
                &replicas[&losertree::Labels::from_pairs(labels).unwrap()]
            };
            let both = [of_replica("a"), of_replica("b")];
            assert!(
                samples.iter().all(|sample| both.iter().any(|replica| replica.binary_search(sample).is_ok()))
            );
            // No double: samples are not nearer to each other than scrapes are.
            let near = samples.windows(2).filter(|pair| pair[1].0 - pair[0].0 < MINUTE_MS).count();
            assert_eq!(near, 0, "{labels}: samples are too near");
            // No gap: a moment that some replica has seen is not further than two scrapes and a bit from a sample.
            for (time_ms, _) in both.into_iter().flatten() {
                let after = samples.partition_point(|sample| sample.0 < *time_ms);
                let distance =
                    |at: usize| samples.get(at).map_or(i64::MAX, |sample| (sample.0 - time_ms).abs());
                let nearest = distance(after).min(distance(after.wrapping_sub(1)));
                assert!(nearest <= 3 * MINUTE_MS, "{labels}: nothing for {nearest} ms");
            }
        }
    }
    gateway.assert_stops_balanced();
}

#[test]
fn two_hundred_queries_at_once_are_answered_within_the_budget() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 1000);
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let gateway = Gateway::start(&data, &["--budget-mib", "8"]);
    let address = gateway.address;
    let all = || vec![query(&[("__name__", 2, ".+")], always())];
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let (status, body) = read(address, all(), StreamedXorChunks).unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                assert!(streamed(&body, 1) == [wanted.clone()]);
            });
        }
    });
    let metrics = String::from_utf8(get(address, "/metrics").unwrap().1).unwrap();
    assert!(metrics.contains("losertree_gateway_requests_total{code=\"200\"} 200"), "{metrics}");
    // The budget, the program, and the sockets' buffers in it.
    let peak = process::peak_bytes(gateway.pid());
    assert!(peak < 64 << 20, "{peak} bytes");
    gateway.assert_stops_balanced();
}

#[test]
fn answers_of_samples_wait_for_each_other_and_are_refused_beyond_the_budget() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 1000);
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let all = || vec![query(&[("__name__", 2, ".+")], always())];
    // A quarter of the budget is for what is kept. One answer takes more than the half of it, so no two have room at once.
    let gateway = Gateway::start(&data, &["--budget-mib", "8", "--patience-seconds", "120"]);
    let address = gateway.address;
    let (_, body) = read(address, all(), Samples).unwrap();
    assert!((1 << 20..2 << 20).contains(&body.len()), "{} bytes", body.len());
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let (status, body) = read(address, all(), Samples).unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                assert!(sampled(&body) == [wanted.clone()]);
            });
        }
    });
    gateway.assert_stops_balanced();
    // What can never fit is refused at once. Streamed, it fits, and so does what is shorter.
    let gateway = Gateway::start(&data, &["--budget-mib", "4"]);
    let start = Instant::now();
    let (status, body) = read(gateway.address, all(), Samples).unwrap();
    let text = String::from_utf8_lossy(&body);
    assert!(status == 413 && text.contains("does not fit into the memory budget"), "{status}: {text}");
    assert!(start.elapsed() < Duration::from_secs(60));
    let (status, body) = read(gateway.address, all(), StreamedXorChunks).unwrap();
    assert!(status == 200 && streamed(&body, 1) == [wanted.clone()]);
    let some = || vec![query(&[("from", 0, "prometheus")], always())];
    assert_eq!(read(gateway.address, some(), Samples).unwrap().0, 200);
    let peak = process::peak_bytes(gateway.pid());
    assert!(peak < 40 << 20, "{peak} bytes");
    gateway.assert_stops_balanced();
}

#[test]
fn clients_that_hardly_read_do_not_keep_others_from_their_answers() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 1000);
    let arguments = ["--concurrency", "4", "--budget-mib", "16", "--stall-seconds", "2"];
    let gateway = Gateway::start(&data, &arguments);
    let all = || query(&[("__name__", 2, ".+")], always());
    // More than sockets have room for.
    let request = request(vec![all(); 64], StreamedXorChunks);
    let are_all_closed = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let closed = StopOnDrop(&are_all_closed);
        let read_slowly = || {
            let mut stream = begin(gateway.address, "POST", "/api/v1/read", &[], &request).unwrap();
            let mut first = Vec::new();
            // A byte now and then, until the gateway has enough of it. Only then the rest, which would help it otherwise.
            while !are_all_closed.load(std::sync::atomic::Ordering::Relaxed) {
                let mut byte = [0];
                if !matches!(stream.read(&mut byte), Ok(1)) {
                    break;
                }
                first.extend(byte);
                thread::sleep(Duration::from_millis(100));
            }
            process::receive(first.chain(stream))
        };
        let slow: Vec<_> = (0..8).map(|_| scope.spawn(read_slowly)).collect();
        // Others say nothing at all.
        let silent: Vec<_> =
            (0..200).map(|_| std::net::TcpStream::connect(gateway.address).unwrap()).collect();
        thread::sleep(Duration::from_millis(200));
        let (status, body) = read(gateway.address, vec![all()], StreamedXorChunks).unwrap();
        assert_eq!((status, streamed(&body, 1)[0].len() > 900), (200, true));
        drop(silent);
        gateway.wait_for_metric("losertree_gateway_connections_closed_total{reason=\"stall_time\"} 8");
        drop(closed);
        for client in slow {
            assert!(
                client.join().unwrap().is_err(),
                "the answer of a client that hardly reads is broken off"
            );
        }
    });
    gateway.assert_stops_balanced();
}

/// A server that sends one series of samples, whatever it is asked.
fn server_of(name: &str, samples: &[(i64, f64)]) -> String {
    use losertree_prometheus::remote::proto::{Label, QueryResult, ReadResponse, Sample, TimeSeries};
    use prost::Message;
    let series = TimeSeries {
        labels: vec![Label { name: "__name__".into(), value: name.into() }],
        samples: samples
            .iter()
            .map(|(timestamp, value)| Sample { timestamp: *timestamp, value: *value })
            .collect(),
    };
    let message = ReadResponse { results: vec![QueryResult { timeseries: vec![series] }] }.encode_to_vec();
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    server([head.as_bytes(), &body].concat(), false)
}

#[test]
fn the_first_server_wins_and_has_its_labels() {
    let minutes = |from: i64, to: i64, value: f64| -> Vec<_> {
        (from..to).map(|minute| (START_MS + minute * MINUTE_MS, value)).collect()
    };
    let (early, late) = (server_of("a", &minutes(0, 100, 1.0)), server_of("a", &minutes(50, 150, 2.0)));
    let all = || vec![query(&[("__name__", 2, ".+")], Interval::new(0, START_MS * 2))];
    for (stores, from) in [([&early, &late], 100), ([&late, &early], 50)] {
        let gateway = Gateway::start_with(&["--store", stores[0], "--store", stores[1]]);
        let wanted: Vec<_> = [minutes(0, from, 1.0), minutes(from, 150, 2.0)].concat();
        let wanted: Vec<_> = wanted.into_iter().map(|(time_ms, value)| (time_ms, bits(value))).collect();
        for kind in [StreamedXorChunks, Samples] {
            let (status, body) = read(gateway.address, all(), kind).unwrap();
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            let answer = if kind == Samples { sampled(&body) } else { streamed(&body, 1) }.remove(0);
            assert_eq!(answer.into_values().collect::<Vec<_>>(), std::slice::from_ref(&wanted));
        }
        gateway.assert_stops_balanced();
    }
    // From the configuration, too.
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.toml");
    fs::write(&config, format!("store = ['{early},cluster=eu', '{late},cluster=us,zone=b']\n")).unwrap();
    let gateway = Gateway::start_with(&["--config", config.to_str().unwrap()]);
    let names = |matchers: &[_]| {
        let query = query(matchers, Interval::new(0, START_MS * 2));
        let (_, body) = read(gateway.address, vec![query], Samples).unwrap();
        sampled(&body)[0].keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    let [eu, us] = [r#"{__name__="a", cluster="eu"}"#, r#"{__name__="a", cluster="us", zone="b"}"#];
    assert_eq!(names(&[("__name__", 0, "a")]), [eu, us]);
    assert_eq!(names(&[("__name__", 0, "a"), ("cluster", 0, "eu")]), [eu]);
    assert_eq!(names(&[("__name__", 0, "a"), ("zone", 0, "b"), ("cluster", 3, "e.*")]), [us]);
    gateway.assert_stops_balanced();
}

#[test]
fn blocks_are_compacted_and_replaced_while_200_queries_run() {
    const CLIENTS: usize = 200;
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = open_metrics(&scraped(60), START_MS, MINUTES);
    let served = make_blocks(dir.path(), &text);
    let parents = block_dirs(&served);
    assert_eq!(parents.len(), 2);
    let wanted = dump(&served, "{__name__=~'.+'}", always());
    // The same as one block, which says that it was made of them.
    let output = std::process::Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=24h"])
        .args([dir.path().join("metrics.txt"), dir.path().join("compacted")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [compacted] = &block_dirs(&dir.path().join("compacted"))[..] else { panic!("one block") };
    let meta = compacted.join("meta.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&meta).unwrap()).unwrap();
    let parent = |dir: &std::path::PathBuf| serde_json::json!({"ulid": dir.file_name().unwrap().to_str()});
    json["compaction"]["parents"] = parents.iter().map(parent).collect();
    json["compaction"]["level"] = 2.into();
    fs::write(&meta, json.to_string()).unwrap();

    fs::create_dir(dir.path().join("kept")).unwrap();
    let arguments = ["--sync-seconds", "1", "--budget-mib", "16", "--concurrency", "200"];
    let gateway = Gateway::start(&served, &arguments);
    let address = gateway.address;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let count = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let ask = |kind| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let all = vec![query(&[("__name__", 2, ".+")], always())];
                let (status, body) = read(address, all, kind).unwrap();
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
                let answer = if kind == Samples { sampled(&body) } else { streamed(&body, 1) }.remove(0);
                assert!(answer == wanted, "all of it at any moment");
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        };
        let kinds = (0..CLIENTS).map(|number| if number % 2 == 0 { Samples } else { StreamedXorChunks });
        let clients: Vec<_> = kinds.map(|kind| scope.spawn(move || ask(kind))).collect();
        let (hidden, shown) = (dir.path().join("hidden"), served.join(compacted.file_name().unwrap()));
        let start = Instant::now();
        let rounds = (0..)
            .take_while(|round| *round < 2 || count.load(std::sync::atomic::Ordering::Relaxed) < 2 * CLIENTS);
        for _ in rounds {
            assert!(start.elapsed() < Duration::from_secs(240), "{count:?} queries");
            // Compacted, and the parents go, at once or later.
            copy_dir(compacted, &hidden);
            fs::rename(&hidden, &shown).unwrap();
            for parent in &parents {
                copy_dir(parent, &dir.path().join("kept").join(parent.file_name().unwrap()));
                fs::rename(parent.join("meta.json"), dir.path().join("gone")).unwrap();
                fs::remove_dir_all(parent).unwrap();
            }
            gateway.wait_for("1 added, 0 replaced, 2 removed");
            // Replaced by the same, with other files.
            fs::write(shown.join("meta.new"), fs::read(shown.join("meta.json")).unwrap()).unwrap();
            fs::rename(shown.join("meta.new"), shown.join("meta.json")).unwrap();
            gateway.wait_for("1 replaced");
            // And back: the parents are hidden as long as it is there.
            for parent in &parents {
                fs::rename(dir.path().join("kept").join(parent.file_name().unwrap()), parent).unwrap();
            }
            thread::sleep(Duration::from_millis(1_300));
            fs::remove_dir_all(&shown).unwrap();
            gateway.wait_for("2 added");
        }
        drop(stopping);
        for client in clients {
            client.join().unwrap();
        }
    });
    gateway.wait_for_metric("losertree_gateway_blocks_held 0");
    gateway.assert_stops_balanced();
}

/// An exporter that lives: a counter that grows with the time, and a gauge.
fn exporter() -> std::net::SocketAddr {
    let start = Instant::now();
    process::listen(move |_, client| {
        let millis = start.elapsed().as_millis();
        let body = format!("grows_total {millis}\nsteady 1\n");
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n";
        let _ = std::io::Write::write_all(client, &[head.as_bytes(), body.as_bytes()].concat());
    })
}

#[test]
fn replicas_that_scrape_one_of_which_is_restarted_have_no_gap_through_the_gateway() {
    const SCRAPE_MS: i64 = 1_000;
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = exporter();
    let replica = |name: &str| {
        let data = dir.path().join(name);
        let _ = fs::create_dir(&data);
        let text = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 900ms\n  external_labels: {{replica: {name}}}\n\
             scrape_configs:\n- job_name: live\n  static_configs:\n  - targets: ['{target}']\n"
        );
        Prometheus::configured(&data, &text)
    };
    // A machine that has other things to do scrapes late: what is waited for are samples.
    let wait_for = |replica: &Prometheus, wanted: usize| {
        let start = Instant::now();
        loop {
            let data = replica.api("/api/v1/query?query=count_over_time(steady[1h])").unwrap();
            let count = data["result"][0]["value"][1].as_str().map_or(0, |count| count.parse().unwrap());
            if count >= wanted {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(120), "{count} of {wanted} samples");
            thread::sleep(Duration::from_millis(50));
        }
    };
    let one = replica("a");
    let two = replica("b");
    wait_for(&one, 7);
    wait_for(&two, 7);
    drop(one);
    thread::sleep(Duration::from_secs(5));
    let one = replica("a");
    wait_for(&one, 14);
    wait_for(&two, 19);
    let stores = [&one, &two].map(|replica| format!("http://{}", replica.address));
    let ask = |arguments: &[&str], kind| {
        let gateway = Gateway::start_with(arguments);
        let matchers = [("__name__", 2, "grows_total|steady|up")];
        let queries = vec![query(&matchers, Interval::new(0, i64::MAX / 2))];
        let (status, body) = read(gateway.address, queries, kind).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        gateway.assert_stops_balanced();
        if kind == Samples { sampled(&body) } else { streamed(&body, 1) }.remove(0)
    };
    // The first one has the gap.
    let distances = |samples: &[(i64, u64)]| -> Vec<i64> {
        samples.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    };
    let alone = |store: &str| ask(&["--store", store, "--replica-label", "replica"], Samples);
    assert!(
        alone(&stores[0]).values().all(|samples| distances(samples).into_iter().max() >= Some(4 * SCRAPE_MS)),
        "the restart is a gap"
    );
    let merged = [StreamedXorChunks, Samples]
        .map(|kind| ask(&["--store", &stores[0], "--store", &stores[1], "--replica-label", "replica"], kind));
    // What is asked of the answers is measured by what the replicas have, for they scrape late.
    let [one, two] = [alone(&stores[0]), alone(&stores[1])];
    for both in merged {
        assert_eq!(both.len(), 3, "{:?}", both.keys());
        for (labels, samples) in &both {
            assert!(labels.get("replica").is_none());
            assert!(samples.len() >= 14, "{labels}: {} samples", samples.len());
            let (of_one, of_two) = (distances(&one[labels]), distances(&two[labels]));
            let of_both = distances(samples);
            // A change of replicas comes after two scrapes without a sample, and may wait for the other's next one.
            let longest = of_two.iter().max().unwrap() * 7 / 2;
            assert!(of_both.iter().all(|distance| *distance <= longest), "{labels}: {of_both:?}, {of_two:?}");
            // And no double: samples are not nearer to each other than those of one replica.
            let least = of_one.iter().chain(&of_two).min().unwrap();
            assert!(of_both.iter().all(|distance| distance >= least), "{labels}: {of_both:?}, {least} ms");
            if labels.get("__name__").is_some_and(|name| *name == *"grows_total") {
                let values = samples.iter().map(|sample| f64::from_bits(sample.1));
                // A scrape that has failed is a marker, and no number.
                let values: Vec<_> = values.filter(|value| !value.is_nan()).collect();
                assert!(values.is_sorted(), "no step back: {values:?}");
            }
        }
    }
}

/// A server of streamed chunks of one series, of an encoding.
fn server_of_chunks(encoding: i32, chunks: &[(i64, i64, &'static [u8])]) -> String {
    use losertree_prometheus::remote::proto::{Chunk, ChunkedReadResponse, ChunkedSeries, Label};
    use prost::Message;
    let chunk = |(min_time_ms, max_time_ms, data): &(i64, i64, &'static [u8])| Chunk {
        min_time_ms: *min_time_ms,
        max_time_ms: *max_time_ms,
        r#type: encoding,
        data: (*data).into(),
    };
    let series = ChunkedSeries {
        labels: vec![Label { name: "__name__".into(), value: "h".into() }],
        chunks: chunks.iter().map(chunk).collect(),
    };
    let message = ChunkedReadResponse { chunked_series: vec![series], query_index: 0 }.encode_to_vec();
    let mut frame = Vec::new();
    prost::encode_length_delimiter(message.len(), &mut frame).unwrap();
    frame.extend(crc32c::crc32c(&message).to_be_bytes());
    frame.extend(message);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-streamed-protobuf\r\n\r\n";
    server([head.as_bytes(), &frame].concat(), false)
}

#[test]
fn histograms_of_servers_pass_when_they_are_streamed_and_do_not_overlap() {
    use losertree_prometheus::remote::proto::ChunkedReadResponse;
    use prost::Message;
    let all = || vec![query(&[("__name__", 2, ".+")], Interval::new(0, 1_000))];
    for encoding in [2, 3] {
        // Nobody decodes them here: any bytes do.
        let chunks = [(0, 9, &b"one"[..]), (10, 19, b"two"), (30, 39, b"three")];
        let whole = server_of_chunks(encoding, &chunks);
        let copy = server_of_chunks(encoding, &chunks[1..]);
        let other = server_of_chunks(encoding, &[(15, 25, b"other")]);
        let gateway = Gateway::start_with(&["--store", &whole, "--store", &copy]);
        let (status, mut body) = read(gateway.address, all(), StreamedXorChunks).unwrap();
        assert_eq!(status, 200);
        let len = {
            let mut rest = body.as_slice();
            let len = prost::decode_length_delimiter(&mut rest).unwrap();
            body = rest[4..].to_vec();
            len
        };
        assert_eq!(body.len(), len, "one frame");
        let frame = ChunkedReadResponse::decode(body.as_slice()).unwrap();
        let got = frame.chunked_series[0].chunks.iter();
        let got: Vec<_> = got.map(|c| (c.min_time_ms, c.max_time_ms, c.r#type, &*c.data)).collect();
        let wanted: Vec<_> = chunks.iter().map(|(min, max, data)| (*min, *max, encoding, *data)).collect();
        assert_eq!(got, wanted);
        let (status, body) = read(gateway.address, all(), Samples).unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(status == 500 && text.contains("only streamed"), "{status}: {text}");
        gateway.assert_stops_balanced();
        let gateway = Gateway::start_with(&["--store", &whole, "--store", &other]);
        let (status, body) = read(gateway.address, all(), Samples).unwrap();
        let text = String::from_utf8_lossy(&body);
        assert!(status == 500 && text.contains("overlap") && text.contains("\"h\""), "{status}: {text}");
        gateway.assert_stops_balanced();
    }
    let gateway = Gateway::start_with(&["--store", &server_of_chunks(0, &[(0, 9, b"none")])]);
    let (status, body) = read(gateway.address, all(), Samples).unwrap();
    let text = String::from_utf8_lossy(&body);
    assert!(status == 500 && text.contains("encoding 0"), "{status}: {text}");
    gateway.assert_stops_balanced();
}
