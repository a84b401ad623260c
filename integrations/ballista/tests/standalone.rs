//! Queries of a cluster in this process: Ballista's scheduler, one executor, and the tables and queries of the example.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::{Duration, Instant};

use losertree::LeakLedger;
use support::client::{alone, ask, client, compare};
use support::queries::{LONG, LONG_BATCH_ROWS, QUERIES};
use support::scheduler::merges;
use support::{LIMIT, Standalone};
use tokio::time::{sleep, timeout};

fn open_inputs(ledger: &LeakLedger) -> usize {
    ledger.open_entries(1000).iter().filter(|entry| entry.what.starts_with("input")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same_with_windows_and_without_and_in_one_process() {
    let cluster = Standalone::start(2000).await;
    let context = client(&cluster.scheduler.url(), cluster.dir.path()).await.unwrap();
    let alone = alone(cluster.dir.path()).await.unwrap();
    for query in &QUERIES {
        let expected = ask(&alone, query.sql).await.unwrap().rows().await.unwrap();
        assert!(expected.num_rows() > 0, "{}", query.name);
        for enabled in [true, false] {
            context.sql(&format!("SET losertree.enabled = {enabled}")).await.unwrap();
            let asked = ask(&context, query.sql).await.unwrap();
            let rows = timeout(LIMIT, asked.rows()).await.expect(query.name).unwrap();
            compare(query.name, &rows, &expected).unwrap();
            let stages = cluster.scheduler.stages(&asked.job().unwrap()).await.unwrap();
            let merges = merges(&stages);
            assert!(!merges.is_empty(), "{}", query.name);
            let by_windows = merges.iter().any(|merge| merge.by_windows);
            assert_eq!(by_windows, enabled, "{}: {merges:?}", query.name);
        }
    }
    cluster.settled("queries").await;
    let books = cluster.ledger.snapshot();
    assert_eq!(books.failed, 0, "{books}");
    assert_eq!(books.closed + books.dropped_unclosed, books.opened, "{books}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_cancelled_drops_what_it_merges() {
    let cluster = Standalone::start(20_000).await;
    let context = client(&cluster.scheduler.url(), cluster.dir.path()).await.unwrap();
    let small = format!("SET datafusion.execution.batch_size = {LONG_BATCH_ROWS}");
    context.sql(&small).await.unwrap();
    let asked = ask(&context, LONG.sql).await.unwrap();
    let running = asked.run();
    let begin = Instant::now();
    while open_inputs(&cluster.ledger) == 0 {
        assert!(begin.elapsed() < LIMIT && !running.is_finished());
        sleep(Duration::from_millis(2)).await;
    }
    cluster.scheduler.cancel(&asked.job().unwrap()).await.unwrap();
    timeout(LIMIT, running).await.expect("the client hangs").unwrap().unwrap_err();
    cluster.settled("cancelled").await;
    // The output of the stage and the inputs of its merge.
    assert!(cluster.ledger.snapshot().dropped_unclosed >= 2, "{}", cluster.ledger.snapshot());

    // The executor has lost nothing by it.
    let answer = ask(&context, QUERIES[5].sql).await.unwrap().rows().await.unwrap();
    assert_eq!(answer.num_rows(), 10);
    cluster.settled("after it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_fails_gives_an_error_and_closes_everything() {
    let cluster = Standalone::start(2000).await;
    let context = client(&cluster.scheduler.url(), cluster.dir.path()).await.unwrap();
    // One row divides by nothing, in the stage behind the merge.
    let sql = "SELECT id, total / (id - 1234) AS share FROM (SELECT id, sum(key) OVER (ORDER BY id) AS total FROM events) \
               ORDER BY id";
    let asked = ask(&context, sql).await.unwrap();
    let error = timeout(LIMIT, asked.rows()).await.expect("the query hangs").unwrap_err();
    assert!(error.to_string().contains("DivideByZero"), "{error}");
    cluster.settled("failed").await;
    assert!(cluster.ledger.snapshot().failed > 0, "{}", cluster.ledger.snapshot());
}
