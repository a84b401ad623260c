//! P3: `close()` closes all sources concurrently, attempts every one, returns all errors, is idempotent, and
//! resumes where a dropped future of it stopped.

use futures::StreamExt;
use losertree::CloseError;
use losertree::SourceError;
use losertree::stream::{PollClose, PollNext};

use losertree::{LeakLedger, Phase, ProxyResponseLoserTree};
use losertree_testkit::{
    At, Checked, CountingWaker, End, Random, Script, ScriptedSource, Stage, TestError, Wake, poll_times,
    silence_scripted_panics,
};
use std::task::{Context, Poll};

type Store = Checked<ScriptedSource<u64>>;

fn merge_of(stage: &Stage, scripts: impl IntoIterator<Item = Script<u64>>) -> ProxyResponseLoserTree<Store> {
    ProxyResponseLoserTree::new(stage.sources(scripts))
}

type Failure = (usize, Phase, TestError);

fn failure(error: SourceError<TestError>) -> Failure {
    (error.path().index().unwrap(), error.phase().unwrap(), error.into_source_error().unwrap())
}

fn failures(closed: Result<(), CloseError<TestError>>) -> Vec<Failure> {
    closed.err().into_iter().flat_map(CloseError::into_errors).map(failure).collect()
}

#[test]
fn sources_are_closed_concurrently() {
    let stage = Stage::new();
    let script = || Script::of([1]).close_pending(Wake::Later).close_pending(Wake::Later);
    let mut merge = merge_of(&stage, (0..20).map(|_| script()));
    assert!(poll_times(merge.close(), 1).is_err());
    // All have been asked to close before any has finished.
    assert_eq!(stage.bell().waiting().len(), 20);
    assert_eq!(stage.driver(3).complete(merge.close()), Ok(Ok(())));
    stage.log().assert_closed();
}

// F14
#[test]
fn closing_twice_is_closing_once() {
    let stage = Stage::new();
    let mut merge = merge_of(&stage, [Script::of([1, 2]).close_fails(), Script::of([3])]);
    let mut driver = stage.driver(0);
    assert_eq!(driver.run_up_to(&mut merge, 1).oks(), [1]);
    assert_eq!(failures(driver.complete(merge.close()).expect("it completes")).len(), 1);
    // The error has been reported; there is nothing left to do.
    assert_eq!(driver.complete(merge.close()), Ok(Ok(())));
    assert_eq!(driver.run(&mut merge).items.len(), 0);
    stage.log().assert_closed();
}

// F19
#[test]
fn closing_before_the_first_poll() {
    for sources in [0, 1, 5] {
        let stage = Stage::new();
        let mut merge = merge_of(&stage, (0..sources).map(|_| Script::of([1, 2, 3])));
        assert_eq!(stage.driver(0).complete(merge.close()), Ok(Ok(())));
        assert_eq!(stage.log().items(), 0, "no source is asked for items by a close");
        assert_eq!(stage.driver(0).run(&mut merge).end, End::Finished);
        stage.log().assert_closed();
    }
}

// F40
#[test]
fn every_source_is_attempted_and_all_errors_come_back() {
    silence_scripted_panics();
    for seed in 0..50 {
        let stage = Stage::new();
        let random = &mut Random::seed(seed);
        let scripts: Vec<_> = (0..12)
            .map(|index| {
                let script = Script::of([index, index + 1]);
                let script = if index % 3 == 0 { script.close_fails() } else { script };
                script.with_pauses(random, 0.4)
            })
            .collect();
        let mut merge = merge_of(&stage, scripts);
        let mut driver = stage.driver(seed);
        let run = driver.run_up_to(&mut merge, (seed % 4) as usize);
        let mut errors: Vec<_> = run.items.into_iter().filter_map(Result::err).map(failure).collect();
        errors.extend(failures(driver.complete(merge.close()).expect("it completes")));
        errors.sort_by_key(|(index, ..)| *index);
        let expected: Vec<_> = (0..12).step_by(3).collect();
        assert_eq!(errors.iter().map(|(index, ..)| *index).collect::<Vec<_>>(), expected);
        for (index, phase, error) in errors {
            assert_eq!(phase, Phase::Closing);
            assert!(matches!(error, TestError { source, at: At::CloseStep(_) } if source == index));
        }
        stage.log().assert_closed();
    }
}

#[test]
fn a_dropped_close_is_resumed_from_any_point() {
    for seed in 0..30 {
        // How many polls it takes in all, with this schedule.
        let scripts = |stage: &Stage| {
            let random = &mut Random::seed(seed);
            let script = |index: u64| Script::of([index, 9]).with_pauses(random, 0.6);
            merge_of(stage, (0..6).map(script).collect::<Vec<_>>())
        };
        let stage = Stage::new();
        let mut driver = stage.driver(seed);
        driver.complete(scripts(&stage).close()).expect("it completes").expect("nothing fails");
        for polls in 0..=driver.polls() {
            let stage = Stage::new();
            let mut merge = scripts(&stage);
            let mut driver = stage.driver(seed);
            let half = driver.poll_times(merge.close(), polls);
            drop(half);
            assert_eq!(driver.complete(merge.close()), Ok(Ok(())), "after {polls} polls");
            stage.log().assert_closed();
        }
    }
}

/// Close, drop the future, and go on by polling the merge as a stream.
#[test]
fn a_dropped_close_is_resumed_by_the_stream() {
    for seed in 0..30 {
        let stage = Stage::new();
        let random = &mut Random::seed(seed);
        let mut merge =
            merge_of(&stage, (0..6).map(|i| Script::of([i, 9]).with_pauses(random, 0.6)).collect::<Vec<_>>());
        let mut driver = stage.driver(seed);
        let _ = driver.run_up_to(&mut merge, 2);
        drop(driver.poll_times(merge.close(), 1));
        let run = driver.run(&mut merge);
        assert_eq!((run.items.len(), run.end), (0, End::Finished));
        stage.log().assert_closed();
    }
}

// F18: what only closing reports is reported, and as an error of closing.
#[test]
fn errors_met_but_not_yielded_are_returned_by_close() {
    let stage = Stage::new();
    // The source fails while its first item is taken: the item is yielded, and the error is still to come.
    let mut merge = merge_of(&stage, [Script::of([1]).fail().close_fails(), Script::of([2]).close_fails()]);
    let mut driver = stage.driver(0);
    assert_eq!(driver.run_up_to(&mut merge, 1).oks(), [1]);
    let errors = failures(driver.complete(merge.close()).expect("it completes"));
    let phases: Vec<_> = errors.iter().map(|(index, phase, _)| (*index, *phase)).collect();
    assert_eq!(phases, [(0, Phase::Merging), (0, Phase::Closing), (1, Phase::Closing)]);
    stage.log().assert_closed();
}

/// After the error was yielded, those of closing the others are kept for `close`.
#[test]
fn errors_after_the_first_are_kept() {
    let stage = Stage::new();
    let mut merge = merge_of(&stage, [Script::of([1]).fail(), Script::of([2]).close_fails()]);
    let mut driver = stage.driver(0);
    let run = driver.run(&mut merge);
    assert_eq!(run.end, End::Finished);
    assert_eq!(run.items.iter().filter(|item| item.is_err()).count(), 1);
    let errors = failures(driver.complete(merge.close()).expect("it completes"));
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].0, errors[0].1), (1, Phase::Closing));
    stage.log().assert_closed();
}

#[test]
fn a_source_that_never_closes_keeps_close_pending_and_nothing_else() {
    let stage = Stage::new();
    let ledger = LeakLedger::sites();
    let stuck = Script::of([1]).close_pending(Wake::Never).named("store-b");
    let sources = stage.sources([Script::of([2]), stuck, Script::of([3])]);
    let mut merge = ProxyResponseLoserTree::builder().sources(sources).ledger(&ledger).build();
    assert_eq!(stage.driver(0).complete(merge.close()), Err(End::Deadlock { stuck: vec![1] }));
    let record = ledger.snapshot();
    assert_eq!((record.closed, record.open), (2, 1));
    assert!(
        record.to_string().contains("source 1 \"store-b\", opened at tests/promises/p3_close.rs:"),
        "{record}"
    );
    drop(merge);
    stage.log().assert_released();
    ledger.assert_balanced();
    assert_eq!(ledger.snapshot().dropped_unclosed, 1);
}

/// Heads are dropped when closing begins: they may hold what sources wait for.
#[test]
fn heads_are_dropped_before_sources_are_closed() {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::sync::Arc;

    struct Lender(Arc<()>);
    impl losertree::Source for Lender {
        type Item = Lent;
        type Error = Infallible;
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
            Poll::Ready(Some(Ok(Lent(Arc::clone(&self.0)))))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
            assert_eq!(Arc::strong_count(&self.0), 1, "closed while an item was out");
            Poll::Ready(Ok(()))
        }
    }
    #[derive(Debug)]
    struct Lent(#[allow(dead_code)] Arc<()>);
    impl losertree::SortKey for Lent {
        const CODE_BITS: u32 = 0;
        const EXACT: bool = true;
        fn code(&self) -> u64 {
            0
        }
        fn compare(&self, _: &Self) -> std::cmp::Ordering {
            std::cmp::Ordering::Equal
        }
    }
    let mut merge = ProxyResponseLoserTree::new((0..3).map(|_| Lender(Arc::new(()))));
    futures::executor::block_on(async {
        let first = merge.next().await;
        drop(first);
        merge.close().await.expect("nothing fails");
    });
}

#[test]
fn the_error_of_a_close_says_everything() {
    let stage = Stage::new();
    let mut merge =
        merge_of(&stage, [Script::of([1]).close_fails().named("store-a"), Script::of([2]).close_fails()]);
    let error = stage.driver(0).complete(merge.close()).expect("it completes").expect_err("both fail");
    let text = error.to_string();
    assert!(text.contains("source 0 \"store-a\" failed while closing: "), "{text}");
    assert!(text.contains("; source 1 failed while closing: "), "{text}");
    assert_eq!(error.errors().len(), 2);
}

/// A close that is polled without having been woken polls no source.
#[test]
fn polling_a_close_in_vain_polls_no_source() {
    let stage = Stage::new();
    let mut merge = merge_of(&stage, [Script::of([1]).close_pending(Wake::Later)]);
    let waker = CountingWaker::new();
    let (waker, woken) = (waker.waker(), waker);
    let mut cx = Context::from_waker(&waker);
    assert!(merge.poll_close_all(&mut cx).is_pending());
    let polls = stage.log().polls();
    for _ in 0..10 {
        assert!(merge.poll_close_all(&mut cx).is_pending());
    }
    assert_eq!(stage.log().polls(), polls);
    assert_eq!(woken.wakes(), 0);
    stage.bell().ring_all();
    assert_eq!(woken.wakes(), 1);
    assert_eq!(merge.poll_close_all(&mut cx), Poll::Ready(Ok(())));
    stage.log().assert_closed();
}
