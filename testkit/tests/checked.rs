//! The checker knows each cell of the table at `losertree::Source`: what is allowed passes, and what is not is
//! found.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use losertree::Source;
use losertree_testkit::{
    Checked, Closing, CountingWaker, Ending, Event, Misuse, Outcome, Script, ScriptedSource, Stage,
    TestError, Wake,
};

/// A source that the test itself calls, as a merge would.
struct Hand {
    stage: Stage,
    source: Option<Checked<ScriptedSource<u64>>>,
    waker: CountingWaker,
}

impl Hand {
    fn new(script: Script<u64>) -> Self {
        let stage = Stage::new();
        let source = Some(stage.source(script));
        Self { stage, source, waker: CountingWaker::new() }
    }

    fn with<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut Checked<ScriptedSource<u64>>>, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let waker = self.waker.waker();
        let source = Pin::new(self.source.as_mut().unwrap());
        catch_unwind(AssertUnwindSafe(|| poll(source, &mut Context::from_waker(&waker)))).ok()
    }

    fn next(&mut self) -> Outcome {
        match self.with(Source::poll_next) {
            None => Outcome::Panic,
            Some(Poll::Pending) => Outcome::Pending,
            Some(Poll::Ready(None)) => Outcome::Done,
            Some(Poll::Ready(Some(Ok(_)))) => Outcome::Item,
            Some(Poll::Ready(Some(Err(_)))) => Outcome::Error,
        }
    }

    fn close(&mut self) -> Outcome {
        match self.with(Source::poll_close) {
            None => Outcome::Panic,
            Some(Poll::Pending) => Outcome::Pending,
            Some(Poll::Ready(Ok(()))) => Outcome::Done,
            Some(Poll::Ready(Err(_))) => Outcome::Error,
        }
    }

    fn ring(&self) {
        assert!(self.stage.bell().ring(0));
    }

    #[track_caller]
    fn assert_found(&self, expected: &[Misuse]) {
        let found: Vec<_> = self.stage.log().violations().iter().map(|found| found.misuse).collect();
        assert_eq!(found, expected);
        let asserted = catch_unwind(AssertUnwindSafe(|| self.stage.log().assert_clean()));
        assert_eq!(asserted.is_ok(), expected.is_empty());
    }
}

#[test]
fn a_whole_life_is_clean() {
    let script = Script::new().pending(Wake::Later).item(1).pending(Wake::AtOnce).item(2);
    let mut hand = Hand::new(script.close_pending(Wake::Twice));
    assert_eq!(hand.next(), Outcome::Pending);
    hand.ring();
    assert_eq!(hand.next(), Outcome::Item);
    assert_eq!(hand.next(), Outcome::Pending);
    assert_eq!(hand.next(), Outcome::Item);
    assert_eq!(hand.next(), Outcome::Done);
    assert_eq!(hand.close(), Outcome::Pending);
    hand.ring();
    assert_eq!(hand.close(), Outcome::Done);
    hand.source = None;
    hand.stage.log().assert_no_missed_wakes();
    hand.stage.log().assert_closed();
    let figures = &hand.stage.log().sources()[0];
    assert_eq!((figures.next_polls, figures.close_polls, figures.items, figures.wakes), (5, 2, 2, 4));
    assert_eq!(figures.ending, Some(Ending::Exhausted));
    assert_eq!((hand.stage.log().polls(), hand.stage.log().items()), (7, 2));
    // Every wake-up has reached the merge.
    assert_eq!(hand.waker.wakes(), 4);
}

#[test]
fn next_after_none() {
    let mut hand = Hand::new(Script::new());
    assert_eq!(hand.next(), Outcome::Done);
    hand.assert_found(&[]);
    assert_eq!(hand.next(), Outcome::Done);
    hand.assert_found(&[Misuse::NextAfterEnd]);
    let history = [Event::Next(Outcome::Done)];
    assert_eq!(hand.stage.log().violations()[0].history, history);
}

#[test]
fn next_after_an_error() {
    let mut hand = Hand::new(Script::new().fail().item(1));
    assert_eq!(hand.next(), Outcome::Error);
    hand.assert_found(&[]);
    assert_eq!(hand.next(), Outcome::Done, "the call does not reach the source");
    hand.assert_found(&[Misuse::NextAfterError]);
}

#[test]
fn next_after_a_panic() {
    let mut hand = Hand::new(Script::new().panic().item(1));
    assert_eq!(hand.next(), Outcome::Panic);
    hand.assert_found(&[]);
    hand.next();
    hand.assert_found(&[Misuse::NextAfterPanic]);
}

#[test]
fn close_after_a_panic() {
    let mut hand = Hand::new(Script::new().panic());
    assert_eq!(hand.next(), Outcome::Panic);
    hand.close();
    hand.assert_found(&[Misuse::CloseAfterPanic]);

    let mut hand = Hand::new(Script::new().close_panics());
    assert_eq!(hand.close(), Outcome::Panic);
    hand.assert_found(&[]);
    hand.close();
    hand.assert_found(&[Misuse::CloseAfterPanic]);
    assert_eq!(hand.stage.log().sources()[0].close, Closing::Begun);
}

#[test]
fn next_after_close() {
    let mut hand = Hand::new(Script::new().item(1).close_pending(Wake::Later));
    assert_eq!(hand.close(), Outcome::Pending);
    hand.next();
    hand.assert_found(&[Misuse::NextAfterClose]);
    hand.ring();
    assert_eq!(hand.close(), Outcome::Done);
    hand.next();
    hand.assert_found(&[Misuse::NextAfterClose, Misuse::NextAfterClose]);
}

#[test]
fn closed_twice() {
    for script in [Script::new(), Script::new().close_fails()] {
        let mut hand = Hand::new(script);
        hand.close();
        hand.assert_found(&[]);
        assert_eq!(hand.close(), Outcome::Done);
        hand.assert_found(&[Misuse::ClosedTwice]);
        assert!(hand.stage.log().sources()[0].close.is_complete());
    }
}

#[test]
fn spurious_next() {
    let mut hand = Hand::new(Script::new().pending(Wake::Later).item(1));
    assert_eq!(hand.next(), Outcome::Pending);
    assert_eq!(hand.next(), Outcome::Pending, "it waits until it is rung for");
    hand.assert_found(&[Misuse::SpuriousNext]);
    hand.ring();
    assert_eq!(hand.next(), Outcome::Item);
    hand.assert_found(&[Misuse::SpuriousNext]);
}

#[test]
fn one_wake_up_is_good_for_one_poll() {
    let script = Script::new().pending(Wake::Twice).pending(Wake::Later).item(1);
    let mut hand = Hand::new(script);
    hand.next();
    hand.ring();
    assert_eq!(hand.next(), Outcome::Pending);
    hand.assert_found(&[]);
    assert_eq!(hand.next(), Outcome::Pending);
    hand.assert_found(&[Misuse::SpuriousNext]);
}

#[test]
fn spurious_close() {
    let mut hand = Hand::new(Script::new().close_pending(Wake::Later));
    assert_eq!(hand.close(), Outcome::Pending);
    assert_eq!(hand.close(), Outcome::Pending);
    hand.assert_found(&[Misuse::SpuriousClose]);
}

#[test]
fn closing_is_allowed_at_any_time() {
    let scripts = [
        (Script::new().item(1), None),
        (Script::new().item(1), Some(Outcome::Item)),
        (Script::new().pending(Wake::Never), Some(Outcome::Pending)),
        (Script::new().fail(), Some(Outcome::Error)),
        (Script::new(), Some(Outcome::Done)),
    ];
    for (script, next) in scripts {
        let mut hand = Hand::new(script);
        assert_eq!(next.map(|_| hand.next()), next);
        assert_eq!(hand.close(), Outcome::Done);
        hand.assert_found(&[]);
    }
}

#[test]
fn a_wake_up_from_another_thread_is_not_put_down_to_the_wrong_poll() {
    let mut hand = Hand::new(Script::new().pending(Wake::Later).pending(Wake::Later));
    hand.next();
    let bell = hand.stage.bell().clone();
    std::thread::spawn(move || assert!(bell.ring(0))).join().unwrap();
    // The merge may have seen the wake-up only after the first of these.
    hand.next();
    hand.next();
    hand.assert_found(&[]);
    hand.next();
    hand.assert_found(&[Misuse::SpuriousNext]);
}

#[test]
fn nor_is_one_after_which_the_merge_goes_on_on_another_thread() {
    let mut hand = Hand::new(Script::new().pending(Wake::Later).close_pending(Wake::Later));
    hand.next();
    hand.ring();
    let closing = std::thread::spawn(move || {
        // The first may have come to be for another reason, before the merge saw the wake-up.
        hand.close();
        hand.close();
        hand.assert_found(&[]);
        hand.close();
        hand.assert_found(&[Misuse::SpuriousClose]);
    });
    closing.join().unwrap();
}

#[test]
fn a_missed_wake_up_is_seen_when_the_merge_is_idle() {
    let mut hand = Hand::new(Script::new().pending(Wake::Later));
    hand.next();
    hand.stage.log().assert_no_missed_wakes();
    hand.ring();
    hand.stage.log().check_idle();
    hand.stage.log().check_idle();
    hand.assert_found(&[Misuse::MissedWake]);
    let asserted = catch_unwind(AssertUnwindSafe(|| hand.stage.log().assert_no_missed_wakes()));
    assert!(asserted.is_err());
}

#[test]
fn a_missed_wake_up_of_closing_is_seen_too() {
    let mut hand = Hand::new(Script::new().close_pending(Wake::AtOnce));
    hand.close();
    hand.stage.log().check_idle();
    hand.assert_found(&[Misuse::MissedWake]);
}

#[test]
fn an_ended_source_is_closed_and_dropped_at_once() {
    let mut hand = Hand::new(Script::new());
    hand.next();
    hand.stage.log().check_idle();
    hand.assert_found(&[Misuse::NotClosedAtOnce]);
    hand.close();
    hand.stage.log().check_idle();
    hand.assert_found(&[Misuse::NotClosedAtOnce, Misuse::NotDroppedAtOnce]);
    hand.source = None;
    hand.stage.log().check_idle();
    hand.assert_found(&[Misuse::NotClosedAtOnce, Misuse::NotDroppedAtOnce]);
}

#[test]
fn drops_are_counted_even_if_they_panic() {
    let hand = Hand::new(Script::new().drop_panics());
    let log = hand.stage.log().clone();
    let released = || catch_unwind(AssertUnwindSafe(|| log.assert_released())).is_ok();
    let closed = || catch_unwind(AssertUnwindSafe(|| log.assert_closed())).is_ok();
    assert!(!released());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(hand))).is_err());
    assert!(released());
    assert!(!closed());
    assert!(log.sources()[0].dropped_unclosed());
}

#[test]
fn the_report_has_all_violations_and_the_last_calls() {
    let mut hand = Hand::new(Script::of(0..20).named("store-a").fail());
    while hand.next() == Outcome::Item {}
    hand.next();
    hand.next();
    let asserted = catch_unwind(AssertUnwindSafe(|| hand.stage.log().assert_clean()));
    let payload = asserted.expect_err("there are violations");
    let report = payload.downcast_ref::<String>().unwrap();
    assert_eq!(report.matches("source 0 \"store-a\": poll_next after an error").count(), 2, "{report}");
    assert!(report.contains("next: item, next: error"), "{report}");
    assert!(report.ends_with("next: error, next: refused"), "{report}");
    assert!(hand.stage.log().violations().iter().all(|found| found.history.len() == 8));
}

#[test]
fn the_order_of_drops_is_kept() {
    let stage = Stage::new();
    let mut sources = stage.sources((0..3).map(|_| Script::<u64>::new()));
    drop(sources.remove(1));
    sources.reverse();
    drop(sources);
    assert_eq!(stage.log().drop_order(), [1, 2, 0]);
}

#[test]
fn any_source_can_be_checked() {
    let stage = Stage::new();
    let stream = futures::stream::iter([Ok::<_, TestError>(1)]);
    let source = Checked::new(losertree::from_stream(stream).named("a").boxed(), stage.log());
    assert_eq!(source.name(), Some("a"));
    assert_eq!(stage.log().sources()[0].name.as_deref(), Some("a"));
    drop(source.boxed());
    stage.log().assert_released();
}

#[test]
fn all_can_go_to_other_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Checked<ScriptedSource<String>>>();
    is_send_and_sync::<Stage>();
    is_send_and_sync::<CountingWaker>();
}
