//! Auto traits and `Debug` of the public types: a change of them is a change of the API.

use std::fmt::Debug;
use std::panic::UnwindSafe;

use losertree::error::Cause;
use losertree::key::{By, ByKey, ByKeyRef, Natural, Reversed};
use losertree::merge::{Coalesce, Combine, KeepFirst, KeepFirstBy, Undrained};
use losertree::resource::{
    ByteLease, BytePool, BytePoolBuilder, Ending, Flow, GateClose, GateClosed, LastUse, LeaseFull, LeaseWait,
    LedgerEntry, LedgerLevel, LedgerSnapshot, OpenEntry, OpenSite, PendingReader, PoolConfigError, PoolError,
    PoolSnapshot, ReaderGate, ReaderGuard, Reservation, UnclosedEntry,
};
use losertree::response::{Batches, ResponseDeduplicator, ShardError, ShardMatcher};
use losertree::series::{LabelsError, LabelsIter, ParseLabelsError};
use losertree::stream::{
    BatchMergeBuilder, BatchWindow, Builder, Close, Closing, Flatten, ForgottenSources, FromItems, FromIter,
    FromStream, MergeSource, MergeStats, Merged, Named, NextReady, NextWindow, NextWithSource, OrderCheck,
    PushError, SharedBatch, SourceEnd, SourceStats,
};
use losertree::tree::LoserTree;
use losertree::{
    BatchMerge, BoxSource, Chunk, CloseError, Labels, LabelsBuilder, LeakLedger, Merge, Phase,
    ProxyResponseLoserTree, Response, Series, SourceError, SourceId, SourcePath, TryMerge, Warning,
};

fn plain<T: Send + Sync + Unpin + Debug>() {}
fn error<T: Send + Sync + std::error::Error + 'static>() {}
fn sendable<T: Send + Unpin>() {}
fn unwind_safe<T: UnwindSafe>() {}

type Compare = fn(&u64, &u64) -> std::cmp::Ordering;
type Iter = std::vec::IntoIter<u64>;
type Stream = futures::stream::Iter<std::vec::IntoIter<Result<u64, std::io::Error>>>;
type Responses = futures::stream::Iter<std::vec::IntoIter<Result<Response, std::io::Error>>>;
type Store = FromStream<Stream>;
type BlockStore = FromStream<futures::stream::Iter<std::vec::IntoIter<Result<Vec<u64>, std::io::Error>>>>;
type Close1 = fn(Stream) -> futures::future::Ready<Result<(), std::io::Error>>;

#[test]
fn values_can_be_sent_shared_moved_and_printed() {
    plain::<Natural>();
    plain::<By<Compare>>();
    plain::<ByKey<Compare>>();
    plain::<Reversed<Natural>>();
    plain::<LoserTree<u64, Natural>>();
    plain::<Merge<Iter, Natural>>();
    plain::<TryMerge<Iter, u64, std::io::Error, Natural>>();
    plain::<Coalesce<Merge<Iter, Natural>, KeepFirst>>();
    plain::<Undrained<Iter, u64>>();
    plain::<LeakLedger>();
    plain::<LedgerEntry>();
    plain::<LedgerSnapshot>();
    plain::<LedgerLevel>();
    plain::<OpenEntry>();
    plain::<UnclosedEntry>();
    plain::<OpenSite>();
    plain::<LastUse>();
    plain::<Ending>();
    plain::<Labels>();
    plain::<LabelsBuilder>();
    plain::<LabelsIter<'_>>();
    plain::<Chunk>();
    plain::<Series>();
    plain::<Response>();
    plain::<Warning>();
    plain::<SourceId>();
    plain::<SourcePath>();
    plain::<Phase>();
    plain::<MergeStats>();
    plain::<SourceStats>();
    plain::<ForgottenSources>();
    plain::<SourceEnd>();
    plain::<OrderCheck>();
    plain::<ShardMatcher>();
    plain::<ResponseDeduplicator<Responses>>();
    plain::<Batches<Responses>>();
    #[cfg(feature = "metrics")]
    plain::<losertree::observe::Publisher>();
}

#[test]
fn resources_can_be_sent_shared_moved_and_printed() {
    plain::<BytePool>();
    plain::<BytePoolBuilder>();
    plain::<ByteLease>();
    plain::<LeaseWait>();
    plain::<PoolSnapshot>();
    plain::<Reservation>();
    plain::<Flow>();
    plain::<ReaderGate>();
    plain::<ReaderGuard>();
    plain::<GateClose>();
    plain::<PendingReader>();
}

#[test]
fn the_async_merge_can_be_sent_shared_moved_and_printed() {
    plain::<Store>();
    plain::<Named<Store>>();
    plain::<Closing<Stream, Close1, futures::future::Ready<Result<(), std::io::Error>>>>();
    plain::<Builder<Store>>();
    plain::<ProxyResponseLoserTree<Store>>();
    plain::<ProxyResponseLoserTree<Store, By<Compare>>>();
    plain::<Close<'_, ProxyResponseLoserTree<Store>>>();
    plain::<MergeSource<ProxyResponseLoserTree<Store>>>();
    plain::<NextWithSource<'_, Store, Natural>>();
    plain::<NextReady<'_, Store, Natural>>();
    plain::<Flatten<BlockStore>>();
    plain::<BatchMergeBuilder<BlockStore>>();
    plain::<BatchMerge<BlockStore>>();
    plain::<BatchMerge<BlockStore, By<Compare>>>();
    plain::<BatchWindow<Vec<u64>>>();
    plain::<SharedBatch<Vec<u64>>>();
    plain::<Merged<Vec<u64>, std::io::Error>>();
    plain::<NextWindow<'_, BlockStore, Natural>>();

    sendable::<BoxSource<'_, u64, std::io::Error>>();
    sendable::<Flatten<BoxSource<'_, Vec<u64>, std::io::Error>>>();
    sendable::<ProxyResponseLoserTree<BoxSource<'_, u64, std::io::Error>>>();
}

#[test]
fn errors_are_errors() {
    error::<SourceError<std::io::Error>>();
    error::<Cause<std::io::Error>>();
    error::<CloseError<std::io::Error>>();
    error::<PushError<Store>>();
    error::<LabelsError>();
    error::<ParseLabelsError>();
    error::<ShardError>();
    error::<PoolError>();
    error::<PoolConfigError>();
    error::<LeaseFull>();
    error::<GateClosed>();
    #[cfg(feature = "tokio")]
    error::<losertree::resource::CloseTimeout>();
}

#[test]
fn ledgers_and_errors_cross_a_caught_panic() {
    unwind_safe::<LeakLedger>();
    unwind_safe::<LedgerEntry>();
    unwind_safe::<BytePool>();
    unwind_safe::<ByteLease>();
    unwind_safe::<ReaderGate>();
    unwind_safe::<ReaderGuard>();
    unwind_safe::<SourceError<String>>();
}

/// What is copied with what is inside of it.
#[test]
fn sources_and_merges_can_be_cloned() {
    fn check<T: Clone + Send + Sync + Unpin + Debug>() {}
    type Results = std::vec::IntoIter<Result<u64, String>>;
    type Items = futures::stream::Iter<Iter>;
    check::<Merge<Iter, Natural>>();
    check::<TryMerge<Results, u64, String, Natural>>();
    check::<Coalesce<Merge<Iter, Natural>, KeepFirst>>();
    check::<Coalesce<TryMerge<Results, u64, String, Natural>, KeepFirstBy<Compare>>>();
    check::<Coalesce<Merge<Iter, Natural>, Combine<fn(&mut u64, u64)>>>();
    check::<ByKeyRef<Compare>>();
    check::<FromIter<Iter>>();
    check::<FromItems<Items>>();
    check::<FromStream<futures::stream::Iter<Results>>>();
    check::<Named<FromItems<Items>>>();
}

#[test]
fn async_merges_of_runs_can_be_sent_shared_moved_and_printed() {
    plain::<losertree::stream::Coalesce<Store, Natural, KeepFirst>>();
    plain::<MergeSource<losertree::stream::Coalesce<Store, Natural, KeepFirst>>>();
    plain::<losertree::stream::Unfold<std::future::Ready<Result<(), String>>, u64, String>>();
}
