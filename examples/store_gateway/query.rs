//! Queries: what each is to do, and doing it.

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::TryStreamExt;
use losertree::ProxyResponseLoserTree;
use losertree::stream::MergeError;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::block::{BlockError, BlockSource, Problem};
use crate::gateway::Gateway;
use crate::rng::Rng;

/// After how many series a query lets others run.
const YIELD_AFTER: u64 = 64;

type Merge = ProxyResponseLoserTree<BlockSource>;

/// What a query is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Read everything.
    Complete,
    /// Stop after so many series.
    StopAfter(u64),
    /// Have the merge stop after so many series.
    Limit(u64),
    /// Be dropped at this poll.
    CancelAt(u64),
    /// Fail in a block, after so many of its series.
    FailIn { block: usize, after: u64 },
}

/// How a query has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Complete,
    StoppedEarly,
    LimitReached,
    Cancelled,
    FailedInBlock,
    /// Nothing came for too long.
    Stalled,
    /// It was not to end like this.
    Unexpected(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Query {
    name: Arc<str>,
    kind: Kind,
}

impl Query {
    pub(crate) fn new(number: usize, kind: Kind) -> Self {
        Self { name: format!("query {number}").into(), kind }
    }

    /// Plans a query by its number: half of them stop early. The seed says where.
    pub(crate) fn plan(number: usize, gateway: &Gateway, rng: &mut Rng) -> Self {
        let items = gateway.item_count();
        let blocks = gateway.block_count();
        let kind = match (number % 2, number / 2 % 10) {
            (0, _) => Kind::StopAfter(rng.magnitude_below(items)),
            (_, 0) => Kind::Complete,
            (_, 1 | 4 | 5 | 7) => Kind::Limit(rng.magnitude_below(items)),
            (_, 2 | 6 | 9) => Kind::CancelAt(rng.below(40)),
            _ => {
                let after = rng.magnitude_below(items / blocks.max(1) as u64);
                Kind::FailIn { block: rng.index(blocks), after }
            }
        };
        Self::new(number, kind)
    }

    pub(crate) async fn run(&self, gateway: &Gateway) -> Outcome {
        let Kind::CancelAt(mut polls) = self.kind else { return self.answer(gateway).await };
        let mut query = pin!(self.answer(gateway));
        let ended = poll_fn(|cx| {
            let Some(left) = polls.checked_sub(1) else { return Poll::Ready(None) };
            polls = left;
            query.as_mut().poll(cx).map(Some)
        });
        // The query is dropped in the middle of what it does, and the merge with it.
        ended.await.unwrap_or(Outcome::Cancelled)
    }

    async fn answer(&self, gateway: &Gateway) -> Outcome {
        let mut sources = gateway.sources(&self.name);
        if let Kind::FailIn { block, after } = self.kind
            && let Some(source) = sources.get_mut(block)
        {
            source.fail_after(after);
        }
        let limit = if let Kind::Limit(series) = self.kind { series } else { u64::MAX };
        let builder = ProxyResponseLoserTree::builder().name("query").ledger(&gateway.ledger).limit(limit);
        let mut merge = builder.sources(sources).build();

        let mut answer = Answer::new(&gateway.served);
        let outcome = self.read(&mut merge, &mut answer, gateway).await;
        drop(answer);

        if gateway.leaks && outcome == Outcome::StoppedEarly {
            // The lost `Close()`. Here it takes an explicit `forget`, a reference cycle or a thread that never
            // ends: leaving the function by any `return`, `?`, panic or cancellation drops the merge, and
            // that gives back everything. In the original it took a refactoring that moved one line.
            mem::forget(merge);
            return outcome;
        }
        // The one place where every path but cancellation comes by.
        match merge.close().await {
            Ok(()) => outcome,
            Err(error) => Outcome::Unexpected(format!("{}: cannot close: {error}", self.name)),
        }
    }

    async fn read(&self, merge: &mut Merge, answer: &mut Answer<'_>, gateway: &Gateway) -> Outcome {
        let stop_after = if let Kind::StopAfter(series) = self.kind { series } else { u64::MAX };
        while answer.items() < stop_after {
            match timeout(gateway.frame_timeout, merge.try_next()).await {
                Ok(Ok(Some(series))) => {
                    if let Err(wrong) = answer.add(series) {
                        return self.unexpected(&wrong);
                    }
                }
                Ok(Ok(None)) => return self.end(answer, gateway),
                Ok(Err(error)) => return self.failed(&error),
                Err(_) => return Outcome::Stalled,
            }
            if answer.items().is_multiple_of(YIELD_AFTER) {
                yield_now().await;
            }
        }
        Outcome::StoppedEarly
    }

    /// The merge has ended by itself.
    fn end(&self, answer: &Answer<'_>, gateway: &Gateway) -> Outcome {
        let all = gateway.item_count();
        let (expected, outcome) = match self.kind {
            Kind::Limit(limit) if limit < all => (limit, Outcome::LimitReached),
            _ => (all, Outcome::Complete),
        };
        if answer.items() != expected {
            return self.unexpected(&format!("{} series of blocks instead of {expected}", answer.items()));
        }
        if outcome == Outcome::Complete && answer.series() != gateway.series {
            return self.unexpected(&format!("{} series instead of {}", answer.series(), gateway.series));
        }
        outcome
    }

    fn failed(&self, error: &MergeError<BlockError>) -> Outcome {
        let is_planned = matches!(self.kind, Kind::FailIn { block, .. } if block == error.origin().index());
        match error.source_error() {
            Some(BlockError { problem: Problem::Injected, .. }) if is_planned => Outcome::FailedInBlock,
            Some(cause) => self.unexpected(&format!("{error}: {cause}")),
            None => self.unexpected(error),
        }
    }

    fn unexpected(&self, what: &dyn std::fmt::Display) -> Outcome {
        Outcome::Unexpected(format!("{}: {what}", self.name))
    }
}
