//! The query: from the stores to the output, and every store closed, whatever happens.

use std::io::{self, ErrorKind};

use futures::TryStreamExt;
use losertree::response::{
    PartialResponseStrategy, ProxyQuery, ResponseSetOptions, RetrievalStrategy, SeriesOrder, Store,
};
use losertree::stream::MergeStats;
use losertree::{CloseError, LeakLedger, Response, SourceError};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::args::Args;
use crate::exposition;
use crate::interrupt::interrupted;
use crate::report::say;
use crate::store::{Scrape, StoreError};

/// What a run has come to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How many series were written.
    pub(crate) series: u64,
    /// How many were merged into another one that has the same labels.
    pub(crate) merged: u64,
    pub(crate) stats: MergeStats,
    /// The exit code, if the run was asked to end before it had.
    pub(crate) interrupted: Option<u8>,
    /// All that went wrong.
    pub(crate) failures: Vec<Failure>,
}

/// Why a run fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Query(#[from] SourceError<StoreError>),
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Whether the reader of the output has seen enough and closed its end, which is no failure after all.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == ErrorKind::BrokenPipe)
    }
}

/// Asks the stores and writes the answer, until it is whole or the program is asked to end.
pub(crate) async fn run(
    stores: impl IntoIterator<Item = Store<Scrape>>,
    args: &Args,
    ledger: &LeakLedger,
    out: &mut (impl AsyncWrite + Unpin),
) -> Outcome {
    let sets = ResponseSetOptions::new()
        .retrieval(RetrievalStrategy::Eager)
        .series_order(SeriesOrder::Sorted)
        .without_replica_labels(args.replica_labels.iter().cloned());
    let mut query = ProxyQuery::builder()
        .stores(stores)
        .response_sets(sets)
        .partial_response(if args.partial {
            PartialResponseStrategy::Warn
        } else {
            PartialResponseStrategy::Abort
        })
        .limit(args.limit.unwrap_or(u64::MAX))
        .ledger(ledger)
        .build();

    let mut series = 0;
    let mut interrupt = None;
    let answered = tokio::select! {
        answered = answer(&mut query, args, &mut series, out) => answered,
        code = interrupted() => {
            interrupt = Some(code);
            Ok(())
        }
    };
    // The one place where every path comes by: the end, the limit, a failure, a reader who has gone, Ctrl-C.
    let closed = query.close().await;

    let mut failures: Vec<Failure> = answered.err().into_iter().collect();
    failures.extend(closed.err().into_iter().flat_map(CloseError::into_errors).map(Failure::from));
    failures.retain(|failure| !failure.is_closed_output());
    let merged = query.merged_series();
    Outcome { series, merged, stats: query.stats(), interrupted: interrupt, failures }
}

/// Writes the answer, or how many series it has.
async fn answer(
    query: &mut ProxyQuery<Scrape>,
    args: &Args,
    series: &mut u64,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Failure> {
    let mut lines = Vec::new();
    while let Some(response) = query.try_next().await? {
        match response {
            Response::Series(answered) => {
                *series += 1;
                if !args.count {
                    lines.clear();
                    exposition::write(&mut lines, &answered)?;
                    out.write_all(&lines).await?;
                }
            }
            Response::Warning(warning) => say(format_args!("warning: {warning}")),
            _ => {} // hints, which these stores never send
        }
    }
    if args.count {
        out.write_all(format!("{series}\n").as_bytes()).await?;
    }
    out.flush().await?;
    Ok(())
}
