//! Stores whose answers are received as a whole are received at the same time, whatever they have to say before.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use losertree::resource::BytePool;
use losertree::response::{PartialResponseStrategy, ProxyQuery, ResponseSetOptions, RetrievalStrategy};
use losertree::{LeakLedger, Response, Warning};
use tokio::time::Instant;

use crate::timed::{Cast, Plan, Step, assert_no_timer, frame, seconds, tasks, wait};

/// A store that has something to say first, and gives its one series a second later.
fn talkative(index: usize, close: Vec<Step>) -> Plan {
    let say = |text: &str| Step::Frame(Warning::new(text).into());
    let hints = Step::Frame(Response::Hints("hints".into()));
    let answer = vec![say("one"), hints, say("two"), wait(1), frame(index)];
    Plan { name: format!("store-{index}"), answer, close, ..Plan::default() }
}

// F58
#[tokio::test(start_paused = true)]
async fn stores_that_warn_first_take_the_time_of_one() {
    for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let cast = Cast::default();
        let start = Instant::now();
        let mut query = ProxyQuery::builder()
            .stores(cast.stores((0..16).map(|index| talkative(index, vec![]))))
            .response_sets(ResponseSetOptions::new().retrieval(retrieval))
            .partial_response(PartialResponseStrategy::Warn)
            .build();
        // What they say comes at once, and keeps nobody waiting.
        let said: Vec<_> = query.by_ref().take(48).try_collect().await.unwrap();
        assert!(said.iter().all(|response: &Response| response.as_series().is_none()));
        assert_eq!(start.elapsed(), Duration::ZERO, "{retrieval:?}");
        let series: Vec<_> = query.by_ref().try_collect().await.unwrap();
        assert_eq!((series.len(), start.elapsed()), (16, seconds(1)), "{retrieval:?}");
        assert!(query.stats().is_partial);
        cast.assert_released();
        assert_eq!(tasks(), 0);
        assert_no_timer().await;
    }
}

// F58
#[tokio::test(start_paused = true)]
async fn no_series_is_lost_to_a_timeout_because_of_a_warning() {
    for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let cast = Cast::default();
        let options =
            ResponseSetOptions::new().retrieval(retrieval).total_timeout(Duration::from_millis(1_500));
        let mut query = ProxyQuery::builder()
            .stores(cast.stores((0..2).map(|index| talkative(index, vec![]))))
            .response_sets(options)
            .partial_response(PartialResponseStrategy::Warn)
            .build();
        let answer: Vec<_> = query.by_ref().try_collect().await.unwrap();
        assert_eq!(
            answer.iter().filter(|response| response.as_series().is_some()).count(),
            2,
            "{retrieval:?}"
        );
        assert_eq!(answer.len(), 2 * 4);
        cast.assert_released();
    }
}

/// The series of one store wait for those of a slow one; the store is closed meanwhile, though nobody takes them.
#[tokio::test(start_paused = true)]
async fn a_store_is_closed_while_its_series_wait_for_others() {
    let cast = Cast::default();
    let ledger = LeakLedger::sites();
    let quick = Plan { answer: vec![frame(0), frame(1)], close: vec![wait(2), wait(2)], ..Plan::default() };
    let slow = Plan { answer: vec![wait(60), frame(2)], ..Plan::default() };
    let options = ResponseSetOptions::new().retrieval(RetrievalStrategy::Eager);
    let query = ProxyQuery::builder().stores(cast.stores([quick, slow])).response_sets(options);
    let mut query = query.ledger(&ledger).build();
    assert!(tokio::time::timeout(seconds(10), query.next()).await.is_err());
    let closed = &cast.log.sources()[0];
    assert!(closed.close.is_complete(), "{closed:?}");
    let series: Vec<_> = query.by_ref().try_collect().await.unwrap();
    assert_eq!(series.len(), 3);
    ledger.assert_all_closed();
    cast.assert_released();
}

/// What a set has kept of a store is gone when the store is closed: one with leases of a pool that waits until it has them back.
#[tokio::test(start_paused = true)]
async fn memory_is_back_when_the_store_is_closed() {
    for retrieval in [RetrievalStrategy::Lazy, RetrievalStrategy::Eager] {
        let pool = BytePool::builder().budget_bytes(1 << 20).build().unwrap();
        let cast = Cast::default();
        let options = ResponseSetOptions::new().retrieval(retrieval).pool(&pool);
        let mut query = ProxyQuery::builder()
            .stores(cast.stores((0..7).map(|index| talkative(index, vec![wait(5)]))))
            .response_sets(options)
            .partial_response(PartialResponseStrategy::Warn)
            .batches(100, usize::MAX)
            .build();
        let mut series = 0;
        let start = Instant::now();
        while series < 7 {
            series += query.try_next().await.unwrap().unwrap().series_count();
        }
        assert_eq!(start.elapsed(), seconds(1), "the last batch does not wait for the closing");
        assert_eq!(query.try_next().await.unwrap(), None);
        assert_eq!(pool.snapshot().reserved_bytes, 0);
        cast.assert_released();
    }
}
