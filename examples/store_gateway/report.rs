//! The table at the end, and what in it calls for an alert.

use std::fmt::{self, Display};
use std::fs;
use std::io::{self, Write};
use std::time::Duration;

use losertree::resource::{LedgerSnapshot, PoolSnapshot};

use crate::block_sync::SyncReport;
use crate::gateway::{Gateway, Served};
use crate::query::Outcome;

/// How many messages of one kind are shown.
const SHOWN: usize = 5;

/// Writes a line to standard error. Where that is closed there is nobody to tell.
pub(crate) fn say(line: impl Display) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// How many queries have ended in which way.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) complete: u64,
    pub(crate) stopped_early: u64,
    pub(crate) limit_reached: u64,
    pub(crate) cancelled: u64,
    pub(crate) failed_in_block: u64,
    pub(crate) stalled: u64,
    pub(crate) interrupted: u64,
    /// How many were never run.
    pub(crate) not_run: u64,
    pub(crate) unexpected: Vec<String>,
}

impl Outcomes {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Complete => self.complete += 1,
            Outcome::StoppedEarly => self.stopped_early += 1,
            Outcome::LimitReached => self.limit_reached += 1,
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::FailedInBlock => self.failed_in_block += 1,
            Outcome::Stalled => self.stalled += 1,
            Outcome::Interrupted => self.interrupted += 1,
            Outcome::Unexpected(message) => self.unexpected.push(message),
        }
    }
}

/// The figures of a run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcomes: Outcomes,
    pub(crate) sync: SyncReport,
    pub(crate) time: Duration,
    items: u64,
    series: u64,
    bytes: u64,
    pool: PoolSnapshot,
    admission: PoolSnapshot,
    pending: usize,
    tasks: usize,
    record: LedgerSnapshot,
    memory_peak: Option<u64>,
}

impl Report {
    /// Takes the figures of the gateway, which nobody uses any more, save the `tasks` that are left.
    pub(crate) fn new(
        gateway: &Gateway,
        outcomes: Outcomes,
        sync: SyncReport,
        tasks: usize,
        time: Duration,
    ) -> Self {
        Self {
            outcomes,
            sync,
            time,
            items: Served::get(&gateway.served.items),
            series: Served::get(&gateway.served.series),
            bytes: Served::get(&gateway.served.bytes),
            pool: gateway.pool.snapshot(),
            admission: gateway.admission.snapshot(),
            pending: gateway.pending(),
            tasks,
            record: gateway.ledger.snapshot(),
            memory_peak: memory_peak(),
        }
    }

    /// What must not be, one line each.
    pub(crate) fn alerts(&self) -> Vec<String> {
        let mut alerts = Vec::new();
        let mut alert = |is_wrong, line: fmt::Arguments<'_>| {
            if is_wrong {
                alerts.push(line.to_string());
            }
        };
        let Self { outcomes, sync, pool, .. } = self;
        for message in outcomes.unexpected.iter().chain(&sync.errors).take(SHOWN) {
            alert(true, format_args!("{message}"));
        }
        let messages = outcomes.unexpected.len() + sync.errors.len();
        alert(messages > SHOWN, format_args!("and {} more", messages.saturating_sub(SHOWN)));
        alert(outcomes.stalled > 0, format_args!("{} queries waited in vain for memory", outcomes.stalled));
        let PoolSnapshot { used_bytes, budget_bytes, outstanding, .. } = pool;
        alert(
            *used_bytes > 0 || *outstanding > 0,
            format_args!(
                "{used_bytes} of {budget_bytes} bytes of the pool are still leased, in {outstanding} leases"
            ),
        );
        let reserved_bytes = self.admission.used_bytes;
        alert(reserved_bytes > 0, format_args!("{reserved_bytes} bytes are still reserved by queries"));
        alert(self.pending > 0, format_args!("{} readers are still inside of blocks", self.pending));
        alert(self.tasks > 0, format_args!("{} tasks are still alive", self.tasks));
        for stuck in sync.stuck.iter().take(SHOWN) {
            alert(true, format_args!("block sync is stuck: {stuck}"));
        }
        for site in &self.record.open_sites {
            alert(true, format_args!("still open: {site}"));
        }
        alert(!self.record.is_balanced(), format_args!("the ledger is not balanced"));
        alerts
    }
}

/// The most bytes of memory that the process has had at once, where the system tells: on Linux.
fn memory_peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcomes, sync, pool, record, .. } = self;
        let rate = |count: u64| {
            let micros = self.time.as_micros().max(1);
            u128::from(count) * 1_000_000 / micros
        };
        writeln!(f, "queries            complete {}", outcomes.complete)?;
        writeln!(f, "                   stopped early {}", outcomes.stopped_early)?;
        writeln!(f, "                   limit reached {}", outcomes.limit_reached)?;
        writeln!(f, "                   cancelled {}", outcomes.cancelled)?;
        writeln!(f, "                   failed in a block {}", outcomes.failed_in_block)?;
        writeln!(f, "                   stalled {}", outcomes.stalled)?;
        writeln!(f, "                   unexpected {}", outcomes.unexpected.len())?;
        if outcomes.interrupted + outcomes.not_run > 0 {
            writeln!(f, "                   interrupted {}", outcomes.interrupted)?;
            writeln!(f, "                   not run {}", outcomes.not_run)?;
        }
        writeln!(f, "series merged      {} ({}/s)", self.items, rate(self.items))?;
        writeln!(f, "series answered    {} ({}/s)", self.series, rate(self.series))?;
        writeln!(f, "chunk bytes        {} ({}/s)", self.bytes, rate(self.bytes))?;
        writeln!(f, "pool used          {}", pool.used_bytes)?;
        writeln!(f, "pool peak          {} of {}", pool.peak_bytes, pool.budget_bytes)?;
        let (gets, puts) = (pool.gets.count, pool.puts.count);
        let difference = if gets == puts { "=" } else { "≠" };
        writeln!(f, "pool gets, puts    {gets} {difference} {puts}")?;
        writeln!(f, "pool waits         {}", pool.waits.count)?;
        writeln!(f, "admission waits    {}", self.admission.waits.count)?;
        writeln!(f, "gate pending       {}", self.pending)?;
        writeln!(f, "tasks alive        {}", self.tasks)?;
        let balance = if record.is_balanced() { "balanced" } else { "NOT BALANCED" };
        writeln!(
            f,
            "ledger             {balance}: opened {}, closed {}, failed {}, handed back {}, dropped unclosed {}, \
             open {}",
            record.opened,
            record.closed,
            record.failed,
            record.handed_back,
            record.dropped_unclosed,
            record.open
        )?;
        writeln!(
            f,
            "block syncs        completed {}, stuck {}, longest wait {:.1?}",
            sync.completed,
            sync.stuck.len(),
            sync.longest_wait
        )?;
        if let Some(memory_peak) = self.memory_peak {
            writeln!(f, "memory peak        {memory_peak}")?;
        }
        write!(f, "time               {:.1?}", self.time)
    }
}
