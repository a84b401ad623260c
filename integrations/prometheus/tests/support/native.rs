//! An exporter of native histograms, as Prometheus scrapes them: messages of `io.prometheus.client`, each with its length before it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message;

use super::process::listen;

/// All metrics of a name. Those fields of `io/prometheus/client/metrics.proto` of `prometheus/client_model` that are written here.
#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "3")]
    kind: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<Metric>,
}

const COUNTER: i32 = 0;
const HISTOGRAM: i32 = 4;

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<LabelPair>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Counter {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(double, tag = "2")]
    sum: f64,
    #[prost(double, tag = "4")]
    count_float: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(double, tag = "8")]
    zero_count_float: f64,
    #[prost(message, repeated, tag = "12")]
    positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "14")]
    positive_counts: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

/// What the exporter says when it is asked for the n-th time. Its buckets are others from the fourth time on: Prometheus begins a new
/// chunk then.
fn exposition(scrape: u64) -> Vec<u8> {
    let label = |name: &str, value: &str| LabelPair { name: name.into(), value: value.into() };
    let schema = if scrape < 4 { 3 } else { 2 };
    let spans = || vec![BucketSpan { offset: 0, length: 2 }, BucketSpan { offset: 3, length: 1 }];
    let spread = f64::from(u32::try_from(scrape).unwrap());
    let native = |code: &str, times: u64| Metric {
        labels: vec![label("code", code)],
        counter: None,
        histogram: Some(Histogram {
            // Of the three buckets and of zero.
            count: scrape * times * 6 + scrape,
            sum: spread * 2.5,
            schema,
            zero_threshold: 0.001,
            zero_count: scrape,
            positive_spans: spans(),
            positive_deltas: [1, 1, 1].map(|delta: i64| delta * (scrape * times).cast_signed()).into(),
            ..Histogram::default()
        }),
    };
    let float = Metric {
        labels: vec![label("code", "200")],
        counter: None,
        histogram: Some(Histogram {
            count_float: spread * 3.0,
            sum: spread,
            schema,
            zero_threshold: 0.001,
            zero_count_float: spread * 0.5,
            positive_spans: spans(),
            positive_counts: vec![spread * 0.5, spread * 1.5, spread * 0.5],
            ..Histogram::default()
        }),
    };
    let counter = Metric { labels: Vec::new(), counter: Some(Counter { value: spread }), histogram: None };
    let family = |name: &str, kind, metrics| MetricFamily { name: name.into(), kind, metrics };
    [
        family("native", HISTOGRAM, vec![native("200", 1), native("404", 3)]),
        family("native_float", HISTOGRAM, vec![float]),
        family("plain_total", COUNTER, vec![counter]),
    ]
    .iter()
    .flat_map(Message::encode_length_delimited_to_vec)
    .collect()
}

/// Starts an exporter. Returns its address, and how often it has been asked.
pub fn exporter() -> (SocketAddr, Arc<AtomicU64>) {
    let scrapes = Arc::new(AtomicU64::new(0));
    let asked = Arc::clone(&scrapes);
    let address = listen(move |request, client| {
        assert!(request.contains("io.prometheus.client.MetricFamily"), "histograms are asked for: {request}");
        let body = exposition(asked.fetch_add(1, Ordering::Relaxed) + 1);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.google.protobuf; \
                    proto=io.prometheus.client.MetricFamily; encoding=delimited\r\nConnection: close\r\n\r\n";
        let _ = client.write_all(&[head.as_bytes(), &body].concat());
    });
    (address, scrapes)
}
