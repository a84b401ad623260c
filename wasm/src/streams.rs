use std::convert::Infallible;
use std::future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use losertree::stream::{CloseOnDrop, Closer};
use losertree::{LeakLedger, ProxyResponseLoserTree, Source, closing, from_iter, from_stream};

use crate::{pend, wait};

/// Pending before each item.
fn stuttering(items: Vec<u64>) -> impl Source<Item = u64, Error = Infallible> + Send {
    from_stream(stream::iter(items).then(|item| pend().map(move |()| Ok(item))))
}

/// Of sources that are ready, that are not, and that join later; without times, and with them, which are zero.
pub(crate) fn merges() {
    for is_timed in [false, true] {
        let ledger = LeakLedger::sites();
        let sources = [from_iter([1, 4, 7]).boxed(), stuttering(vec![2, 5]).boxed()];
        let builder = ProxyResponseLoserTree::builder().sources(sources).ledger(&ledger).name("wasm");
        let mut merge = if is_timed { builder.times() } else { builder }.build();
        assert!(merge.push(from_iter([3, 6]).boxed()).is_ok());
        let merged: Vec<u64> = wait(merge.by_ref().try_collect()).expect("no source can fail");
        assert_eq!(merged, [1, 2, 3, 4, 5, 6, 7]);
        for source in merge.stats().sources {
            assert_eq!(source.duration, is_timed.then_some(Duration::ZERO));
            assert_eq!(source.time_to_first_item, is_timed.then_some(Duration::ZERO));
        }
        ledger.assert_all_closed();
    }
}

/// A merge whose only source takes some polls to close.
fn slow_to_close(ledger: &LeakLedger) -> impl losertree::stream::Closable<Error = Infallible> + Send + use<> {
    let source = closing(stream::iter([Ok::<_, Infallible>(1)]), |_| async {
        pend().await;
        pend().await;
        Ok(())
    });
    ProxyResponseLoserTree::builder().source(source.boxed()).ledger(ledger).build()
}

/// By a closer whose tasks are run here, and whose timer is never ready.
pub(crate) fn closing_in_the_background() {
    let ledger = LeakLedger::sites();
    let tasks: Arc<Mutex<Vec<BoxFuture<'static, ()>>>> = Arc::default();
    let spawned = Arc::clone(&tasks);
    let spawn = move |task| spawned.lock().expect("nobody has panicked").push(task);
    let closer = Closer::new(spawn, |_| future::pending().boxed());
    drop(CloseOnDrop::new(slow_to_close(&ledger), &closer));
    assert_eq!(closer.closings(), 1);
    let tasks = std::mem::take(&mut *tasks.lock().expect("nobody has panicked"));
    tasks.into_iter().for_each(wait);
    assert_eq!((closer.closings(), ledger.snapshot().closed_in_background), (0, 1));
}

/// On a runtime, which has no clock.
#[cfg(feature = "all")]
pub(crate) fn closing_on_tokio() {
    let ledger = LeakLedger::sites();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it takes no thread");
    let closer = Closer::tokio(runtime.handle().clone());
    drop(CloseOnDrop::new(slow_to_close(&ledger), &closer));
    runtime.block_on(closer.idle());
    assert_eq!((closer.closings(), ledger.snapshot().closed_in_background), (0, 1));
}
