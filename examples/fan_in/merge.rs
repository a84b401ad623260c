//! The merge: from the stores to the output, and every store closed, whatever happens.

use std::io::{self, ErrorKind, Write};

use futures::TryStreamExt;
use losertree::stream::{CloseError, MergeError, MergeStats};
use losertree::{LeakLedger, Phase, ProxyResponseLoserTree, Response, Source};

use crate::args::Args;
use crate::exposition;
use crate::report::say;
use crate::store::{Store, StoreError};

/// What a run has come to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) stats: MergeStats,
    /// All that went wrong.
    pub(crate) failures: Vec<Failure>,
}

/// What has become of the series that came out of the merge.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many are part of the answer.
    pub(crate) answered: u64,
    /// How many were left out, because the one before has the same labels.
    pub(crate) duplicates: u64,
}

/// Why a run fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The error of a store says itself which file it is about.
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Merge(MergeError<StoreError>),
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl Failure {
    /// Whether the reader of the output has seen enough and closed its end, which is no failure after all.
    pub(crate) fn is_closed_output(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == ErrorKind::BrokenPipe)
    }
}

impl From<MergeError<StoreError>> for Failure {
    fn from(error: MergeError<StoreError>) -> Self {
        match error {
            MergeError::Source(error) if error.phase() != Phase::Closing => Self::Store(error.into_error()),
            other => Self::Merge(other),
        }
    }
}

/// Merges the stores and writes the answer.
pub(crate) async fn run<'a>(
    stores: impl IntoIterator<Item = Store<'a>>,
    args: &Args,
    ledger: &LeakLedger,
    out: &mut impl Write,
) -> Outcome {
    // The stores give series; between them the merge puts warnings.
    let sources = stores.into_iter().map(|store| store.map(Response::from));
    let mut builder = ProxyResponseLoserTree::builder().sources(sources).ledger(ledger);
    if args.partial {
        builder = builder.partial_response(Into::into);
    }
    let mut merge = builder.build();
    let mut tally = Tally::default();

    let answered = answer(&mut merge, args, &mut tally, out).await;
    // The one place where every path comes by: the end, the limit, a failure, a reader who has gone.
    let closed = merge.close().await;

    let mut failures: Vec<Failure> = answered.err().into_iter().collect();
    failures.extend(closed.err().into_iter().flat_map(CloseError::into_errors).map(Failure::from));
    failures.retain(|failure| !failure.is_closed_output());
    Outcome { tally, stats: merge.stats(), failures }
}

/// Takes from the merge what is part of the answer, and writes it or how many series it has.
async fn answer(
    merge: &mut ProxyResponseLoserTree<impl Source<Item = Response, Error = StoreError> + Unpin>,
    args: &Args,
    tally: &mut Tally,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let mut before = None;
    // The limit is of what comes out here. That of the merge would count the duplicates too.
    while args.limit.is_none_or(|limit| tally.answered < limit) {
        let series = match merge.try_next().await? {
            Some(Response::Series(series)) => series,
            Some(Response::Warning(warning)) => {
                say(format_args!("warning: {warning}"));
                continue;
            }
            Some(_) => continue, // hints and batches, which these stores never send
            None => break,
        };
        if !args.replica_labels.is_empty() && before.as_ref() == Some(&series.labels) {
            tally.duplicates += 1;
            continue;
        }
        if !args.count {
            exposition::write(out, &series)?;
        }
        tally.answered += 1;
        before = Some(series.labels);
    }
    if args.count {
        writeln!(out, "{}", tally.answered)?;
    }
    out.flush()?;
    Ok(())
}
