//! What tests have in common whose comparators, keys and sources panic.

use std::fmt::Debug;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::pin::Pin;
use std::sync::Once;

use futures::executor::block_on;
use losertree::Source;
use losertree_testkit::Item;

/// Keeps the panics that are part of a test from being printed: there are thousands.
pub(crate) fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<String>();
            if !text.is_some_and(|text| text.contains("panics as asked")) {
                print(info);
            }
        }));
    });
}

/// Returns what the call does, or `None` if it panics.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}

/// Takes what a source still has, and closes it.
pub(crate) fn drained<S>(mut source: S) -> Vec<Item<u64>>
where
    S: Source<Item = Item<u64>, Error: Debug> + Unpin,
{
    let mut items = Vec::new();
    while let Some(item) = block_on(poll_fn(|cx| Pin::new(&mut source).poll_next(cx))) {
        items.push(item.unwrap());
    }
    block_on(poll_fn(|cx| Pin::new(&mut source).poll_close(cx))).unwrap();
    items
}
