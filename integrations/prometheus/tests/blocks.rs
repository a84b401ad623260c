//! Reading blocks: all that promtool says is in them, within the memory that there is, and an error for each that is damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::type_complexity, clippy::format_push_string)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use losertree::resource::{BytePool, Reservation};
use losertree::response::PartialResponseStrategy;
use losertree::stream::Closer;
use losertree::{LeakLedger, Series};
use losertree_prometheus::MatchOp::{Equal, NotEqual, NotRegex, Regex};
use losertree_prometheus::block::{Block, Interval, Problem};
use losertree_prometheus::{BlockStore, Gateway, Limits, MIN_BUDGET_BYTES, QueryError, StoreError};
use support::*;

#[test]
fn every_sample_is_read() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(1500), START_MS, 200));
    let memory = memory();
    let all = selector(&[("__name__", Regex, ".+")], always());
    for buffer in [1, 64 << 10] {
        let mut read = Answer::new();
        for block in block_dirs(&data) {
            add(&mut read, &read_series(&block, &BTreeMap::new(), &all, &memory, buffer).unwrap());
        }
        assert!(read.len() > 1000);
        assert_eq!(read, dump(&data, "{__name__=~'.+'}", always()));
    }
    assert_eq!(memory.buffers.snapshot().used_bytes, 0);
    assert_eq!(memory.lists.snapshot().used_bytes, 0);
}

#[test]
fn matchers_select_what_prometheus_selects() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = make_blocks(dir.path(), &open_metrics(&scraped(1500), START_MS, 10));
    let memory = memory();
    let cases: &[(&str, &[(&str, losertree_prometheus::MatchOp, &str)])] = &[
        ("{from='prometheus'}", &[("from", Equal, "prometheus")]),
        ("{from!='prometheus'}", &[("from", NotEqual, "prometheus")]),
        ("{from=~'prom.*|redis.*'}", &[("from", Regex, "prom.*|redis.*")]),
        ("{from=~'prom'}", &[("from", Regex, "prom")]),
        ("{from!~'prom.*'}", &[("from", NotRegex, "prom.*")]),
        ("{le='',from='prometheus'}", &[("le", Equal, ""), ("from", Equal, "prometheus")]),
        ("{le!=''}", &[("le", NotEqual, "")]),
        ("{le=~'.*',from=~'p.+'}", &[("le", Regex, ".*"), ("from", Regex, "p.+")]),
        ("{le=~'.+'}", &[("le", Regex, ".+")]),
        ("{le!~'.+',from=~'.+'}", &[("le", NotRegex, ".+"), ("from", Regex, ".+")]),
        ("{le=~'0.1|',from=~'.+'}", &[("le", Regex, "0.1|"), ("from", Regex, ".+")]),
        ("{nothing='',from=~'a.*'}", &[("nothing", Equal, ""), ("from", Regex, "a.*")]),
        ("{nothing='x'}", &[("nothing", Equal, "x")]),
        ("{nothing!='x',from=~'a.*'}", &[("nothing", NotEqual, "x"), ("from", Regex, "a.*")]),
        (
            "{__name__=~'go_.*',from!~'re.*',quantile!='0.5'}",
            &[("__name__", Regex, "go_.*"), ("from", NotRegex, "re.*"), ("quantile", NotEqual, "0.5")],
        ),
        ("{__name__=~'(?i)GO_.*'}", &[("__name__", Regex, "(?i)GO_.*")]),
        ("{le=~'[\\\\d.]+'}", &[("le", Regex, r"[\d.]+")]),
    ];
    let some_minutes = Interval::new(START_MS + MINUTE_MS, START_MS + 3 * MINUTE_MS);
    for (text, matchers) in cases {
        let mut read = Answer::new();
        for block in block_dirs(&data) {
            let selector = selector(matchers, some_minutes);
            add(&mut read, &read_series(&block, &BTreeMap::new(), &selector, &memory, 8 << 10).unwrap());
        }
        let wanted = dump(&data, text, some_minutes);
        assert!(!wanted.is_empty() || text.contains("'x'}") || text.contains("'prom'"), "{text}");
        assert_eq!(clip(read, some_minutes), wanted, "{text}");
    }
}

#[test]
fn external_labels_override_and_keep_series_sorted() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = "z{a=\"1\"} 1 1700000000\nz{a=\"1\",b=\"2\"} 2 1700000000\nz{a=\"1\",d=\"2\"} 3 1700000000\n\
                y{replica=\"b\",zone=\"1\"} 4 1700000000\ny{replica=\"a\",zone=\"2\"} 5 1700000000\nx{c=\"own\"} 6 1700000000\n# EOF\n";
    let data = make_blocks(dir.path(), text);
    let external = BTreeMap::from([
        ("c".into(), "ext".into()),
        ("replica".into(), String::new()),
        ("Cluster".into(), "eu".into()),
    ]);
    let memory = memory();
    let block = &block_dirs(&data)[0];
    let all = selector(&[("__name__", Regex, ".+")], always());
    let series = read_series(block, &external, &all, &memory, 1).unwrap();
    let text: Vec<_> = series.iter().map(|series| series.labels.to_string()).collect();
    assert_eq!(
        text,
        [
            r#"{Cluster="eu", __name__="x", c="ext"}"#,
            r#"{Cluster="eu", __name__="y", c="ext", zone="1"}"#,
            r#"{Cluster="eu", __name__="y", c="ext", zone="2"}"#,
            r#"{Cluster="eu", __name__="z", a="1", b="2", c="ext"}"#,
            r#"{Cluster="eu", __name__="z", a="1", c="ext"}"#,
            r#"{Cluster="eu", __name__="z", a="1", c="ext", d="2"}"#,
        ]
    );
    let count = |matchers: &[_]| {
        read_series(block, &external, &selector(matchers, always()), &memory, 1).unwrap().len()
    };
    // What a label was before it was overridden does not count.
    assert_eq!(count(&[("c", Equal, "own"), ("__name__", Equal, "x")]), 0);
    assert_eq!(count(&[("c", Equal, "ext"), ("__name__", Equal, "x")]), 1);
    assert_eq!(count(&[("replica", Equal, "b")]), 0);
    assert_eq!(count(&[("replica", Equal, ""), ("zone", NotEqual, "")]), 2);
    // Only `__name__` comes before.
    let external = BTreeMap::from([("c".into(), "ext".into())]);
    let series = read_series(block, &external, &all, &memory, 1).unwrap();
    assert!(series.is_sorted_by_key(|series| series.labels.clone()));
    assert_eq!(series.len(), 6);
    assert_eq!(memory.lists.snapshot().used_bytes, 0);
}

#[test]
fn replica_labels_are_taken_off_and_series_stay_sorted() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = "y{replica=\"a\",zone=\"2\"} 1 1700000000\ny{replica=\"b\",zone=\"1\"} 2 1700000000\n\
                y{replica=\"b\",zone=\"2\"} 3 1700000000\nz{a=\"1\"} 4 1700000000\n# EOF\n";
    let data = make_blocks(dir.path(), text);
    let memory = memory();
    let read = |matchers: &[_]| {
        let mut selector = selector(matchers, always());
        selector.without = ["replica".to_owned()].into();
        let series = read_series(&block_dirs(&data)[0], &BTreeMap::new(), &selector, &memory, 1).unwrap();
        series.iter().map(|series| series.labels.to_string()).collect::<Vec<_>>()
    };
    let (one, two) = (r#"{__name__="y", zone="1"}"#, r#"{__name__="y", zone="2"}"#);
    assert_eq!(read(&[("__name__", Regex, ".+")]), [one, two, two, r#"{__name__="z", a="1"}"#]);
    // The matchers see them.
    assert_eq!(read(&[("replica", Equal, "b")]), [one, two]);
}

/// A block with two series and three chunks, as files.
fn small_block(dir: &Path) -> std::path::PathBuf {
    let mut text = String::new();
    for minute in 0..130 {
        text.push_str(&format!("a{{b=\"c\"}} {minute} {}\n", START_MS / 1000 + minute * 10));
    }
    text.push_str(&format!("a{{b=\"d\"}} 7 {}\n# EOF\n", START_MS / 1000));
    block_dirs(&make_blocks(dir, &text)).remove(0)
}

#[test]
fn each_byte_that_is_changed_or_missing_is_an_error_with_a_place_or_changes_nothing() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let block = small_block(dir.path());
    let memory = memory();
    let selectors = [
        selector(&[("__name__", Regex, ".+")], always()),
        selector(&[("b", NotEqual, "d")], Interval::new(START_MS, START_MS + 100_000)),
    ];
    let read = |number: usize| read_series(&block, &BTreeMap::new(), &selectors[number], &memory, 1);
    let whole = [read(0).unwrap(), read(1).unwrap()];
    assert_eq!((whole[0].len(), whole[0][0].chunks.len(), whole[1].len()), (2, 2, 1));
    assert_eq!(whole[1][0].chunks.len(), 1);
    let mut errors = 0;
    for name in ["index", "chunks/000001", "tombstones", "meta.json"] {
        let path = block.join(name);
        let bytes = fs::read(&path).unwrap();
        let mut check = |changed: &[u8], what: String| {
            fs::write(&path, changed).unwrap();
            for (number, whole) in whole.iter().enumerate() {
                match read(number) {
                    // JSON has no checksum: other times and numbers are as good.
                    Ok(series) => assert!(series == *whole || name == "meta.json", "{name}: {what}"),
                    Err(error) => {
                        errors += 1;
                        assert!(error.is_corrupt(), "{name}: {what}: {error}");
                        assert!(error.path.starts_with(&block) && !error.to_string().is_empty());
                        assert!(error.offset <= bytes.len() as u64 + 8, "{name}: {what}: {error}");
                    }
                }
            }
            assert_eq!(memory.buffers.snapshot().used_bytes + memory.lists.snapshot().used_bytes, 0);
        };
        for at in 0..bytes.len() {
            check(&bytes[..at], format!("cut to {at} bytes"));
            for bit in [0x01, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= bit;
                check(&changed, format!("byte {at} ^ {bit:#x}"));
            }
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(errors > 1000, "{errors}");
    assert_eq!(read(0).unwrap(), whole[0]);
}

#[test]
fn what_is_no_block_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Block::open(dir.path(), &BTreeMap::new(), &LeakLedger::off()).unwrap_err();
    assert!(matches!(open().problem, Problem::Io(_)));
    let meta = |text: &str| fs::write(dir.path().join("meta.json"), text).unwrap();
    meta("{");
    assert!(matches!(open().problem, Problem::Json(_)));
    meta(r#"{"ulid":"x","minTime":0,"maxTime":1,"version":2}"#);
    assert!(matches!(open().problem, Problem::Version(2)));
    meta(r#"{"ulid":"x","minTime":0,"maxTime":1,"version":1,"thanos":{"downsample":{"resolution":300000}}}"#);
    assert!(open().to_string().contains("downsampled"));
    meta(r#"{"ulid":"x","minTime":2,"maxTime":1,"version":1}"#);
    assert!(matches!(open().problem, Problem::Invalid(_)));
}

/// Writes the index of the small block anew, in version 1: symbols and series are referred to by their byte.
fn index_of_version_1(segment: &[u8]) -> Vec<u8> {
    let uvarint = |out: &mut Vec<u8>, number: u64| prost::encoding::encode_varint(number, out);
    let signed = |out: &mut Vec<u8>, number: i64| {
        prost::encoding::encode_varint(((number << 1) ^ (number >> 63)).cast_unsigned(), out);
    };
    let sealed = |out: &mut Vec<u8>, contents: &[u8]| {
        out.extend(u32::try_from(contents.len()).unwrap().to_be_bytes());
        out.extend(contents);
        out.extend(crc32c::crc32c(contents).to_be_bytes());
    };
    // The places of the three chunks, which follow one another behind the header.
    let mut places = Vec::new();
    let mut at = 8;
    while at < segment.len() {
        places.push(at as u64);
        let mut rest = &segment[at..];
        let len = prost::encoding::decode_varint(&mut rest).unwrap();
        at = segment.len() - rest.len() + 1 + usize::try_from(len).unwrap() + 4;
    }
    assert_eq!(places.len(), 3);

    let mut index = vec![0xba, 0xaa, 0xd7, 0x00, 1];
    let symbols_at = index.len() as u64;
    let strings = ["__name__", "a", "b", "c", "d"];
    let mut symbols = u32::try_from(strings.len()).unwrap().to_be_bytes().to_vec();
    let mut references = std::collections::HashMap::new();
    for string in strings {
        references.insert(string, symbols_at + 4 + symbols.len() as u64);
        uvarint(&mut symbols, string.len() as u64);
        symbols.extend(string.as_bytes());
    }
    sealed(&mut index, &symbols);

    let series_at = index.len() as u64;
    let mut series = Vec::new();
    let last = |samples: i64| START_MS + (samples - 1) * 10_000;
    for (value, chunks) in [
        ("c", vec![(START_MS, last(120), places[0]), (last(121), last(130), places[1])]),
        ("d", vec![(START_MS, START_MS, places[2])]),
    ] {
        let mut entry = Vec::new();
        uvarint(&mut entry, 2);
        for string in ["__name__", "a", "b", value] {
            uvarint(&mut entry, references[string]);
        }
        uvarint(&mut entry, chunks.len() as u64);
        let mut before: Option<(i64, u64)> = None;
        for (min_ms, max_ms, place) in chunks {
            match before {
                None => signed(&mut entry, min_ms),
                Some((end_ms, _)) => uvarint(&mut entry, (min_ms - end_ms).cast_unsigned()),
            }
            uvarint(&mut entry, (max_ms - min_ms).cast_unsigned());
            match before {
                None => uvarint(&mut entry, place),
                Some((_, other)) => signed(&mut entry, place.cast_signed() - other.cast_signed()),
            }
            before = Some((max_ms, place));
        }
        series.push(u32::try_from(index.len()).unwrap());
        uvarint(&mut index, entry.len() as u64);
        index.extend(&entry);
        index.extend(crc32c::crc32c(&entry).to_be_bytes());
    }

    let indices_at = index.len() as u64;
    let mut table = 4_u32.to_be_bytes().to_vec();
    // Not in order, as those of version 1 may be.
    for (name, value, of) in [
        ("b", "d", &series[1..]),
        ("", "", &series[..]),
        ("b", "c", &series[..1]),
        ("__name__", "a", &series[..]),
    ] {
        table.push(2);
        for string in [name, value] {
            uvarint(&mut table, string.len() as u64);
            table.extend(string.as_bytes());
        }
        uvarint(&mut table, index.len() as u64);
        let mut postings = u32::try_from(of.len()).unwrap().to_be_bytes().to_vec();
        postings.extend(of.iter().flat_map(|series| series.to_be_bytes()));
        sealed(&mut index, &postings);
    }
    let table_at = index.len() as u64;
    sealed(&mut index, &table);
    let toc: Vec<u8> = [symbols_at, series_at, indices_at, 0, indices_at, table_at]
        .iter()
        .flat_map(|place| place.to_be_bytes())
        .collect();
    index.extend(&toc);
    index.extend(crc32c::crc32c(&toc).to_be_bytes());
    index
}

#[test]
fn version_1_of_the_index_is_read() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let block = small_block(dir.path());
    let memory = memory();
    let selectors = [
        selector(&[("__name__", Equal, "a")], always()),
        selector(&[("b", NotEqual, "c")], always()),
        selector(&[("b", Regex, "c|x")], Interval::new(START_MS + 1_205_000, START_MS + 1_300_000)),
    ];
    let read = || {
        selectors
            .each_ref()
            .map(|selector| read_series(&block, &BTreeMap::new(), selector, &memory, 1).unwrap())
    };
    let wanted = read();
    assert_eq!(wanted.each_ref().map(Vec::len), [2, 1, 1]);
    let index = index_of_version_1(&fs::read(block.join("chunks/000001")).unwrap());
    fs::write(block.join("index"), index).unwrap();
    assert_eq!(read(), wanted);
}

/// A gateway for the blocks of a directory, with the least budget.
fn gateway(data: &Path, change: impl FnOnce(&mut Limits)) -> (Arc<Gateway>, Closer) {
    let (ledger, closer) = (LeakLedger::sites(), Closer::current().unwrap());
    let store = Arc::new(BlockStore::new(Some(data.into()), BTreeMap::new(), &ledger));
    let mut limits = Limits::default();
    limits.budget_bytes = MIN_BUDGET_BYTES;
    change(&mut limits);
    (Arc::new(Gateway::new(store, limits, &ledger, &closer).unwrap()), closer)
}

/// All that a query gives, or why not.
async fn ask(gateway: &Gateway) -> Result<Vec<Series>, QueryError> {
    let turn = gateway.turn().await?;
    let all = selector(&[("__name__", Regex, ".+")], always());
    let mut query = gateway.query("test", &all, turn.deadline).await?;
    let mut answer = Vec::new();
    while let Some(series) = query.next().await {
        answer.push(series?);
    }
    Ok(answer)
}

#[track_caller]
fn assert_nothing_is_held(gateway: &Gateway) {
    let record = gateway.ledger().snapshot();
    assert!(record.is_all_closed(), "{record}");
    let pools = [&gateway.memory().buffers, &gateway.memory().lists, gateway.admission()];
    assert!(pools.iter().all(|pool| pool.snapshot().used_bytes == 0 && pool.snapshot().waiting == 0));
}

/// Waits until so many wait for a pool.
async fn waiting(pool: &BytePool, count: usize) {
    let waited = async {
        while pool.snapshot().waiting != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap();
}

/// Takes all that is left of a budget, and waits for a byte more: the query that gives something back is behind it.
async fn take_all(pool: &BytePool) -> tokio::task::JoinHandle<[Reservation; 2]> {
    let [mut rest, mut more] = [pool.reservation(), pool.reservation()];
    rest.try_grow(pool.budget_bytes() - pool.snapshot().used_bytes).unwrap();
    let taking = tokio::spawn(async move {
        more.grow_timeout(1, Duration::from_secs(60)).await.unwrap();
        [rest, more]
    });
    waiting(pool, 1).await;
    taking
}

/// Two blocks of the same series, whose samples are between each other.
fn overlapping_blocks(dir: &Path) -> std::path::PathBuf {
    let served = dir.join("served");
    fs::create_dir(&served).unwrap();
    for (name, offset) in [("one", 0), ("two", 5)] {
        let mut text = String::new();
        for series in 0..20 {
            for number in 0..200 {
                let seconds = START_MS / 1000 + number * 10 + offset;
                text.push_str(&format!("a{{series=\"{series:02}\"}} {number} {seconds}\n"));
            }
        }
        fs::create_dir(dir.join(name)).unwrap();
        let block = block_dirs(&make_blocks(&dir.join(name), &(text + "# EOF\n"))).remove(0);
        fs::rename(&block, served.join(block.file_name().unwrap())).unwrap();
    }
    served
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_are_admitted_in_turn_when_there_is_memory() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (gateway, closer) = gateway(&overlapping_blocks(dir.path()), |limits| limits.concurrent_queries = 64);
    gateway.store().sync().unwrap();
    let admission = gateway.admission();
    let mut all = admission.reservation();
    all.try_grow(admission.budget_bytes()).unwrap();
    // They come one after the other, and each says when it was admitted and keeps what it has until it is told.
    let (admitted, mut order) = tokio::sync::mpsc::unbounded_channel();
    let mut queries = Vec::new();
    for number in 0..6 {
        let (asked, admitted) = (Arc::clone(&gateway), admitted.clone());
        queries.push(tokio::spawn(async move {
            let turn = asked.turn().await.unwrap();
            let all = selector(&[("__name__", Regex, ".+")], always());
            let mut query = asked.query("test", &all, turn.deadline).await.unwrap();
            let (go, going) = tokio::sync::oneshot::channel::<()>();
            admitted.send((number, go)).unwrap();
            let _ = going.await;
            let mut samples = 0;
            while let Some(series) = query.next().await {
                samples +=
                    series.unwrap().chunks.iter().flat_map(|chunk| support::samples(&chunk.data)).count();
            }
            samples
        }));
        waiting(admission, number + 1).await;
    }
    // A little at a time, so that there is never room for two more, and who is let in says so before others are.
    let (mut seen, mut kept) = (Vec::new(), Vec::new());
    while seen.len() < 6 {
        let before = admission.snapshot().waiting;
        all.shrink(16 << 10);
        if admission.snapshot().waiting < before {
            let (number, go) = order.recv().await.unwrap();
            seen.push(number);
            kept.push(go);
        }
    }
    drop((all, kept));
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    for query in queries {
        assert_eq!(query.await.unwrap(), 20 * 400);
    }
    closer.idle().await;
    assert_nothing_is_held(&gateway);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merging_waits_for_memory_and_gives_up_in_time() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = overlapping_blocks(dir.path());
    for patience in [Duration::from_secs(60), Duration::from_millis(50)] {
        let (gateway, closer) = gateway(&data, |limits| limits.patience = patience);
        gateway.store().sync().unwrap();
        let lists = &gateway.memory().lists;
        let whole = ask(&gateway).await.unwrap();
        assert_eq!(whole.len(), 20);
        let turn = gateway.turn().await.unwrap();
        let all = selector(&[("__name__", Regex, ".+")], always());
        let mut query = gateway.query("test", &all, turn.deadline).await.unwrap();
        let first = query.next().await.unwrap().unwrap();
        let others = take_all(lists).await;
        if patience > Duration::from_secs(1) {
            // It waits, until there is memory.
            let rest = tokio::spawn(async move { query.map(Result::unwrap).collect::<Vec<_>>().await });
            let others = others.await.unwrap();
            waiting(lists, 1).await;
            assert!(!rest.is_finished());
            drop(others);
            assert_eq!([vec![first], rest.await.unwrap()].concat(), whole);
            // One that goes away while it waits leaves its place.
            let mut query = gateway.query("test", &all, turn.deadline).await.unwrap();
            query.next().await.unwrap().unwrap();
            let others = take_all(lists).await;
            let gone = tokio::spawn(async move { query.next().await.map(|series| series.is_ok()) });
            let _others = others.await.unwrap();
            waiting(lists, 1).await;
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
            waiting(lists, 0).await;
        } else {
            let error = loop {
                match query.next().await.unwrap() {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, QueryError::NoMemory { bytes, .. } if bytes > 0), "{error}");
            assert_eq!(error.status(), 503);
            query.close().await.unwrap();
            drop(query);
            drop(others.await.unwrap());
        }
        drop(turn);
        closer.idle().await;
        assert_nothing_is_held(&gateway);
    }
}

#[tokio::test]
async fn a_block_that_is_damaged_leaves_nothing_open_and_the_others_go_on() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let damaged = small_block(dir.path());
    let other = make_blocks(
        &tempfile::tempdir_in(dir.path()).unwrap().keep(),
        &open_metrics(&scraped(5), START_MS, 10),
    );
    let other = block_dirs(&other).remove(0);
    let beside = data.join(other.file_name().unwrap());
    fs::rename(&other, &beside).unwrap();
    let others =
        read_series(&beside, &BTreeMap::new(), &selector(&[("from", Regex, ".+")], always()), &memory(), 1);
    let others = others.unwrap();
    assert_eq!(others.len(), 5);
    let (aborts, closer) = gateway(&data, |_| {});
    let (warns, warned) = gateway(&data, |limits| limits.partial_response = PartialResponseStrategy::Warn);
    for gateway in [&aborts, &warns] {
        assert!(gateway.store().sync().unwrap().errors.is_empty());
        assert_eq!(ask(gateway).await.unwrap().len(), 7);
    }
    let (mut left_out, mut failed) = (0, 0);
    for name in ["index", "chunks/000001", "tombstones", "meta.json"] {
        let path = damaged.join(name);
        let bytes = fs::read(&path).unwrap();
        let cut = (0..bytes.len()).map(|len| bytes[..len].to_vec());
        let flipped = (0..bytes.len()).map(|at| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0xff;
            flipped
        });
        for changed in cut.chain(flipped) {
            fs::write(&path, changed).unwrap();
            for (gateway, closer) in [(&aborts, &closer), (&warns, &warned)] {
                // Opened anew: a file of the same length and time would be taken for the same.
                gateway.store().close();
                for error in gateway.store().sync().unwrap().errors {
                    left_out += 1;
                    assert_eq!(*error.path, *path, "{error}");
                    assert!(error.is_corrupt() && error.offset <= bytes.len() as u64 + 8, "{error}");
                }
                match ask(gateway).await {
                    Ok(answer) => {
                        let whole = others.iter().filter(|series| answer.contains(series)).count();
                        assert_eq!(whole, others.len(), "{}", path.display());
                    }
                    Err(error) => {
                        failed += 1;
                        assert!(Arc::ptr_eq(gateway, &aborts), "{error}");
                        let QueryError::Store(error) = &error else { panic!("{error}") };
                        let Some(StoreError::Block(error)) = error.source_error() else { panic!("{error}") };
                        assert!(error.path.starts_with(&damaged) && error.is_corrupt(), "{error}");
                        assert!(error.offset <= bytes.len() as u64 + 8, "{error}");
                    }
                }
                closer.idle().await;
                assert_nothing_is_held(gateway);
                assert!(gateway.store().held().is_empty());
            }
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert!(left_out > 1_000 && failed > 200, "{left_out} left out, {failed} failed");
    aborts.store().close();
    assert!(aborts.store().sync().unwrap().errors.is_empty());
    assert_eq!(ask(&aborts).await.unwrap().len(), 7);
}
