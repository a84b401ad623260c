use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::adaptors::{Map, MapErr, Named};
use super::counters::Counters;
use crate::error::{CloseError, SourceError};

/// What polling a source for its next item gives.
pub type PollNext<S> = Poll<Option<Result<<S as Source>::Item, SourceError<<S as Source>::Error>>>>;

/// What polling the closing of a source gives.
pub type PollClose<S> = Poll<Result<(), CloseError<<S as Source>::Error>>>;

/// A sorted series of items that a merge owns and closes: the child contract.
///
/// A source is a stream of `Result`s with an orderly end. Its own errors become a [`SourceError`] by `into` or `?`. One that has
/// blocks of items to give is a [`BlockSource`](super::BlockSource). It is implemented by your transport, or made of what you
/// have:
///
/// | of | by |
/// |---|---|
/// | a client with async methods | [`unfold`](super::unfold) |
/// | a stream of `Result`s, and a future that closes it | [`closing`](super::closing) |
/// | a stream of `Result`s that has nothing to close | [`from_stream`](super::from_stream) |
/// | a stream of other items | [`from_items`](super::from_items) |
/// | an iterator | [`from_iter`](super::from_iter) |
/// | a merge | [`into_source`](crate::ProxyResponseLoserTree::into_source) |
///
/// # What a source must do
///
/// - **Order.** Give items in the order of the merge. A source that does not makes the order of the output
///   unspecified, unless the merge checks it.
/// - **Wake.** When a `poll_*` method returns `Pending`, it has arranged for the waker of the context of this
///   last call to be woken when polling again could get further. A source that forgets is never polled
///   again. Waking more often is allowed.
/// - **End.** Return `None`, or one error, at the end.
/// - **Close.** Release in [`poll_close`](Self::poll_close) all that it holds: end its request, stop its
///   tasks, give back its buffers, and complete only when that is done.
/// - **Drop.** Release the same when dropped without being closed, as far as that can be done synchronously.
///   It must not block.
///
/// # What a source may rely on
///
/// The merge moves a source only between polls (sources are [`Unpin`], [box](Source::boxed) them if they are not), polls it
/// from one task at a time, and calls it as this table says:
///
/// | after | `poll_next` | `poll_close` | drop |
/// |---|---|---|---|
/// | construction | once, at first | any time | any time |
/// | `Pending` from `poll_next` | only after its waker has fired | any time | any time |
/// | an item that is [ordered](crate::SortKey::is_ordered) | when the merge has chosen that item for output | any time | any time |
/// | another item | when the merge has yielded it | any time | any time |
/// | an error | never | at once | any time |
/// | `None` | never | at once | any time |
/// | the first call of `poll_close` | never | only after its waker has fired | any time |
/// | `Ready` from `poll_close`, also an error | never | never | at once |
/// | a panic | never | never | yes |
///
/// While its item waits in the tournament, a source is asked for nothing. But when its waker fires then, it is called by
/// [`poll_progress`](Self::poll_progress), so that it can go on by itself; once for each time that the waker has fired.
///
/// So a source need not be fused, and need not remember that it was closed.
///
/// # Merges of merges
///
/// A merge is made a source by [`into_source`](crate::ProxyResponseLoserTree::into_source), and a query by
/// [`ProxyQuery::into_source`](crate::response::ProxyQuery::into_source) or
/// [`into_store`](crate::response::ProxyQuery::into_store). Closing goes through all levels and is awaited, and an error says by its
/// [path](SourceError::path) which source of which level it was:
///
/// ```
/// use futures::stream;
/// use losertree::{ProxyResponseLoserTree, Source, closing};
///
/// # futures::executor::block_on(async {
/// let store = |name: &'static str, items: Vec<u64>| {
///     let items = stream::iter(items.into_iter().map(Ok::<_, &str>));
///     closing(items, |_| async { Err("the server is gone") }).named(name)
/// };
/// let eu = ProxyResponseLoserTree::new([store("store-a", vec![1, 4]), store("store-b", vec![2])]);
/// let us = ProxyResponseLoserTree::new([store("store-c", vec![3])]);
/// let mut merge = ProxyResponseLoserTree::new([eu.into_source().named("eu"), us.into_source().named("us")]);
/// let errors = merge.close().await.unwrap_err().into_errors();
/// let names: Vec<_> = errors.iter().map(|error| error.path().name().unwrap()).collect();
/// assert_eq!(names, ["eu/store-a", "eu/store-b", "us/store-c"]);
/// # });
/// ```
///
/// A source that is a merge of your own ends as soon as it has only closing left, and does the rest in `poll_close`: what is above
/// cannot yield anything while it waits for it.
///
/// # Cancel safety
///
/// Both methods are polled again after any number of other polls, or never. A source keeps its progress in
/// itself, not in the future that happened to poll it.
///
/// # Examples
///
/// ```
/// use losertree::Source;
/// use losertree::stream::{PollClose, PollNext};
/// use std::convert::Infallible;
/// use std::pin::Pin;
/// use std::task::{Context, Poll};
///
/// /// Counts up to a bound. Has nothing to release.
/// struct Count { next: u64, end: u64 }
///
/// impl Source for Count {
///     type Item = u64;
///     type Error = Infallible;
///
///     fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollNext<Self> {
///         if self.next == self.end {
///             return Poll::Ready(None);
///         }
///         self.next += 1;
///         Poll::Ready(Some(Ok(self.next)))
///     }
///
///     fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> PollClose<Self> {
///         Poll::Ready(Ok(()))
///     }
/// }
/// ```
///
/// A stream is not a source, since it has no orderly end:
///
/// ```compile_fail,E0277
/// # use losertree::ProxyResponseLoserTree;
/// let merge = ProxyResponseLoserTree::new([futures::stream::iter([Ok::<_, ()>(1)])]);
/// ```
///
/// A merge does not take a source that cannot be moved, but takes it boxed:
///
/// ```compile_fail,E0277
/// # use futures::stream;
/// # use losertree::{ProxyResponseLoserTree, from_items};
/// let source = from_items(stream::once(async { 1 }));
/// let merge = ProxyResponseLoserTree::new([source]);
/// ```
///
/// ```
/// # use futures::stream;
/// # use losertree::{ProxyResponseLoserTree, Source, from_items};
/// let source = from_items(stream::once(async { 1 }));
/// let merge = ProxyResponseLoserTree::new([source.boxed()]);
/// # drop(merge);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a source that a merge can own and close",
    label = "not a `Source`",
    note = "a source is made of a client with async methods by `unfold`; of a stream of `Result`s by `closing` or `from_stream`, of another stream by `from_items`; of an iterator by `from_iter`; of a merge by its method `into_source`"
)]
pub trait Source {
    /// What the source gives.
    type Item;

    /// Why the source fails.
    type Error;

    /// Attempts to get the next item; `None` is the end.
    ///
    /// # Errors
    ///
    /// After an error the source has nothing more to give. It is closed like one that has ended.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self>;

    /// Goes on with what is under way while an item of the source waits for its turn: to receive what is to come, to close what
    /// has ended inside of it.
    ///
    /// Called only when an item was given, the waker has fired since, and the merge has not chosen that item yet. The waker is
    /// woken again when there is more to do. Default: does nothing, since most sources do nothing on their own.
    fn poll_progress(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// Releases all that the source holds, and completes when it is released.
    ///
    /// Can be called at any time, before the first item too; items not yet taken are given up.
    ///
    /// # Errors
    ///
    /// What went wrong in releasing, all of it, and errors that the source has met and not given. The source counts as closed all the
    /// same.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self>;

    /// Returns the name of the source, for errors, warnings, statistics and the ledger.
    ///
    /// Asked once, when the source is handed to a merge. Default: none.
    fn name(&self) -> Option<&str> {
        None
    }

    /// Returns what the source counts of what it does.
    ///
    /// Asked for statistics, and once more when the source is released, unless it has panicked. Default: nothing.
    fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Returns whether the source knows that something is missing in what it gives, though it does not fail: it is a merge
    /// that goes on without a source, or one of its sources is partial.
    ///
    /// Asked for statistics, and once more when the source is released, unless it has panicked. A merge with such a source is
    /// partial. Default: no.
    fn is_partial(&self) -> bool {
        false
    }

    /// Gives the source a name.
    fn named(self, name: impl Into<Arc<str>>) -> Named<Self>
    where
        Self: Sized,
    {
        Named::new(self, name.into())
    }

    /// Changes each item by a function, which must preserve the order.
    ///
    /// For example `source.map(Response::from)`, to merge sources of [`Series`](crate::Series) in a merge
    /// that puts warnings between them.
    fn map<T, F: FnMut(Self::Item) -> T>(self, change: F) -> Map<Self, F>
    where
        Self: Sized,
    {
        Map::new(self, change)
    }

    /// Changes the source's own errors by a function, those of closing too.
    fn map_err<E, F: FnMut(Self::Error) -> E>(self, change: F) -> MapErr<Self, F>
    where
        Self: Sized,
    {
        MapErr::new(self, change)
    }

    /// Boxes the source, so that sources of different types can be merged.
    ///
    /// A boxed source is [`Unpin`] whatever is inside.
    fn boxed<'a>(self) -> BoxSource<'a, Self::Item, Self::Error>
    where
        Self: Sized + Send + 'a,
    {
        Box::pin(self)
    }
}

/// A [`Source`] that can be moved, as a merge moves its sources: every one that is [`Unpin`].
///
/// It has no other purpose than that who hands in a source which is not `Unpin` is told where it is handed in what to do: to
/// [box](Source::boxed) it. Bounds of your own say `Source + Unpin`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be moved, and a merge moves its sources",
    label = "not a `Source` that is `Unpin`",
    note = "box it: `source.boxed()`, or `Box::pin(source)` if it is not `Send`"
)]
pub trait UnpinSource: Source + Unpin {}

#[diagnostic::do_not_recommend]
impl<S: Source + Unpin> UnpinSource for S {}

/// Any source, boxed. Made by [`Source::boxed`].
pub type BoxSource<'a, T, E> = Pin<Box<dyn Source<Item = T, Error = E> + Send + 'a>>;

macro_rules! forwarding {
    () => {
        type Item = S::Item;
        type Error = S::Error;

        fn name(&self) -> Option<&str> {
            (**self).name()
        }

        fn counters(&self) -> Counters {
            (**self).counters()
        }

        fn is_partial(&self) -> bool {
            (**self).is_partial()
        }
    };
}

impl<S: Source + Unpin + ?Sized> Source for &mut S {
    forwarding!();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        Pin::new(&mut **self).poll_next(cx)
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        Pin::new(&mut **self).poll_progress(cx);
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        Pin::new(&mut **self).poll_close(cx)
    }
}

impl<S: Source + Unpin + ?Sized> Source for Box<S> {
    forwarding!();

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        Pin::new(&mut **self).poll_next(cx)
    }

    fn poll_progress(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        Pin::new(&mut **self).poll_progress(cx);
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        Pin::new(&mut **self).poll_close(cx)
    }
}

/// Of `Pin<Box<S>>` and `Pin<&mut S>`, which can be moved whatever `S` is.
impl<P> Source for Pin<P>
where
    P: DerefMut<Target: Source> + Unpin,
{
    type Item = <P::Target as Source>::Item;
    type Error = <P::Target as Source>::Error;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        self.as_deref_mut().poll_next(cx)
    }

    fn poll_progress(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.as_deref_mut().poll_progress(cx);
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        self.as_deref_mut().poll_close(cx)
    }

    fn name(&self) -> Option<&str> {
        (**self).name()
    }

    fn counters(&self) -> Counters {
        (**self).counters()
    }

    fn is_partial(&self) -> bool {
        (**self).is_partial()
    }
}
