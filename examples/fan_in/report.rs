//! What the program says on standard error.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Duration;

use losertree::resource::LedgerSnapshot;
use losertree::response::ResponseStats;
use losertree::stream::SourceStats;

use crate::query::Outcome;

/// Writes a line to standard error. Where that is closed there is nobody to tell.
pub(crate) fn say(line: impl Display) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// Shows an error with all its causes.
pub(crate) struct WithCauses<'a>(pub(crate) &'a dyn Error);

impl Display for WithCauses<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// The figures of a run: a table of the stores, the totals, and the ledger.
pub(crate) struct Summary<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) record: &'a LedgerSnapshot,
    pub(crate) time: Duration,
}

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { series, merged, stats, interrupted, .. } = self.outcome;
        let name = |source: &SourceStats| source.origin.name().unwrap_or_default().to_owned();
        let width = stats.sources.iter().map(|source| name(source).chars().count()).max().unwrap_or(0).max(5);
        writeln!(f, "{:width$}  {:>8}  {:>10}  ended", "store", "series", "bytes")?;
        for source in &stats.sources {
            let bytes = source.received().map_or(0, |received| received.bytes);
            let end = source.end.map_or_else(|| "still open".to_owned(), |end| end.to_string());
            writeln!(f, "{:width$}  {:>8}  {bytes:>10}  {end}", name(source), source.items)?;
        }
        let series_in: u64 = stats.sources.iter().map(|source| source.items).sum();
        let partial = match (interrupted, stats.is_partial) {
            (Some(_), _) => " (interrupted)",
            (None, true) => " (partial: a store has failed)",
            (None, false) => "",
        };
        writeln!(f)?;
        writeln!(f, "sources            {}", stats.sources.len())?;
        writeln!(f, "series in          {series_in}")?;
        writeln!(f, "series out         {series}{partial}")?;
        writeln!(f, "merged duplicates  {merged}")?;
        writeln!(f, "ledger             {}", self.record)?;
        write!(f, "time               {:.1?}", self.time)
    }
}
