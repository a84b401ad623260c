//! Closing a gate within a time, on a clock that is paused.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use losertree::resource::{ReaderGate, ReaderGuard};
use tokio::time::{Instant, advance, sleep};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn an_empty_gate_closes_without_waiting() {
    let start = Instant::now();
    ReaderGate::new("block 7").close_timeout(Duration::ZERO).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn it_completes_when_the_last_reader_leaves() {
    let gate = ReaderGate::new("block 7");
    let start = Instant::now();
    for seconds in [3, 20, 7] {
        let reader = gate.enter().unwrap();
        tokio::spawn(async move {
            sleep(Duration::from_secs(seconds)).await;
            drop(reader);
        });
    }
    gate.close_timeout(LIMIT).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(20));
}

// F2: a hang that says who it hangs on.
#[tokio::test(start_paused = true)]
async fn who_is_stuck_is_reported_and_it_stays_closed() {
    let gate = ReaderGate::new("block 7");
    let line = line!() + 1;
    let stuck = gate.enter_as("query 12").unwrap();
    let unnamed = gate.enter().unwrap();
    let quick = gate.enter_as("query 13").unwrap();
    tokio::spawn(async move {
        sleep(LIMIT / 2).await;
        drop(quick);
    });
    let start = Instant::now();
    let error = gate.close_timeout(LIMIT).await.unwrap_err();
    assert_eq!(start.elapsed(), LIMIT);
    assert_eq!(&*error.name, "block 7");
    let told: Vec<_> =
        error.readers.iter().map(|reader| (reader.name.as_deref(), reader.location.line())).collect();
    assert_eq!(told, [(Some("query 12"), line), (None, line + 1)]);
    let text = error.to_string();
    let expected = format!("\"block 7\" still has 2 readers: query 12, entered at {}:{line}:", file!());
    assert!(text.starts_with(&expected), "{text}");
    assert!(text.contains(&format!("; a reader, entered at {}:{}:", file!(), line + 1)), "{text}");

    assert!(gate.is_closed() && gate.enter().is_err());
    assert_eq!(gate.close_timeout(LIMIT).await.unwrap_err().readers.len(), 2);
    drop((stuck, unnamed));
    gate.close_timeout(Duration::ZERO).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_many_who_are_stuck_the_oldest_are_printed() {
    let gate = ReaderGate::new("block 7");
    let readers: Vec<_> =
        (0..1_000).map(|number| gate.enter_as(format!("query {number}")).unwrap()).collect();
    let error = gate.close_timeout(LIMIT).await.unwrap_err();
    assert_eq!(error.readers.len(), readers.len());
    let text = error.to_string();
    assert!(text.starts_with("\"block 7\" still has 1000 readers: query 0, entered at "), "{text}");
    assert!(text.contains("; query 15, ") && text.ends_with(" ago; and 984 more"), "{text}");
}

/// A task that is inside of a gate for as long as somebody means to wake it.
struct Inside(#[allow(dead_code, reason = "it is held")] ReaderGuard);

impl Wake for Inside {
    fn wake(self: Arc<Self>) {}
}

/// The last reader leaves after the gate was found not to be empty, and before it is told who is left.
#[tokio::test(start_paused = true)]
async fn nobody_is_stuck_who_leaves_at_the_last_moment() {
    let gate = ReaderGate::new("block 7");
    let task = Waker::from(Arc::new(Inside(gate.enter().unwrap())));
    let mut close = pin!(gate.close_timeout(LIMIT));
    assert!(close.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
    drop(task);
    advance(LIMIT).await;
    assert_eq!(gate.pending(), 1, "the gate has a waker of it, and nobody else");
    // Now it gets another one.
    let closed = close.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!((closed, gate.pending()), (Poll::Ready(Ok(())), 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_half_way_it_stays_closed() {
    let gate = ReaderGate::new("block 7");
    let reader = gate.enter().unwrap();
    let outer = tokio::time::timeout(LIMIT / 2, gate.close_timeout(LIMIT)).await;
    assert!(outer.is_err());
    assert!(gate.is_closed());
    drop(reader);
    gate.close().await;
}
