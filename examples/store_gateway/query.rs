//! Queries: what each is to do, and doing it.

use losertree::SourceError;
use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::TryStreamExt;
use losertree::Response;
use losertree::response::{ProxyQuery, ResponseSetOptions};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::block::{BlockError, BlockSource, CHUNK_BYTES};
use crate::gateway::Gateway;
use crate::rng::Rng;

/// After how many series a query lets others run.
const YIELD_AFTER: u64 = 32;
/// How many series of each block are received ahead of the merge. Each holds a lease, so this times the blocks times the
/// queries is memory: [`Query::need_bytes`].
const BUFFER_FRAMES: usize = 4;

/// What a query is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Read everything.
    Complete,
    /// Stop after so many series.
    StopAfter(u64),
    /// Have the answer end after so many series.
    Limit(u64),
    /// Be dropped at this poll.
    CancelAt(u64),
    /// Fail in a block, after so many of its series.
    FailIn { block: usize, after: usize },
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
    /// The gateway was stopped.
    Interrupted,
    /// It was not to end like this.
    Unexpected(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Query {
    name: Arc<str>,
    kind: Kind,
}

impl Query {
    pub(crate) fn new(number: u64, kind: Kind) -> Self {
        Self { name: format!("query {number}").into(), kind }
    }

    /// Plans a query by its number: half of them stop early. The seed says where.
    pub(crate) fn plan(number: u64, gateway: &Gateway, rng: &mut Rng) -> Self {
        let series = gateway.series;
        let blocks = gateway.block_count();
        let kind = match (number % 2, number / 2 % 10) {
            (0, _) => Kind::StopAfter(rng.magnitude_below(series)),
            (_, 0) => Kind::Complete,
            (_, 1 | 4 | 5 | 7) => Kind::Limit(rng.magnitude_below(series)),
            (_, 2 | 6 | 9) => Kind::CancelAt(rng.below(40)),
            _ => {
                let after = rng.magnitude_below(gateway.item_count() / blocks.max(1) as u64);
                Kind::FailIn { block: rng.index(blocks), after: usize::try_from(after).unwrap_or_default() }
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
        // The query is dropped in the middle of what it does, and the blocks with it.
        ended.await.unwrap_or(Outcome::Cancelled)
    }

    /// What a query leases at most. It reserves so much before it takes anything, so all leases that there can be fit into the
    /// budget together: none has to wait for memory that is held by others who wait too. Who waits for the reservation holds
    /// nothing. It is in a pool of its own, since leases would be counted twice beside it.
    ///
    /// For each block there are chunks
    ///
    /// - [`BUFFER_FRAMES`] in its response set, including the one that is just being read, the frame in hand, those in
    ///   the buffer and the head in the tournament: a set counts a frame until the next one is asked for;
    /// - one in the series that the deduplication puts together.
    ///
    /// One chunk more has the series after that, by which it is found to be whole. With 32 blocks:
    ///
    /// ```text
    /// 32 blocks × (4 + 1) chunks × 512 bytes + 512 bytes = 80.5 KiB a query
    /// 16 queries × 80.5 KiB = 1.3 MiB, of 4 MiB
    /// ```
    ///
    /// `examples/tests/store_gateway_budget.rs` holds this.
    ///
    /// The blocks of a cancelled query that workers read at that very moment add to it until the workers return. For
    /// that a lease may have to wait, but the workers wait for nothing. Whatever happens, the pool lends no more than
    /// its budget.
    pub(crate) const fn need_bytes(blocks: usize) -> usize {
        (blocks * (BUFFER_FRAMES + 1) + 1) * CHUNK_BYTES
    }

    async fn answer(&self, gateway: &Gateway) -> Outcome {
        let mut memory = gateway.admission.reservation();
        let need = Self::need_bytes(gateway.block_count());
        tokio::select! {
            admitted = poll_fn(|cx| memory.poll_grow(cx, need)) => if let Err(refused) = admitted {
                return self.unexpected(&refused);
            },
            () = gateway.stopped() => return Outcome::Interrupted,
        }
        let failing = if let Kind::FailIn { block, after } = self.kind { Some((block, after)) } else { None };
        let limit = if let Kind::Limit(series) = self.kind { series } else { u64::MAX };
        // By itself the library spawns nothing unless its feature `tokio` is on.
        let sets = ResponseSetOptions::new().buffer_frames(BUFFER_FRAMES).spawn_with(|task| {
            tokio::spawn(task);
        });
        let stores = gateway.stores(&self.name, failing);
        let builder = ProxyQuery::builder().name("query").ledger(&gateway.ledger).limit(limit);
        let mut query = builder.stores(stores).response_sets(sets).build();

        let mut answer = Answer::new(&gateway.served);
        let outcome = tokio::select! {
            outcome = self.read(&mut query, &mut answer, gateway) => outcome,
            () = gateway.stopped() => Outcome::Interrupted,
        };
        drop(answer);

        if gateway.leaks && outcome == Outcome::StoppedEarly {
            // The lost `Close()`. Here it takes an explicit `forget`, a reference cycle or a thread that never
            // ends: leaving the function by any `return`, `?`, panic or cancellation drops the query, and
            // that gives back everything. In the original it took a refactoring that moved one line.
            mem::forget(query);
            return outcome;
        }
        // The one place where every path but cancellation comes by.
        match query.close().await {
            Ok(()) => outcome,
            // A set may have met the failure that is planned before the query was stopped for another reason.
            Err(error) if error.errors().iter().all(|error| self.is_planned(error)) => outcome,
            Err(error) => self.unexpected(&format!("cannot close: {error}")),
        }
    }

    async fn read(
        &self,
        query: &mut ProxyQuery<BlockSource>,
        answer: &mut Answer<'_>,
        gateway: &Gateway,
    ) -> Outcome {
        let stop_after = if let Kind::StopAfter(series) = self.kind { series } else { u64::MAX };
        while answer.series() < stop_after {
            match timeout(gateway.frame_timeout, query.try_next()).await {
                Ok(Ok(Some(Response::Series(series)))) => {
                    if let Err(wrong) = answer.add(series) {
                        return self.unexpected(&wrong);
                    }
                }
                Ok(Ok(Some(other))) => return self.unexpected(&format!("{other:?}, which no block gives")),
                Ok(Ok(None)) => return self.end(answer, gateway),
                Ok(Err(error)) => return self.failed(&error),
                Err(_) => return Outcome::Stalled,
            }
            if answer.series().is_multiple_of(YIELD_AFTER) {
                yield_now().await;
            }
        }
        Outcome::StoppedEarly
    }

    /// The query has ended by itself.
    fn end(&self, answer: &Answer<'_>, gateway: &Gateway) -> Outcome {
        let all = gateway.series;
        let (expected, outcome) = match self.kind {
            Kind::Limit(limit) if limit < all => (limit, Outcome::LimitReached),
            _ => (all, Outcome::Complete),
        };
        if answer.series() != expected {
            return self.unexpected(&format!("{} series instead of {expected}", answer.series()));
        }
        let items = gateway.item_count();
        if outcome == Outcome::Complete && answer.items() != items {
            return self.unexpected(&format!("{} series of blocks instead of {items}", answer.items()));
        }
        outcome
    }

    fn failed(&self, error: &SourceError<BlockError>) -> Outcome {
        if self.is_planned(error) { Outcome::FailedInBlock } else { self.unexpected(&error.report()) }
    }

    /// Whether it is the failure that this query asks of a block.
    fn is_planned(&self, error: &SourceError<BlockError>) -> bool {
        let injected = matches!(error.source_error(), Some(BlockError::Injected));
        matches!(self.kind, Kind::FailIn { block, .. } if Some(block) == error.path().index()) && injected
    }

    fn unexpected(&self, what: &dyn std::fmt::Display) -> Outcome {
        Outcome::Unexpected(format!("{}: {what}", self.name))
    }
}
