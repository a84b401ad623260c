//! TPC-H: its tables in a session, its ordered queries, and some of its tables as sorted Parquet files.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchReader};
use arrow::compute::concat_batches;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use losertree_datafusion::enable;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

/// How many partitions tables have, how many files a sorted one has, and how many partitions queries run in.
pub const PARTITIONS: i32 = 4;

/// The queries that have an order, and what their parameters are: the values that TPC-H validates by.
const ORDERED: [(i32, &[&str]); 18] = [
    (1, &["90"]),
    (2, &["15", "BRASS", "EUROPE"]),
    (3, &["BUILDING", "1995-03-15"]),
    (4, &["1993-07-01"]),
    (5, &["ASIA", "1994-01-01"]),
    (7, &["FRANCE", "GERMANY"]),
    (8, &["BRAZIL", "AMERICA", "ECONOMY ANODIZED STEEL"]),
    (9, &["green"]),
    (10, &["1993-10-01"]),
    // The fraction is of a part of the suppliers, whose number goes by the scale. This is for 0.01.
    (11, &["GERMANY", "0.01"]),
    (12, &["MAIL", "SHIP", "1994-01-01"]),
    (13, &["special", "requests"]),
    (15, &["1996-01-01"]),
    (16, &["Brand#45", "MEDIUM POLISHED", "49", "14", "23", "45", "19", "3", "36", "9"]),
    (18, &["250"]),
    (20, &["forest", "1994-01-01", "CANADA"]),
    (21, &["SAUDI ARABIA"]),
    (22, &["13", "31", "23", "29", "30", "18", "17"]),
];

/// One of the queries, in its parts.
pub struct Query {
    pub number: i32,
    before: Vec<String>,
    pub select: String,
    after: Vec<String>,
}

/// The ordered queries. Where the order is not total, all columns of the result are added to it.
pub async fn queries(context: &SessionContext) -> Vec<Query> {
    let mut queries = Vec::new();
    for (number, parameters) in ORDERED {
        let mut text = tpchgen::q_and_a::queries::query(number).unwrap().to_owned();
        // The last first: one has two digits.
        for (index, parameter) in parameters.iter().enumerate().rev() {
            text = text.replace(&format!(":{}", index + 1), parameter);
        }
        text = text.replace(":s", "_of_stream").replace(" day (3)", " day");
        let mut statements =
            text.split(';').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty());
        let (mut before, mut select) = (Vec::new(), statements.next().unwrap());
        if select.starts_with("create") {
            before.push(select);
            select = statements.next().unwrap();
        }
        let mut query = Query { number, before, select, after: statements.collect() };
        for statement in &query.before {
            run(context, statement).await;
        }
        let columns = context.sql(&query.select).await.unwrap().schema().fields().len();
        let columns: Vec<_> = (1..=columns).map(|column| column.to_string()).collect();
        query.select = format!("{}, {}", query.select, columns.join(", "));
        for statement in &query.after {
            run(context, statement).await;
        }
        queries.push(query);
    }
    queries
}

impl Query {
    /// Runs it, and returns the rows as one batch.
    pub async fn run(&self, context: &SessionContext) -> RecordBatch {
        for statement in &self.before {
            run(context, statement).await;
        }
        let rows = run(context, &self.select).await;
        for statement in &self.after {
            run(context, statement).await;
        }
        rows
    }

    /// Returns its physical plan.
    pub async fn plan(&self, context: &SessionContext) -> String {
        for statement in &self.before {
            run(context, statement).await;
        }
        let plan = plan(context, &self.select).await;
        for statement in &self.after {
            run(context, statement).await;
        }
        plan
    }
}

/// The rows of a query, as one batch.
pub async fn run(context: &SessionContext, sql: &str) -> RecordBatch {
    let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
    let schema = Arc::clone(frame.schema().inner());
    let batches = frame.collect().await.unwrap_or_else(|error| panic!("{error}: {sql}"));
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    concat_batches(&schema, &batches).unwrap()
}

/// The physical plan of a query.
pub async fn plan(context: &SessionContext, sql: &str) -> String {
    let rows = run(context, &format!("EXPLAIN {sql}")).await;
    rows.column(1).as_string::<i32>().iter().flatten().last().unwrap().to_owned()
}

/// Has the session merge by windows, or not.
pub async fn set_enabled(context: &SessionContext, is_enabled: bool) {
    run(context, &format!("SET losertree.enabled = {is_enabled}")).await;
}

/// A session that has the tables, at a scale.
pub fn session(scale: f64) -> SessionContext {
    let partitions = usize::try_from(PARTITIONS).unwrap();
    let config = SessionConfig::new().with_target_partitions(partitions);
    let state = SessionStateBuilder::new().with_config(config).with_default_features();
    let context = SessionContext::new_with_state(enable(state).build());
    macro_rules! tables {
        ($($name:literal: $arrow:ident, $generator:ident, $parts:expr;)*) => {$(
            let parts = (1..=$parts).map(|part| batches($arrow::new($generator::new(scale, part, $parts))));
            register(&context, $name, parts.collect());
        )*};
    }
    tables!(
        "nation": NationArrow, NationGenerator, 1;
        "region": RegionArrow, RegionGenerator, 1;
        "part": PartArrow, PartGenerator, PARTITIONS;
        "supplier": SupplierArrow, SupplierGenerator, PARTITIONS;
        "partsupp": PartSuppArrow, PartSuppGenerator, PARTITIONS;
        "customer": CustomerArrow, CustomerGenerator, PARTITIONS;
        "orders": OrderArrow, OrderGenerator, PARTITIONS;
        "lineitem": LineItemArrow, LineItemGenerator, PARTITIONS;
    );
    context
}

fn batches(rows: impl RecordBatchReader) -> Vec<RecordBatch> {
    rows.map(|batch| batch.unwrap()).collect()
}

fn register(context: &SessionContext, name: &str, partitions: Vec<Vec<RecordBatch>>) {
    let table = MemTable::try_new(partitions[0][0].schema(), partitions).unwrap();
    context.register_table(name, Arc::new(table)).unwrap();
}

/// Tables as sorted files: what they are of, and a total order of their rows.
const SORTED: [(&str, &str); 3] = [
    ("lineitem", "l_shipdate, l_orderkey, l_linenumber"),
    ("orders", "o_clerk DESC NULLS LAST, o_totalprice, o_orderkey"),
    ("customer", "c_phone"),
];

/// Writes files that are sorted, and makes external tables of them: `sorted_` and the name of the table.
pub async fn register_sorted(context: &SessionContext, directory: &Path, scale: f64) {
    for (name, order) in SORTED {
        let files = directory.join(name);
        std::fs::create_dir(&files).unwrap();
        for part in 1..=PARTITIONS {
            let rows = match name {
                "lineitem" => batches(LineItemArrow::new(LineItemGenerator::new(scale, part, PARTITIONS))),
                "orders" => batches(OrderArrow::new(OrderGenerator::new(scale, part, PARTITIONS))),
                _ => batches(CustomerArrow::new(CustomerGenerator::new(scale, part, PARTITIONS))),
            };
            register(context, "one_file", vec![rows]);
            let file = files.join(format!("{part}.parquet"));
            let sql = format!(
                "COPY (SELECT * FROM one_file ORDER BY {order}) TO '{}' STORED AS PARQUET",
                file.display()
            );
            run(context, &sql).await;
            context.deregister_table("one_file").unwrap();
        }
        let sql = format!(
            "CREATE EXTERNAL TABLE sorted_{name} STORED AS PARQUET WITH ORDER ({order}) LOCATION '{}/'",
            files.display()
        );
        run(context, &sql).await;
    }
}

/// Queries of the sorted files, none of which needs a sort.
pub const SORTED_QUERIES: [&str; 5] = [
    "SELECT * FROM sorted_lineitem ORDER BY l_shipdate, l_orderkey, l_linenumber",
    "SELECT l_shipdate, l_orderkey, l_linenumber, l_comment FROM sorted_lineitem WHERE l_quantity > 30 \
     ORDER BY l_shipdate, l_orderkey, l_linenumber",
    "SELECT * FROM sorted_lineitem ORDER BY l_shipdate, l_orderkey, l_linenumber LIMIT 1000",
    "SELECT * FROM sorted_orders ORDER BY o_clerk DESC NULLS LAST, o_totalprice, o_orderkey",
    "SELECT c_phone, c_name, c_acctbal FROM sorted_customer ORDER BY c_phone",
];
