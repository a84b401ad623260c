use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::CloseError;

/// What has an orderly close: a merge, a query, a stage over one, any [`Source`](super::Source).
///
/// Merges and queries have the same as methods of their own, which need no import.
pub trait Closable {
    /// Why a source fails.
    type Error;

    /// Attempts to close all that is inside, concurrently, and completes when all of it is closed. What was not yielded is
    /// dropped before.
    ///
    /// Progress is kept inside: to poll again goes on, and after it has completed it does so again at once, without an error.
    ///
    /// # Errors
    ///
    /// All errors: those of closing, and those that were met and not yielded.
    fn poll_close_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CloseError<Self::Error>>>;

    /// Waits until all that is inside is closed.
    ///
    /// # Errors
    ///
    /// As for [`poll_close_all`](Self::poll_close_all).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped half-way, the next call resumes. Nothing is closed twice.
    fn close(&mut self) -> Close<'_, Self> {
        Close::of(self)
    }
}

/// Closes a merge, or whatever else is [`Closable`]. Returned by [`close`](super::ProxyResponseLoserTree::close).
///
/// # Cancel safety
///
/// All progress is kept in what is closed. If this future is dropped half-way, the next one goes on where it stopped, and so
/// does polling a merge as a stream.
#[must_use = "futures do nothing unless polled"]
pub struct Close<'a, C: ?Sized> {
    closable: &'a mut C,
}

impl<'a, C: ?Sized> Close<'a, C> {
    pub(crate) const fn of(closable: &'a mut C) -> Self {
        Self { closable }
    }
}

impl<C: Closable + ?Sized> Future for Close<'_, C> {
    type Output = Result<(), CloseError<C::Error>>;

    // P3: nothing is kept in here, so a future that is dropped loses nothing.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.closable.poll_close_all(cx)
    }
}

impl<C: ?Sized + fmt::Debug> fmt::Debug for Close<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Close").field("closable", &self.closable).finish()
    }
}
