//! A server that answers with any bytes: the gateway gives series in order with chunks in order or an error, and closes all.

#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use libfuzzer_sys::fuzz_target;
use losertree::LeakLedger;
use losertree::stream::Closer;
use losertree_prometheus::block::{Interval, Selector};
use losertree_prometheus::remote::{RemoteLimits, RemoteStore};
use losertree_prometheus::{BlockStore, Gateway, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const STREAMED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-streamed-protobuf\r\n\r\n";
const SAMPLES: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        // The first byte says of which type the answer is, and whether the series are of replicas.
        let (kind, body) = data.split_first().unwrap_or((&0, &[]));
        let answer = [if kind % 2 == 0 { STREAMED } else { SAMPLES }, body].concat();
        let server = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let _ = client.read(&mut [0; 4096]).await;
                let _ = client.write_all(&answer).await;
            }
        });
        let (ledger, closer) = (LeakLedger::sites(), Closer::current().expect("in a runtime"));
        let store = Arc::new(BlockStore::new(None, BTreeMap::new(), &ledger));
        let mut limits = Limits::default();
        limits.patience = Duration::from_secs(1);
        let without: Arc<[String]> = if kind & 2 == 0 { [].into() } else { ["b".into()].into() };
        limits.replica_labels = without.to_vec();
        // Twice, so that all chunks have copies.
        let remote = || {
            RemoteStore::new(&format!("http://{address}"), BTreeMap::new(), RemoteLimits::default())
                .expect("an address")
        };
        let gateway = Gateway::new(store, limits, &ledger, &closer).expect("limits");
        let gateway = gateway.with_remotes(vec![remote(), remote()]);
        let selector = Selector { matchers: Arc::new([]), range: Interval::new(0, 1 << 50), without };
        let turn = gateway.turn().await.expect("a turn");
        let mut query = gateway.query("fuzz", &selector, turn.deadline).await.expect("a query");
        let mut last = None;
        while let Some(Ok(series)) = query.next().await {
            assert!(last.as_ref().is_none_or(|last| *last < series.labels), "series are in order");
            assert!(
                series.chunks.is_sorted_by(|one, next| one.max_time_ms < next.min_time_ms),
                "chunks are in order"
            );
            last = Some(series.labels);
        }
        let _ = query.close().await;
        drop(query);
        closer.idle().await;
        assert!(ledger.snapshot().is_all_closed());
        assert_eq!(gateway.memory().lists.snapshot().used_bytes, 0);
        server.abort();
    });
});
