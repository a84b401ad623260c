//! What the fuzz targets have found, each as small as it gets.

use losertree::stream::{PollClose, PollNext};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use losertree::{ProxyResponseLoserTree, Source};
use losertree_testkit::{Checked, Script, ScriptedSource, Stage, Step, Wake, silence_scripted_panics};

/// `close` returns the errors that the merge has met and not yielded. With partial response they have become
/// warnings, and those that still wait to be yielded must not be lost either. // F18, F40
#[test]
fn close_returns_errors_whose_warnings_have_not_been_yielded() {
    let stage = Stage::new();
    let mut merge = ProxyResponseLoserTree::builder()
        .sources(stage.sources([Script::<u64>::new().fail(), Script::new().fail()]))
        .warn_with(|error| 100 + error.path().index().unwrap() as u64)
        .build();
    let mut driver = stage.driver(0);
    assert_eq!(driver.run_up_to(&mut merge, 1).items, [Ok(100)]);

    let errors = driver.complete(merge.close()).unwrap().unwrap_err().into_errors();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].path().index().unwrap(), 1);
    drop(merge);
    stage.log().assert_closed();
}

/// An item that goes with its source, since closing that panics, is not counted as yielded.
#[test]
fn an_item_that_is_lost_to_a_panic_is_not_counted() {
    let stage = Stage::new();
    let scripts = [Script::of([1_u64]).close_panics(), Script::of([2])];
    let mut merge = ProxyResponseLoserTree::new(stage.sources(scripts));
    let mut items = 0;
    silence_scripted_panics();
    loop {
        match catch_unwind(AssertUnwindSafe(|| stage.driver(0).run_up_to(&mut merge, 1).items.len())) {
            Ok(0) => break,
            Ok(taken) => items += taken as u64,
            Err(_) => {}
        }
    }
    assert_eq!(merge.stats().items, items);
}

/// A source that is pending is polled only after its waker has fired. A wake-up that came before the poll
/// does not count, even if the merge had more sources to poll than it does in one poll.
#[test]
fn a_wake_up_before_the_last_poll_is_used_up_by_it() {
    let stage = Stage::new();
    let sources = (0..200).map(|index| {
        // Each wakes the merge with each item. The last source, which wins first, has its second item ready;
        // the source before it, which wins then, has not.
        let pauses = if index == 199 { vec![] } else { vec![Step::Pending(Wake::Later)] };
        let mut script = Script::of([200 - index as u64]);
        script.steps.extend(pauses);
        let script = script.item(200);
        Checked::new(Noisy(ScriptedSource::new(index, script, stage.bell())), stage.log())
    });
    let mut merge = ProxyResponseLoserTree::new(sources);
    let items = stage.driver(1).run(&mut merge).ok();
    assert_eq!(items.len(), 400);
}

/// Wakes the merge with each item, which a source may do.
struct Noisy(ScriptedSource<u64>);

impl Source for Noisy {
    type Item = u64;
    type Error = losertree_testkit::TestError;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        let polled = Pin::new(&mut self.0).poll_next(cx);
        if let Poll::Ready(Some(Ok(_))) = polled {
            cx.waker().wake_by_ref();
        }
        polled
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}
