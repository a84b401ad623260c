//! Queries of PromQL, and whether two servers of Prometheus answer them alike.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc)]

use super::process::{Prometheus, escape};
use super::{MINUTE_MS, START_MS};

/// Instant queries, and range queries over all that there is.
pub const PROMQL: &[&str] = &[
    "up",
    "count({__name__=~'.+'})",
    "count by (from) ({__name__=~'.+'})",
    "count by (__name__) ({from='prometheus'})",
    "sum(go_goroutines)",
    "sum by (from) (go_goroutines)",
    "avg without (instance) (go_memstats_alloc_bytes)",
    "max by (from) (process_resident_memory_bytes)",
    "min(go_threads)",
    "rate(process_cpu_seconds_total[10m])",
    "irate(process_cpu_seconds_total[10m])",
    "increase(process_cpu_seconds_total[1h])",
    "sum by (from) (rate(prometheus_http_requests_total[15m]))",
    "sum(rate(node_cpu_seconds_total[10m]))",
    "topk(5, rate(node_cpu_seconds_total[10m]))",
    "bottomk(3, {__name__=~'go_memstats_.*'})",
    "topk by (from) (2, {__name__=~'go_.*'})",
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[30m])))",
    "histogram_quantile(0.5, rate({__name__=~'prometheus_http_request_duration_seconds_bucket'}[20m]))",
    "histogram_quantile(0.99, sum by (le, handler) (rate(prometheus_http_response_size_bytes_bucket[30m])))",
    "absent(nothing)",
    "absent(go_goroutines)",
    "absent_over_time(go_goroutines[10m])",
    "go_goroutines offset 30m",
    "go_goroutines offset -10m",
    "rate(process_cpu_seconds_total[10m] offset 1h)",
    "go_goroutines @ 1700010000",
    "max_over_time(go_goroutines[30m])",
    "min_over_time(go_goroutines[1h])",
    "avg_over_time(go_goroutines[45m])",
    "sum_over_time(go_goroutines[20m])",
    "count_over_time({from='redis-exporter'}[30m])",
    "stddev_over_time(go_goroutines[30m])",
    "quantile_over_time(0.9, go_goroutines[30m])",
    "last_over_time(go_goroutines[1h])",
    "changes(go_goroutines[1h])",
    "resets(process_cpu_seconds_total[2h])",
    "deriv(go_goroutines[30m])",
    "predict_linear(go_goroutines[30m], 600)",
    "delta(go_goroutines[30m])",
    "holt_winters(go_goroutines[30m], 0.5, 0.5)",
    "max_over_time(rate(process_cpu_seconds_total[5m])[30m:1m])",
    "avg_over_time(sum(go_goroutines)[1h:5m])",
    "sum_over_time(count({from=~'.*exporter'})[20m:2m])",
    "{from=~'redis.*', __name__=~'redis_(connected|blocked)_clients'}",
    "{from!~'redis.*|node.*|postgres.*', __name__!~'go_.*', from!=''}",
    "{le=~'0\\\\.\\\\d+', from='prometheus'}",
    "{quantile='', from='prometheus', __name__=~'go_gc.*'}",
    "{__name__=~'(?i)GO_.*', from=~'a.+'}",
    "{__name__=~'process_(cpu_seconds_total|open_fds)'}",
    "label_replace(go_goroutines, 'x', '$1', 'from', '(.*)-exporter')",
    "count_values('v', go_threads)",
    "go_memstats_alloc_bytes / go_memstats_sys_bytes",
    "go_memstats_alloc_bytes > 1e6 and go_goroutines > 5",
    "go_goroutines or up",
    "go_goroutines unless on (from) redis_up",
    "rate(process_cpu_seconds_total[10m]) * on (from) group_left go_goroutines",
    "quantile(0.5, go_goroutines)",
    "stdvar(go_goroutines)",
    "timestamp(go_goroutines)",
    "sort_desc(go_goroutines)",
    "vector(1) + scalar(sum(go_goroutines))",
];

/// The answer to a query in an order of its own. Of very many series, some queries have none that is a set: that is an answer, too.
pub fn promql(prometheus: &Prometheus, path: &str) -> (String, Vec<String>) {
    let data = match prometheus.api(path) {
        Ok(data) => data,
        Err(error) => return (error, Vec::new()),
    };
    let mut result: Vec<String> =
        data["result"].as_array().unwrap().iter().map(ToString::to_string).collect();
    result.sort();
    (data["resultType"].to_string(), result)
}

/// Asks all queries, at a moment and over all the time of so many minutes, of both. Both have the same answers, and most have one.
pub fn assert_same(first: &Prometheus, second: &Prometheus, minutes: i64) {
    let end = START_MS + minutes * MINUTE_MS;
    let mut answered = 0;
    let mut different = Vec::new();
    for text in PROMQL {
        let instant = format!("/api/v1/query?query={}&time={}", escape(text), (end - 30 * MINUTE_MS) / 1000);
        let (start, end) = (START_MS / 1000 + 601, end / 1000);
        let range = format!("/api/v1/query_range?query={}&start={start}&end={end}&step=157", escape(text));
        for path in [instant, range] {
            let wanted = promql(first, &path);
            answered += usize::from(!wanted.1.is_empty());
            let answer = promql(second, &path);
            if answer != wanted {
                different.push(format!(
                    "{text}: {} of {} results\n{answer:?}\n{wanted:?}",
                    answer.1.len(),
                    wanted.1.len()
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert!(answered > PROMQL.len(), "most queries have an answer: {answered}");
}
