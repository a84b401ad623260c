//! The StoreAPI, both ways: served, asked, and through several levels.

#![allow(clippy::unwrap_used, clippy::format_push_string, clippy::cast_possible_wrap)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{TryStreamExt, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use losertree::Labels;
use losertree_prometheus::block::Interval;
use losertree_prometheus::block::xor::{Sample, XorEncoder};
use losertree_prometheus::server::ServerLimits;
use losertree_prometheus::store_api::channel::Channel;
use losertree_prometheus::store_api::proto::info::InfoRequest;
use losertree_prometheus::store_api::proto::{
    self as proto, AggrChunk, LabelNamesRequest, LabelValuesRequest, SeriesRequest, SeriesResponse, ShardInfo,
};
use losertree_prometheus::{Limits, MatchOp};
use support::grpc::{
    Config, Fake, Step, ask, chunk, client, info_client, matchers, request, series, series_of, serve, target,
    warning,
};
use support::*;
use tokio::sync::Semaphore;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::{Code, Status};

const MINUTES: i64 = 200;

fn blocks(dir: &Path, series: usize) -> PathBuf {
    make_blocks(dir, &open_metrics(&scraped(series), START_MS, MINUTES))
}

const ALL: &[(&str, i32, &str)] = &[("__name__", 2, ".+")];

fn some() -> Interval {
    Interval::new(START_MS + 7 * MINUTE_MS, START_MS + 90 * MINUTE_MS)
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_those_that_promtool_shows() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 1000);
    let served = serve(Config { blocks: Some(&data), ..Config::default() }).await;
    for (matched, selector, range) in [
        (ALL, "{__name__=~'.+'}", always()),
        (&[("from", 0, "prometheus"), ("le", 1, "")], "{from='prometheus',le!=''}", some()),
        (&[("__name__", 3, "go_.*"), ("from", 1, "x")], "{__name__!~'go_.*',from!='x'}", some()),
        (&[("nothing", 0, "x")], "{nothing='x'}", always()),
    ] {
        let wanted = dump(&data, selector, range);
        let got = ask(served.address, request(matched, range)).await;
        assert!(clip(got.answer(), range) == wanted, "{selector}");
        // Labels alone are those of the same series.
        let labels =
            ask(served.address, SeriesRequest { skip_chunks: true, ..request(matched, range) }).await;
        assert_eq!(labels.names(), wanted.keys().collect::<Vec<_>>(), "{selector}");
        assert!(labels.series.iter().all(|(_, chunks)| chunks.is_empty()));
        // The first ones are the first ones.
        for limit in [1, 7, 100_000] {
            let got = ask(served.address, SeriesRequest { limit, ..request(matched, range) }).await;
            let first: Vec<_> = wanted.keys().take(usize::try_from(limit).unwrap()).collect();
            assert_eq!(got.names(), first, "{selector}, {limit}");
        }
    }
    // Shards have each series once, and no other.
    let all = dump(&data, "{__name__=~'.+'}", always());
    let mut together = Answer::new();
    for shard_index in 0..3 {
        let labels = vec!["from".to_owned(), "__name__".to_owned()];
        let shard_info = Some(ShardInfo { shard_index, total_shards: 3, by: true, labels });
        let got = ask(served.address, SeriesRequest { shard_info, ..request(ALL, always()) }).await;
        assert!(!got.series.is_empty() && got.series.len() < all.len());
        let before = together.len();
        together.extend(got.answer());
        assert_eq!(together.len(), before + got.series.len(), "no series is in two shards");
    }
    assert!(together == all);
    served.assert_all_closed("all answers were read").await;
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_are_those_of_the_series() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 500);
    let external = [("cluster", "eu"), ("from", "")];
    let lower = serve(Config { blocks: Some(&data), external: &external, ..Config::default() }).await;
    let upper = serve(Config { store_apis: vec![lower.url()], ..Config::default() }).await;
    let all = ask(lower.address, request(ALL, always())).await;
    let go: Vec<_> =
        all.series.iter().filter(|(labels, _)| labels.get("__name__").unwrap().starts_with("go_")).collect();
    let names = |series: &mut dyn Iterator<Item = &Labels>| -> Vec<String> {
        let names =
            series.flat_map(|labels| labels.iter().map(|(name, _)| name.into_owned()).collect::<Vec<_>>());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let values = |series: &mut dyn Iterator<Item = &Labels>, name: &str| -> Vec<String> {
        let values = series.filter_map(|labels| labels.get(name).map(std::borrow::Cow::into_owned));
        values.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let every = &mut || all.series.iter().map(|(labels, _)| labels);
    let of_go = &mut || go.iter().map(|(labels, _)| labels);
    let goes = matchers(&[("__name__", 2, "go_.*"), ("cluster", 0, "eu")]);
    assert!(of_go().count() > 5);
    for served in [&lower, &upper] {
        let (mut client, connection) = client(served.address).await;
        let mut names_of = async |asked: LabelNamesRequest| {
            let asked = LabelNamesRequest { start: i64::MIN, end: i64::MAX, ..asked };
            let answer = client.label_names(asked).await.unwrap().into_inner();
            assert!(answer.warnings.is_empty());
            answer.names
        };
        let default = LabelNamesRequest::default;
        assert_eq!(names_of(default()).await, names(&mut every()));
        assert_eq!(
            names_of(LabelNamesRequest { matchers: goes.clone(), ..default() }).await,
            names(&mut of_go())
        );
        assert_eq!(names_of(LabelNamesRequest { limit: 2, ..default() }).await, names(&mut every())[..2]);
        let without = LabelNamesRequest { without_replica_labels: vec!["cluster".into()], ..default() };
        let wanted: Vec<_> = names(&mut every()).into_iter().filter(|name| name != "cluster").collect();
        assert_eq!(names_of(without).await, wanted);
        let nothing = LabelNamesRequest { matchers: matchers(&[("cluster", 0, "us")]), ..default() };
        assert!(names_of(nothing).await.is_empty());
        let mut values_of = async |label: &str, asked: LabelValuesRequest| {
            let label = label.into();
            let asked = LabelValuesRequest { label, start: i64::MIN, end: i64::MAX, ..asked };
            client.label_values(asked).await.unwrap().into_inner().values
        };
        let default = LabelValuesRequest::default;
        for name in ["__name__", "le", "cluster", "from", "nothing"] {
            assert_eq!(values_of(name, default()).await, values(&mut every(), name), "{name}");
            let matched = LabelValuesRequest { matchers: goes.clone(), ..default() };
            assert_eq!(values_of(name, matched).await, values(&mut of_go(), name), "{name}");
        }
        assert_eq!(values_of("cluster", default()).await, ["eu"]);
        let first = values_of("__name__", LabelValuesRequest { limit: 3, ..default() }).await;
        assert_eq!(first, values(&mut every(), "__name__")[..3]);
        let without = LabelValuesRequest { without_replica_labels: vec!["cluster".into()], ..default() };
        assert!(values_of("cluster", without).await.is_empty());
        // Nothing is there at this time.
        let asked = LabelValuesRequest { label: "__name__".into(), start: 5, end: 9, ..default() };
        assert!(client.label_values(asked).await.unwrap().into_inner().values.is_empty());
        connection.close().await;
    }
    upper.stop().await;
    lower.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_says_what_it_has() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 20);
    let info = async |served: &grpc::Served| {
        let (mut client, connection) = info_client(served.address).await;
        let info = client.info(InfoRequest {}).await.unwrap().into_inner();
        connection.close().await;
        let set = |set: &proto::LabelSet| grpc::labels(&set.labels).to_string();
        let store = info.store.clone().unwrap();
        assert!(store.supports_sharding && store.supports_without_replica_labels);
        assert_eq!(info.component_type, "store");
        (info.label_sets.iter().map(set).collect::<Vec<_>>(), store.min_time, store.max_time)
    };
    let nothing = serve(Config::default()).await;
    assert_eq!(info(&nothing).await, (vec![], i64::MAX, i64::MIN));
    let mut limits = Limits::default();
    limits.replica_labels = vec!["replica".into()];
    let external = [("cluster", "eu"), ("replica", "a")];
    let lower = serve(Config { blocks: Some(&data), external: &external, limits, ..Config::default() }).await;
    let (sets, min_ms, max_ms) = info(&lower).await;
    assert_eq!(sets, [r#"{cluster="eu"}"#]);
    assert!(min_ms <= START_MS && max_ms > START_MS + (MINUTES - 2) * MINUTE_MS && max_ms < START_MS * 2);
    let upper = serve(Config { store_apis: vec![lower.url()], ..Config::default() }).await;
    assert_eq!(info(&upper).await, (sets, min_ms, max_ms));
    // One that does not say may have anything at any time.
    let (silent, _) = Fake::start(vec![]).await;
    let open = serve(Config { store_apis: vec![lower.url(), silent], ..Config::default() }).await;
    assert_eq!(info(&open).await, (vec![], i64::MIN, i64::MAX));
    for served in [nothing, open, upper, lower] {
        served.stop().await;
    }
}

/// Two gateways, each with one of two blocks.
async fn halves(dir: &Path, data: &Path) -> [grpc::Served; 2] {
    let dirs = block_dirs(data);
    assert_eq!(dirs.len(), 2);
    let mut served = Vec::new();
    for (name, block) in ["one", "two"].iter().zip(&dirs) {
        let half = dir.join(name);
        fs::create_dir(&half).unwrap();
        process::copy_dir(block, &half.join(block.file_name().unwrap()));
        served.push(serve(Config { blocks: Some(&half), ..Config::default() }).await);
    }
    let Ok(served) = <[_; 2]>::try_from(served) else { unreachable!("two blocks") };
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_of_gateways_give_all_and_close_through_all_levels() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 1000);
    let [one, two] = halves(dir.path(), &data).await;
    let middle = serve(Config { store_apis: vec![one.url(), two.url()], ..Config::default() }).await;
    let upper = serve(Config { store_apis: vec![middle.url()], ..Config::default() }).await;
    let wanted = dump(&data, "{__name__=~'.+'}", always());
    let got = ask(upper.address, request(ALL, always())).await;
    assert!(got.answer() == wanted);
    // Labels are taken off below, where the order is known, and shards are divided there.
    let asked = SeriesRequest {
        without_replica_labels: vec!["from".into()],
        shard_info: Some(ShardInfo { shard_index: 0, total_shards: 2, by: false, labels: vec!["le".into()] }),
        ..request(ALL, always())
    };
    let low = ask(one.address, asked.clone()).await;
    let high = ask(upper.address, asked).await;
    assert!(high.status.is_none() && !high.series.is_empty());
    assert!(high.series.iter().all(|(labels, _)| labels.get("from").is_none()));
    let high: BTreeSet<_> = high.names().into_iter().collect();
    assert!(low.names().into_iter().all(|labels| high.contains(labels)));
    // Who goes away after one message leaves nothing open anywhere.
    for _ in 0..20 {
        let (mut client, connection) = client(upper.address).await;
        let mut messages = client.series(request(ALL, always())).await.unwrap().into_inner();
        assert!(messages.message().await.unwrap().is_some());
        drop(messages);
        for served in [&upper, &middle, &one, &two] {
            served.assert_all_closed("the call was cancelled").await;
        }
        connection.close().await;
    }
    for served in [upper, middle, one, two] {
        assert!(served.opened() > 20);
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_lost_is_an_error_or_a_warning() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = blocks(dir.path(), 200);
    let [one, two] = halves(dir.path(), &data).await;
    let lost = two.url();
    let middle = serve(Config { store_apis: vec![one.url(), lost.clone()], ..Config::default() }).await;
    let upper = serve(Config { store_apis: vec![middle.url()], ..Config::default() }).await;
    let left = ask(one.address, request(ALL, always())).await.answer();
    two.stop().await;
    let got = ask(upper.address, request(ALL, always())).await;
    let status = got.status.unwrap();
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains(&lost) && status.message().contains("connect"), "{status}");
    let warn = SeriesRequest { partial_response_disabled: false, ..request(ALL, always()) };
    let got = ask(upper.address, warn).await;
    assert!(got.answer() == left, "all that the other one has");
    assert_eq!(got.warnings.len(), 1);
    assert!(got.warnings[0].contains(&lost) && got.warnings[0].contains(&middle.url()), "{:?}", got.warnings);
    for served in [upper, middle, one] {
        served.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_are_taken_off_below_leave_series_in_order() {
    if !has_prometheus() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Without `a`, the order is the opposite one; and two become one.
    let mut text = String::new();
    for (labels, value) in
        [("a=\"1\",b=\"z\"", 1), ("a=\"2\",b=\"y\"", 2), ("a=\"3\",b=\"x\"", 3), ("a=\"4\",b=\"x\"", 3)]
    {
        for minute in 0..10 {
            text += &format!("m{{{labels}}} {value} {}\n", START_MS / 1000 + minute * 60);
        }
    }
    let data = make_blocks(dir.path(), &(text + "# EOF\n"));
    let lower = serve(Config { blocks: Some(&data), ..Config::default() }).await;
    let upper = serve(Config { store_apis: vec![lower.url()], ..Config::default() }).await;
    let mut limits = Limits::default();
    limits.replica_labels = vec!["a".into()];
    let always_off = serve(Config { store_apis: vec![lower.url()], limits, ..Config::default() }).await;
    for (served, without) in [(&lower, vec!["a".into()]), (&upper, vec!["a".into()]), (&always_off, vec![])] {
        let asked = SeriesRequest { without_replica_labels: without, ..request(ALL, always()) };
        let got = ask(served.address, asked).await;
        let names: Vec<_> = got.answer().keys().map(|labels| labels.get("b").unwrap().into_owned()).collect();
        assert_eq!(names, ["x", "y", "z"]);
        assert!(got.series.iter().all(|(labels, _)| labels.get("a").is_none()));
        // Replicas that are the same have become one.
        assert_eq!(got.series[0].1.iter().map(|chunk| chunk.min_time).collect::<Vec<_>>(), [START_MS]);
    }
    for served in [upper, always_off, lower] {
        served.stop().await;
    }
}

fn name(value: &str) -> [(&str, &str); 1] {
    [("__name__", value)]
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_misbehave_fail_a_query_or_are_left_out() {
    let send = |message: SeriesResponse| Step::Send(message);
    let good = |value| send(series(&name(value), 5, 1.0));
    let (whole, _) = Fake::start(vec![good("a"), good("m"), good("z")]).await;
    let down = AggrChunk { raw: None, counter: chunk(0, 1, 0, vec![]).raw, ..AggrChunk::default() };
    let big = vec![0; 17 << 20];
    let mut encoder = XorEncoder::new();
    for time_ms in [5, 4] {
        encoder.push(Sample { time_ms, value: 1.0 });
    }
    let disordered = chunk(4, 5, 0, encoder.finish().to_vec());
    let cases = [
        ("hangs at once", vec![Step::Hang], "timeout"),
        ("hangs in the middle", vec![good("b"), Step::Hang], "timeout"),
        (
            "fails at once",
            vec![Step::Fail(Status::permission_denied("not you"))],
            "PERMISSION_DENIED: not you",
        ),
        ("fails in the middle", vec![good("b"), Step::Fail(Status::data_loss("gone"))], "DATA_LOSS: gone"),
        ("out of order", vec![good("c"), good("b"), good("d")], "comes before"),
        (
            "a chunk of garbage",
            vec![send(series_of(&name("b"), vec![chunk(0, 1, 7, vec![1])]))],
            "encoding 7",
        ),
        (
            "a chunk that ends before it begins",
            vec![send(series_of(&name("b"), vec![chunk(1, 0, 0, vec![1])]))],
            "ends before it begins",
        ),
        (
            "a chunk that cannot be decoded",
            vec![send(series_of(&name("b"), vec![chunk(0, 1, 0, vec![0, 9, 1])]))],
            "\"b\"} cannot be decoded",
        ),
        ("samples out of order", vec![send(series_of(&name("b"), vec![disordered]))], "out of order"),
        ("aggregates", vec![send(series_of(&name("b"), vec![down]))], "downsampled"),
        ("an unknown message", vec![send(SeriesResponse::default())], "neither a series"),
        ("the same label twice", vec![send(series_of(&[("a", "1"), ("a", "2")], vec![]))], "\"a\""),
        ("a very large message", vec![send(series_of(&name("b"), vec![chunk(0, 1, 0, big)]))], "too large"),
        ("something is missing", vec![good("b"), send(warning("block 7 is gone"))], "block 7 is gone"),
    ];
    for (what, steps, part) in cases {
        let store_time = (part == "timeout").then_some(Duration::from_secs(1));
        let (address, fake) = Fake::start(steps).await;
        let store_apis = vec![whole.clone(), address.clone()];
        let gateway = serve(Config { store_apis, store_time, ..Config::default() }).await;
        let got = ask(gateway.address, request(ALL, always())).await;
        let status = got.status.unwrap();
        assert_eq!(status.code(), Code::Aborted, "{what}: {status}");
        assert!(status.message().contains(part) && status.message().contains(&address), "{what}: {status}");
        fake.assert_closed(what).await;
        gateway.assert_all_closed(what).await;
        let warn = SeriesRequest { partial_response_disabled: false, ..request(ALL, always()) };
        let got = ask(gateway.address, warn).await;
        let answer = got.answer();
        let names: BTreeSet<_> =
            answer.keys().map(|labels| labels.get("__name__").unwrap().into_owned()).collect();
        assert!(["a", "m", "z"].iter().all(|name| names.contains(*name)), "{what}: {names:?}");
        assert!(
            got.warnings.len() == 1 && got.warnings[0].contains(part) && got.warnings[0].contains(&address),
            "{what}: {:?}",
            got.warnings
        );
        fake.assert_closed(what).await;
        gateway.stop().await;
    }
    // Nobody is there at all.
    let gateway = serve(Config { store_apis: vec!["http://127.0.0.1:9".into()], ..Config::default() }).await;
    let status = ask(gateway.address, request(ALL, always())).await.status.unwrap();
    assert!(status.message().contains("cannot connect"), "{status}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_ends_is_bounded_and_read_no_faster_than_it_is_wanted() {
    let (address, fake) = Fake::start(vec![Step::SendForEver]).await;
    let mut limits = Limits::default();
    limits.series = 10_000;
    limits.query_time = Duration::from_secs(60);
    let gateway = serve(Config { store_apis: vec![address], limits, ..Config::default() }).await;
    // By the number of series.
    let got = ask(gateway.address, request(ALL, always())).await;
    let status = got.status.unwrap();
    assert_eq!((status.code(), got.series.len()), (Code::ResourceExhausted, 10_000), "{status:?}");
    assert!(status.message().contains("10000 series"), "{status}");
    fake.assert_closed("the limit of series").await;
    // By what was asked for.
    let got = ask(gateway.address, SeriesRequest { limit: 50, ..request(ALL, always()) }).await;
    assert_eq!((got.status.is_none(), got.series.len()), (true, 50));
    fake.assert_closed("the limit that was asked for").await;
    // A client that goes away.
    let (mut client, connection) = client(gateway.address).await;
    let mut messages = client.series(request(ALL, always())).await.unwrap().into_inner();
    assert!(messages.message().await.unwrap().is_some());
    connection.close().await;
    drop(messages);
    fake.assert_closed("the client has gone").await;
    gateway.assert_all_closed("the client has gone").await;
    gateway.stop().await;
    // By the time, when the client takes nothing.
    let (address, fake) = Fake::start(vec![Step::SendForEver]).await;
    let mut limits = Limits::default();
    limits.query_time = Duration::from_secs(4);
    let gateway = serve(Config { store_apis: vec![address], limits, ..Config::default() }).await;
    let (mut client, connection) = grpc::client(gateway.address).await;
    let mut messages = client.series(request(ALL, always())).await.unwrap().into_inner();
    fake.assert_closed("the time is over").await;
    gateway.assert_all_closed("the time is over").await;
    let mut count = 0_u64;
    let status = loop {
        match messages.message().await {
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("it looks whole"),
            Err(status) => break status,
        }
    };
    // What fits into the buffers on the way: 25 bytes a series.
    assert!(count < 200_000, "{count} series, {status}");
    connection.close().await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_answered_are_refused_by_name() {
    let gateway = serve(Config::default()).await;
    let refused = async |asked: SeriesRequest, code: Code, part: &str| {
        let status = ask(gateway.address, asked).await.status.unwrap();
        assert!(status.code() == code && status.message().contains(part), "{status}");
    };
    let invalid = Code::InvalidArgument;
    refused(request(&[("a", 2, "(")], always()), invalid, "\"a\"").await;
    refused(request(&[("a", 2, "((a{1000}){1000}){1000}")], always()), invalid, "\"a\"").await;
    refused(request(&[("a", 9, "")], always()), invalid, "9").await;
    refused(request(&vec![("a", 0, "b"); 129], always()), invalid, "129 matchers").await;
    refused(SeriesRequest { limit: -1, ..request(ALL, always()) }, invalid, "limit").await;
    let shard_info = Some(ShardInfo { shard_index: 3, total_shards: 3, ..ShardInfo::default() });
    refused(SeriesRequest { shard_info, ..request(ALL, always()) }, invalid, "shard").await;
    let hints = Some(prost_types::Any::default());
    refused(SeriesRequest { hints, ..request(ALL, always()) }, Code::Unimplemented, "hints").await;
    // Longer than a request may be.
    let value = "x".repeat(2 << 20);
    refused(request(&[("a", 0, &value)], always()), Code::ResourceExhausted, "1048576 bytes").await;
    // There are other services, and other methods.
    let (channel, connection) = Channel::connect(&target(gateway.address)).await.unwrap();
    let origin = format!("http://{}", gateway.address).parse().unwrap();
    let mut writes = proto::writeable_store_client::WriteableStoreClient::with_origin(channel, origin);
    let status = writes.remote_write(proto::WriteRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    connection.close().await;
    // A name is needed for values.
    let (mut client, connection) = client(gateway.address).await;
    let status = client.label_values(LabelValuesRequest::default()).await.unwrap_err();
    assert!(status.code() == invalid && status.message().contains("name"), "{status}");
    connection.close().await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_a_server_that_fails_are_missing_with_a_word_or_an_error() {
    let (failing, _) = Fake::start(vec![Step::Fail(Status::internal("broken"))]).await;
    let (hanging, _) = Fake::start(vec![Step::Hang]).await;
    let (partial, _) = Fake::start(vec![]).await;
    let store_apis = vec![failing.clone(), hanging.clone(), partial.clone()];
    let store_time = Some(Duration::from_secs(3));
    let gateway = serve(Config { store_apis, store_time, ..Config::default() }).await;
    let (mut client, connection) = client(gateway.address).await;
    let answer = client.label_names(LabelNamesRequest::default()).await.unwrap().into_inner();
    assert_eq!(answer.names, ["fake"]);
    let has = |part: &str, address: &str| {
        answer.warnings.iter().any(|warning| warning.contains(part) && warning.contains(address))
    };
    assert!(has("INTERNAL: broken", &failing), "{:?}", answer.warnings);
    assert!(has("within 3s", &hanging), "{:?}", answer.warnings);
    assert!(has("something is missing", &partial), "{:?}", answer.warnings);
    let abort = LabelNamesRequest { partial_response_strategy: 1, ..LabelNamesRequest::default() };
    let status = client.label_names(abort).await.unwrap_err();
    assert!(status.code() == Code::Aborted && status.message().contains("broken"), "{status}");
    connection.close().await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_makes_room_when_others_wait() {
    let (address, fake) = Fake::start(vec![Step::SendForEver]).await;
    let mut limits = Limits::default();
    limits.concurrent_queries = 1;
    let mut server_limits = ServerLimits::default();
    server_limits.busy_stall_time = Duration::from_secs(1);
    let gateway =
        serve(Config { store_apis: vec![address], limits, server_limits, ..Config::default() }).await;
    let (mut stalled, connection) = client(gateway.address).await;
    let mut messages = stalled.series(request(ALL, always())).await.unwrap().into_inner();
    assert!(messages.message().await.unwrap().is_some());
    // As long as nobody waits, it may.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(fake.open.load(std::sync::atomic::Ordering::Relaxed), 1);
    let got = ask(gateway.address, SeriesRequest { limit: 5, ..request(ALL, always()) }).await;
    assert_eq!((got.status.is_none(), got.series.len()), (true, 5));
    let status = loop {
        match messages.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looks whole"),
            Err(status) => break status,
        }
    };
    assert_ne!(status.code(), Code::Ok);
    connection.close().await;
    fake.assert_closed("room was made").await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_make_room_for_those_that_ask() {
    let (address, _fake) = Fake::start(vec![Step::SendForEver]).await;
    let mut server_limits = ServerLimits::default();
    server_limits.connections = 4;
    let gateway = serve(Config { store_apis: vec![address], server_limits, ..Config::default() }).await;
    // One that is being answered is not closed for another one.
    let (mut stalled, connection) = client(gateway.address).await;
    let mut messages = stalled.series(request(ALL, always())).await.unwrap().into_inner();
    assert!(messages.message().await.unwrap().is_some());
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(tokio::net::TcpStream::connect(gateway.address).await.unwrap());
    }
    for _ in 0..5 {
        let got = ask(gateway.address, SeriesRequest { limit: 5, ..request(ALL, always()) }).await;
        assert_eq!((got.status.is_none(), got.series.len()), (true, 5));
    }
    for _ in 0..1_000 {
        assert!(messages.message().await.unwrap().is_some());
    }
    connection.close().await;
    drop(silent);
    gateway.assert_all_closed("all have gone").await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_becomes_large_and_expressions_that_do_are_refused() {
    let gateway = serve(Config::default()).await;
    let many = vec![proto::LabelMatcher::default(); 200_000];
    let got = ask(gateway.address, SeriesRequest { matchers: many, ..SeriesRequest::default() }).await;
    let status = got.status.unwrap();
    assert!(status.code() == Code::ResourceExhausted && status.message().contains("decoded"), "{status}");
    let large = matchers(&[("a", 2, "(a{500}){500}")]);
    let got = ask(gateway.address, SeriesRequest { matchers: large, ..SeriesRequest::default() }).await;
    let status = got.status.unwrap();
    assert!(status.code() == Code::InvalidArgument && status.message().contains("memory"), "{status}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_it_lets_answers_end_for_a_while_and_breaks_the_rest_off() {
    let (address, fake) = Fake::start(vec![Step::SendForEver]).await;
    let mut server_limits = ServerLimits::default();
    server_limits.grace_time = Duration::from_secs(1);
    let gateway = serve(Config {
        store_apis: vec![address.clone()],
        server_limits: server_limits.clone(),
        ..Config::default()
    })
    .await;
    let (mut client, connection) = client(gateway.address).await;
    let mut messages = client.series(request(ALL, always())).await.unwrap().into_inner();
    assert!(messages.message().await.unwrap().is_some());
    let reading = tokio::spawn(async move {
        loop {
            match messages.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it looks whole"),
                Err(status) => return status,
            }
        }
    });
    let start = Instant::now();
    gateway.stop().await;
    assert!(start.elapsed() >= Duration::from_secs(1) && start.elapsed() < Duration::from_secs(30));
    let status = reading.await.unwrap();
    assert!(status.code() == Code::Unavailable && status.message().contains("stopped"), "{status}");
    connection.close().await;
    fake.assert_closed("it was stopped").await;
    // One that ends in time is whole, and nothing new is taken. The last series may go on, so it is not given.
    let send = |value| Step::Send(series(&name(value), 0, 1.0));
    let (slow, _) = Fake::start(vec![send("a"), send("b"), Step::Hang]).await;
    server_limits.grace_time = Duration::from_secs(30);
    let store_time = Some(Duration::from_secs(3));
    let gateway =
        serve(Config { store_apis: vec![slow], store_time, server_limits, ..Config::default() }).await;
    let (mut client, connection) = grpc::client(gateway.address).await;
    let warn = SeriesRequest { partial_response_disabled: false, ..request(ALL, always()) };
    let mut messages = client.series(warn).await.unwrap().into_inner();
    let stopping = tokio::spawn(gateway.stop());
    let mut parts = 0;
    while messages.message().await.unwrap().is_some() {
        parts += 1;
    }
    assert_eq!(parts, 2, "a series, and the warning that the server hangs");
    assert!(client.series(request(ALL, always())).await.is_err());
    stopping.await.unwrap();
    connection.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_nonsense_is_disconnected() {
    let mut server_limits = ServerLimits::default();
    server_limits.head_time = Duration::from_secs(1);
    server_limits.body_time = Duration::from_secs(1);
    let gateway = serve(Config { server_limits, ..Config::default() }).await;
    let address = gateway.address;
    let said = tokio::task::spawn_blocking(move || {
        let say = |bytes: &[u8]| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            stream.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            // It is broken off, or ends: both are an end.
            let _ = stream.read_to_end(&mut answer);
            answer.len()
        };
        let start = Instant::now();
        // The last ones are settings, or an error that says why.
        assert_eq!(say(b""), say(b""));
        assert!(say(b"PRI * HTTP/2.0\r\n") < 200);
        assert!(say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") < 200);
        assert!(say(&[0xff; 100]) < 200);
        start.elapsed()
    });
    assert!(said.await.unwrap() < Duration::from_secs(25), "nobody is waited for longer than is said");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_one_moment_the_first_server_wins() {
    let of = |values: &[f64]| {
        let (mut encoder, last) = (XorEncoder::new(), values.len() as i64 - 1);
        for (time_ms, value) in (0..).zip(values) {
            encoder.push(Sample { time_ms, value: *value });
        }
        vec![Step::Send(series_of(&name("a"), vec![chunk(0, last, 0, encoder.finish().to_vec())]))]
    };
    let (one, _) = Fake::start(of(&[1.0; 10])).await;
    let (two, _) = Fake::start(of(&[2.0; 20])).await;
    for (store_apis, from) in [(vec![one.clone(), two.clone()], 10), (vec![two, one], 0)] {
        let gateway = serve(Config { store_apis, ..Config::default() }).await;
        let selector = selector(&[("__name__", MatchOp::Equal, "a")], always());
        let turn = gateway.gateway.turn().await.unwrap();
        let mut query = gateway.gateway.query("a test", &selector, turn.deadline).await.unwrap();
        let series = query.try_next().await.unwrap().unwrap();
        assert!(query.try_next().await.unwrap().is_none());
        let samples = series.chunks.iter().flat_map(|chunk| samples(&chunk.data));
        let values: Vec<_> = samples.map(|sample| sample.value.to_bits()).collect();
        let wanted: Vec<_> = (0..20).map(|at| if at < from { 1_f64 } else { 2.0 }.to_bits()).collect();
        assert_eq!(values, wanted);
        // By the StoreAPI, who asks decides: it has both.
        let got = ask(gateway.address, request(ALL, always())).await;
        assert_eq!(got.series[0].1.len(), 2);
        drop((query, turn));
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_counts_series_and_neither_warnings_nor_replicas() {
    // F13
    let send = |value, replica| Step::Send(series(&[("__name__", value), ("replica", replica)], 0, 1.0));
    let missing = || Step::Send(warning("something is missing"));
    let steps =
        vec![missing(), missing(), missing(), send("a", "1"), send("a", "2"), send("b", "1"), send("c", "1")];
    let (address, _) = Fake::start(steps).await;
    let gateway = serve(Config { store_apis: vec![address], ..Config::default() }).await;
    let asked = SeriesRequest {
        limit: 2,
        without_replica_labels: vec!["replica".into()],
        partial_response_disabled: false,
        ..request(ALL, always())
    };
    let got = ask(gateway.address, asked).await;
    assert!(got.status.is_none() && got.warnings.len() == 3, "{got:?}");
    let names: Vec<_> = got.names().into_iter().map(ToString::to_string).collect();
    assert_eq!(names, [r#"{__name__="a"}"#, r#"{__name__="b"}"#]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_pass_and_chunks_need_not_be_in_order() {
    let chunks = vec![chunk(20, 29, 2, vec![3]), chunk(0, 9, 1, vec![1]), chunk(10, 19, 0, vec![0, 0])];
    let mut parts = chunks.clone().into_iter();
    // A series in two messages.
    let (first, second) = (parts.by_ref().take(2).collect(), parts.collect());
    let steps = vec![Step::Send(series_of(&name("h"), first)), Step::Send(series_of(&name("h"), second))];
    let (address, fake) = Fake::start(steps).await;
    let gateway = serve(Config { store_apis: vec![address], ..Config::default() }).await;
    let got = ask(gateway.address, request(&[("__name__", 0, "h")], some())).await;
    assert!(got.status.is_none() && got.series.len() == 1, "{got:?}");
    let mut wanted = chunks;
    wanted.sort_by_key(|chunk| chunk.min_time);
    assert_eq!(got.series[0].1, wanted);
    // What was asked is what is asked.
    let asked = fake.asked.lock().unwrap().take().unwrap();
    assert_eq!((asked.min_time, asked.max_time), (some().min_ms, some().max_ms));
    assert_eq!(asked.matchers, matchers(&[("__name__", 0, "h")]));
    assert!(asked.partial_response_disabled && asked.partial_response_strategy == 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_too_many_or_too_slow_are_refused() {
    // They end when they are told to, and not before the third call has come.
    let go_on = Arc::new(Semaphore::new(0));
    let last = Step::Send(series(&name("a"), 5, 1.0));
    let (address, _) = Fake::start(vec![Step::Wait(Arc::clone(&go_on)), last]).await;
    let mut server_limits = ServerLimits::default();
    server_limits.connections = 2;
    server_limits.body_time = Duration::from_secs(1);
    let store_apis = vec![address];
    let gateway = serve(Config { store_apis, server_limits, ..Config::default() }).await;
    let (mut client, connection) = client(gateway.address).await;
    let warn = || SeriesRequest { partial_response_disabled: false, ..request(ALL, always()) };
    let hanging = [client.series(warn()).await.unwrap(), client.series(warn()).await.unwrap()];
    let status = client.series(warn()).await.unwrap_err();
    assert!(status.code() == Code::ResourceExhausted && status.message().contains("2 calls"), "{status}");
    // There is room again when they have ended.
    go_on.add_permits(hanging.len());
    for call in hanging {
        assert!(call.into_inner().message().await.unwrap().is_some());
    }
    let start = Instant::now();
    while client
        .label_names(LabelNamesRequest { limit: -1, ..LabelNamesRequest::default() })
        .await
        .unwrap_err()
        .code()
        != Code::InvalidArgument
    {
        assert!(start.elapsed() < Duration::from_secs(30), "calls that have ended make room");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    connection.close().await;
    // A request that does not come.
    let (mut channel, connection) = Channel::connect(&target(gateway.address)).await.unwrap();
    let body = Body::new(StreamBody::new(stream::pending::<Result<Frame<bytes::Bytes>, Status>>()));
    let uri = format!("http://{}/thanos.Store/Series", gateway.address);
    let request = hyper::Request::post(uri).header("content-type", "application/grpc").body(body).unwrap();
    let answer = channel.call(request).await.unwrap();
    let status = Status::from_header_map(answer.headers()).unwrap();
    assert!(status.code() == Code::DeadlineExceeded && status.message().contains("1s"), "{status}");
    connection.close().await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_labels_that_waits_is_given_up_with_its_client_and_when_it_is_stopped() {
    // It takes requests, and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remotes = vec![format!("http://{}", silent.local_addr().unwrap())];
    let mut server_limits = ServerLimits::default();
    server_limits.grace_time = Duration::from_secs(1);
    let gateway = serve(Config { remotes, server_limits, ..Config::default() }).await;
    let call = async || {
        let (mut client, connection) = client(gateway.address).await;
        let call = tokio::spawn(async move { client.label_names(LabelNamesRequest::default()).await });
        let start = Instant::now();
        while gateway.ledger.snapshot().is_all_closed() {
            assert!(start.elapsed() < Duration::from_secs(30), "the server is asked");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        (call, connection)
    };
    let (given_up, connection) = call().await;
    connection.close().await;
    gateway.assert_all_closed("the client has gone").await;
    assert!(given_up.await.unwrap().is_err());
    let (stopped, connection) = call().await;
    gateway.stop().await;
    assert!(stopped.await.unwrap().is_err());
    connection.close().await;
}

#[test]
fn the_messages_are_unchanged() {
    let sums = [
        ("info/infopb/rpc.proto", 3118, 0x2dc0_25d6),
        ("store/labelpb/types.proto", 518, 0x9419_7251),
        ("store/storepb/prompb/types.proto", 6409, 0xd63a_97b7),
        ("store/storepb/rpc.proto", 8319, 0x7c09_f973),
        ("store/storepb/types.proto", 1718, 0xdd8d_f94d),
    ];
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    for (file, len, sum) in sums {
        let bytes = fs::read(dir.join(file)).unwrap();
        assert_eq!((bytes.len(), crc32c::crc32c(&bytes)), (len, sum), "{file} is as Thanos has it");
    }
}
