//! The driver and the checker find what a merge does wrong as it runs, and nothing where it does nothing wrong.
// Properties take their arguments by value.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::needless_pass_by_value)]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use common::{Fault, Naive};
use futures::stream::{self, StreamExt};
use losertree_testkit::{
    At, Closing, CountingWaker, End, Ending, Misuse, Random, Run, Runs, Script, Stage, TestError, Wake,
    assert_merged,
};
use quickcheck::quickcheck;

/// Merges sources with pauses, and returns the message of the first panic among: the run, the comparison
/// with the oracle, the release.
fn message(fault: Fault, pauses: f64, seed: u64) -> Result<Stage, String> {
    let mut random = Random::seed(seed);
    let runs = Runs::from_keys((0..5).map(|_| (0..6).map(|_| random.next_u64() % 4).collect()).collect());
    let stage = Stage::new();
    let mut merge = Naive::new(stage.sources_of(runs.clone().into_vec(), &mut random, pauses), fault);
    let checks = || {
        let merged = stage.driver(seed).max_polls(10_000).restless(0.2).run(&mut merge).ok();
        assert_merged(&merged, runs.as_slice());
        drop(merge);
        stage.log().assert_closed();
    };
    match catch_unwind(AssertUnwindSafe(checks)) {
        Ok(()) => Ok(stage),
        Err(payload) => Err(payload.downcast_ref::<String>().cloned().expect("a formatted message")),
    }
}

#[track_caller]
fn assert_found(fault: Fault, expected: &str) {
    // Without pauses the merge is never idle, and is found out only at the end.
    let pauses = if fault == Fault::Leaks { 0.0 } else { 0.5 };
    let found = (0..20).filter_map(|seed| message(fault, pauses, seed).err()).collect::<Vec<_>>();
    assert!(found.iter().any(|found| found.contains(expected)), "{expected:?} not in {found:#?}");
}

#[test]
fn finds_nothing_where_nothing_is_wrong() {
    for seed in 0..200 {
        let stage = message(Fault::None, 0.5, seed).unwrap_or_else(|found| panic!("seed {seed}: {found}"));
        assert_eq!(stage.log().items(), 30);
        assert!(stage.bell().waiting().is_empty());
    }
}

#[test]
fn finds_nothing_for_any_keys() {
    fn merges(runs: Runs<String>, seed: u64) -> bool {
        let stage = Stage::new();
        let sources = stage.sources_of(runs.clone().into_vec(), &mut Random::seed(seed), 0.3);
        let mut merge = Naive::new(sources, Fault::None);
        assert_merged(&stage.driver(seed).restless(0.1).run(&mut merge).ok(), runs.as_slice());
        stage.log().assert_closed();
        true
    }
    quickcheck(merges as fn(Runs<String>, u64) -> bool);
}

#[test]
fn finds_missed_wakes() {
    assert_found(Fault::ForgetsWakes, "the merge is idle though the waker has fired");
}

#[test]
fn finds_an_old_waker() {
    assert_found(Fault::KeepsFirstWaker, "the merge is idle though the waker has fired");
}

#[test]
fn finds_spurious_polls() {
    assert_found(Fault::PollsPending, "poll_next though its waker has not fired");
    assert_found(Fault::PollsClosing, "poll_close though its waker has not fired");
}

#[test]
fn finds_late_closing() {
    assert_found(Fault::ClosesLate, "at its end and not being closed");
}

#[test]
fn finds_sources_kept_after_close() {
    assert_found(Fault::KeepsClosed, "holds the source though it is done with it");
}

#[test]
fn finds_leaks() {
    assert_found(Fault::Leaks, "these sources were never dropped");
}

#[test]
fn finds_sources_dropped_unclosed() {
    assert_found(Fault::DropsUnclosed, "these sources were dropped before they were closed");
}

#[test]
fn finds_instability() {
    assert_found(Fault::Unstable, "merged wrongly: first difference at ");
}

#[test]
fn finds_busy_waiting() {
    let stage = Stage::new();
    let mut merge = Naive::new(vec![stage.source(Script::<u64>::new().pending(Wake::Never))], Fault::Spins);
    let run = stage.driver(1).max_polls(500).run(&mut merge);
    assert_eq!(run.end, End::OutOfPolls);
}

#[test]
fn a_stuck_source_is_a_deadlock() {
    let stage = Stage::new();
    let scripts =
        [Script::new().item(1_u64), Script::new().pending(Wake::Later).item(2).pending(Wake::Never)];
    let mut merge = Naive::new(stage.sources(scripts), Fault::None);
    let mut driver = stage.driver(1);
    let run = driver.run(&mut merge);
    assert_eq!(run, Run { items: vec![Ok(1), Ok(2)], end: End::Deadlock { stuck: vec![1] } });
    let refused = catch_unwind(AssertUnwindSafe(|| run.finished()));
    assert!(refused.is_err());
}

#[test]
fn a_stream_that_nobody_wakes_is_a_deadlock() {
    let stage = Stage::new();
    let run = stage.driver(1).run(&mut stream::pending::<u64>());
    assert_eq!(run.end, End::Deadlock { stuck: vec![] });
}

#[test]
fn polls_only_after_a_wake_up() {
    let stage = Stage::new();
    let mut merge =
        Naive::new(vec![stage.source(Script::new().pending(Wake::AtOnce).item(7_u64))], Fault::None);
    let mut driver = stage.driver(1);
    assert_eq!(driver.run(&mut merge).ok(), [7]);
    // Pending, the item, the end.
    assert_eq!(driver.polls(), 3);
    assert_eq!(stage.log().polls(), 4);
}

#[test]
fn stops_after_enough_items_and_goes_on() {
    let stage = Stage::new();
    let mut merge = Naive::new(vec![stage.source(Script::of(0..5_u64))], Fault::None);
    let mut driver = stage.driver(1);
    let run = driver.run_up_to(&mut merge, 2);
    assert_eq!(run, Run { items: vec![Ok(0), Ok(1)], end: End::Enough });
    assert_eq!(stage.log().items(), 2);
    assert_eq!(driver.run_up_to(&mut merge, 0).items, []);
    assert_eq!(driver.run(&mut merge).ok(), [2, 3, 4]);
}

#[test]
fn catches_a_panic_and_keeps_the_items() {
    let stage = Stage::new();
    let mut merge = Naive::new(vec![stage.source(Script::new().item(1_u64).panic())], Fault::None);
    let run = stage.driver(1).run(&mut merge);
    assert_eq!(run.items, [Ok(1)]);
    assert_eq!(run.end, End::Panicked("source 0 panics as scripted, at step 1".to_owned()));
    assert_eq!(stage.log().sources()[0].ending, Some(Ending::Panicked));
    drop(merge);
    stage.log().assert_released();
}

#[test]
fn an_error_is_an_item_of_the_run() {
    let stage = Stage::new();
    let scripts = [Script::new().item(1_u64).fail(), Script::new().item(2).pending(Wake::Never)];
    let mut merge = Naive::new(stage.sources(scripts), Fault::None);
    let run = stage.driver(1).run(&mut merge);
    assert_eq!(run.items, [Ok(1), Err(TestError { source: 0, at: At::Step(1) })]);
    assert_eq!(run.end, End::Finished);
    assert!(catch_unwind(AssertUnwindSafe(|| run.ok())).is_err());
    stage.log().assert_closed();
    let figures = stage.log().sources();
    assert_eq!((figures[0].ending, figures[1].ending), (Some(Ending::Failed), None));
    assert_eq!((figures[0].close, figures[1].close), (Closing::Completed, Closing::Completed));
}

#[test]
fn completes_futures_and_polls_them_in_part() {
    let stage = Stage::new();
    let source = stage.source(Script::new().pending(Wake::Later).pending(Wake::AtOnce).item(1_u64));
    let mut merge = Naive::new(vec![source], Fault::None);
    let mut driver = stage.driver(1);
    assert!(driver.poll_times(merge.next(), 0).is_err());
    assert_eq!(stage.log().polls(), 0);
    assert!(driver.poll_times(merge.next(), 2).is_err());
    assert_eq!(stage.log().polls(), 2);
    assert_eq!(driver.complete(merge.next()), Ok(Some(Ok(1))));
    assert_eq!(driver.complete(pin!(std::future::pending::<()>())), Err(End::Deadlock { stuck: vec![] }));
}

#[test]
fn every_poll_has_its_own_waker() {
    let stage = Stage::new();
    let mut wakers = Vec::new();
    let mut polls = stream::poll_fn(|cx| {
        wakers.push(cx.waker().clone());
        cx.waker().wake_by_ref();
        if wakers.len() < 3 { Poll::<Option<()>>::Pending } else { Poll::Ready(None) }
    });
    assert!(stage.driver(1).run(&mut polls).finished().is_empty());
    assert!(!wakers[0].will_wake(&wakers[1]));
}

#[test]
fn the_schedule_depends_on_the_seed_alone() {
    let order = |seed| {
        let stage = Stage::new();
        let scripts = (0..6_u64).map(|key| Script::new().pending(Wake::Later).item(key));
        for mut source in stage.sources(scripts) {
            let waker = CountingWaker::new().waker();
            let polled = losertree::Source::poll_next(
                std::pin::Pin::new(&mut source),
                &mut std::task::Context::from_waker(&waker),
            );
            assert!(polled.is_pending());
        }
        let mut random = Random::seed(seed);
        std::iter::from_fn(move || stage.bell().ring_one(&mut random)).collect::<Vec<_>>()
    };
    assert_eq!(order(3), order(3));
    assert!((0..10).any(|seed| order(seed) != order(3)));
}

#[test]
fn misuse_is_named() {
    let stage = Stage::new();
    let source = stage.source(Script::<u64>::new().named("store-a").pending(Wake::Later));
    let mut merge = Naive::new(vec![source], Fault::PollsPending);
    let found = catch_unwind(AssertUnwindSafe(|| stage.driver(4).restless(1.0).run(&mut merge)));
    assert!(found.is_err());
    let violations = stage.log().violations();
    assert_eq!((violations[0].source, violations[0].misuse), (0, Misuse::SpuriousNext));
    assert_eq!(
        violations[0].to_string(),
        "source 0 \"store-a\": poll_next though its waker has not fired; before that: next: pending"
    );
}
