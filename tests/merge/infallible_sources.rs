//! Sources that cannot fail: `from_items` of streams, `from_iter` of iterators.

use std::future::pending;
use std::pin::pin;

use futures::executor::block_on;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use losertree::{
    BlockSource, LeakLedger, ProxyResponseLoserTree, Source, closing, from_items, from_iter, from_stream,
};

#[test]
fn streams_and_iterators_of_plain_items_are_merged() {
    let streams = [vec![1, 4], vec![2]].map(|items| from_items(stream::iter(items)).boxed());
    let iterators = [vec![], vec![3, 5]].map(|items| from_iter(items).boxed());
    let blocks = [from_iter([vec![6], vec![], vec![7, 8]]).flatten().boxed()];
    let merge = ProxyResponseLoserTree::new(streams.into_iter().chain(iterators).chain(blocks));
    assert_eq!(block_on(merge.try_collect::<Vec<_>>()).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn a_stream_that_is_not_ready_is_waited_for() {
    let (mut send, receive) = futures::channel::mpsc::channel(1);
    let mut merge = ProxyResponseLoserTree::new([from_items(receive).boxed(), from_iter([2]).boxed()]);
    assert!(merge.next().now_or_never().is_none());
    send.try_send(1).unwrap();
    assert_eq!(merge.next().now_or_never(), Some(Some(Ok(1))));
    drop(send);
    assert_eq!(merge.next().now_or_never(), Some(Some(Ok(2))));
    assert_eq!(merge.next().now_or_never(), Some(None));
}

/// A merge behind such a stream is closed, as by `from_stream`. (F57)
#[test]
fn a_merge_inside_is_closed() {
    let ledger = LeakLedger::sites();
    let store = closing(stream::iter([Ok::<_, &str>(1), Ok(2)]), |_| async { Ok(()) });
    let inner = ProxyResponseLoserTree::builder().source(store).ledger(&ledger).build();
    let source = from_items(inner.map(Result::unwrap_or_default));
    let mut outer = ProxyResponseLoserTree::builder().source(source).limit(1).build();
    assert_eq!(block_on(outer.by_ref().try_collect::<Vec<_>>()).unwrap(), [1]);
    assert_eq!((ledger.snapshot().closed, ledger.snapshot().lost), (1, 0));
    ledger.assert_balanced();
}

/// Nobody waits for what a merge inside is only closing before all are asked to close. (F54)
#[test]
fn a_merge_inside_that_is_only_closing_has_ended() {
    let store = closing(stream::iter([Ok::<u64, &str>(1)]), |_| pending());
    let source = from_items(ProxyResponseLoserTree::new([store]).map(Result::unwrap_or_default));
    let mut outer = ProxyResponseLoserTree::new([source.boxed(), from_iter([2]).boxed()]);
    assert_eq!(outer.next().now_or_never(), Some(Some(Ok(1))));
    assert_eq!(outer.next().now_or_never(), Some(Some(Ok(2))));
    assert!(outer.next().now_or_never().is_none());
    assert!(outer.is_closing());
}

#[test]
fn they_are_merged_with_sources_that_can_fail() {
    let memory = from_iter([1, 4]).map_err(|never| match never {});
    let channel = from_items(stream::iter([2])).map_err(|never| match never {});
    let file = from_stream(stream::iter([Ok(3), Err("disk on fire")]));
    let mut merge =
        ProxyResponseLoserTree::new([memory.boxed(), channel.boxed(), file.named("file").boxed()]);
    let items: Vec<_> = block_on(merge.by_ref().take(4).collect());
    assert_eq!(items[..3], [Ok(1), Ok(2), Ok(3)]);
    assert_eq!(items[3].as_ref().unwrap_err().source_error(), Some(&"disk on fire"));
}

/// A source that is not `Unpin` is merged boxed, or pinned where it is, and keeps its name.
#[test]
fn what_cannot_be_moved_is_merged_pinned() {
    let source = |item| from_items(stream::once(async move { item })).named("pinned");
    let pinned = pin!(source(1));
    let mut merge = ProxyResponseLoserTree::new([pinned]);
    assert_eq!(merge.stats().sources[0].origin.name(), Some("pinned"));
    assert_eq!(block_on(merge.by_ref().try_collect::<Vec<_>>()).unwrap(), [1]);
    let merge = ProxyResponseLoserTree::new([Box::pin(source(2)), Box::pin(source(1))]);
    assert_eq!(block_on(merge.try_collect::<Vec<_>>()).unwrap(), [1, 2]);
}

#[test]
fn what_was_put_in_comes_out() {
    assert_eq!(from_iter([1, 2]).into_inner().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(block_on(from_items(stream::iter([1, 2])).into_inner().collect::<Vec<_>>()), [1, 2]);
    assert_eq!(format!("{:?}", from_iter(0..2)), "FromIter { iter: 0..2 }");
    let source = from_items(stream::iter(0..2));
    assert!(format!("{source:?}").starts_with("FromItems { stream: Iter"), "{source:?}");
}
