//! TPC-H's ordered queries and sorted Parquet files, with merges by windows and without: the same answers.
//!
//! `LOSERTREE_TPCH_SCALE` is the scale, 0.01 by default.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/tpch.rs"]
mod tpch;

use tpch::{SORTED_QUERIES, plan, queries, register_sorted, run, session, set_enabled};

fn scale() -> f64 {
    std::env::var("LOSERTREE_TPCH_SCALE").map_or(0.01, |scale| scale.parse().expect("a scale"))
}

/// Says how the plan differs from that with the merges and sorts of DataFusion, if in more than these, and how many merges there are.
fn merges(with: &str, without: &str) -> usize {
    assert!(!without.contains("LoserTree"), "{without}");
    let as_theirs = with.replace("LoserTreeMergeExec", "SortPreservingMergeExec");
    assert_eq!(as_theirs.replace("LoserTreeSortExec", "SortExec"), without);
    with.matches("LoserTreeMergeExec").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordered_queries_have_the_same_answers() {
    let context = session(scale());
    let mut rows = 0;
    for query in queries(&context).await {
        set_enabled(&context, true).await;
        let (plan_with, with) = (query.plan(&context).await, query.run(&context).await);
        set_enabled(&context, false).await;
        let (plan_without, without) = (query.plan(&context).await, query.run(&context).await);
        let merges = merges(&plan_with, &plan_without);
        assert!(merges > 0, "query {} merges nothing: {plan_with}", query.number);
        assert_eq!(with, without, "query {}", query.number);
        rows += with.num_rows();
    }
    assert!(rows > 1_000, "{rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sorted_files_are_merged_to_the_same_rows() {
    let context = session(scale());
    let directory = tempfile::tempdir().unwrap();
    register_sorted(&context, directory.path(), scale()).await;
    for sql in SORTED_QUERIES {
        set_enabled(&context, true).await;
        let (plan_with, with) = (plan(&context, sql).await, run(&context, sql).await);
        set_enabled(&context, false).await;
        let (plan_without, without) = (plan(&context, sql).await, run(&context, sql).await);
        assert_eq!(merges(&plan_with, &plan_without), 1, "{sql}: {plan_with}");
        assert!(!plan_with.contains("SortExec"), "{sql}: {plan_with}");
        assert_eq!(with, without, "{sql}");
        assert!(with.num_rows() > 100, "{sql}: {} rows", with.num_rows());
    }
}
