//! A scripted source does what its script says.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use losertree::error::Cause;
use losertree_testkit::one_cause;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use losertree::Source;
use losertree_testkit::{
    At, Bell, CloseStep, CountingWaker, Random, Script, ScriptedSource, Step, TestError, Wake,
};

struct Polled {
    source: ScriptedSource<u64>,
    bell: Bell,
    waker: CountingWaker,
}

impl Polled {
    fn new(script: Script<u64>) -> Self {
        let bell = Bell::new();
        Self { source: ScriptedSource::new(3, script, &bell), bell, waker: CountingWaker::new() }
    }

    fn next(&mut self) -> Poll<Option<Result<u64, TestError>>> {
        let waker = self.waker.waker();
        let polled = Pin::new(&mut self.source).poll_next(&mut Context::from_waker(&waker));
        polled.map_err(|error| error.into_source_error().expect("it fails by itself"))
    }

    fn close(&mut self) -> Poll<Result<(), TestError>> {
        let waker = self.waker.waker();
        let polled = Pin::new(&mut self.source).poll_close(&mut Context::from_waker(&waker));
        polled.map(|closed| {
            one_cause(closed).map_err(|cause| match cause {
                Cause::Source(error) => error,
                other => panic!("{other}"),
            })
        })
    }
}

const ERROR: TestError = TestError { source: 3, at: At::Step(1) };

#[test]
fn items_then_the_end() {
    let mut polled = Polled::new(Script::of([1, 2]).named("store-a"));
    assert_eq!(polled.source.name(), Some("store-a"));
    assert_eq!(polled.next(), Poll::Ready(Some(Ok(1))));
    assert_eq!(polled.next(), Poll::Ready(Some(Ok(2))));
    assert_eq!(polled.next(), Poll::Ready(None));
    assert_eq!(polled.close(), Poll::Ready(Ok(())));
    assert_eq!(polled.waker.wakes(), 0);
}

#[test]
fn wakes_at_once() {
    let mut polled = Polled::new(Script::new().pending(Wake::AtOnce).pending(Wake::AtOnce).item(1));
    assert_eq!((polled.next(), polled.waker.take()), (Poll::Pending, 1));
    assert_eq!((polled.next(), polled.waker.take()), (Poll::Pending, 1));
    assert_eq!((polled.next(), polled.waker.take()), (Poll::Ready(Some(Ok(1))), 0));
    assert!(polled.bell.waiting().is_empty());
}

#[test]
fn waits_for_the_bell() {
    for (wake, wakes) in [(Wake::Later, 1), (Wake::Twice, 2)] {
        let mut polled = Polled::new(Script::new().pending(wake).item(1));
        assert!(!polled.bell.ring(3));
        assert_eq!(polled.next(), Poll::Pending);
        assert_eq!(polled.bell.waiting(), [3]);
        assert!(!polled.bell.ring(0));
        assert_eq!(polled.next(), Poll::Pending);
        assert_eq!((polled.bell.waiting(), polled.waker.wakes()), (vec![3], 0));
        assert!(polled.bell.ring(3));
        assert_eq!(polled.waker.wakes(), wakes);
        assert_eq!(polled.next(), Poll::Ready(Some(Ok(1))));
    }
}

#[test]
fn only_the_waker_of_the_last_poll_is_woken() {
    for wake in [Wake::Later, Wake::Never] {
        let mut polled = Polled::new(Script::new().pending(wake));
        assert!(polled.next().is_pending());
        let first = std::mem::take(&mut polled.waker);
        assert!(polled.next().is_pending());
        assert_eq!(first.kept(), 0);
        polled.bell.ring_all();
        assert_eq!((first.wakes(), polled.waker.wakes()), (0, usize::from(wake == Wake::Later)));
    }
}

#[test]
fn a_stuck_source_is_never_rung_for() {
    let mut polled = Polled::new(Script::new().pending(Wake::Never).item(1));
    assert!(polled.next().is_pending());
    assert_eq!((polled.bell.waiting(), polled.bell.stuck()), (vec![], vec![3]));
    assert_eq!(polled.bell.ring_all(), 0);
    assert_eq!(polled.bell.ring_one(&mut Random::seed(1)), None);
    assert!(!polled.bell.ring(3));
    assert!(polled.next().is_pending());
    assert_eq!(polled.waker.wakes(), 0);
}

#[test]
fn fails_and_would_go_on() {
    let mut polled = Polled::new(Script::new().item(1).fail().item(2));
    assert_eq!(polled.next(), Poll::Ready(Some(Ok(1))));
    assert_eq!(polled.next(), Poll::Ready(Some(Err(ERROR))));
    assert_eq!(polled.next(), Poll::Ready(Some(Ok(2))));
    assert_eq!(ERROR.to_string(), "source 3 fails as scripted, at step 1");
}

#[test]
fn panics() {
    let mut polled = Polled::new(Script::new().pending(Wake::AtOnce).panic());
    assert!(polled.next().is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| polled.next())).is_err());
    let mut polled = Polled::new(Script::new().close_panics());
    assert!(catch_unwind(AssertUnwindSafe(|| polled.close())).is_err());
}

#[test]
fn closes_step_by_step() {
    let script = Script::new().pending(Wake::Later).close_pending(Wake::AtOnce).close_pending(Wake::Later);
    let mut polled = Polled::new(script.close_fails());
    assert!(polled.next().is_pending());
    assert!(polled.close().is_pending());
    assert!(polled.close().is_pending());
    // The waker for the item was left behind.
    assert_eq!(polled.bell.waiting(), [3, 3]);
    assert!(polled.close().is_pending());
    assert_eq!(polled.bell.ring_all(), 2);
    assert_eq!(polled.close(), Poll::Ready(Err(TestError { source: 3, at: At::CloseStep(2) })));
    assert_eq!(polled.close(), Poll::Ready(Ok(())));
}

#[test]
fn panics_when_dropped_but_not_twice_at_a_time() {
    let panics = || Polled::new(Script::new().drop_panics());
    assert!(catch_unwind(|| drop(panics())).is_err());
    let both = catch_unwind(|| {
        let _first = panics();
        let _second = panics();
    });
    assert!(both.is_err());
    drop(Polled::new(Script::new()));
}

#[test]
fn a_late_wake_up_comes_after_the_drop() {
    let mut polled = Polled::new(Script::new().pending(Wake::Later));
    assert!(polled.next().is_pending());
    let Polled { source, bell, waker } = polled;
    drop(source);
    assert_eq!((bell.ring_one(&mut Random::seed(1)), waker.wakes()), (Some(3), 1));
}

#[test]
fn pauses_are_put_everywhere_and_all_wake() {
    let mut random = Random::seed(1);
    let scripts: Vec<_> =
        (0..100).map(|_| Script::of(0..5_u64).fail().close_fails().with_pauses(&mut random, 0.5)).collect();
    let pauses = |step: &Step<u64>| matches!(step, Step::Pending(_));
    assert!(scripts.iter().any(|script| script.steps.first().is_some_and(pauses)));
    assert!(scripts.iter().any(|script| script.steps.last().is_some_and(pauses)));
    assert!(scripts.iter().any(|script| script.steps.windows(2).any(|pair| pair.iter().all(pauses))));
    assert!(scripts.iter().any(|script| matches!(script.close[..], [CloseStep::Pending(_), ..])));
    assert!(scripts.iter().all(|script| script.close.last() == Some(&CloseStep::Fail)));
    for wake in [Wake::AtOnce, Wake::Later, Wake::Twice] {
        assert!(scripts.iter().any(|script| script.steps.contains(&Step::Pending(wake))));
    }
    assert!(scripts.iter().all(|script| !script.steps.contains(&Step::Pending(Wake::Never))));
    let steps: Vec<_> = (0..5).map(Step::Item).chain([Step::Fail]).collect();
    assert!(scripts.iter().all(|script| { script.steps.iter().filter(|step| !pauses(step)).eq(&steps) }));
    assert_eq!(Script::of([1]).with_pauses(&mut random, 0.0), Script::of([1]));
}
