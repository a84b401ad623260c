//! `unfold`: a client with async methods is a source that keeps to the contract.

use std::cell::RefCell;
use std::future::{pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures::{FutureExt, StreamExt, TryStreamExt};
use losertree::error::Phase;
use losertree::stream::{PollClose, PollNext};
use losertree::{BlockSource, BoxSource, LeakLedger, ProxyResponseLoserTree, Source, unfold};
use losertree_testkit::{Checked, Script, ScriptedSource, Stage, TestError, Wake, silence_scripted_panics};

/// What has happened, in order.
type Events = Rc<RefCell<Vec<&'static str>>>;

/// Notes when it is dropped.
struct Noted(&'static str, Events);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.borrow_mut().push(self.0);
    }
}

/// A client of the kind that users have.
struct Client {
    items: std::vec::IntoIter<u64>,
    noted: Noted,
}

impl Client {
    fn new(items: &[u64], events: &Events) -> Self {
        Self { items: Vec::from(items).into_iter(), noted: Noted("client dropped", Rc::clone(events)) }
    }

    fn note(&self, event: &'static str) {
        self.noted.1.borrow_mut().push(event);
    }

    /// Gives its items, and then the next one never comes.
    async fn next(&mut self) -> Option<Result<u64, &'static str>> {
        self.note("asked");
        let _call = Noted("call dropped", Rc::clone(&self.noted.1));
        match self.items.next() {
            Some(item) => Some(Ok(item)),
            None => pending().await,
        }
    }

    // As clients have it.
    #[allow(clippy::unused_async)]
    async fn cancel(&mut self) -> Result<(), &'static str> {
        self.note("cancelled");
        Ok(())
    }
}

fn poll_next<S: Source + Unpin>(source: &mut S) -> PollNext<S> {
    Pin::new(source).poll_next(&mut Context::from_waker(Waker::noop()))
}

fn poll_close<S: Source + Unpin>(source: &mut S) -> PollClose<S> {
    Pin::new(source).poll_close(&mut Context::from_waker(Waker::noop()))
}

type Scripted = Checked<ScriptedSource<u64>>;

/// A scripted source as a client with async functions. The checker inside sees whether it is called as a source is to be.
fn unfolded(client: Scripted) -> BoxSource<'static, u64, TestError> {
    let source = unfold(
        client,
        async |client| {
            let next = poll_fn(|cx| Pin::new(&mut *client).poll_next(cx)).await;
            next.map(|item| item.map_err(|error| error.into_source_error().unwrap()))
        },
        async |mut client| {
            let closed = poll_fn(|cx| Pin::new(&mut client).poll_close(cx)).await;
            closed.map_err(|errors| errors.into_errors().remove(0).into_source_error().unwrap())
        },
    );
    source.boxed()
}

#[test]
fn a_merge_of_clients_is_that_of_their_items_and_closes_them() {
    for seed in 0..50 {
        let stage = Stage::new();
        let script = |base: u64| {
            let script = Script::of([base, base + 10]).pending(Wake::Later).item(base + 20);
            script.pending(Wake::AtOnce).pending(Wake::Later).close_pending(Wake::Later)
        };
        let sources = (0..5).map(|base| unfolded(stage.source(script(base))));
        let mut merge = ProxyResponseLoserTree::new(sources);
        let items = stage.driver(seed).run(&mut merge).ok();
        assert_eq!(items, [0..5, 10..15, 20..25].into_iter().flatten().collect::<Vec<_>>());
        stage.log().assert_closed();
    }
}

#[test]
fn a_call_that_is_under_way_is_dropped_before_the_client_is_closed() {
    let events = Events::default();
    let mut source =
        unfold(Client::new(&[1], &events), Client::next, async |mut client| client.cancel().await);
    assert_eq!(poll_next(&mut source), Poll::Ready(Some(Ok(1))));
    assert!(poll_next(&mut source).is_pending());
    assert!(poll_next(&mut source).is_pending());
    // The slow answer is not waited for.
    assert_eq!(poll_close(&mut source), Poll::Ready(Ok(())));
    assert_eq!(
        *events.borrow(),
        ["asked", "call dropped", "asked", "call dropped", "cancelled", "client dropped"]
    );
    // Beyond the contract, it stays closed.
    assert_eq!(poll_close(&mut source), Poll::Ready(Ok(())));
    assert_eq!(poll_next(&mut source), Poll::Ready(None));
}

#[test]
fn a_call_goes_on_when_the_future_that_waits_for_the_merge_is_dropped() {
    let asked = Rc::new(RefCell::new(0));
    let (send, receive) = futures::channel::oneshot::channel();
    let source = unfold(
        Some(receive),
        async |receive: &mut Option<_>| {
            *asked.borrow_mut() += 1;
            // Not cancel safe: what was taken out is gone with the future.
            receive.take()?.await.ok().map(Ok::<u64, &str>)
        },
        async |_| Ok(()),
    );
    let mut merge = ProxyResponseLoserTree::new([source]);
    assert!(merge.next().now_or_never().is_none());
    assert!(merge.next().now_or_never().is_none());
    send.send(7).unwrap();
    assert_eq!(merge.next().now_or_never(), Some(Some(Ok(7))));
    assert_eq!(merge.next().now_or_never(), Some(None));
    assert_eq!(*asked.borrow(), 2);
}

#[test]
fn a_client_that_was_never_asked_is_closed() {
    let events = Events::default();
    let mut source =
        unfold(Client::new(&[1], &events), Client::next, async |mut client| client.cancel().await);
    assert_eq!(poll_close(&mut source), Poll::Ready(Ok(())));
    assert_eq!(*events.borrow(), ["cancelled", "client dropped"]);
}

#[test]
fn a_source_that_is_dropped_drops_the_call_and_then_the_client() {
    let events = Events::default();
    let client =
        || unfold(Client::new(&[1], &events), Client::next, async |mut client| client.cancel().await);
    drop(client());
    assert_eq!(events.borrow_mut().split_off(0), ["client dropped"]);
    let mut source = client();
    assert_eq!(poll_next(&mut source), Poll::Ready(Some(Ok(1))));
    assert!(poll_next(&mut source).is_pending());
    events.borrow_mut().clear();
    drop(source);
    assert_eq!(*events.borrow(), ["call dropped", "client dropped"]);
}

#[test]
fn a_close_that_is_dropped_half_way_is_resumed() {
    let stage = Stage::new();
    let closing =
        Script::of([1]).pending(Wake::Later).close_pending(Wake::AtOnce).close_pending(Wake::AtOnce);
    let mut merge = ProxyResponseLoserTree::new([unfolded(stage.source(closing))]);
    assert_eq!(merge.next().now_or_never(), Some(Some(Ok(1))));
    assert!(merge.close().now_or_never().is_none());
    assert!(merge.close().now_or_never().is_none());
    assert_eq!(merge.close().now_or_never(), Some(Ok(())));
    stage.log().assert_closed();
}

/// Both functions can fail; each error says in which it was. (F18, F40)
#[test]
fn errors_of_both_functions_come_up() {
    let events = Events::default();
    let failing = |client: Client| {
        unfold(
            client,
            async |client| match client.next().await {
                Some(Ok(2)) => Some(Err("broken pipe")),
                next => next,
            },
            async |mut client| client.cancel().await.and(Err("refused")),
        )
    };
    let mut merge = ProxyResponseLoserTree::new([
        failing(Client::new(&[3], &events)),
        failing(Client::new(&[1, 2, 4], &events)),
    ]);
    assert_eq!(merge.next().now_or_never(), Some(Some(Ok(1))));
    let error = merge.next().now_or_never().unwrap().unwrap().unwrap_err();
    assert_eq!(error.path().to_string(), "source 1");
    assert_eq!((error.phase(), error.source_error()), (Some(Phase::Merging), Some(&"broken pipe")));
    let errors = merge.close().now_or_never().unwrap().unwrap_err().into_errors();
    let errors: Vec<_> =
        errors.iter().map(|error| (error.path().index(), error.phase(), error.source_error())).collect();
    assert_eq!(errors.len(), 2);
    for index in [0, 1] {
        assert!(errors.contains(&(Some(index), Some(Phase::Closing), Some(&"refused"))), "{errors:?}");
    }
    // Each is closed once, and none is asked again after it has failed.
    let count = |event| events.borrow().iter().filter(|&&it| it == event).count();
    assert_eq!((count("asked"), count("cancelled"), count("client dropped")), (3, 2, 2));
}

#[test]
fn a_client_that_panics_is_dropped_and_not_closed() {
    silence_scripted_panics();
    let stage = Stage::new();
    let sources = [Script::of([1]).panic(), Script::of([2, 4]).close_pending(Wake::Later)];
    let ledger = LeakLedger::sites();
    let mut merge = ProxyResponseLoserTree::builder()
        .sources(sources.map(|script| unfolded(stage.source(script))))
        .ledger(&ledger)
        .build();
    let run = std::panic::AssertUnwindSafe(|| merge.next().now_or_never());
    assert!(std::panic::catch_unwind(run).is_err());
    assert_eq!(stage.driver(1).run(&mut merge).ok(), []);
    stage.log().assert_released();
    assert_eq!((ledger.snapshot().closed, ledger.snapshot().dropped_unclosed), (1, 1));
}

#[test]
fn a_source_of_clients_can_be_sent_boxed_and_mixed() {
    struct Shared(Arc<AtomicUsize>, u64);
    impl Shared {
        async fn next(&mut self) -> Option<Result<u64, std::io::Error>> {
            // Something of the state is borrowed, and something else is held, while it waits.
            let held = String::from("held");
            ready(()).await;
            self.1 += 1;
            (self.1 <= held.len() as u64).then_some(Ok(self.1))
        }
        async fn shutdown(self) -> Result<(), std::io::Error> {
            ready(()).await;
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }
    fn generic(client: &mut Shared) -> BoxSource<'_, u64, std::io::Error> {
        unfold(client, async |client| client.next().await, async |_| Ok(())).boxed()
    }
    let closed = Arc::new(AtomicUsize::new(0));
    let client = || Shared(Arc::clone(&closed), 0);
    let by_methods = unfold(client(), Shared::next, Shared::shutdown);
    let step = 1;
    let by_closures = unfold(
        client(),
        async move |client| {
            client.1 += step;
            client.next().await
        },
        async |client| client.shutdown().await,
    );
    let blocks = unfold(
        client(),
        async |client| client.next().await.map(|item| item.map(|item| vec![item; 2])),
        async |client| client.shutdown().await,
    );
    let mut merge = ProxyResponseLoserTree::new([
        by_methods.boxed(),
        by_closures.boxed(),
        blocks.flatten().named("blocks").boxed(),
    ]);
    let items =
        std::thread::spawn(move || futures::executor::block_on(merge.by_ref().try_collect::<Vec<_>>()));
    assert_eq!(items.join().unwrap().unwrap(), [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4]);
    assert_eq!(closed.load(Ordering::Relaxed), 3);
    let mut lent = client();
    let merge = ProxyResponseLoserTree::new([generic(&mut lent)]);
    assert_eq!(futures::executor::block_on(merge.try_collect::<Vec<_>>()).unwrap(), [1, 2, 3, 4]);
}

/// P10: no allocation for an item.
#[test]
fn an_item_costs_no_allocation() {
    let mut source = unfold(
        0,
        async |item| {
            *item += 1;
            Some(Ok::<u64, ()>(*item))
        },
        async |_| Ok(()),
    );
    let counted = allocation_counter::measure(|| {
        for item in 1..=100 {
            assert_eq!(poll_next(&mut source), Poll::Ready(Some(Ok(item))));
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn it_says_what_it_is_doing() {
    let mut source = unfold(
        (),
        async |()| None::<Result<u64, ()>>,
        async |()| {
            let mut wakes = 0;
            let polled_twice = poll_fn(|_| {
                wakes += 1;
                if wakes == 2 { Poll::Ready(()) } else { Poll::Pending }
            });
            pin!(polled_twice).await;
            Ok(())
        },
    );
    assert_eq!(format!("{source:?}"), "Unfold(Open)");
    assert!(poll_close(&mut source).is_pending());
    assert_eq!(format!("{source:?}"), "Unfold(Closing)");
    assert!(poll_close(&mut source).is_ready());
    assert_eq!(format!("{source:?}"), "Unfold(Closed)");
}
