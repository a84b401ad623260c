//! A query to many stores, as a whole.

// A test fails by panicking.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::io;

use futures::{StreamExt, TryStreamExt, stream};
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseSetOptions, RetrievalStrategy, Store,
};
use losertree::{BoxSource, Chunk, Labels, LeakLedger, Response, Series, Source, Warning, closing};

type StoreSource = BoxSource<'static, Response, io::Error>;

fn labels(text: &str) -> Labels {
    text.parse().expect("labels")
}

fn series(text: &str, start: i64) -> Series {
    Series::new(labels(text), vec![Chunk::new(start, start + 9, "data")])
}

fn store(name: &str, frames: Vec<Response>) -> Store<StoreSource> {
    let source = closing(stream::iter(frames.into_iter().map(Ok)), |_| async { Ok(()) }).boxed();
    Store::opened(name, source)
}

fn failing(name: &str) -> Store<StoreSource> {
    Store::new(name, async { Err(io::ErrorKind::ConnectionRefused.into()) })
}

#[tokio::test]
async fn everything_at_once() {
    let replica = |replica: &str, pods: &[&str]| {
        let series =
            |pod: &&str| series(&format!(r#"{{__name__="up", replica="{replica}", zone="{pod}"}}"#), 0);
        Response::Batch(pods.iter().map(series).collect())
    };
    for strategy in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let ledger = LeakLedger::sites();
        let stores = [
            store("a", vec![replica("a", &["p", "q", "s"]), Warning::new("slow").into()]),
            store("b", vec![replica("b", &["q", "r"])]),
            failing("c"),
            store("d", vec![]),
        ];
        let mut query = ProxyQuery::builder()
            .stores(stores)
            .sets(ResponseSetOptions::new().retrieval(strategy).without_labels(["replica"]))
            .partial_response(PartialResponseStrategy::Warn)
            .ledger(&ledger)
            .limit(3)
            .batches(2, usize::MAX)
            .build();
        let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
        let (warnings, batches): (Vec<_>, Vec<_>) =
            answer.into_iter().partition(|response| matches!(response, Response::Warning(_)));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let batches: Vec<Vec<String>> = batches
            .into_iter()
            .map(|batch| match batch {
                Response::Batch(batch) => {
                    batch.iter().map(|series| series.labels.get("zone").unwrap().into_owned()).collect()
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(batches, [vec!["p", "q"], vec!["r"]]);
        let stats = query.stats();
        assert!(stats.is_partial);
        assert_eq!(stats.empty_sources(), 1);
        assert_eq!(stats.sources[0].received.unwrap().series, 3);
        assert_eq!(stats.sources[0].received.unwrap().frames, 2);
        ledger.assert_balanced();
    }
}
