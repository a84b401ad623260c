//! Uses the library where there is no clock, no thread and nothing that may block: merges, resources, closing in the background and
//! queries. Each trial panics if something is wrong, which is a trap.

mod query;
mod resources;
mod streams;

use std::future::poll_fn;
use std::mem;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Polls until it is ready. Nothing here waits for anybody but itself, so a future that is pending for long is lost.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("it does not get ready");
}

/// Is pending once, so that something else gets its turn.
async fn pend() {
    let mut has_pended = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if mem::replace(&mut has_pended, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn sync_merges() {
    let merged: Vec<u64> = losertree::merge([vec![1, 4, 7], vec![2, 5], vec![3, 6]]).collect();
    assert_eq!(merged, [1, 2, 3, 4, 5, 6, 7]);
    let mut bulk = Vec::new();
    losertree::merge_runs(&[vec![1, 4, 7], vec![2, 5], vec![3, 6]], &mut bulk);
    assert_eq!(bulk, merged);
}

fn main() {
    sync_merges();
    streams::merges();
    streams::closing_in_the_background();
    #[cfg(feature = "all")]
    streams::closing_on_tokio();
    resources::a_pool();
    resources::a_gate();
    resources::a_ledger();
    query::answers();
    #[cfg(feature = "all")]
    query::timeouts_are_errors();
}
