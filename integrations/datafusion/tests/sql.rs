//! Queries with merges by windows and without.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_wrap)]

mod support;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use losertree_datafusion::enable;
use support::Rng;

fn session() -> SessionContext {
    let config =
        SessionConfig::new().with_target_partitions(4).with_batch_size(100).with_information_schema(true);
    let state = SessionStateBuilder::new().with_config(config).with_default_features();
    // The second call changes nothing.
    let context = SessionContext::new_with_state(enable(enable(state)).build());
    let rng = &mut Rng::new(7);
    let mut id = 0..;
    let mut partition = |rng: &mut Rng| {
        let mut batch = |rng: &mut Rng| {
            let rows = 1 + rng.below(300);
            let ids: Int64Array = id.by_ref().take(rows).collect();
            let numbers: Int64Array =
                (0..rows).map(|_| (!rng.one_in(9)).then(|| rng.below(50) as i64)).collect();
            let names: StringArray = (0..rows).map(|_| Some(format!("name {}", rng.below(200)))).collect();
            let columns: [(&str, ArrayRef); 3] =
                [("id", Arc::new(ids)), ("number", Arc::new(numbers)), ("name", Arc::new(names))];
            RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
                .unwrap()
        };
        (0..5).map(|_| batch(rng)).collect::<Vec<_>>()
    };
    let partitions: Vec<_> = (0..4).map(|_| partition(rng)).collect();
    let table = MemTable::try_new(partitions[0][0].schema(), partitions).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    context
}

async fn query(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    context.sql(sql).await.unwrap().collect().await.unwrap()
}

async fn plan(context: &SessionContext, sql: &str) -> String {
    let rows = query(context, &format!("EXPLAIN {sql}")).await;
    rows.iter().flat_map(|batch| batch.column(1).as_string::<i32>().iter().flatten()).collect()
}

const QUERIES: [&str; 7] = [
    "SELECT * FROM t ORDER BY number, id",
    "SELECT * FROM t ORDER BY number DESC NULLS LAST, name, id DESC",
    "SELECT name, id FROM t WHERE number > 10 ORDER BY name DESC, id",
    "SELECT * FROM t ORDER BY number + id % 7, id LIMIT 50",
    "SELECT * FROM t ORDER BY name, id LIMIT 10 OFFSET 500",
    "SELECT number, count(*) AS n, min(name) FROM t GROUP BY number ORDER BY n DESC, number",
    "SELECT id, row_number() OVER (ORDER BY name, id) AS n FROM t ORDER BY n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_the_same() {
    let context = session();
    let (mut merged, mut sorted) = (0, 0);
    for sql in QUERIES {
        query(&context, "SET losertree.enabled = true").await;
        let with = query(&context, sql).await;
        let plan_with = plan(&context, sql).await;
        assert!(!plan_with.contains("SortPreservingMergeExec"), "{plan_with}");
        merged += plan_with.matches("LoserTreeMergeExec").count();
        query(&context, "SET losertree.enabled = false").await;
        let plan_without = plan(&context, sql).await;
        assert!(!plan_without.contains("LoserTree"), "{plan_without}");
        sorted += plan_with.matches("LoserTreeSortExec").count();
        let as_theirs = plan_with.replace("LoserTreeMergeExec", "SortPreservingMergeExec");
        assert_eq!(as_theirs.replace("LoserTreeSortExec", "SortExec"), plan_without, "{sql}");
        let without = query(&context, sql).await;
        assert_eq!(
            pretty_format_batches(&with).unwrap().to_string(),
            pretty_format_batches(&without).unwrap().to_string(),
            "{sql}"
        );
    }
    assert!(merged >= 6 && sorted >= 5, "{merged} {sorted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rule_is_there_once() {
    let state = session().state();
    let rules = state.physical_optimizers().iter().filter(|rule| rule.name() == "merge_by_windows");
    assert_eq!(rules.count(), 1);
}

#[tokio::test]
async fn options_are_shown_by_the_names_that_set_them() {
    let context = session();
    for (name, before, after) in [
        ("losertree.enabled", "true", "false"),
        ("losertree.round_robin_ties", "false", "true"),
        ("losertree.sort", "true", "false"),
    ] {
        let shown = async || {
            let rows = query(&context, &format!("SHOW {name}")).await;
            let value = |batch: &RecordBatch| batch.column(1).as_string::<i32>().value(0).to_owned();
            rows.iter().filter(|batch| batch.num_rows() > 0).map(value).collect::<Vec<_>>()
        };
        assert_eq!(shown().await, [before]);
        query(&context, &format!("SET {name} = {after}")).await;
        assert_eq!(shown().await, [after]);
    }
    for (sql, part) in
        [("SET losertree.enabled = perhaps", "perhaps"), ("SET losertree.colour = true", "losertree.colour")]
    {
        let error = context.sql(sql).await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}
