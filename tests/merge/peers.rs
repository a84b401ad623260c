//! What the README says of other crates, where it can be shown.

use futures::StreamExt;
use futures::stream;
use itertools::Itertools;
use losertree::{Source, from_stream};

/// Five sources with two equal keys each; the second field is the source.
fn ties() -> Vec<Vec<(u32, usize)>> {
    (0..5).map(|source| vec![(1, source); 2]).collect()
}

fn sources(items: impl IntoIterator<Item = (u32, usize)>) -> Vec<usize> {
    items.into_iter().map(|(_, source)| source).collect()
}

#[test]
fn equal_keys_come_in_source_order() {
    let in_order = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4];
    assert_eq!(sources(losertree::merge_by_key(ties(), |item| item.0)), in_order);
    let stores = ties()
        .into_iter()
        .map(|run| from_stream(stream::iter(run).map(Ok::<_, std::convert::Infallible>)).map(|item| item));
    let merge = losertree::ProxyResponseLoserTree::builder()
        .sources(stores)
        .order(losertree::key::ByKey::new(|item: &(u32, usize)| item.0))
        .build();
    let merged = futures::executor::block_on(merge.map(Result::unwrap).collect::<Vec<_>>());
    assert_eq!(sources(merged), in_order);
}

#[test]
fn in_itertools_they_do_not() {
    let merged = sources(ties().into_iter().kmerge_by(|a, b| a.0 < b.0));
    assert!(!merged.is_sorted(), "{merged:?}");
}

#[test]
fn in_stream_kmerge_they_do_not() {
    let streams = ties().into_iter().map(stream::iter);
    // Its order is descending.
    let merge = stream_kmerge::kmerge_by(streams, |a: &(u32, usize), b: &(u32, usize)| b.0.cmp(&a.0));
    let merged = sources(futures::executor::block_on(merge.collect::<Vec<_>>()));
    assert!(!merged.is_sorted(), "{merged:?}");
}
