//! The tables, and what is asked of them.

use std::path::Path;

use datafusion::error::Result;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

/// A query whose order is total, so that there is one right answer.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

/// The name of the query that is to be run as one.
pub(crate) const SORT_MERGE_JOIN: &str = "sort-merge join";

pub(crate) const QUERIES: [Query; 14] = [
    Query { name: "order by number", sql: "SELECT id, key FROM events ORDER BY key, id" },
    Query {
        name: "descending, nulls last",
        sql: "SELECT id, grp, key FROM events ORDER BY key DESC NULLS LAST, id DESC",
    },
    Query { name: "order by string", sql: "SELECT name, id FROM events ORDER BY name, id" },
    Query {
        name: "order by expression",
        sql: "SELECT id, key FROM events ORDER BY key % 100 NULLS FIRST, -id",
    },
    Query { name: "three columns", sql: "SELECT * FROM events ORDER BY grp, name DESC, id" },
    Query {
        name: "limit 10",
        sql: "SELECT id, key, name FROM events ORDER BY key DESC NULLS LAST, id LIMIT 10",
    },
    Query {
        name: "limit and offset",
        sql: "SELECT id, name FROM events ORDER BY name, id LIMIT 100 OFFSET 1000",
    },
    Query {
        name: "row number",
        sql: "SELECT id, row_number() OVER (PARTITION BY grp ORDER BY key, id) AS n FROM events ORDER BY id",
    },
    Query {
        name: "running sum",
        sql: "SELECT id, sum(key) OVER (ORDER BY id) AS total FROM events ORDER BY id",
    },
    Query {
        name: "lag",
        sql: "SELECT grp, id, lag(name) OVER (PARTITION BY grp ORDER BY id) AS previous FROM events ORDER BY grp, id",
    },
    Query {
        name: "best three of a group",
        sql: "SELECT grp, n, id FROM (SELECT grp, id, row_number() OVER (PARTITION BY grp ORDER BY key DESC NULLS LAST, id) \
              AS n FROM events) WHERE n <= 3 ORDER BY grp, n",
    },
    Query {
        name: SORT_MERGE_JOIN,
        sql: "SELECT events.id, customers.city FROM events FULL JOIN customers ON events.customer = customers.customer \
              ORDER BY events.id, customers.customer",
    },
    Query {
        name: "left join, limit",
        sql: "SELECT events.id, customers.city FROM events LEFT JOIN customers ON events.customer = customers.customer \
              ORDER BY customers.city NULLS FIRST, events.id LIMIT 50",
    },
    Query {
        name: "groups by count",
        sql: "SELECT name, count(*) AS n, sum(key) AS total FROM events GROUP BY name ORDER BY n DESC, name",
    },
];

/// Takes a while, but not longer with larger tables: the batches are small, and there are many.
pub(crate) const LONG: Query = Query {
    name: "long",
    sql: "SELECT id, twin, key, name FROM events CROSS JOIN (SELECT customer AS twin FROM customers WHERE customer < 16) \
          WHERE id < 20000 ORDER BY key, id, twin",
};

/// What is made small for [`LONG`].
pub(crate) const LONG_BATCH_ROWS: usize = 64;

/// How many files a table has.
const FILES: usize = 4;

/// How many partitions a stage has.
pub(crate) const PARTITIONS: usize = 4;

/// What all sessions have in common, clients and the one that answers alone.
pub(crate) fn config(config: SessionConfig) -> SessionConfig {
    config.with_target_partitions(PARTITIONS)
}

/// Writes the tables as Parquet. Their values look random, and are the same each time.
pub(crate) async fn write_tables(dir: &Path, rows: usize) -> Result<()> {
    let context = SessionContext::new();
    let customers = (rows / 20).max(32);
    for file in 0..FILES {
        let (from, to) = (rows * file / FILES, rows * (file + 1) / FILES - 1);
        let events = format!(
            "SELECT value AS id, value * 7919 % 97 AS grp, \
             CASE WHEN value % 11 = 0 THEN NULL ELSE value * 2654435761 % 1000003 END AS key, \
             'name ' || (value * 40503 % 9973) AS name, value * 31337 % {} AS customer FROM generate_series({from}, {to})",
            customers * 2
        );
        copy(&context, &events, &dir.join(format!("events/{file}.parquet"))).await?;
        let (from, to) = (customers * file / FILES, customers * (file + 1) / FILES - 1);
        let some = format!(
            "SELECT value AS customer, 'city ' || (value * 48271 % 211) AS city FROM generate_series({from}, {to})"
        );
        copy(&context, &some, &dir.join(format!("customers/{file}.parquet"))).await?;
    }
    Ok(())
}

async fn copy(context: &SessionContext, query: &str, file: &Path) -> Result<()> {
    let copy = format!("COPY ({query}) TO '{}' STORED AS PARQUET", file.display());
    context.sql(&copy).await?.collect().await?;
    Ok(())
}

/// Has a session know the tables.
pub(crate) async fn register(context: &SessionContext, dir: &Path) -> Result<()> {
    for table in ["events", "customers"] {
        let files = dir.join(table);
        context.register_parquet(table, files.to_string_lossy(), ParquetReadOptions::default()).await?;
    }
    Ok(())
}
