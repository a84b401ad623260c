//! The command line.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;

/// Serves queries over blocks of series while the blocks are replaced beneath them, and audits the ledger.
///
/// Each query asks all blocks. Half of the queries stop early, the others read to the end, hit a limit,
/// fail in a block or are cancelled. In the end no memory of the pool may be in use, no reader may be inside
/// of a block, no task may be alive, and nothing may be open in the ledger.
#[derive(Debug, Clone, Parser)]
#[command(name = "store_gateway", version, verbatim_doc_comment, after_long_help = AFTER_HELP)]
pub(crate) struct Args {
    /// How many blocks there are.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) blocks: u64,

    /// How many different series there are. Each is in two of the blocks.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) series: u64,

    /// How many queries are run.
    #[arg(long, default_value_t = 200)]
    pub(crate) queries: u64,

    /// How many queries there are at once. Those that the budget has no room for wait until others have ended.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    concurrency: u64,

    /// How many MiB the pool may hold.
    #[arg(long, value_name = "MIB", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    budget_mib: u64,

    /// Decides what each query does and which blocks are replaced.
    #[arg(long, default_value_t = 7885)]
    pub(crate) seed: u64,

    /// Gives up a query that has waited this long for its next series.
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    frame_timeout_ms: u64,

    /// Counts what is leased for so long as held for long, in the metrics.
    #[arg(long, value_name = "MS", default_value_t = 15 * 60 * 1000)]
    long_held_after_ms: u64,

    /// Forgets to close queries that stop early.
    #[arg(long)]
    pub(crate) leak: bool,

    /// Serves metrics to Prometheus while the run lasts, at ADDR, such as 127.0.0.1:9090, and the path /metrics. Port
    /// 0 is any that is free. Needs to be built with `--features metrics`. docs/metrics.md has the list.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Shows no progress. It is not shown either where standard error is no terminal.
    #[arg(long)]
    pub(crate) no_progress: bool,
}

const AFTER_HELP: &str = "\
The blocks are in memory. Their series are those of the scrapes in examples/data/, replicated over labels
(`exporter`, `cluster`, `shard`) and put into two blocks each, with samples of different times. What a query
reads of them is in buffers of the pool, as if it had been read from a disk.

With --leak the run shows what the ledger, the pool and the gates say when a close is forgotten: the pool runs
empty, queries get no memory, and the blocks that were read can never be removed.

The table goes to standard output, messages to standard error.

Ctrl-C, or SIGTERM, ends the run in order: queries are closed where they are, no others are run, and the ledger
must balance.

Exit codes:
  0  every query ended as it was to, and the ledger is balanced
  1  something is open, a query ended otherwise, or the metrics cannot be served
  2  the command line is wrong
  130, 143  as 0, but it was ended by Ctrl-C or SIGTERM

Examples:
  store_gateway
  store_gateway --leak
  store_gateway --blocks 4 --series 2000 --queries 40
";

impl Args {
    pub(crate) fn budget_bytes(&self) -> usize {
        usize::try_from(self.budget_mib << 20).unwrap_or(usize::MAX)
    }

    pub(crate) fn concurrency(&self) -> usize {
        usize::try_from(self.concurrency).unwrap_or(usize::MAX)
    }

    pub(crate) const fn frame_timeout(&self) -> Duration {
        Duration::from_millis(self.frame_timeout_ms)
    }

    pub(crate) const fn long_held_after(&self) -> Duration {
        Duration::from_millis(self.long_held_after_ms)
    }
}
