//! What a gateway is and does at one moment, for whoever looks at it: the page, and programs that ask for JSON.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use losertree::resource::{BytePool, LastUse, LedgerSnapshot, OpenEntry, ReaderGate};
use serde::Serialize;

use crate::block::Block;
use crate::block_store::BlockStore;
use crate::gateway::Gateway;
use crate::text::cut;

/// How many elements a list of a [`Status`] has at most, if nothing else is said.
pub const MAX_ROWS: usize = 64;

/// The state of a gateway at one moment. As JSON, it is what `GET /api/v1/status/gateway` answers.
///
/// # Bounds
///
/// No list has more than [`MAX_ROWS`] elements; `omitted` says how many were left out. No text has more than 200 characters: a longer
/// one ends with `…`, and control characters in it, and those that change the direction of writing, are `\u{fffd}`. So the JSON is
/// shorter than 1 MiB, whatever is open, and whatever labels, stores and clients are called.
///
/// Times that end with `_ms` are milliseconds since the epoch, those that end with `_seconds` are durations.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// The version of the program.
    pub version: &'static str,
    /// `serving`, or `stopping` when it takes no new queries.
    pub state: &'static str,
    /// Whether it forgets to close queries, to show what happens then.
    pub forgets_closes: bool,
    /// When this was.
    pub now_ms: i64,
    /// When the gateway was started.
    pub started_ms: i64,
    /// For how long it has been running.
    pub uptime_seconds: f64,
    /// How long a query may take.
    pub query_limit_seconds: f64,
    /// What is open for longer than this was left behind: twice the time that a query may take.
    pub overdue_after_seconds: f64,
    /// Where something is open that is overdue: so many lines of code have opened such things.
    pub overdue_sites: usize,
    /// Counts of everything.
    pub totals: Totals,
    /// The queries that run, oldest first.
    pub queries: Vec<QueryStatus>,
    /// The budgets of memory.
    pub pools: Vec<PoolStatus>,
    /// What is open by the line of code that has opened it, the oldest first.
    pub open_sites: Vec<SiteStatus>,
    /// The oldest 16 things that are open, oldest first.
    pub open: Vec<OpenStatus>,
    /// The last things that ended without having been closed.
    pub unclosed: Vec<UnclosedStatus>,
    /// What queries are answered from, in the order in which it is preferred.
    pub stores: Vec<StoreStatus>,
    /// The blocks by name. Where there are too many, those that are closing come first, then those that are read, then the newest.
    pub blocks: Vec<BlockStatus>,
    /// Who reads blocks: of each block the oldest reader, then the next one.
    pub readers: Vec<ReaderStatus>,
    /// The last times that the directory of blocks was other than before, or something was wrong with it, newest first.
    pub syncs: Vec<SyncStatus>,
    /// The last queries that failed, or whose answer was partial, newest first.
    pub failures: Vec<FailureStatus>,
    /// How many elements each list was cut by. A list that is whole is not in it.
    pub omitted: BTreeMap<&'static str, u64>,
}

/// Counts of everything.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Queries that run.
    pub running_queries: u64,
    /// Requests that wait for their turn.
    pub waiting_requests: u64,
    /// How many requests are answered at once.
    pub concurrent_limit: u64,
    /// Queries that were begun.
    pub queries: u64,
    /// Queries that failed.
    pub failed_queries: u64,
    /// Warnings that an answer is partial.
    pub warnings: u64,
    /// Things that are open, as the ledger counts them.
    pub open: u64,
    /// Things that were opened.
    pub opened: u64,
    /// Things that were closed in order, those closed in background included.
    pub closed: u64,
    /// Things that ended otherwise: failed, handed back, dropped without having been closed.
    pub ended_otherwise: u64,
    /// Things whose close was lost. Always a bug.
    pub lost: u64,
    /// Blocks that are read.
    pub blocks: u64,
    /// Blocks that were removed and still have readers.
    pub closing_blocks: u64,
    /// Readers of all blocks.
    pub readers: u64,
    /// Series of all blocks; one that several have counts for each.
    pub series: u64,
    /// What is kept of all blocks in memory.
    pub header_bytes: u64,
    /// How often the directory of blocks was looked at.
    pub syncs: u64,
    /// How often it could not be.
    pub failed_syncs: u64,
    /// When it was looked at last, with success.
    pub last_sync_ms: Option<i64>,
    /// How long ago that was.
    pub since_sync_seconds: Option<f64>,
    /// Blocks that are left out, or not read anew, since something is wrong with them.
    pub wrong_blocks: u64,
}

/// A query that runs.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct QueryStatus {
    /// What the ledger calls it: its number, and who asks.
    pub query: String,
    /// How it is asked: `remote read`, `StoreAPI`, or `labels` of the StoreAPI.
    pub kind: &'static str,
    /// `reads`, or `waits for memory`.
    pub stage: &'static str,
    /// For how long it has been running.
    pub age_seconds: f64,
    /// What it asks for.
    pub selector: String,
    /// The beginning of the range that it asks for.
    pub min_ms: i64,
    /// The end of the range.
    pub max_ms: i64,
    /// How many blocks it reads.
    pub blocks: u64,
    /// How many servers it asks.
    pub servers: u64,
    /// How many series it has given.
    pub series: u64,
    /// How many bytes of chunks these had.
    pub chunk_bytes: u64,
}

/// A budget of memory.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Its name, as in the metrics.
    pub pool: &'static str,
    /// What is leased or reserved.
    pub used_bytes: usize,
    /// What it may hold.
    pub budget_bytes: usize,
    /// What is held for longer than `overdue_after_seconds`.
    pub long_held_bytes: usize,
    /// The most that was ever used.
    pub peak_bytes: usize,
    /// What is kept for the next lease.
    pub idle_bytes: usize,
    /// Leases that are out.
    pub leases: usize,
    /// Leases and reservations that are waited for.
    pub waiting: usize,
    /// Leases and reservations that were refused.
    pub refused: u64,
}

/// What one line of code has opened and is open.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SiteStatus {
    /// The line.
    pub site: String,
    /// How much of it is open.
    pub count: usize,
    /// The oldest of it.
    pub oldest: String,
    /// Since when that is open.
    pub since_ms: i64,
    /// For how long.
    pub age_seconds: f64,
    /// Whether that is longer than anything should be.
    pub overdue: bool,
}

/// Something that is open.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct OpenStatus {
    /// What it is.
    pub what: String,
    /// The line of code that has opened it.
    pub site: String,
    /// Since when it is open.
    pub since_ms: i64,
    /// For how long.
    pub age_seconds: f64,
    /// How it was last used, if its holder has said so.
    pub last_use: Option<String>,
}

/// Something that ended without having been closed.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct UnclosedStatus {
    /// What it was.
    pub what: String,
    /// The line of code that had opened it.
    pub site: String,
    /// How it ended.
    pub ending: String,
    /// When it ended.
    pub ended_ms: i64,
}

/// A directory of blocks, or a server.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Its directory, or its address.
    pub store: String,
    /// `blocks`, `remote read`, or `StoreAPI`.
    pub kind: &'static str,
    /// Labels that it was told all its series have. Those that blocks name themselves are theirs.
    pub labels: String,
}

/// A block.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct BlockStatus {
    /// Its name.
    pub block: String,
    /// `open`, or `closing` when it was removed and still has readers.
    pub state: &'static str,
    /// The time of its first sample. Of one that is closing, nothing more is known.
    pub min_ms: Option<i64>,
    /// The time before which its last sample is.
    pub max_ms: Option<i64>,
    /// How many series it has.
    pub series: Option<u64>,
    /// What is kept of it in memory.
    pub header_bytes: Option<u64>,
    /// The labels that all its series have.
    pub labels: String,
    /// How many read it.
    pub readers: usize,
    /// For how long the oldest of them has.
    pub oldest_reader_seconds: Option<f64>,
    /// For how long it has been closing.
    pub closing_seconds: Option<f64>,
}

/// Who reads a block.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ReaderStatus {
    /// The block.
    pub block: String,
    /// The query that reads it.
    pub reader: String,
    /// The line of code that has entered the block.
    pub site: String,
    /// Since when.
    pub since_ms: i64,
    /// For how long.
    pub age_seconds: f64,
}

/// A look at the directory of blocks.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SyncStatus {
    /// When it began.
    pub at_ms: i64,
    /// How long it took.
    pub took_seconds: f64,
    /// What it found.
    pub found: String,
}

/// A query that failed, or whose answer was partial.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct FailureStatus {
    /// When.
    pub at_ms: i64,
    /// The query.
    pub query: String,
    /// `failed`, or `partial`.
    pub kind: &'static str,
    /// What was wrong, and with which store.
    pub problem: String,
}

impl Status {
    /// Looks at a gateway.
    ///
    /// # Complexity
    ///
    /// What is open is looked at once.
    #[must_use]
    pub fn of(gateway: &Gateway, is_stopping: bool) -> Self {
        let now = SystemTime::now();
        let overdue_after = gateway.limits().query_time * 2;
        let ledger = gateway.ledger().snapshot();
        let counts = gateway.queries().counts();
        let syncs = gateway.store().syncs();
        let uptime = now.duration_since(gateway.started()).unwrap_or_default();
        let mut lists = Lists { now, omitted: BTreeMap::new() };
        let mut totals = Totals {
            running_queries: counts.running as u64,
            waiting_requests: gateway.waiting_requests() as u64,
            concurrent_limit: gateway.limits().concurrent_queries as u64,
            queries: counts.begun,
            failed_queries: counts.failed,
            warnings: counts.partial,
            open: ledger.open,
            opened: ledger.opened,
            closed: ledger.closed + ledger.closed_in_background,
            ended_otherwise: ledger.failed + ledger.handed_back + ledger.dropped_unclosed,
            lost: ledger.lost,
            syncs: syncs.count,
            failed_syncs: syncs.failed,
            last_sync_ms: syncs.last_success.map(unix_ms),
            since_sync_seconds: syncs
                .last_success
                .map(|moment| now.duration_since(moment).unwrap_or_default().as_secs_f64()),
            wrong_blocks: syncs.wrong_blocks as u64,
            ..Totals::default()
        };
        let (blocks, readers) = lists.blocks(gateway.store(), &mut totals);
        let queries = lists.queries(gateway, counts.running);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            state: if is_stopping { "stopping" } else { "serving" },
            forgets_closes: gateway.forgets_closes(),
            now_ms: unix_ms(now),
            started_ms: unix_ms(gateway.started()),
            uptime_seconds: uptime.as_secs_f64(),
            query_limit_seconds: gateway.limits().query_time.as_secs_f64(),
            overdue_after_seconds: overdue_after.as_secs_f64(),
            overdue_sites: ledger.open_sites.iter().filter(|site| site.oldest.age > overdue_after).count(),
            queries,
            pools: pools(gateway),
            open_sites: lists.sites(&ledger, overdue_after),
            open: lists.cut("open", ledger.open as usize, ledger.open_entries.iter(), Lists::open),
            unclosed: lists.unclosed(&ledger),
            stores: lists.stores(gateway),
            blocks,
            readers,
            syncs: syncs.notable.iter().rev().map(SyncStatus::of).collect(),
            failures: gateway.queries().failures().into_iter().map(FailureStatus::of).collect(),
            totals,
            omitted: lists.omitted,
        }
    }
}

/// Makes lists, and knows what was left out of them.
struct Lists {
    now: SystemTime,
    omitted: BTreeMap<&'static str, u64>,
}

impl Lists {
    /// The first rows of a list that has `len` of them.
    fn cut<T, U>(
        &mut self,
        name: &'static str,
        len: usize,
        rows: impl Iterator<Item = T>,
        mut row: impl FnMut(&Self, T) -> U,
    ) -> Vec<U> {
        let cut: Vec<U> = rows.take(MAX_ROWS).map(|item| row(self, item)).collect();
        if len > cut.len() {
            self.omitted.insert(name, (len - cut.len()) as u64);
        }
        cut
    }

    /// The moment that was so long ago.
    fn ago(&self, age: Duration) -> i64 {
        self.now.checked_sub(age).map_or(0, unix_ms)
    }

    fn queries(&mut self, gateway: &Gateway, running: usize) -> Vec<QueryStatus> {
        let queries = gateway.queries().running(MAX_ROWS).into_iter();
        self.cut("queries", running, queries, |_, query| QueryStatus {
            query: cut(&query.reader),
            kind: query.kind,
            stage: if query.is_admitted { "reads" } else { "waits for memory" },
            age_seconds: query.age.as_secs_f64(),
            selector: cut(Braced(query.selector.matchers.iter())),
            min_ms: query.selector.range.min_ms,
            max_ms: query.selector.range.max_ms,
            blocks: query.blocks,
            servers: query.servers,
            series: query.series,
            chunk_bytes: query.chunk_bytes,
        })
    }

    fn sites(&mut self, ledger: &LedgerSnapshot, overdue_after: Duration) -> Vec<SiteStatus> {
        let mut sites: Vec<_> = ledger.open_sites.iter().collect();
        sites.sort_by_key(|site| std::cmp::Reverse(site.oldest.age));
        self.cut("open_sites", sites.len(), sites.into_iter(), |lists, site| SiteStatus {
            site: line(site.location),
            count: site.count,
            oldest: cut(&site.oldest.what),
            since_ms: lists.ago(site.oldest.age),
            age_seconds: site.oldest.age.as_secs_f64(),
            overdue: site.oldest.age > overdue_after,
        })
    }

    fn open(&self, entry: &OpenEntry) -> OpenStatus {
        OpenStatus {
            what: cut(&entry.what),
            site: line(entry.location),
            since_ms: self.ago(entry.age),
            age_seconds: entry.age.as_secs_f64(),
            last_use: entry.last_use.as_ref().map(|last_use: &LastUse| cut(last_use)),
        }
    }

    fn unclosed(&mut self, ledger: &LedgerSnapshot) -> Vec<UnclosedStatus> {
        let last = &ledger.last_unclosed;
        self.cut("unclosed", last.len(), last.iter(), |lists, unclosed| UnclosedStatus {
            what: cut(&unclosed.entry.what),
            site: line(unclosed.entry.location),
            ending: cut(unclosed.ending),
            ended_ms: lists.ago(unclosed.ended),
        })
    }

    fn stores(&mut self, gateway: &Gateway) -> Vec<StoreStatus> {
        let store = gateway.store();
        let blocks = store.dir().map(|dir| StoreStatus {
            store: cut(dir.display()),
            kind: "blocks",
            labels: cut(Braced(store.external_labels().iter().map(Pair))),
        });
        let remotes = gateway.remotes().iter().map(|remote| StoreStatus {
            store: cut(remote.name()),
            kind: "remote read",
            labels: cut(Braced(remote.external_labels().iter().map(Pair))),
        });
        let store_apis = gateway.store_apis().iter().map(|store| StoreStatus {
            store: cut(store.name()),
            kind: "StoreAPI",
            labels: cut(Braced(store.external_labels().iter().map(Pair))),
        });
        let len = usize::from(blocks.is_some()) + gateway.remotes().len() + gateway.store_apis().len();
        self.cut("stores", len, blocks.into_iter().chain(remotes).chain(store_apis), |_, store| store)
    }

    /// The blocks, and their readers.
    fn blocks(&mut self, store: &BlockStore, totals: &mut Totals) -> (Vec<BlockStatus>, Vec<ReaderStatus>) {
        let (open, closing) = (store.blocks(), store.closing());
        totals.blocks = open.len() as u64;
        totals.closing_blocks = closing.len() as u64;
        totals.series = open.iter().map(|block| block.meta().stats.num_series).sum();
        totals.header_bytes = open.iter().map(|block| block.memory_bytes() as u64).sum();
        let closing = closing.into_iter().map(|(name, gate)| Seen { name, gate, block: None });
        let open = open.into_iter().map(|block| Seen {
            name: block.meta().ulid.clone(),
            gate: block.gate().clone(),
            block: Some(block),
        });
        let mut seen: Vec<_> = closing.chain(open).map(|seen| (seen.gate.pending(), seen)).collect();
        totals.readers = seen.iter().map(|(pending, _)| *pending as u64).sum();
        let newest = |seen: &Seen| seen.block.as_ref().map_or(i64::MAX, |block| block.meta().max_time_ms);
        seen.sort_by_key(|(pending, seen)| {
            (seen.block.is_some(), *pending == 0, std::cmp::Reverse(newest(seen)))
        });
        let len = seen.len();
        seen.truncate(MAX_ROWS);
        let mut readers = Vec::new();
        let mut rows = self.cut("blocks", len, seen.iter(), |_, (_, seen)| {
            let inside = seen.gate.readers();
            readers.extend(
                inside
                    .iter()
                    .take(MAX_ROWS)
                    .enumerate()
                    .map(|(place, reader)| (place, cut(&seen.name), reader.clone())),
            );
            let meta = seen.block.as_ref().map(|block| block.meta());
            BlockStatus {
                block: cut(&seen.name),
                state: if meta.is_some() { "open" } else { "closing" },
                min_ms: meta.map(|meta| meta.min_time_ms),
                max_ms: meta.map(|meta| meta.max_time_ms),
                series: meta.map(|meta| meta.stats.num_series),
                header_bytes: seen.block.as_ref().map(|block| block.memory_bytes() as u64),
                labels: seen
                    .block
                    .as_ref()
                    .map_or_else(String::new, |block| cut(Braced(block.external_labels().iter().map(Pair)))),
                readers: inside.len(),
                oldest_reader_seconds: inside.first().map(|reader| reader.age.as_secs_f64()),
                closing_seconds: seen.gate.closing_for().map(|age| age.as_secs_f64()),
            }
        });
        rows.sort_by(|one, other| (one.state, &one.block).cmp(&(other.state, &other.block)));
        // One of each block before a second one of any.
        readers.sort_by_key(|(place, _, _)| *place);
        let readers = self.cut(
            "readers",
            usize::try_from(totals.readers).unwrap_or(usize::MAX),
            readers.into_iter(),
            |lists, (_, block, reader)| ReaderStatus {
                block,
                reader: cut(reader.name.as_deref().unwrap_or("a reader")),
                site: line(reader.location),
                since_ms: lists.ago(reader.age),
                age_seconds: reader.age.as_secs_f64(),
            },
        );
        (rows, readers)
    }
}

/// A block that is open, or the gate of one that is closing.
struct Seen {
    name: String,
    gate: ReaderGate,
    block: Option<Arc<Block>>,
}

impl SyncStatus {
    fn of(sync: &crate::NotableSync) -> Self {
        Self { at_ms: unix_ms(sync.at), took_seconds: sync.took.as_secs_f64(), found: cut(sync) }
    }
}

impl FailureStatus {
    fn of(failure: crate::running::Failure) -> Self {
        Self {
            at_ms: unix_ms(failure.at),
            query: cut(&failure.reader),
            kind: if failure.is_partial { "partial" } else { "failed" },
            problem: failure.problem,
        }
    }
}

fn pools(gateway: &Gateway) -> Vec<PoolStatus> {
    let pool = |(name, pool): (_, &BytePool)| {
        let state = pool.snapshot();
        PoolStatus {
            pool: name,
            used_bytes: state.used_bytes,
            budget_bytes: state.budget_bytes,
            long_held_bytes: state.long_held_bytes,
            peak_bytes: state.peak_bytes,
            idle_bytes: state.idle_bytes,
            leases: state.outstanding,
            waiting: state.waiting,
            refused: state.refusals.count,
        }
    };
    gateway.pools().into_iter().map(pool).collect()
}

fn line(location: &Location<'_>) -> String {
    cut(location)
}

/// Milliseconds since the epoch.
fn unix_ms(moment: SystemTime) -> i64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A label, as in a selector.
struct Pair<'a>((&'a String, &'a String));

impl std::fmt::Display for Pair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, value) = self.0;
        write!(f, "{name}={value:?}")
    }
}

/// As in a selector: `{a="1", b="2"}`.
struct Braced<I>(I);

impl<I: Iterator<Item: std::fmt::Display> + Clone> std::fmt::Display for Braced<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (place, item) in self.0.clone().enumerate() {
            write!(f, "{}{item}", if place == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::too_many_lines)]
pub(crate) mod tests {
    use super::*;

    /// A state with as much in it as there can be, all of whose texts are one.
    pub(crate) fn largest(text: &str) -> Status {
        let text = || cut(text.repeat(1_000));
        let (long, count) = (f64::from(u32::MAX), usize::MAX);
        let omitted = ["queries", "open_sites", "open", "unclosed", "stores", "blocks", "readers"];
        Status {
            version: "1000.1000.1000",
            state: "stopping",
            forgets_closes: true,
            now_ms: i64::MIN,
            started_ms: i64::MIN,
            uptime_seconds: long,
            query_limit_seconds: long,
            overdue_after_seconds: long,
            overdue_sites: count,
            totals: Totals { queries: u64::MAX, since_sync_seconds: Some(long), ..Totals::default() },
            queries: vec![
                QueryStatus {
                    query: text(),
                    kind: "remote read",
                    stage: "waits for memory",
                    age_seconds: long,
                    selector: text(),
                    min_ms: i64::MIN,
                    max_ms: i64::MAX,
                    blocks: u64::MAX,
                    servers: u64::MAX,
                    series: u64::MAX,
                    chunk_bytes: u64::MAX,
                };
                MAX_ROWS
            ],
            pools: vec![
                PoolStatus {
                    pool: "admission",
                    used_bytes: count,
                    budget_bytes: count,
                    long_held_bytes: count,
                    peak_bytes: count,
                    idle_bytes: count,
                    leases: count,
                    waiting: count,
                    refused: u64::MAX,
                };
                4
            ],
            open_sites: vec![
                SiteStatus {
                    site: text(),
                    count,
                    oldest: text(),
                    since_ms: i64::MIN,
                    age_seconds: long,
                    overdue: true,
                };
                MAX_ROWS
            ],
            open: vec![
                OpenStatus {
                    what: text(),
                    site: text(),
                    since_ms: i64::MIN,
                    age_seconds: long,
                    last_use: Some(text()),
                };
                16
            ],
            unclosed: vec![
                UnclosedStatus { what: text(), site: text(), ending: text(), ended_ms: i64::MIN };
                32
            ],
            stores: vec![StoreStatus { store: text(), kind: "remote read", labels: text() }; MAX_ROWS],
            blocks: vec![
                BlockStatus {
                    block: text(),
                    state: "closing",
                    min_ms: Some(i64::MIN),
                    max_ms: Some(i64::MIN),
                    series: Some(u64::MAX),
                    header_bytes: Some(u64::MAX),
                    labels: text(),
                    readers: count,
                    oldest_reader_seconds: Some(long),
                    closing_seconds: Some(long),
                };
                MAX_ROWS
            ],
            readers: vec![
                ReaderStatus {
                    block: text(),
                    reader: text(),
                    site: text(),
                    since_ms: i64::MIN,
                    age_seconds: long,
                };
                MAX_ROWS
            ],
            syncs: vec![SyncStatus { at_ms: i64::MIN, took_seconds: long, found: text() }; 16],
            failures: vec![
                FailureStatus { at_ms: i64::MIN, query: text(), kind: "partial", problem: text() };
                16
            ],
            omitted: omitted.map(|name| (name, u64::MAX)).into(),
        }
    }

    #[test]
    fn the_json_is_bounded_whatever_is_open() {
        // The longest in UTF-8, and what is escaped.
        for text in ["\u{10fffd}", "\"", "\\", "\u{0}"] {
            let bytes = serde_json::to_string(&largest(text)).unwrap().len();
            assert!(bytes < 1 << 20, "{bytes} of {text:?}");
        }
    }
}
