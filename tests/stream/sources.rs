//! The ready-made sources: each keeps to the contract, and passes on everything of the source inside.

use losertree::CloseError;
use losertree::SourceError;
use losertree::stream::{PollClose, PollNext};
use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::stream::{self, StreamExt};
use losertree::stream::{Counters, SourceEnd};
use losertree::{BlockSource, LeakLedger, ProxyResponseLoserTree, Source, closing, from_stream};
use losertree_testkit::{Script, Stage, TestError, Wake};

fn ready<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("pending"),
    }
}

#[test]
fn a_stream_is_a_source() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut source = from_stream(stream::iter([Ok(1), Err("broken")]));
    let mut source = Pin::new(&mut source);
    assert_eq!(ready(source.as_mut().poll_next(&mut cx)), Some(Ok(1)));
    assert_eq!(ready(source.as_mut().poll_next(&mut cx)), Some(Err("broken".into())));
    assert_eq!(ready(source.as_mut().poll_close(&mut cx)), Ok(()));
    assert_eq!((source.name(), source.counters()), (None, Counters::default()));
}

#[test]
fn a_closing_source_calls_its_function_once_and_with_the_stream() {
    let calls = Rc::new(Cell::new(0));
    let items = || stream::iter([Ok(1), Ok(2), Err("broken")]);
    let source = |calls: &Rc<Cell<u32>>| {
        let calls = Rc::clone(calls);
        closing(items(), move |mut stream| async move {
            calls.set(calls.get() + 1);
            // What was not taken is still there.
            assert_eq!(stream.next().await, Some(Ok(2)));
            Err("refused")
        })
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut closed = source(&calls);
    assert_eq!(ready(Pin::new(&mut closed).poll_next(&mut cx)), Some(Ok(1)));
    assert_eq!(calls.get(), 0);
    assert_eq!(ready(Pin::new(&mut closed).poll_close(&mut cx)), Err("refused".into()));
    assert_eq!(calls.get(), 1);
    // Beyond the contract, it stays closed.
    assert_eq!(ready(Pin::new(&mut closed).poll_close(&mut cx)), Ok(()));
    assert_eq!(ready(Pin::new(&mut closed).poll_next(&mut cx)), None);
    // Dropped unclosed, the function is not called.
    drop(source(&calls));
    assert_eq!(calls.get(), 1);
}

#[test]
fn a_closing_source_waits_for_its_future() {
    let (send, receive) = futures::channel::oneshot::channel::<()>();
    let source = closing(stream::iter([Ok::<_, Infallible>(1)]), |stream| async move {
        drop(stream);
        // A sender that is gone is a close that has happened.
        let _ = receive.await;
        Ok(())
    });
    let ledger = LeakLedger::sites();
    let mut merge = ProxyResponseLoserTree::builder().source(source).ledger(&ledger).build();
    assert!(losertree_testkit::poll_times(merge.close(), 2).is_err());
    assert_eq!(ledger.snapshot().open, 1);
    send.send(()).expect("the close waits for it");
    assert_eq!(futures::executor::block_on(merge.close()), Ok(()));
    assert_eq!(ledger.snapshot().closed, 1);
}

/// Wraps a scripted source in each adaptor, and runs it through a merge under the checker.
#[test]
fn adaptors_keep_to_the_contract_and_pass_everything_on() {
    for seed in 0..20 {
        let stage = Stage::new();
        let script = |base: u64| {
            Script::of([base, base + 10]).pending(Wake::Later).item(base + 20).close_pending(Wake::Later)
        };
        // The same in blocks, one of which is empty.
        let blocks = |base: u64| {
            let first = Script::of([vec![base, base + 10], vec![]]);
            first.pending(Wake::Later).item(vec![base + 20]).close_pending(Wake::Later)
        };
        let sources = vec![
            stage.source(script(1).named("plain")).boxed(),
            Box::new(stage.source(script(2).named("boxed twice"))).boxed(),
            stage.source(script(3)).named("named").boxed(),
            stage.source(script(40)).map(|item| item - 36).named("mapped").boxed(),
            stage.source(script(5).named("inner")).map_err(|error| TestError { source: 99, ..error }).boxed(),
            stage.source(blocks(6).named("blocks")).flatten().boxed(),
            stage.source(blocks(7)).boxed().flatten().named("boxed blocks").boxed(),
        ];
        let mut merge = ProxyResponseLoserTree::new(sources);
        let items = stage.driver(seed).run(&mut merge).ok();
        assert_eq!(items, [1..8, 11..18, 21..28].into_iter().flatten().collect::<Vec<_>>());
        stage.log().assert_closed();
        let stats = merge.stats();
        let names: Vec<_> = stats.sources.iter().map(|source| source.origin.name()).collect();
        assert_eq!(
            names,
            ["plain", "boxed twice", "named", "mapped", "inner", "blocks", "boxed blocks"].map(Some)
        );
    }
}

#[test]
fn errors_are_changed_on_both_ways() {
    let stage = Stage::new();
    let failing = stage.source(Script::<u64>::new().fail().close_fails());
    let mut source = failing.map_err(|error| error.to_string());
    let mut cx = Context::from_waker(Waker::noop());
    let next = ready(Pin::new(&mut source).poll_next(&mut cx));
    assert!(
        next.expect("an error").is_err_and(|error| error.into_source_error().unwrap().contains("source 0"))
    );
    let closed = ready(Pin::new(&mut source).poll_close(&mut cx)).map_err(CloseError::into_errors);
    let text = closed.unwrap_err().pop().and_then(SourceError::into_source_error);
    assert!(text.is_some_and(|text| text.contains("source 0")));
}

/// A mutable reference lends a source to a merge: the merge closes it, and it is still there.
#[test]
fn a_source_can_be_lent() {
    let stage = Stage::new();
    let mut source = stage.source(Script::of([1_u64, 2]));
    let mut merge = ProxyResponseLoserTree::new([&mut source]);
    assert_eq!(futures::executor::block_on(merge.next()), Some(Ok(1)));
    futures::executor::block_on(merge.close()).expect("nothing fails");
    drop(merge);
    assert!(stage.log().sources()[0].close.is_complete());
    drop(source);
    stage.log().assert_closed();
}

#[test]
fn what_was_received_is_reported_while_open_and_after() {
    struct Counting(u64);
    impl Source for Counting {
        type Item = u64;
        type Error = Infallible;
        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
            if self.0 == 300 {
                return Poll::Ready(None);
            }
            self.0 += 100;
            Poll::Ready(Some(Ok(self.0)))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
            Poll::Ready(Ok(()))
        }
        fn counters(&self) -> Counters {
            [("bytes", self.0)].into_iter().collect()
        }
    }
    let source =
        Counting(0).named("a").map(|item| [item]).flatten().map(|item| item).map_err(|error| error).boxed();
    let mut merge = ProxyResponseLoserTree::new([source]);
    futures::executor::block_on(merge.next());
    assert_eq!(merge.stats().sources[0].counters.get("bytes"), Some(200));
    futures::executor::block_on(merge.by_ref().collect::<Vec<_>>());
    assert_eq!(merge.stats().sources[0].counters.get("bytes"), Some(300));
}

#[test]
fn a_source_that_has_panicked_is_not_asked_what_it_has_counted() {
    struct Panicking(bool);
    impl Source for Panicking {
        type Item = u64;
        type Error = Infallible;
        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> PollNext<Self> {
            self.0 = true;
            std::panic::resume_unwind(Box::new("as asked"))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> PollClose<Self> {
            Poll::Ready(Ok(()))
        }
        fn counters(&self) -> Counters {
            assert!(!self.0, "it has panicked");
            [("polls", 0)].into_iter().collect()
        }
    }
    let mut merge = ProxyResponseLoserTree::new([Panicking(false)]);
    assert_eq!(merge.stats().sources[0].counters.get("polls"), Some(0));
    let next = || futures::executor::block_on(merge.next());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(next)).is_err());
    assert_eq!(merge.stats().sources[0].counters, Counters::default());
    assert_eq!(futures::executor::block_on(merge.next()), None);
    assert_eq!(merge.stats().sources[0].end, Some(SourceEnd::Panicked));
}
